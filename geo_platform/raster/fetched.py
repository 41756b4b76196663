"""The sample of a source that is fetched while it is read: a bound on stored bytes beside the one on decoded ones.

What belongs here: choosing windows by what their blocks weigh in the file. What stays out: spreading and reading them
(`sample.py`), and fetching (`ranged.py`).
"""

from contextlib import suppress
from dataclasses import dataclass
from itertools import product

from rasterio.enums import Interleaving
from rasterio.errors import RasterBlockError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from geo_platform.grid import GridShape
from geo_platform.raster.sample import MINIMUM_WINDOWS, spread_windows

FETCHED_BYTES = 7 * 1024**2
"""With headers and directories, a profile costs less than 8 MB."""


@dataclass(frozen=True)
class FetchedSample:
    """Windows of a source that is fetched while it is read; `in_part` where GDAL is to read rows of a block and not the block."""

    windows: tuple[Window, ...]
    in_part: bool


def plan_fetched_sample(dataset: DatasetReader, shape: GridShape, block: GridShape, bytes_per_pixel: int) -> FetchedSample:
    """As `spread_windows`, with a bound on stored bytes: a window costs its whole blocks, however little of them is looked at.

    Where they are too large, uncompressed tiles are sampled in slices of rows; of others there are fewer, down to one.
    """
    windows = spread_windows(shape, block, bytes_per_pixel, FETCHED_BYTES)
    if sum(stored_bytes(dataset, window, block) for window in windows) <= FETCHED_BYTES:
        return FetchedSample(windows, in_part=False)
    if dataset.compression is None and block.cols < shape.cols:
        rows = max(FETCHED_BYTES // (len(windows) * block.cols * bytes_per_pixel), 1)
        # GDAL 3.10 reads through a gap that is smaller than a tile; from the last tile to the first there is none ahead.
        return FetchedSample(tuple(_slice(window, shape, block, rows) for window in reversed(windows)), in_part=True)
    for at_least in range(MINIMUM_WINDOWS - 1, 0, -1):
        windows = spread_windows(shape, block, bytes_per_pixel, FETCHED_BYTES, at_least=at_least)
        if sum(stored_bytes(dataset, window, block) for window in windows) <= FETCHED_BYTES:
            break
    return FetchedSample(windows, in_part=False)


def stored_bytes(dataset: DatasetReader, window: Window, block: GridShape) -> int:
    """What the blocks under a window take in the file, all bands; a block that the file leaves out takes nothing."""
    bands = (1,) if dataset.interleaving is Interleaving.pixel else dataset.indexes
    rows = range(window.row_off // block.rows, (window.row_off + window.height - 1) // block.rows + 1)
    cols = range(window.col_off // block.cols, (window.col_off + window.width - 1) // block.cols + 1)
    total = 0
    for band, row, col in product(bands, rows, cols):
        with suppress(RasterBlockError):
            total += dataset.block_size(band, row, col)
    return total


def _slice(window: Window, shape: GridShape, block: GridShape, rows: int) -> Window:
    """The middle rows of the block that a window lies in, over the block's whole width."""
    row, col = window.row_off // block.rows * block.rows, window.col_off // block.cols * block.cols
    height, width = min(block.rows, shape.rows - row), min(block.cols, shape.cols - col)
    rows = min(rows, height)
    return Window(col, row + (height - rows) // 2, width, rows)
