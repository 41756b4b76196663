"""Read the attribute table (.dbf) of a Shapefile where GDAL loses digits, and its encoding (.cpg).

GDAL reads a number of 19 digits or more as a double, a decimal comma as the end of a number, and a
day that does not exist as another day. Such columns are read from the table itself. The table also
says which records are deleted.
dBASE file format: https://www.dbase.com/Knowledgebase/INT/db7_file_fmt.htm, without memo fields.

Called by `ogr_profile.py`, `vector/profile.py` and `vector/read.py`.
"""

import codecs
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from geo_platform.contracts.message import Finding
from geo_platform.contracts.vector import FieldType, SourceField
from geo_platform.errors import SourceTruncated, SourceUnreadable
from geo_platform.source.openable import OpenableSource
from geo_platform.vector.field_types import published_type
from geo_platform.vector.sources.common import SourceBatch, SourceDescription
from geo_platform.vector.sources.source_file import open_part

Records = npt.NDArray[np.uint8]

_HEADER_BYTES = 32
_CHUNK_BYTES = 4 * 2**20
_DELETED = ord("*")
_END_OF_HEADER = 0x0D
# GDAL reads an N or F field without decimals and of fewer digits as an integer.
_MIN_WIDTH_OF_DOUBLE = 19
# Characters below the digits that can stand in a number, but are not read as part of it.
_ODD_BYTES = b",/'"
# A double keeps 15 digits.
_MAX_EXACT_DIGITS = 15
# 17 digits identify every double. More of them can be those of a double, as GDAL writes it.
_MOST_DIGITS = 17
# Fields whose source type is written like this are read from the table itself.
_EXACT = re.compile(r"[NFDL]\(\d+,\d+\)")
_NUMBERS = "NF"
_DATE_WIDTH = 8
_DAYS_OF_MONTH = np.array([0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
# The values of a logical field. GDAL takes any other value for false.
_LOGICAL = b"TtYyFfNn? \0*"
_BLANKS = " \0"
_BLANK = ord(" ")
# The characters from the apostrophe to the slash: signs, commas, points and others.
_SIGNS = b"'()*+,-./"
_INTEGER = r"^[-+]?\d+$"
_NUMBER = r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"
_LONG = r"^[-+]?0*[1-9]\d{15}"
# Names in .cpg files that GDAL does not know: Windows code pages that are not called cp<number>.
_CODE_PAGES = {20866: "KOI8-R", 21866: "KOI8-U", 54936: "GB18030", 65001: "UTF-8"}
_FIRST_ISO_PAGE, _LAST_ISO_PAGE = 28591, 28605


@dataclass(frozen=True)
class _Field:
    """A field of the table. `start` is its first byte in a record."""

    name: str
    kind: str
    start: int
    width: int
    decimals: int

    @property
    def source_type(self) -> str:
        return f"{self.kind}({self.width},{self.decimals})"

    def bytes_of(self, records: Records) -> Records:
        return records[:, self.start : self.start + self.width]

    def looks_odd(self, records: Records) -> bool:
        """Return whether a value has characters with which GDAL does not read it as it is."""
        column = np.ascontiguousarray(self.bytes_of(records))
        if not column.size:
            return False
        if self.kind == "D":
            return self.width == _DATE_WIDTH and not _are_dates(column)
        if self.kind == "L":
            return not np.isin(column, np.frombuffer(_LOGICAL, dtype=np.uint8)).all()
        # Most columns have digits, points and blanks only, which is faster to see.
        is_beyond_digits = column.max() > ord("9")
        is_sign = column - np.uint8(_SIGNS[0]) <= _SIGNS[-1] - _SIGNS[0]
        if self.decimals:
            is_sign &= column != ord(".")
        if not is_beyond_digits and not is_sign.any():
            return _has_blank_inside(column)
        if is_beyond_digits or any((column == odd).any() for odd in _ODD_BYTES):
            characters = b"0123456789+- *\0" + (b".eE" if self.decimals else b"")
            allowed = np.zeros(256, dtype=bool)
            allowed[list(characters)] = True
            if not allowed[column].all():
                return True
        elif self.decimals == 0 and (column == ord(".")).any():
            return True
        return _has_blank_inside(column) or _has_sign_inside(column)

    def may_lose_digits(self) -> bool:
        """Return whether a double cannot hold every number of this width."""
        if self.kind not in _NUMBERS:
            return False
        if self.decimals == 0:
            return self.width >= _MIN_WIDTH_OF_DOUBLE
        return self.width - self.decimals - 1 > _MAX_EXACT_DIGITS

    def rounds(self, records: Records) -> bool:
        """Return whether a double does not hold the decimals of a value as they are written."""
        if self.kind not in _NUMBERS or not self.decimals or self.width <= _MOST_DIGITS:
            return False
        column = self.bytes_of(records)
        digits = ((column >= ord("0")) & (column <= ord("9"))).sum(axis=1)
        long = np.ascontiguousarray(column[digits > _MOST_DIGITS])
        if not len(long):
            return False
        cells = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(self.width), len(long), [None, pa.py_buffer(long)]
        )
        try:
            texts = pc.utf8_trim(cells.cast(pa.string()), _BLANKS)
            decimal = (
                pa.decimal128(38, self.decimals)
                if self.width <= 38
                else pa.decimal256(76, self.decimals)
            )
            read = texts.cast(pa.float64()).cast(decimal)
            return bool(pc.any(pc.not_equal(texts.cast(decimal), read)).as_py())
        except (pa.ArrowInvalid, ValueError):
            # Not all are numbers as they are declared; `looks_odd` tells of them.
            return False

    def texts(self, records: Records) -> pa.Array:
        """Return the values as text; null for blanks, and for the asterisks of an overflow."""
        cells = np.ascontiguousarray(self.bytes_of(records)).view(f"S{self.width}").ravel().tolist()
        try:
            column = pa.array(cells, pa.binary()).cast(pa.string())
        except pa.ArrowInvalid:
            column = pa.array([cell.decode("latin-1") for cell in cells], pa.string())
        texts = pc.utf8_trim(column, _BLANKS)
        is_null = pc.match_substring_regex(texts, r"^\**$")
        return pc.if_else(is_null, pa.scalar(None, pa.string()), texts)


@dataclass
class _Exact:
    """What all values of a field that GDAL may read wrongly have in common."""

    field: _Field
    is_suspect: bool
    is_rounded: bool = False
    are_integers: bool = True
    are_numbers: bool = True
    has_long: bool = False

    def add(self, records: Records) -> None:
        if self.field.kind not in _NUMBERS:
            self.are_numbers = False
            return
        texts = self.field.texts(records).drop_null()
        plain = pc.replace_substring(texts, ",", ".")
        self.are_numbers = self.are_numbers and _all_match(plain, _NUMBER)
        self.has_long = self.has_long or bool(
            pc.any(pc.match_substring_regex(plain, _LONG)).as_py()
        )
        if self.are_integers:
            self.are_integers = _all_match(texts, _INTEGER) and _fit_int64(texts)

    def field_type(self) -> FieldType | None:
        """Return the type that keeps all digits, or None if GDAL's is right."""
        if not self.are_numbers or (self.has_long and not self.are_integers):
            return FieldType.string
        if not self.is_suspect and not self.field.may_lose_digits():
            return None
        if self.are_integers and self.field.decimals == 0:
            return FieldType.int64
        return FieldType.float64


@dataclass(frozen=True)
class _Table:
    stream: IO[bytes]
    records: int
    record_bytes: int
    fields: tuple[_Field, ...]

    def chunks(self) -> Iterator[Records]:
        """Yield all complete records, some megabytes at a time."""
        left = self.records
        size = max(1, _CHUNK_BYTES // self.record_bytes)
        while left:
            data = self.stream.read(min(size, left) * self.record_bytes)
            count = len(data) // self.record_bytes
            if count == 0:
                return
            left -= count
            data = data[: count * self.record_bytes]
            yield np.frombuffer(data, dtype=np.uint8).reshape(count, self.record_bytes)


def described_exactly(source: OpenableSource, description: SourceDescription) -> SourceDescription:
    """Return the description of a Shapefile with exact types, and without deleted records.

    The whole table is read once.
    Raises SourceTruncated: the table ends before its last record.
    """
    with _opened(source, description.layer) as table:
        if table is None:
            return description
        exact = {
            index: _Exact(field, is_suspect=False)
            for index, field in _matched(table, description.fields).items()
        }
        read, deleted = 0, 0
        for records in table.chunks():
            read += len(records)
            is_deleted = records[:, 0] == _DELETED
            if is_deleted.any():
                deleted += int(is_deleted.sum())
                records = records[~is_deleted]
            for column in exact.values():
                looks_odd = column.field.looks_odd(records)
                column.is_suspect = column.is_suspect or looks_odd
                column.is_rounded = column.is_rounded or column.field.rounds(records)
                if looks_odd or column.field.may_lose_digits():
                    column.add(records)
        if read < table.records:
            raise SourceTruncated(
                f"The attribute table (.dbf) of {source.display_name} declares {table.records:,} "
                f"records, but has {read:,}."
            )
    types = {
        index: kind for index, column in exact.items() if (kind := column.field_type()) is not None
    }
    fields = [
        field.model_copy(update={"type": types[i], "source_type": exact[i].field.source_type})
        if i in types
        else field
        for i, field in enumerate(description.fields)
    ]
    count = description.feature_count
    return replace(
        description,
        fields=tuple(fields),
        feature_count=None if count is None else count - deleted,
        warnings=(
            *(
                warning
                for warning in description.warnings
                if not (types and "parsed incompletely" in warning.message)
            ),
            *_findings(fields, types, exact, deleted),
        ),
    )


@contextmanager
def exact_batches(
    source: OpenableSource,
    layer: str,
    fields: Sequence[SourceField],
    batches: Iterator[SourceBatch],
) -> Iterator[Iterator[SourceBatch]]:
    """Give the batches with the columns that `described_exactly` marked read from the table."""
    marked = [i for i, field in enumerate(fields) if _EXACT.fullmatch(field.source_type)]
    if not marked:
        yield batches
        return
    with _opened(source, layer) as table:
        if table is None:
            raise SourceUnreadable(
                f"The attribute table of {source.display_name} is missing.",
                remedy="Put the .dbf beside the .shp, or zip all parts.",
            )
        yield _replaced(batches, table, fields, marked)


def are_all_deleted(source: OpenableSource, layer: str) -> bool:
    """Return whether the table has records and every one is marked as deleted."""
    with _opened(source, layer) as table:
        return (
            table is not None
            and table.records > 0
            and all((records[:, 0] == _DELETED).all() for records in table.chunks())
        )


def cpg_encoding(source: OpenableSource, layer: str) -> str | None:
    """Return the encoding that the .cpg file names in a way that GDAL does not know, or None."""
    with open_part(source, layer, ".cpg") as stream:
        text = (
            "" if stream is None else stream.read(64).decode("ascii", "ignore").strip(" \t\r\n\0")
        )
    numbers = re.findall(r"\d+", text)
    page = int(numbers[-1]) if numbers and len(numbers[-1]) <= 5 else 0
    candidates = [text]
    if page in _CODE_PAGES:
        candidates = [_CODE_PAGES[page]]
    elif _FIRST_ISO_PAGE <= page <= _LAST_ISO_PAGE:
        candidates = [f"ISO-8859-{page - _FIRST_ISO_PAGE + 1}"]
    elif len(numbers) == 1:
        candidates += [f"CP{page}"]
    for candidate in candidates:
        try:
            name = codecs.lookup(candidate).name
        except (LookupError, ValueError):
            continue
        return name.upper().replace("ISO8859", "ISO-8859")
    return None


def _replaced(
    batches: Iterator[SourceBatch],
    table: _Table,
    fields: Sequence[SourceField],
    marked: Sequence[int],
) -> Iterator[SourceBatch]:
    columns = {i: field for i, field in _matched(table, fields).items() if i in marked}
    live = _LiveRecords(table)
    for batch in batches:
        records = live.take(batch.fields.num_rows)
        arrays = list(batch.fields.columns)
        for i, column in columns.items():
            texts = column.texts(records)
            missing = batch.fields.num_rows - len(texts)
            if missing:
                texts = pa.concat_arrays([texts, pa.nulls(missing, pa.string())])
            arrays[i] = _typed(texts, fields[i])
        names = batch.fields.schema.names
        yield replace(batch, fields=pa.RecordBatch.from_arrays(arrays, names=names))


class _LiveRecords:
    """The records that are not deleted, in the order in which GDAL returns their rows."""

    def __init__(self, table: _Table) -> None:
        self._chunks = table.chunks()
        self._rest = np.zeros((0, table.record_bytes), dtype=np.uint8)

    def take(self, count: int) -> Records:
        parts, missing = [self._rest[:count]], count - len(self._rest)
        self._rest = self._rest[count:]
        while missing > 0 and (records := next(self._chunks, None)) is not None:
            records = records[records[:, 0] != _DELETED]
            parts.append(records[:missing])
            self._rest = records[missing:]
            missing -= len(parts[-1])
        return np.concatenate(parts)


def _typed(texts: pa.Array, field: SourceField) -> pa.Array:
    if field.type is FieldType.string:
        return texts
    plain = pc.replace_substring_regex(pc.replace_substring(texts, ",", "."), r"^\+", "")
    return plain.cast(published_type(field))


def _matched(table: _Table, fields: Sequence[SourceField]) -> dict[int, _Field]:
    """Return the fields of the table but text, by the index of the field of the same name."""
    names = [field.name for field in fields]
    names_in_table = [field.name for field in table.fields]
    return {
        names.index(field.name): field
        for field in table.fields
        if field.kind in "NFDL"
        and names.count(field.name) == 1
        and names_in_table.count(field.name) == 1
    }


def _findings(
    fields: Sequence[SourceField],
    types: dict[int, FieldType],
    exact: dict[int, _Exact],
    deleted: int,
) -> Iterator[Finding]:
    if deleted:
        message = f"{deleted:,} records are marked as deleted in the .dbf; they are left out."
        yield Finding(code="RECORDS_DELETED", message=message)
    texts = {i: exact[i].field.kind for i, kind in types.items() if kind is FieldType.string}
    loose = [fields[i].name for i, kind in texts.items() if kind not in _NUMBERS]
    if loose:
        message = "Values are no dates or truth values; published as text, no value is changed"
        names = ", ".join(map(repr, loose))
        yield Finding(code="VALUES_LOOSE", message=f"{message}: {names}.")
    as_text = [fields[i].name for i, kind in texts.items() if kind in _NUMBERS]
    if as_text:
        message = "Published as text, because a number would lose digits"
        names = ", ".join(map(repr, as_text))
        yield Finding(code="NUMBERS_AS_TEXT", message=f"{message}: {names}.")
    rounded = [
        fields[i].name
        for i, column in exact.items()
        if column.is_rounded and types.get(i) is not FieldType.string
    ]
    if rounded:
        message = "Rounded to about 16 digits, as float64 holds them"
        names = ", ".join(map(repr, rounded))
        yield Finding(code="DIGITS_ROUNDED", message=f"{message}: {names}.")
    respelled = [
        fields[i].name
        for i, kind in types.items()
        if kind is not FieldType.string and exact[i].is_suspect
    ]
    if respelled:
        message = "Numbers are not written as the .dbf declares them, for example with a decimal"
        names = ", ".join(map(repr, respelled))
        yield Finding(code="NUMBERS_RESPELLED", message=f"{message} comma: {names}.")


@contextmanager
def _opened(source: OpenableSource, layer: str) -> Iterator[_Table | None]:
    """Open the attribute table, or give None if there is none or it is no dBASE table."""
    with open_part(source, layer, ".dbf") as stream:
        yield None if stream is None else _table(stream)


def _table(stream: IO[bytes]) -> _Table | None:
    header = stream.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES:
        return None
    records = int.from_bytes(header[4:8], "little")
    header_bytes = int.from_bytes(header[8:10], "little")
    record_bytes = int.from_bytes(header[10:12], "little")
    descriptors = stream.read(max(header_bytes - _HEADER_BYTES, 0))
    if record_bytes == 0 or len(descriptors) < header_bytes - _HEADER_BYTES:
        return None
    fields, start = [], 1
    for at in range(0, len(descriptors) - 31, 32):
        entry = descriptors[at : at + 32]
        if entry[0] == _END_OF_HEADER:
            break
        # The length of a text field can take two bytes.
        kind = chr(entry[11])
        width = entry[16] + (256 * entry[17] if kind == "C" else 0)
        name = entry[:11].partition(b"\0")[0].decode("latin-1").strip()
        if start + width > record_bytes:
            return None
        fields.append(_Field(name, kind, start, width, entry[17]))
        start += width
    return _Table(stream, records, record_bytes, tuple(field for field in fields if field.width))


def _has_blank_inside(column: Records) -> bool:
    """Return whether a number has a blank inside. GDAL reads it up to there."""
    # In one dimension, numpy is faster.
    is_filled = column.ravel() > _BLANK
    is_end = is_filled[:-1] > is_filled[1:]
    is_end[column.shape[1] - 1 :: column.shape[1]] = False
    if not is_end.any():
        return False
    filled = is_filled.reshape(column.shape)
    words = (filled[:, :-1] < filled[:, 1:]).sum(axis=1) + filled[:, 0]
    return bool((words > 1).any())


def _has_sign_inside(column: Records) -> bool:
    """Return whether a sign is not at the beginning of a number. GDAL reads 0 of a sign alone."""
    width = column.shape[1]
    flat = column.ravel()
    signs = np.flatnonzero((flat == ord("-")) | (flat == ord("+")))
    place = signs % width
    if (place == width - 1).any():
        return True
    after, before = flat[signs + 1], flat[signs - 1]
    is_followed = (after - np.uint8(ord("0")) <= 9) | (after == ord("."))
    is_first = (place == 0) | (before <= _BLANK) | (before == ord("e")) | (before == ord("E"))
    return not (is_followed & is_first).all()


def _are_dates(column: Records) -> bool:
    """Return whether every row is YYYYMMDD of a day that exists, or has blanks or zeros only."""
    is_blank = np.isin(column, np.frombuffer(b" \0*0", dtype=np.uint8)).all(axis=1)
    digits = column.astype(np.int64) - ord("0")
    is_number = ((digits >= 0) & (digits <= 9)).all(axis=1)
    year, month, day = (
        digits[:, columns] @ 10 ** np.arange(columns.stop - columns.start)[::-1]
        for columns in (slice(0, 4), slice(4, 6), slice(6, 8))
    )
    is_month = is_number & (month >= 1) & (month <= 12) & (year >= 1)
    is_leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    days = _DAYS_OF_MONTH[np.where(is_month, month, 0)] - ((month == 2) & ~is_leap)
    return bool((is_blank | (is_month & (day >= 1) & (day <= days))).all())


def _all_match(texts: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(texts, pattern)).as_py())


def _fit_int64(texts: pa.Array) -> bool:
    try:
        pc.replace_substring_regex(texts, r"^\+", "").cast(pa.int64())
    except pa.ArrowInvalid:
        return False
    return True
