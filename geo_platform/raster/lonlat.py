"""Compute where a grid lies on the Earth, across the antimeridian and around the poles.

Points are taken from the whole grid and not from its outline only: in a full disc or a map of the
world, corners of the grid are off the Earth, and the extent is that of the rest. For the outline of
valid data see `footprint.py`; for extents in another CRS see `target.py`.

Used by `raster`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from geo_platform.grid import GridShape, LonLatBounds

# Points per edge. A straight edge of a projected grid is a curve in degrees, whose extreme may be
# anywhere on the edge.
EDGE_POINTS = 240
# Points per side of the lattice over the whole grid, and if none of these is on the Earth.
LATTICE_POINTS = 65
FINE_LATTICE_POINTS = 257
# Pixels per side whose place is computed to check a target grid.
CENTRES = 129
# Halvings of the step between two points, one on the Earth and the other not.
LIMB_HALVINGS = 20
# A link between neighbours that is this many times as long as most may cross a seam.
JUMP = 4.0

# How far a position may move if it is transformed and back. Where a projection ends, PROJ may
# return a position on the other side of the Earth.
ROUND_TRIP_M = 1000.0
EARTH_RADIUS_M = 6_371_000.0
WGS84 = CRS.from_epsg(4326)

Points = NDArray[np.float64]
Indices = NDArray[np.intp]
# Maps (x, y) to other coordinates, infinite where there are none.
Placing = Callable[[Points, Points], tuple[Points, Points]]


@dataclass(frozen=True)
class Grid:
    """A grid of pixels, and where they are in its CRS.

    `positions`: (x, y) of n x n points spread evenly over the grid, from corner to corner and row
    by row, if ground control points place it; `transform` only approximates these. GDAL places a
    grid by a polynomial of the third degree at most, so 5 x 5 points determine all others.
    """

    transform: Affine
    shape: GridShape
    positions: tuple[tuple[float, float], ...] = ()

    def at(self, cols: Points, rows: Points) -> tuple[Points, Points]:
        """Return (x, y) in the CRS of pixel coordinates."""
        if not self.positions:
            return to_crs(self.transform, cols, rows)
        side = math.isqrt(len(self.positions))
        down, right = np.mgrid[0:side, 0:side].reshape(2, -1) / (side - 1)
        factors, *_ = np.linalg.lstsq(_cubic_terms(right, down), np.array(self.positions))
        found = _cubic_terms(cols / self.shape.cols, rows / self.shape.rows) @ factors
        return found[..., 0], found[..., 1]


def _cubic_terms(x: Points, y: Points) -> Points:
    return np.stack([x**i * y**j for i in range(4) for j in range(4 - i)], axis=-1)


@dataclass(frozen=True)
class Placed:
    """Points of a grid in another CRS, all of them finite.

    `links`: (2, n), the indices of neighbouring points. `share`: of the points of a regular
    lattice over the grid, the fraction that has a position in the other CRS. `pixel_sizes`: the
    usual distances of neighbouring pixels there, where they are closest and where farthest.
    """

    x: Points
    y: Points
    links: Indices
    share: float
    pixel_sizes: tuple[float, float]

    @classmethod
    def of_grid(cls, grid: Grid, placing: Placing) -> Self | None:
        """Place points of the whole grid, or return None if none has a position.

        The points are a lattice and the outline. Where a neighbour has no position, or a position
        far away beyond a seam of the other CRS, the last points before the edge are added.
        """
        for points in (LATTICE_POINTS, FINE_LATTICE_POINTS):
            cols, rows, links = _grid_points(grid.shape, points)
            x, y = placing(*grid.at(cols, rows))
            has_place = np.isfinite(x) & np.isfinite(y)
            if has_place.any():
                break
        else:
            return None
        whole = links[:, has_place[links].all(axis=0)]
        edges = links[:, has_place[links].sum(axis=0) == 1]
        jumps = whole[:, _is_jump(x, y, whole)]
        inside = np.where(has_place[edges[0]], *edges)
        steps = np.concatenate(
            [np.stack([inside, edges.sum(axis=0) - inside]), jumps, jumps[::-1]], axis=1
        )
        first, last = steps

        def place_at(part: Points) -> tuple[Points, Points]:
            there_cols = cols[first] + part * (cols[last] - cols[first])
            there_rows = rows[first] + part * (rows[last] - rows[first])
            return placing(*grid.at(there_cols, there_rows))

        edge_x, edge_y = _last_before_edge(place_at, (x[first], y[first]), (x[last], y[last]))
        links = np.concatenate([whole, np.stack([first, x.size + np.arange(first.size)])], axis=1)
        x, y = np.concatenate([x, edge_x]), np.concatenate([y, edge_y])
        finite = np.isfinite(x) & np.isfinite(y)
        new_index = np.cumsum(finite) - 1
        return cls(
            x[finite],
            y[finite],
            new_index[links],
            share=float(has_place[: points**2].mean()),
            pixel_sizes=_pixel_sizes(x[: points**2], y[: points**2], grid.shape),
        )

    def with_points(self, x: Points, y: Points, *, are_linked: bool) -> "Placed":
        """Return these points and others, each linked to the next or none of them linked.

        Infinite points are left out.
        """
        finite = np.isfinite(x) & np.isfinite(y)
        x, y = x[finite], y[finite]
        ends = self.x.size + np.arange(max(x.size - 1, 0) if are_linked else 0)
        return Placed(
            np.concatenate([self.x, x]),
            np.concatenate([self.y, y]),
            np.concatenate([self.links, np.stack([ends, ends + 1])], axis=1),
            self.share,
            self.pixel_sizes,
        )

    def x_range(self, period: float | None) -> tuple[float, float]:
        """Return (xmin, xmax). On a circle of this length, leave out the widest gap.

        xmax is xmin + period if the points go all the way around.
        """
        if period is None:
            return float(self.x.min()), float(self.x.max())
        turn = 360.0 / period
        first, second = self.links
        west, width = _covered_arc(
            np.concatenate([self.x * turn, self.x[first] * turn]),
            np.concatenate([self.x * turn, self.x[second] * turn]),
        )
        return west / turn, (west + width) / turn


def lonlat_bounds(
    transform: Affine,
    shape: GridShape,
    crs: CRS,
    positions: tuple[tuple[float, float], ...] = (),
) -> LonLatBounds | None:
    """Return the bounds of the grid in degrees on WGS 84, or None if all of it is off the Earth.

    west > east means that the grid crosses the antimeridian (RFC 7946, 5.2). The grid may be
    rotated, sheared or south-up. `positions`: see `Grid`.
    """
    placed = Placed.of_grid(Grid(transform, shape, positions), on_earth(crs))
    if placed is None:
        return None
    poles = poles_inside(transform, shape, crs)
    south = -90.0 if -90.0 in poles else float(placed.y.min())
    north = 90.0 if 90.0 in poles else float(placed.y.max())
    # Longitudes have no meaning at a pole.
    off_poles = np.abs(placed.y) < 90.0 - 1e-9
    first, second = placed.links[:, off_poles[placed.links].all(axis=0)]
    west, width = (-180.0, 360.0)
    if not poles and off_poles.any():
        west, width = _covered_arc(
            np.concatenate([placed.x[off_poles], placed.x[first]]),
            np.concatenate([placed.x[off_poles], placed.x[second]]),
        )
    return _bounds(west, west + width, south, north)


def on_earth(crs: CRS) -> Placing:
    """Return the placing from the CRS to degrees on WGS 84, which finds real positions only.

    Beyond the edge of a map of the world, some projections return a position that belongs to the
    other edge. Such a position does not transform back to where it came from.
    """
    transformer = Transformer.from_crs(crs, WGS84, always_xy=True)
    if crs.is_geographic:
        return lambda x, y: transform_points(transformer, x, y)
    period = x_period(crs)
    tolerance = ROUND_TRIP_M / crs.axis_info[0].unit_conversion_factor if crs.axis_info else 0.0

    def place(x: Points, y: Points) -> tuple[Points, Points]:
        lon, lat = transform_points(transformer, x, y)
        back_x, back_y = transform_points(transformer, lon, lat, is_inverse=True)
        with np.errstate(invalid="ignore"):
            moved_x = np.abs(back_x - x)
            if period is not None:
                moved_x = np.abs((back_x - x + period / 2) % period - period / 2)
            is_real = (moved_x <= tolerance) & (np.abs(back_y - y) <= tolerance)
        return np.where(is_real, lon, np.inf), np.where(is_real, lat, np.inf)

    return place


def poles_inside(transform: Affine, shape: GridShape, crs: CRS) -> tuple[float, ...]:
    """Return the latitudes of the poles (-90, 90) that are points inside the grid.

    In a CRS where a pole is a line or infinitely far, it is not inside.
    """
    from_lonlat = Transformer.from_crs(WGS84, crs, always_xy=True)
    inside = []
    for pole in (-90.0, 90.0):
        x, y = transform_points(from_lonlat, np.array([0.0, 90.0, 180.0, -90.0]), np.full(4, pole))
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            continue
        cols, rows = to_crs(~transform, x, y)
        is_point = np.ptp(cols) < 0.5 and np.ptp(rows) < 0.5
        if is_point and 0 < cols[0] < shape.cols and 0 < rows[0] < shape.rows:
            inside.append(pole)
    return tuple(inside)


def x_period(crs: CRS) -> float | None:
    """Return the length of a full circle along x, or None if x ends at the antimeridian.

    The length is 360 for degrees, and that of the equator for web Mercator and other cylindrical
    projections, where all meridians are parallel lines.
    """
    return _x_period(crs.to_wkt())


@lru_cache(maxsize=64)
def _x_period(wkt: str) -> float | None:
    crs = CRS.from_wkt(wkt)
    if crs.is_geographic:
        unit = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 0.0
        return 2 * math.pi / unit if unit else 360.0
    base, meridian = crs.geodetic_crs, natural_meridian(crs)
    if base is None or meridian is None:
        return None
    lon, lat = np.meshgrid(meridian + np.array([-90.0, -45.0, 0.0, 45.0, 90.0]), [0.0, 35.0, 70.0])
    x, _ = transform_points(
        Transformer.from_crs(base, crs, always_xy=True), (lon + 180) % 360 - 180, lat
    )
    if not np.isfinite(x).all():
        return None
    period = float(2 * (x[0, -1] - x[0, 0]))
    steps = np.diff(x, axis=1) - period / 8
    is_cylindrical = period > 0 and bool(np.ptp(x, axis=0).max() < 1e-7 * period)
    return period if is_cylindrical and bool(np.abs(steps).max() < 1e-7 * period) else None


def natural_meridian(crs: CRS) -> float | None:
    """Return the longitude of a projection's natural origin in degrees, or None without one."""
    operation = crs.coordinate_operation
    for parameter in operation.params if operation is not None else ():
        if parameter.name == "Longitude of natural origin":
            return math.degrees(float(parameter.value) * parameter.unit_conversion_factor)
    return None


