"""Read the rows of a CSV file with pyarrow, with types and geometry.

Every row is yielded or reported as a fault. `csv_dialect.py` reads the header; `csv_profile.py`
determines the types; `csv_geometry.py` reads the cells with geometry.

Called by `csv_profile.py` and `vector/read.py`.
"""

import codecs
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pcsv

from geo_platform.contracts.message import Finding
from geo_platform.contracts.vector import VectorProfiled
from geo_platform.errors import FieldEncoding, NoFeatures, SourceUnreadable
from geo_platform.source.openable import OpenableSource
from geo_platform.vector.field_types import published_type
from geo_platform.vector.sources.common import M_DROPPED, RowFault, SourceBatch
from geo_platform.vector.sources.csv_dialect import CsvDialect, CsvGeometry, read_dialect
from geo_platform.vector.sources.csv_geometry import geometries, points
from geo_platform.vector.sources.source_file import open_bytes
from geo_platform.wkb import wkb_types

_BLOCK_BYTES = 4 * 2**20
_MAX_BLOCK_BYTES = 256 * 2**20
# Part of pyarrow's error for a row larger than a block.
_STRADDLES = "straddling object straddles two block boundaries"


@dataclass(frozen=True)
class CsvRows:
    """Rows as read. The columns are named by position: `c0`, `c1`, …

    `positions` are the row numbers in the file. `unread` has the rows, by row number, that have
    more or fewer columns than the header. `end` is the number of the row after them.
    """

    positions: npt.NDArray[np.int64]
    columns: pa.RecordBatch
    unread: Mapping[int, RowFault]
    end: int

    def from_row(self, first: int) -> "CsvRows":
        """Return the rows whose number is `first` or greater."""
        skipped = int(np.searchsorted(self.positions, first))
        unread = {row: fault for row, fault in self.unread.items() if row >= first}
        return CsvRows(self.positions[skipped:], self.columns.slice(skipped), unread, self.end)


class _RowTooLargeError(Exception):
    """A row does not fit into a block."""


def stream_csv_features(
    source: OpenableSource, profile: VectorProfiled, findings: dict[str, Finding]
) -> Iterator[SourceBatch]:
    """Yield all rows in batches of a few megabytes.

    Measures that are dropped are added to `findings`, with the text as key.
    Geometry cells are read as text, so that an invalid cell rejects only its own row.
    Raises FieldEncoding: a cell cannot be decoded with the encoding of the profile.
    Raises NoFeatures: the file has a header but no rows.
    Raises SourceUnreadable, SourceTruncated: the file cannot be read.
    """
    dialect = read_dialect(source, None if profile.encoding == "UTF-8" else profile.encoding)
    geometry = _geometry_columns(dialect.columns, profile)
    attributes = [position for position in range(len(dialect.columns)) if position != geometry.wkt]
    types = {
        position: published_type(field)
        for position, field in zip(attributes, profile.fields, strict=True)
    }
    types_to_read = {
        position: kind
        for position, kind in types.items()
        if position not in (geometry.lon_lat or ())
    }
    for rows in stream_csv(source, dialect, types_to_read):
        batch = _with_geometry(rows, attributes, types, geometry)
        if geometry.wkt is not None and wkb_types(batch.wkb).has_m.any():
            findings.setdefault(M_DROPPED.message, M_DROPPED)
        yield batch


def stream_csv(
    source: OpenableSource, dialect: CsvDialect, types: Mapping[int, pa.DataType]
) -> Iterator[CsvRows]:
    """Yield all rows in bounded memory. An empty cell is null.

    `types` maps the position of a column to its type. A column that is not in `types` is text. If a
    row does not fit into a block, the file is read again in larger blocks from that row on.
    Raises FieldEncoding: a cell cannot be decoded with the encoding of the dialect.
    Raises NoFeatures: the file has a header but no rows.
    Raises SourceUnreadable, SourceTruncated: the file cannot be read.
    """
    block_bytes, done = _BLOCK_BYTES, 0
    while True:
        try:
            with open_bytes(source) as stream, _csv_errors(source.display_name, dialect):
                for rows in _read_blocks(stream, dialect, types, block_bytes):
                    if rows.end > done:
                        yield rows.from_row(done)
                        done = rows.end
            return
        except _RowTooLargeError as error:
            block_bytes *= 8
            if block_bytes > _MAX_BLOCK_BYTES:
                raise SourceUnreadable(
                    f"A row of {source.display_name} is larger than "
                    f"{_MAX_BLOCK_BYTES // 2**20} MiB, or a quotation mark is not closed.",
                    remedy="Close the quotation mark, or send the data as GeoPackage.",
                ) from error


