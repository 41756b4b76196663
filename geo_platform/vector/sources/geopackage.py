"""Read the columns of a GeoPackage that GDAL does not return as they are, with SQLite.

GDAL leaves out columns whose type GeoPackage does not define, converts a value of another type than
its column's, makes 1970-01-01 of a text that is no date, and reads a time without a zone as UTC
(GDAL 3.12). One statement finds out whether a layer has such values; only its columns that do are
read here, row by row, beside GDAL's.

Called by `columns.py` and `ogr_profile.py`.
"""

import math
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa

from geo_platform.contracts.message import Finding
from geo_platform.contracts.vector import FieldType, SourceField
from geo_platform.errors import SourceUnreadable
from geo_platform.source.openable import OpenableSource
from geo_platform.source.recognise.sqlite import opened_geopackage
from geo_platform.vector.sources.loose_values import ColumnTally, Declared, to_array
from geo_platform.vector.sources.source_file import plain_path

_ROWS = 10_000
_CHECKED_TEXTS = 20_000
# GeoPackage's name of a type (OGC 12-128r19, table 1) -> what the column declares.
_DECLARED = {
    "BOOLEAN": Declared.boolean,
    "TINYINT": Declared.integer,
    "SMALLINT": Declared.integer,
    "MEDIUMINT": Declared.integer,
    "INT": Declared.integer,
    "INTEGER": Declared.integer,
    "FLOAT": Declared.real,
    "DOUBLE": Declared.real,
    "REAL": Declared.real,
    "TEXT": Declared.text,
    "BLOB": Declared.binary,
    "DATE": Declared.date,
    "DATETIME": Declared.timestamp,
}
# Names of types in other databases: the first one that the declared type begins with.
_ALSO_DECLARED = (
    (r"BOOL", Declared.boolean),
    (r"TIMESTAMP|DATETIME", Declared.timestamp),
    (r"DATE", Declared.date),
    (r"JSON", Declared.json),
    (r"(VAR)?CHAR|CHARACTER|N(VAR)?CHAR|CLOB|STRING|UUID|GUID", Declared.text),
    (r"NUMERIC|DECIMAL|NUMBER|FLOAT|DOUBLE|REAL", Declared.real),
    (r"(BIG|UNSIGNED|TINY|SMALL|MEDIUM)? ?INT", Declared.integer),
    (r"VARBINARY|BINARY|BYTEA", Declared.binary),
)
_INTEGER_LIMITS = {FieldType.int16: 2**15, FieldType.int32: 2**31}


@dataclass(frozen=True)
class TableDescription:
    """The columns of a layer without its geometry and its key, in the order of the table.

    `fields` holds those that are to be read by `TableColumns`.
    """

    columns: tuple[str, ...]
    fields: Mapping[str, SourceField]
    findings: tuple[Finding, ...]


def describe_table(
    source: OpenableSource, layer: str, excluded: Sequence[str], driver: Mapping[str, SourceField]
) -> TableDescription:
    """Find out which columns GDAL does not return as they are, and choose their types.

    `excluded` names the geometry and the key, `driver` GDAL's fields by name.
    Raises SourceUnreadable: SQLite cannot read the table.
    """
    left_out = {name.lower() for name in excluded if name}
    with _opened(source) as database:
        declared = {
            str(row[1]): str(row[2] or "")
            for row in database.execute(f"PRAGMA table_xinfo({_quoted(layer)})")
            if str(row[1]).lower() not in left_out
        }
        unread = [name for name in declared if name not in driver]
        odd = _odd_columns(database, layer, [name for name in declared if name in driver], driver)
        tallies = {
            name: ColumnTally(name, _declared(kind), kind or "no type")
            for name, kind in declared.items()
            if name in unread or name in odd
        }
        _count(database, layer, tallies)
    described = {name: tally.field() for name, tally in tallies.items()}
    return TableDescription(
        columns=tuple(declared),
        fields={name: field for name, (field, _) in described.items()},
        findings=tuple(finding for _, finding in described.values() if finding is not None),
    )


class TableColumns:
    """A context manager that reads columns of a layer in the order of its rows."""

    def __init__(
        self, source: OpenableSource, layer: str, key: str | None, fields: Sequence[SourceField]
    ) -> None:
        """`key` is the column of GDAL's feature ids, or None if the layer has none."""
        self._source = source
        self._key = key
        self._fields = fields
        names = [_quoted(field.name) for field in fields]
        self._statement = _select([_quoted(key) if key else "NULL", *names], _quoted(layer))

    def __enter__(self) -> Self:
        self._context = _opened(self._source)
        self._rows = self._context.__enter__().execute(self._statement)
        return self

    def __exit__(self, *_: object) -> None:
        self._context.__exit__(None, None, None)

    def next_rows(self, count: int, ids: pa.Array | None) -> list[pa.Array]:
        """Return the columns of the next `count` rows, which have these ids.

        Raises SourceUnreadable: the rows of SQLite are not those of GDAL.
        """
        rows = self._rows.fetchmany(count) if count else []
        columns = list(zip(*rows, strict=True)) if rows else [()] * (len(self._fields) + 1)
        is_same = ids is None or np.array_equal(columns[0], ids.to_numpy(zero_copy_only=False))
        if len(rows) != count or not is_same:
            raise SourceUnreadable(
                f"Two readers see different rows in {self._source.display_name}.",
                remedy="Copy the layer into a new GeoPackage, for example with ogr2ogr.",
            )
        return [
            to_array(values, field) for values, field in zip(columns[1:], self._fields, strict=True)
        ]


