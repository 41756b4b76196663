"""Make large inputs from the samples and keep them in benchmarks/.work."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from rasterio.windows import Window

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "benchmarks" / ".work"
SAMPLES = ROOT / "samples"


def rgb_raster(side_px: int = 12_000) -> Path:
    """Write an uncompressed GeoTIFF: a Landsat scene, repeated with random turns and brightness."""
    path = WORK / f"landsat_{side_px}.tif"
    if path.exists():
        return path
    WORK.mkdir(parents=True, exist_ok=True)
    with rasterio.open(SAMPLES / "san_francisco_landsat7.tif") as source:
        scene, profile = source.read(), source.profile
    random = np.random.default_rng(1)
    tile_px = scene.shape[1]
    profile = {
        "driver": "GTiff", "width": side_px, "height": side_px, "count": 3, "dtype": "uint8",
        "crs": profile["crs"], "transform": profile["transform"], "nodata": 0,
        "photometric": "RGB", "interleave": "pixel",
    }  # fmt: skip
    partial = path.with_suffix(".partial.tif")
    with rasterio.open(partial, "w", **profile) as target:
        for row in range(0, side_px, tile_px):
            for col in range(0, side_px, tile_px):
                turned = np.rot90(scene, k=int(random.integers(4)), axes=(1, 2)).astype(
                    np.int16
                ) + int(random.integers(-8, 9))
                height, width = min(tile_px, side_px - row), min(tile_px, side_px - col)
                piece = np.clip(turned, 1, 255).astype(np.uint8)[:, :height, :width]
                target.write(piece, window=Window(col, row, width, height))
    partial.rename(path)
    return path


def polygons(rows: int = 500_000) -> Path:
    """Write a GeoPackage: country outlines, scaled down and scattered over the world."""
    path = WORK / f"polygons_{rows}.gpkg"
    if path.exists():
        return path
    WORK.mkdir(parents=True, exist_ok=True)
    countries = gpd.read_file(SAMPLES / "natural_earth_countries.shp.zip").explode(
        index_parts=False
    )
    random = np.random.default_rng(2)
    partial = path.with_suffix(".partial.gpkg")
    partial.unlink(missing_ok=True)
    step = 50_000
    for start in range(0, rows, step):
        picked = countries.iloc[
            random.integers(len(countries), size=min(step, rows - start))
        ].reset_index(drop=True)
        centres = shapely.get_coordinates(shapely.centroid(picked.geometry.values))
        coordinates, index = shapely.get_coordinates(picked.geometry.values, return_index=True)
        places = np.column_stack(
            [random.uniform(-170, 170, len(picked)), random.uniform(-80, 80, len(picked))]
        )
        moved = (coordinates - centres[index]) * 0.005 + places[index]
        picked["geometry"] = shapely.set_coordinates(picked.geometry.values.copy(), moved)
        picked["row_id"] = np.arange(start, start + len(picked))
        picked.to_file(partial, layer="polygons", driver="GPKG", mode="a" if start else "w")
    partial.rename(path)
    return path
