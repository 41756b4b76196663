"""Extents of rows: compute one, check that it is possible in its CRS, transform it to WGS 84.

The bounds of a dataset do not say whether rows at 179 and at -179 degrees are neighbours. Therefore
`LonLatExtent` collects the longitudes of each row while rows are cleaned. `crs.py` determines the
CRS.

Used by `vector/sources` and `vector`.
"""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from geo_platform.contracts.message import Finding
from geo_platform.errors import BoundsImplausible
from geo_platform.grid import Bounds, LonLatBounds
from geo_platform.longitudes import Boxes, LongitudeArcs, degrees_per_unit
from geo_platform.vector.crs import horizontal
from geo_platform.vector.seam import longitude_of_x
from geo_platform.wkb import WkbTypes

RowBounds = npt.NDArray[np.float64]

# Rounding errors are accepted: Natural Earth's Antarctica ends at 180.00000000000006.
DEGREE_TOLERANCE = 1e-6
# Climate data often uses longitudes from 0 to 360. Who draws on a map that was scrolled around the
# Earth gets a turn too much: 368 for 8 degrees east.
MAX_LONGITUDE = 540.0
# More than twice the circumference of the Earth. PROJ would wrap such an easting to a longitude
# without an error.
_MAX_METRES = 1e8
_AREA_MARGIN_DEGREES = 10.0
_GEODETIC = "OGC:CRS84"
# Points, lines and polygons, single and multi, and collections, in any dimension.
_SIMPLE_CODES = tuple(range(1, 8))
# A row as large as this may surround positions that its edges do not show.
_LARGE_M = 1e7
# Points inside it in each direction.
_INSIDE = 61
# The rows of a projected batch narrower than this are one arc.
_NARROW = 60.0
# Corners and middles of a box, counterclockwise, as parts of its width and height.
_AROUND = np.array([(0, 0), (0.5, 0), (1, 0), (1, 0.5), (1, 1), (0.5, 1), (0, 1), (0, 0.5), (0, 0)])


def lonlat_bounds(bounds: Bounds, crs: CRS) -> LonLatBounds:
    """Return the bounds in WGS 84. West is greater than east if they cross the antimeridian.

    Each edge is densified with 21 points before the transformation.
    Raises BoundsImplausible: PROJ cannot transform the bounds.
    """
    try:
        transformer = _to_lonlat(crs)
        west, south, east, north = transformer.transform_bounds(
            *bounds.xyxy, densify_pts=21, errcheck=False
        )
    except ProjError as error:
        raise BoundsImplausible(_no_position(bounds, crs), proj=str(error)) from error
    if crs.is_geographic and (
        west > east or not all(map(math.isfinite, (west, south, east, north)))
    ):
        west, south, east, north = (value * degrees_per_unit(crs) for value in bounds.xyxy)
    if not all(map(math.isfinite, (west, south, east, north))) or south > north:
        raise BoundsImplausible(_no_position(bounds, crs))
    if east - west >= 360:
        west, east = -180.0, 180.0
    return LonLatBounds(
        west=_wrapped(west), south=max(south, -90.0), east=_wrapped(east), north=min(north, 90.0)
    )


