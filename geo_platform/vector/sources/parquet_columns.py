"""Read the columns of a Parquet file: which type keeps all digits, and native geometries as WKB.

A decimal or an unsigned integer becomes a number if the statistics of the file show that all its
values fit, and text otherwise.

The native geometry encodings of GeoParquet 1.1 are those of GeoArrow. Coordinates are structs of x,
y and, if present, z and m; some writers interleave them in lists of fixed size. Lines, rings and
parts are lists: https://geoarrow.org/format.html.

Called by `parquet.py`.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from geo_platform.contracts.message import Finding
from geo_platform.contracts.vector import FieldType, SourceField
from geo_platform.errors import SourceUnreadable
from geo_platform.vector.field_types import describe_field

# Decimals of up to 15 digits keep them in a double.
_DIGITS_OF_DOUBLE = 15
_DIGITS_OF_INT64 = 18
# Encodings, with the number of lists around a coordinate.
_LISTS = {
    "point": 0,
    "linestring": 1,
    "polygon": 2,
    "multipoint": 1,
    "multilinestring": 2,
    "multipolygon": 3,
}
NATIVE_ENCODINGS = frozenset(_LISTS)
_TYPES = {
    "linestring": shapely.GeometryType.LINESTRING,
    "polygon": shapely.GeometryType.POLYGON,
    "multipoint": shapely.GeometryType.MULTIPOINT,
    "multilinestring": shapely.GeometryType.MULTILINESTRING,
    "multipolygon": shapely.GeometryType.MULTIPOLYGON,
}


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


def wkb_of_native(column: pa.Array, encoding: str) -> pa.Array:
    """Return the geometries as little-endian ISO WKB. Measures (M) are dropped.

    Raises SourceUnreadable: the column does not have the structure of the encoding.
    """
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    is_null = column.is_null().to_numpy(zero_copy_only=False)
    offsets: list[npt.NDArray[np.int64]] = []
    values = column
    for _ in range(_LISTS[encoding]):
        if not (pa.types.is_list(values.type) or pa.types.is_large_list(values.type)):
            raise _not_of(encoding, column.type)
        bounds = values.offsets.to_numpy().astype(np.int64)
        offsets.append(bounds - bounds[0])
        values = values.values.slice(bounds[0], bounds[-1] - bounds[0])
    coordinates = _coordinates(values)
    if coordinates is None:
        raise _not_of(encoding, column.type)
    if encoding == "point":
        geometries = shapely.points(coordinates)
    else:
        # The innermost offsets come first.
        geometries = shapely.from_ragged_array(
            _TYPES[encoding], coordinates, tuple(reversed(offsets))
        )
    wkb = np.asarray(shapely.to_wkb(geometries, flavor="iso", byte_order=1), dtype=object)
    wkb[is_null] = None
    return pa.array(wkb, pa.binary())


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


def _coordinates(values: pa.Array) -> npt.NDArray[np.float64] | None:
    """Return the coordinates, of shape (rows, 2) or (rows, 3), or None if `values` has none."""
    if isinstance(values, pa.StructArray):
        names = [values.type.field(index).name for index in range(values.type.num_fields)]
        if names[:2] != ["x", "y"]:
            return None
        axes = [values.field(name) for name in ("x", "y", "z") if name in names]
        if not all(pa.types.is_floating(axis.type) for axis in axes):
            return None
        return np.column_stack([axis.cast(pa.float64()).to_numpy(False) for axis in axes])
    if pa.types.is_fixed_size_list(values.type) and pa.types.is_floating(values.type.value_type):
        size = values.type.list_size
        if not 2 <= size <= 4:
            return None
        flat = values.values.slice(values.offset * size, len(values) * size)
        rows = flat.cast(pa.float64()).to_numpy(False).reshape(-1, size)
        has_z = size == 4 or (size == 3 and values.type.value_field.name != "xym")
        return np.asarray(rows[:, : 3 if has_z else 2], dtype=np.float64)
    return None


def _not_of(encoding: str, found: pa.DataType) -> SourceUnreadable:
    return SourceUnreadable(
        f"The geometry column declares the encoding {encoding!r}, but has the type {found}.",
        remedy="Write the file again, for example with geopandas' to_parquet.",
    )
