"""Choose the published type of a source column, and convert the column to that type.

`FieldType` is the type in messages; the last column is the Arrow type of the published column.

| source                                   | FieldType  | published Arrow type              |
|------------------------------------------|------------|-----------------------------------|
| bool                                     | boolean    | bool                              |
| int8, uint8, int16                       | int16      | int16                             |
| uint16, int32                            | int32      | int32                             |
| uint32, int64                            | int64      | int64                             |
| float16, float32                         | float32    | float                             |
| float64                                  | float64    | double                            |
| uint64, decimal                          | int64, float64 or string: what keeps all digits |
| text, dictionaries of text, null         | string     | string                            |
| duration                                 | string     | string, an ISO 8601 duration      |
| UUID                                     | string     | string                            |
| date, time, timestamp                    | the same   | date32, time64[us], timestamp[us] |
| binary                                   | binary     | binary                            |
| JSON, lists, structs, maps               | json       | string holding JSON               |

Used by `vector/sources` and `vector`.
"""

import json
import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from geo_platform.contracts.vector import FieldType, SourceField

_PUBLISHED_TYPES: dict[FieldType, pa.DataType] = {
    FieldType.boolean: pa.bool_(),
    FieldType.int16: pa.int16(),
    FieldType.int32: pa.int32(),
    FieldType.int64: pa.int64(),
    FieldType.float32: pa.float32(),
    FieldType.float64: pa.float64(),
    FieldType.string: pa.string(),
    FieldType.date: pa.date32(),
    FieldType.time: pa.time64("us"),
    FieldType.timestamp: pa.timestamp("us"),
    FieldType.binary: pa.binary(),
    FieldType.json: pa.string(),
}
_JSON_SUBTYPES = (b"JSON",)
_UUID = "arrow.uuid"
_JSON_EXTENSIONS = (b"arrow.json",)


def published_type(field: SourceField) -> pa.DataType:
    """Return the Arrow type of the published column."""
    if field.type is FieldType.timestamp and field.is_utc:
        return pa.timestamp("us", tz="UTC")
    return _PUBLISHED_TYPES[field.type]


def describe_field(field: pa.Field, source_type: str | None = None) -> SourceField:
    """Describe a source column. `source_type` is the name of its type in the source format."""
    storage = (
        field.type.storage_type if isinstance(field.type, pa.BaseExtensionType) else field.type
    )
    field_type = FieldType.json if _holds_json(field) else _field_type(storage)
    if isinstance(field.type, pa.BaseExtensionType) and field.type.extension_name == _UUID:
        field_type = FieldType.string
    is_utc = pa.types.is_timestamp(storage) and storage.tz is not None
    return SourceField(
        name=field.name, type=field_type, source_type=source_type or str(field.type), is_utc=is_utc
    )


def _holds_json(field: pa.Field) -> bool:
    metadata = field.metadata or {}
    if (
        metadata.get(b"GDAL:OGR:subtype") in _JSON_SUBTYPES
        or metadata.get(b"ARROW:extension:name") in _JSON_EXTENSIONS
    ):
        return True
    return (
        isinstance(field.type, pa.BaseExtensionType) and field.type.extension_name == "arrow.json"
    )


def _field_type(arrow: pa.DataType) -> FieldType:
    if pa.types.is_dictionary(arrow):
        return _field_type(arrow.value_type)
    if pa.types.is_integer(arrow):
        return _integer_type(arrow)
    if pa.types.is_boolean(arrow):
        return FieldType.boolean
    if pa.types.is_floating(arrow):
        return FieldType.float64 if arrow.bit_width == 64 else FieldType.float32
    if pa.types.is_decimal(arrow):
        return FieldType.float64
    if pa.types.is_date(arrow):
        return FieldType.date
    if pa.types.is_time(arrow):
        return FieldType.time
    if pa.types.is_timestamp(arrow):
        return FieldType.timestamp
    if pa.types.is_nested(arrow):
        return FieldType.json
    if (
        pa.types.is_binary(arrow)
        or pa.types.is_large_binary(arrow)
        or pa.types.is_fixed_size_binary(arrow)
        or pa.types.is_binary_view(arrow)
    ):
        return FieldType.binary
    return FieldType.string


def _integer_type(arrow: pa.DataType) -> FieldType:
    bits = arrow.bit_width * (2 if pa.types.is_unsigned_integer(arrow) else 1)
    return FieldType.int16 if bits <= 16 else FieldType.int32 if bits <= 32 else FieldType.int64


def convert_column(column: pa.Array, target: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    """Return the column in its published type, and a mask of the values that do not fit the type.

    The mask is None if all values fit. A value that does not fit becomes null in the column; the
    caller must reject its row.
    """
    if isinstance(column, pa.ExtensionArray):
        if pa.types.is_string(target) and column.type.extension_name == _UUID:
            texts = [None if value is None else str(value) for value in column.to_pylist()]
            return pa.array(texts, pa.string()), None
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_nested(column.type):
        return pa.array([_as_json(value) for value in column.to_pylist()], pa.string()), None
    if column.type == target:
        return column, None
    if pa.types.is_string(target) and pa.types.is_duration(column.type):
        return _as_durations(column), None
    if pa.types.is_string(target) and pa.types.is_decimal(column.type):
        return _as_plain_decimals(column), None
    if pa.types.is_uint64(column.type) and pa.types.is_integer(target):
        too_large = pc.fill_null(pc.greater(column, pa.scalar(2**63 - 1, pa.uint64())), False)
        fitting = pc.if_else(too_large, pa.scalar(None, pa.uint64()), column)
        return fitting.cast(target), too_large if pc.any(too_large).as_py() else None
    if pa.types.is_floating(target) and pa.types.is_decimal(column.type):
        # The cast of a decimal to a double is not rounded correctly (pyarrow 26): 99999.99999
        # becomes 99999.99999000001.
        return column.cast(pa.string()).cast(target), None
    if pa.types.is_temporal(column.type) or pa.types.is_decimal(column.type):
        return column.cast(target, safe=False), None
    return column.cast(target), None


def _as_durations(column: pa.Array) -> pa.Array:
    """Return durations as ISO 8601 writes them: P1DT2H3M4.5S, -PT0.000005S."""
    digits = {"s": 0, "ms": 3, "us": 6, "ns": 9}[column.type.unit]
    return pa.array(
        [
            None if value is None else _as_duration(value, digits)
            for value in column.cast(pa.int64()).to_pylist()
        ],
        pa.string(),
    )


def _as_duration(value: int, digits: int) -> str:
    seconds, fraction = divmod(abs(value), 10**digits)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    decimals = f".{fraction:0{digits}}".rstrip("0") if fraction else ""
    time = "".join(f"{number}{unit}" for number, unit in ((hours, "H"), (minutes, "M")) if number)
    if seconds or fraction or not (days or time):
        time += f"{seconds}{decimals}S"
    return f"{'-' if value < 0 else ''}P{f'{days}D' if days else ''}{f'T{time}' if time else ''}"


def _as_plain_decimals(column: pa.Array) -> pa.Array:
    """Return decimals as text without an exponent."""
    text = column.cast(pa.string())
    if not pc.any(pc.match_substring(text, "E")).as_py():
        return text
    return pa.array(
        [None if value is None else f"{value:f}" for value in column.to_pylist()], pa.string()
    )


def _as_json(value: Any) -> str | None:
    return (
        None
        if value is None
        else json.dumps(_json_value(value), ensure_ascii=False, default=_plain, allow_nan=False)
    )


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _json_value(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _json_value(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(inner) for inner in value]
    return value
