"""Cut geometries along the seam of the target CRS, so that they keep their area and length.

RFC 7946, section 3.1.9: a geometry that crosses the antimeridian is cut into parts that do not. The
same is done at the seam of any other target (`seam.py`). A polygon round a pole is cut along the
seam up to the pole, and closed along the pole.

An edge is straight in the source CRS, also where it crosses the seam. Vertices are added to long
edges of a geometry that is cut, until its parts have the area or the length that the geometry has
on the ellipsoid.

Called by `clean.py` and `long_edges.py`.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS, Geod

from geo_platform.longitudes import degrees_per_unit
from geo_platform.vector.crs import reproject, reproject_positions
from geo_platform.vector.seam import (
    Seam,
    SeamInSource,
    prime_meridian,
    seam_in_source,
    seam_of,
)

# Shape (n, 2) or (n, 3): x and y, or degrees of longitude and latitude, and z if there are heights.
Path = npt.NDArray[np.float64]

# For each attempt, the length in metres and the turn in degrees of longitude above which an edge
# gets further vertices.
_ATTEMPTS = ((2e6, 60.0), (1e5, 5.0), (2e4, 1.0), (5e3, 0.25))
_REFERENCE = (2e4, 1.0)
_TOLERANCE = 1e-3
_LEAST_AREA_M2 = 1e-2
_LEAST_LENGTH_M = 1e-2
_METRES_PER_DEGREE = 111_000.0
_MAX_VERTICES = 1_000_000
# Shorter edges are not divided.
_SHORTEST_M = 1e-3
# A vertex beyond this latitude, about a centimetre from the pole, lies on the pole.
_POLE = 90.0 - 1e-7
# Vertices within 0.1 mm of the seam are put on it.
_ON_SEAM = 1e-9
# Degrees between the vertices by which parts are measured.
_CHECKED_STEP = 0.25
# Degrees of latitude between vertices of a curved seam.
_SEAM_STEP = 0.5
# Coordinates beyond this are at infinity: Mercator gives a pole the northing 2.4e8.
MAX_METRES = 1e8
_COLLECTION_TYPE_ID = 7


class NotCutError(Exception):
    """A geometry cannot be cut along the seam. The message gives the reason."""


@dataclass(frozen=True)
class CutGeometry:
    """A geometry in the target CRS. `is_cut` is False if it does not cross the seam."""

    geometry: shapely.Geometry
    is_cut: bool
    is_repaired: bool = False


@lru_cache(maxsize=8)
def seam_cutter(source_wkt: str, target_wkt: str) -> "SeamCutter | None":
    """Return the cutter for a target CRS, or None if the target has no seam along a meridian."""
    seam, place = seam_of(target_wkt), seam_in_source(source_wkt, target_wkt)
    if seam is None or place is None:
        return None
    return SeamCutter(source_wkt, target_wkt, seam, place)


class SeamCutter:
    """Cuts geometries of one source CRS along the seam of one target CRS."""

    def __init__(self, source_wkt: str, target_wkt: str, seam: Seam, place: SeamInSource) -> None:
        source, target = CRS.from_wkt(source_wkt), CRS.from_wkt(target_wkt)
        self._wkt = (source_wkt, target_wkt)
        self._seam = seam
        self._poles = place.poles
        self._place = place
        self._source_degrees = degrees_per_unit(source) if source.is_geographic else None
        self._meridian_shift = prime_meridian(source) - seam.central_meridian
        self._source_metres = metres_per_unit(source)
        self._target_metres = metres_per_unit(target)

    def may_touch(self, bounds: Path, moved_bounds: Path) -> npt.NDArray[np.bool_]:
        """Return which rows may touch the seam, by their bounds in both CRSs, shape (rows, 4).

        In degrees, rows outside -180..180 are among them.
        """
        touched = self._place.may_be_touched(bounds)
        if self._seam.is_geographic:
            limit = 180.0 / self._target_degrees
            with np.errstate(invalid="ignore"):
                touched |= (moved_bounds[:, 0] < -limit) | (moved_bounds[:, 2] > limit)
        return touched

    @property
    def _target_degrees(self) -> float:
        return self._target_metres / _METRES_PER_DEGREE

    def cut(self, source: shapely.Geometry, moved: shapely.Geometry) -> CutGeometry:
        """Cut a geometry. `moved` is `source` with each vertex in the target CRS.

        Raises NotCutError: a position does not exist in the target CRS, or the parts have another
        area or length than the geometry.
        """
        if shapely.get_type_id(source) == _COLLECTION_TYPE_ID:
            return self._cut_collection(source, moved)
        dimension = shapely.get_dimensions(source)
        if dimension == 0:
            return CutGeometry(self._within_range(moved), is_cut=False)
        is_repaired = bool(dimension == 2 and not shapely.is_valid(source))
        if is_repaired:
            source = _valid(source)
            moved = reproject(np.array([source], dtype=object), *self._wkt)[0]
        parts: list[shapely.Geometry] = []
        is_cut = is_changed = False
        for pair in zip(shapely.get_parts(source), shapely.get_parts(moved), strict=True):
            part = (self._cut_polygon if dimension == 2 else self._cut_line)(*pair)
            is_cut |= part.is_cut
            is_changed |= part.geometry is not pair[1]
            parts += shapely.get_parts(part.geometry).tolist()
        if not is_changed:
            return CutGeometry(moved, is_cut=False, is_repaired=is_repaired)
        geometry = _multi_polygon(parts) if dimension == 2 else _multi_line(parts)
        return CutGeometry(geometry, is_cut=is_cut, is_repaired=is_repaired)

    def _cut_collection(self, source: shapely.Geometry, moved: shapely.Geometry) -> CutGeometry:
        pairs = zip(shapely.get_parts(source), shapely.get_parts(moved), strict=True)
        parts = [self.cut(*pair) for pair in pairs]
        return CutGeometry(
            shapely.geometrycollections([part.geometry for part in parts]),
            is_cut=any(part.is_cut for part in parts),
            is_repaired=any(part.is_repaired for part in parts),
        )

    def _within_range(self, points: shapely.Geometry) -> shapely.Geometry:
        if not self._seam.is_geographic:
            return points
        turn = 360.0 / self._target_degrees

        def wrap(xy: Path) -> Path:
            is_outside = np.abs(xy[:, 0]) > turn / 2
            x = np.where(is_outside, (xy[:, 0] + turn / 2) % turn - turn / 2, xy[:, 0])
            return np.column_stack([x, xy[:, 1:]])

        return shapely.transform(points, wrap, include_z=bool(shapely.has_z(points)))

    def _cut_polygon(self, source: shapely.Geometry, moved: shapely.Geometry) -> CutGeometry:
        source = shapely.orient_polygons(source)
        rings = [
            shapely.get_coordinates(ring, include_z=bool(shapely.has_z(source)))
            for ring in _rings(source)
        ]
        expected = math.nan
        for length_m, turn in _ATTEMPTS:
            traced = [self._trace(ring, length_m, turn, is_ring=True) for ring in rings]
            if self._is_apart_from_seam(traced[0], moved):
                return CutGeometry(moved, is_cut=False)
            folded = _folded_polygon(traced)
            if math.isnan(expected):
                expected = self._signed_area(
                    self._lonlat(self._dense(ring, *_REFERENCE)) for ring in rings
                )
            found = sum(self._area(part) for part in folded)
            if folded and _same_area(self._seam.geod, expected, found):
                is_cut = len(folded) > 1 or _crosses(traced[0])
                area = _multi_polygon([self._to_target(part) for part in folded])
                # Where a pole is a point, the edge along the pole is one too.
                valid = area if shapely.is_valid(area) else _multi_polygon(_polygons(_valid(area)))
                return CutGeometry(valid, is_cut=is_cut)
        raise NotCutError(
            f"the parts have an area of {abs(found):.6g} m2, the geometry of {abs(expected):.6g} m2"
        )

    def _cut_line(self, source: shapely.Geometry, moved: shapely.Geometry) -> CutGeometry:
        path = shapely.get_coordinates(source, include_z=bool(shapely.has_z(source)))
        expected = math.nan
        for length_m, turn in _ATTEMPTS:
            traced = self._trace(path, length_m, turn, is_ring=False)
            if self._is_apart_from_seam(traced, moved):
                return CutGeometry(moved, is_cut=False)
            folded = _folded_line(traced)
            if math.isnan(expected):
                expected = self._length(self._lonlat(self._dense(path, *_REFERENCE)))
            found = sum(self._length(_segmented(part, _CHECKED_STEP)) for part in folded)
            if folded and abs(found - expected) <= max(_TOLERANCE * expected, _LEAST_LENGTH_M):
                parts = [shapely.LineString(self._positions(part)) for part in folded]
                return CutGeometry(_multi_line(parts), is_cut=len(parts) > 1)
        raise NotCutError(
            f"the parts have a length of {found:.6g} m, the geometry of {expected:.6g} m"
        )

    # From the source to degrees from the seam's central meridian.

    def _dense(self, path: Path, length_m: float, turn: float) -> Path:
        """Return the path, in the source CRS, with vertices added to long and to turning edges."""
        path = _segmented(path, length_m / self._source_metres)
        while len(path) < _MAX_VERTICES:
            relative = self._lonlat(path)
            is_pole = np.abs(relative[:, 1]) > _POLE
            steps = np.hypot(*np.diff(path[:, :2], axis=0).T) * self._source_metres
            is_long = (
                (np.abs(_wrapped(np.diff(relative[:, 0]))) > turn)
                & (steps > _SHORTEST_M)
                & ~(is_pole[:-1] & is_pole[1:])
            )
            # An edge to the pole turns by any angle.
            is_long &= ~(is_pole[:-1] | is_pole[1:]) | (self._source_degrees is not None)
            if not is_long.any():
                return path
            middles = (path[:-1][is_long] + path[1:][is_long]) / 2
            path = np.insert(path, np.flatnonzero(is_long) + 1, middles, axis=0)
        raise NotCutError("the geometry would need too many vertices")

    def _lonlat(self, path: Path) -> Path:
        """Return relative longitude and latitude, and z, of positions in the source CRS."""
        lonlat = reproject_positions(path[:, :2], self._wkt[0], self._seam.base_wkt)
        if not np.isfinite(lonlat).all():
            raise NotCutError("a coordinate has no position in the target CRS")
        relative = self._seam.relative_of_base(lonlat)
        if self._source_degrees is not None:
            # A datum shift gives all positions on a pole the same longitude.
            is_pole = np.abs(relative[:, 1]) > _POLE
            longitudes = path[:, 0] * self._source_degrees + self._meridian_shift
            relative[:, 0] = np.where(is_pole, longitudes, relative[:, 0])
        return np.column_stack([relative, path[:, 2:]])

    def _trace(self, path: Path, length_m: float, turn: float, *, is_ring: bool) -> Path:
        """Return the path in relative degrees, with longitudes that continue beyond -180 and 180.

        A ring round a pole is closed along the pole.
        """
        relative = self._lonlat(self._dense(path, length_m, turn))
        if self._source_degrees is None:
            relative = _along_poles(relative, is_ring=is_ring)
        steps = _wrapped(np.diff(relative[:, 0]))
        relative[1:, 0] = relative[0, 0] + np.cumsum(steps)
        seams = np.round((relative[:, 0] + 180.0) / 360.0) * 360.0 - 180.0
        is_on_seam = np.abs(relative[:, 0] - seams) < _ON_SEAM
        relative[:, 0] = np.where(is_on_seam, seams, relative[:, 0])
        if not is_ring:
            return relative
        turns = round((relative[-1, 0] - relative[0, 0]) / 360.0)
        if turns == 0:
            relative[-1, 0] = relative[0, 0]
            return relative
        if abs(turns) > 1:
            raise NotCutError("the geometry winds round a pole several times")
        relative[-1, 0] = relative[0, 0] + turns * 360.0
        pole = self._pole_inside(path, turns)
        corners = relative[[-1, 0, 0]].copy()
        corners[:2, 1] = pole
        return np.vstack([relative, corners])

    def _pole_inside(self, ring: Path, turns: int) -> float:
        """Return the latitude of the pole that a ring of the source surrounds."""
        north, south = (
            bool(np.isfinite(pole).all())
            and bool(shapely.contains_xy(shapely.Polygon(ring[:, :2]), *pole))
            for pole in self._poles
        )
        if north != south:
            return 90.0 if north else -90.0
        # A ring is counterclockwise, so its inside is on the left: north of a path to the east.
        is_counterclockwise = bool(shapely.is_ccw(shapely.linearrings(ring[:, :2])))
        return 90.0 if (turns > 0) == is_counterclockwise else -90.0

    def _is_apart_from_seam(self, traced: Path, moved: shapely.Geometry) -> bool:
        """Return whether the geometry is on one side of the seam and `moved` keeps it there."""
        if _crosses(traced) or (self._source_degrees is None and _reaches_pole(traced)):
            return False
        shown = self._seam.to_relative(shapely.get_coordinates(moved))[:, 0]
        if not (shown.min() >= -180.0 and shown.max() <= 180.0):
            return False
        turn = _window(traced) * 360.0
        west, east = traced[:, 0].min() - turn, traced[:, 0].max() - turn
        return bool(abs(shown.min() - west) < 1e-6 and abs(shown.max() - east) < 1e-6)

    # From relative degrees to the target.

    def _to_target(self, part: shapely.Geometry) -> shapely.Geometry:
        rings = [
            self._positions(shapely.get_coordinates(ring, include_z=bool(shapely.has_z(part))))
            for ring in _rings(part)
        ]
        return shapely.Polygon(rings[0], rings[1:])

    def _positions(self, relative: Path) -> Path:
        """Return a path in the target CRS. A curved seam gets further vertices."""
        if not self._seam.is_straight:
            relative = _with_seam_vertices(relative)
        longitudes = np.clip(relative[:, 0], -self._seam.edge, self._seam.edge)
        xy = self._seam.from_relative(np.column_stack([longitudes, relative[:, 1]]))
        if not np.isfinite(xy).all() or np.abs(xy).max() * self._target_metres > MAX_METRES:
            raise NotCutError("a part reaches a pole, which has no position in the target CRS")
        self._check_sides(relative, xy)
        return np.column_stack([xy, relative[:, 2:]])

    def _check_sides(self, relative: Path, xy: Path) -> None:
        """Check that positions off the seam and the poles lead back to where they come from."""
        inner = (np.abs(relative[:, 0]) < 179.99) & (np.abs(relative[:, 1]) < 89.9)
        if self._seam.is_geographic or not inner.any():
            return
        again = self._seam.to_relative(xy[inner])
        if np.abs(again - relative[inner, :2]).max() > 1e-5:
            raise NotCutError("the seam of the target CRS is not a meridian")

    # What must stay the same.

    def _area(self, part: shapely.Geometry) -> float:
        """Return the area of a part in relative degrees, whose edges are straight in degrees."""
        return self._signed_area(
            _segmented(shapely.get_coordinates(ring), _CHECKED_STEP)
            for ring in _rings(shapely.orient_polygons(part))
        )

    def _signed_area(self, rings: Iterable[Path]) -> float:
        return sum(
            self._seam.geod.polygon_area_perimeter(ring[:, 0], ring[:, 1])[0] for ring in rings
        )

    def _length(self, path: Path) -> float:
        return float(self._seam.geod.line_length(path[:, 0], path[:, 1]))


def metres_per_unit(crs: CRS) -> float:
    """Return the size of the unit of a CRS in metres, about that of a degree for degrees."""
    if crs.is_geographic:
        return degrees_per_unit(crs) * _METRES_PER_DEGREE
    return float(crs.axis_info[0].unit_conversion_factor)


def _rings(polygon: shapely.Geometry) -> Iterator[shapely.Geometry]:
    """Yield the outer ring of a polygon, then those of its holes."""
    yield from shapely.get_rings(polygon)


def _valid(polygon: shapely.Geometry) -> shapely.Geometry:
    return shapely.make_valid(polygon, method="structure", keep_collapsed=False)


def _multi_polygon(parts: Sequence[shapely.Geometry]) -> shapely.Geometry:
    return shapely.MultiPolygon([part for part in parts if isinstance(part, shapely.Polygon)])


def _multi_line(parts: Sequence[shapely.Geometry]) -> shapely.Geometry:
    return shapely.MultiLineString([part for part in parts if isinstance(part, shapely.LineString)])


def _wrapped(degrees: Path) -> Path:
    """Return differences of longitudes in -180..180."""
    return (degrees + 180.0) % 360.0 - 180.0


def _segmented(path: Path, length: float) -> Path:
    """Return the path with edges of at most `length`, in its own units."""
    steps = np.diff(path, axis=0)
    pieces = np.maximum(np.ceil(np.hypot(steps[:, 0], steps[:, 1]) / length), 1).astype(np.int64)
    if pieces.size == 0 or pieces.max() == 1:
        return path
    if pieces.sum() > _MAX_VERTICES:
        raise NotCutError("the geometry would need too many vertices")
    return _divided(path, pieces)


def _divided(path: Path, pieces: npt.NDArray[np.int64]) -> Path:
    """Return the path with each edge divided into a number of pieces."""
    steps = np.diff(path, axis=0)
    edge = np.repeat(np.arange(len(steps)), pieces)
    index = np.arange(len(edge)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    divided = path[edge] + steps[edge] * (index / pieces[edge])[:, None]
    return np.vstack([divided, path[-1:]])


def _along_poles(relative: Path, *, is_ring: bool) -> Path:
    """Replace each vertex on a pole by two: at the longitude before it, and at the one after it."""
    is_pole = np.abs(relative[:, 1]) > _POLE
    if not is_pole.any():
        return relative
    if is_pole.all():
        raise NotCutError("all of the geometry is a pole")
    if is_ring and is_pole[0]:
        start = int(np.argmin(is_pole))
        relative = np.vstack([relative[start:-1], relative[: start + 1]])
        is_pole = np.abs(relative[:, 1]) > _POLE
    rows: list[Path] = []
    other = np.flatnonzero(~is_pole)
    for index in range(len(relative)):
        if not is_pole[index]:
            rows.append(relative[index])
            continue
        before, after = other[other < index], other[other > index]
        for neighbour in (*before[-1:], *after[:1]):
            corner = relative[index].copy()
            corner[0], corner[1] = relative[neighbour, 0], math.copysign(90.0, corner[1])
            rows.append(corner)
    return np.array(rows)


def _window(traced: Path) -> int:
    """Return the number of turns that bring the path's middle into -180..180."""
    return math.floor((float(traced[:, 0].min() + float(traced[:, 0].max())) / 2 + 180.0) / 360.0)


