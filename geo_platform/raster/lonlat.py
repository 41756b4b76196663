"""Compute the extent of a grid in degrees on WGS 84, across the antimeridian and around the poles.

For the outline of valid data see `footprint.py`.

Called by `footprint.py`, `profile.py` and `target.py`.
"""

import math
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from geo_platform.grid import GridShape, LonLatBounds

# Points sampled per edge. A straight edge of a projected grid is a curve in degrees, whose extreme
# may be anywhere on the edge.
EDGE_POINTS = 240

# Points sampled per side if a part of the outline is off the Earth, as in a full disc of a
# geostationary satellite.
INTERIOR_POINTS = 64

Points = NDArray[np.float64]


def lonlat_bounds(transform: Affine, shape: GridShape, crs: CRS) -> LonLatBounds | None:
    """Return the bounds of the grid in degrees on WGS 84, or None if all of it is off the Earth.

    west > east means that the grid crosses the antimeridian (RFC 7946, 5.2). The grid may be
    rotated, sheared or south-up.
    """
    to_lonlat = _transformer(crs)
    lon, lat = transform_points(to_lonlat, *outline(transform, shape))
    on_earth = np.isfinite(lon) & np.isfinite(lat)
    if not on_earth.all():
        return _from_interior(transform, shape, to_lonlat)
    unwrapped = unwrap_longitudes(lon)
    turn = unwrapped[-1] - unwrapped[0]
    if abs(turn) > 180:
        return _around_pole(transform, shape, crs, lat)
    return _bounds(
        float(unwrapped.min()), float(unwrapped.max()), float(lat.min()), float(lat.max())
    )


def outline(
    transform: Affine, shape: GridShape, points: int = EDGE_POINTS
) -> tuple[Points, Points]:
    """Return the grid's edge as (x, y) of a closed ring of 4 x `points` + 1 points in the CRS."""
    t = np.linspace(0.0, 1.0, points, endpoint=False)
    one, zero = np.ones_like(t), np.zeros_like(t)
    cols = np.concatenate([t, one, 1 - t, zero, [0.0]]) * shape.cols
    rows = np.concatenate([zero, t, one, 1 - t, [0.0]]) * shape.rows
    return _to_crs(transform, cols, rows)


def unwrap_longitudes(lon: Points) -> Points:
    """Return the longitudes without jumps: from point to point, take the shorter way around."""
    steps = (np.diff(lon) + 180.0) % 360.0 - 180.0
    return np.concatenate([lon[:1], lon[0] + np.cumsum(steps)])


def wrap_longitude(lon: float) -> float:
    """Return the longitude in [-180, 180]. -180 and 180 are returned unchanged."""
    return lon if -180.0 <= lon <= 180.0 else (lon + 180.0) % 360.0 - 180.0


def transform_points(transformer: Transformer, x: Any, y: Any) -> tuple[Points, Points]:
    """Return the transformed coordinates, infinite where a point is off the Earth."""
    try:
        first, second = transformer.transform(x, y)
    except ProjError:
        return np.full(np.shape(x), np.inf), np.full(np.shape(y), np.inf)
    return np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)


def _to_crs(transform: Affine, cols: Points, rows: Points) -> tuple[Points, Points]:
    """Return (x, y) in the CRS of the pixel coordinates."""
    return (
        transform.a * cols + transform.b * rows + transform.c,
        transform.d * cols + transform.e * rows + transform.f,
    )


def _transformer(crs: CRS) -> Transformer:
    return Transformer.from_crs(crs, CRS.from_epsg(4326), always_xy=True)


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


def _around_pole(transform: Affine, shape: GridShape, crs: CRS, lat: Points) -> LonLatBounds:
    """Return the bounds of a grid whose outline goes around the Earth.

    The bounds span all longitudes and reach the pole that is inside the grid.
    """
    from_lonlat = Transformer.from_crs(CRS.from_epsg(4326), crs, always_xy=True)
    inside = {
        pole: _contains(transform, shape, transform_points(from_lonlat, [0.0], [pole]))
        for pole in (-90.0, 90.0)
    }
    south, north = float(lat.min()), float(lat.max())
    if inside[90.0] or (not inside[-90.0] and north > -south):
        return LonLatBounds(west=-180.0, south=max(south, -90.0), east=180.0, north=90.0)
    return LonLatBounds(west=-180.0, south=-90.0, east=180.0, north=min(north, 90.0))


def _contains(transform: Affine, shape: GridShape, point: tuple[Points, Points]) -> bool:
    x, y = float(point[0][0]), float(point[1][0])
    if not (math.isfinite(x) and math.isfinite(y)):
        return False
    col, row = ~transform @ (x, y)
    return bool(0 <= col <= shape.cols and 0 <= row <= shape.rows)


def _from_interior(
    transform: Affine, shape: GridShape, to_lonlat: Transformer
) -> LonLatBounds | None:
    """Return the bounds of the interior points that are on the Earth.

    The longitudes outside the bounds are the widest gap between two points.
    """
    cols, rows = np.meshgrid(
        np.linspace(0, shape.cols, INTERIOR_POINTS), np.linspace(0, shape.rows, INTERIOR_POINTS)
    )
    x, y = _to_crs(transform, cols.ravel(), rows.ravel())
    lon, lat = transform_points(to_lonlat, x, y)
    on_earth = np.isfinite(lon) & np.isfinite(lat)
    if not on_earth.any():
        return None
    ordered = np.sort(lon[on_earth] % 360.0)
    gaps = np.diff(np.concatenate([ordered, ordered[:1] + 360.0]))
    widest = int(gaps.argmax())
    west, east = float(ordered[(widest + 1) % ordered.size]), float(ordered[widest])
    south, north = float(lat[on_earth].min()), float(lat[on_earth].max())
    return _bounds(west, east if east >= west else east + 360.0, south, north)
