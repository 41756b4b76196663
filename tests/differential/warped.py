"""Check a reprojected COG against the source's pixels, places computed by PROJ for each pixel.

The reference knows neither GDAL's warper nor the platform's verification.
"""

from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from tests.differential.generated_rasters import Mask, Pixels, Raster
from tests.differential.raster_files import header_by_gdal, read_by_gdal

# GDAL's warper interpolates places, with an error of up to an eighth of a pixel.
REACH_PX = 0.2


def check_warped(cog: Path, raster: Raster, target: str, valid: Mask) -> None:
    """Check each pixel of the COG, and that it holds all valid pixels of the source.

    A pixel must have the value of a source pixel within REACH_PX of its middle; it must be valid if
    all of these are, and invalid if none is.
    """
    header = header_by_gdal(cog)
    transform = Affine.from_gdal(*header["geoTransform"])
    cols, rows = header["size"]
    pixels, found = read_by_gdal(cog, raster.pixels.dtype.name, masks=True)
    data = raster.data_bands
    is_by_band = not (found == found[0]).all()
    any_valid = valid[data].any(axis=0)
    sources = _sources(raster, transform, target, (rows, cols))
    for band in data:
        where = valid[band] if is_by_band else any_valid
        misfits = _misfits(pixels[band], found[band], raster.pixels[band], where, sources)
        assert misfits <= 1 + 0.005 * rows * cols, (misfits, rows, cols)
    _check_nothing_is_outside(raster, transform, target, (rows, cols), any_valid)


def _sources(
    raster: Raster, transform: Affine, target: str, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return (2, rows, cols): row and column in the source of each pixel's middle."""
    rows, cols = np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5
    x, y = transform @ (cols, rows)
    back = Transformer.from_crs(CRS(target), CRS(raster.place.crs), always_xy=True)
    source_x, source_y = back.transform(x, y)
    source_x, source_y = np.array(source_x), np.array(source_y)
    _, height, width = raster.pixels.shape
    best = np.full((2, *shape), np.inf)
    # Of the places that are a whole turn apart, one may be in the source.
    for turn in (0, -1, 1):
        with np.errstate(invalid="ignore"):
            moved = source_x + turn * _period(raster.place.crs) if turn else source_x
            at_cols, at_rows = ~raster.transform @ (moved, source_y)
            is_inside = (at_cols >= -1) & (at_cols <= width + 1)
            is_inside &= (at_rows >= -1) & (at_rows <= height + 1) & ~np.isfinite(best[0])
        best[:, is_inside] = np.stack([at_rows, at_cols])[:, is_inside]
    return best


def _period(crs: str) -> float:
    if CRS(crs).is_geographic:
        return 360.0
    return 2 * 20_037_508.342789244 if crs == "EPSG:3857" else np.nan


def _misfits(
    pixels: Pixels, found: Mask, source: Pixels, valid: Mask, sources: NDArray[np.float64]
) -> int:
    height, width = source.shape
    any_near = np.zeros(found.shape, dtype=bool)
    all_near = np.ones(found.shape, dtype=bool)
    is_equal = np.zeros(found.shape, dtype=bool)
    for down in (-REACH_PX, 0, REACH_PX):
        for right in (-REACH_PX, 0, REACH_PX):
            at_rows, at_cols = np.floor(sources[0] + down), np.floor(sources[1] + right)
            inside = (at_rows >= 0) & (at_rows < height) & (at_cols >= 0) & (at_cols < width)
            row = np.where(inside, at_rows, 0).astype(int)
            col = np.where(inside, at_cols, 0).astype(int)
            is_valid = inside & valid[row, col]
            any_near |= is_valid
            all_near &= is_valid
            is_equal |= is_valid & (pixels == source[row, col])
    wrong = (found & ~any_near) | (~found & all_near)
    return int((wrong | (found & any_near & ~is_equal & _is_number(pixels))).sum())


def _is_number(pixels: Pixels) -> Mask:
    # A band may be NaN where another one is valid.
    return ~np.isnan(pixels) if pixels.dtype.kind == "f" else np.ones(pixels.shape, dtype=bool)


def _check_nothing_is_outside(
    raster: Raster, transform: Affine, target: str, shape: tuple[int, int], valid: Mask
) -> None:
    rows, cols = np.nonzero(valid)
    x, y = raster.transform @ (cols + 0.5, rows + 0.5)
    there = Transformer.from_crs(CRS(raster.place.crs), CRS(target), always_xy=True)
    x, y = there.transform(np.atleast_1d(x), np.atleast_1d(y))
    with np.errstate(invalid="ignore"):
        outside = np.isfinite(x) & np.isfinite(y)
        if CRS(raster.place.crs).is_geographic:
            lat = (raster.transform @ (cols + 0.5, rows + 0.5))[1]
            outside &= np.abs(lat) <= 90
        for turn in (0, -1, 1):
            moved = x + turn * _period(target) if turn else x
            at_cols, at_rows = ~transform @ (np.atleast_1d(moved), np.atleast_1d(y))
            inside = (at_cols >= -0.01) & (at_cols <= shape[1] + 0.01)
            inside &= (at_rows >= -0.01) & (at_rows <= shape[0] + 0.01)
            outside &= ~inside
    assert not outside.any(), (rows[outside][:3], cols[outside][:3])
