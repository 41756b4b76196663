"""The outline of the valid data on WGS 84, as GeoJSON: not only the bounding box.

What belongs here: mask to polygon to degrees. What stays out: bounding boxes (`lonlat.py`).
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
    transform,
)
from shapely.affinity import translate
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from geo_platform.grid import LonLatBounds
from geo_platform.raster.lonlat import transformed, unwrap_longitudes

LARGEST_SIDE_PX = 256
SPECKS_PX = 4
COORDINATES_AT_MOST = 400
# Six decimals are a tenth of a metre, twelve a tenth of a micrometre: below that, doubles of
# degrees have noise.
DECIMALS_AT_LEAST, DECIMALS_AT_MOST = 6, 12


def footprint_geojson(
    valid: NDArray[np.bool_], place: Affine, crs: CRS, bounds: LonLatBounds
) -> str:
    """A Polygon or MultiPolygon in lon/lat, valid, of at most some 400 points, split at the antimeridian (RFC 7946, 3.1.9).

    `valid` is (rows, cols) of a decimated grid placed by `place`. Where the outline cannot be taken to degrees (a pole inside),
    the bounding box stands for it.
    """
    outline = _outline(valid, place)
    decimals = _decimals(bounds)
    degrees = _in_degrees(outline, crs, 10.0 ** -(decimals + 1)) if not _is_polar(bounds) else None
    if degrees is None or degrees.is_empty:
        degrees = _boxes(bounds)
    found = _rounded(mapping(_split(_polygons(degrees), 10.0**-decimals)), decimals)
    if not (shape(found).is_valid and shape(found).area > 0):
        found = mapping(_split(_polygons(_boxes(bounds)), 0.0))
    return json.dumps(found)


def _decimals(bounds: LonLatBounds) -> int:
    """As many as leave a thousand steps across the narrower side."""
    narrower = min((bounds.east - bounds.west) % 360 or 360.0, bounds.north - bounds.south)
    wanted = math.ceil(3 - math.log10(narrower)) if narrower > 0 else DECIMALS_AT_MOST
    return min(max(wanted, DECIMALS_AT_LEAST), DECIMALS_AT_MOST)


def _outline(valid: NDArray[np.bool_], place: Affine) -> BaseGeometry:
    """Valid pixels as polygons in the CRS: specks and pinholes dropped, stair steps taken off, point count bounded."""
    step = max(-(-max(valid.shape) // LARGEST_SIDE_PX), 1)
    coarse = valid[::step, ::step].astype(np.uint8)
    if min(coarse.shape) > 8:
        coarse = sieve(coarse, SPECKS_PX)
    if not coarse.any():
        coarse = np.ones_like(coarse)
    rows, cols = coarse.shape
    grid = Affine.scale(min(step, valid.shape[1] / cols), min(step, valid.shape[0] / rows))
    found = [
        shape(geometry)
        for geometry, value in shapes(coarse, mask=coarse > 0, transform=grid)
        if value
    ]
    whole = unary_union(found)
    tolerance = 0.75 * step
    outline = whole if whole.equals(box(*whole.bounds)) else simplify(whole, tolerance)
    while _points(outline) > COORDINATES_AT_MOST / 2 and tolerance < max(valid.shape):
        tolerance *= 1.6
        outline = simplify(whole, tolerance)
    if _points(outline) > COORDINATES_AT_MOST / 2:
        outline = whole.convex_hull
    return transform(outline, lambda points: _placed(points, place))


def _placed(points: NDArray[np.float64], place: Affine) -> NDArray[np.float64]:
    x, y = points[:, 0], points[:, 1]
    return np.column_stack(
        [place.a * x + place.b * y + place.c, place.d * x + place.e * y + place.f]
    )


def _in_degrees(outline: BaseGeometry, crs: CRS, tolerance: float) -> BaseGeometry | None:
    """Edges densified first, longitudes without jumps. None where a point lies off the Earth."""
    to_lonlat = Transformer.from_crs(crs, CRS.from_epsg(4326), always_xy=True)
    width = max(outline.bounds[2] - outline.bounds[0], outline.bounds[3] - outline.bounds[1])
    parts: list[Polygon] = []
    for polygon in _polygons(segmentize(outline, width / 16) if width else outline):
        rings = [_ring(to_lonlat, ring) for ring in (polygon.exterior, *polygon.interiors)]
        if any(ring is None for ring in rings):
            return None
        shell = rings[0]
        parts.append(Polygon(shell, [_alongside(hole, shell) for hole in rings[1:]]))
    degrees = simplify(make_valid(unary_union([make_valid(part) for part in parts])), tolerance)
    return _bounded(degrees)


def _ring(to_lonlat: Transformer, ring: Any) -> NDArray[np.float64] | None:
    points = np.asarray(ring.coords)
    lon, lat = transformed(to_lonlat, points[:, 0], points[:, 1])
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        return None
    return np.column_stack([unwrap_longitudes(lon), np.clip(lat, -90, 90)])


def _alongside(hole: Any, shell: Any) -> NDArray[np.float64]:
    """A hole on the same turn as its shell."""
    turns = np.round((shell[:, 0].mean() - hole[:, 0].mean()) / 360.0)
    return np.asarray(hole + np.array([360.0 * turns, 0.0]))


def _bounded(degrees: BaseGeometry) -> BaseGeometry:
    tolerance = 1e-6
    bounded = degrees
    while _points(bounded) > COORDINATES_AT_MOST and tolerance < 10:
        tolerance *= 2
        bounded = simplify(degrees, tolerance)
    return bounded


def _split(polygons: list[Polygon], precision: float) -> BaseGeometry:
    """Cut at +-180 and every piece brought back into the range."""
    pieces = []
    for polygon in polygons:
        for turn in (-720, -360, 0, 360, 720):
            piece = translate(polygon, xoff=turn).intersection(box(-180, -90, 180, 90))
            pieces += [part for part in _polygons(piece) if part.area > 0]
    whole = make_valid(set_precision(unary_union(pieces), precision))
    found = [part for part in _polygons(whole) if part.area > 0] or pieces or polygons
    return found[0] if len(found) == 1 else MultiPolygon(found)


def _polygons(geometry: BaseGeometry) -> list[Polygon]:
    if isinstance(geometry, Polygon):
        return [] if geometry.is_empty else [geometry]
    return [part for member in getattr(geometry, "geoms", ()) for part in _polygons(member)]


def _points(geometry: BaseGeometry) -> int:
    return sum(
        len(ring.coords)
        for part in _polygons(geometry)
        for ring in (part.exterior, *part.interiors)
    )


def _is_polar(bounds: LonLatBounds) -> bool:
    return (
        bounds.west == -180 and bounds.east == 180 and (bounds.north == 90 or bounds.south == -90)
    )


def _boxes(bounds: LonLatBounds) -> BaseGeometry:
    east = bounds.east + 360 if bounds.crosses_antimeridian else bounds.east
    return box(bounds.west, bounds.south, east, bounds.north)


def _rounded(value: Any, decimals: int) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item, decimals) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item, decimals) for item in value]
    return round(value, decimals) if isinstance(value, float) else value
