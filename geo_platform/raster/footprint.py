"""Compute the footprint: the outline of the valid data on WGS 84, as GeoJSON.

For bounding boxes see `lonlat.py`.

Called by `convert.py`.
"""

import json
import math
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.features import shapes, sieve
from shapely import (
    MultiPolygon,
    Polygon,
    box,
    make_valid,
    segmentize,
    set_precision,
    simplify,
)
from shapely import transform as transform_coordinates
from shapely.affinity import translate
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from geo_platform.grid import LonLatBounds
from geo_platform.raster.lonlat import transform_points, unwrap_longitudes

MAX_SIDE_PX = 256
# Groups of fewer valid pixels are dropped.
MIN_GROUP_PX = 4
MAX_COORDINATES = 400
# Decimals of a degree: six are a tenth of a metre, twelve a tenth of a micrometre. A double holds
# only noise in further decimals.
MIN_DECIMALS, MAX_DECIMALS = 6, 12


def footprint_geojson(
    valid: NDArray[np.bool_], transform: Affine, crs: CRS, bounds: LonLatBounds
) -> str:
    """Return a valid Polygon or MultiPolygon in lon/lat as JSON text, of about 400 points at most.

    `valid` is (rows, cols) of a decimated grid with this `transform`. The result is split at the
    antimeridian (RFC 7946, 3.1.9). If the outline cannot be expressed in degrees, for example
    because a pole is inside, the result is the bounding box.
    """
    outline = _outline(valid, transform)
    decimals = _decimals(bounds)
    degrees = _in_degrees(outline, crs, 10.0 ** -(decimals + 1)) if not _is_polar(bounds) else None
    if degrees is None or degrees.is_empty:
        degrees = _bounding_box(bounds)
    footprint = _rounded(mapping(_split(_polygons(degrees), 10.0**-decimals)), decimals)
    if not (shape(footprint).is_valid and shape(footprint).area > 0):
        footprint = mapping(_split(_polygons(_bounding_box(bounds)), 0.0))
    return json.dumps(footprint)


def _decimals(bounds: LonLatBounds) -> int:
    """Return how many decimals of a degree divide the narrower side into a thousand steps."""
    narrower = min((bounds.east - bounds.west) % 360 or 360.0, bounds.north - bounds.south)
    decimals = math.ceil(3 - math.log10(narrower)) if narrower > 0 else MAX_DECIMALS
    return min(max(decimals, MIN_DECIMALS), MAX_DECIMALS)


def _outline(valid: NDArray[np.bool_], transform: Affine) -> BaseGeometry:
    """Return the valid pixels as polygons in the CRS.

    Small groups of pixels and small holes are dropped, pixel steps are smoothed, and the number of
    points is bounded.
    """
    step = max(-(-max(valid.shape) // MAX_SIDE_PX), 1)
    coarse = valid[::step, ::step].astype(np.uint8)
    if min(coarse.shape) > 8:
        coarse = sieve(coarse, MIN_GROUP_PX)
    if not coarse.any():
        coarse = np.ones_like(coarse)
    rows, cols = coarse.shape
    grid = Affine.scale(min(step, valid.shape[1] / cols), min(step, valid.shape[0] / rows))
    polygons = [
        shape(geometry)
        for geometry, value in shapes(coarse, mask=coarse > 0, transform=grid)
        if value
    ]
    whole = unary_union(polygons)
    tolerance = 0.75 * step
    outline = whole if whole.equals(box(*whole.bounds)) else simplify(whole, tolerance)
    while _point_count(outline) > MAX_COORDINATES / 2 and tolerance < max(valid.shape):
        tolerance *= 1.6
        outline = simplify(whole, tolerance)
    if _point_count(outline) > MAX_COORDINATES / 2:
        outline = whole.convex_hull
    return transform_coordinates(outline, lambda points: _to_crs(points, transform))


def _to_crs(points: NDArray[np.float64], transform: Affine) -> NDArray[np.float64]:
    x, y = points[:, 0], points[:, 1]
    return np.column_stack(
        [
            transform.a * x + transform.b * y + transform.c,
            transform.d * x + transform.e * y + transform.f,
        ]
    )


def _in_degrees(outline: BaseGeometry, crs: CRS, tolerance: float) -> BaseGeometry | None:
    """Return the outline in degrees, with densified edges and longitudes without jumps.

    Return None if a point is off the Earth.
    """
    to_lonlat = Transformer.from_crs(crs, CRS.from_epsg(4326), always_xy=True)
    width = max(outline.bounds[2] - outline.bounds[0], outline.bounds[3] - outline.bounds[1])
    parts: list[Polygon] = []
    for polygon in _polygons(segmentize(outline, width / 16) if width else outline):
        rings = [_ring(to_lonlat, ring) for ring in (polygon.exterior, *polygon.interiors)]
        if any(ring is None for ring in rings):
            return None
        shell = rings[0]
        parts.append(Polygon(shell, [_shifted_to(shell, hole) for hole in rings[1:]]))
    degrees = simplify(make_valid(unary_union([make_valid(part) for part in parts])), tolerance)
    return _with_bounded_size(degrees)


def _ring(to_lonlat: Transformer, ring: Any) -> NDArray[np.float64] | None:
    points = np.asarray(ring.coords)
    lon, lat = transform_points(to_lonlat, points[:, 0], points[:, 1])
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        return None
    return np.column_stack([unwrap_longitudes(lon), np.clip(lat, -90, 90)])


def _shifted_to(shell: Any, hole: Any) -> NDArray[np.float64]:
    """Return the hole shifted by full turns so that its longitudes match the shell's."""
    turns = np.round((shell[:, 0].mean() - hole[:, 0].mean()) / 360.0)
    return np.asarray(hole + np.array([360.0 * turns, 0.0]))


def _with_bounded_size(degrees: BaseGeometry) -> BaseGeometry:
    tolerance = 1e-6
    bounded = degrees
    while _point_count(bounded) > MAX_COORDINATES and tolerance < 10:
        tolerance *= 2
        bounded = simplify(degrees, tolerance)
    return bounded


def _split(polygons: list[Polygon], precision: float) -> BaseGeometry:
    """Cut the polygons at +-180 degrees and shift every piece into -180 to 180."""
    pieces = []
    for polygon in polygons:
        for turn in (-720, -360, 0, 360, 720):
            piece = translate(polygon, xoff=turn).intersection(box(-180, -90, 180, 90))
            pieces += [part for part in _polygons(piece) if part.area > 0]
    whole = make_valid(set_precision(unary_union(pieces), precision))
    parts = [part for part in _polygons(whole) if part.area > 0] or pieces or polygons
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)


def _polygons(geometry: BaseGeometry) -> list[Polygon]:
    if isinstance(geometry, Polygon):
        return [] if geometry.is_empty else [geometry]
    return [part for member in getattr(geometry, "geoms", ()) for part in _polygons(member)]


def _point_count(geometry: BaseGeometry) -> int:
    return sum(
        len(ring.coords)
        for part in _polygons(geometry)
        for ring in (part.exterior, *part.interiors)
    )


def _is_polar(bounds: LonLatBounds) -> bool:
    return (
        bounds.west == -180 and bounds.east == 180 and (bounds.north == 90 or bounds.south == -90)
    )


def _bounding_box(bounds: LonLatBounds) -> BaseGeometry:
    east = bounds.east + 360 if bounds.crosses_antimeridian else bounds.east
    return box(bounds.west, bounds.south, east, bounds.north)


def _rounded(value: Any, decimals: int) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item, decimals) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item, decimals) for item in value]
    return round(value, decimals) if isinstance(value, float) else value