@contextmanager
def _opened(source: OpenableSource) -> Iterator[sqlite3.Connection]:
    with plain_path(source) as path, opened_geopackage(path, source.display_name) as database:
        yield database


def _select(columns: Sequence[str], table: str, where: str = "", limit: int | None = None) -> str:
    """Return a statement. All parts are expressions of this module with quoted names."""
    statement = f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608  # names are quoted
    statement += f" WHERE {where}" if where else ""
    return statement + (f" LIMIT {limit:d}" if limit is not None else "")


def _first(database: sqlite3.Connection, statement: str) -> tuple[Any, ...] | None:
    row: tuple[Any, ...] | None = database.execute(statement).fetchone()
    return row


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _declared(kind: str) -> Declared:
    name = kind.upper().strip()
    known = _DECLARED.get(re.sub(r"\(.*", "", name).strip())
    if known is not None:
        return known
    return next(
        (declared for pattern, declared in _ALSO_DECLARED if re.match(pattern, name)),
        Declared.anything,
    )


def _odd_columns(
    database: sqlite3.Connection,
    layer: str,
    names: Sequence[str],
    driver: Mapping[str, SourceField],
) -> set[str]:
    """Return the columns that have a value which GDAL does not return as it is.

    The types of SQLite's values are in the head of each row, so that this reads no geometry. Text
    is searched for the character U+0000 in the first rows only, because that reads the values.
    """
    tests = {
        name: f"({test})"
        for name in names
        if (test := _test_of(_quoted(name), driver[name])) is not None
    }
    odd = set(_texts_with_zero(database, layer, [n for n in names if n not in tests]))
    if not tests:
        return odd
    database.create_function("is_float32", 1, _is_float32, deterministic=True)
    table = _quoted(layer)
    any_odd = " OR ".join(tests.values())
    if _first(database, _select(["1"], table, where=any_odd, limit=1)) is None:
        return odd
    return odd | {
        name
        for name, test in tests.items()
        if _first(database, _select(["1"], table, where=test, limit=1)) is not None
    }


def _texts_with_zero(
    database: sqlite3.Connection, layer: str, names: Sequence[str]
) -> Iterator[str]:
    # GDAL ends such a text at the character.
    if not names:
        return
    found = [f"max(instr({_quoted(name)}, char(0)))" for name in names]
    first_rows = _select(list(map(_quoted, names)), _quoted(layer), limit=_CHECKED_TEXTS)
    positions = _first(database, _select(found, f"({first_rows})")) or ()
    for name, position in zip(names, positions, strict=True):
        if position:
            yield name


def _test_of(column: str, field: SourceField) -> str | None:
    """Return an SQL condition that is true for a value which GDAL changes, or None."""
    if field.type is FieldType.boolean:
        return f"{column} NOT IN (0, 1)"
    if field.type in (FieldType.int16, FieldType.int32):
        limit = _INTEGER_LIMITS[field.type]
        return (
            f"{_is_other_than('integer', column)} OR {column} NOT BETWEEN {-limit} AND {limit - 1}"
        )
    if field.type is FieldType.int64:
        return _is_other_than("integer", column)
    if field.type is FieldType.float64:
        return _is_other_than("real", column)
    if field.type is FieldType.float32:
        return f"{_is_other_than('real', column)} OR NOT is_float32({column})"
    if field.type is FieldType.binary:
        return _is_other_than("blob", column)
    if field.type is FieldType.date:
        # The modifier makes SQLite calculate: 2020-02-30 becomes 2020-03-01.
        is_other = f"date({column}, '+0 days') IS NOT {column}"
        return f"{_is_other_than('text', column)} OR {is_other}"
    if field.type is FieldType.timestamp:
        return (
            f"{column} IS NOT NULL AND (typeof({column}) <> 'text' OR {column} NOT GLOB '*Z' "
            f"OR strftime('%Y-%m-%dT%H:%M:%S', {column}, '+0 days') IS NOT substr({column}, 1, 19) "
            f"OR length({column}) > {len('2020-01-01T00:00:00.000Z')})"
        )
    return None


def _is_other_than(kind: str, column: str) -> str:
    # Most values need one comparison. NOT IN ('integer', 'null') needs more steps for each.
    return f"(typeof({column}) <> '{kind}' AND {column} IS NOT NULL)"


def _is_float32(value: float | None) -> bool:
    return value is None or not math.isfinite(value) or float(np.float32(value)) == value


def _count(database: sqlite3.Connection, layer: str, tallies: Mapping[str, ColumnTally]) -> None:
    if not tallies:
        return
    cursor = database.execute(_select(list(map(_quoted, tallies)), _quoted(layer)))
    while rows := cursor.fetchmany(_ROWS):
        for tally, values in zip(tallies.values(), zip(*rows, strict=True), strict=True):
            tally.add(values)
