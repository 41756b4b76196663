"""What became of every row: the stream of clean batches, with counts, rejected rows and a sample kept on the side.

What belongs here: the bookkeeping between reading, cleaning and the feature store. What stays out: those three.

Work on several items at once, results in the order of the items, few of them in memory.

What belongs here: threads. What stays out: the work, which must let go of Python's lock for this to pay (GEOS and Arrow do).

A bounded sample of geometries, spread over all rows, for the map.

What belongs here: the choice of rows. What stays out: drawing (`thumbnail.py`).
"""

import gc
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geo_platform.errors import GeometryUnrepairable, NoFeatures, NoGeometry
from geo_platform.loading import set_aside
from geo_platform.vector.clean import REJECTED_SCHEMA, CleanedBatch, clean_batch
from geo_platform.vector.plan import FeaturePlan
from geo_platform.vector.sources.description import SourceBatch

_MOST_ROWS = 24_000
_MOST_BYTES = 48 * 2**20


class GeometrySample:
    """Every k-th row; k doubles when the sample has grown to its limit in rows or bytes."""

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._bytes = 0
        self._step = 1
        self._seen = 0

    def add(self, wkb: pa.Array) -> None:
        """Look at one more batch."""
        rows = np.arange(-self._seen % self._step, len(wkb), self._step)
        self._seen += len(wkb)
        added = wkb.take(pa.array(rows)).to_pylist()
        self._kept += added
        self._bytes += sum(map(len, added))
        while len(self._kept) > _MOST_ROWS or (self._bytes > _MOST_BYTES and len(self._kept) > 1):
            self._kept = self._kept[::2]
            self._bytes = sum(map(len, self._kept))
            self._step *= 2

    @property
    def wkb(self) -> list[bytes]:
        return self._kept


Item = TypeVar("Item")
Result = TypeVar("Result")

# More would hold more batches in memory than they would save time.
_MOST_THREADS = 4


def usable_threads() -> int:
    """As many as there are cores, at most four."""
    return min(os.cpu_count() or 1, _MOST_THREADS)


def map_in_order(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int
) -> Iterator[tuple[Item, Result]]:
    """Each item with what became of it. Items are taken in the caller's thread, at most `threads` ahead of the results.

    Raises what `work` raises, and what `items` raises once the results of the items before are out, as one thread would.
    """
    failed: Exception | None = None
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    source = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="in-order") as pool:
        try:
            while failed is None:
                try:
                    item = next(source)
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001  # raised below, in its turn
                    failed = error
                    break
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) > threads:
                    yield _first(waiting)
            while waiting:
                yield _first(waiting)
        finally:
            for _, future in waiting:
                future.cancel()
    if failed is not None:
        raise failed


def _first(waiting: deque[tuple[Item, Future[Result]]]) -> tuple[Item, Result]:
    item, future = waiting.popleft()
    return item, future.result()


# How many there may be more before Python looks for garbage: a few batches.
_NEW_OBJECTS = 100_000

_NO_GEOMETRY = {"NULL_GEOMETRY", "EMPTY_GEOMETRY"}


class RowAccounts:
    """Every row of the source ends in `inserted` or in `reasons`."""

    def __init__(
        self,
        plan: FeaturePlan,
        *,
        display_name: str,
        rejected_path: Path,
        notify: Callable[[str], None] | None,
    ) -> None:
        self.read = 0
        self.inserted = 0
        self.repaired = 0
        self.linearised = 0
        self.reasons: Counter[str] = Counter()
        self.sample = GeometrySample()
        self.rejected_path = rejected_path
        self._plan = plan
        self._display_name = display_name
        self._notify = notify
        self._writer: pq.ParquetWriter | None = None

    @property
    def rejected(self) -> int:
        return self.reasons.total()

    def clean_batches(self, source: Iterable[SourceBatch]) -> Iterator[pa.RecordBatch]:
        """Clean rows. Raises NoFeatures, NoGeometry, GeometryUnrepairable at the end where not one row is left to publish."""
        try:
            with _modules_set_aside():
                for batch, cleaned in map_in_order(
                    partial(clean_batch, plan=self._plan), source, threads=usable_threads()
                ):
                    self._book(batch, cleaned)
                    if cleaned.clean.num_rows:
                        yield cleaned.clean
        finally:
            if self._writer is not None:
                self._writer.close()
        if self.inserted == 0:
            self._refuse()

    def _book(self, batch: SourceBatch, cleaned: CleanedBatch) -> None:
        self.read += len(batch.positions) + len(batch.unread)
        self.inserted += cleaned.clean.num_rows
        self.repaired += cleaned.repaired
        self.linearised += batch.linearised
        self.sample.add(cleaned.clean.column(cleaned.clean.num_columns - 1))
        if cleaned.rejected.num_rows:
            self.reasons.update(cleaned.rejected.column("reason").to_pylist())
            if self._writer is None:
                self._writer = pq.ParquetWriter(
                    self.rejected_path, REJECTED_SCHEMA, compression="zstd"
                )
            self._writer.write_batch(cleaned.rejected)
        if self._notify is not None:
            self._notify(f"{self.read:,} rows read, {self.rejected:,} rejected")

    def _refuse(self) -> None:
        counts = ", ".join(f"{rows:,} {reason}" for reason, rows in sorted(self.reasons.items()))
        if self.read == 0:
            raise NoFeatures(f"{self._display_name} has no rows.")
        if set(self.reasons) <= _NO_GEOMETRY:
            raise NoGeometry(
                f"Not one of the {self.read:,} rows of {self._display_name} has a geometry.",
                remedy="Check the export.",
                reasons=dict(self.reasons),
            )
        raise GeometryUnrepairable(
            f"Not one of the {self.read:,} rows of {self._display_name} can be published: {counts}.",
            reasons=dict(self.reasons),
        )

    def assert_balanced(self, published: int) -> None:
        """read = inserted + rejected, and as many lie in the store. Raises AssertionError: that would be a fault in this code."""
        if self.read != self.inserted + self.rejected or self.inserted != published:
            raise AssertionError(
                f"{self.read} rows read, {self.inserted} inserted, {self.rejected} rejected, {published} in the store"
            )


@contextmanager
def _modules_set_aside() -> Iterator[None]:
    """Geometries by the hundred thousand make Python look for garbage all the time: not among what was there before, too."""
    thresholds = gc.get_threshold()
    gc.set_threshold(_NEW_OBJECTS)
    try:
        with set_aside():
            yield
    finally:
        gc.set_threshold(*thresholds)
