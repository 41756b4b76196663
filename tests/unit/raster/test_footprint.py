"""Footprints cover every valid pixel: any mask, projected and in degrees, limbs and poles."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS
from rasterio.enums import Resampling as GdalResampling
from shapely import contains_xy
from shapely.geometry import shape

from geo_platform.grid import GridShape
from geo_platform.raster.footprint import footprint_geojson, valid_cells
from geo_platform.raster.lonlat import lonlat_bounds, on_earth, to_crs
from geo_platform.raster.options import Resampling
from geo_platform.raster.target import decide_grid
from tests.unit.raster.test_extents import GEOS, grids, profiled


def assert_covers(valid: np.ndarray, transform: Affine, crs: CRS, slack: float) -> None:
    bounds = lonlat_bounds(transform, GridShape(rows=valid.shape[0], cols=valid.shape[1]), crs)
    assert bounds is not None
    found = shape(json.loads(footprint_geojson(valid, transform, crs, bounds)))
    assert found.is_valid
    rows, cols = np.nonzero(valid)
    lon, lat = on_earth(crs)(*to_crs(transform, cols + 0.5, rows + 0.5))
    finite = np.isfinite(lon) & np.isfinite(lat)
    lon, lat = (lon[finite] + 180) % 360 - 180, np.clip(lat[finite], -90, 90)
    assert contains_xy(found.buffer(slack), lon, lat).all()


@settings(max_examples=30, deadline=None)
@given(grids(), st.integers(0, 10_000), st.floats(0.01, 1))
def test_any_mask_on_any_grid_is_covered(
    grid: tuple[CRS, Affine, GridShape], seed: int, part: float
) -> None:
    crs, transform, shape_of_grid = grid
    if lonlat_bounds(transform, shape_of_grid, crs) is None:
        return
    size = (shape_of_grid.rows, shape_of_grid.cols)
    valid = np.random.default_rng(seed).random(size) < part
    valid[0, 0] = True
    assert_covers(valid, transform, crs, 1e-6)


def test_a_pixel_where_the_ring_of_an_outline_begins_is_covered() -> None:
    crs, transform = CRS("ESRI:54030"), Affine(508_929, 0, -17.1e6, 0, -266_211, 3_398_437)
    valid = np.random.default_rng(14).random((24, 21)) < 0.25
    assert_covers(valid, transform, crs, 1e-6)


def test_cells_from_pole_to_pole_are_covered() -> None:
    crs, transform = CRS(4326), Affine(1.2, 0, -180, 0, -360, 90)
    valid = np.arange(300)[None, :] % 17 == 0
    bounds = lonlat_bounds(transform @ Affine.scale(1, 0.5), GridShape(rows=1, cols=300), crs)
    assert bounds is not None
    found = shape(json.loads(footprint_geojson(valid, transform, crs, bounds, (0.5, 300.0))))
    lon = -180 + 1.2 * (np.nonzero(valid)[1] + 0.5)
    for lat in (-80, -45, 0, 30, 80):
        assert contains_xy(found, lon, np.full_like(lon, lat)).all()


def test_a_disc_and_a_map_of_the_world_are_covered_closely() -> None:
    crs, side = CRS(GEOS), 40_000.0
    transform = Affine(side, 0, -5_434_000, 0, -side, 5_434_000)
    rows, cols = np.mgrid[0:272, 0:272] + 0.5
    lon, _ = on_earth(crs)(*to_crs(transform, cols, rows))
    assert_covers(np.isfinite(lon), transform, crs, 1e-6)
    # A quarter of the disc: the footprint is not the whole disc's.
    quarter = np.isfinite(lon) & (rows < 136) & (cols < 136)
    bounds = lonlat_bounds(transform, GridShape(rows=272, cols=272), crs)
    assert bounds is not None
    found = shape(json.loads(footprint_geojson(quarter, transform, crs, bounds)))
    assert found.bounds == pytest.approx((-155, 0, -75, 81), abs=3)


@pytest.mark.parametrize("resampling", [Resampling.average, Resampling.cubic, Resampling.nearest])
@pytest.mark.parametrize("kind", ["nodata", "mask"])
def test_single_valid_pixels_far_from_others_are_found(
    tmp_path: Path, resampling: Resampling, kind: str
) -> None:
    valid = np.zeros((2100, 1903), dtype=bool)
    places = np.random.default_rng(0).integers(0, valid.shape, (25, 2))
    valid[tuple(places.T)] = valid[-1, -1] = True
    source, path = tmp_path / "source.tif", tmp_path / "cog.tif"
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"),
        rasterio.open(
            source,
            "w",
            driver="GTiff",
            width=1903,
            height=2100,
            count=1,
            dtype="uint8",
            crs="EPSG:32618",
            transform=Affine(10, 0, 5e5, 0, -10, 4.5e6),
            nodata=0 if kind == "nodata" else None,
        ) as target,
    ):
        target.write(np.where(valid, 7, 0).astype("uint8"), 1)
        if kind == "mask":
            target.write_mask(valid)
    rasterio.shutil.copy(
        source, path, driver="COG", OVERVIEW_RESAMPLING=GdalResampling[resampling.value].name
    )
    with rasterio.open(path) as cog:
        cells = valid_cells(cog, resampling)
    rows, cols = np.nonzero(valid)
    x, y = Affine(10, 0, 5e5, 0, -10, 4.5e6) @ (cols + 0.5, rows + 0.5)
    col, row = ~cells.transform @ (x, y)
    assert cells.valid[row.astype(int), col.astype(int)].all()
    assert cells.valid.mean() < 0.01


def test_the_whole_earth_in_degrees_ends_at_its_poles() -> None:
    earth = profiled(
        CRS.from_epsg(4326), Affine(1, 0, -0.5, 0, -1, 90.5), GridShape(rows=181, cols=360)
    )
    grid = decide_grid(earth, "EPSG:4258")
    assert grid.bounds.xyxy == pytest.approx((-180, -90, 180, 90))
