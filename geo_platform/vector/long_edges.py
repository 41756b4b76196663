"""Add vertices to long edges of very large geometries, so that reprojecting keeps their shape.

Reprojection moves vertices. In a geometry of a thousand kilometres or more, the edge between two of
them can have another place in the target: the parallel that bounds a box round Antarctica, from
-180 to 180 degrees, begins and ends at the same point of a polar projection. Edges are divided
until their image is straight. An edge that never gets straight is torn by the target CRS, and a
ring whose inside becomes its outside has another area; both are refused.

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
        pairs = zip(shapely.get_parts(source), shapely.get_parts(moved), strict=True)
        parts = [with_straight_edges(*pair, source_wkt, target_wkt) for pair in pairs]
        return shapely.GeometryCollection(parts)
    west, south, east, north = shapely.bounds(moved)
    resampler = _Resampler(source_wkt, target_wkt, max(east - west, north - south))
    if isinstance(source, shapely.Polygon):
        result: shapely.Geometry = resampler.polygon(source)
    elif isinstance(source, shapely.MultiPolygon):
        result = shapely.MultiPolygon([resampler.polygon(part) for part in source.geoms])
    else:
        lines = [resampler.path(_path(line)) for line in shapely.get_parts(source)]
        result = shapely.MultiLineString(lines)
    return result if resampler.added else moved


class _Resampler:
    """Reprojects paths. `added` counts the vertices that were added."""

    def __init__(self, source_wkt: str, target_wkt: str, size: float) -> None:
        self.added = 0
        self._wkt = (source_wkt, target_wkt)
        self._size = size

    def polygon(self, polygon: shapely.Polygon) -> shapely.Polygon:
        rings = [_path(ring) for ring in shapely.get_rings(polygon)]
        paths = [self.path(ring) for ring in rings]
        if self._is_inside_out(polygon, paths[0]):
            raise NotCutError("the target CRS shows the outside of the polygon as its inside")
        return shapely.Polygon(paths[0], paths[1:])

    def path(self, path: Path) -> Path:
        """Return the path in the target CRS, with further vertices where its image bends."""
        image = self._moved(path)
        is_open = np.ones(len(path) - 1, dtype=bool)
        for _ in range(_MAX_HALVINGS):
            edges = np.flatnonzero(is_open)
            bends = edges[self._bends(path, image, edges)]
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
