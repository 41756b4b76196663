"""Replace curves by line segments, in WKT and in WKB, where GDAL does not read the source.

GEOS reads no circular arcs. OGR replaces the curves of the formats that it reads in the same way
(`read.py`): an arc becomes segments of at most 4 degrees.

Called by `vector/sources/csv_geometry.py`, `vector/sources/csv_profile.py` and
`vector/sources/parquet.py`.
"""

import math
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import shapely

Item = TypeVar("Item")
# x, y and, if the geometry has heights, z. Measures are dropped.
Position = tuple[float, ...]

# OGR_ARC_STEPSIZE of GDAL.
_STEP_DEGREES = 4.0
_MAX_DEPTH = 32
# GEOS reads a thousand collections inside each other, and crashes at twenty thousand.
_MAX_COLLECTIONS = 1000
# Bytes of the type code of a collection: 7, or 1007 to 3007 for ISO WKB with Z and M.
_COLLECTION_MARKS = (b"\x07", b"\xef\x03", b"\x03\xef", b"\xd7\x07", b"\xbf\x0b", b"\x0b\xbf")
_NAMES = {
    "POINT": 1,
    "LINESTRING": 2,
    "POLYGON": 3,
    "MULTIPOINT": 4,
    "MULTILINESTRING": 5,
    "MULTIPOLYGON": 6,
    "GEOMETRYCOLLECTION": 7,
    "CIRCULARSTRING": 8,
    "COMPOUNDCURVE": 9,
    "CURVEPOLYGON": 10,
    "MULTICURVE": 11,
    "MULTISURFACE": 12,
}
# The type of a part that is written without a name in WKT, by the type of the whole.
_UNNAMED_PART = {5: 2, 6: 3, 9: 2, 10: 2, 11: 2, 12: 3, 4: 1}
_TOKEN = re.compile(r"\s*([A-Za-z]+|[(),]|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)")
_EWKB_Z, _EWKB_M, _EWKB_SRID = 0x80000000, 0x40000000, 0x20000000

# Matches WKT in which a curve occurs. Other WKT is recognised by its first letters.
CURVE_IN_WKT = (
    r"(?is)^\s*(SRID=\d+;\s*)?(CIRCULARSTRING|COMPOUNDCURVE|CURVEPOLYGON|MULTICURVE|MULTISURFACE"
    r"|GEOMETRYCOLLECTION.*(CIRCULARSTRING|COMPOUNDCURVE|CURVEPOLYGON|MULTICURVE|MULTISURFACE))"
)


def linearised_wkt(text: str) -> shapely.Geometry | None:
    """Return the geometry without curves, or None if the text is not WKT of a known type."""
    try:
        reader = _WktReader(text)
        geometry = _built(reader.geometry(None, 0))
        return geometry if reader.is_at_end() else None
    except (ValueError, ArithmeticError, LookupError, shapely.GEOSException):
        return None


def linearised_wkb(wkb: bytes) -> shapely.Geometry | None:
    """Return the geometry of ISO WKB or EWKB without curves, or None if the bytes are not WKB."""
    try:
        return _built(_WkbReader(wkb).geometry(0))
    except (ValueError, ArithmeticError, struct.error, LookupError, shapely.GEOSException):
        return None


def nests_too_deep(geometry: str | bytes) -> bool:
    """Return whether WKT or WKB nests collections deeper than GEOS can read without crashing.

    Most geometries are recognised by the few marks of collections in them; others are read in
    Python.
    """
    if isinstance(geometry, str):
        return geometry.upper().count("GEOMETRYCOLLECTION") > _MAX_COLLECTIONS
    marks = sum(geometry.count(mark) for mark in _COLLECTION_MARKS)
    return marks > _MAX_COLLECTIONS and linearised_wkb(geometry) is None


@dataclass(frozen=True)
class _Shape:
    """A geometry as read: its OGC code, and either its positions or its parts."""

    code: int
    positions: tuple[Position, ...] = ()
    parts: tuple["_Shape", ...] = ()


