"""Rows of a CSV file in batches, by pyarrow: every line is a row or is named as unreadable.

What belongs here: streaming columns. What stays out: the header (`csv_dialect.py`), types (`csv_profile.py`).
"""

import codecs
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pcsv

from geo_platform.errors import FieldEncoding, NoFeatures, SourceUnreadable
from geo_platform.source.openable import OpenableSource
from geo_platform.vector.batch import RowFault
from geo_platform.vector.csv_dialect import CsvDialect
from geo_platform.vector.source_file import open_bytes

_BLOCK_BYTES = 4 * 2**20


@dataclass(frozen=True)
class CsvRows:
    """Columns by position (`c0`, `c1`, …), row numbers of the file, and rows of another width than the header's."""

    positions: npt.NDArray[np.int64]
    columns: pa.RecordBatch
    unread: Mapping[int, RowFault]


def stream_csv(source: OpenableSource, dialect: CsvDialect, types: Mapping[int, pa.DataType]) -> Iterator[CsvRows]:
    """All rows, in bounded memory; columns without a type are text, and "" is null. Raises FieldEncoding, NoFeatures, SourceUnreadable."""
    malformed: dict[int, RowFault] = {}
    names = [f"c{position}" for position in range(len(dialect.columns))]

    def keep_account(row: pcsv.InvalidRow) -> str:
        said = f"{row.actual_columns} columns where the header has {row.expected_columns}"
        malformed[row.number - 2] = RowFault("ROW_MALFORMED", said)
        return "skip"

    with open_bytes(source) as stream, _csv_errors(source.display_name, dialect):
        reader = pcsv.open_csv(
            stream,
            read_options=pcsv.ReadOptions(
                use_threads=False, block_size=_BLOCK_BYTES, column_names=names, skip_rows=1, encoding=_python_encoding(dialect.encoding)
            ),
            parse_options=pcsv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True, invalid_row_handler=keep_account),
            convert_options=pcsv.ConvertOptions(
                column_types={name: types.get(position, pa.string()) for position, name in enumerate(names)},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
        at = 0
        told: set[int] = set()
        for batch in reader:
            positions, at = _positions(at, batch.num_rows, malformed)
            fresh = {row: fault for row, fault in malformed.items() if row < at and row not in told}
            told.update(fresh)
            yield CsvRows(positions, batch, fresh)
        late = {row: fault for row, fault in malformed.items() if row not in told}
        if late:
            yield CsvRows(np.zeros(0, dtype=np.int64), pa.RecordBatch.from_pylist([], schema=reader.schema), late)


def _python_encoding(encoding: str) -> str:
    return "utf8" if codecs.lookup(encoding).name in ("utf-8", "utf-8-sig") else encoding


def _positions(first: int, rows: int, malformed: Mapping[int, RowFault]) -> tuple[npt.NDArray[np.int64], int]:
    """Row numbers of the next `rows` rows, those of malformed rows left out, and the number after the last."""
    if not malformed:
        return np.arange(first, first + rows, dtype=np.int64), first + rows
    wide = np.arange(first, first + rows + len(malformed), dtype=np.int64)
    positions = wide[~np.isin(wide, list(malformed))][:rows]
    return positions, int(positions[-1]) + 1 if rows else first


@contextmanager
def _csv_errors(display_name: str, dialect: CsvDialect) -> Iterator[None]:
    """Arrow's CSV errors in the platform's words."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise FieldEncoding(f"{display_name} is not text in {dialect.encoding}.") from error
    except pa.ArrowException as error:
        text = str(error)
        if "Could not skip initial 1 rows" in text:  # the door has seen that the header is shorter than a block
            raise NoFeatures(f"{display_name} has a header but no rows.") from error
        if "invalid UTF8" not in text:
            raise SourceUnreadable(f"{display_name} cannot be read as CSV.", arrow=text[:500]) from error
        column, row = re.search(r"CSV column #(\d+)", text), re.search(r"Row #(\d+)", text)
        field = dialect.columns[int(column.group(1))] if column and int(column.group(1)) < len(dialect.columns) else "?"
        where = f" (row {row.group(1)})" if row else ""
        raise FieldEncoding(f"Field {field!r} of {display_name}{where} is not text in {dialect.encoding}.", field=field) from error
