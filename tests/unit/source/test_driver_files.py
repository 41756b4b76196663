"""The files that a driver gets open in the library that reads them."""

import warnings
from collections.abc import Callable
from pathlib import Path

import pyogrio
import pytest
import rasterio

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.errors import SourceUnreadable
from geo_platform.source.driver_files import linked_source
from geo_platform.source.formats import FORMATS
from geo_platform.source.sniff import detect
from tests.unit.source.conftest import shapefile_parts, write_raster

_WEIRD_NAME = "user's {odd} näme\n; DROP"


@pytest.mark.parametrize(
    "name",
    [
        "geotiff.tif",
        "jpeg2000.jp2",
        "erdas_imagine.img",
        "esri_ascii_grid.asc",
        "png.png",
        "jpeg.jpg",
        "N47E008.hgt",
    ],
)
def test_rasters_open_under_another_name(samples: Path, tmp_path: Path, name: str) -> None:
    detected = detect(samples / name, name=name)
    given = name if detected.format is SourceFormat.srtm_hgt else f"{_WEIRD_NAME}.vrt"
    with (
        warnings.catch_warnings(),
        linked_source(samples / name, detected, {}, name=given, scratch=tmp_path) as source,
    ):
        warnings.simplefilter("ignore")
        with rasterio.open(
            source.gdal_path, driver=FORMATS[detected.format].rasterio_drivers[0]
        ) as dataset:
            assert dataset.count == 1
            assert dataset.driver == FORMATS[detected.format].rasterio_drivers[0]
            assert "odd" not in source.gdal_path
        assert source.display_name == given
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "geopackage.gpkg",
        "shapefile.shp",
        "geojson.geojson",
        "geojson_lines.geojsonl",
        "flatgeobuf.fgb",
        "kml.kml",
        "gml.gml",
        "csv.csv",
    ],
)
def test_vectors_open_with_their_own_driver(samples: Path, tmp_path: Path, name: str) -> None:
    sidecars = shapefile_parts(samples) if name == "shapefile.shp" else {}
    detected = detect(samples / name, name=name, sidecars=tuple(sidecars))
    with linked_source(samples / name, detected, sidecars, name=name, scratch=tmp_path) as source:
        info = pyogrio.read_info(source.gdal_path)
        assert info["driver"] == FORMATS[detected.format].ogr_driver
        assert pyogrio.read_dataframe(source.gdal_path).shape[0] == (2 if name == "csv.csv" else 3)


def test_a_layer_keeps_the_letters_of_its_files_name(samples: Path, tmp_path: Path) -> None:
    parts = shapefile_parts(samples)
    named = {f"in/Straßen (2024){Path(name).suffix}": path for name, path in parts.items()}
    with linked_source(
        parts["shapefile.shp"],
        detect(parts["shapefile.shp"], name="x", sidecars=("x.shx", "x.dbf")),
        named,
        name="in/Straßen (2024).shp",
        scratch=tmp_path,
    ) as source:
        assert [layer for layer, _ in pyogrio.list_layers(source.gdal_path)] == ["Straßen__2024_"]
        assert pyogrio.read_info(source.gdal_path)["crs"] == "EPSG:4326"


def test_a_very_long_name_is_cut(samples: Path, tmp_path: Path) -> None:
    path = samples / "geojson_lines.geojsonl"
    with linked_source(
        path, detect(path, name="x"), {}, name="日" * 80 + ".json", scratch=tmp_path
    ) as source:
        assert pyogrio.read_info(source.gdal_path)["features"] == 3


