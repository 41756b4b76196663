"""Read the pixels of a window from a COG, resampled to its grid, and where they are valid.

The overview that is read is the coarsest one that is at least as fine as the window. Which pixels
are valid is decided as `raster/validity.py` says: the COG is written so that GDAL's masks say it.

Used by `serving/raster`.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.warp import reproject

from geo_platform.raster.validity import NodataValue, Validity, equals_value
from geo_platform.serving.raster.cogs import OpenCog
from geo_platform.serving.raster.valid_windows import read_valid_window
from geo_platform.serving.raster.windows import (
    MERCATOR,
    MERCATOR_HALF_M,
    PixelWindow,
    moved_points,
)

# An overview counts as fine enough if its pixels are at most this much larger than the window's.
_TOLERANCE = 1.01
# The scale of a window is measured at so many points per side.
_POINTS = 5


@dataclass(frozen=True)
class WindowPixels:
    """The values of the bands (bands, rows, cols), and where each is valid, of the same shape."""

    values: NDArray[Any]
    valid: NDArray[np.bool_]


def read_window(
    cog: OpenCog, window: PixelWindow, bands: Sequence[int], resampling: Resampling
) -> WindowPixels:
    """Return the bands, counted from 1, on the window's grid. Outside the COG nothing is valid.

    A raster that continues past 180 degrees is read on both sides of the antimeridian.
    """
    shape = (len(bands), window.rows, window.cols)
    found = WindowPixels(np.zeros(shape, dtype=cog.full.dtypes[0]), np.zeros(shape, dtype=np.bool_))
    is_empty = True
    for world in _worlds(cog.full, window):
        factor = _overview_factor(cog.full, world)
        if factor is None:
            continue
        part = _read(cog.at(factor), cog.validity, world, list(bands), resampling)
        if is_empty:
            found, is_empty = part, False
        else:
            values = np.where(found.valid, found.values, part.values)
            found = WindowPixels(values, found.valid | part.valid)
    return found


def _worlds(cog: DatasetReader, window: PixelWindow) -> list[PixelWindow]:
    """Return the window and, for a raster that continues past 180 degrees, its like there."""
    half = 180.0 if cog.crs.is_geographic else MERCATOR_HALF_M if cog.crs == MERCATOR else None
    is_across = window.crs == cog.crs or (cog.crs.is_geographic and window.crs == MERCATOR)
    if half is None or not is_across:
        return [window]
    corners = [
        cog.transform @ corner for corner in itertools.product((0, cog.width), (0, cog.height))
    ]
    west, east = min(x for x, _ in corners), max(x for x, _ in corners)
    turns = [turn for turn in (1, -1) if max(east * turn, west * turn) > half * (1 + 1e-9)]
    return [window, *(window.turned(turn) for turn in turns)]


def _read(
    cog: DatasetReader,
    rule: Validity,
    window: PixelWindow,
    bands: list[int],
    resampling: Resampling,
) -> WindowPixels:
    values = read_valid_window(cog, rule, window, bands, resampling)
    if values is None:
        found = _warped(cog, rule, window, bands, resampling)
    else:
        found = WindowPixels(values, np.ones(values.shape, dtype=np.bool_))
    for index, band in enumerate(bands):
        if band in rule.transparent:
            found.valid[index] &= ~np.isin(found.values[index], rule.transparent[band])
    return found


def _warped(
    cog: DatasetReader,
    rule: Validity,
    window: PixelWindow,
    bands: list[int],
    resampling: Resampling,
) -> WindowPixels:
    nodata = _nodata(rule, bands)
    grid = {"dst_transform": window.transform, "dst_crs": window.crs, "resampling": resampling}
    shape = (window.rows, window.cols)
    if nodata is not None:
        values = np.full((len(bands), *shape), nodata, dtype=cog.dtypes[0])
        reproject(
            rasterio.band(cog, bands),
            values,
            src_nodata=nodata,
            dst_nodata=nodata,
            num_threads=1,
            # Each band by itself. By default GDAL changes the nodata value of a band of 32 bits
            # where another band has a value.
            UNIFIED_SRC_NODATA="NO",
            **grid,
        )
        valid = np.stack([~equals_value(band, nodata) for band in values])
    else:
        # Beside an alpha band rasterio writes each band under its own number.
        alpha = max(bands) + 1
        target = np.zeros((alpha, *shape), dtype=cog.dtypes[0])
        source_alpha = {"src_alpha": rule.alpha} if rule.alpha and not rule.masked else {}
        reproject(
            rasterio.band(cog, bands),
            target,
            dst_alpha=alpha,
            num_threads=1,
            **source_alpha,
            **grid,
        )
        values = target[[band - 1 for band in bands]]
        valid = np.repeat(target[alpha - 1 :] > 0, len(bands), axis=0)
    if values.dtype.kind == "f":
        valid &= ~np.isnan(values)
    return WindowPixels(values, valid)


def _nodata(rule: Validity, bands: Sequence[int]) -> NodataValue | None:
    """Return the nodata value of the bands, or None if a mask or alpha says what is valid."""
    if rule.masked or rule.alpha is not None:
        return None
    values = rule.nodata[bands[0] - 1]
    return values[0] if values else None


def _overview_factor(cog: DatasetReader, window: PixelWindow) -> int | None:
    """Return the factor of the overview to read, 0 for full resolution, None for nothing.

    The scale is the finest of those at points spread over the window.
    """
    cols, rows = np.meshgrid(
        np.linspace(0, window.cols, _POINTS), np.linspace(0, window.rows, _POINTS)
    )
    step = 0.5
    xs, ys = np.concatenate([cols, cols + step, cols]), np.concatenate([rows, rows, rows + step])
    east, north = _applied(window.transform, xs.ravel(), ys.ravel())
    if window.crs != cog.crs:
        east, north = moved_points(window.crs, cog.crs, east, north)
    col, row = _applied(~cog.transform, east, north)
    points = np.stack([col, row]).reshape(2, 3, -1)
    at, right, below = (points[:, index] for index in range(3))
    if _is_outside(cog, at):
        return None
    scales = np.concatenate([np.hypot(*(right - at)), np.hypot(*(below - at))]) / step
    scales = scales[np.isfinite(scales) & (scales > 0)]
    finest = float(scales.min()) if scales.size else 1.0
    fitting = [factor for factor in cog.overviews(1) if factor <= finest * _TOLERANCE]
    return max(fitting, default=0)


def _is_outside(cog: DatasetReader, points: NDArray[np.float64]) -> bool:
    """Return whether a window with these points, in pixels of the COG, does not touch it."""
    if not np.isfinite(points).all():
        return False
    (left, top), (right, bottom) = points.min(axis=1), points.max(axis=1)
    # Edges may bend outwards between the points.
    slack = 0.1 * max(right - left, bottom - top) + 2
    return bool(
        right + slack < 0
        or bottom + slack < 0
        or left - slack > cog.width
        or top - slack > cog.height
    )


def _applied(
    transform: Affine, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    with np.errstate(invalid="ignore"):  # a point without an image is infinite
        return (
            transform.a * x + transform.b * y + transform.c,
            transform.d * x + transform.e * y + transform.f,
        )
