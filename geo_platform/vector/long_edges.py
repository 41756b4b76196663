"""Add vertices to long edges of very large geometries, so that reprojecting keeps their shape.

Reprojection moves vertices. In a geometry of a thousand kilometres or more, the edge between two of
them can have another place in the target. For example, the parallel that bounds a box around
Antarctica, from -180 to 180 degrees, begins and ends at the same point of a polar projection. This
module divides edges until their image is straight. It refuses a geometry with an edge that never
gets straight, because the target CRS tears it, and a ring whose inside becomes its outside.

Called by `clean.py`.
"""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import shapely

from geo_platform.vector.crs import reproject_positions
from geo_platform.vector.seam_cut import NotCutError

# Shape (n, 2) or (n, 3).
Path = npt.NDArray[np.float64]

# Rows wider or higher than this are examined: in the source, and in the target.
LARGE_IN_SOURCE_M = 1e6
LARGE_IN_TARGET_M = 1e7
# How far the image of an edge may be from the straight line, as a part of the geometry's size.
_TOLERANCE = 1e-3
_MAX_HALVINGS = 24
_MAX_VERTICES = 200_000
_JUMP = 0.4
# Edges longer than this part of the geometry are examined.
_LONG_EDGE = 0.01
_FRACTIONS = (0.25, 0.5, 0.75)
_COLLECTION_TYPE_ID = 7


def with_straight_edges(
    source: shapely.Geometry, moved: shapely.Geometry, source_wkt: str, target_wkt: str
) -> shapely.Geometry:
    """Return `source` in the target CRS; `moved` itself if its edges are straight enough.

    Raises NotCutError: the target CRS tears an edge, or turns a polygon inside out.
    """
    kind = shapely.get_type_id(source)
    if shapely.get_dimensions(source) == 0:
        return moved
    if kind == _COLLECTION_TYPE_ID:
        both = zip(shapely.get_parts(source), shapely.get_parts(moved), strict=True)
        return shapely.GeometryCollection(
            [with_straight_edges(*pair, source_wkt, target_wkt) for pair in both]
        )
    resampler = _Resampler(source_wkt, target_wkt, _size(source), _size(moved))
    pairs = zip(shapely.get_parts(source), shapely.get_parts(moved), strict=True)
    if shapely.get_dimensions(source) == 2:
        result: shapely.Geometry = shapely.MultiPolygon(
            [resampler.polygon(*pair) for pair in pairs]
        )
    else:
        result = shapely.MultiLineString([resampler.path(*pair) for pair in pairs])
    return result if resampler.added else moved


class _Resampler:
    """Reprojects paths. `added` counts the vertices that were added."""

    def __init__(
        self, source_wkt: str, target_wkt: str, source_size: float, target_size: float
    ) -> None:
        self.added = 0
        self._wkt = (source_wkt, target_wkt)
        self._source_size, self._size = source_size, target_size

    def polygon(self, polygon: shapely.Polygon, moved: shapely.Polygon) -> shapely.Polygon:
        rings = zip(shapely.get_rings(polygon), shapely.get_rings(moved), strict=True)
        paths = [self.path(*pair) for pair in rings]
        if self._is_inside_out(polygon, paths[0]):
            raise NotCutError("the target CRS shows the outside of the polygon as its inside")
        return shapely.Polygon(paths[0], paths[1:])

    def path(self, line: shapely.Geometry, moved: shapely.Geometry) -> Path:
        """Return the line in the target CRS, with further vertices where its image bends."""
        path, image = _path(line), shapely.get_coordinates(moved)
        is_open = self._may_bend(path, image)
        for _ in range(_MAX_HALVINGS):
            edges = np.flatnonzero(is_open)
            bends = edges[self._bends(path, image, edges)] if edges.size else edges
            if not bends.size:
                return np.column_stack([image, path[:, 2:]])
            if len(path) > _MAX_VERTICES:
                break
            middles = (path[bends] + path[bends + 1]) / 2
            path = np.insert(path, bends + 1, middles, axis=0)
            image = np.insert(image, bends + 1, self._moved(middles), axis=0)
            self.added += len(bends)
            is_open = np.zeros(len(path) - 1, dtype=bool)
            first = bends + np.arange(len(bends))
            is_open[first] = is_open[first + 1] = True
        raise NotCutError("the target CRS tears an edge of the geometry")

    def _may_bend(self, path: Path, image: Path) -> npt.NDArray[np.bool_]:
        """Return which edges are so long that their images may bend or tear; most are short."""
        length, image_length = (np.hypot(*np.diff(each[:, :2], axis=0).T) for each in (path, image))
        return np.asarray(
            (length > _LONG_EDGE * self._source_size) | (image_length > _TOLERANCE * self._size)
        )

    def _bends(
        self, path: Path, image: Path, edges: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        start, end = image[edges], image[edges + 1]
        steps = path[edges + 1] - path[edges]
        places = [start, *(self._moved(path[edges] + steps * part) for part in _FRACTIONS), end]
        self._size = max(self._size, float(np.ptp(np.vstack(places), axis=0).max()))
        off = np.max([_distance(place, start, end) for place in places[1:-1]], axis=0)
        # Between two lobes of an interrupted map, one quarter of an edge has most of its length.
        quarters = np.array([np.hypot(*(b - a).T) for a, b in pairwise(places)])
        jumps = quarters.max(axis=0) > _JUMP * quarters.sum(axis=0)
        jumps &= quarters.max(axis=0) > _TOLERANCE * self._size
        return np.asarray((off > _TOLERANCE * self._size) | jumps)

    def _is_inside_out(self, polygon: shapely.Polygon, image: Path) -> bool:
        """Return whether the ring turns the other way round, unlike a small square inside it."""
        west, south, east, north = polygon.bounds
        inside = shapely.get_coordinates(polygon.representative_point())
        side = max(east - west, north - south) * 1e-6
        square = inside + side * np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)])
        is_mirrored = not shapely.is_ccw(shapely.linearrings(self._moved(square)))
        was_ccw = bool(polygon.exterior.is_ccw)
        is_ccw = bool(shapely.is_ccw(shapely.linearrings(image[:, :2])))
        return (was_ccw != is_ccw) != is_mirrored

    def _moved(self, path: Path) -> Path:
        image = reproject_positions(path[:, :2], *self._wkt)
        if not np.isfinite(image).all():
            raise NotCutError("an edge has no position in the target CRS")
        return image


def _size(geometry: shapely.Geometry) -> float:
    west, south, east, north = shapely.bounds(geometry)
    return float(max(east - west, north - south))


def _path(line: shapely.Geometry) -> Path:
    return shapely.get_coordinates(line, include_z=bool(shapely.has_z(line)))


def _distance(points: Path, start: Path, end: Path) -> npt.NDArray[np.float64]:
    """Return the distance of each point from the segment between `start` and `end`."""
    steps, offsets = end - start, points - start
    squares = (steps**2).sum(axis=1)
    along = np.divide(
        (offsets * steps).sum(axis=1), squares, out=np.zeros_like(squares), where=squares > 0
    )
    nearest = offsets - steps * np.clip(along, 0.0, 1.0)[:, None]
    return np.asarray(np.hypot(nearest[:, 0], nearest[:, 1]))
