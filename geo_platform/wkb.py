"""WKB read as bytes: types, first positions, bounds and canonical form of whole Arrow columns.

All functions work on a binary Arrow column at once, without creating geometry objects.
Source: OGC 06-103r4 (Simple Features) 8.2.8 and table 4: one byte for the byte order, four for the
type code, then counts and coordinates. Curves: ISO/IEC 13249-3. EWKB flags: as PostGIS writes them.

Used by `storage/postgres`, `vector/sources` and `vector`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

Bytes = npt.NDArray[np.uint8]
# Indexes of bytes in a buffer, or of rows in a column.
Offsets = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
# Shape (rows, 2): x and y.
Positions = npt.NDArray[np.float64]

OGC_NAMES = {
    1: "Point",
    2: "LineString",
    3: "Polygon",
    4: "MultiPoint",
    5: "MultiLineString",
    6: "MultiPolygon",
    7: "GeometryCollection",
    8: "CircularString",
    9: "CompoundCurve",
    10: "CurvePolygon",
    11: "MultiCurve",
    12: "MultiSurface",
    13: "Curve",
    14: "Surface",
    15: "PolyhedralSurface",
    16: "TIN",
    17: "Triangle",
}
CURVE_CODES = (8, 9, 10, 11, 12)

_POINT, _LINE, _POLYGON, _COLLECTION = 1, 2, 3, 7
# Add this to the code of Point, LineString or Polygon to get the code of its multi type.
_TO_MULTI = 3
# ISO adds this to the code of a type with Z.
_ISO_Z = 1000
_EWKB_Z, _EWKB_M = np.uint32(0x80000000), np.uint32(0x40000000)
_EWKB_CODE_MASK = np.uint32(0x0FFFFFFF)

_HEADER_BYTES = 5
# Bytes before the first coordinate of the first part's first ring, by OGC code from 0 to 7.
_FIRST_COORDINATE = np.array([0, 5, 9, 13, 14, 18, 22, 0])
# OGC code, and where its count of parts or rings is, in bytes from the start of the row.
_COUNTS = ((3, 5), (4, 5), (5, 5), (6, 5), (6, 14))

# The bounds (xmin, ymin, xmax, ymax) if there are no coordinates.
EMPTY_BOUNDS = np.array([np.inf, np.inf, -np.inf, -np.inf])
# Number of positions that are compared side by side, see `_bounds_of_single_runs`.
_LANES = 256
# pc.binary_slice needs an explicit end: pyarrow 26 miscounts a slice without one.
_NO_END = 2**31 - 1

# Limit on the parts and rings that `is_canonical` follows. A row with more counts as not canonical.
_MAX_STEPS = 64


@dataclass(frozen=True)
class WkbTypes:
    """Types of the rows of a WKB column. `codes` are OGC codes, 0 for a null or invalid row."""

    codes: npt.NDArray[np.uint32]
    has_z: Mask
    has_m: Mask

    @property
    def is_curve(self) -> Mask:
        return np.isin(self.codes, CURVE_CODES)

    def names(self) -> tuple[str, ...]:
        """Return the OGC names that occur, for example `MultiPolygon Z`, in order of their codes.

        M is omitted, because the platform always drops measures.
        """
        pairs = {
            (int(code), bool(z))
            for code, z in zip(self.codes, self.has_z, strict=True)
            if code in OGC_NAMES
        }
        return tuple(OGC_NAMES[code] + (" Z" if z else "") for code, z in sorted(pairs))


def wkb_types(wkb: pa.Array) -> WkbTypes:
    """Return the type of each row, of ISO WKB or EWKB in either byte order."""
    code = _headers(wkb).code
    iso = code & _EWKB_CODE_MASK
    thousands = iso // _ISO_Z
    has_z = (code & _EWKB_Z != 0) | (thousands == 1) | (thousands == 3)
    has_m = (code & _EWKB_M != 0) | (thousands == 2) | (thousands == 3)
    return WkbTypes(iso - thousands * _ISO_Z, has_z, has_m)


def first_positions(wkb: pa.Array) -> Positions:
    """Return the first vertex of each row.

    The position is NaN where the first vertex is not at a fixed offset: in collections, in
    geometries whose first part is empty, and in WKB that is not little-endian ISO without M.
    """
    headers = _headers(wkb)
    codes, _ = headers.simple_types()
    positions = np.full((len(codes), 2), np.nan)
    at = headers.starts + _FIRST_COORDINATE[codes]
    rows = np.flatnonzero((codes != 0) & (codes != _COLLECTION) & (at + 16 <= headers.ends))
    positions[rows, 0] = float64_at(headers.data, at[rows])
    positions[rows, 1] = float64_at(headers.data, at[rows] + 8)
    return positions


def total_bounds(wkb: pa.Array) -> npt.NDArray[np.float64]:
    """Return xmin, ymin, xmax, ymax of all coordinates; EMPTY_BOUNDS if there are none.

    Rows of one part and one ring are read from their bytes. Shapely parses the other rows.
    """
    headers = _headers(wkb)
    codes, has_z = headers.simple_types()
    bounds = EMPTY_BOUNDS.copy()
    is_single_run = _has_single_run(headers, codes)
    for code in np.unique(codes[is_single_run]):
        for z in (False, True):
            rows = is_single_run & (codes == code) & (has_z == z)
            if rows.any():
                selected = wkb if rows.all() else wkb.filter(pa.array(rows))
                bounds = _union(bounds, _bounds_of_single_runs(selected, int(code), z))
    if not is_single_run.all():
        others = wkb.filter(pa.array(~is_single_run)).to_numpy(zero_copy_only=False)
        bounds = _union(bounds, shapely.total_bounds(shapely.from_wkb(others)))
    return bounds


def is_canonical(wkb: pa.Array, dimension: str) -> Mask:
    """Return per row whether writing the geometry again would give the same bytes.

    A row is canonical if it is a point, line or polygon, single or multi, as little-endian ISO WKB
    of the dimension ("xy" or "xyz"), without further bytes. The headers of parts are checked too,
    because each part has its own byte order. Pass only rows that GEOS can parse: the counts of
    coordinates are trusted.
    """
    parser = _CanonicalParser(_headers(wkb), dimension)
    for _ in range(_MAX_STEPS):
        if not parser.step():
            break
    return parser.is_complete()


def wrap_as_multi(wkb: pa.Array, dimension: str) -> pa.Array:
    """Return canonical rows as multi geometries: put a multi header before each single geometry.

    Rows of other types are returned unchanged.
    """
    wkb = wkb if pa.types.is_binary(wkb.type) else wkb.cast(pa.binary())
    headers = _headers(wkb)
    codes = np.where(headers.is_little_endian, headers.code % _ISO_Z, 0)
    is_single = (codes >= _POINT) & (codes <= _POLYGON)
    if not is_single.any():
        return wkb
    prefixes = pa.array(
        [_multi_header(code, dimension) for code in (_POINT, _LINE, _POLYGON)], pa.binary()
    )
    prefix = prefixes.take(pa.array(np.where(is_single, codes, _POINT) - 1))
    joined = pc.binary_join_element_wise(prefix, wkb, pa.scalar(b"", pa.binary()))
    return joined if is_single.all() else pc.if_else(pa.array(is_single), joined, wkb)


def uint32_at(data: Bytes, at: Offsets) -> npt.NDArray[np.int64]:
    """Return the little-endian uint32 at each offset.

    Raises IndexError: a number would end after the last byte of the data.
    """
    return _view(data, "<u4")[at].astype(np.int64)


def float64_at(data: Bytes, at: Offsets) -> npt.NDArray[np.float64]:
    """Return the little-endian float64 at each offset.

    Raises IndexError: a number would end after the last byte of the data.
    """
    values: npt.NDArray[np.float64] = _view(data, "<f8")[at]
    return values


def _view(data: Bytes, dtype: str) -> npt.NDArray[Any]:
    """Return a view with one number per byte of `data`: the number that begins at that byte.

    The view is needed because numbers in WKB are not aligned. Gathering the bytes of each number
    instead took eight times the memory and a tenth of the time of a load.
    """
    count = max(len(data) - np.dtype(dtype).itemsize + 1, 0)
    return np.ndarray((count,), dtype, data, strides=(1,))


@dataclass(frozen=True)
class _Headers:
    """The bytes of a column, the offsets at which rows begin and end, and the header of each row.

    `code` is the type code as written, ISO or EWKB; 0 for a null or a row shorter than a header.
    """

    data: Bytes
    starts: Offsets
    ends: Offsets
    code: npt.NDArray[np.uint32]
    is_little_endian: Mask

    def simple_types(self) -> tuple[Offsets, Mask]:
        """Return the OGC codes up to GeometryCollection, and whether the row has Z.

        The code is 0 for any other type, for EWKB, for big-endian rows and for rows with M.
        """
        code = self.code.astype(np.int64)
        is_simple = self.is_little_endian & (code % _ISO_Z <= _COLLECTION) & (code < 2 * _ISO_Z)
        return np.where(is_simple, code % _ISO_Z, 0), code >= _ISO_Z


def _headers(wkb: pa.Array) -> _Headers:
    data, starts, ends = _buffers(wkb)
    code = np.zeros(len(starts), dtype=np.uint32)
    is_little_endian = np.zeros(len(starts), dtype=bool)
    rows = np.flatnonzero(ends - starts >= _HEADER_BYTES)
    little = data[starts[rows]] == 1
    as_little = uint32_at(data, starts[rows] + 1).astype(np.uint32)
    code[rows] = np.where(little, as_little, as_little.byteswap())
    is_little_endian[rows] = little
    return _Headers(data, starts, ends, code, is_little_endian)


def _buffers(wkb: pa.Array) -> tuple[Bytes, Offsets, Offsets]:
    """Return the bytes of a column, and the start and end of each row. A null row has no bytes."""
    array = wkb if pa.types.is_binary(wkb.type) else wkb.cast(pa.binary())
    rows = len(array)
    _, offsets_buffer, data_buffer = array.buffers()
    if rows == 0 or data_buffer is None:
        no_offsets = np.zeros(rows, dtype=np.int64)
        return np.zeros(0, dtype=np.uint8), no_offsets, no_offsets
    offsets = np.frombuffer(offsets_buffer, dtype=np.int32)[
        array.offset : array.offset + rows + 1
    ].astype(np.int64)
    starts, ends = offsets[:-1], offsets[1:]
    if array.null_count:
        ends = np.where(array.is_null().to_numpy(zero_copy_only=False), starts, ends)
    return np.frombuffer(data_buffer, dtype=np.uint8), starts, ends


def _has_single_run(headers: _Headers, codes: Offsets) -> Mask:
    """Return whether the row is one run of coordinates: a single part with a single ring."""
    first = headers.starts + _FIRST_COORDINATE[codes]
    is_single = (codes != 0) & (codes != _COLLECTION) & (first < headers.ends)
    for code, count_at in _COUNTS:
        rows = np.flatnonzero(is_single & (codes == code))
        is_single[rows] = uint32_at(headers.data, headers.starts[rows] + count_at) == 1
    return np.asarray(is_single)


def _bounds_of_single_runs(wkb: pa.Array, code: int, has_z: bool) -> npt.NDArray[np.float64]:
    coordinates_only = pc.binary_slice(wkb, int(_FIRST_COORDINATE[code]), stop=_NO_END)
    data, starts, ends = _buffers(coordinates_only)
    coordinates = data[starts[0] : ends[-1]].view("<f8")
    size = 3 if has_z else 2
    # numpy is ten times slower along an axis as short as x and y, so most coordinates are
    # compared in rows of _LANES positions and the rest one by one.
    in_lanes = len(coordinates) // (size * _LANES) * (size * _LANES)
    wide = coordinates[:in_lanes].reshape(-1, size * _LANES)
    rest = coordinates[in_lanes:].reshape(-1, size)
    lows = np.vstack([wide.min(axis=0, initial=np.inf).reshape(-1, size), rest])
    highs = np.vstack([wide.max(axis=0, initial=-np.inf).reshape(-1, size), rest])
    return np.concatenate([lows.min(axis=0)[:2], highs.max(axis=0)[:2]])


def _union(
    first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    return np.concatenate([np.fmin(first[:2], second[:2]), np.fmax(first[2:], second[2:])])


def _multi_header(single_code: int, dimension: str) -> bytes:
    code = single_code + _TO_MULTI + (_ISO_Z if dimension == "xyz" else 0)
    return b"\x01" + code.to_bytes(4, "little") + (1).to_bytes(4, "little")


class _CanonicalParser:
    """Parses all rows at once. Each step parses a part's header and one run of coordinates.

    `_at` is the next byte of each row; `_parts` and `_rings` count the parts and rings that are not
    parsed yet. `_may_be_canonical` is False once a row is known not to be canonical.
    """

    def __init__(self, headers: _Headers, dimension: str) -> None:
        self._data, self._ends = headers.data, headers.ends
        self._z = _ISO_Z if dimension == "xyz" else 0
        self._position_bytes = 24 if dimension == "xyz" else 16
        self._at = headers.starts.copy()
        rows = len(headers.starts)
        self._parts = np.zeros(rows, dtype=np.int64)
        self._rings = np.zeros(rows, dtype=np.int64)
        self._single_code = np.zeros(rows, dtype=np.int64)
        # The shortest canonical geometry has a header and a count.
        self._may_be_canonical = headers.ends - headers.starts >= 9
        self._begin(np.flatnonzero(self._may_be_canonical))

    def step(self) -> bool:
        """Parse the next part's header, if a row is between parts, and one run of coordinates.

        Return whether any row has bytes to parse.
        """
        self._enter_parts(
            np.flatnonzero(self._may_be_canonical & (self._rings == 0) & (self._parts > 0))
        )
        self._skip_coordinates(np.flatnonzero(self._may_be_canonical & (self._rings > 0)))
        return bool((self._may_be_canonical & ((self._rings > 0) | (self._parts > 0))).any())

    def is_complete(self) -> Mask:
        """Return per row whether all parts are parsed and the row ends after the last one."""
        has_ended = (self._rings == 0) & (self._parts == 0) & (self._at == self._ends)
        return np.asarray(self._may_be_canonical & has_ended)

    def _begin(self, rows: Offsets) -> None:
        code = self._code(rows)
        is_multi = (code > _POLYGON) & (code <= _POLYGON + _TO_MULTI)
        self._may_be_canonical[rows[(code < _POINT) | (code > _POLYGON + _TO_MULTI)]] = False
        self._single_code[rows] = np.where(is_multi, code - _TO_MULTI, code)
        self._parts[rows] = 1
        multi = rows[is_multi]
        self._parts[multi] = uint32_at(self._data, self._at[multi] + _HEADER_BYTES)
        self._at[multi] += _HEADER_BYTES + 4

    def _enter_parts(self, rows: Offsets) -> None:
        rows = self._with_room(rows, _HEADER_BYTES + 4)
        is_other_type = self._code(rows) != self._single_code[rows]
        self._may_be_canonical[rows[is_other_type]] = False
        rows = rows[~is_other_type]
        self._parts[rows] -= 1
        self._rings[rows] = 1
        self._at[rows] += _HEADER_BYTES
        polygons = rows[self._single_code[rows] == _POLYGON]
        self._rings[polygons] = uint32_at(self._data, self._at[polygons])
        self._at[polygons] += 4

    def _skip_coordinates(self, rows: Offsets) -> None:
        points = rows[self._single_code[rows] == _POINT]
        self._at[points] += self._position_bytes
        self._rings[points] -= 1
        others = self._with_room(rows[self._single_code[rows] != _POINT], 4)
        self._at[others] += 4 + self._position_bytes * uint32_at(self._data, self._at[others])
        self._rings[others] -= 1

    def _with_room(self, rows: Offsets, size: int) -> Offsets:
        has_room = self._at[rows] + size <= self._ends[rows]
        self._may_be_canonical[rows[~has_room]] = False
        return rows[has_room]

    def _code(self, rows: Offsets) -> Offsets:
        """Return the type code without Z; another byte order or dimension gives an invalid code."""
        code = uint32_at(self._data, self._at[rows] + 1) - self._z
        return np.where(self._data[self._at[rows]] == 1, code, 0)
