"""Pixels of a written COG against the source's, sampled over the whole extent.

What belongs here: the three comparisons and their tolerances with their sources. What stays out: what a difference means
for the job (`verify.py`).
"""

import math
from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.io import DatasetReader
from rasterio.transform import GCPTransformer
from rasterio.windows import Window

from geo_platform.grid import GridShape
from geo_platform.raster.options import Resampling
from geo_platform.raster.plan import CogPlan
from geo_platform.raster.sample import Values, planned_pixels, planned_valid, spread_windows
from geo_platform.raster.target import whole_turn

SAMPLE_BYTES = 4 * 1024**2
JPEG_BLOCK_PX = 16
WARP_WINDOW_PX = 16
MISFITS_AT_MOST = 0.005
# Parts of the sampled pixels that may lie outside: at the ragged edge of a mask the warper's eighth
# of a pixel decides.
LOSSY_MISFITS_AT_MOST = 0.02

# Half the width of each kernel in source pixels; the cubics have 2. Source: GDAL, gdalwarper.cpp,
# GWKGetFilterRadius.
SUPPORT_PX = {
    Resampling.nearest: 0.5,
    Resampling.mode: 0.5,
    Resampling.bilinear: 1.0,
    Resampling.average: 1.0,
    Resampling.lanczos: 3.0,
}

# How far a kernel with negative lobes may leave its neighbours' range, as a part of it: the sum of
# the negative weights is at most 0.14 a dimension for cubic convolution (a = -0.5), 0.2 for Lanczos
# 3, so 1.14^2 - 1 and 1.2^2 - 1.
OVERSHOOT = {Resampling.cubic: 0.3, Resampling.lanczos: 0.45}

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Comparison:
    sampled_pixels: int
    differing_pixels: int
    largest_difference: float
    is_exact: bool
    faults: list[str]


def compare_same_grid(original: DatasetReader, written: DatasetReader, plan: CogPlan) -> Comparison:
    """Bit for bit, the validity of each pixel too; NaN equals NaN."""
    sampled = differing = 0
    largest = 0.0
    for window in _windows(original):
        wanted, found = planned_pixels(original, plan, window), written.read(window=window)
        valid, found_valid = (
            planned_valid(original, wanted, plan, window),
            written.dataset_mask(window=window) > 0,
        )
        unequal = (wanted != found) & ~(_nan(wanted) & _nan(found))
        sampled += wanted.size
        differing += int(unequal.sum()) + int((valid != found_valid).sum())
        if unequal.any():
            largest = max(largest, _largest(wanted[unequal], found[unequal]))
    faults = (
        [f"{differing} of {sampled} sampled pixels differ from the source (by up to {largest:g})"]
        if differing
        else []
    )
    return Comparison(sampled, differing, largest, is_exact=True, faults=faults)


def compare_lossy(original: DatasetReader, written: DatasetReader, plan: CogPlan) -> Comparison:
    """Means of 16 x 16 pixels, which JPEG keeps up to its quantisation of the lowest frequency, whatever the picture's noise."""
    tolerance = jpeg_tolerance(plan.jpeg_quality or 75)
    sampled = differing = 0
    largest = 0.0
    for window in _windows(original):
        window = _aligned(window)
        if window.width < JPEG_BLOCK_PX or window.height < JPEG_BLOCK_PX:
            continue
        wanted, found = planned_pixels(original, plan, window), written.read(window=window)
        valid = planned_valid(original, wanted, plan, window)
        frayed = valid != (written.dataset_mask(window=window) > 0)
        difference = np.abs(_means(wanted) - _means(found))[:, _all(valid)]
        largest = max(largest, float(difference.max(initial=0.0)))
        sampled += wanted.size
        differing += int((difference > tolerance).sum()) * JPEG_BLOCK_PX**2 + int(frayed.sum())
    faults = [
        f"{differing} of {sampled} sampled pixels differ by more than JPEG explains ({largest:.1f} > {tolerance:.1f})"
    ]
    return Comparison(
        sampled, differing, largest, is_exact=False, faults=faults if differing else []
    )


def jpeg_tolerance(quality: int) -> float:
    """Largest error of a block's mean in 8-bit levels: half a step of the DC coefficient in luma and chroma, twice over, plus clipping.

    Source: ITU T.81 annex K tables (DC 16 and 17), scaled as libjpeg's jpeg_quality_scaling does; a DC step of q is q / 8 levels.
    """
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    step = min(max(17 * scale / 100, 1), 255)
    return 8.0 + 2 * step / 8 * 1.772