def _read_blocks(
    stream: IO[bytes], dialect: CsvDialect, types: Mapping[int, pa.DataType], block_bytes: int
) -> Iterator[CsvRows]:
    malformed: dict[int, RowFault] = {}
    names = [f"c{position}" for position in range(len(dialect.columns))]

    def record_malformed(row: pcsv.InvalidRow) -> str:
        message = f"{row.actual_columns} columns, but the header has {row.expected_columns}"
        # pyarrow counts rows from 1, after the skipped lines.
        malformed[row.number - 1 - dialect.header_lines] = RowFault("ROW_MALFORMED", message)
        return "skip"

    reader = pcsv.open_csv(
        stream,
        read_options=pcsv.ReadOptions(
            use_threads=False,
            block_size=block_bytes,
            column_names=names,
            skip_rows=dialect.header_lines,
            encoding=_python_encoding(dialect.encoding),
        ),
        parse_options=pcsv.ParseOptions(
            delimiter=dialect.delimiter,
            newlines_in_values=True,
            invalid_row_handler=record_malformed,
        ),
        convert_options=pcsv.ConvertOptions(
            column_types={
                name: types.get(position, pa.string()) for position, name in enumerate(names)
            },
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )
    at = 0
    reported: set[int] = set()
    for batch in reader:
        positions, at = _positions(at, batch.num_rows, malformed)
        malformed_in_batch = {
            row: fault for row, fault in malformed.items() if row < at and row not in reported
        }
        reported.update(malformed_in_batch)
        yield CsvRows(positions, batch, malformed_in_batch, at)
    rows_after_last_batch = {row: fault for row, fault in malformed.items() if row not in reported}
    if rows_after_last_batch:
        yield CsvRows(
            np.zeros(0, dtype=np.int64),
            pa.RecordBatch.from_pylist([], schema=reader.schema),
            rows_after_last_batch,
            max(rows_after_last_batch) + 1,
        )


def _geometry_columns(columns: tuple[str, ...], profile: VectorProfiled) -> CsvGeometry:
    if profile.lon_lat_columns is not None:
        x, y = profile.lon_lat_columns
        return CsvGeometry(lon_lat=(columns.index(x), columns.index(y)))
    return CsvGeometry(wkt=columns.index(profile.geometry_column or ""))


def _with_geometry(
    rows: CsvRows, attributes: list[int], types: dict[int, pa.DataType], geometry: CsvGeometry
) -> SourceBatch:
    if geometry.lon_lat is not None:
        x, y = (rows.columns.column(position) for position in geometry.lon_lat)
        read = points(x, y)
    else:
        read = geometries(rows.columns.column(geometry.wkt))
    arrays = [rows.columns.column(position).cast(types[position]) for position in attributes]
    names = [rows.columns.schema.names[position] for position in attributes]
    fields = pa.RecordBatch.from_arrays(arrays, names=names) if arrays else rows.columns.select([])
    return SourceBatch(
        rows.positions,
        fields,
        read.wkb,
        faults=read.faults,
        unread=rows.unread,
        linearised=read.linearised,
    )


def _python_encoding(encoding: str) -> str:
    return "utf8" if codecs.lookup(encoding).name in ("utf-8", "utf-8-sig") else encoding


def _positions(
    first: int, rows: int, malformed: Mapping[int, RowFault]
) -> tuple[npt.NDArray[np.int64], int]:
    """Return the row numbers of the next `rows` good rows, and the number of the row after them."""
    if not malformed:
        return np.arange(first, first + rows, dtype=np.int64), first + rows
    candidates = np.arange(first, first + rows + len(malformed), dtype=np.int64)
    positions = candidates[~np.isin(candidates, list(malformed))][:rows]
    return positions, int(positions[-1]) + 1 if rows else first


@contextmanager
def _csv_errors(display_name: str, dialect: CsvDialect) -> Iterator[None]:
    """Translate errors of Arrow into FieldEncoding, NoFeatures or SourceUnreadable."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise FieldEncoding(f"{display_name} cannot be decoded as {dialect.encoding}.") from error
    except pa.ArrowException as error:
        text = str(error)
        if _STRADDLES in text:
            raise _RowTooLargeError from error
        # `source/` has checked that the header fits into a block. Therefore no row follows it.
        if "Could not skip initial" in text:
            raise NoFeatures(f"{display_name} has a header but no rows.") from error
        if "invalid UTF8" not in text:
            raise SourceUnreadable(
                f"{display_name} cannot be read as CSV.", arrow=text[:500]
            ) from error
        column, row = re.search(r"CSV column #(\d+)", text), re.search(r"Row #(\d+)", text)
        field = (
            dialect.columns[int(column.group(1))]
            if column and int(column.group(1)) < len(dialect.columns)
            else "?"
        )
        where = f" (row {row.group(1)})" if row else ""
        raise FieldEncoding(
            f"Field {field!r} of {display_name}{where} cannot be decoded as {dialect.encoding}.",
            field=field,
        ) from error
