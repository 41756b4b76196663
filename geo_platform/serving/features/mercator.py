"""Stored geometries on the map of Mercator, whole across the antimeridian.

PROJ returns x between the two edges of the map, so that an edge across 180 degrees would go round
the Earth. Here x continues past half a turn, and a tile draws what reaches over an edge of the map
on the other side too.

Called by `kept_tiles.py` and `tiles.py`.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry, BaseMultipartGeometry

from geo_platform.crs import EARTH_SEMI_MAJOR_M
from geo_platform.serving.features.collections import FeatureCollection
from geo_platform.serving.features.positions import Shapes, to_mercator

# From the middle of the map to its edges.
HALF_TURN_M = math.pi * EARTH_SEMI_MAJOR_M
_TURN_M = 2 * HALF_TURN_M
_MAKERS: Mapping[str, Callable[..., BaseGeometry]] = {
    "MultiPoint": shapely.multipoints,
    "MultiLineString": shapely.multilinestrings,
    "MultiPolygon": shapely.multipolygons,
    "GeometryCollection": shapely.geometrycollections,
}
# Positions, x and y by row, on the map.
_Move = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def whole_in_mercator(shapes: Shapes, collection: FeatureCollection) -> Shapes:
    """Return what `to_mercator` does, with x that continues past the edges of the map."""
    crs = collection.crs
    moved = to_mercator(shapes, collection)
    if moved is shapes:
        return moved
    bounds = shapely.bounds(moved)
    if crs.is_geographic:
        metres = EARTH_SEMI_MAJOR_M * crs.axis_info[0].unit_conversion_factor
        stored = shapely.bounds(shapes) * metres
        turned = np.flatnonzero((stored[:, 0] <= -HALF_TURN_M) | (stored[:, 2] >= HALF_TURN_M))
        for number in turned:
            moved[number] = _with_turns(shapes[number], moved[number], metres)
        return moved

    def move(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return shapely.get_coordinates(to_mercator(np.array(shapely.points(xy)), collection))

    for number in np.flatnonzero(bounds[:, 2] - bounds[:, 0] > HALF_TURN_M):
        moved[number] = _joined(shapes[number], moved[number], move)
    return moved


def over_the_edges(moved: Shapes) -> Iterator[tuple[NDArray[np.intp], Shapes]]:
    """Yield (indices, geometries) for what lies on the map: as it is, and a turn to each side."""
    yield np.arange(len(moved)), moved
    bounds = shapely.bounds(moved)
    for turn, reaches in (
        (-_TURN_M, bounds[:, 2] > HALF_TURN_M),
        (_TURN_M, bounds[:, 0] < -HALF_TURN_M),
    ):
        over = np.flatnonzero(reaches)
        if len(over):
            yield over, shapely.transform(moved[over], partial(np.add, [turn, 0.0]))


def _with_turns(stored: BaseGeometry, moved: BaseGeometry, metres: float) -> BaseGeometry:
    """Return the geometry with the turns that its stored longitudes have."""
    x = shapely.get_coordinates(stored)[:, 0] * metres
    positions = shapely.get_coordinates(moved)
    with np.errstate(invalid="ignore"):
        turns = np.rint((x - positions[:, 0]) / _TURN_M)
    positions[:, 0] += np.where(np.isfinite(turns), turns, 0.0) * _TURN_M
    turned: BaseGeometry = shapely.set_coordinates(moved, positions)
    return turned


def _joined(stored: BaseGeometry, moved: BaseGeometry, move: _Move) -> BaseGeometry:
    """Return a projected geometry without jumps from one edge of the map to the other."""
    if isinstance(moved, BaseMultipartGeometry):
        parts = zip(shapely.get_parts(stored), shapely.get_parts(moved), strict=True)
        make = _MAKERS[moved.geom_type]
        return make([_joined(before, after, move) for before, after in parts])
    if isinstance(moved, shapely.LineString):
        return shapely.LineString(_path(stored, moved, move))
    if (
        not isinstance(stored, shapely.Polygon)
        or not isinstance(moved, shapely.Polygon)
        or moved.is_empty
    ):
        return moved
    outside = _ring(stored.exterior, moved.exterior, move)
    west, east = outside[:, 0].min(), outside[:, 0].max()
    holes = []
    for before, after in zip(stored.interiors, moved.interiors, strict=True):
        hole = _ring(before, after, move)
        # A hole is on the same turn as what it is cut from.
        hole[:, 0] += _TURN_M * (float(hole[:, 0].min() < west) - float(hole[:, 0].max() > east))
        holes.append(hole)
    return shapely.Polygon(outside, holes)


def _ring(stored: BaseGeometry, moved: BaseGeometry, move: _Move) -> NDArray[np.float64]:
    """Return the path of a ring. One that goes round the Earth is closed beyond the pole."""
    path = _path(stored, moved, move)
    if abs(path[-1, 0] - path[0, 0]) < HALF_TURN_M:
        return path
    beyond = math.copysign(2 * _TURN_M, path[:, 1].mean())
    corners = [[path[-1, 0], beyond], [path[0, 0], beyond], path[0]]
    return np.vstack([path, corners])


def _path(stored: BaseGeometry, moved: BaseGeometry, move: _Move) -> NDArray[np.float64]:
    """Return positions along a line. An edge over half a turn long is kept if its middle is there.

    Otherwise it is a short one across the antimeridian.
    """
    path = shapely.get_coordinates(moved)
    before = shapely.get_coordinates(stored)
    steps = np.diff(path[:, 0])
    jumps = np.flatnonzero(np.abs(steps) > HALF_TURN_M)
    if len(jumps) == 0 or not np.isfinite(path).all():
        return path
    middles = move((before[jumps] + before[jumps + 1]) / 2)
    expected = (path[jumps, 0] + path[jumps + 1, 0]) / 2
    is_short = ~(np.abs(middles[:, 0] - expected) < HALF_TURN_M / 2)
    crossed = jumps[is_short]
    turns = np.zeros(len(path))
    turns[crossed + 1] = -np.sign(steps[crossed])
    path[:, 0] += np.cumsum(turns) * _TURN_M
    return path
