"""A sample of pixels over the whole extent and all bands, bounded in count and bytes.

What belongs here: choosing windows (pure) and reading them. What stays out: what the values mean (`detection.py`).

A window of the source as planned: its pixels with the planned nodata and dtype, and which of them are valid.

Used by the writer, which streams it, and by the comparison, which asks for samples of it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader
from rasterio.windows import Window

from geo_platform.contracts.raster import BandStatistics
from geo_platform.grid import GridShape
from geo_platform.raster.nodata import same_value
from geo_platform.raster.plan import CogPlan

# Decoded, all bands together.
SAMPLE_BYTES = 8 * 1024**2

MINIMUM_WINDOWS = 9
MAXIMUM_WINDOWS = 64
DISTINCT_LIMIT = 65_536

Values = NDArray[Any]


@dataclass(frozen=True)
class BandSample:
    """Valid pixels of one band (1-D, the band's dtype), out of `sampled_pixels` looked at."""

    values: Values
    sampled_pixels: int


def spread_windows(
    shape: GridShape,
    block: GridShape,
    bytes_per_pixel: int,
    budget_bytes: int = SAMPLE_BYTES,
    *,
    at_least: int = MINIMUM_WINDOWS,
) -> tuple[Window, ...]:
    """Whole blocks spread evenly over the grid; all of it in one window where the budget allows. Pure.

    `at_least` so many windows (fewer only where there are fewer blocks). A block too large for its share of the budget is
    sampled in its middle.
    """
    if shape.pixels * bytes_per_pixel <= budget_bytes:
        return (Window(0, 0, shape.cols, shape.rows),)
    block_rows, block_cols = math.ceil(shape.rows / block.rows), math.ceil(shape.cols / block.cols)
    block_bytes = min(block.rows, shape.rows) * min(block.cols, shape.cols) * bytes_per_pixel
    wanted = min(max(budget_bytes // block_bytes, at_least), MAXIMUM_WINDOWS)
    down, across = _factors(wanted, block_rows, block_cols)
    share_px = max(budget_bytes // (bytes_per_pixel * down * across), 1)
    return tuple(
        _within(row * block.rows, col * block.cols, shape, block, share_px)
        for row in _strata(block_rows, down)
        for col in _strata(block_cols, across)
    )


def read_sample(
    dataset: DatasetReader, windows: tuple[Window, ...], nodata: tuple[float | None, ...]
) -> tuple[BandSample, ...]:
    """Read the windows, all bands at once, keep the valid pixels of each band."""
    parts: list[list[Values]] = [[] for _ in dataset.indexes]
    looked_at = 0
    for pixels, valid in valid_pixels(dataset, windows, nodata):
        looked_at += pixels.shape[1] * pixels.shape[2]
        for band, part in enumerate(parts):
            part.append(pixels[band][valid[band]])
    return tuple(BandSample(np.concatenate(part), looked_at) for part in parts)


def search_valid(
    dataset: DatasetReader,
    shape: GridShape,
    block: GridShape,
    nodata: tuple[float | None, ...],
    budget_bytes: int = SAMPLE_BYTES,
) -> tuple[Window, ...]:
    """Go through every block until the budget is full of windows that hold valid pixels; empty where there is none."""
    width = sum(np.dtype(dtype).itemsize for dtype in dataset.dtypes)
    found: list[Window] = []
    for window in all_windows(shape, block, max(budget_bytes // width, 1)):
        for _, valid in valid_pixels(dataset, (window,), nodata):
            if valid.any():
                found.append(window)
        if sum(seen.width * seen.height * width for seen in found) >= budget_bytes:
            break
    return tuple(found)


def all_windows(shape: GridShape, block: GridShape, limit_px: int) -> Iterator[Window]:
    """The whole grid in block order, each window a block, or a piece of one where a block is larger than `limit_px`."""
    cols = min(block.cols, shape.cols)
    if cols < shape.cols and block.rows * shape.cols <= limit_px:
        cols = shape.cols
    rows = min(
        max(limit_px // cols, 1),
        max(block.rows, limit_px // cols // block.rows * block.rows),
        shape.rows,
    )
    for row in range(0, shape.rows, rows):
        for col in range(0, shape.cols, cols):
            yield Window(col, row, min(cols, shape.cols - col), min(rows, shape.rows - row))


def valid_pixels(
    dataset: DatasetReader, windows: tuple[Window, ...], nodata: tuple[float | None, ...]
) -> Iterator[tuple[Values, NDArray[np.bool_]]]:
    """(bands, rows, cols) pixels and whether each is valid, window by window."""
    masked = [
        index
        for index, flags in zip(dataset.indexes, dataset.mask_flag_enums, strict=True)
        if _has_mask(flags)
    ]
    for window in windows:
        pixels = dataset.read(window=window)
        valid = np.stack([_valid(band, value) for band, value in zip(pixels, nodata, strict=True)])
        for index in masked:
            valid[index - 1] &= dataset.read_masks(index, window=window) > 0
        yield pixels, valid


def statistics(sample: BandSample) -> BandStatistics | None:
    """Of the valid pixels; None where there are none. Infinite values count as invalid."""
    values = sample.values
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if not values.size:
        return None
    distinct = int(np.unique(values).size)
    wide = values.astype(np.float64, copy=False)
    return BandStatistics(
        minimum=float(values.min()),
        maximum=float(values.max()),
        mean=float(wide.mean()),
        standard_deviation=float(wide.std()),
        valid_percent=round(100.0 * values.size / sample.sampled_pixels, 3),
        distinct_values=distinct if distinct <= DISTINCT_LIMIT else None,
        sampled_pixels=sample.sampled_pixels,
    )


def _has_mask(flags: list[MaskFlags]) -> bool:
    return (
        (MaskFlags.per_dataset in flags and MaskFlags.nodata not in flags)
        or MaskFlags.alpha in flags
        or flags == []
    )


def _valid(band: Values, nodata: float | None) -> NDArray[np.bool_]:
    valid: NDArray[np.bool_] = (
        ~np.isnan(band) if band.dtype.kind == "f" else np.ones(band.shape, dtype=np.bool_)
    )
    if nodata is not None and not same_value(nodata, math.nan):
        valid &= band != np.asarray(nodata).astype(band.dtype)
    return valid


def _factors(wanted: int, block_rows: int, block_cols: int) -> tuple[int, int]:
    """How many blocks down and across: in proportion to the block grid, not more than `wanted` but for rounding."""
    down = min(max(round(math.sqrt(wanted * block_rows / block_cols)), 1), block_rows)
    across = min(max(wanted // down, 1), block_cols)
    down = min(max(wanted // across, 1), block_rows)
    return down, across


def _strata(count: int, picks: int) -> list[int]:
    """The middle of each of `picks` equal parts of range(count)."""
    return [int((pick + 0.5) * count / picks) for pick in range(picks)]


def _within(row: int, col: int, shape: GridShape, block: GridShape, share_px: int) -> Window:
    """The block at (row, col), cut at the grid's edge, or its middle where it is larger than its share."""
    rows, cols = min(block.rows, shape.rows - row), min(block.cols, shape.cols - col)
    if rows * cols <= share_px:
        return Window(col, row, cols, rows)
    scale = math.sqrt(share_px / (rows * cols))
    inner_rows = max(int(rows * scale), 1)
    inner_cols = min(max(share_px // inner_rows, 1), cols)
    return Window(
        col + (cols - inner_cols) // 2, row + (rows - inner_rows) // 2, inner_cols, inner_rows
    )


def planned_pixels(dataset: DatasetReader, plan: CogPlan, window: Window) -> Values:
    """(bands, rows, cols) in the plan's order and dtype. Bands that mark missing pixels by another value than the planned one
    are rewritten to it."""
    pixels: Values = dataset.read(list(plan.source_bands), window=window)
    pixels = pixels.astype(plan.bands[0].dtype, copy=False)
    planned = plan.nodata
    if planned is None:
        return pixels
    for band, source_band in zip(pixels, plan.source_bands, strict=True):
        own = dataset.nodatavals[source_band - 1]
        if own is not None and not same_value(own, planned):
            band[_equal(band, own)] = planned
    return pixels


def planned_valid(
    dataset: DatasetReader, pixels: Values, plan: CogPlan, window: Window
) -> NDArray[np.bool_]:
    """(rows, cols): valid where the source's mask says so, any band has data (as GDAL's dataset mask has it), and alpha is not 0."""
    valid: NDArray[np.bool_] = dataset.dataset_mask(window=window) > 0
    missing = plan.missing_value
    if missing is not None:
        valid &= ~_equal(pixels, plan.nodata if plan.nodata is not None else missing).all(axis=0)
    if plan.mask_source_band is not None:
        valid &= dataset.read(plan.mask_source_band, window=window) > 0
    return valid


def has_dataset_mask(dataset: DatasetReader) -> bool:
    """A mask that is no nodata value (a PNG's transparent colour is called both) and no alpha band."""
    other = {MaskFlags.alpha, MaskFlags.nodata}
    return any(
        (MaskFlags.per_dataset in flags and not other & set(flags)) or flags == []
        for flags in dataset.mask_flag_enums
    )


def _equal(pixels: Values, value: float) -> NDArray[np.bool_]:
    if math.isnan(value):
        return (
            np.isnan(pixels) if pixels.dtype.kind == "f" else np.zeros(pixels.shape, dtype=np.bool_)
        )
    return np.asarray(pixels == np.asarray(value).astype(pixels.dtype))
