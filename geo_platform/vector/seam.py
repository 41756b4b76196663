"""Find the seam of a target CRS, and the rows of a batch that may touch it.

A map of the whole Earth is cut open along a seam. For degrees it is the antimeridian; for most
projections of the world and for conic ones it is the meridian opposite the central meridian.
Azimuthal and transverse projections have no such seam. `seam_cut.py` cuts geometries along it.

Called by `extent.py` and `seam_cut.py`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import ProjError

from geo_platform.longitudes import degrees_per_unit
from geo_platform.vector.crs import horizontal

# Shape (n, 2).
Positions = npt.NDArray[np.float64]
# Shape (rows, 4): xmin, ymin, xmax, ymax.
Boxes = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Move = Callable[[Positions], Positions]

# Names of the parameter in WKT 2.
_CENTRAL_MERIDIANS = (
    "Longitude of natural origin",
    "Longitude of false origin",
    "Longitude of origin",
    "Longitude of projection centre",
)
# PROJ takes a longitude within 1e-12 radians (5.7e-11 degrees) of 180 for the other side. This is
# 0.02 mm on the ground.
_NUDGE = 2e-10
_PROBE = 1e-6
_PROBED_LATITUDES = np.array([-75.0, -50, -25, -5, 5, 25, 50, 75])
_LEAST_JUMP_M = 1_000.0
_SEAM_STEP = 0.1
_PIECES_PER_CHUNK = 64
# The part of a piece's length by which its box is widened, since the seam may be curved between
# two of its points.
_MARGIN = 0.02


@dataclass(frozen=True)
class Seam:
    """The seam of a target CRS, and the coordinates in which geometries are cut along it.

    Relative coordinates are degrees: the longitude from the central meridian, and the latitude. The
    seam is at -180 and 180. `relative_of_base` takes positions in the geographic CRS under the
    target, whose WKT is `base_wkt`; `to_relative` takes those in the target. `from_relative`
    accepts longitudes from -`edge` to `edge`; `edge` is 180 or just below. `is_straight` is whether
    meridians are straight lines in the target CRS. `central_meridian` is in degrees from Greenwich.
    """

    base_wkt: str
    relative_of_base: Move
    to_relative: Move
    from_relative: Move
    edge: float
    is_geographic: bool
    is_straight: bool
    geod: Geod
    central_meridian: float


class SeamInSource:
    """Where the seam of a target CRS lies in the plane of the source CRS.

    `poles` are the positions of the north and the south pole, NaN where a pole is not a point.
    """

    def __init__(self, lines: list[Positions], poles: Positions) -> None:
        self.poles = poles
        pieces = [_pieces(line) for line in lines]
        chunks = [
            _around(boxes[start : start + _PIECES_PER_CHUNK])
            for boxes in pieces
            for start in range(0, len(boxes), _PIECES_PER_CHUNK)
        ]
        self._chunks: Boxes = np.array(chunks).reshape(-1, 4)
        self._lines: Boxes = np.array([_around(boxes) for boxes in pieces if len(boxes)])
        boxes = np.vstack([np.empty((0, 4)), *pieces])
        self._tree = shapely.STRtree(_as_polygons(boxes))

    def may_be_touched(self, bounds: Boxes) -> Mask:
        """Return which bounds, in the source CRS, touch the seam or come close to it."""
        touched = np.zeros(len(bounds), dtype=bool)
        rows = _rows_that_overlap(bounds, self._lines)
        rows = rows[_rows_that_overlap(bounds[rows], self._chunks)]
        if rows.size:
            touched[rows[self._tree.query(_as_polygons(bounds[rows]))[0]]] = True
        return touched


@lru_cache(maxsize=8)
def seam_of(target_wkt: str) -> Seam | None:
    """Return the seam of a CRS, or None if it has none along a meridian."""
    crs = horizontal(CRS.from_wkt(target_wkt))
    geod = crs.get_geod()
    if geod is None or not (crs.is_geographic or crs.is_projected):
        return None
    if crs.is_geographic:
        unit = degrees_per_unit(crs)
        return Seam(
            base_wkt=target_wkt,
            relative_of_base=lambda xy: xy * unit,
            to_relative=lambda xy: xy * unit,
            from_relative=lambda xy: xy / unit,
            edge=180.0,
            is_geographic=True,
            is_straight=True,
            geod=geod,
            central_meridian=prime_meridian(crs),
        )
    return _seam_of_projection(crs, geod)


def longitude_of_x(
    wkt: str,
) -> Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]] | None:
    """Return the function from x to degrees east of Greenwich, if x alone gives the longitude.

    This is so in a cylindrical projection, where longitudes continue beyond the edges of the map.
    Return None for any other CRS.
    """
    seam = seam_of(wkt)
    if seam is None or seam.is_geographic or not seam.is_straight:
        return None
    probed = np.array([[-90.0, 0.0], [0.0, 0.0], [90.0, 0.0]])
    west, middle, east = seam.from_relative(probed)[:, 0]
    if not math.isclose(east - middle, middle - west, rel_tol=1e-9):
        return None
    per_unit = 180.0 / float(east - west)
    central = seam.central_meridian
    return lambda x: np.asarray(central + (x - middle) * per_unit)


@lru_cache(maxsize=8)
def seam_in_source(source_wkt: str, target_wkt: str) -> SeamInSource | None:
    """Return the place of the target's seam in the source CRS, or None if there is no seam."""
    seam = seam_of(target_wkt)
    if seam is None:
        return None
    source = horizontal(CRS.from_wkt(source_wkt))
    to_source = Transformer.from_crs(horizontal(CRS.from_wkt(target_wkt)), source, always_xy=True)
    latitudes = np.linspace(-90.0, 90.0, round(180 / _SEAM_STEP) + 1)
    lines = []
    for longitude in (seam.edge, -seam.edge):
        relative = np.column_stack([np.full_like(latitudes, longitude), latitudes])
        lines.append(_moved(to_source, seam.from_relative(relative)))
    poles = np.array([_position_of_pole(to_source, seam, latitude) for latitude in (90.0, -90.0)])
    if source.is_geographic:
        turn = 360.0 / degrees_per_unit(source)
        lines = [line + np.array([k * turn, 0.0]) for line in lines for k in (-1, 0, 1)]
        poles = np.full((2, 2), np.nan)
    return SeamInSource(lines, poles)


