"""Longitudes on a circle: which of them the rows of a dataset occupy, and the box around these.

A box from the least to the greatest longitude is wrong for rows on both sides of the antimeridian.
Their box goes over the antimeridian, with west > east (RFC 7946, section 5.2).

Used by `catalog`, `storage/local` and `vector`.
"""

import math

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS

Longitudes = npt.NDArray[np.float64]
# Shape (rows, 4): xmin, ymin, xmax, ymax.
Boxes = npt.NDArray[np.float64]

# The width in degrees above which parts of a geometry may be neighbours over the antimeridian.
HALF_TURN = 180.0
# Rounding errors of coordinates on the antimeridian, in degrees.
_TOLERANCE = 1e-9
# A box over the antimeridian is used only if it is this many degrees narrower than the other one.
# Gaps of a few degrees are found in every scattered dataset.
_LEAST_GAIN = 10.0


class LongitudeArcs:
    """The longitudes that rows occupy, in degrees. Gaps of less than a degree are not seen."""

    def __init__(self) -> None:
        # For each full degree in which arcs begin: the least west and the greatest east.
        self._west = np.full(361, np.inf)
        self._east = np.full(361, -np.inf)

    def add(self, west: Longitudes, east: Longitudes) -> None:
        """Add the arcs from `west` to `east`, with west <= east, one for each row.

        Arcs may lie beyond -180 and 180, as in data drawn from 0 to 360.
        """
        if not len(west):
            return
        first, last = west.min(), east.max()
        if last - first < 1.0:
            west, east = np.array([first]), np.array([last])
        if first < -180.0 or last > 180.0:
            west, east = _within_a_turn(west, east)
        degree = np.floor(west).astype(np.int64) + 180
        np.minimum.at(self._west, degree, west)
        np.maximum.at(self._east, degree, east)

    def box(self) -> tuple[float, float] | None:
        """Return west and east of a box around all arcs, in -180..180; None without arcs.

        West is greater than east if the box over the antimeridian is much narrower.
        """
        is_used = np.isfinite(self._west)
        west, reached = self._west[is_used], np.maximum.accumulate(self._east[is_used])
        if not len(west):
            return None
        gaps = west[1:] - reached[:-1]
        gap_at_antimeridian = west[0] + 360.0 - reached[-1]
        if not gaps.size or gaps.max() < gap_at_antimeridian + _LEAST_GAIN:
            return float(west[0]), float(reached[-1])
        widest = int(np.argmax(gaps))
        return float(west[widest + 1]), float(reached[widest])


class LongitudesOfRows:
    """The longitudes of the rows of a dataset in a geographic CRS, in the unit of the CRS."""

    def __init__(self, per_unit: float) -> None:
        self._per_unit = per_unit
        self._arcs = LongitudeArcs()

    def add(self, bounds: Boxes, geometries: npt.NDArray[np.object_]) -> None:
        """Add rows by their bounds; of wide rows, the bounds of each part are used."""
        boxes = part_boxes(bounds, geometries, HALF_TURN / self._per_unit)
        self._arcs.add(boxes[:, 0] * self._per_unit, boxes[:, 2] * self._per_unit)

    def crossing(self) -> tuple[float, float] | None:
        """Return west and east of a box over the antimeridian, or None if it does not cross it."""
        box = self._arcs.box()
        if box is None or box[0] <= box[1]:
            return None
        return box[0] / self._per_unit, box[1] / self._per_unit


def degrees_per_unit(crs: CRS) -> float:
    """Return the size of the unit of a geographic CRS in degrees: 1 for degrees, 0.9 for grads."""
    return math.degrees(crs.axis_info[0].unit_conversion_factor)


def part_boxes(bounds: Boxes, geometries: npt.NDArray[np.object_], widest: float) -> Boxes:
    """Return the bounds of rows; of a row wider than `widest`, those of each of its parts.

    A geometry that was cut at the antimeridian has parts on both sides of it.
    """
    is_wide = bounds[:, 2] - bounds[:, 0] > widest
    if not is_wide.any():
        return bounds
    parts = shapely.get_parts(shapely.get_parts(geometries[is_wide]))
    return np.vstack([bounds[~is_wide], shapely.bounds(parts)])


def _within_a_turn(west: Longitudes, east: Longitudes) -> tuple[Longitudes, Longitudes]:
    """Return arcs in -180..180. An arc over the antimeridian becomes two."""
    turns = np.floor((west + 180.0 + _TOLERANCE) / 360.0) * 360.0
    is_whole = east - west >= 360.0 - _TOLERANCE
    west = np.where(is_whole, -180.0, np.maximum(west - turns, -180.0))
    east = np.where(is_whole, 180.0, east - turns)
    beyond = east[east > 180.0 + _TOLERANCE] - 360.0
    return (
        np.concatenate([west, np.full(len(beyond), -180.0)]),
        np.concatenate([np.minimum(east, 180.0), beyond]),
    )
