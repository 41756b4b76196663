"""Stream the rows of a source as Arrow batches, in the order of the source, in bounded memory.

This module chooses the reader (`sources/`), replaces curves by line segments, and checks that text
can be decoded and that no rows are missing.

Called by `load.py`.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.contracts.message import Finding
from geo_platform.contracts.vector import FieldOrigin, VectorProfiled
from geo_platform.errors import FieldEncoding, SourceTruncated
from geo_platform.source.openable import OpenableSource
from geo_platform.source.pyogrio_internals import read_linearised_wkb
from geo_platform.vector.sources.columns import (
    FileColumns,
    combined_columns,
    file_columns,
    stream_options,
    with_dates_as_text,
)
from geo_platform.vector.sources.common import RowFault, SourceBatch
from geo_platform.vector.sources.csv_read import stream_csv_features
from geo_platform.vector.sources.dbf import exact_batches
from geo_platform.vector.sources.geojson_text import with_foreign_members
from geo_platform.vector.sources.geojson_values import with_members_as_text, without_marks
from geo_platform.vector.sources.gml_text import with_links_resolved
from geo_platform.vector.sources.kml_text import with_all_data
from geo_platform.vector.sources.ogr import (
    LayerStream,
    StreamedBatch,
    encoding_to_pass,
    gdal_warnings,
    geometry_position,
    ogr_errors,
    open_options,
)
from geo_platform.vector.sources.parquet import stream_parquet
from geo_platform.vector.sources.source_file import COUNT_IS_RELIABLE, with_signed_integers
from geo_platform.wkb import wkb_types

_READ_IN_PART = "parsed incompletely"
# Formats for which the option encoding counts. All others are UTF-8.
_HAS_ENCODING = (SourceFormat.shapefile, SourceFormat.csv)
_SAVE_AS_UTF_8 = "Save the file as UTF-8, the encoding of its format."
_DAMAGED_SHAPE = re.compile(r"Corrupted \.shp file : shape (\d+)")


def stream_features(
    source: OpenableSource, profile: VectorProfiled, batch_rows: int, findings: dict[str, Finding]
) -> Iterator[SourceBatch]:
    """Yield every row of the profiled layer, in batches.

    GDAL's warnings and what is dropped are added to `findings`, with their text as key. CSV
    batches ignore `batch_rows`; they have a few megabytes.
    Raises SourceTruncated: the file has fewer rows than it declares, or ends too early.
    Raises FieldEncoding: a text value cannot be decoded. The message names the field.
    Raises NoFeatures, SourceUnreadable: the file has no rows, or cannot be read.
    """
    rows = 0
    for batch in _read(source, profile, batch_rows, findings):
        _check_text(batch, profile, source.display_name)
        rows += len(batch.positions) + len(batch.unread)
        yield batch
    if (
        source.format in COUNT_IS_RELIABLE
        and profile.feature_count is not None
        and rows < profile.feature_count
    ):
        raise SourceTruncated(
            f"{source.display_name} declares {profile.feature_count:,} rows, but only {rows:,} "
            "could be read."
        )


def _read(
    source: OpenableSource, profile: VectorProfiled, batch_rows: int, findings: dict[str, Finding]
) -> Iterator[SourceBatch]:
    if source.format is SourceFormat.csv:
        return stream_csv_features(source, profile, findings)
    if source.format is SourceFormat.geoparquet:
        return stream_parquet(source, batch_rows, findings)
    if source.format is SourceFormat.shapefile:
        return _stream_shapefile(source, profile, batch_rows, findings)
    return _stream_ogr(source, profile, batch_rows, findings)


def _stream_shapefile(
    source: OpenableSource, profile: VectorProfiled, batch_rows: int, findings: dict[str, Finding]
) -> Iterator[SourceBatch]:
    batches = _stream_ogr(source, profile, batch_rows, findings)
    with exact_batches(source, profile.layer, profile.fields, batches) as exact:
        yield from exact
    if exact is not batches:
        # GDAL warns of numbers that it read in part; they were read from the table instead.
        for text in [text for text in findings if _READ_IN_PART in text]:
            del findings[text]


def _stream_ogr(
    source: OpenableSource, profile: VectorProfiled, batch_rows: int, findings: dict[str, Finding]
) -> Iterator[SourceBatch]:
    original = source
    source = with_members_as_text(source, profile.numbers_as_text)
    has_marks = source.format is SourceFormat.geojson_lines and source is not original
    source = with_foreign_members(source, are_kept=profile.keeps_foreign_members)
    if any(field.origin is FieldOrigin.driver_text for field in profile.fields):
        source = with_dates_as_text(source)
    if profile.reads_copy:
        source, _ = with_links_resolved(source)
        source, _ = with_all_data(source)
    source, unsigned = with_signed_integers(source)
    at = 0
    with (
        LayerStream(
            source,
            profile.layer,
            encoding=encoding_to_pass(source, profile.encoding),
            batch_rows=batch_rows,
            findings=findings,
            **stream_options(profile.fields, source.format),
        ) as stream,
        file_columns(original, profile.layer, stream.id_column, profile.fields) as columns,
    ):
        for batch in stream:
            read = _as_source_batch(batch, at, source, profile, stream.id_column, columns)
            if has_marks:
                read = replace(read, fields=without_marks(read.fields))
            yield _with_unsigned(read, unsigned)
            at += batch.rows.num_rows


def _as_source_batch(
    batch: StreamedBatch,
    at: int,
    source: OpenableSource,
    profile: VectorProfiled,
    id_column: str | None,
    columns: FileColumns | None,
) -> SourceBatch:
    rows = batch.rows
    geometry_at = geometry_position(rows.schema)
    ids = None if id_column is None else rows.column(0)
    attributes = [
        rows.column(position)
        for position in range(0 if ids is None else 1, rows.num_columns)
        if position != geometry_at
    ]
    wkb, linearised = _linearise(rows.column(geometry_at), at, source, profile)
    positions = np.arange(at, at + rows.num_rows, dtype=np.int64)
    return SourceBatch(
        positions,
        combined_columns(profile.fields, attributes, ids, columns, rows.num_rows),
        wkb,
        faults=_damaged_shapes(batch.errors, at, wkb),
        linearised=linearised,
    )


def _with_unsigned(batch: SourceBatch, names: frozenset[str]) -> SourceBatch:
    """Return the batch with the columns of these names as the unsigned integers that they are."""
    if not names:
        return batch
    columns = [
        column.view(pa.uint64()) if name in names and pa.types.is_int64(column.type) else column
        for name, column in zip(batch.fields.schema.names, batch.fields.columns, strict=True)
    ]
    fields = pa.RecordBatch.from_arrays(columns, names=batch.fields.schema.names)
    return replace(batch, fields=fields)


def _damaged_shapes(errors: Iterable[str], at: int, wkb: pa.Array) -> dict[int, RowFault]:
    """Return the faults of damaged Shapefile records, for which GDAL returns null geometries."""
    damaged_rows = (
        int(match.group(1)) - at for text in errors if (match := _DAMAGED_SHAPE.search(text))
    )
    fault = RowFault("GEOMETRY_UNREADABLE", "the record of the geometry is damaged")
    return {row: fault for row in damaged_rows if 0 <= row < len(wkb) and not wkb[row].is_valid}


def _linearise(
    wkb: pa.Array, at: int, source: OpenableSource, profile: VectorProfiled
) -> tuple[pa.Array, int]:
    """Replace curves by line segments. Return the new column and the number of replaced curves."""
    is_curve = wkb_types(wkb).is_curve
    if not is_curve.any():
        return wkb, 0
    with ogr_errors(source.display_name), gdal_warnings({}):
        linearised = read_linearised_wkb(
            source.gdal_path,
            profile.layer,
            skip=at,
            rows=len(wkb),
            open_options=open_options(source),
        )
    segments = pa.array(linearised, pa.binary())
    return pc.if_else(pa.array(is_curve), segments, wkb.cast(pa.binary())), int(is_curve.sum())


def _check_text(batch: SourceBatch, profile: VectorProfiled, display_name: str) -> None:
    for position, column in enumerate(batch.fields.columns):
        storage = column.storage if isinstance(column, pa.ExtensionArray) else column
        if not (pa.types.is_string(storage.type) or pa.types.is_large_string(storage.type)):
            continue
        try:
            storage.validate(full=True)
        except pa.ArrowInvalid as error:
            row = int(batch.positions[_first_undecodable(storage)])
            raise FieldEncoding(
                f"Field {profile.fields[position].name!r} of {display_name}, row {row}, cannot be "
                f"decoded (encoding: {profile.encoding}).",
                remedy=None if profile.source.format in _HAS_ENCODING else _SAVE_AS_UTF_8,
                field=profile.fields[position].name,
                row=row,
            ) from error


def _first_undecodable(column: pa.Array) -> int:
    """Return the index of the first value that is not UTF-8."""
    binary = pa.binary() if pa.types.is_string(column.type) else pa.large_binary()
    for index, value in enumerate(column.cast(binary).to_pylist()):
        try:
            (value or b"").decode()
        except UnicodeDecodeError:
            return index
    return 0
