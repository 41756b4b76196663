"""Choose the type of a column whose values are not bound to a type, and convert the values.

A value of SQLite or JSON can have another type than its column declares. A column keeps its
declared type only if every value has it. Otherwise the column gets a type that holds every value
unchanged, in the end text, and a finding names the column.

Called by `columns.py`, `geojson_values.py` and `geopackage.py`.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from enum import StrEnum
from typing import Any

import pyarrow as pa

from geo_platform.contracts.message import Finding
from geo_platform.contracts.vector import FieldOrigin, FieldType, SourceField
from geo_platform.vector.field_types import published_type

# A double holds every integer up to this one.
_EXACT_INTEGER = 2**53
_MAX_EXAMPLE = 40
_TIME = re.compile(
    r"\d{4}([-/])\d\d\1\d\d"
    r"(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?[ ]?(?P<zone>Z|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)
_CLOCK = re.compile(r"\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?", re.ASCII)
# Texts that databases write for a date that is not known.
_ZERO_DATE = re.compile(r"0000[-/]00[-/]00(?:[T ]00:00(?::00(?:\.0+)?)?Z?)?", re.ASCII)


class Declared(StrEnum):
    """What a column declares to hold."""

    boolean = "boolean"
    integer = "integer"
    real = "real"
    text = "text"
    binary = "binary"
    date = "date"
    time = "time"
    timestamp = "timestamp"
    json = "json"
    anything = "anything"


class _Kind(StrEnum):
    """What a value is. `blank` is a text without letters, or a date of zeros."""

    flag = "flag"
    integer = "integer"
    real = "real"
    text = "text"
    blank = "blank"
    binary = "binary"
    date = "date"
    clock = "clock"
    zoned = "zoned"
    local = "local"
    json = "json"


_NATURAL_TYPE = {
    Declared.boolean: FieldType.boolean,
    Declared.integer: FieldType.int64,
    Declared.real: FieldType.float64,
    Declared.text: FieldType.string,
    Declared.binary: FieldType.binary,
    Declared.date: FieldType.date,
    Declared.time: FieldType.time,
    Declared.timestamp: FieldType.timestamp,
    Declared.json: FieldType.json,
    Declared.anything: FieldType.string,
}
_KINDS_OF = {
    Declared.boolean: {_Kind.flag},
    Declared.integer: {_Kind.integer},
    Declared.real: {_Kind.real, _Kind.integer},
    Declared.text: {_Kind.text, _Kind.blank},
    Declared.binary: {_Kind.binary},
    Declared.date: {_Kind.date},
    Declared.time: {_Kind.clock},
    Declared.timestamp: {_Kind.zoned, _Kind.local},
    Declared.json: {_Kind.json},
    Declared.anything: set(_Kind),
}

_KINDS_OF_TIMES: Mapping[Declared, tuple[tuple[_Kind, pa.DataType], ...]] = {
    Declared.date: ((_Kind.date, pa.date32()),),
    Declared.timestamp: (
        (_Kind.zoned, pa.timestamp("us", tz="UTC")),
        (_Kind.local, pa.timestamp("us")),
    ),
}


class ColumnTally:
    """Counts the kinds of values of one column. `add` all values, then ask for the `field`."""

    def __init__(self, name: str, declared: Declared, source_type: str) -> None:
        self._name = name
        self._declared = declared
        self._source_type = source_type
        self._kinds: Counter[_Kind] = Counter()
        self._examples: dict[_Kind, object] = {}
        self._largest_integer = 0
        self._largest_negative = 0

    def add(self, values: Iterable[object]) -> None:
        for value in values:
            if value is None:
                continue
            kind = self._kind(value)
            self._kinds[kind] += 1
            self._examples.setdefault(kind, value)
            if isinstance(value, int):
                self._largest_integer = max(self._largest_integer, value)
                self._largest_negative = min(self._largest_negative, value)

    def add_times(self, column: pa.Array) -> None:
        """Add a column of texts. Columns of ISO 8601 texts are counted at once."""
        for kind, arrow in _KINDS_OF_TIMES.get(self._declared, ()):
            try:
                column.cast(arrow)
            except pa.ArrowInvalid:
                continue
            if count := len(column) - column.null_count:
                self._kinds[kind] += count
                self._examples.setdefault(kind, column.drop_null()[0].as_py())
            return
        self.add(column.to_pylist())

    def field(self) -> tuple[SourceField, Finding | None]:
        """Return the field, and a finding if its values are not as the column declares."""
        chosen = self._type()
        field = SourceField(
            name=self._name,
            type=chosen,
            source_type=self._source_type,
            is_utc=chosen is FieldType.timestamp and _Kind.zoned in self._kinds,
            origin=FieldOrigin.file,
        )
        return field, self._finding(chosen)

    def _kind(self, value: object) -> _Kind:
        if isinstance(value, bool):
            return _Kind.flag
        if isinstance(value, int):
            is_flag = self._declared is Declared.boolean and value in (0, 1)
            return _Kind.flag if is_flag else _Kind.integer
        if isinstance(value, float):
            return _Kind.real
        if isinstance(value, bytes):
            return _Kind.binary
        if not isinstance(value, str):
            return _Kind.json
        return self._kind_of_text(value)

    def _kind_of_text(self, text: str) -> _Kind:
        if self._declared is Declared.time:
            return _Kind.text if as_clock(text) is None else _Kind.clock
        if self._declared in (Declared.date, Declared.timestamp):
            if not text.strip() or _ZERO_DATE.fullmatch(text.strip()):
                return _Kind.blank
            if self._declared is Declared.date:
                return _Kind.text if as_date(text) is None else _Kind.date
            found = as_time(text)
            if found is None:
                return _Kind.text
            return _Kind.local if found.tzinfo is None else _Kind.zoned
        if not text.strip():
            return _Kind.blank
        if self._declared is Declared.json and _is_json(text):
            return _Kind.json
        return _Kind.text

    def _type(self) -> FieldType:
        kinds = set(self._kinds) - {_Kind.blank}
        if self._declared is Declared.text:
            return FieldType.string
        if not kinds:
            return _NATURAL_TYPE[self._declared]
        if kinds == {_Kind.integer}:
            return self._type_of_integers()
        if kinds == {_Kind.flag}:
            return FieldType.boolean
        if kinds == {_Kind.integer, _Kind.flag} and self._declared is Declared.boolean:
            return self._type_of_integers()
        if kinds <= {_Kind.integer, _Kind.real} and self._integers_fit_double():
            return FieldType.float64
        return {
            frozenset({_Kind.binary}): FieldType.binary,
            frozenset({_Kind.date}): FieldType.date,
            frozenset({_Kind.clock}): FieldType.time,
            frozenset({_Kind.zoned}): FieldType.timestamp,
            frozenset({_Kind.local}): FieldType.timestamp,
            frozenset({_Kind.json}): FieldType.json,
        }.get(frozenset(kinds), FieldType.string)

    def _type_of_integers(self) -> FieldType:
        if self._declared is Declared.real and self._integers_fit_double():
            return FieldType.float64
        fits = self._largest_integer < 2**63 and self._largest_negative >= -(2**63)
        return FieldType.int64 if fits else FieldType.string

    def _integers_fit_double(self) -> bool:
        return max(self._largest_integer, -self._largest_negative) <= _EXACT_INTEGER

    def _finding(self, chosen: FieldType) -> Finding | None:
        column = f"Column {self._name!r} ({self._source_type})"
        if {_Kind.zoned, _Kind.local} <= set(self._kinds):
            return Finding(
                code="TIMES_MIXED",
                message=f"{column} has {self._kinds[_Kind.zoned]:,} times with a zone and "
                f"{self._kinds[_Kind.local]:,} without; it is published as text, unchanged.",
            )
        expected = _KINDS_OF[self._declared]
        odd = [kind for kind in self._kinds if kind not in expected and kind is not _Kind.blank]
        if odd or (chosen is not _NATURAL_TYPE[self._declared] and self._is_declared):
            rows = sum(self._kinds[kind] for kind in odd) or self._kinds.total()
            example = self._examples[odd[0] if odd else next(iter(self._kinds))]
            return Finding(
                code="VALUES_LOOSE",
                message=f"{column} has {rows:,} values of another type, for example "
                f"{_shown(example)}; it is published as {_named(chosen)}, no value is changed.",
            )
        if self._kinds[_Kind.blank] and chosen is not FieldType.string:
            return Finding(
                code="VALUES_BLANK",
                message=f"{column} has {self._kinds[_Kind.blank]:,} values without content, for "
                f"example {_shown(self._examples[_Kind.blank])}; they become null.",
            )
        return None

    @property
    def _is_declared(self) -> bool:
        return self._declared not in (Declared.anything, Declared.json)


def as_time(text: str) -> datetime | None:
    """Return the time that an ISO 8601 text names, with its zone if it has one; None if it is none.

    Slashes in the date and a missing time of day are allowed.
    """
    match = _TIME.fullmatch(text.rstrip("\0"))
    if match is None:
        return None
    iso = match.group().replace("/", "-").replace(",", ".").replace(" +", "+").replace(" -", "-")
    try:
        return datetime.fromisoformat(iso.replace(" Z", "Z"))
    except ValueError:
        return None


def as_date(text: str) -> date | None:
    """Return the date that the text names, or None if it names none or a time of day as well."""
    found = as_time(text)
    if found is None or found.time() != time(0):
        return None
    return found.date()


def as_clock(text: str) -> time | None:
    """Return the time of day that an ISO 8601 text names, or None if it names none."""
    try:
        return time.fromisoformat(text) if _CLOCK.fullmatch(text) else None
    except ValueError:
        return None


def to_array(values: Sequence[object], field: SourceField) -> pa.Array:
    """Return the values as the field's published type. A value without content becomes null."""
    arrow = published_type(field)
    convert = {
        FieldType.boolean: _as_flag,
        FieldType.int64: _as_number,
        FieldType.float64: _as_number,
        FieldType.string: as_text,
        FieldType.json: as_text,
        FieldType.date: _as_date_or_null,
        FieldType.time: _as_clock_or_null,
        FieldType.timestamp: _as_utc if field.is_utc else _as_time_or_null,
        FieldType.binary: _as_bytes,
    }[field.type]
    return pa.array([None if value is None else convert(value) for value in values], arrow)


def as_text(value: object) -> str:
    """Return a value as text: numbers as they are written, bytes as UTF-8 or else hexadecimal."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex().upper()
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)


def _as_number(value: Any) -> Any:
    if isinstance(value, str):
        return None
    return int(value) if isinstance(value, bool) else value


def _as_flag(value: object) -> bool | None:
    return None if isinstance(value, str) else bool(value)


def _as_bytes(value: object) -> bytes | None:
    return value if isinstance(value, bytes) else None


def _as_date_or_null(value: object) -> date | None:
    return as_date(str(value))


def _as_clock_or_null(value: object) -> time | None:
    return as_clock(str(value))


def _as_time_or_null(value: object) -> datetime | None:
    return as_time(str(value))


def _as_utc(value: object) -> datetime | None:
    found = as_time(str(value))
    return None if found is None else found.astimezone(UTC)


def _is_json(text: str) -> bool:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return not (isinstance(value, float) and not math.isfinite(value))


def _named(chosen: FieldType) -> str:
    return "text" if chosen is FieldType.string else chosen.value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_EXAMPLE else f"{text[:_MAX_EXAMPLE]}…"
