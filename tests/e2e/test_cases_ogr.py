"""Files whose keys, types, dates, time zones or header extents GDAL does not return as they are.

The result is read with geopandas: the GeoParquet file, or the table as a read-only login.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.support import outputs
from tests.support.cases import CASES
from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here
from tests.support.production import PRODUCTION_IS_SLOW, ProfileUnderTest

pytestmark = DAGSTER_S_WARNINGS

_CASES = ("parcels", "loose", "dates", "types", "zero_extent")


def _utc(*texts: str | None) -> list[Any]:
    return [pd.NaT if text is None else pd.Timestamp(text, tz="UTC") for text in texts]


def _values(column: pd.Series) -> list[Any]:
    return [None if pd.isna(value) else value for value in column.tolist()]


@PRODUCTION_IS_SLOW
def test_tables_of_geopackages_keep_their_values(tmp_path: Path, profile: ProfileUnderTest) -> None:
    home, folder = tmp_path / "home", tmp_path / "in"
    folder.mkdir()
    for name in _CASES:
        shutil.copy(CASES / f"{name}.gpkg", folder)
    ended = geo_platform_here("ingest", "--json", folder, home=home, extra=profile.environment)
    lines = {Path(line["source"]).stem: line for line in ended.lines}
    assert {name: line["error"] for name, line in lines.items()} == dict.fromkeys(_CASES)
    frames = {name: outputs.frame(profile, home, lines[name]) for name in _CASES}

    parcels = frames["parcels"].sort_values("parcel_no")
    assert _values(parcels["parcel_no"]) == [90210, 90333, 91000]
    assert _values(parcels["owner"]) == ["a", "b", "c"]

    loose = frames["loose"]
    assert sorted(_values(loose["floors"])) == ["2.7", "3", "n/a"]
    assert sorted(_values(loose["height"])) == ["12,5", "8.5", "9.5"]

    dates = frames["dates"].sort_values("txt")
    for column in ("d", "dt"):
        assert _values(dates[column]) == _values(dates["txt"])

    types = frames["types"].sort_values("a")
    assert types["big"].iloc[0] == 9007199254740993
    assert _values(types["v"]) == ["x", None, None]
    assert types["n"].iloc[0] == 12.5
    assert _values(types["cv"])[0] == "chars"
    assert types["ts"].iloc[0] == pd.Timestamp("2020-05-01 08:00", tz="UTC")
    assert _values(types["u"])[0] == "6f1c"
    assert str(types["j"].iloc[0]).replace(" ", "") in ('{"k":[1,2]}', "{'k':[1,2]}")
    assert _values(types["b"]) == [1, 0, 2]
    assert _values(types["when_"])[1] == "2020-05-01 10:00:00"
    assert _values(types["gen"]) == [10, 20, 30]

    zero = frames["zero_extent"]
    assert zero.total_bounds == pytest.approx([500000, 5500000, 500200, 5500000])
    assert zero.crs.to_epsg() == 25832


@PRODUCTION_IS_SLOW
def test_ids_of_features_and_long_integers_are_published(
    tmp_path: Path, profile: ProfileUnderTest
) -> None:
    home, folder = tmp_path / "home", tmp_path / "in"
    folder.mkdir()
    rows = {
        "numbered": [(7, {"n": 2**64 - 1}), (5, {"n": 1})],
        "named": [("a", {"id": 1}), ("007", {"id": 2})],
        "wide": [(2**53 + 1, {"n": 2**53 + 1}), (2**63 - 1, {"n": 1})],
    }
    for name, features in rows.items():
        lines = [
            {
                "type": "Feature",
                "id": identifier,
                "properties": properties,
                "geometry": {"type": "Point", "coordinates": [number, 50]},
            }
            for number, (identifier, properties) in enumerate(features)
        ]
        document = {"type": "FeatureCollection", "features": lines}
        (folder / f"{name}.geojson").write_text(json.dumps(document))
    ended = geo_platform_here("ingest", "--json", folder, home=home, extra=profile.environment)
    assert [line["error"] for line in ended.lines] == [None] * 3
    frames = {Path(line["source"]).stem: outputs.frame(profile, home, line) for line in ended.lines}
    numbered = frames["numbered"].sort_values("id")
    assert _values(numbered["id"]) == [5, 7]
    assert _values(numbered["n"]) == ["1", str(2**64 - 1)]
    named = frames["named"].sort_values("id")
    assert _values(named["source_id"]) == ["a", "007"]
    assert _values(named["id"]) == [1, 2]
    wide = frames["wide"].sort_values("id")
    assert _values(wide["id"]) == [2**53 + 1, 2**63 - 1]
    assert _values(wide["n"]) == [2**53 + 1, 1]


@PRODUCTION_IS_SLOW
def test_times_are_instants_or_local_or_text(tmp_path: Path, profile: ProfileUnderTest) -> None:
    home, folder = tmp_path / "home", tmp_path / "in"
    folder.mkdir()
    source = CASES / "times.geojson"
    shutil.copy(source, folder)
    for driver, name in (
        ("FlatGeobuf", "times_fgb.fgb"),
        ("GML", "times_gml.gml"),
        ("GPKG", "times_gpkg.gpkg"),
        ("GeoJSONSeq", "times_lines.geojsonl"),
    ):
        subprocess.run(
            ["ogr2ogr", "-f", driver, folder / name, source], check=True, capture_output=True
        )
    (folder / "times_gml.xsd").unlink(missing_ok=True)
    ended = geo_platform_here("ingest", "--json", folder, home=home, extra=profile.environment)
    assert [line["error"] for line in ended.lines] == [None] * 5
    for line in ended.lines:
        frame = outputs.frame(profile, home, line)
        frame = frame.sort_values("one")
        assert frame["mixed"].tolist() == _utc("2020-01-01 07:00", "2020-01-01 14:00", None)
        assert frame["one"].tolist() == _utc("2020-01-01 14:00", "2020-01-01 15:00", None)
        local = [pd.Timestamp("2020-01-01 09:00"), pd.Timestamp("2020-01-01 10:00"), pd.NaT]
        assert frame["none"].tolist() == local
        half = [value and value.replace(".000", "") for value in _values(frame["half"])]
        assert half == ["2020-01-01T09:00:00", "2020-01-01T10:00:00-05:00", None]