def _seam_of_projection(crs: CRS, geod: Geod) -> Seam | None:
    base = crs.geodetic_crs
    if base is None:
        return None
    unit = degrees_per_unit(base)
    central = _central_meridian(crs)
    forward = Transformer.from_crs(base, crs, always_xy=True)
    try:
        inverse = Transformer.from_crs(crs, base, always_xy=True)
    except ProjError:  # for some projections PROJ has no inverse
        return None

    def from_relative(relative: Positions) -> Positions:
        return _moved(forward, (relative + np.array([central, 0.0])) / unit)

    def relative_of_base(lonlat: Positions) -> Positions:
        relative = lonlat * unit - np.array([central, 0.0])
        outside = np.abs(relative[:, 0]) > 180.0 + _PROBE
        outside &= np.isfinite(relative[:, 0])
        relative[outside, 0] = (relative[outside, 0] + 180.0) % 360.0 - 180.0
        return np.asarray(relative)

    def to_relative(xy: Positions) -> Positions:
        return relative_of_base(_moved(inverse, xy))

    def probe(longitude: float) -> Positions:
        return from_relative(
            np.column_stack([np.full_like(_PROBED_LATITUDES, longitude), _PROBED_LATITUDES])
        )

    per_metre = 1.0 / crs.axis_info[0].unit_conversion_factor
    east, west = probe(180.0 - _PROBE), probe(_PROBE - 180.0)
    is_finite = np.isfinite(east).all(axis=1) & np.isfinite(west).all(axis=1)
    jumps = np.hypot(*(east[is_finite] - west[is_finite]).T)
    if not jumps.size or (jumps < _LEAST_JUMP_M * per_metre).any():
        return None
    reaches_180 = all(
        np.hypot(*(probe(sign * 180.0)[is_finite] - beside[is_finite]).T).max()
        < _LEAST_JUMP_M * per_metre
        for sign, beside in ((1, east), (-1, west))
    )
    return Seam(
        base_wkt=base.to_wkt(),
        relative_of_base=relative_of_base,
        to_relative=to_relative,
        from_relative=from_relative,
        edge=180.0 if reaches_180 else 180.0 - _NUDGE,
        is_geographic=False,
        is_straight=bool(np.ptp(east[is_finite, 0]) < per_metre),
        geod=geod,
        central_meridian=central + prime_meridian(base),
    )