def same_place(first: tuple[Points, Points], second: tuple[Points, Points]) -> NDArray[np.bool_]:
    """Return where two positions in degrees are less than ROUND_TRIP_M apart."""
    with np.errstate(invalid="ignore"):
        difference = _on_sphere(*first) - _on_sphere(*second)
        distance = np.sqrt((difference**2).sum(axis=0)) * EARTH_RADIUS_M
        return np.asarray(distance <= ROUND_TRIP_M)


def some_centres(shape: GridShape) -> tuple[Points, Points]:
    """Return (cols, rows) of the centres of up to CENTRES x CENTRES pixels, edges included."""
    cols, rows = (
        np.unique(np.linspace(0, length - 1, CENTRES).round()) + 0.5
        for length in (shape.cols, shape.rows)
    )
    grid = np.meshgrid(cols, rows)
    return grid[0].ravel(), grid[1].ravel()


def unwrap_longitudes(lon: Points) -> Points:
    """Return the longitudes without jumps: from point to point, take the shorter way around."""
    steps = (np.diff(lon) + 180.0) % 360.0 - 180.0
    return np.concatenate([lon[:1], lon[0] + np.cumsum(steps)])


def wrap_longitude(lon: float) -> float:
    """Return the longitude in [-180, 180]. -180 and 180 are returned unchanged."""
    return lon if -180.0 <= lon <= 180.0 else (lon + 180.0) % 360.0 - 180.0


