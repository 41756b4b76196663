"""WKB in the form that is published, made from a source's own bytes: no geometry is written anew that is written well already.

What belongs here: which rows already have the form (little-endian, ISO codes, the wanted dimension, to the last byte), and
single parts as multi by a header put before them. What stays out: parsing, validity (`clean.py`).
Source: OGC 06-103r4 (Simple Features) 8.2.8: 1 byte order, 4 bytes type code, then counts and coordinates.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from geo_platform.vector.geometry_kinds import wkb_buffers
from geo_platform.wkb import uint32_at

Mask = npt.NDArray[np.bool_]
_Offsets = npt.NDArray[np.int64]
_Bytes = npt.NDArray[np.uint8]

_POINT, _LINE, _POLYGON = 1, 2, 3
# From Point, LineString, Polygon to MultiPoint, MultiLineString, MultiPolygon.
_MULTI_STEP = 3

# Rings and parts that are followed; a row with more is written anew, which costs time alone.
_MOST_STEPS = 64


def has_published_form(wkb: pa.Array, dimension: str) -> Mask:
    """Per row: a point, line or polygon, single or multi, in just the bytes that writing it anew would give.

    Meant for rows that GEOS parsed: their counts fit. Headers inside are followed, since parts have byte orders of their own.
    """
    data, starts, ends = wkb_buffers(wkb)
    walk = _Walk(data, starts, ends, dimension)
    for _ in range(_MOST_STEPS):
        if not walk.step():
            break
    return walk.is_whole()


def as_multi(wkb: pa.Array, dimension: str) -> pa.Array:
    """Rows that have the published form, as multi geometries of one part where they are single; the others as they are."""
    wkb = wkb if pa.types.is_binary(wkb.type) else wkb.cast(pa.binary())
    data, starts, ends = wkb_buffers(wkb)
    readable = np.flatnonzero(ends - starts >= 5)
    codes = np.zeros(len(starts), dtype=np.int64)
    codes[readable] = uint32_at(data, starts[readable] + 1) % 1000
    is_single = (codes >= _POINT) & (codes <= _POLYGON)
    if not is_single.any():
        return wkb
    headers = pa.array(
        [_multi_header(code, dimension) for code in (_POINT, _LINE, _POLYGON)], pa.binary()
    )
    before = headers.take(pa.array(np.where(is_single, codes, _POINT) - 1))
    joined = pc.binary_join_element_wise(before, wkb, pa.scalar(b"", pa.binary()))
    return joined if is_single.all() else pc.if_else(pa.array(is_single), joined, wkb)


def _multi_header(single_code: int, dimension: str) -> bytes:
    code = single_code + _MULTI_STEP + (1000 if dimension == "xyz" else 0)
    return b"\x01" + code.to_bytes(4, "little") + (1).to_bytes(4, "little")


class _Walk:
    """All rows at once, one header and one run of coordinates a step."""

    def __init__(self, data: _Bytes, starts: _Offsets, ends: _Offsets, dimension: str) -> None:
        self._data, self._ends = data, ends
        self._point_bytes = 24 if dimension == "xyz" else 16
        self._z = 1000 if dimension == "xyz" else 0
        self._at = starts.copy()
        self._parts = np.zeros(len(starts), dtype=np.int64)
        self._rings = np.zeros(len(starts), dtype=np.int64)
        self._kind = np.zeros(len(starts), dtype=np.int64)
        self._good = ends - starts >= 9
        self._begin(np.flatnonzero(self._good))

    def step(self) -> bool:
        """A part's header where one is due, then a run of coordinates. False where no row has anything left."""
        self._enter_parts(np.flatnonzero(self._good & (self._rings == 0) & (self._parts > 0)))
        self._pass_coordinates(np.flatnonzero(self._good & (self._rings > 0)))
        return bool((self._good & ((self._rings > 0) | (self._parts > 0))).any())

    def is_whole(self) -> Mask:
        """Walked through, and ending where the row ends."""
        return np.asarray(
            self._good & (self._rings == 0) & (self._parts == 0) & (self._at == self._ends)
        )

    def _begin(self, rows: npt.NDArray[np.int64]) -> None:
        code = self._code(rows)
        is_multi = (code > _POLYGON) & (code <= _POLYGON + _MULTI_STEP)
        self._good[rows[(code < _POINT) | (code > _POLYGON + _MULTI_STEP)]] = False
        self._kind[rows] = np.where(is_multi, code - _MULTI_STEP, code)
        self._parts[rows] = 1
        multi = rows[is_multi]
        self._parts[multi] = uint32_at(self._data, self._at[multi] + 5)
        self._at[multi] += 9

    def _enter_parts(self, rows: npt.NDArray[np.int64]) -> None:
        rows = self._with_room(rows, 9)
        wrong = self._code(rows) != self._kind[rows]
        self._good[rows[wrong]] = False
        rows = rows[~wrong]
        self._parts[rows] -= 1
        self._rings[rows] = 1
        self._at[rows] += 5
        polygons = rows[self._kind[rows] == _POLYGON]
        self._rings[polygons] = uint32_at(self._data, self._at[polygons])
        self._at[polygons] += 4

    def _pass_coordinates(self, rows: npt.NDArray[np.int64]) -> None:
        points = rows[self._kind[rows] == _POINT]
        self._at[points] += self._point_bytes
        self._rings[points] -= 1
        others = self._with_room(rows[self._kind[rows] != _POINT], 4)
        self._at[others] += 4 + self._point_bytes * uint32_at(self._data, self._at[others])
        self._rings[others] -= 1

    def _with_room(self, rows: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
        has_room = self._at[rows] + size <= self._ends[rows]
        self._good[rows[~has_room]] = False
        return rows[has_room]

    def _code(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Type without its dimension; 0 for another byte order or another dimension than is wanted."""
        code = uint32_at(self._data, self._at[rows] + 1) - self._z
        return np.where(self._data[self._at[rows]] == 1, code, 0)
