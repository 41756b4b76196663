"""One tiny real file of every format, written by its usual library, and helpers to damage them."""

import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
from rasterio.transform import from_origin
from shapely.geometry import Point

_RASTER_DRIVERS = {
    "geotiff.tif": "GTiff",
    "jpeg2000.jp2": "JP2OpenJPEG",
    "erdas_imagine.img": "HFA",
    "esri_ascii_grid.asc": "AAIGrid",
    "png.png": "PNG",
    "jpeg.jpg": "JPEG",
}
_VECTOR_DRIVERS = {
    "geopackage.gpkg": "GPKG",
    "shapefile.shp": "ESRI Shapefile",
    "geojson.geojson": "GeoJSON",
    "geojson_lines.geojsonl": "GeoJSONSeq",
    "flatgeobuf.fgb": "FlatGeobuf",
    "kml.kml": "LIBKML",
    "gml.gml": "GML",
    "file_geodatabase.gdb": "OpenFileGDB",
}


def write_raster(
    path: Path,
    driver: str = "GTiff",
    tags: Mapping[str, Mapping[str, str]] | None = None,
    **profile: object,
) -> Path:
    """Write a ramp of 64 x 48 pixels on EPSG:4326."""
    pixels = np.arange(64 * 48, dtype="uint8").reshape(1, 48, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(
            path,
            "w",
            driver=driver,
            width=64,
            height=48,
            count=1,
            dtype="uint8",
            crs="EPSG:4326",
            transform=from_origin(8, 48, 0.01, 0.01),
            **profile,
        ) as dataset:
            dataset.write(pixels)
            for domain, items in (tags or {}).items():
                dataset.update_tags(ns=domain, **items)
    return path


def points(rows: int = 3) -> geopandas.GeoDataFrame:
    return geopandas.GeoDataFrame(
        {"name": [f"p{row}" for row in range(rows)]},
        geometry=[Point(row, row) for row in range(rows)],
        crs="EPSG:4326",
    )


def osm_pbf_head() -> bytes:
    """Return a BlobHeader of the type OSMHeader and the beginning of its blob."""
    header = b"\x0a\x09OSMHeader\x18\x05"
    return struct.pack(">I", len(header)) + header + b"\x10\x00\x1a\x00\x00"


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of files named after their SourceFormat."""
    folder = tmp_path_factory.mktemp("samples")
    for name, driver in _RASTER_DRIVERS.items():
        write_raster(folder / name, driver)
    for name, driver in _VECTOR_DRIVERS.items():
        points().to_file(folder / name, driver=driver, engine="pyogrio")
    points().to_parquet(folder / "geoparquet.parquet")
    pq.write_table(pa.table({"a": [1, 2]}), folder / "plain.parquet")
    (folder / "N47E008.hgt").write_bytes(bytes(1201 * 1201 * 2))
    (folder / "csv.csv").write_text("name,lon,lat\nBern,7.4,46.9\nBasel,7.6,47.6\n")
    (folder / "osm_pbf.osm.pbf").write_bytes(osm_pbf_head())
    return folder


@pytest.fixture
def zipped(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that zips {"a/b.tif": path or bytes} and returns the path."""

    def make(
        members: Mapping[str, Path | bytes],
        name: str = "archive.zip",
        compression: int = zipfile.ZIP_DEFLATED,
    ) -> Path:
        path = tmp_path / name
        with zipfile.ZipFile(path, "w", compression) as archive:
            for member, content in members.items():
                archive.writestr(
                    member, content if isinstance(content, bytes) else content.read_bytes()
                )
        return path

    return make


def shapefile_parts(folder: Path, stem: str = "shapefile") -> dict[str, Path]:
    return {path.name: path for path in sorted(folder.glob(f"{stem}.*"))}
