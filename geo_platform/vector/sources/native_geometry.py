"""Read the native geometry encodings of GeoParquet 1.1, which are those of GeoArrow, as WKB.

Coordinates are structs of x, y and, if present, z and m; some writers interleave them in lists of
fixed size. Lines, rings and parts are lists: https://geoarrow.org/format.html.

Called by `parquet.py`.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from geo_platform.errors import SourceUnreadable

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
