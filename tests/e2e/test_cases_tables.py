"""Tables that once went wrong: CSV, GeoParquet and Shapefiles, on each profile.

What was published is read by geopandas and pyarrow, or from the database.
"""

import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.cases import CASES, ingest
from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here
from tests.support.outputs import frame
from tests.support.production import PRODUCTION_IS_SLOW, ProfileUnderTest

pytestmark = DAGSTER_S_WARNINGS

_ID = 1582917533873852417
# The values that are right, by file and column, in the order of the places.
_VALUES: dict[str, dict[str, list[Any]]] = {
    "ids.csv": {
        "tweet_id": [_ID, _ID + 1, _ID + 2],
        "parcel": [f"5210470001002341000{row}" for row in (1, 2, 3)],
    },
    "exponent_ids.csv": {"code": ["1E5", "2E10", "12E3"]},
    "header_newline.csv": {"name": ["a", "b"], "height_m": [5, 6]},
    "ewkb.csv": {"id": [0, 1, 2]},
    "dms.csv": {"latitude": ["50°30'00\"N", "51°00'00\"N"]},
    "same_names.parquet": {"a": [1, 2], "a_2": [3, 4]},
    "duration.parquet": {"dur": ["PT1M30S", None]},
    "native.parquet": {"a": [1, 2]},
    "numbers.zip": {"area": [12.75, 8.5, 100.25], "parcel": [_ID, _ID + 1, _ID + 2]},
    "deleted.zip": {"id": [1, 3, 5], "t": ["a", "c", "e"]},
    "n65001_cpg.zip": {"name": ["Grüße 北京", "plain"]},
    "extcase.zip": {"id": [1, 2]},
    "ROADS.SHP": {"id": [1, 2]},
    "upper.zip": {"id": [1, 2]},
}
_PLACES = {
    "ewkb.csv": [(0, 50), (1, 50), (2, 50)],
    "dms.csv": [(7.5, 50.5), (8, 51)],
    "native.parquet": [(0, 50), (1, 50)],
}


@PRODUCTION_IS_SLOW
def test_each_value_is_published(tmp_path: Path, profile: ProfileUnderTest) -> None:
    home, folder = tmp_path / "home", tmp_path / "in"
    folder.mkdir()
    for name in _VALUES:
        if (CASES / name).exists():
            shutil.copy(CASES / name, folder)
    _write_parts_in_other_letters(folder)
    ended = geo_platform_here("ingest", "--json", folder, home=home, extra=profile.environment)
    answers = {Path(line["source"]).name: line for line in ended.lines}
    assert {name: (line["outcome"], line["error"]) for name, line in answers.items()} == (
        dict.fromkeys(_VALUES, ("published", None))
    )
    for name, columns in _VALUES.items():
        features = _in_order(frame(profile, home, answers[name]))
        for column, values in columns.items():
            found = [None if value != value else value for value in features[column]]
            assert (name, column, found) == (name, column, values)
        if name in _PLACES:
            assert _xy(features) == _PLACES[name]
            assert features.crs.to_epsg() in (4326, None)


@PRODUCTION_IS_SLOW
def test_what_cannot_be_placed_is_named_and_its_remedy_works(
    tmp_path: Path, profile: ProfileUnderTest
) -> None:
    home = tmp_path / "home"
    arcs = tmp_path / "arcs.csv"
    arcs.write_text(
        'id,wkt\n1,"CURVEPOLYGON(CIRCULARSTRING(0 0,2 0,0 0))"\n2,"POLYGON((5 0,6 0,6 1,5 0))"\n'
    )
    sources = [CASES / "swapped.csv", CASES / "ewkt_zones.csv", arcs]
    ended = geo_platform_here("ingest", "--json", *sources, home=home, extra=profile.environment)
    errors = {Path(line["source"]).name: line["error"] for line in ended.lines}
    assert errors["swapped.csv"]["code"] == "BOUNDS_IMPLAUSIBLE"
    assert "seem to be swapped" in errors["swapped.csv"]["message"]
    assert errors["ewkt_zones.csv"]["code"] == "CRS_MISMATCH"
    assert "EPSG:25832" in errors["ewkt_zones.csv"]["message"]
    assert "EPSG:25833" in errors["ewkt_zones.csv"]["message"]
    assert errors["arcs.csv"]["code"] == "CRS_MISSING"

    swapped = ["--lon-name", "lat", "--lat-name", "lon", "--input-crs", "EPSG:4326"]
    line = ingest(profile, home, "swapped.csv", *swapped)
    assert _xy(_in_order(frame(profile, home, line))) == [(150.5, -33.9), (151.2, -33.8)]
    line = ingest(profile, home, "ewkt_zones.csv", "--input-crs", "EPSG:25832", "--override-crs")
    assert len(frame(profile, home, line)) == 1300
    line = ingest(profile, home, arcs, "--input-crs", "EPSG:3857")
    areas = _in_order(frame(profile, home, line)).geometry.area.tolist()
    assert areas == pytest.approx([3.1390, 0.5], abs=1e-4)


def _write_parts_in_other_letters(folder: Path) -> None:
    """Write the parts of extcase.zip as ROADS.SHP and roads.*, side by side and in an archive."""
    with (
        zipfile.ZipFile(CASES / "extcase.zip") as archive,
        zipfile.ZipFile(folder / "upper.zip", "w") as packed,
    ):
        for name in archive.namelist():
            suffix = name.rpartition(".")[2].lower()
            part = "ROADS.SHP" if suffix == "shp" else f"roads.{suffix}"
            (folder / part).write_bytes(archive.read(name))
            packed.write(folder / part, part)


def _in_order(features: Any) -> Any:
    """Return the features in the order of their first coordinates."""
    return features.iloc[features.geometry.bounds["minx"].argsort()].reset_index(drop=True)


def _xy(features: Any) -> list[tuple[float, float]]:
    return [tuple(place.coords[0]) for place in features.geometry.explode(index_parts=False)]
