"""Write a tiny real file of every supported format, with the format's own driver."""

import zipfile
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import rasterio.shutil
import shapely

UTM = rasterio.Affine(30, 0, 500000, 0, -30, 4500000)
DEGREES = rasterio.Affine(0.01, 0, 8, 0, -0.01, 48)
WORLD_FILE = "30\n0\n0\n-30\n500015\n4499985\n"
PIXELS = np.random.default_rng(0).integers(1, 200, (3, 64, 80)).astype("uint8")
HEIGHTS = np.random.default_rng(1).integers(0, 3000, (1, 64, 80)).astype("int16")
TILE = np.random.default_rng(2).integers(0, 3000, (1, 1201, 1201)).astype("int16")


def _raster(path: Path, pixels: np.ndarray, driver: str, **profile: object) -> None:
    shape = {
        "count": pixels.shape[0],
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "dtype": pixels.dtype,
    }
    with rasterio.open(path, "w", driver=driver, **shape, **profile) as dataset:
        dataset.write(pixels)


def write_georeferenced_rasters(folder: Path, scratch: Path) -> dict[str, np.ndarray]:
    """Write rasters that contain their CRS; return each file's pixels."""
    folder.mkdir(parents=True)
    _raster(folder / "plain.tif", PIXELS, "GTiff", crs="EPSG:32618", transform=UTM)
    _raster(folder / "big.tif", HEIGHTS, "GTiff", crs="EPSG:32618", transform=UTM, BIGTIFF="YES")
    rasterio.shutil.copy(folder / "plain.tif", folder / "cog.tif", driver="COG")
    rasterio.shutil.copy(
        folder / "plain.tif",
        folder / "lossless.jp2",
        driver="JP2OpenJPEG",
        QUALITY=100,
        REVERSIBLE="YES",
    )
    _raster(folder / "erdas.img", PIXELS, "HFA", crs="EPSG:32618", transform=UTM)
    _raster(scratch / "degrees.tif", HEIGHTS, "GTiff", crs="EPSG:4326", transform=DEGREES)
    rasterio.shutil.copy(scratch / "degrees.tif", folder / "grid.asc", driver="AAIGrid")
    (folder / "N47E008.hgt").write_bytes(TILE.astype(">i2").tobytes())
    with zipfile.ZipFile(folder / "N46E008.SRTMGL3.hgt.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("N46E008.hgt", TILE.astype(">i2").tobytes())
    three, one = (
        dict.fromkeys(("plain.tif", "cog.tif", "lossless.jp2", "erdas.img"), PIXELS),
        {"big.tif": HEIGHTS, "grid.asc": HEIGHTS},
    )
    return {**three, **one, "N47E008.hgt": TILE, "N46E008.SRTMGL3.hgt.zip": TILE}


def write_pictures(folder: Path) -> dict[str, np.ndarray | None]:
    """Write PNG and JPEG with a world file and no CRS; return their pixels, None if lossy."""
    folder.mkdir(parents=True)
    _raster(folder / "picture.png", PIXELS, "PNG", transform=UTM)
    _raster(folder / "photo.jpg", PIXELS, "JPEG", transform=UTM)
    (folder / "picture.pgw").write_text(WORLD_FILE)
    (folder / "photo.jgw").write_text(WORLD_FILE)
    for leftover in folder.glob("*.aux.xml"):
        leftover.unlink()
    return {"picture.png": PIXELS, "photo.jpg": None}


def features() -> gpd.GeoDataFrame:
    """Return three squares with a non-ASCII name."""
    places = [shapely.box(x, y, x + 0.2, y + 0.2) for x, y in ((1, 4), (2, 5), (3, 6))]
    return gpd.GeoDataFrame(
        {"name": ["a", "b", "ü"], "number": np.array([1, 2, 3], dtype="int32")},
        geometry=places,
        crs="EPSG:4326",
    )


def write_vectors(folder: Path, scratch: Path) -> list[str]:
    """Write vector files; return the names of the sources."""
    folder.mkdir(parents=True)
    frame = features()
    frame.to_file(folder / "package.gpkg")
    frame.to_file(folder / "parts.shp")
    frame.to_file(folder / "plain.geojson")
    frame.to_file(folder / "lines.geojsonl", driver="GeoJSONSeq")
    frame.to_file(folder / "flat.fgb", driver="FlatGeobuf")
    frame.to_parquet(folder / "columns.parquet")
    frame.to_file(folder / "earth.kml", driver="LIBKML")
    frame.to_file(folder / "zipped_earth.kmz", driver="LIBKML")
    frame.to_file(folder / "markup.gml", driver="GML")
    frame.to_file(scratch / "roads.shp")
    with zipfile.ZipFile(folder / "zipped.zip", "w") as archive:
        for part in sorted(scratch.glob("roads.*")):
            archive.write(part, part.name)
    frame.to_file(scratch / "base.gdb", driver="OpenFileGDB")
    with zipfile.ZipFile(folder / "base.gdb.zip", "w") as archive:
        for part in sorted((scratch / "base.gdb").iterdir()):
            archive.write(part, f"base.gdb/{part.name}")
    (folder / "places.csv").write_text(
        "name,number,lat,lon\na,1,4.5,1.5\nb,2,5,2\nü,3,6,3\n", encoding="utf-8"
    )
    names = [
        "package.gpkg",
        "parts.shp",
        "plain.geojson",
        "lines.geojsonl",
        "flat.fgb",
        "columns.parquet",
        "earth.kml",
    ]
    return [*names, "zipped_earth.kmz", "markup.gml", "zipped.zip", "base.gdb.zip", "places.csv"]


def write_wkt_table(path: Path) -> None:
    path.write_text(
        'name,number,outline\na,1,"POINT (1 4)"\nb,2,"POINT (2 5)"\nü,3,"POINT (3 6)"\n',
        encoding="utf-8",
    )