def compare_warped(original: DatasetReader, written: DatasetReader, plan: CogPlan) -> Comparison:
    """Each sampled pixel's centre is taken back to the source by pyproj, apart from GDAL's warper; its value must lie within
    the range of the source's pixels under the kernel, and be valid where all of them are, invalid where none is."""
    sampled = outside = 0
    largest = 0.0
    for window in _spots(written):
        wanted_rows, wanted_cols = _source_position(original, plan, window)
        found, found_valid = written.read(window=window), written.dataset_mask(window=window) > 0
        reach = _reach(plan, wanted_rows, wanted_cols)
        source_window = _covering(original, wanted_rows, wanted_cols, reach)
        if source_window is None:
            outside += int(found_valid.sum())
            sampled += found_valid.size
            continue
        pixels = planned_pixels(original, plan, source_window)
        valid = planned_valid(original, pixels, plan, source_window)
        spot = _Spot(
            pixels,
            valid,
            wanted_rows - source_window.row_off,
            wanted_cols - source_window.col_off,
            reach=reach,
            overshoot=OVERSHOOT.get(_kernel(plan), 0.0),
            tolerance=_level(plan),
        )
        wrong, excess = spot.misfits(found, found_valid)
        sampled += found_valid.size
        outside += wrong
        largest = max(largest, excess)
    limit = int(sampled * (MISFITS_AT_MOST if plan.is_lossless else LOSSY_MISFITS_AT_MOST))
    faults = (
        [f"{outside} of {sampled} sampled pixels are not what the source has at their place"]
        if outside > limit
        else []
    )
    return Comparison(sampled, outside, largest, is_exact=False, faults=faults)


@dataclass(frozen=True)
class _Spot:
    """Source pixels around a window of the COG, and where in them each of its pixel centres falls."""

    pixels: Values
    valid: Mask
    rows: NDArray[np.float64]
    cols: NDArray[np.float64]
    reach: int
    overshoot: float
    tolerance: float

    def misfits(self, found: Values, found_valid: Mask) -> tuple[int, float]:
        """(how many pixels do not fit, by how much at most)"""
        wrong, excess = 0, 0.0
        for row, col in np.ndindex(found_valid.shape):
            low_row, low_col = (
                math.floor(self.rows[row, col]) - self.reach,
                math.floor(self.cols[row, col]) - self.reach,
            )
            rows = slice(max(low_row, 0), max(low_row + 2 * self.reach + 1, 0))
            cols = slice(max(low_col, 0), max(low_col + 2 * self.reach + 1, 0))
            under = self.valid[rows, cols]
            is_whole = under.shape == (2 * self.reach + 1, 2 * self.reach + 1) and bool(under.all())
            if not under.any() or not found_valid[row, col]:
                wrong += int(found_valid[row, col]) if not under.any() else int(is_whole)
                continue
            beyond = self._beyond(self.pixels[:, rows, cols][:, under], found[:, row, col])
            wrong += int(beyond > 0)
            excess = max(excess, beyond)
        return wrong, excess

    def _beyond(self, around: Values, value: Values) -> float:
        """How far the value leaves the range of the pixels around it, band by band; bands without data there say nothing.

        A level is allowed for rounding, and for the warper's keeping a computed value from being taken for nodata.
        """
        wide, found = around.astype(np.float64), value.astype(np.float64)
        known = np.isfinite(wide)
        low, high = (
            np.where(known, wide, np.inf).min(axis=1),
            np.where(known, wide, -np.inf).max(axis=1),
        )
        has_data = known.any(axis=1) & np.isfinite(found)
        low, high, found = low[has_data], high[has_data], found[has_data]
        slack = (
            self.overshoot * (high - low)
            + 1e-6 * np.maximum(np.abs(low), np.abs(high))
            + self.tolerance
        )
        return float(np.maximum(low - slack - found, found - high - slack).max(initial=0.0))


