"""Choose windows of a raster, and read their valid pixels, of the source or as planned.

Windows for a sample are spread over the whole extent and bounded in count and bytes. For what the
sampled values mean see `detection.py`.

Used by `raster`.
"""

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import product

import numpy as np
from rasterio.enums import Interleaving
from rasterio.errors import RasterBlockError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from geo_platform.contracts.raster import BandStatistics
from geo_platform.errors import NodataConflict
from geo_platform.grid import GridShape
from geo_platform.raster.plan import CogPlan
from geo_platform.raster.validity import (
    Mask,
    NodataValue,
    Values,
    equals_value,
    nodata_values,
    representable,
    same_value,
    validity_of,
)

# Limit on the decoded bytes of a sample, all bands together.
SAMPLE_BYTES = 8 * 1024**2
# Limit on the stored bytes that a sample fetches from an object store. With headers and
# directories, profiling such a source fetches less than 8 MB.
FETCHED_BYTES = 7 * 1024**2

MINIMUM_WINDOWS = 9
MAXIMUM_WINDOWS = 64
# Larger values are divided by LARGE_UNIT, a power of two, before their figures are computed.
LARGE, LARGE_UNIT = 2.0**480, 2.0**600
# Above this, the number of distinct values is not reported.
DISTINCT_LIMIT = 65_536


