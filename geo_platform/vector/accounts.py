"""What became of every row: the stream of clean batches, with counts, rejected rows and a sample kept on the side.

What belongs here: the bookkeeping between reading, cleaning and the feature store. What stays out: those three.
"""

import gc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from geo_platform.errors import GeometryUnrepairable, NoFeatures, NoGeometry
from geo_platform.loading import set_aside
from geo_platform.vector.batch import SourceBatch
from geo_platform.vector.clean import REJECTED_SCHEMA, CleanedBatch, clean_batch
from geo_platform.vector.in_order import map_in_order, usable_threads
from geo_platform.vector.plan import FeaturePlan
from geo_platform.vector.sample import GeometrySample

_NEW_OBJECTS = 100_000
"""How many there may be more before Python looks for garbage: a few batches."""

_NO_GEOMETRY = {"NULL_GEOMETRY", "EMPTY_GEOMETRY"}


class RowAccounts:
    """Every row of the source ends in `inserted` or in `reasons`."""

    def __init__(self, plan: FeaturePlan, *, display_name: str, rejected_path: Path, notify: Callable[[str], None] | None) -> None:
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
                for batch, cleaned in map_in_order(partial(clean_batch, plan=self._plan), source, threads=usable_threads()):
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
                self._writer = pq.ParquetWriter(self.rejected_path, REJECTED_SCHEMA, compression="zstd")
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
            f"Not one of the {self.read:,} rows of {self._display_name} can be published: {counts}.", reasons=dict(self.reasons)
        )

    def assert_balanced(self, published: int) -> None:
        """read = inserted + rejected, and as many lie in the store. Raises AssertionError: that would be a fault in this code."""
        if self.read != self.inserted + self.rejected or self.inserted != published:
            raise AssertionError(f"{self.read} rows read, {self.inserted} inserted, {self.rejected} rejected, {published} in the store")


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
