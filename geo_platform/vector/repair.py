"""Geometries made valid, keeping their dimension: a polygon stays a polygon, what collapses to less is dropped.

Source: GEOS' MakeValid in its structure method: https://libgeos.org/doxygen/classgeos_1_1geom_1_1util_1_1GeometryFixer.html
"""

import numpy as np
import numpy.typing as npt
import shapely

Geometries = npt.NDArray[np.object_]


def make_valid(geometries: Geometries) -> Geometries:
    """The invalid ones repaired; None where GEOS cannot, empty where nothing of the dimension is left.

    GEOS' structure method can leave two parts that share an edge, which is no valid multipolygon; a second pass joins them.
    """
    repaired = _pass(geometries)
    again = np.flatnonzero(~shapely.is_valid(repaired) & ~shapely.is_missing(repaired))
    if again.size:
        repaired[again] = _pass(repaired[again])
    return repaired


def _pass(geometries: Geometries) -> Geometries:
    try:
        repaired = shapely.make_valid(geometries, method="structure", keep_collapsed=False)
    except shapely.GEOSException:
        repaired = np.array([_one(geometry) for geometry in geometries], dtype=object)
    wanted = shapely.get_dimensions(geometries)
    is_mixed = (shapely.get_type_id(repaired) == 7) & (shapely.get_type_id(geometries) != 7)
    for row in np.flatnonzero(is_mixed):
        repaired[row] = _of_dimension(repaired[row], int(wanted[row]))
    return np.asarray(repaired, dtype=object)


def _one(geometry: shapely.Geometry) -> shapely.Geometry | None:
    try:
        return shapely.make_valid(geometry, method="structure", keep_collapsed=False)
    except shapely.GEOSException:
        return None


def _of_dimension(collection: shapely.Geometry, dimension: int) -> shapely.Geometry:
    parts = shapely.get_parts(shapely.get_parts(collection))
    kept = parts[shapely.get_dimensions(parts) == dimension]
    if dimension == 2:
        return shapely.MultiPolygon(list(kept))
    return shapely.MultiLineString(list(kept)) if dimension == 1 else shapely.MultiPoint(list(kept))


def promote_to_multi(geometries: Geometries) -> Geometries:
    """Points, lines and polygons as multi geometries of one part; the others as they are."""
    types = shapely.get_type_id(geometries)
    promoted = geometries.copy()
    for single, make in ((0, shapely.multipoints), (1, shapely.multilinestrings), (3, shapely.multipolygons)):
        rows = np.flatnonzero(types == single)
        if rows.size:
            promoted[rows] = make(geometries[rows], indices=np.arange(rows.size))
    return promoted