def prime_meridian(crs: CRS) -> float:
    """Return the prime meridian in degrees from Greenwich."""
    meridian = crs.prime_meridian
    return (
        math.degrees(meridian.longitude * float(meridian.unit_conversion_factor))
        if meridian
        else 0.0
    )


def _central_meridian(crs: CRS) -> float:
    """Return the central meridian in degrees from the prime meridian of the CRS; 0 if unknown."""
    operation = crs.coordinate_operation
    for parameter in operation.params if operation is not None else ():
        if parameter.name in _CENTRAL_MERIDIANS:
            return math.degrees(float(parameter.value) * parameter.unit_conversion_factor)
    return 0.0


def _position_of_pole(to_source: Transformer, seam: Seam, latitude: float) -> Positions:
    """Return the position of a pole in the source CRS, NaN if it has none or several."""
    around = np.array([[longitude, latitude] for longitude in (-120.0, 0.0, 120.0)])
    # Just beside the pole: a projection may give all longitudes at 90 degrees the same position,
    # as the transverse ones do, or have no position there.
    beside = around * (1.0, 1.0 - 1e-9)
    positions = _moved(to_source, seam.from_relative(beside))
    spread = np.ptp(positions, axis=0).max() if np.isfinite(positions).all() else math.inf
    return positions.mean(axis=0) if spread < 1.0 else np.full(2, np.nan)


def _moved(transformer: Transformer, xy: Positions) -> Positions:
    return np.column_stack(transformer.transform(xy[:, 0], xy[:, 1], errcheck=False))


def _pieces(line: Positions) -> Boxes:
    """Return the boxes of the line's segments, widened; segments over a jump are left out."""
    start, end = line[:-1], line[1:]
    is_finite = np.isfinite(start).all(axis=1) & np.isfinite(end).all(axis=1)
    start, end = start[is_finite], end[is_finite]
    length = np.hypot(*(end - start).T)
    if length.size:
        is_near = length <= 50 * np.median(length)
        start, end, length = start[is_near], end[is_near], length[is_near]
    margin = (length * _MARGIN)[:, None]
    return np.hstack([np.minimum(start, end) - margin, np.maximum(start, end) + margin])


def _rows_that_overlap(bounds: Boxes, boxes: Boxes) -> npt.NDArray[np.int64]:
    """Return the indexes of the bounds that overlap one of the boxes."""
    found = np.zeros(len(bounds), dtype=bool)
    if len(bounds) and len(boxes):
        with np.errstate(invalid="ignore"):
            total = np.concatenate([np.fmin.reduce(bounds[:, :2]), np.fmax.reduce(bounds[:, 2:])])
            for box in boxes[_overlap(boxes, total)]:
                found |= _overlap(bounds, box)
    return np.flatnonzero(found)


def _as_polygons(boxes: Boxes) -> npt.NDArray[np.object_]:
    return np.asarray(shapely.box(*boxes.T), dtype=object)


def _around(boxes: Boxes) -> npt.NDArray[np.float64]:
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def _overlap(boxes: Boxes, box: npt.NDArray[np.float64]) -> Mask:
    return np.asarray(
        (boxes[:, 0] <= box[2])
        & (boxes[:, 2] >= box[0])
        & (boxes[:, 1] <= box[3])
        & (boxes[:, 3] >= box[1])
    )