def transform_points(
    transformer: Transformer, x: Any, y: Any, *, is_inverse: bool = False
) -> tuple[Points, Points]:
    """Return the transformed coordinates, infinite where a point is off the Earth."""
    try:
        first, second = transformer.transform(
            x, y, direction="INVERSE" if is_inverse else "FORWARD"
        )
    except ProjError:
        return np.full(np.shape(x), np.inf), np.full(np.shape(y), np.inf)
    return np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)


def to_crs(transform: Affine, cols: Points, rows: Points) -> tuple[Points, Points]:
    """Return (x, y) in the CRS of pixel coordinates, not finite where these are not."""
    with np.errstate(invalid="ignore"):
        return (
            transform.a * cols + transform.b * rows + transform.c,
            transform.d * cols + transform.e * rows + transform.f,
        )


def _grid_points(shape: GridShape, points: int) -> tuple[Points, Points, Indices]:
    """Return (cols, rows, links) of a lattice of points x points over the grid, then the ring."""
    cols, rows = np.meshgrid(np.linspace(0, shape.cols, points), np.linspace(0, shape.rows, points))
    index = np.arange(points**2).reshape(points, points)
    ring_cols, ring_rows = _ring(shape, EDGE_POINTS)
    ring = points**2 + np.arange(ring_cols.size)
    links = [
        np.stack([index[:, :-1].ravel(), index[:, 1:].ravel()]),
        np.stack([index[:-1].ravel(), index[1:].ravel()]),
        np.stack([ring[:-1], ring[1:]]),
    ]
    return (
        np.concatenate([cols.ravel(), ring_cols]),
        np.concatenate([rows.ravel(), ring_rows]),
        np.concatenate(links, axis=1),
    )