class _WktReader:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0

    def is_at_end(self) -> bool:
        return self._at == len(self._tokens)

    def geometry(self, unnamed: int | None, depth: int) -> _Shape:
        """Read a geometry. `unnamed` is the code of a part without a name, or None."""
        if depth > _MAX_DEPTH:
            raise ValueError("too deep")
        code = unnamed
        has_m = False
        if self._peek()[0].isalpha() and self._peek().upper() != "EMPTY":
            name = self._next().upper()
            plain = name if name in _NAMES else re.sub(r"(ZM|Z|M)$", "", name)
            has_m = name.removeprefix(plain).endswith("M")
            code = _NAMES[plain]
            if self._peek().upper() in ("Z", "M", "ZM"):
                has_m = self._next().upper().endswith("M")
        if code is None:
            raise ValueError("a name is missing")
        if self._peek().upper() == "EMPTY":
            self._next()
            return _Shape(code)
        if code in (1, 2, 8):
            return _Shape(code, positions=tuple(self._positions(has_m)))
        if code == 3:
            rings = self._list(lambda: _Shape(2, positions=tuple(self._positions(has_m))))
            return _Shape(code, parts=tuple(rings))
        if code == 4 and self._tokens[self._at + 1] != "(":
            points = (_Shape(1, positions=(position,)) for position in self._positions(has_m))
            return _Shape(code, parts=tuple(points))
        part = _UNNAMED_PART.get(code)
        return _Shape(code, parts=tuple(self._list(lambda: self.geometry(part, depth + 1))))

    def _positions(self, has_m: bool) -> list[Position]:
        def position() -> Position:
            numbers = []
            while self._peek() not in (",", ")"):
                numbers.append(float(self._next()))
            if not 2 <= len(numbers) <= 4:
                raise ValueError("a position has two to four numbers")
            return tuple(numbers[:2] if has_m and len(numbers) == 3 else numbers[:3])

        return self._list(position)

    def _list(self, read: Callable[[], Item]) -> list[Item]:
        if self._next() != "(":
            raise ValueError("a list begins with a bracket")
        items = [read()]
        while (mark := self._next()) == ",":
            items.append(read())
        if mark != ")":
            raise ValueError("a list ends with a bracket")
        return items

    def _peek(self) -> str:
        return self._tokens[self._at]

    def _next(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1]


def _tokens(text: str) -> Iterator[str]:
    text, at = text.rstrip(), 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError("not WKT")
        yield match.group(1)
        at = match.end()


class _WkbReader:
    def __init__(self, wkb: bytes) -> None:
        self._wkb = wkb
        self._at = 0

    def geometry(self, depth: int) -> _Shape:
        if depth > _MAX_DEPTH:
            raise ValueError("too deep")
        order = "<" if self._take("B")[0] == 1 else ">"
        (code,) = self._take(order + "I")
        kind = (code & 0x0FFFFFFF) % 1000
        thousands = (code & 0x0FFFFFFF) // 1000
        has_z = bool(code & _EWKB_Z) or thousands in (1, 3)
        has_m = bool(code & _EWKB_M) or thousands in (2, 3)
        if code & _EWKB_SRID:
            self._take(order + "I")
        layout = order + "d" * (2 + has_z + has_m), 2 + has_z
        if kind == 1:
            return _Shape(kind, positions=(self._position(*layout),))
        (count,) = self._take(order + "I")
        # Each position, ring or part takes at least four bytes, so a false count ends here.
        if count * 4 > len(self._wkb) - self._at:
            raise ValueError("a count is larger than the rest of the bytes")
        if kind in (2, 8):
            return _Shape(kind, tuple(self._position(*layout) for _ in range(count)))
        if kind == 3:
            return _Shape(kind, parts=tuple(self._ring(order, *layout) for _ in range(count)))
        if kind not in _UNNAMED_PART and kind != 7:
            raise ValueError("not a known type")
        return _Shape(kind, parts=tuple(self.geometry(depth + 1) for _ in range(count)))

    def _ring(self, order: str, layout: str, size: int) -> _Shape:
        (count,) = self._take(order + "I")
        if count * 16 > len(self._wkb) - self._at:
            raise ValueError("a count is larger than the rest of the bytes")
        return _Shape(2, tuple(self._position(layout, size) for _ in range(count)))

    def _position(self, layout: str, size: int) -> Position:
        return self._take(layout)[:size]

    def _take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(layout, self._wkb, self._at)
        self._at += struct.calcsize(layout)
        return values


