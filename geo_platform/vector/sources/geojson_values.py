"""Keep the ids of GeoJSON features, and numbers of GeoJSON that GDAL refuses or rounds.

GDAL 3.12 returns an id as a feature id, as a column, or not at all, which depends on the first
features; it refuses a file with an integer between 2^63 and 2^64, and reads a column of integers
and reals as doubles. In newline-delimited GeoJSON, it makes 2020-03-01 of 2020-02-30.

Called by `columns.py`, `ogr_profile.py` and `vector/read.py`.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.contracts.message import Finding
from geo_platform.contracts.vector import SourceField
from geo_platform.errors import SourceUnreadable
from geo_platform.source.openable import OpenableSource
from geo_platform.vector.sources.geojson_text import features
from geo_platform.vector.sources.loose_values import ColumnTally, Declared, as_date, to_array
from geo_platform.vector.sources.source_file import copy_beside, open_bytes

ID_COLUMN = "id"
# The name if there is a property called id, too.
_OTHER_ID_COLUMN = "source_id"
_SOURCE_TYPE = "id of the feature"
_CHUNK_BYTES = 4 * 2**20
_LARGEST_DOUBLE = 2**53
_LARGEST_INTEGER = 2**63
_LONG_INTEGER = re.compile(rb'"((?:[^"\\]|\\.){1,200})"\s{0,9}:\s{0,9}(-?\d{16,})(?=\s{0,9}[,}])')
_DATE_MEMBER = re.compile(rb'"((?:[^"\\]|\\.){1,200})"\s{0,9}:\s{0,9}"(\d{4}[-/]\d\d[-/]\d\d)')
# Before a text that begins with a date, so that GDAL reads no date: a character for private use.
_MARK = "\ue0d0"


@dataclass(frozen=True)
class FeatureIdColumn:
    """The column of the ids of features, or None if they are left out, and its warnings."""

    field: SourceField | None
    findings: tuple[Finding, ...] = ()


def describe_ids(source: OpenableSource, rows: int) -> FeatureIdColumn:
    """Choose the name and the type of the column of ids. `rows` is GDAL's number of features.

    Raises SourceTruncated, SourceUnreadable: the file cannot be read.
    """
    tally = ColumnTally(ID_COLUMN, Declared.anything, _SOURCE_TYPE)
    count, has_property = 0, False
    for feature in features(source):
        count += 1
        tally.add([_id_of(feature)])
        has_property = has_property or _has_property_id(feature)
    if count != rows:
        message = (
            f"The column {ID_COLUMN!r} is left out: the ids of {count:,} features cannot be "
            f"assigned to {rows:,} rows."
        )
        return FeatureIdColumn(None, (Finding(code="IDS_LEFT", message=message),))
    field, _ = tally.field()
    return FeatureIdColumn(
        field.model_copy(update={"name": _OTHER_ID_COLUMN if has_property else ID_COLUMN})
    )


class FeatureIds:
    """Reads the ids of features in the order of the rows."""

    def __init__(self, source: OpenableSource, field: SourceField) -> None:
        self._source = source
        self._field = field
        self._ids = (_id_of(feature) for feature in features(source))

    def next_rows(self, count: int, ids: pa.Array | None) -> list[pa.Array]:
        """Return the ids of the next `count` rows.

        Raises SourceUnreadable: there are fewer features than rows.
        """
        values = list(islice(self._ids, count))
        if len(values) != count:
            raise SourceUnreadable(
                f"Two readers see different features in {self._source.display_name}."
            )
        return [to_array(values, self._field)]


def large_number_keys(source: OpenableSource, reals: Collection[str] = ()) -> tuple[str, ...]:
    """Return the names of members with integers that GDAL does not read exactly.

    These are integers beyond 64 bits, and beyond 2^53 in the columns `reals`, which GDAL reads as
    doubles. A name is as in the JSON text.
    Raises SourceTruncated, SourceUnreadable: the file cannot be read.
    """
    found: dict[str, None] = {}
    with open_bytes(source) as stream:
        for text in _whole_objects(stream):
            for match in _LONG_INTEGER.finditer(text):
                name, value = match[1].decode("utf-8", "replace"), int(match[2])
                is_inexact = not -_LARGEST_INTEGER <= value < _LARGEST_INTEGER
                if name in reals:
                    is_inexact = abs(value) > _LARGEST_DOUBLE
                if is_inexact:
                    found[name] = None
    return tuple(found)


def false_date_keys(source: OpenableSource, columns: Collection[str]) -> tuple[str, ...]:
    """Return the names of members with days that do not exist, in columns that GDAL reads as dates.

    A name is as in the JSON text.
    Raises SourceTruncated, SourceUnreadable: the file cannot be read.
    """
    found: dict[str, None] = {}
    with open_bytes(source) as stream:
        for text in _whole_objects(stream):
            for name, day in set(_DATE_MEMBER.findall(text)):
                key = name.decode("utf-8", "replace")
                if _plain_name(key) in columns and as_date(day.decode()) is None:
                    found[key] = None
    return tuple(found)


def _plain_name(key: str) -> str:
    try:
        return str(json.loads(f'"{key}"', strict=False))
    except ValueError:
        return key


def with_members_as_text(source: OpenableSource, keys: Sequence[str]) -> OpenableSource:
    """Return a copy of the source in which all numbers of these members are texts.

    The copy is in the private folder of the source. GDAL then returns the digits as they are. In
    newline-delimited GeoJSON, dates of these members have a mark, which `without_marks` removes.
    Raises SourceTruncated, SourceUnreadable: the file cannot be read.
    """
    if not keys:
        return source
    names = b"|".join(re.escape(key.encode()) for key in keys)
    number = re.compile(rb'("(?:%b)"\s*:\s*)(-?\d[\d.eE+\-]*)(?=\s*[,}])' % names)
    day = re.compile(rb'("(?:%b)"\s*:\s*")(?=\d{4}[-/]\d\d[-/]\d\d)' % names)
    has_lines = source.format is SourceFormat.geojson_lines
    path = copy_beside(source, suffix=".numbers")
    with open_bytes(source) as stream, path.open("wb") as copy:
        for text in _whole_objects(stream):
            text = number.sub(rb'\1"\2"', text)
            copy.write(day.sub(rb"\1" + _MARK.encode(), text) if has_lines else text)
    return replace(source, gdal_path=str(path))


def without_marks(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the columns without the marks of `with_members_as_text`."""
    columns = [_without_mark(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _without_mark(column: pa.Array) -> pa.Array:
    # Members of JSON values may have the name of a marked member.
    text = column.storage if isinstance(column, pa.ExtensionArray) else column
    return pc.replace_substring(text, _MARK, "") if pa.types.is_string(text.type) else column


def false_dates_finding(keys: Sequence[str]) -> Finding:
    """Return the finding that names the columns of dates that are published as text."""
    names = ", ".join(map(repr, keys))
    return Finding(
        code="VALUES_LOOSE",
        message=f"Columns of dates with days that do not exist are text, unchanged: {names}.",
    )


def numbers_as_text_finding(keys: Sequence[str]) -> Finding:
    """Return the finding that names the columns whose numbers are published as text."""
    names = ", ".join(map(repr, keys))
    return Finding(
        code="NUMBERS_AS_TEXT",
        message=f"Columns with integers that a number would not hold exactly are text: {names}.",
    )


def _whole_objects(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the bytes in pieces that end behind a closing brace."""
    rest = b""
    while chunk := stream.read(_CHUNK_BYTES):
        rest += chunk
        end = rest.rfind(b"}") + 1
        if end:
            yield rest[:end]
            rest = rest[end:]
    yield rest


def _id_of(feature: re.Match[str] | Mapping[str, Any]) -> object:
    """Return an id as text or as an integer; any other JSON value as its text."""
    if isinstance(feature, re.Match):
        text = feature["id"]
        value = None if text is None else _number_or_text(text)
    else:
        value = feature.get("id")
    if isinstance(value, str):
        # Half of a surrogate pair is a JSON string, but not a text.
        return value.encode("utf-8", "replace").decode()
    return value if value is None or isinstance(value, int) else json.dumps(value)


def _number_or_text(text: str) -> object:
    if text.startswith('"'):
        return json.loads(text, strict=False)
    try:
        return int(text)
    except ValueError:
        return text


def _has_property_id(feature: re.Match[str] | Mapping[str, Any]) -> bool:
    if isinstance(feature, Mapping):
        properties = feature.get("properties")
        return isinstance(properties, Mapping) and ID_COLUMN in properties
    text = feature.group()
    return text.count('"id"') > 1 and _has_property_id(json.loads(text, strict=False))
