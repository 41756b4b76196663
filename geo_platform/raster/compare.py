"""Compare sampled pixels of a written COG with the source: on the same grid, as JPEG, or warped.

The tolerances are in docs/raster.md, "Verification". `verify.py` refuses a COG with faults.

Called by `verify.py`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.io import DatasetReader
from rasterio.transform import GCPTransformer
from rasterio.windows import Window

from geo_platform.grid import GridShape
from geo_platform.raster.georeference import control_points
from geo_platform.raster.lonlat import on_earth, some_centres, to_crs, transform_points, x_period
from geo_platform.raster.options import Resampling
from geo_platform.raster.plan import CogPlan
from geo_platform.raster.sample import planned_pixels, planned_valid, spread_windows
from geo_platform.raster.target import placing_in
from geo_platform.raster.validity import Mask, Values, pixel_validity

SAMPLE_BYTES = 4 * 1024**2
JPEG_BLOCK_PX = 16
WARP_WINDOW_PX = 16
# The fraction of sampled pixels of a warped COG that may be outside the tolerance. GDAL's warper
# approximates positions to an eighth of a pixel, so a few pixels at the edge of a mask differ.
MAX_MISFITS = 0.005
MAX_LOSSY_MISFITS = 0.02
# The fraction of the source's pixels that may not be found in a warped COG, for the same reason.
MAX_LOST = 0.02
# Windows per side in which valid pixels of the source are looked for, with this many pixels each.
ASKED_WINDOWS = 5
ASKED_PER_WINDOW = 12
# About how many pixels are read whose place is outside the COG.
MAX_OUTSIDE_READ = 128

# Half the width of each kernel in source pixels. Source: GDAL, gdalwarper.cpp, GWKGetFilterRadius.
CUBIC_RADIUS_PX = 2.0
KERNEL_RADIUS_PX = {
    Resampling.nearest: 0.5,
    Resampling.mode: 0.5,
    Resampling.bilinear: 1.0,
    Resampling.average: 1.0,
    Resampling.lanczos: 3.0,
}

# How far a kernel with negative lobes may overshoot the range of its neighbours, as a fraction of
# the range. The negative weights sum to at most 0.14 per dimension for cubic convolution (a = -0.5)
# and 0.2 for Lanczos 3, hence 1.14^2 - 1 and 1.2^2 - 1.
OVERSHOOT = {Resampling.cubic: 0.3, Resampling.lanczos: 0.45}


@dataclass(frozen=True)
class Comparison:
    """The counts of one comparison, and its faults as phrases. A COG without faults passes."""

    sampled_pixels: int
    differing_pixels: int
    largest_difference: float
    is_exact: bool
    faults: list[str]


def compare_same_grid(original: DatasetReader, written: DatasetReader, plan: CogPlan) -> Comparison:
    """Compare the value and the validity of every sampled pixel exactly. NaN equals NaN."""
    sampled = differing = 0
    largest = 0.0
    for window in _sample_windows(original):
        expected, actual = planned_pixels(original, plan, window), written.read(window=window)
        valid, actual_valid = (
            planned_valid(original, plan, window),
            pixel_validity(written, window=window),
        )
        unequal = (expected != actual) & ~(_is_nan(expected) & _is_nan(actual))
        sampled += expected.size
        differing += int(unequal.sum()) + int((valid != actual_valid).sum())
        if unequal.any():
            largest = max(largest, _largest_difference(expected[unequal], actual[unequal]))
    faults = (
        [f"{differing} of {sampled} sampled pixels differ from the source (by up to {largest:g})"]
        if differing
        else []
    )
    return Comparison(sampled, differing, largest, is_exact=True, faults=faults)


def compare_lossy(original: DatasetReader, written: DatasetReader, plan: CogPlan) -> Comparison:
    """Compare the means of blocks of 16 x 16 pixels, and the validity of each pixel.

    JPEG keeps these means up to the quantisation of its lowest frequency, however noisy the image.
    """
    tolerance = jpeg_tolerance(plan.jpeg_quality or 75)
    sampled = differing = 0
    largest = 0.0
    for window in _sample_windows(original):
        window = _whole_blocks(window)
        if window.width < JPEG_BLOCK_PX or window.height < JPEG_BLOCK_PX:
            continue
        expected, actual = planned_pixels(original, plan, window), written.read(window=window)
        valid = planned_valid(original, plan, window)
        wrong_mask = valid != pixel_validity(written, window=window)
        difference = np.abs(_block_means(expected) - _block_means(actual))[:, _all_valid(valid)]
        largest = max(largest, float(difference.max(initial=0.0)))
        sampled += expected.size
        differing += int((difference > tolerance).sum()) * JPEG_BLOCK_PX**2 + int(wrong_mask.sum())
    faults = [
        f"{differing} of {sampled} sampled pixels differ by more than JPEG explains "
        f"({largest:.1f} > {tolerance:.1f})"
    ]
    return Comparison(
        sampled, differing, largest, is_exact=False, faults=faults if differing else []
    )


def jpeg_tolerance(quality: int) -> float:
    """Return the largest error of a block's mean, in 8-bit levels.

    The error is half a step of the DC coefficient in luma and chroma, doubled, plus clipping.
    Source: ITU T.81 annex K tables (DC 16 and 17), scaled as libjpeg's jpeg_quality_scaling does;
    a DC step of q is q / 8 levels.
    """
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    step = min(max(17 * scale / 100, 1), 255)
    return 8.0 + 2 * step / 8 * 1.772


def compare_warped(original: DatasetReader, written: DatasetReader, plan: CogPlan) -> Comparison:
    """Compare each sampled pixel with the source's pixels around the same position.

    PROJ computes the position in the source, independently of GDAL's warper. The value must be
    within the range of the source's pixels under the resampling kernel. The pixel must be valid if
    all source pixels under the kernel are valid, and invalid if none of them is. A small fraction
    of misfits (MAX_MISFITS, MAX_LOSSY_MISFITS) is no fault. Then the reverse: valid pixels of the
    source must be in the COG (MAX_LOST).
    """
    sampled = outside = 0
    largest = 0.0
    for window in _small_windows(written):
        rows, cols = (
            np.mgrid[
                window.row_off : window.row_off + window.height,
                window.col_off : window.col_off + window.width,
            ]
            + 0.5
        )
        source_rows, source_cols = _source_positions(original, plan, rows, cols)
        reach = _kernel_reach(plan, source_rows, source_cols)
        wrong, excess = _misfits(original, written, plan, window, source_rows, source_cols, reach)
        sampled += window.width * window.height
        outside += wrong
        largest = max(largest, excess)
    limit = int(sampled * (MAX_MISFITS if plan.is_lossless else MAX_LOSSY_MISFITS))
    faults = (
        [f"{outside} of {sampled} sampled pixels do not fit the source's pixels at their position"]
        if outside > limit
        else []
    )
    asked, lost, excess = _ask_for_source_pixels(original, written, plan)
    if lost > max(int(asked * MAX_LOST), 1):
        faults.append(f"{lost} of {asked} valid pixels of the source are not at their place")
    left_out = _pixels_outside(original, plan)
    if left_out:
        faults.append(f"valid pixels of the source are outside, for example {left_out}")
    return Comparison(
        sampled + asked, outside + lost, max(largest, excess), is_exact=False, faults=faults
    )


def _ask_for_source_pixels(
    original: DatasetReader, written: DatasetReader, plan: CogPlan
) -> tuple[int, int, float]:
    """Look up valid pixels of the source in the COG; return (asked, lost, the largest excess).

    The pixels are from windows all over the source, its edges included. A pixel is lost if it has a
    place in the target CRS and the COG's pixel at this place is invalid although all source pixels
    under the kernel are valid, or has a value outside their range.
    """
    lost, largest = 0, 0.0
    found: list[NDArray[np.float64]] = []
    for window in _windows_to_the_edges(original):
        places = np.argwhere(planned_valid(original, plan, window)) + 0.5
        some = places[:: max(len(places) // ASKED_PER_WINDOW, 1)]
        found.append(some + np.array([window.row_off, window.col_off]))
    rows, cols = _cog_positions(original, plan, *np.concatenate(found).T)
    with np.errstate(invalid="ignore"):
        inside = (rows >= 0) & (rows < plan.shape.rows) & (cols >= 0) & (cols < plan.shape.cols)
    there = np.unique(np.floor(np.stack([rows[inside], cols[inside]])), axis=1)
    # Of each pixel, the next ones tell how many pixels of the source it covers.
    corners = there[:, :, None, None] + np.mgrid[0:2, 0:2][:, None]
    source_rows, source_cols = _source_positions(original, plan, *(corners + 0.5))
    on_map = np.isfinite(source_rows[:, 0, 0]) & np.isfinite(source_cols[:, 0, 0])
    there, source_rows, source_cols = there[:, on_map], source_rows[on_map], source_cols[on_map]
    for index, (row, col) in enumerate(there.T.astype(int).tolist()):
        wrong, excess = _misfits(
            original,
            written,
            plan,
            Window(col, row, 1, 1),
            source_rows[index, :1, :1],
            source_cols[index, :1, :1],
            _kernel_reach(plan, source_rows[index], source_cols[index]),
        )
        lost += wrong
        largest = max(largest, excess)
    return there.shape[1], lost, largest


def _misfits(
    original: DatasetReader,
    written: DatasetReader,
    plan: CogPlan,
    window: Window,
    source_rows: NDArray[np.float64],
    source_cols: NDArray[np.float64],
    reach: int,
) -> tuple[int, float]:
    """Return (how many pixels of the window do not fit the source's, the largest excess)."""
    actual, actual_valid = written.read(window=window), pixel_validity(written, window=window)
    source_window = _covering_window(original, source_rows, source_cols, reach)
    if source_window is None:
        return int(actual_valid.sum()), 0.0
    pixels = planned_pixels(original, plan, source_window)
    valid = planned_valid(original, plan, source_window)
    neighbourhood = _Neighbourhood(
        pixels,
        valid,
        source_rows - source_window.row_off,
        source_cols - source_window.col_off,
        reach=reach,
        overshoot=OVERSHOOT.get(_kernel(plan), 0.0),
        tolerance=_pixel_tolerance(plan),
    )
    return neighbourhood.misfits(actual, actual_valid)


def _pixels_outside(original: DatasetReader, plan: CogPlan) -> str:
    """Return a valid pixel of the source whose place is outside the COG, as text, "" without one.

    Positions of pixels all over the source are computed; pixels are read only if a position is
    outside by more than a pixel of the COG.
    """
    cols, rows = some_centres(GridShape(rows=original.height, cols=original.width))
    place = _cog_positions(original, plan, rows, cols)
    is_outside = np.isfinite(place[0]) & (
        (place[0] < -1)
        | (place[0] > plan.shape.rows + 1)
        | (place[1] < -1)
        | (place[1] > plan.shape.cols + 1)
    )
    outside = np.flatnonzero(is_outside)
    for index in outside[:: max(outside.size // MAX_OUTSIDE_READ, 1)]:
        window = Window(int(cols[index]), int(rows[index]), 1, 1)
        if planned_valid(original, plan, window).all():
            return f"row {int(rows[index])}, column {int(cols[index])}"
    return ""


def _spread(length: int, count: int) -> NDArray[np.int64]:
    """Return at most `count` indices from the first to the last."""
    return np.unique(np.linspace(0, length - 1, count).round().astype(np.int64))


def _cog_positions(
    original: DatasetReader,
    plan: CogPlan,
    rows: NDArray[np.float64],
    cols: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the COG's (rows, cols) at fractional positions of the source.

    They are infinite where the target CRS has no such place.
    """
    placing = placing_in(CRS.from_wkt(plan.source_crs.wkt), CRS.from_wkt(plan.crs.wkt))
    if _placed_by_points(original):
        with GCPTransformer(control_points(original)) as points:
            there = points.xy(rows.tolist(), cols.tolist(), offset="ul")
        x, y = placing(np.asarray(there[0]), np.asarray(there[1]))
    else:
        x, y = placing(*to_crs(original.transform, cols, rows))
    period = x_period(CRS.from_wkt(plan.crs.wkt))
    if period is not None:
        # A place on the western edge may come out as the eastern edge, and the reverse.
        west = plan.bounds.xmin - 1e-9 * period
        with np.errstate(invalid="ignore"):
            x = np.where(np.isfinite(x), (x - west) % period + west, x)
    found_cols, found_rows = to_crs(~Affine(*plan.transform), x, y)
    return found_rows, found_cols


@dataclass(frozen=True)
class _Neighbourhood:
    """Source pixels around a window of the COG, and where the window's pixels are among them.

    `rows`, `cols`: for each pixel of the window, its centre as fractional row and column of
    `pixels`. `reach`: see `_kernel_reach`.
    """

    pixels: Values
    valid: Mask
    rows: NDArray[np.float64]
    cols: NDArray[np.float64]
    reach: int
    overshoot: float
    tolerance: float

    def misfits(self, actual: Values, actual_valid: Mask) -> tuple[int, float]:
        """Return (how many pixels do not fit, the largest excess)."""
        wrong, excess = 0, 0.0
        for row, col in np.ndindex(actual_valid.shape):
            if not (math.isfinite(self.rows[row, col]) and math.isfinite(self.cols[row, col])):
                wrong += int(actual_valid[row, col])
                continue
            low_row, low_col = (
                math.floor(self.rows[row, col]) - self.reach,
                math.floor(self.cols[row, col]) - self.reach,
            )
            rows = slice(max(low_row, 0), max(low_row + 2 * self.reach + 1, 0))
            cols = slice(max(low_col, 0), max(low_col + 2 * self.reach + 1, 0))
            under_kernel = self.valid[rows, cols]
            is_whole = under_kernel.shape == (2 * self.reach + 1, 2 * self.reach + 1) and bool(
                under_kernel.all()
            )
            if not under_kernel.any() or not actual_valid[row, col]:
                wrong += int(actual_valid[row, col]) if not under_kernel.any() else int(is_whole)
                continue
            excess_here = self._excess(
                self.pixels[:, rows, cols][:, under_kernel], actual[:, row, col]
            )
            wrong += int(excess_here > 0)
            excess = max(excess, excess_here)
        return wrong, excess

    def _excess(self, around: Values, value: Values) -> float:
        """Return how far the value is outside the range of the pixels around it, over all bands.

        Bands without finite source pixels do not count. `tolerance` covers rounding, and the small
        change that the warper makes to a computed value that equals nodata.
        """
        source_values, actual = around.astype(np.float64), value.astype(np.float64)
        is_finite = np.isfinite(source_values)
        low, high = (
            np.where(is_finite, source_values, np.inf).min(axis=1),
            np.where(is_finite, source_values, -np.inf).max(axis=1),
        )
        has_data = is_finite.any(axis=1) & np.isfinite(actual)
        low, high, actual = low[has_data], high[has_data], actual[has_data]
        slack = (
            self.overshoot * (high - low)
            + 1e-6 * np.maximum(np.abs(low), np.abs(high))
            + self.tolerance
        )
        return float(np.maximum(low - slack - actual, actual - high - slack).max(initial=0.0))


def _source_positions(
    original: DatasetReader, plan: CogPlan, rows: NDArray[np.float64], cols: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the source's (rows, cols) at fractional positions of the COG.

    The outer corner of the top left pixel is at 0, 0.
    """
    x, y = to_crs(Affine(*plan.transform), cols, rows)
    target = CRS.from_wkt(plan.crs.wkt)
    on_map = np.isfinite(on_earth(target)(x, y)[0])
    transformer = Transformer.from_crs(target, CRS.from_wkt(plan.source_crs.wkt), always_xy=True)
    x, y = (np.where(on_map, value, np.inf) for value in transform_points(transformer, x, y))
    if _placed_by_points(original):
        control = control_points(original)
        middle = (max(point.x for point in control) + min(point.x for point in control)) / 2
        x = _in_source_period(x, middle, plan)
        with GCPTransformer(control) as points:
            found_rows, found_cols = points.rowcol(x.ravel().tolist(), y.ravel().tolist(), op=float)
        return np.reshape(found_rows, x.shape), np.reshape(found_cols, x.shape)
    to_pixels = ~original.transform
    middle, _ = original.transform @ (original.width / 2, original.height / 2)
    x = _in_source_period(x, middle, plan)
    found_cols, found_rows = to_crs(to_pixels, x, y)
    return found_rows, found_cols


def _in_source_period(x: NDArray[np.float64], middle: float, plan: CogPlan) -> NDArray[np.float64]:
    """Shift x into the source's range: 0 to 360 degrees, or continuing past the antimeridian."""
    period = x_period(CRS.from_wkt(plan.source_crs.wkt))
    if period is None:
        return x
    with np.errstate(invalid="ignore"):
        return np.asarray((x - middle + period / 2) % period - period / 2 + middle)


def _placed_by_points(dataset: DatasetReader) -> bool:
    return bool(dataset.gcps[0]) and dataset.transform == Affine.identity()


def _covering_window(
    original: DatasetReader, rows: NDArray[np.float64], cols: NDArray[np.float64], reach: int
) -> Window | None:
    """Return the part of the source that the kernels at all positions cover, or None."""
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


def _pixel_tolerance(plan: CogPlan) -> float:
    """Return the allowed error of one pixel.

    The error is 0 for floats, one level for integers, and six times the error of a block's mean
    for JPEG.
    """
    if not plan.is_lossless:
        return 6 * jpeg_tolerance(plan.jpeg_quality or 75)
    return 0.0 if plan.bands[0].dtype.startswith("float") else 1.01


def _kernel(plan: CogPlan) -> Resampling:
    chosen = plan.reproject_resampling or Resampling.nearest
    return Resampling.cubic if chosen is Resampling.cubic_spline else chosen


def _kernel_reach(plan: CogPlan, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> int:
    """Return how many source pixels on each side of a position may contribute to its value.

    The reach is the kernel's radius, times the scale if the COG is coarser, plus one for the
    warper's approximation (an eighth of a pixel) and for rounding of ties. It is limited to 64.
    """
    with np.errstate(invalid="ignore"):
        steps = [
            np.abs(np.diff(position, axis=axis))
            for position in (rows, cols)
            for axis in (0, 1)
            if position.shape[axis] > 1
        ]
    finite = [step[np.isfinite(step)] for step in steps]
    scale = max([1.0, *(float(step.max()) for step in finite if step.size)])
    return min(math.ceil(KERNEL_RADIUS_PX.get(_kernel(plan), CUBIC_RADIUS_PX) * scale) + 1, 64)


def _sample_windows(original: DatasetReader) -> tuple[Window, ...]:
    rows, cols = original.block_shapes[0]
    bytes_per_pixel = sum(np.dtype(dtype).itemsize for dtype in original.dtypes)
    shape = GridShape(rows=original.height, cols=original.width)
    return spread_windows(
        shape, GridShape(rows=max(rows, 16), cols=cols), bytes_per_pixel, SAMPLE_BYTES
    )


def _small_windows(written: DatasetReader) -> tuple[Window, ...]:
    """Return up to 4 x 4 small windows, spread over the whole COG."""
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


def _windows_to_the_edges(original: DatasetReader) -> Iterator[Window]:
    """Yield small windows, spread over the whole source from its first to its last pixels."""
    height, width = min(WARP_WINDOW_PX, original.height), min(WARP_WINDOW_PX, original.width)
    for row in _spread(original.height - height + 1, ASKED_WINDOWS).tolist():
        for col in _spread(original.width - width + 1, ASKED_WINDOWS).tolist():
            yield Window(col, row, width, height)


def _whole_blocks(window: Window) -> Window:
    """Return the whole JPEG blocks in the window. Blocks start at multiples of 16 pixels."""
    row, col = (
        -(-window.row_off // JPEG_BLOCK_PX) * JPEG_BLOCK_PX,
        -(-window.col_off // JPEG_BLOCK_PX) * JPEG_BLOCK_PX,
    )
    height = (window.row_off + window.height - row) // JPEG_BLOCK_PX * JPEG_BLOCK_PX
    width = (window.col_off + window.width - col) // JPEG_BLOCK_PX * JPEG_BLOCK_PX
    return Window(col, row, max(width, 0), max(height, 0))


def _block_means(pixels: Values) -> NDArray[np.float64]:
    bands, rows, cols = pixels.shape
    blocks = pixels.reshape(
        bands, rows // JPEG_BLOCK_PX, JPEG_BLOCK_PX, cols // JPEG_BLOCK_PX, JPEG_BLOCK_PX
    )
    return np.asarray(blocks.mean(axis=(2, 4), dtype=np.float64))


def _all_valid(valid: Mask) -> Mask:
    rows, cols = valid.shape
    return np.asarray(
        valid.reshape(
            rows // JPEG_BLOCK_PX, JPEG_BLOCK_PX, cols // JPEG_BLOCK_PX, JPEG_BLOCK_PX
        ).all(axis=(1, 3))
    )


def _is_nan(pixels: Values) -> Mask:
    return np.isnan(pixels) if pixels.dtype.kind == "f" else np.zeros(pixels.shape, dtype=np.bool_)


def _largest_difference(expected: Values, actual: Values) -> float:
    difference = np.abs(expected.astype(np.float64) - actual.astype(np.float64))
    return float(np.nanmax(difference, initial=0.0))