@dataclass(frozen=True)
class BandSample:
    """The valid pixels of one band (1-D, of the band's dtype), out of `sampled_pixels` read."""

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
    """Return whole blocks spread evenly over the grid, or the whole grid if the budget allows.

    There are at least `at_least` windows, or as many as there are blocks. If a block is larger than
    its share of the budget, the window is only the middle of the block.
    """
    if shape.pixels * bytes_per_pixel <= budget_bytes:
        return (Window(0, 0, shape.cols, shape.rows),)
    block_rows, block_cols = math.ceil(shape.rows / block.rows), math.ceil(shape.cols / block.cols)
    block_bytes = min(block.rows, shape.rows) * min(block.cols, shape.cols) * bytes_per_pixel
    count = min(max(budget_bytes // block_bytes, at_least), MAXIMUM_WINDOWS)
    down, across = _factors(count, block_rows, block_cols)
    share_px = max(budget_bytes // (bytes_per_pixel * down * across), 1)
    return tuple(
        _block_window(row * block.rows, col * block.cols, shape, block, share_px)
        for row in _middles(block_rows, down)
        for col in _middles(block_cols, across)
    )


@dataclass(frozen=True)
class FetchedSample:
    """Windows to sample in a source that is fetched from an object store while it is read.

    `partial_tiles`: GDAL must read single rows of a tile instead of whole tiles.
    """

    windows: tuple[Window, ...]
    partial_tiles: bool


def plan_fetched_sample(
    dataset: DatasetReader, shape: GridShape, block: GridShape, bytes_per_pixel: int
) -> FetchedSample:
    """Return windows as `spread_windows` does, but bound the stored bytes that they fetch.

    A window fetches whole blocks, however small the window is. If that is too much, uncompressed
    tiles are sampled in slices of rows; for other files there are fewer windows, down to one.
    """
    windows = spread_windows(shape, block, bytes_per_pixel, FETCHED_BYTES)
    if sum(stored_bytes(dataset, window, block) for window in windows) <= FETCHED_BYTES:
        return FetchedSample(windows, partial_tiles=False)
    if dataset.compression is None and block.cols < shape.cols:
        rows = max(FETCHED_BYTES // (len(windows) * block.cols * bytes_per_pixel), 1)
        # From the last tile to the first: going forward, GDAL 3.10 also fetches the gap between two
        # reads if it is smaller than a tile.
        slices = tuple(_middle_rows(window, shape, block, rows) for window in reversed(windows))
        return FetchedSample(slices, partial_tiles=True)
    for at_least in range(MINIMUM_WINDOWS - 1, 0, -1):
        windows = spread_windows(shape, block, bytes_per_pixel, FETCHED_BYTES, at_least=at_least)
        if sum(stored_bytes(dataset, window, block) for window in windows) <= FETCHED_BYTES:
            break
    return FetchedSample(windows, partial_tiles=False)


def stored_bytes(dataset: DatasetReader, window: Window, block: GridShape) -> int:
    """Return the bytes in the file of all blocks that the window touches, for all bands."""
    bands = (1,) if dataset.interleaving is Interleaving.pixel else dataset.indexes
    rows = range(
        window.row_off // block.rows, (window.row_off + window.height - 1) // block.rows + 1
    )
    cols = range(
        window.col_off // block.cols, (window.col_off + window.width - 1) // block.cols + 1
    )
    total = 0
    for band, row, col in product(bands, rows, cols):
        with suppress(RasterBlockError):  # a block that a sparse file does not store
            total += dataset.block_size(band, row, col)
    return total


def read_sample(
    dataset: DatasetReader, windows: tuple[Window, ...], nodata: tuple[NodataValue | None, ...]
) -> tuple[BandSample, ...]:
    """Read the windows and return the valid pixels of each band."""
    parts: list[list[Values]] = [[] for _ in dataset.indexes]
    sampled_pixels = 0
    for pixels, valid in valid_pixels(dataset, windows, nodata):
        sampled_pixels += pixels.shape[1] * pixels.shape[2]
        for band, part in enumerate(parts):
            part.append(pixels[band][valid[band]])
    return tuple(BandSample(np.concatenate(part), sampled_pixels) for part in parts)


def find_valid_windows(
    dataset: DatasetReader,
    shape: GridShape,
    block: GridShape,
    nodata: tuple[NodataValue | None, ...],
    budget_bytes: int = SAMPLE_BYTES,
) -> tuple[Window, ...]:
    """Read the raster block by block; return windows with valid pixels, up to the budget."""
    data = [band - 1 for band in validity_of(dataset, nodata).data_bands]
    bytes_per_pixel = sum(np.dtype(dtype).itemsize for dtype in dataset.dtypes)
    windows: list[Window] = []
    for window in all_windows(shape, block, max(budget_bytes // bytes_per_pixel, 1)):
        for _, valid in valid_pixels(dataset, (window,), nodata):
            if valid[data].any():
                windows.append(window)
        if sum(other.width * other.height for other in windows) * bytes_per_pixel >= budget_bytes:
            break
    return tuple(windows)


def all_windows(shape: GridShape, block: GridShape, limit_px: int) -> Iterator[Window]:
    """Yield windows that cover the grid in block order.

    A window holds whole blocks, or a part of one block if a block is larger than `limit_px`.
    """
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
    dataset: DatasetReader, windows: tuple[Window, ...], nodata: tuple[NodataValue | None, ...]
) -> Iterator[tuple[Values, Mask]]:
    """Yield (pixels, valid) of each window, both of shape (bands, rows, cols)."""
    validity = validity_of(dataset, nodata)
    for window in windows:
        pixels = dataset.read(window=window)
        yield pixels, validity.of_bands(dataset, pixels, window=window)


def statistics(sample: BandSample) -> BandStatistics | None:
    """Return statistics of the valid pixels, None if there are none. Infinity is invalid."""
    values = sample.values
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if not values.size:
        return None
    distinct = int(np.unique(values).size)
    wide = values.astype(np.float64, copy=False)
    # Sums and squares of numbers near the end of float64 would be infinite.
    unit = LARGE_UNIT if max(-wide.min(), wide.max()) > LARGE else 1.0
    wide = wide / unit if unit > 1.0 else wide
    return BandStatistics(
        minimum=float(values.min()),
        maximum=float(values.max()),
        mean=float(wide.mean() * unit),
        standard_deviation=float(wide.std() * unit),
        valid_percent=round(100.0 * values.size / sample.sampled_pixels, 3),
        distinct_values=distinct if distinct <= DISTINCT_LIMIT else None,
        sampled_pixels=sample.sampled_pixels,
    )


def planned_pixels(dataset: DatasetReader, plan: CogPlan, window: Window) -> Values:
    """Return the window of the source as planned: (bands, rows, cols), with the planned dtype.

    Nodata values of the file that differ from the planned nodata value are replaced; so is NaN,
    except under a mask.
    Raises NodataConflict: if a valid pixel has the value that replaces another nodata value.
    """
    pixels: Values = dataset.read(list(plan.source_bands), window=window)
    pixels = pixels.astype(plan.bands[0].dtype, copy=False)
    planned_nodata = plan.nodata
    if planned_nodata is None:
        return pixels
    own_values = nodata_values(dataset)
    for band, source_band in zip(pixels, plan.source_bands, strict=True):
        own = own_values[source_band - 1]
        if (
            own is not None
            and representable(own, dataset.dtypes[source_band - 1])
            and not same_value(own, planned_nodata)
        ):
            if equals_value(band, planned_nodata).any():
                raise NodataConflict(
                    f"Band {source_band} has valid pixels of the value {planned_nodata:g}, which "
                    f"is to replace its nodata value {own:g}.",
                    remedy="Set `nodata` to a value that no pixel has.",
                )
            band[equals_value(band, own)] = planned_nodata
        if not plan.has_internal_mask:
            band[equals_value(band, math.nan)] = planned_nodata
    return pixels


def planned_valid(dataset: DatasetReader, plan: CogPlan, window: Window) -> Mask:
    """Return (rows, cols), True where a pixel is valid in the source, and so in the COG.

    A pixel is valid if it is valid in one band at least and the band that becomes the mask of a
    JPEG, if any, is not 0.
    """
    decided = tuple(plan.source_nodata_value for _ in dataset.indexes)
    valid = validity_of(dataset, decided).of_pixels(dataset, window=window)
    if plan.mask_source_band is not None:
        valid &= dataset.read(plan.mask_source_band, window=window) > 0
    return valid


def _factors(count: int, block_rows: int, block_cols: int) -> tuple[int, int]:
    """Return how many blocks to take down and across: about `count` in all, in proportion."""
    down = min(max(round(math.sqrt(count * block_rows / block_cols)), 1), block_rows)
    across = min(max(count // down, 1), block_cols)
    down = min(max(count // across, 1), block_rows)
    return down, across


def _middles(count: int, picks: int) -> list[int]:
    """Return the middle of each of `picks` equal parts of range(count)."""
    return [int((pick + 0.5) * count / picks) for pick in range(picks)]


def _block_window(row: int, col: int, shape: GridShape, block: GridShape, share_px: int) -> Window:
    """Return the block at (row, col) clipped to the grid, or its middle if it exceeds its share."""
    rows, cols = min(block.rows, shape.rows - row), min(block.cols, shape.cols - col)
    if rows * cols <= share_px:
        return Window(col, row, cols, rows)
    scale = math.sqrt(share_px / (rows * cols))
    inner_rows = max(int(rows * scale), 1)
    inner_cols = min(max(share_px // inner_rows, 1), cols)
    return Window(
        col + (cols - inner_cols) // 2, row + (rows - inner_rows) // 2, inner_cols, inner_rows
    )


def _middle_rows(window: Window, shape: GridShape, block: GridShape, rows: int) -> Window:
    """Return the middle rows of the block that holds the window, over the block's width."""
    row, col = window.row_off // block.rows * block.rows, window.col_off // block.cols * block.cols
    height, width = min(block.rows, shape.rows - row), min(block.cols, shape.cols - col)
    rows = min(rows, height)
    return Window(col, row + (height - rows) // 2, width, rows)
