"""In which order rows go into a table: neighbours in space on neighbouring pages, where that pays. Pure but for moving rows.

What belongs here: the order within what memory holds, and the decision whether the whole table is to be laid out anew. What
stays out: sending (`postgis_copy.py`), laying out anew (`postgis_finish.py`).

Rows are gathered to runs of 8 MB, and each run is sorted along a Hilbert curve before it is sent: no second pass, and a
window's rows lie on few pages of each run. Measured on 500,000 polygons in random order (342 MB), a window of 1,000 rows:
988 pages as they came, 262 in runs, 114 in one order; 0.96, 0.41 and 0.36 ms from memory. Runs of 24 MB lie on fewer pages
and no longer fit the processor's cache.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from geo_platform.wkb import Positions, first_positions

RUN_BYTES = 8 * 2**20
_CHUNK_BYTES = 4 * 2**20
# A table of a thousand pages stays in memory, wherever its rows lie.
_SMALL_BYTES = 8 * 2**20

# How many times longer the way from row to row must be as they came. A file in spatial order is
# left in its order.
_PAYS_FROM = 2.0

# So many runs over one place are as many pages for any window; from there on, 1 GB in disorder, a
# second pass is worth it.
_MOST_RUNS_ABREAST = 128

# Before differences are taken: coordinates may be as large as numbers are.
_NO_OVERFLOW = 0.25

# Four million cells for the ten thousands of rows of a run.
_LEVEL = 11

_CELLS = 2**_LEVEL - 1


@dataclass
class Runs:
    """What was noted of the runs that went out: the boxes of their rows' positions."""

    boxes: list[npt.NDArray[np.float64]] = field(default_factory=list)

    def note(self, positions: Positions) -> None:
        if len(positions):
            self.boxes.append(np.concatenate([positions.min(axis=0), positions.max(axis=0)]))

    @property
    def abreast(self) -> float:
        """How many runs lie over a place, on average: their areas in all over the area of all."""
        if not self.boxes:
            return 0.0
        boxes = np.array(self.boxes) * _NO_OVERFLOW
        sides = boxes[:, 2:] - boxes[:, :2]
        whole = boxes[:, 2:].max(axis=0) - boxes[:, :2].min(axis=0)
        return float((sides[:, whole > 0] / whole[whole > 0]).prod(axis=1).sum())


def pays_to_lay_out_anew(runs: Runs) -> bool:
    """Whether the table is so large, and its rows came in such disorder, that sorting the whole of it is worth a second pass."""
    return runs.abreast > _MOST_RUNS_ABREAST


def in_runs(
    batches: Iterable[pa.RecordBatch], geometry_column: str, runs: Runs
) -> Iterator[pa.RecordBatch]:
    """The same rows in chunks of about 4 MB, sorted in space run by run where that pays. `runs` is filled on the way."""
    held: list[pa.RecordBatch] = []
    held_bytes = 0
    for batch in batches:
        held.append(batch)
        held_bytes += batch.nbytes
        if held_bytes >= RUN_BYTES:
            yield from _run(held, held_bytes, geometry_column, runs)
            held, held_bytes = [], 0
    if held:
        yield from _run(held, held_bytes, geometry_column, runs)


def _run(
    held: list[pa.RecordBatch], size_bytes: int, geometry_column: str, runs: Runs
) -> Iterator[pa.RecordBatch]:
    places = np.concatenate([first_positions(batch.column(geometry_column)) for batch in held])
    positions = np.where(np.isfinite(places), places, 0)
    is_small = not runs.boxes and size_bytes < _SMALL_BYTES
    order = None if is_small else order_in_space(positions)
    runs.note(positions)
    table = pa.Table.from_batches(held)
    if order is not None:
        table = table.combine_chunks().take(pa.array(order))
    yield from table.to_batches(
        max_chunksize=max(1, len(positions) * _CHUNK_BYTES // max(size_bytes, 1))
    )


def order_in_space(positions: Positions) -> npt.NDArray[np.int64] | None:
    """Rows along a Hilbert curve over their own extent, or None where they are in a spatial order already."""
    placed = _in_unit_square(positions)
    order = np.argsort(_hilbert_keys(placed), kind="stable")
    return order if _way(placed) > _PAYS_FROM * _way(placed[order]) else None


def _in_unit_square(positions: Positions) -> Positions:
    """Sides count alike, however long they are."""
    small = positions * _NO_OVERFLOW
    sides = np.ptp(small, axis=0)
    return np.asarray((small - small.min(axis=0)) / np.where(sides > 0, sides, 1))


def _way(placed: Positions) -> float:
    """From each to the next."""
    return float(np.abs(np.diff(placed, axis=0)).sum())


def _hilbert_keys(placed: Positions) -> npt.NDArray[np.int32]:
    """Distance along the curve, which is that of geopandas' `hilbert_distance`. Source: Warren, Hacker's Delight, chapter 16."""
    cells = (placed * _CELLS).astype(np.int32)
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