def test_zipped_vectors_open_in_place(
    samples: Path, tmp_path: Path, zipped: Callable[..., Path]
) -> None:
    geodatabase = {
        f"x.gdb/{path.name}": path for path in (samples / "file_geodatabase.gdb").iterdir()
    }
    shapes = {
        f"{stem}{path.suffix}": path
        for stem in ("roads", "rivers")
        for path in shapefile_parts(samples).values()
    }
    for members, driver, layers in (
        (geodatabase, "OpenFileGDB", 1),
        (shapes, "ESRI Shapefile", 2),
        (
            {
                **{f"in/{name}": path for name, path in shapes.items()},
                "in/read.md": b"x",
                "other.csv": samples / "csv.csv",
            },
            "ESRI Shapefile",
            2,
        ),
        ({"doc.kml": samples / "kml.kml"}, "LIBKML", 1),
        ({"a {b}/x.gpkg": samples / "geopackage.gpkg"}, "GPKG", 1),
    ):
        path = zipped(members)
        with linked_source(
            path, detect(path, name="x.zip"), {}, name="x.zip", scratch=tmp_path / "scratch"
        ) as source:
            names = [name for name, _ in pyogrio.list_layers(source.gdal_path)]
            assert len(names) == layers
            for name in names:
                info = pyogrio.read_info(source.gdal_path, layer=name)
                assert (info["driver"], info["features"]) == (driver, 3)


def test_a_zipped_srtm_tile_opens_in_place(
    samples: Path, tmp_path: Path, zipped: Callable[..., Path]
) -> None:
    path = zipped({"N47E008.hgt": samples / "N47E008.hgt"})
    with (
        linked_source(
            path, detect(path, name="x.zip"), {}, name="x.zip", scratch=tmp_path / "scratch"
        ) as source,
        rasterio.open(source.gdal_path, driver="SRTMHGT") as dataset,
    ):
        assert (round(dataset.bounds.left), round(dataset.bounds.bottom)) == (8, 47)


def test_a_world_file_places_an_image_and_only_its_own(samples: Path, tmp_path: Path) -> None:
    world = tmp_path / "Image.PGW"
    world.write_text("0.5\n0\n0\n-0.5\n100.25\n49.75\n")
    with (
        linked_source(
            samples / "png.png",
            detect(samples / "png.png", name="image.png"),
            {"Image.PGW": world},
            name="image.png",
            scratch=tmp_path / "s",
        ) as source,
        rasterio.open(source.gdal_path, driver="PNG") as dataset,
    ):
        assert dataset.transform[:6] == (0.5, 0, 100, 0, -0.5, 50)


def test_an_external_mask_is_kept(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "x.tif")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="NO"), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(dataset.read(1) > 100)
    beside = tmp_path / "x.tif.msk"
    assert beside.exists()
    with (
        linked_source(
            path,
            detect(path, name="x.tif"),
            {beside.name: beside},
            name="x.tif",
            scratch=tmp_path / "s",
        ) as source,
        rasterio.open(source.gdal_path, driver="GTiff") as dataset,
    ):
        assert dataset.read_masks(1).min() == 0


def test_drivers_write_their_files_to_the_scratch_folder(samples: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in samples.iterdir())
    path = samples / "gml.gml"
    with linked_source(
        path, detect(path, name="gml.gml"), {}, name="gml.gml", scratch=tmp_path
    ) as source:
        pyogrio.read_info(source.gdal_path)
        written = [beside.name for beside in Path(source.gdal_path).parent.iterdir()]
    assert "gml.gfs" in written
    assert sorted(path.name for path in samples.iterdir()) == before
    assert list(tmp_path.iterdir()) == []


def test_the_folder_goes_with_the_context(samples: Path, tmp_path: Path) -> None:
    detected = detect(samples / "geotiff.tif", name="x.tif")
    with (
        pytest.raises(ZeroDivisionError),
        linked_source(
            samples / "geotiff.tif", detected, {}, name="x.tif", scratch=tmp_path / "a" / "b"
        ),
    ):
        _ = 1 / 0
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_an_srtm_tile_without_its_name(samples: Path, tmp_path: Path) -> None:
    detected = detect(samples / "N47E008.hgt", name="N47E008.hgt")
    with (
        pytest.raises(SourceUnreadable, match="does not identify an SRTM tile"),
        linked_source(samples / "N47E008.hgt", detected, {}, name="x.hgt", scratch=tmp_path),
    ):
        pass
