"""Describe the attribute columns of a Parquet file, so that no digit of a number is lost.

A decimal or an unsigned integer becomes a number if the statistics of the file show that all its
values fit, and text otherwise.

Called by `parquet.py`.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq

from geo_platform.contracts.message import Finding
from geo_platform.contracts.vector import FieldType, SourceField
from geo_platform.vector.field_types import describe_field

# Decimals of up to 15 digits keep them in a double.
_DIGITS_OF_DOUBLE = 15
_DIGITS_OF_INT64 = 18


def describe_attributes(
    file: pq.ParquetFile, positions: Sequence[int]
) -> tuple[tuple[SourceField, ...], tuple[Finding, ...]]:
    """Return the fields at these positions of the schema, and what a user should know of them."""
    schema = file.schema_arrow
    first_leaves = [0]
    for field in schema:
        first_leaves.append(first_leaves[-1] + _leaf_count(field.type))
    fields, as_text, durations = [], [], []
    for position in positions:
        described = describe_field(schema.field(position))
        kind = _storage(schema.field(position).type)
        if pa.types.is_decimal(kind) or pa.types.is_uint64(kind):
            exact = _exact_type(kind, _extremes(file.metadata, first_leaves[position]))
            described = described.model_copy(update={"type": exact})
            as_text += [described.name] if exact is FieldType.string else []
        durations += [described.name] if pa.types.is_duration(kind) else []
        fields.append(described)
    findings = (
        ("NUMBERS_AS_TEXT", "Published as text, because a number would lose digits", as_text),
        ("DURATIONS_AS_TEXT", "Published as text, as ISO 8601 durations", durations),
    )
    return tuple(fields), tuple(
        Finding(code=code, message=f"{message}: {', '.join(map(repr, names))}.")
        for code, message, names in findings
        if names
    )


def _storage(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _leaf_count(kind: pa.DataType) -> int:
    """Return the number of columns that Parquet stores for an Arrow type."""
    kind = _storage(kind)
    if not pa.types.is_nested(kind):
        return 1
    return sum(_leaf_count(kind.field(index).type) for index in range(kind.num_fields))


def _extremes(metadata: pq.FileMetaData, leaf: int) -> tuple[Decimal, ...] | None:
    """Return the least and the greatest values of all row groups; None if one states none."""
    found: list[Decimal] = []
    for group in range(metadata.num_row_groups):
        column = metadata.row_group(group).column(leaf)
        statistics = column.statistics
        if statistics is None or not statistics.has_min_max:
            if statistics is not None and statistics.null_count == column.num_values:
                continue
            return None
        found += [Decimal(statistics.min), Decimal(statistics.max)]
    return tuple(found)


def _exact_type(kind: pa.DataType, extremes: Iterable[Decimal] | None) -> FieldType:
    if pa.types.is_uint64(kind):
        fits = extremes is not None and all(value < 2**63 for value in extremes)
        return FieldType.int64 if fits else FieldType.string
    digits = int(kind.precision)
    if extremes is not None:
        unscaled = (abs(int(value.scaleb(max(kind.scale, 0)))) for value in extremes)
        digits = min(digits, max((len(str(value)) for value in unscaled), default=0))
    if kind.scale <= 0 and digits <= _DIGITS_OF_INT64:
        return FieldType.int64
    return FieldType.float64 if digits <= _DIGITS_OF_DOUBLE else FieldType.string
