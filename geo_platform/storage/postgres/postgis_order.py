"""Sort the rows of a load so that rows that are close in space are on the same pages of the table.

Rows are collected in groups of 8 MB (here called runs), and each run is sorted along a Hilbert
curve before it is sent. So most tables need no second pass, and the rows of a map window are on few
pages of each run. Measured on 500,000 polygons in random order (342 MB) with a window of 1,000
rows: 988 pages in the order of arrival, 262 in runs, 114 fully sorted; 0.96, 0.41 and 0.36 ms from
memory. Runs of 24 MB need fewer pages, but no longer fit into the processor's cache.

If `should_rewrite_in_order` returns True, `postgis_finish.py` sorts the whole table.

Called by `postgis.py`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from geo_platform.wkb import Positions, first_positions

RUN_BYTES = 8 * 2**20
_CHUNK_BYTES = 4 * 2**20
# A table of a thousand pages fits into memory, so that the order of its rows does not matter.
_SMALL_BYTES = 8 * 2**20

# Rows are sorted if the path from each row to the next is this many times longer in the order of
# the source than in the sorted order. So a source that has a spatial order keeps that order.
_MIN_GAIN = 2.0

# If more runs than this cover a place on average, a map window reads at least as many pages, and a
# second pass is worth its time. About 1 GB of rows in random order reaches this limit.
_MAX_MEAN_OVERLAP = 128

# Coordinates are scaled before they are subtracted, since they may be as large as a float can be.
_NO_OVERFLOW = 0.25

# The level of the curve gives four million cells; a run has some ten thousand rows.
_LEVEL = 11

_CELLS = 2**_LEVEL - 1


@dataclass
class RunBoxes:
    """The bounding boxes of the runs that were sent."""

    boxes: list[npt.NDArray[np.float64]] = field(default_factory=list)

    def add(self, positions: Positions) -> None:
        if len(positions):
            self.boxes.append(np.concatenate([positions.min(axis=0), positions.max(axis=0)]))

    @property
    def mean_overlap(self) -> float:
        """How many runs cover a place on average: the sum of their areas / the total area."""
        if not self.boxes:
            return 0.0
        boxes = np.array(self.boxes) * _NO_OVERFLOW
        sides = boxes[:, 2:] - boxes[:, :2]
        whole = boxes[:, 2:].max(axis=0) - boxes[:, :2].min(axis=0)
        return float((sides[:, whole > 0] / whole[whole > 0]).prod(axis=1).sum())


def should_rewrite_in_order(runs: RunBoxes) -> bool:
    """Return whether so many runs overlap that sorting the whole table is worth its time."""
    return runs.mean_overlap > _MAX_MEAN_OVERLAP


def sort_in_runs(
    batches: Iterable[pa.RecordBatch], geometry_column: str, runs: RunBoxes
) -> Iterator[pa.RecordBatch]:
    """Yield the rows in chunks of about 4 MB. Sort each run, unless it has a spatial order already.

    The box of each run is added to `runs`.
    """
    run_batches: list[pa.RecordBatch] = []
    run_bytes = 0
    for batch in batches:
        run_batches.append(batch)
        run_bytes += batch.nbytes
        if run_bytes >= RUN_BYTES:
            yield from _sort_run(run_batches, run_bytes, geometry_column, runs)
            run_batches, run_bytes = [], 0
    if run_batches:
        yield from _sort_run(run_batches, run_bytes, geometry_column, runs)


def _sort_run(
    run_batches: list[pa.RecordBatch], size_bytes: int, geometry_column: str, runs: RunBoxes
) -> Iterator[pa.RecordBatch]:
    places = np.concatenate(
        [first_positions(batch.column(geometry_column)) for batch in run_batches]
    )
    positions = np.where(np.isfinite(places), places, 0)
    is_small = not runs.boxes and size_bytes < _SMALL_BYTES
    order = None if is_small else spatial_order(positions)
    runs.add(positions)
    table = pa.Table.from_batches(run_batches)
    if order is not None:
        table = table.combine_chunks().take(pa.array(order))
    yield from table.to_batches(
        max_chunksize=max(1, len(positions) * _CHUNK_BYTES // max(size_bytes, 1))
    )


def spatial_order(positions: Positions) -> npt.NDArray[np.int64] | None:
    """Return the order of rows along a Hilbert curve over their extent.

    Return None if the rows are in a spatial order already.
    """
    points = _in_unit_square(positions)
    order = np.argsort(_hilbert_keys(points), kind="stable")
    return order if _path_length(points) > _MIN_GAIN * _path_length(points[order]) else None


def _in_unit_square(positions: Positions) -> Positions:
    # Both sides are scaled to 1, however long they are.
    scaled = positions * _NO_OVERFLOW
    sides = np.ptp(scaled, axis=0)
    return np.asarray((scaled - scaled.min(axis=0)) / np.where(sides > 0, sides, 1))


def _path_length(points: Positions) -> float:
    """Return the length of the path from each point to the next."""
    return float(np.abs(np.diff(points, axis=0)).sum())


def _hilbert_keys(points: Positions) -> npt.NDArray[np.int32]:
    """Return the distances along the curve, as geopandas' `hilbert_distance` does.

    Source: Warren, Hacker's Delight, chapter 16.
    """
    cells = (points * _CELLS).astype(np.int32)
    x, y = cells[:, 0], cells[:, 1]
    keys = np.zeros(len(cells), dtype=np.int32)
    for bit in reversed(range(_LEVEL)):
        below = np.int32((1 << bit) - 1)
        right, up = (x >> bit) & 1, (y >> bit) & 1
        keys |= ((3 * right) ^ up) << (2 * bit)
        x, y = x & below, y & below
        is_turned = (right == 1) & (up == 0)
        x, y = np.where(is_turned, below - x, x), np.where(is_turned, below - y, y)
        x, y = np.where(up == 0, y, x), np.where(up == 0, x, y)
    return keys