def _reaches_pole(traced: Path) -> bool:
    return bool(np.abs(traced[:, 1]).max() > _POLE)


def _crosses(traced: Path) -> bool:
    turn = _window(traced) * 360.0
    return bool(traced[:, 0].min() - turn < -180.0 or traced[:, 0].max() - turn > 180.0)


def _folded_polygon(traced: list[Path]) -> list[shapely.Geometry]:
    """Return the polygons, in -180..180, of an outer ring and the rings of its holes."""
    area = _folded_ring(traced[0])
    for hole in traced[1:]:
        area = shapely.difference(area, _folded_ring(hole))
    return _polygons(area)


def _folded_ring(ring: Path) -> shapely.Geometry:
    filled: shapely.Geometry = shapely.Polygon(ring)
    if not shapely.is_valid(filled):
        filled = _valid(filled)
    pieces = []
    for turn in _turns(ring):
        window = shapely.box(turn - 180.0, -91.0, turn + 180.0, 91.0)
        cut = shapely.intersection(filled, window)
        pieces.append(_shifted(cut, -turn))
    parts = [part for piece in pieces for part in _polygons(piece)]
    # Both ends of a whole turn are the same meridian, where the pieces are joined again.
    is_wide = np.ptp(ring[:, 0]) > 360.0 - _ON_SEAM
    return shapely.union_all(parts) if is_wide else _multi_polygon(parts)