class LonLatExtent:
    """Collects the longitudes of published rows."""

    def __init__(self, crs_wkt: str) -> None:
        self._crs = horizontal(CRS.from_wkt(crs_wkt))
        self._arcs = LongitudeArcs()
        # Of the insides of large boxes in a projection, whose edges do not say what they surround.
        self._has_large = False
        self._south, self._north = 90.0, -90.0
        self._longitude_of_x = None if self._crs.is_geographic else longitude_of_x(crs_wkt)

    def add(self, boxes: Boxes) -> None:
        """Add rows or parts of rows by their bounds in the published CRS."""
        if not len(boxes):
            return
        if self._crs.is_geographic:
            per_unit = degrees_per_unit(self._crs)
            self._arcs.add(boxes[:, 0] * per_unit, boxes[:, 2] * per_unit)
        else:
            self._add_projected(boxes)

    def bounds(self, total: Bounds) -> LonLatBounds:
        """Return the extent in WGS 84. `total` are the bounds of all rows in the published CRS.

        Raises BoundsImplausible: PROJ cannot transform the bounds.
        """
        around = lonlat_bounds(total, self._crs)
        is_simple = not around.crosses_antimeridian and around.east - around.west < 180.0
        if is_simple and not self._has_large:
            return around
        if self._has_large:
            self._arcs.add(np.array([around.west]), np.array([_eastward(around)]))
        box = self._arcs.box()
        if box is None:
            return around
        west, east = self._in_wgs84(box, total) if self._crs.is_geographic else box
        south, north = min(around.south, self._south), max(around.north, self._north)
        return LonLatBounds(west=west, south=south, east=east, north=north)

    def crossing(self) -> tuple[float, float] | None:
        """Return west > east, in units of a geographic CRS, if its rows cross the antimeridian."""
        box = self._arcs.box() if self._crs.is_geographic else None
        if box is None or box[0] <= box[1]:
            return None
        per_unit = degrees_per_unit(self._crs)
        return box[0] / per_unit, box[1] / per_unit

    def _in_wgs84(self, box: tuple[float, float], total: Bounds) -> tuple[float, float]:
        """Return west and east in WGS 84, from those in the datum and prime meridian of the CRS."""
        to_wgs84 = _to_lonlat(self._crs)
        per_unit = degrees_per_unit(self._crs)
        heights = np.linspace(total.ymin, total.ymax, 5)
        sides = []
        for side, outermost in zip(box, (np.min, np.max), strict=True):
            moved, _ = to_wgs84.transform(np.full(5, side / per_unit), heights, errcheck=False)
            shifts = (np.asarray(moved) - side + 180.0) % 360.0 - 180.0
            shifts = shifts[np.isfinite(shifts)]
            sides.append(side + (float(outermost(shifts)) if shifts.size else 0.0))
        west, east = sides
        is_whole = box == (-180.0, 180.0)
        return box if is_whole else (_wrapped(west), _wrapped(east))

    def _add_projected(self, bounds: Boxes) -> None:
        total = Bounds(
            xmin=float(bounds[:, 0].min()),
            ymin=float(bounds[:, 1].min()),
            xmax=float(bounds[:, 2].max()),
            ymax=float(bounds[:, 3].max()),
        )
        try:
            around = lonlat_bounds(total, self._crs)
        except BoundsImplausible:  # `bounds` raises it
            return
        if self._longitude_of_x is None:
            size = _LARGE_M / self._crs.axis_info[0].unit_conversion_factor
            for box in bounds[(bounds[:, 2:] - bounds[:, :2] > size).any(axis=1)]:
                self._add_inside(box)
        width = (around.east - around.west) % 360.0
        if width < _NARROW and (around.west, around.east) != (-180.0, 180.0):
            self._arcs.add(np.array([around.west]), np.array([around.west + width]))
        else:
            self._arcs.add(*self._longitudes_of_boxes(bounds))

    def _add_inside(self, box: npt.NDArray[np.float64]) -> None:
        """Add the positions of a grid of points inside a box."""
        steps = np.linspace(0.0, 1.0, _INSIDE)
        x, y = (grid.ravel() for grid in np.meshgrid(steps, steps))
        low, size = box[:2], box[2:] - box[:2]
        longitudes, latitudes = map(
            np.asarray,
            _to_lonlat(self._crs).transform(
                low[0] + x * size[0], low[1] + y * size[1], errcheck=False
            ),
        )
        is_known = np.isfinite(longitudes) & np.isfinite(latitudes)
        if is_known.any():
            self._has_large = True
            self._arcs.add(longitudes[is_known], longitudes[is_known])
            self._south = min(self._south, float(latitudes[is_known].min()))
            self._north = max(self._north, float(latitudes[is_known].max()))

    def _longitudes_of_boxes(
        self, bounds: Boxes
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return west and east of each box. A box round a pole has all longitudes."""
        to_wgs84 = _to_lonlat(self._crs)
        if self._longitude_of_x is not None:
            return self._longitude_of_x(bounds[:, 0]), self._longitude_of_x(bounds[:, 2])
        low, size = bounds[:, None, :2], bounds[:, None, 2:] - bounds[:, None, :2]
        points = (low + size * _AROUND[None]).reshape(-1, 2)
        longitudes = np.asarray(
            to_wgs84.transform(points[:, 0], points[:, 1], errcheck=False)[0]
        ).reshape(len(bounds), len(_AROUND))
        # Corners outside the map of the world have no position.
        is_known = np.isfinite(longitudes)
        rows = is_known.any(axis=1)
        longitudes, is_known = longitudes[rows], is_known[rows]
        first = np.take_along_axis(longitudes, np.argmax(is_known, axis=1)[:, None], axis=1)
        longitudes = np.where(is_known, longitudes, first)
        steps = (np.diff(longitudes, axis=1) + 180.0) % 360.0 - 180.0
        offsets = np.hstack([np.zeros((len(steps), 1)), np.cumsum(steps, axis=1)])
        west = longitudes[:, 0] + offsets.min(axis=1)
        east = longitudes[:, 0] + offsets.max(axis=1)
        is_round_a_pole = np.abs(offsets[:, -1]) > 180.0
        return np.where(is_round_a_pole, -180.0, west), np.where(is_round_a_pole, 180.0, east)


def row_bounds(wkb: pa.Array, types: WkbTypes) -> RowBounds:
    """Return xmin, ymin, xmax, ymax of each row that Shapely reads and that has finite bounds."""
    simple = wkb.filter(pa.array(np.isin(types.codes, _SIMPLE_CODES)))
    geometries = shapely.from_wkb(simple.to_numpy(zero_copy_only=False), on_invalid="ignore")
    bounds = np.asarray(shapely.bounds(geometries))
    return bounds[np.isfinite(bounds).all(axis=1)]


def sampled_extent(bounds: RowBounds, crs: CRS) -> Bounds | None:
    """Return the extent of the rows that have a position in the CRS; of all rows if none has one.

    A few rows without a position are rejected while they are read. The extent in the header of a
    file is not used: programs that write rows often leave it as it was.
    """
    if not len(bounds):
        return None
    if crs.is_geographic:
        degrees = np.abs(bounds * degrees_per_unit(crs))
        is_possible = (degrees[:, [1, 3]] <= 90 + DEGREE_TOLERANCE).all(axis=1) & (
            degrees[:, [0, 2]] <= MAX_LONGITUDE
        ).all(axis=1)
        bounds = bounds[is_possible] if is_possible.any() else bounds
    xmin, ymin = bounds[:, :2].min(axis=0)
    xmax, ymax = bounds[:, 2:].max(axis=0)
    return Bounds(xmin=float(xmin), ymin=float(ymin), xmax=float(xmax), ymax=float(ymax))


def check_plausible(bounds: Bounds, crs: CRS, display_name: str) -> tuple[Finding, ...]:
    """Check that the bounds are possible in their CRS. Return warnings about suspicious bounds.

    In a geographic CRS, latitudes must be within 90 degrees and longitudes within 540. In a
    projected CRS, the bounds must be within ten degrees of the area of use of the CRS, if it is
    known. If the numbers look like degrees, the bounds must be within the area of use itself.
    Raises BoundsImplausible: the bounds break one of these rules.
    """
    if crs.is_geographic:
        south, north, west, east = (
            v * degrees_per_unit(crs) for v in (bounds.ymin, bounds.ymax, bounds.xmin, bounds.xmax)
        )
        if min(south, -north) < -90 - DEGREE_TOLERANCE or min(west, -east) < -MAX_LONGITUDE:
            raise BoundsImplausible(
                f"{display_name}: {_formatted(bounds)} are not degrees, but {crs.name} uses "
                "degrees.",
                bounds=list(bounds.xyxy),
            )
        return ()
    if max(map(abs, bounds.xyxy)) * crs.axis_info[0].unit_conversion_factor > _MAX_METRES:
        raise BoundsImplausible(_no_position(bounds, crs))
    lonlat = lonlat_bounds(bounds, crs)
    if not _is_near_area_of_use(lonlat, crs):
        raise BoundsImplausible(
            f"{display_name}: {_formatted(bounds)} in {crs.name} are at longitude "
            f"{lonlat.west:.2f}, "
            f"latitude {lonlat.south:.2f}, far from the area of use of this CRS "
            f"({crs.area_of_use.name if crs.area_of_use else 'unknown'}).",
            bounds=list(bounds.xyxy),
        )
    if crs.is_projected and _looks_like_degrees(bounds):
        if not _is_near_area_of_use(lonlat, crs, margin=0.0):
            raise BoundsImplausible(
                f"{display_name}: {_formatted(bounds)} look like degrees, but {crs.name} uses "
                f"{crs.axis_info[0].unit_name}s.",
                bounds=list(bounds.xyxy),
            )
        text = (
            f"All coordinates are within 180 units of the origin of {crs.name}; if they are "
            "degrees, the CRS is wrong."
        )
        return (Finding(code="DEGREES_SUSPECTED", message=text),)
    return ()


def _is_near_area_of_use(
    lonlat: LonLatBounds, crs: CRS, margin: float = _AREA_MARGIN_DEGREES
) -> bool:
    area = crs.area_of_use
    if area is None or lonlat.crosses_antimeridian or area.west > area.east:
        return True
    is_apart_in_x = lonlat.east < area.west - margin or lonlat.west > area.east + margin
    is_apart_in_y = lonlat.north < area.south - margin or lonlat.south > area.north + margin
    return not (is_apart_in_x or is_apart_in_y)


def _looks_like_degrees(bounds: Bounds) -> bool:
    return (
        max(abs(bounds.xmin), abs(bounds.xmax)) <= 180
        and max(abs(bounds.ymin), abs(bounds.ymax)) <= 90
    )


@lru_cache(maxsize=8)
def _to_lonlat(crs: CRS) -> Transformer:
    return Transformer.from_crs(crs, _GEODETIC, always_xy=True)


def _eastward(bounds: LonLatBounds) -> float:
    """Return the eastern edge, beyond 180 if the bounds cross the antimeridian."""
    return bounds.east + 360.0 if bounds.crosses_antimeridian else bounds.east


def _formatted(bounds: Bounds) -> str:
    return "bounds ({:.6g}, {:.6g}) to ({:.6g}, {:.6g})".format(*bounds.xyxy)


def _no_position(bounds: Bounds, crs: CRS) -> str:
    return f"PROJ finds no position on Earth for {_formatted(bounds)} in {crs.name}."


def _wrapped(longitude: float) -> float:
    if -180 - DEGREE_TOLERANCE <= longitude <= 180 + DEGREE_TOLERANCE:
        return min(max(longitude, -180.0), 180.0)
    return (longitude + 180.0) % 360.0 - 180.0
