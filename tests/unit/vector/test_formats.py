"""Every format, from a file written by another library to a dataset that another library reads."""

from collections.abc import Callable
from pathlib import Path

import geopandas
import pytest

from geo_platform.contracts.vector import FeaturesLoaded, VectorProfiled
from geo_platform.errors import LayerAmbiguous
from tests.unit.vector.harness import Platform, Write

Zipped = Callable[..., Path]


def check(
    platform: Platform, profiled: VectorProfiled, parcels: geopandas.GeoDataFrame, **options: object
) -> FeaturesLoaded:
    loaded = platform.load(profiled, **options)
    assert (loaded.read, loaded.inserted, loaded.rejected) == (5, 5, 0)
    frame = platform.frame(loaded)
    assert frame.crs == "EPSG:4326"
    assert set(frame.geom_type) == {"MultiPolygon"}
    assert frame.union_all().symmetric_difference(parcels.union_all()).area < 1e-9
    assert loaded.bounds.xyxy == pytest.approx((4, 50, 4.45, 50.05))
    return loaded


@pytest.mark.parametrize(
    ("name", "driver", "came_from"),
    [
        ("p.gpkg", "GPKG", "file"),
        ("p.geojson", "GeoJSON", "format"),
        ("p.geojsonl", "GeoJSONSeq", "format"),
        ("p.fgb", "FlatGeobuf", "file"),
        ("p.kml", "LIBKML", "format"),
        ("p.gml", "GML", "file"),
    ],
)
def test_single_file_formats(
    platform: Platform,
    parcels: geopandas.GeoDataFrame,
    write: Write,
    name: str,
    driver: str,
    came_from: str,
) -> None:
    profiled = platform.profile(
        write(parcels, name, driver="KML" if driver == "LIBKML" else driver)
    )
    assert (profiled.driver, profiled.crs.came_from, profiled.crs.authority_code) == (
        driver,
        came_from,
        "EPSG:4326",
    )
    loaded = check(platform, profiled, parcels)
    texts = platform.table(loaded).column("naam").to_pylist()
    assert sorted(text for text in texts if text) == ["a", "x", "é", "ü"]


def test_shapefile_in_parts_and_zipped(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write, zipped: Zipped
) -> None:
    path = write(parcels, "parts.shp")
    parts = [path, *(path.with_suffix(suffix) for suffix in (".dbf", ".shx", ".prj", ".cpg"))]
    check(platform, platform.profile(*parts), parcels)
    check(platform, platform.profile(zipped(path.parent / "whole.zip", *parts)), parcels)


def test_file_geodatabase_zipped(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write, zipped: Zipped
) -> None:
    folder = write(parcels, "p.gdb", driver="OpenFileGDB")
    profiled = platform.profile(zipped(folder.parent / "p.gdb.zip", folder))
    assert profiled.driver == "OpenFileGDB"
    check(platform, profiled, parcels)


def test_kmz(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write, zipped: Zipped
) -> None:
    kml = write(parcels, "doc.kml", driver="KML")
    check(platform, platform.profile(zipped(kml.parent / "p.kmz", kml)), parcels)


def test_geoparquet_of_both_versions(
    platform: Platform, parcels: geopandas.GeoDataFrame, tmp_path: Path
) -> None:
    old, new = tmp_path / "old.parquet", tmp_path / "new.parquet"
    parcels.rename_geometry("shape").to_parquet(old, schema_version="1.0.0")
    parcels.to_parquet(new, schema_version="1.1.0", write_covering_bbox=True)
    for path in (old, new):
        profiled = platform.profile(path)
        assert [field.name for field in profiled.fields] == ["Id", "Näam", "area"]
        check(platform, profiled, parcels)


def test_csv_of_wkt(platform: Platform, parcels: geopandas.GeoDataFrame, tmp_path: Path) -> None:
    path = tmp_path / "w.csv"
    parcels.assign(wkt=parcels.to_wkt().geometry).drop(columns="geometry").to_csv(
        path, index=False, sep=";"
    )
    check(platform, platform.profile(path, input_crs="EPSG:4326"), parcels)


def test_one_of_several_layers_must_be_chosen_and_each_can_be(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write
) -> None:
    write(parcels, "two.gpkg", layer="parcels")
    path = write(parcels.head(2), "two.gpkg", layer="Other-Layer", append=True)
    with pytest.raises(LayerAmbiguous, match=r"'parcels', 'Other-Layer'"):
        platform.profile(path)
    profiled = platform.profile(path, layer_name="Other-Layer")
    assert profiled.feature_count == 2
    assert platform.load(profiled).dataset == "two_other_layer"