def _turns(path: Path) -> list[float]:
    first = math.floor((path[:, 0].min() + 180.0) / 360.0)
    last = math.ceil((path[:, 0].max() - 180.0) / 360.0)
    return [turn * 360.0 for turn in range(first, last + 1)]


def _shifted(geometry: shapely.Geometry, degrees: float) -> shapely.Geometry:
    if degrees == 0:
        return geometry
    has_z = bool(shapely.has_z(geometry))
    shift = (degrees, 0.0, 0.0) if has_z else (degrees, 0.0)
    return shapely.transform(geometry, lambda xy: xy + shift, include_z=has_z)


def _polygons(geometry: shapely.Geometry) -> list[shapely.Geometry]:
    parts = shapely.get_parts(shapely.get_parts(geometry))
    return [part for part in parts if shapely.get_dimensions(part) == 2 and not part.is_empty]


def _folded_line(traced: Path) -> list[Path]:
    """Return the parts of a line, in -180..180."""
    path = _with_crossings(traced)
    middles = (path[:-1, 0] + path[1:, 0]) / 2
    turns = np.floor((middles + 180.0) / 360.0)
    along_pole = (np.abs(path[:-1, 1]) > _POLE) & (np.abs(path[1:, 1]) > _POLE)
    parts = []
    for edges in np.split(np.arange(len(middles)), np.flatnonzero(np.diff(turns)) + 1):
        for run in _runs(edges[~along_pole[edges]]):
            part = path[run[0] : run[-1] + 2].copy()
            part[:, 0] -= turns[run[0]] * 360.0
            parts.append(part)
    return parts