def _built(shape: _Shape) -> shapely.Geometry:
    """Return the shape as a geometry of GEOS, with segments instead of curves."""
    match shape.code:
        case 1:
            has_place = shape.positions and not math.isnan(shape.positions[0][0])
            return shapely.Point(shape.positions[0]) if has_place else shapely.Point()
        case 2 | 8 | 9:
            return shapely.LineString(_line(shape))
        case 3 | 10:
            return _polygon(shape)
        case 4:
            return shapely.MultiPoint([_position(part) for part in shape.parts])
        case 5 | 11:
            return shapely.MultiLineString([_line(part) for part in shape.parts])
        case 6 | 12:
            return shapely.MultiPolygon([_polygon(part) for part in shape.parts])
    return shapely.GeometryCollection([_built(part) for part in shape.parts])


def _position(shape: _Shape) -> Position:
    if shape.code != 1 or not shape.positions:
        raise ValueError("not a point with a position")
    return shape.positions[0]


def _polygon(shape: _Shape) -> shapely.Polygon:
    if shape.code not in (3, 10):
        raise ValueError("not a polygon")
    rings = [_line(part) for part in shape.parts]
    return shapely.Polygon(rings[0], rings[1:]) if rings else shapely.Polygon()


def _line(shape: _Shape) -> list[Position]:
    if shape.code == 2:
        return list(shape.positions)
    if shape.code == 8:
        return _segments(shape.positions)
    if shape.code != 9:
        raise ValueError("not a line")
    joined: list[Position] = []
    for part in shape.parts:
        line = _line(part)
        joined += line[1:] if joined and line and joined[-1] == line[0] else line
    return joined


def _segments(positions: Sequence[Position]) -> list[Position]:
    """Return a circular string as a line: each arc has a start, a position between, and an end."""
    if not positions:
        return []
    if len(positions) % 2 == 0 or len(positions) < 3:
        raise ValueError("a circular string has an odd number of positions")
    line = [positions[0]]
    for at in range(0, len(positions) - 2, 2):
        line += _arc(*positions[at : at + 3])
    return line


def _arc(start: Position, middle: Position, end: Position) -> Iterable[Position]:
    """Return the vertices of an arc after its start, with `middle` and `end` unchanged.

    An arc that ends where it starts is a circle, and `middle` is opposite its start.
    """
    if start[:2] == end[:2]:
        centre = (start[0] + middle[0]) / 2, (start[1] + middle[1]) / 2
        turn = math.tau
    else:
        found = _centre(start, middle, end)
        if found is None:
            return [middle, end]
        centre = found
        turn = _angle(centre, start, end)
        if _angle(centre, start, middle) > turn:
            turn -= math.tau
    half = _angle(centre, start, middle)
    first = half if turn > 0 else half - math.tau
    vertices: list[Position] = []
    for (begin, stop), angle in zip(
        pairwise((start, middle, end)), (first, turn - first), strict=True
    ):
        vertices += [*_between(centre, begin, stop, angle), stop]
    return vertices


def _between(
    centre: tuple[float, float], begin: Position, stop: Position, angle: float
) -> Iterator[Position]:
    steps = math.ceil(abs(math.degrees(angle)) / _STEP_DEGREES - 1e-9)
    x, y = begin[0] - centre[0], begin[1] - centre[1]
    for step in range(1, steps):
        cosine, sine = math.cos(angle * step / steps), math.sin(angle * step / steps)
        heights = (
            low + (high - low) * step / steps for low, high in zip(begin[2:], stop[2:], strict=True)
        )
        yield (
            centre[0] + x * cosine - y * sine,
            centre[1] + x * sine + y * cosine,
            *heights,
        )


def _centre(a: Position, b: Position, c: Position) -> tuple[float, float] | None:
    """Return the centre of the circle through three positions, or None if they lie on a line."""
    bx, by, cx, cy = b[0] - a[0], b[1] - a[1], c[0] - a[0], c[1] - a[1]
    twice_area = 2 * (bx * cy - by * cx)
    if abs(twice_area) <= 1e-12 * (math.hypot(bx, by) * math.hypot(cx, cy)):
        return None
    b2, c2 = bx * bx + by * by, cx * cx + cy * cy
    return a[0] + (cy * b2 - by * c2) / twice_area, a[1] + (bx * c2 - cx * b2) / twice_area


def _angle(centre: tuple[float, float], start: Position, end: Position) -> float:
    """Return the counter-clockwise angle from start to end, from 0 to 2 pi."""
    first = math.atan2(start[1] - centre[1], start[0] - centre[0])
    return (math.atan2(end[1] - centre[1], end[0] - centre[0]) - first) % math.tau
