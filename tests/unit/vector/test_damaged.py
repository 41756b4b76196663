"""Damaged or unusual files that GDAL reads on from without an error."""

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from geo_platform import errors
from tests.support.osm import write_osm_pbf
from tests.unit.vector.harness import Platform, Write

NODES = [
    (number, 4 + number / 100, 50.0, f"stop {number}")
    for number in (*range(60, 0, -1), *range(61, 121))
]
PARTS = (".dbf", ".shx", ".prj", ".cpg")


def _parts(path: Path) -> list[Path]:
    return [path, *(part for suffix in PARTS if (part := path.with_suffix(suffix)).exists())]


def test_openstreetmap_with_ids_in_any_order(platform: Platform, tmp_path: Path) -> None:
    path = write_osm_pbf(
        tmp_path / "town.osm.pbf", NODES, [(7, [1, 60, 61], "track"), (8, [2, 3], "path")]
    )
    points = platform.load(platform.profile(path, layer_name="points"))
    assert sorted(platform.table(points).column("name").to_pylist()) == sorted(
        name for *_, name in NODES
    )
    lines = platform.load(platform.profile(path, layer_name="lines"), table_name="ways")
    assert (lines.read, lines.rejected) == (2, 0)
    assert lines.bounds.xyxy == pytest.approx((4.01, 50, 4.61, 50), abs=1e-6)


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9, 0.99])
def test_a_cut_openstreetmap_file_is_refused(
    platform: Platform, tmp_path: Path, part: float
) -> None:
    path = write_osm_pbf(tmp_path / "town.osm.pbf", NODES, [(7, [1, 60, 61], "track")])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    for layer in ("points", "lines"):
        with pytest.raises(errors.SourceTruncated, match="town"):
            platform.load(platform.profile(path, layer_name=layer))
    assert platform.silver() == []


def test_a_damaged_record_of_a_shapefile_is_not_reported_as_a_missing_geometry(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write
) -> None:
    path = write(parcels, "p.shp")
    content = bytearray(path.read_bytes())
    start = (
        int.from_bytes(path.with_suffix(".shx").read_bytes()[100 + 8 * 3 : 104 + 8 * 3], "big") * 2
    )
    content[start + 8 + 40 : start + 8 + 44] = (5_000_000).to_bytes(4, "little")
    path.write_bytes(content)
    loaded = platform.load(platform.profile(*_parts(path)))
    assert (loaded.read, loaded.inserted) == (5, 4)
    assert [(row["row_number"], row["reason"]) for row in platform.rejected(loaded)] == [
        (3, "GEOMETRY_UNREADABLE")
    ]


def _empty_table(path: Path) -> None:
    path.with_suffix(".dbf").write_bytes(b"")


def _no_table(path: Path) -> None:
    path.with_suffix(".dbf").unlink()


def _short_index(path: Path) -> None:
    path.with_suffix(".shx").write_bytes(path.with_suffix(".shx").read_bytes()[:-8])


def _broken_crs(path: Path) -> None:
    path.with_suffix(".prj").write_text(path.with_suffix(".prj").read_text()[:60])


@pytest.mark.parametrize(
    ("spoil", "refusal", "text"),
    [
        (_empty_table, errors.SourceTruncated, r"\.dbf"),
        (_no_table, errors.SourceUnreadable, r"\.dbf"),
        (_short_index, errors.SourceTruncated, r"\.shx"),
        (_broken_crs, errors.SourceUnreadable, "coordinate reference system"),
    ],
)
def test_a_shapefile_with_a_bad_part_is_refused_and_the_part_named(
    platform: Platform,
    parcels: geopandas.GeoDataFrame,
    write: Write,
    spoil: Callable[[Path], None],
    refusal: type[errors.PlatformError],
    text: str,
) -> None:
    path = write(parcels, "p.shp")
    spoil(path)
    with pytest.raises(refusal, match=text):
        platform.profile(*_parts(path))


@pytest.mark.parametrize("name", ["big.fgb", "big.gpkg", "big.gml"])
def test_one_feature_larger_than_a_batch(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write, name: str
) -> None:
    frame = parcels[["Id", "geometry"]].assign(
        text=["a", "b", "x" * 18_000_000, "d", "y" * 17_000_000]
    )
    loaded = platform.load(platform.profile(write(frame, name)))
    table = platform.table(loaded)
    lengths = dict(
        zip(
            table.column("id").to_pylist(),
            [len(text) for text in table.column("text").to_pylist()],
            strict=True,
        )
    )
    assert lengths == {1: 1, 2: 1, 3: 18_000_000, 4: 1, 5: 17_000_000}


def test_a_json_value_too_long_for_gdal_is_refused(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write
) -> None:
    path = write(parcels.assign(text="x" * 10_100_000).head(1), "long.geojson")
    with pytest.raises(errors.SourceUnreadable, match="10,000,000 characters"):
        platform.profile(path)


def test_gdal_warnings_are_reported_from_any_thread(
    platform: Platform, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """An orchestrator may run its steps in other threads."""
    path = tmp_path / "odd.geojson"
    feature = (
        '{{"type":"Feature","properties":{{}},"geometry":{{"type":"Point","coordinates":{}}}}}'
    )
    features = ",".join(feature.format(place) for place in ("[4, 50]", "[]", '["a", 2]'))
    path.write_text(f'{{"type":"FeatureCollection","features":[{features}]}}')
    found: list[Any] = []
    worker = threading.Thread(target=lambda: found.append(platform.load(platform.profile(path))))
    worker.start()
    worker.join()
    assert (found[0].read, found[0].inserted) == (3, 1)
    assert "invalid 'x' coordinate" in " ".join(warning.message for warning in found[0].warnings)
    assert capfd.readouterr().err == ""


def test_geoparquet_whose_bytes_are_not_wkb(platform: Platform, tmp_path: Path) -> None:
    geo = (
        b'{"version":"1.0.0","primary_column":"geometry",'
        b'"columns":{"geometry":{"encoding":"WKB","geometry_types":[]}}}'
    )
    table = pa.table({"a": [1, 2], "geometry": pa.array([b"garbage", b"\x01\x01"])})
    pq.write_table(table.replace_schema_metadata({"geo": geo}), tmp_path / "bytes.parquet")
    with pytest.raises(errors.NoGeometry, match="readable geometry"):
        platform.profile(tmp_path / "bytes.parquet")


def test_csv_files_without_rows_are_refused(platform: Platform, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("name,lon,lat", newline="")
    with pytest.raises(errors.NoFeatures, match=re.escape("table.csv")):
        platform.profile(path)


def test_degrees_in_a_national_grid_are_refused(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write
) -> None:
    with pytest.raises(errors.BoundsImplausible, match="look like degrees"):
        platform.profile(write(parcels.set_crs(31370, allow_override=True), "p.gpkg"))


def test_a_crs_of_another_body_than_the_earth_is_refused(platform: Platform, write: Write) -> None:
    crater = geopandas.GeoDataFrame(
        {"n": [1]},
        geometry=[shapely.Point(np.float64(8), 4)],
        crs="+proj=longlat +R=1737400 +no_defs",
    )
    path = write(crater, "moon.gpkg")
    with pytest.raises(errors.BoundsImplausible, match="Earth"):
        platform.profile(path)
    with pytest.raises(errors.ParameterInvalid, match="Earth"):
        platform.load(
            platform.profile(path, input_crs="EPSG:4326", override_crs=True),
            target_crs="+proj=longlat +R=1737400",
        )
