"""Clean the batches of a source in parallel, and account for every row.

Rejected rows are written to a file with the reason, and geometries are sampled for the map.
`clean.py` cleans a single batch.

Called by `load.py`.
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
from pyproj import CRS

from geo_platform.errors import GeometryUnrepairable, NoFeatures, NoGeometry
from geo_platform.grid import Bounds
from geo_platform.process_start import frozen_objects
from geo_platform.vector.clean import REJECTED_SCHEMA, CleanedBatch, clean_batch
from geo_platform.vector.extent import LonLatExtent, check_plausible
from geo_platform.vector.plan import FeaturePlan
from geo_platform.vector.sources.common import SourceBatch

Item = TypeVar("Item")
Result = TypeVar("Result")

# Each thread holds a batch in memory. More than four threads save little time.
_MAX_THREADS = 4
_MAX_SAMPLED_ROWS = 24_000
_MAX_SAMPLED_BYTES = 48 * 2**20
# Number of new objects after which the garbage collector runs: those of a few batches.
_GC_THRESHOLD = 100_000
_NO_GEOMETRY = {"NULL_GEOMETRY", "EMPTY_GEOMETRY"}


class GeometrySample:
    """A sample: every n-th geometry of all rows. n doubles when the sample exceeds its limit."""

    def __init__(self) -> None:
        self._wkb: list[bytes] = []
        self._bytes = 0
        self._step = 1
        self._rows_seen = 0

    @property
    def wkb(self) -> list[bytes]:
        return self._wkb

    def add(self, wkb: pa.Array) -> None:
        """Add every n-th geometry of the next batch to the sample."""
        rows = np.arange(-self._rows_seen % self._step, len(wkb), self._step)
        self._rows_seen += len(wkb)
        added = wkb.take(pa.array(rows)).to_pylist()
        self._wkb += added
        self._bytes += sum(map(len, added))
        while self._is_too_large():
            self._wkb = self._wkb[::2]
            self._bytes = sum(map(len, self._wkb))
            self._step *= 2

    def _is_too_large(self) -> bool:
        rows = len(self._wkb)
        return rows > _MAX_SAMPLED_ROWS or (self._bytes > _MAX_SAMPLED_BYTES and rows > 1)


class CleanStream:
    """Cleans batches and counts their rows.

    A row counts in `inserted` if it can be published, or in `reasons`, by the code of its fault.
    Rejected rows are written to the Parquet file `rejected_path`. `notify` is called after each
    batch with a progress text.
    """

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
        self.cut = 0
        self.drawn_round = 0
        self.extent = LonLatExtent(plan.crs.wkt)
        self.reasons: Counter[str] = Counter()
        self.sample = GeometrySample()
        self.rejected_path = rejected_path
        self._plan = plan
        self._display_name = display_name
        self._notify = notify
        self._source_bounds = np.full(4, np.nan)
        self._writer: pq.ParquetWriter | None = None

    @property
    def rejected(self) -> int:
        return self.reasons.total()

    def clean(self, source: Iterable[SourceBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the rows to publish, in the schema of the plan and in the order of the source.

        Raises GeometryMixed: a row belongs to another geometry family than the plan allows.
        Raises NoFeatures, NoGeometry, GeometryUnrepairable: no row can be published.
        Raises BoundsImplausible: the rows are not where their CRS is used. Both are raised after
        the last batch.
        Raises what iterating over `source` raises.
        """
        try:
            with _less_garbage_collection():
                for batch, cleaned in map_in_order(
                    partial(clean_batch, plan=self._plan), source, threads=_thread_count()
                ):
                    self._count(batch, cleaned)
                    if cleaned.clean.num_rows:
                        yield cleaned.clean
        finally:
            if self._writer is not None:
                self._writer.close()
        if self.inserted == 0:
            self._refuse()
        self._check_extent()

    def assert_balanced(self, published: int) -> None:
        """Check that read = inserted + rejected, and that `published` = inserted.

        `published` is the number of rows in the store.
        Raises AssertionError: rows were lost or duplicated, which is a bug.
        """
        if self.read != self.inserted + self.rejected or self.inserted != published:
            raise AssertionError(
                f"{self.read} rows read, {self.inserted} inserted, {self.rejected} rejected, "
                f"{published} in the store"
            )

    def _count(self, batch: SourceBatch, cleaned: CleanedBatch) -> None:
        self.read += len(batch.positions) + len(batch.unread)
        self.inserted += cleaned.clean.num_rows
        self.repaired += cleaned.repaired
        self.linearised += batch.linearised
        self._source_bounds[:2] = np.fmin(self._source_bounds[:2], cleaned.source_bounds[:2])
        self._source_bounds[2:] = np.fmax(self._source_bounds[2:], cleaned.source_bounds[2:])
        self.cut += cleaned.cut
        self.drawn_round += cleaned.drawn_round
        self.extent.add(cleaned.boxes)
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

    def _check_extent(self) -> None:
        # The profile checks the rows that it samples.
        xmin, ymin, xmax, ymax = map(float, self._source_bounds)
        bounds = Bounds(xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)
        check_plausible(bounds, CRS.from_wkt(self._plan.source_crs.wkt), self._display_name)

    def _refuse(self) -> None:
        counts = ", ".join(f"{rows:,} {reason}" for reason, rows in sorted(self.reasons.items()))
        if self.read == 0:
            raise NoFeatures(f"{self._display_name} has no rows.")
        if set(self.reasons) <= _NO_GEOMETRY:
            raise NoGeometry(
                f"None of the {self.read:,} rows of {self._display_name} has a geometry.",
                remedy="Check the export.",
                reasons=dict(self.reasons),
            )
        has_no_place = set(self.reasons) == {"REPROJECTION_FAILED"}
        raise GeometryUnrepairable(
            f"None of the {self.read:,} rows of {self._display_name} can be published: {counts}.",
            remedy="Choose a target_crs that has a place for the data, or none. Mercator, for "
            "example, has none for the poles."
            if has_no_place
            else None,
            reasons=dict(self.reasons),
        )


def map_in_order(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int
) -> Iterator[tuple[Item, Result]]:
    """Apply `work` to the items in threads. Yield each item with its result, in the items' order.

    The caller's thread reads the items, at most `threads` items ahead of the yielded results. This
    is faster than a loop only if `work` releases the GIL, as GEOS and Arrow do. An exception of
    `work` or `items` is raised after the results of the items before it.
    """
    failure: Exception | None = None
    pending: deque[tuple[Item, Future[Result]]] = deque()
    source = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="in-order") as pool:
        try:
            while failure is None:
                try:
                    item = next(source)
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001  # raised below, after earlier results
                    failure = error
                    break
                pending.append((item, pool.submit(work, item)))
                if len(pending) > threads:
                    yield _first_result(pending)
            while pending:
                yield _first_result(pending)
        finally:
            for _, future in pending:
                future.cancel()
    if failure is not None:
        raise failure


def _first_result(pending: deque[tuple[Item, Future[Result]]]) -> tuple[Item, Result]:
    item, future = pending.popleft()
    return item, future.result()


def _thread_count() -> int:
    return min(os.cpu_count() or 1, _MAX_THREADS)


@contextmanager
def _less_garbage_collection() -> Iterator[None]:
    # Hundreds of thousands of geometry objects would trigger the garbage collector all the time. In
    # this context it runs less often, and does not scan the objects that existed before.
    thresholds = gc.get_threshold()
    gc.set_threshold(_GC_THRESHOLD)
    try:
        with frozen_objects():
            yield
    finally:
        gc.set_threshold(*thresholds)