def _source_position(
    original: DatasetReader, plan: CogPlan, window: Window
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Source (row, col) of each pixel centre of the window, fractional, top left pixel's corner at 0, 0."""
    rows, cols = (
        np.mgrid[
            window.row_off : window.row_off + window.height,
            window.col_off : window.col_off + window.width,
        ]
        + 0.5
    )
    place = Affine(*plan.transform)
    x, y = place.a * cols + place.b * rows + place.c, place.d * cols + place.e * rows + place.f
    transformer = Transformer.from_crs(
        CRS.from_wkt(plan.crs.wkt), CRS.from_wkt(plan.source_crs.wkt), always_xy=True
    )
    x, y = transformer.transform(x, y)
    if original.gcps[0] and original.transform == Affine.identity():
        with GCPTransformer(original.gcps[0]) as points:
            found_rows, found_cols = points.rowcol(x.ravel().tolist(), y.ravel().tolist(), op=float)
        return np.reshape(found_rows, x.shape), np.reshape(found_cols, x.shape)
    back = ~original.transform
    x = _same_turn(x, original, plan)
    return back.d * x + back.e * y + back.f, back.a * x + back.b * y + back.c


def _same_turn(
    x: NDArray[np.float64], original: DatasetReader, plan: CogPlan
) -> NDArray[np.float64]:
    """Positions on the turn that the source's grid is written in (0 to 360 degrees, or on past the antimeridian)."""
    turn = whole_turn(CRS.from_wkt(plan.source_crs.wkt))
    if turn is None:
        return x
    middle, _ = original.transform @ (original.width / 2, original.height / 2)
    return np.asarray((x - middle + turn / 2) % turn - turn / 2 + middle)


def _covering(
    original: DatasetReader, rows: NDArray[np.float64], cols: NDArray[np.float64], reach: int
) -> Window | None:
    """The part of the source that all positions and their kernels touch; None where they touch nothing."""
    finite = np.isfinite(rows) & np.isfinite(cols)
    if not finite.any():
        return None
    top, left = (
        max(math.floor(rows[finite].min()) - reach, 0),
        max(math.floor(cols[finite].min()) - reach, 0),
    )
    bottom = min(math.floor(rows[finite].max()) + reach + 1, original.height)
    right = min(math.floor(cols[finite].max()) + reach + 1, original.width)
    return Window(left, top, right - left, bottom - top) if bottom > top and right > left else None


def _level(plan: CogPlan) -> float:
    """What a single pixel may be off by: nothing in floats, a level in integers, six times a block mean's tolerance in JPEG."""
    if not plan.is_lossless:
        return 6 * jpeg_tolerance(plan.jpeg_quality or 75)
    return 0.0 if plan.bands[0].dtype.startswith("float") else 1.01


def _kernel(plan: CogPlan) -> Resampling:
    chosen = plan.reproject_resampling or Resampling.nearest
    return Resampling.cubic if chosen is Resampling.cubic_spline else chosen


def _reach(plan: CogPlan, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> int:
    """Source pixels to each side that may have a say: the kernel, widened where the COG is coarser, and one more for the warper's
    approximation (an eighth of a pixel) and for the ties of rounding."""
    steps = [
        np.abs(np.diff(position, axis=axis))
        for position in (rows, cols)
        for axis in (0, 1)
        if position.shape[axis] > 1
    ]
    finite = [step[np.isfinite(step)] for step in steps]
    scale = max([1.0, *(float(step.max()) for step in finite if step.size)])
    return min(math.ceil(SUPPORT_PX.get(_kernel(plan), 2.0) * scale) + 1, 64)


def _windows(original: DatasetReader) -> tuple[Window, ...]:
    rows, cols = original.block_shapes[0]
    width = sum(np.dtype(dtype).itemsize for dtype in original.dtypes)
    shape = GridShape(rows=original.height, cols=original.width)
    return spread_windows(shape, GridShape(rows=max(rows, 16), cols=cols), width, SAMPLE_BYTES)


def _spots(written: DatasetReader) -> tuple[Window, ...]:
    """Small windows over the whole of the COG."""
    side = GridShape(rows=WARP_WINDOW_PX, cols=WARP_WINDOW_PX)
    down, across = (
        min(4, math.ceil(written.height / side.rows)),
        min(4, math.ceil(written.width / side.cols)),
    )
    starts = [
        (int((row + 0.5) * written.height / down), int((col + 0.5) * written.width / across))
        for row in range(down)
        for col in range(across)
    ]
    return tuple(
        Window(
            max(min(col - side.cols // 2, written.width - side.cols), 0),
            max(min(row - side.rows // 2, written.height - side.rows), 0),
            min(side.cols, written.width),
            min(side.rows, written.height),
        )
        for row, col in starts
    )


def _aligned(window: Window) -> Window:
    """Cut to whole JPEG blocks, which start at the tile's corner."""
    row, col = (
        -(-window.row_off // JPEG_BLOCK_PX) * JPEG_BLOCK_PX,
        -(-window.col_off // JPEG_BLOCK_PX) * JPEG_BLOCK_PX,
    )
    height = (window.row_off + window.height - row) // JPEG_BLOCK_PX * JPEG_BLOCK_PX
    width = (window.col_off + window.width - col) // JPEG_BLOCK_PX * JPEG_BLOCK_PX
    return Window(col, row, max(width, 0), max(height, 0))


def _means(pixels: Values) -> NDArray[np.float64]:
    bands, rows, cols = pixels.shape
    blocks = pixels.reshape(
        bands, rows // JPEG_BLOCK_PX, JPEG_BLOCK_PX, cols // JPEG_BLOCK_PX, JPEG_BLOCK_PX
    )
    return np.asarray(blocks.mean(axis=(2, 4), dtype=np.float64))


def _all(valid: Mask) -> Mask:
    rows, cols = valid.shape
    return np.asarray(
        valid.reshape(
            rows // JPEG_BLOCK_PX, JPEG_BLOCK_PX, cols // JPEG_BLOCK_PX, JPEG_BLOCK_PX
        ).all(axis=(1, 3))
    )


def _nan(pixels: Values) -> Mask:
    return np.isnan(pixels) if pixels.dtype.kind == "f" else np.zeros(pixels.shape, dtype=np.bool_)


def _largest(wanted: Values, found: Values) -> float:
    difference = np.abs(wanted.astype(np.float64) - found.astype(np.float64))
    return float(np.nanmax(difference, initial=0.0))