def _ring(shape: GridShape, points: int) -> tuple[Points, Points]:
    t = np.linspace(0.0, 1.0, points, endpoint=False)
    one, zero = np.ones_like(t), np.zeros_like(t)
    return (
        np.concatenate([t, one, 1 - t, zero, [0.0]]) * shape.cols,
        np.concatenate([zero, t, one, 1 - t, [0.0]]) * shape.rows,
    )


def _pixel_sizes(x: Points, y: Points, shape: GridShape) -> tuple[float, float]:
    """Return how far apart neighbouring pixels are where they are closest, and farthest.

    These are the medians over the lattice of the singular values of the Jacobian matrix.
    """
    side = math.isqrt(x.size)
    lattice = np.stack([x, y]).reshape(2, side, side)
    with np.errstate(invalid="ignore"):
        right = np.diff(lattice, axis=2)[:, :-1] * (side - 1) / shape.cols
        down = np.diff(lattice, axis=1)[:, :, :-1] * (side - 1) / shape.rows
        total = (right**2 + down**2).sum(axis=0)
        area = right[0] * down[1] - right[1] * down[0]
        spread = np.sqrt(np.maximum(total**2 - 4 * area**2, 0.0))
    finite = np.isfinite(spread)
    if not finite.any():
        return 0.0, 0.0
    largest = float(np.sqrt(np.median((total + spread)[finite]) / 2))
    smallest = float(np.sqrt(max(float(np.median((total - spread)[finite])), 0.0) / 2))
    return smallest, largest


def _is_jump(x: Points, y: Points, links: Indices) -> NDArray[np.bool_]:
    """Return which links are much longer than most, as links across a seam are."""
    lengths = np.hypot(*(np.diff(values[links], axis=0)[0] for values in (x, y)))
    return np.asarray(lengths > JUMP * np.median(lengths) if lengths.size else lengths > 0)


def _last_before_edge(
    place_at: Callable[[Points], tuple[Points, Points]],
    first: tuple[Points, Points],
    last: tuple[Points, Points],
) -> tuple[Points, Points]:
    """Return the last positions before an edge or a seam, by halving steps that go from 0 to 1.

    `first`: the positions at 0, which exist. `last`: those at 1, infinite or beyond a seam.
    """
    low, high = np.zeros_like(first[0]), np.ones_like(first[0])
    if not low.size:
        return first
    for _ in range(LIMB_HALVINGS):
        middle = (low + high) / 2
        x, y = place_at(middle)
        with np.errstate(invalid="ignore"):
            to_first = np.hypot(x - first[0], y - first[1])
            to_last = np.hypot(x - last[0], y - last[1])
        is_before = np.isfinite(to_first) & ~(to_first > to_last)
        first = np.where(is_before, x, first[0]), np.where(is_before, y, first[1])
        last = np.where(is_before, last[0], x), np.where(is_before, last[1], y)
        low, high = np.where(is_before, middle, low), np.where(is_before, high, middle)
    return first


def _covered_arc(first: Points, second: Points) -> tuple[float, float]:
    """Return (west, width) of the shortest arc, in degrees, that covers all given arcs.

    Each arc goes from `first` to `second` the shorter way. West is at least -180 and below 180. If
    the arcs leave no gap, the result is (-180, 360).
    """
    step = (second - first + 180.0) % 360.0 - 180.0
    start = (first + np.minimum(step, 0.0) + 180.0) % 360.0
    order = np.argsort(start, kind="stable")
    start, end = start[order], (start + np.abs(step))[order]
    reached = np.maximum.accumulate(end)
    # An arc may pass 360 and cover the beginning.
    gap_from = np.maximum(reached, reached[-1] - 360.0)
    gap = np.append(start[1:], start[0] + 360.0) - gap_from
    widest = int(gap.argmax())
    if gap[widest] <= 1e-9:
        return -180.0, 360.0
    west = float(start[(widest + 1) % start.size])
    return west - 180.0, 360.0 - float(gap[widest])


def _bounds(west: float, east: float, south: float, north: float) -> LonLatBounds | None:
    """Return the bounds for unwrapped longitudes, or None if the latitudes are beyond a pole.

    Latitudes may pass a pole by half a pixel, if pixels are centred on it.
    """
    if south > 90.0 or north < -90.0:
        return None
    south, north = max(south, -90.0), min(north, 90.0)
    if east - west >= 360.0 - 1e-9:
        return LonLatBounds(west=-180.0, south=south, east=180.0, north=north)
    shift = 360.0 * math.floor((west + 180.0) / 360.0)
    return LonLatBounds(
        west=west - shift, south=south, east=wrap_longitude(east - shift), north=north
    )


def _on_sphere(lon: Points, lat: Points) -> Points:
    lon, lat = np.radians(lon), np.radians(lat)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
