"""Stream the rows of a layer from OGR as Arrow batches, with GDAL's non-fatal errors per batch.

If a feature does not fit into a batch, the stream is opened again with a larger limit. `ogr.py`
has the settings of GDAL and the translation of its errors.
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
    configure_gdal,
    gdal_warnings,
    ogr_errors,
    open_options,
    set_batch_bytes,
)

# The batch limit is not raised beyond this size.
_MAX_FEATURE_BYTES = 1024**3
# Part of GDAL's error for a feature larger than the batch limit.
_TOO_LARGE = "Too large feature"
# Rows per batch after this error.
_ROWS_OF_LARGE_FEATURES = 64


@dataclass(frozen=True)
class StreamedBatch:
    """Rows, and the texts of the non-fatal errors that GDAL reported while it read the rows."""

    rows: pa.RecordBatch
    errors: tuple[str, ...]


class LayerStream:
    """A context manager that yields the batches of a layer. Iterate over it once.

    Warnings of GDAL are added to `findings`, with their text as key. Opening and iterating raise
    FieldEncoding if a field name cannot be decoded, and SourceTruncated or SourceUnreadable if the
    file cannot be read.
    """

    def __init__(
        self,
        source: OpenableSource,
        layer: str,
        *,
        encoding: str | None,
        batch_rows: int,
        findings: dict[str, Finding],
    ) -> None:
        self._source = source
        self._layer = layer
        self._encoding = encoding
        self._batch_rows = batch_rows
        self._findings = findings
        self._open = ExitStack()
        self._batch_bytes = BATCH_BYTES

    def __enter__(self) -> Self:
        configure_gdal()
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
        with ogr_errors(self._source.display_name), gdal_warnings(self._findings):
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
        """Return the next batch, or None at the end. `at` is the number of rows yielded before.

        Messages of GDAL are captured only during the read, not while the caller works.
        """
        while True:
            with ogr_errors(self._source.display_name), gdal_warnings(self._findings) as errors:
                try:
                    result: Any = self._reader.read_next_batch()
                except StopIteration:
                    result = None
                except (pa.ArrowException, OSError) as error:
                    if _TOO_LARGE not in str(error) or self._batch_bytes >= _MAX_FEATURE_BYTES:
                        raise
                    result = error
            self._check(errors)
            if result is None:
                return None
            if not isinstance(result, BaseException):
                return StreamedBatch(result, tuple(errors))
            self._batch_bytes *= 4
            self._batch_rows = min(self._batch_rows, _ROWS_OF_LARGE_FEATURES)
            self._reopen(skip=at)

    def _check(self, errors: list[str]) -> None:
        # If the OSM driver cannot read a block, it reports an error and then ends without an
        # exception, as at the end of the file.
        if errors and self._source.format is SourceFormat.osm_pbf:
            raise SourceTruncated(
                f"{self._source.display_name} ends too early or is damaged inside.",
                gdal=errors[0][:500],
            )