def _runs(edges: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    return np.split(edges, np.flatnonzero(np.diff(edges) > 1) + 1) if edges.size else []


def _with_crossings(path: Path) -> Path:
    """Return the path with a vertex wherever it crosses the seam."""
    rows: list[Path] = [path[0]]
    for start, end in pairwise(path):
        low, high = sorted((start[0], end[0]))
        first = math.floor((low + 180.0) / 360.0) + 1
        last = math.ceil((high + 180.0) / 360.0) - 1
        seams = [turn * 360.0 - 180.0 for turn in range(first, last + 1)]
        for seam in seams if end[0] > start[0] else seams[::-1]:
            vertex = start + (end - start) * ((seam - start[0]) / (end[0] - start[0]))
            vertex[0] = seam
            rows.append(vertex)
        rows.append(end)
    return np.array(rows)


def _with_seam_vertices(relative: Path) -> Path:
    """Return the path with vertices at least every half degree along the seam and to a pole."""
    start, end = relative[:-1], relative[1:]
    along_meridian = np.abs(start[:, 0] - end[:, 0]) < _ON_SEAM
    pieces = np.where(
        along_meridian, np.ceil(np.abs(end[:, 1] - start[:, 1]) / _SEAM_STEP), 1
    ).astype(np.int64)
    return _divided(relative, np.maximum(pieces, 1))


def _same_area(geod: Geod, expected: float, found: float) -> bool:
    """Compare signed areas. A ring has two sides, so areas are known modulo that of the Earth."""
    earth = _area_of_earth(geod)
    tolerance = max(_TOLERANCE * min(abs(found) % earth, earth), _LEAST_AREA_M2)
    return any(
        min(difference % earth, -difference % earth) <= tolerance
        for difference in (found - expected, found + expected)
    )


def _area_of_earth(geod: Geod) -> float:
    """Return the area of the ellipsoid in square metres."""
    if geod.es == 0:
        return 4.0 * math.pi * geod.a**2
    eccentricity = math.sqrt(geod.es)
    return float(
        2.0 * math.pi * geod.a**2 * (1 + (1 - geod.es) / eccentricity * math.atanh(eccentricity))
    )
