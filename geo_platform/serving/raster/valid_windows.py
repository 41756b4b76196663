"""Read a window faster where every pixel of the COG that it touches is valid.

GDAL's warper takes a multiple of the time when it has to weigh valid pixels, whether or not one of
them is invalid. So the pixels that a window touches are read first. If all of them are valid, they
are resampled without weights: by GDAL's plain reading if the grids differ by shift and scale only,
else by the warper on these pixels alone. The result is that of the warper on the whole COG, except
for rounding. A module of its own, so that `reading.py` stays the rule and this the shortcut.

Called by `reading.py`.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.warp import reproject
from rasterio.windows import Window, from_bounds

from geo_platform.raster.validity import Validity, equals_value
from geo_platform.serving.raster.windows import PixelWindow, moved_points

# Both ways of resampling compute these exactly enough: integers of 32 bits and more lose digits.
_DTYPES = ("uint8", "int16", "uint16", "float32")
# The methods that are faster so, and the pixels that they read on each side of a point: those of
# the coarser grid.
_RADIUS = {Resampling.bilinear: 1, Resampling.cubic: 2}
# The place of a window is computed at so many points per side.
_POINTS = 13
# A window touches at most so many times its own pixels. With fitting overviews it is about 4.
_MOST_PIXELS = 16


def read_valid_window(
    cog: DatasetReader,
    rule: Validity,
    window: PixelWindow,
    bands: Sequence[int],
    resampling: Resampling,
) -> NDArray[Any] | None:
    """Return the bands on the window's grid, all of them valid.

    None if a pixel may not be valid, the window is not inside the COG, or this is no faster.
    """
    if cog.dtypes[0] not in _DTYPES or resampling not in _RADIUS:
        return None
    touched = _touched(cog, window, _RADIUS[resampling])
    if touched is None:
        return None
    pixels = cog.read(list(bands), window=touched)
    if not _is_valid(cog, rule, bands, pixels, touched):
        return None
    if resampling is Resampling.bilinear and _is_parallel(cog, window):
        return np.asarray(
            cog.read(
                list(bands),
                window=from_bounds(*window.bounds, transform=cog.transform),
                out_shape=(len(bands), window.rows, window.cols),
                resampling=resampling,
            )
        )
    target = np.zeros((len(bands), window.rows, window.cols), dtype=pixels.dtype)
    reproject(
        pixels,
        target,
        src_crs=cog.crs,
        src_transform=cog.transform @ Affine.translation(touched.col_off, touched.row_off),
        dst_transform=window.transform,
        dst_crs=window.crs,
        resampling=resampling,
        num_threads=1,
    )
    return target


def _touched(cog: DatasetReader, window: PixelWindow, radius: int) -> Window | None:
    """Return the pixels of the COG that resampling to the window reads.

    None if they are not all in the COG, or very many.
    """
    cols, rows = np.meshgrid(
        np.linspace(0, window.cols, _POINTS), np.linspace(0, window.rows, _POINTS)
    )
    place = window.transform
    xs, ys = place.a * cols + place.b * rows + place.c, place.d * cols + place.e * rows + place.f
    if window.crs != cog.crs:
        moved = moved_points(window.crs, cog.crs, xs.ravel(), ys.ravel())
        xs, ys = (each.reshape(cols.shape) for each in moved)
    if not (np.isfinite(xs).all() and np.isfinite(ys).all()):
        return None
    back = ~cog.transform
    first, last = [], []
    for points, size, count in (
        (back.a * xs + back.b * ys + back.c, window.cols, cog.width),
        (back.d * xs + back.e * ys + back.f, window.rows, cog.height),
    ):
        steps = [np.diff(points, axis=axis) for axis in (0, 1)]
        scale = max(float(np.abs(step).max()) for step in steps) * (_POINTS - 1) / size
        # Between the points an edge bends by less than the change of its direction.
        bend = max(float(np.abs(np.diff(step, axis=a)).max()) for a, step in enumerate(steps))
        margin = radius * max(scale, 1.0) + bend + 1
        low, high = math.floor(points.min() - margin), math.ceil(points.max() + margin)
        if low < 0 or high > count:
            return None
        first.append(low)
        last.append(high)
    touched = Window(first[0], first[1], last[0] - first[0], last[1] - first[1])
    is_small = touched.width * touched.height <= _MOST_PIXELS * window.rows * window.cols
    return touched if is_small else None


def _is_valid(
    cog: DatasetReader,
    rule: Validity,
    bands: Sequence[int],
    pixels: NDArray[Any],
    touched: Window,
) -> bool:
    """Return whether every pixel is valid in every band, and none is partly transparent."""
    if pixels.dtype.kind == "f" and np.isnan(pixels).any():
        return False
    for band, values in zip(bands, pixels, strict=True):
        if band in rule.masked:
            if not (cog.read_masks(band, window=touched) == 255).all():
                return False
        elif any(equals_value(values, nodata).any() for nodata in rule.nodata[band - 1]):
            return False
    if rule.alpha is None:
        return True
    alpha = cog.read(rule.alpha, window=touched)
    return alpha.dtype.kind in "iu" and bool((alpha == np.iinfo(alpha.dtype).max).all())


def _is_parallel(cog: DatasetReader, window: PixelWindow) -> bool:
    """Return whether rows and columns of both grids have the same directions."""
    ours, theirs = window.transform, cog.transform
    return bool(
        window.crs == cog.crs
        and ours.b == ours.d == theirs.b == theirs.d == 0
        and ours.a * theirs.a > 0
        and ours.e * theirs.e > 0
    )
