"""CSV rows with their types and geometry, for publication.

Rows of a CSV file in batches, by pyarrow: every line is a row or is named as unreadable.

What belongs here: streaming columns. What stays out: the header (`csv_dialect.py`), types (`csv_profile.py`).

Geometry from the text of CSV cells: coordinates and WKT. Pure.
"""

import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import shapely

from geo_platform.contracts.vector import VectorProfiled
from geo_platform.errors import FieldEncoding, NoFeatures, SourceUnreadable
from geo_platform.source.openable import OpenableSource
from geo_platform.vector.field_types import published_type
from geo_platform.vector.sources.csv_dialect import CsvDialect, CsvGeometry, read_dialect
from geo_platform.vector.sources.description import RowFault, SourceBatch
from geo_platform.vector.sources.source_file import open_bytes

_EWKT = re.compile(r"^\s*SRID=(\d{1,9});", re.IGNORECASE)
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
_SHOWN = 80


def coordinates(column: pa.Array) -> npt.NDArray[np.float64]:
    """Numbers of a text column; NaN where a cell is empty or no number. A decimal comma counts as a point."""
    text = pc.replace_substring(column, ",", ".")
    is_number = pc.match_substring_regex(text, _NUMBER)
    numbers = pc.cast(pc.utf8_trim_whitespace(pc.if_else(is_number, text, None)), pa.float64())
    return np.asarray(
        pc.fill_null(numbers, float("nan")).to_numpy(zero_copy_only=False), dtype=np.float64
    )


def points(x_cells: pa.Array, y_cells: pa.Array) -> tuple[pa.Array, dict[int, RowFault]]:
    """Points as WKB, null with a fault where a cell holds no number. Rows with both cells empty are null without one."""
    x, y = coordinates(x_cells), coordinates(y_cells)
    good = np.isfinite(x) & np.isfinite(y)
    geometries = np.full(len(x), None, dtype=object)
    geometries[good] = shapely.points(x[good], y[good])
    faults = {}
    for row in np.flatnonzero(~good).tolist():
        cells = x_cells[row].as_py(), y_cells[row].as_py()
        if cells != (None, None):
            faults[row] = RowFault(
                "COORDINATE_UNREADABLE",
                f"{str(cells[0])[:_SHOWN]!r}, {str(cells[1])[:_SHOWN]!r} are no two numbers",
            )
    return pa.array(shapely.to_wkb(geometries), pa.binary()), faults


def split_srid(cells: pa.Array) -> tuple[set[int], Sequence[str | None]]:
    """The SRIDs that cells of EWKT say, and the cells without them."""
    texts: list[str | None] = cells.to_pylist()
    if not pc.any(pc.match_substring(cells, "SRID=", ignore_case=True)).as_py():
        return set(), texts
    found = {int(match.group(1)) for text in texts if text and (match := _EWKT.match(text))}
    return found, [text and _EWKT.sub("", text) for text in texts]


def geometries_of_wkt(cells: pa.Array) -> tuple[pa.Array, dict[int, RowFault]]:
    """WKT as WKB, null with a fault where the text is no WKT."""
    _, texts = split_srid(cells)
    geometries = shapely.from_wkt(np.asarray(texts, dtype=object), on_invalid="ignore")
    unread = np.flatnonzero(
        shapely.is_missing(geometries) & cells.is_valid().to_numpy(zero_copy_only=False)
    )
    faults = {
        row: RowFault("WKT_UNREADABLE", f"{str(texts[row])[:_SHOWN]!r} is no WKT")
        for row in unread.tolist()
    }
    return pa.array(shapely.to_wkb(geometries), pa.binary()), faults


_BLOCK_BYTES = 4 * 2**20


@dataclass(frozen=True)
class CsvRows:
    """Columns by position (`c0`, `c1`, …), row numbers of the file, and rows of another width than the header's."""

    positions: npt.NDArray[np.int64]
    columns: pa.RecordBatch
    unread: Mapping[int, RowFault]


def stream_csv(
    source: OpenableSource, dialect: CsvDialect, types: Mapping[int, pa.DataType]
) -> Iterator[CsvRows]:
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
                use_threads=False,
                block_size=_BLOCK_BYTES,
                column_names=names,
                skip_rows=1,
                encoding=_python_encoding(dialect.encoding),
            ),
            parse_options=pcsv.ParseOptions(
                delimiter=dialect.delimiter,
                newlines_in_values=True,
                invalid_row_handler=keep_account,
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
        told: set[int] = set()
        for batch in reader:
            positions, at = _positions(at, batch.num_rows, malformed)
            fresh = {row: fault for row, fault in malformed.items() if row < at and row not in told}
            told.update(fresh)
            yield CsvRows(positions, batch, fresh)
        late = {row: fault for row, fault in malformed.items() if row not in told}
        if late:
            yield CsvRows(
                np.zeros(0, dtype=np.int64),
                pa.RecordBatch.from_pylist([], schema=reader.schema),
                late,
            )


def _python_encoding(encoding: str) -> str:
    return "utf8" if codecs.lookup(encoding).name in ("utf-8", "utf-8-sig") else encoding


def _positions(
    first: int, rows: int, malformed: Mapping[int, RowFault]
) -> tuple[npt.NDArray[np.int64], int]:
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
        if (
            "Could not skip initial 1 rows" in text
        ):  # the door has seen that the header is shorter than a block
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
            f"Field {field!r} of {display_name}{where} is not text in {dialect.encoding}.",
            field=field,
        ) from error


def stream_csv_features(source: OpenableSource, profile: VectorProfiled) -> Iterator[SourceBatch]:
    """All rows in batches of a few megabytes. Geometry cells are read as text, so that a bad one rejects its row alone."""
    dialect = read_dialect(source, None if profile.encoding == "UTF-8" else profile.encoding)
    place = _place(dialect.columns, profile)
    kept = [position for position in range(len(dialect.columns)) if position != place.wkt]
    types = {
        position: published_type(field)
        for position, field in zip(kept, profile.fields, strict=True)
    }
    read_as = {
        position: kind for position, kind in types.items() if position not in (place.lon_lat or ())
    }
    for rows in stream_csv(source, dialect, read_as):
        yield _with_geometry(rows, kept, types, place)


def _place(columns: tuple[str, ...], profile: VectorProfiled) -> CsvGeometry:
    if profile.lon_lat_columns is not None:
        x, y = profile.lon_lat_columns
        return CsvGeometry(lon_lat=(columns.index(x), columns.index(y)))
    return CsvGeometry(wkt=columns.index(profile.geometry_column or ""))


def _with_geometry(
    rows: CsvRows, kept: list[int], types: dict[int, pa.DataType], place: CsvGeometry
) -> SourceBatch:
    if place.lon_lat is not None:
        wkb, faults = points(
            rows.columns.column(place.lon_lat[0]), rows.columns.column(place.lon_lat[1])
        )
    else:
        wkb, faults = geometries_of_wkt(rows.columns.column(place.wkt))
    arrays = [rows.columns.column(position).cast(types[position]) for position in kept]
    names = [rows.columns.schema.names[position] for position in kept]
    fields = pa.RecordBatch.from_arrays(arrays, names=names) if arrays else rows.columns.select([])
    return SourceBatch(rows.positions, fields, wkb, faults=faults, unread=rows.unread)
