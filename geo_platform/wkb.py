"""Where geometries lie, read from their WKB without parsing it: a position of each, and the exact bounds of all.

What belongs here: arithmetic on the bytes of an Arrow column, for geometries in the form that cleaning writes (little-endian,
ISO). What stays out: geometries as objects, but for the few whose parts and rings would have to be followed.
Source: OGC 06-103r4 (Simple Features) 8.2.8.

Numbers read out of the bytes of a WKB column, many rows at once, without parsing a geometry.

What belongs here: numbers at given places. What stays out: what they mean (`vector/geometry_kinds.py`, `vector/wkb_form.py`,
`wkb.py`).
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]


def uint32_at(data: Bytes, at: Places) -> npt.NDArray[np.int64]:
    """The little-endian unsigned numbers of four bytes that begin at `at`, one for each."""
    return _numbers_at(data, at, "<u4").astype(np.int64)


def float64_at(data: Bytes, at: Places) -> npt.NDArray[np.float64]:
    """The little-endian numbers of eight bytes that begin at `at`, one for each."""
    return _numbers_at(data, at, "<f8")


def _numbers_at(data: Bytes, at: Places, kind: str) -> npt.NDArray[Any]:
    """Raises IndexError where one would end behind the data.

    Through a view of the numbers that begin at each single byte, since WKB is not aligned: gathering the bytes first takes
    eight times the memory of the numbers, and was a tenth of a load's time.
    """
    numbers: npt.NDArray[Any] = np.ndarray(
        (max(len(data) - np.dtype(kind).itemsize + 1, 0),), kind, data, strides=(1,)
    )
    return numbers[at]


# x and y, one row each.
Positions = npt.NDArray[np.float64]

# Bytes before the first coordinate of the first part's first ring, by OGC code.
_FIRST_COORDINATE = np.array([0, 5, 9, 13, 14, 18, 22, 0])

# Arrow 26 miscounts a slice of bytes that is given no end.
_TO_THE_END = 2**31 - 1

_ABREAST = 256

NOWHERE = np.array([np.inf, np.inf, -np.inf, -np.inf])


def first_positions(wkb: pa.Array) -> Positions:
    """The first vertex of each; NaN where it would have to be looked for (collections, an empty first part)."""
    data, starts, ends, codes, _ = _heads(wkb)
    positions = np.full((len(starts), 2), np.nan)
    at = starts + _FIRST_COORDINATE[codes]
    there = np.flatnonzero((codes != 0) & (codes != 7) & (at + 16 <= ends))
    positions[there, 0], positions[there, 1] = (
        float64_at(data, at[there]),
        float64_at(data, at[there] + 8),
    )
    return positions


def total_bounds(wkb: pa.Array) -> npt.NDArray[np.float64]:
    """xmin, ymin, xmax, ymax of all coordinates."""
    data, starts, ends, codes, has_z = _heads(wkb)
    bounds = NOWHERE.copy()
    is_plain = _has_one_run(data, starts, ends, codes)
    for code in np.unique(codes[is_plain]):
        for z in (False, True):
            rows = is_plain & (codes == code) & (has_z == z)
            if rows.any():
                bounds = _joined(
                    bounds,
                    _bounds_of_runs(
                        wkb if rows.all() else wkb.filter(pa.array(rows)), int(code), z
                    ),
                )
    if not is_plain.all():
        others = shapely.from_wkb(wkb.filter(pa.array(~is_plain)).to_numpy(zero_copy_only=False))
        bounds = _joined(bounds, shapely.total_bounds(others))
    return bounds


def _bounds_of_runs(wkb: pa.Array, code: int, has_z: bool) -> npt.NDArray[np.float64]:
    bare = pc.binary_slice(wkb, int(_FIRST_COORDINATE[code]), stop=_TO_THE_END)
    size = 3 if has_z else 2
    coordinates = np.frombuffer(_bytes(bare), dtype="<f8")
    many = len(coordinates) // (size * _ABREAST) * (size * _ABREAST)
    # Hundreds of coordinates abreast: along so short an axis as x and y numpy is ten times slower.
    wide, rest = (
        coordinates[:many].reshape(-1, size * _ABREAST),
        coordinates[many:].reshape(-1, size),
    )
    lows = np.vstack([wide.min(axis=0, initial=np.inf).reshape(-1, size), rest])
    highs = np.vstack([wide.max(axis=0, initial=-np.inf).reshape(-1, size), rest])
    return np.concatenate([lows.min(axis=0)[:2], highs.max(axis=0)[:2]])


def _joined(
    one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    return np.concatenate([np.fmin(one[:2], other[:2]), np.fmax(one[2:], other[2:])])


def _heads(
    wkb: pa.Array,
) -> tuple[
    npt.NDArray[np.uint8],
    npt.NDArray[np.int64],
    npt.NDArray[np.int64],
    npt.NDArray[np.int64],
    npt.NDArray[np.bool_],
]:
    """Bytes, begin and end of each row, OGC code (0 where the form is another), and whether it has heights."""
    data = np.frombuffer(wkb.buffers()[2], dtype=np.uint8)
    offsets = np.frombuffer(wkb.buffers()[1], dtype=np.int32)[
        wkb.offset : wkb.offset + len(wkb) + 1
    ].astype(np.int64)
    starts, ends = offsets[:-1], offsets[1:]
    raw = uint32_at(data, starts + 1)
    is_known = (data[starts] == 1) & (raw % 1000 <= 7) & (raw < 2000)
    return data, starts, ends, np.where(is_known, raw % 1000, 0), raw >= 1000


def _has_one_run(
    data: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    codes: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """Whether nothing but coordinates follows the first one: a single part with a single ring."""
    plain = (codes != 0) & (codes != 7) & (starts + _FIRST_COORDINATE[codes] < ends)
    for code, count_at in ((3, 5), (4, 5), (5, 5), (6, 5), (6, 14)):
        rows = np.flatnonzero(plain & (codes == code))
        plain[rows] = uint32_at(data, starts[rows] + count_at) == 1
    return np.asarray(plain)


def _bytes(column: pa.Array) -> memoryview:
    """The bytes of all rows of a binary column, one after the other."""
    ends = np.frombuffer(column.buffers()[1], dtype=np.int32)
    return memoryview(column.buffers()[2])[
        int(ends[column.offset]) : int(ends[column.offset + len(column)])
    ]
