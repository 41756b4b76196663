"""A layer's rows from OGR in Arrow batches, with what GDAL said while it read them.

What belongs here: opening the stream, opening it again where one feature is larger than a batch may be, GDAL's complaints.
What stays out: what the rows become (`read.py`), settings and translation of errors (`ogr.py`).
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa
import pyogrio

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.contracts.message import Finding
from geo_platform.errors import SourceTruncated
from geo_platform.source.openable import OpenableSource
from geo_platform.vector.sources.ogr import (
    BATCH_BYTES,
    gdal_warnings,
    ogr_errors,
    open_options,
    set_batch_bytes,
    settle_gdal,
)

LARGEST_FEATURE_BYTES = 1024**3
_TOO_LARGE = "Too large feature"
_ROWS_WHERE_FEATURES_ARE_LARGE = 64


@dataclass(frozen=True)
class StreamedBatch:
    """`complaints`: errors that GDAL met and read on from, in its own words."""

    rows: pa.RecordBatch
    complaints: tuple[str, ...]


class LayerStream:
    """Used as a context; iterated once. GDAL's warnings and complaints are added to `found`.

    Raises SourceTruncated, SourceUnreadable, FieldEncoding, while opening and while iterating.
    """

    def __init__(
        self,
        source: OpenableSource,
        layer: str,
        *,
        encoding: str | None,
        batch_rows: int,
        found: dict[str, Finding],
    ) -> None:
        self._source = source
        self._layer = layer
        self._encoding = encoding
        self._batch_rows = batch_rows
        self._found = found
        self._open = ExitStack()
        self._batch_bytes = BATCH_BYTES

    def __enter__(self) -> Self:
        settle_gdal()
        self._reopen(skip=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def schema(self) -> pa.Schema:
        schema: pa.Schema = self._reader.schema
        return schema

    @property
    def geometry_column(self) -> str:
        return str(self._meta["geometry_name"] or "wkb_geometry")

    def __iter__(self) -> Iterator[StreamedBatch]:
        at = 0
        while True:
            batch = self._next(at)
            if batch is None:
                return
            at += batch.rows.num_rows
            yield batch

    def _reopen(self, *, skip: int) -> None:
        self._open.close()
        set_batch_bytes(self._batch_bytes)
        with ogr_errors(self._source.display_name), gdal_warnings(self._found):
            self._meta, self._reader = self._open.enter_context(
                pyogrio.open_arrow(
                    self._source.gdal_path,
                    layer=self._layer,
                    encoding=self._encoding,
                    use_pyarrow=True,
                    batch_size=self._batch_rows,
                    skip_features=skip,
                    **open_options(self._source),
                )
            )

    def _next(self, at: int) -> StreamedBatch | None:
        """One batch; messages are caught around each, not across the caller's work in between."""
        while True:
            with ogr_errors(self._source.display_name), gdal_warnings(self._found) as complaints:
                try:
                    rows: Any = self._reader.read_next_batch()
                except StopIteration:
                    rows = None
                except (pa.ArrowException, OSError) as error:
                    if _TOO_LARGE not in str(error) or self._batch_bytes >= LARGEST_FEATURE_BYTES:
                        raise
                    rows = error
            self._judge(complaints)
            if not isinstance(rows, BaseException):
                return None if rows is None else StreamedBatch(rows, tuple(complaints))
            self._batch_bytes *= 4
            self._batch_rows = min(self._batch_rows, _ROWS_WHERE_FEATURES_ARE_LARGE)
            self._reopen(skip=at)

    def _judge(self, complaints: list[str]) -> None:
        """OSM's driver reports a block that it cannot read and then ends as if the file did. Raises SourceTruncated."""
        if complaints and self._source.format is SourceFormat.osm_pbf:
            raise SourceTruncated(
                f"{self._source.display_name} ends too early or is damaged inside.",
                gdal=complaints[0][:500],
            )
