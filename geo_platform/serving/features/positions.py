"""Coordinates of requests and responses: CRS names, order of axes, and windows on the map.

Stored coordinates are x, y whatever the authority's order. Coordinates of requests and responses
have the order of the CRS that they name (OGC API Features, part 2): longitude first for CRS84,
latitude first for EPSG:4326.

Used by `api/serving` and `serving/features`.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from shapely import affinity
from shapely.geometry.base import BaseGeometry

from geo_platform.crs import authority_code, same_crs
from geo_platform.errors import QueryInvalid
from geo_platform.serving.features.collections import FeatureCollection

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
CRS84H = "http://www.opengis.net/def/crs/OGC/0/CRS84h"
_EPSG = "http://www.opengis.net/def/crs/EPSG/0/"
_OTHERS = (f"{_EPSG}4326", f"{_EPSG}3857")
_LONLAT = CRS.from_user_input("OGC:CRS84")
_EPSG_URI = re.compile(r"http://www\.opengis\.net/def/crs/EPSG/(?:0|[\d.]+)/(\d{1,7})")
_FULL_TURN = 360.0

# A window that is curved in the stored CRS gets a vertex at least every hundredth of a degree,
# between these numbers of edges for each side.
_SPACING, _FEWEST_EDGES, _MOST_EDGES = 0.01, 16, 1000


# An array of geometries.
Shapes = Any


@dataclass(frozen=True)
class NamedCrs:
    """A CRS by its URI. `is_swapped`: its coordinates are written y, x."""

    uri: str
    crs: CRS
    is_swapped: bool


def default_crs(collection: FeatureCollection) -> str:
    """Return the URI of the CRS of a response whose request names none."""
    return CRS84H if collection.has_heights else CRS84


def crs_uris(collection: FeatureCollection) -> tuple[str, ...]:
    """Return the URIs that a request to the collection may name, the default first."""
    first = (CRS84H, CRS84) if collection.has_heights else (CRS84,)
    stored = storage_crs(collection)
    return tuple(dict.fromkeys([*first, *_OTHERS, *([stored] if stored else [])]))


def storage_crs(collection: FeatureCollection) -> str | None:
    """Return the URI of the stored CRS, or None if no authority defines it."""
    code = authority_code(collection.crs)
    if code is None:
        return None
    if code == "OGC:CRS84":
        return CRS84
    authority, _, number = code.partition(":")
    return f"http://www.opengis.net/def/crs/{authority}/0/{number}"


def named_crs(uri: str, collection: FeatureCollection, parameter: str) -> NamedCrs:
    """Return the CRS of a request. Raises QueryInvalid: the collection does not offer it."""
    offered = crs_uris(collection)
    if uri not in offered:
        raise QueryInvalid(
            f"{parameter} {uri[:200]!r} is not a CRS of this collection.",
            remedy=f"Use one of: {', '.join(offered)}.",
        )
    return _named(uri)


@lru_cache(maxsize=256)
def _named(uri: str) -> NamedCrs:
    if uri in (CRS84, CRS84H):
        return NamedCrs(uri, _LONLAT, is_swapped=False)
    authority, number = uri.split("/")[-3], uri.rpartition("/")[2]
    crs = CRS.from_authority(authority, number)
    return NamedCrs(uri, crs, is_swapped=_is_swapped(crs))


def _is_swapped(crs: CRS) -> bool:
    """Return whether the authority's order differs from x, y.

    PROJ knows the order of every CRS, polar ones included, but states it only by what it does.
    """
    area = crs.area_of_use
    lon, lat = ((area.west + area.east) / 2, (area.south + area.north) / 2) if area else (9, 48)
    shown = Transformer.from_crs(_LONLAT, crs, always_xy=True).transform(lon, lat + 0.5)
    stated = Transformer.from_crs(_LONLAT, crs).transform(lon, lat + 0.5)
    return bool(
        math.isclose(shown[0], stated[1], rel_tol=1e-9, abs_tol=1e-6)
        and math.isclose(shown[1], stated[0], rel_tol=1e-9, abs_tol=1e-6)
        and not math.isclose(shown[0], shown[1])
    )


def to_stored(shape: BaseGeometry, given: NamedCrs, collection: FeatureCollection) -> BaseGeometry:
    """Return a geometry of a request, x and y in the order of `given`, in the stored CRS.

    Raises QueryInvalid: it has no position in the stored CRS.
    """
    ordered = _swap(shape) if given.is_swapped else shape
    moved: BaseGeometry = _transform(np.array([ordered]), given.crs, collection.crs)[0]
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        raise QueryInvalid("A geometry of the filter has no position in the CRS of the collection.")
    return moved


def window(
    bbox: tuple[float, float, float, float], given: NamedCrs, collection: FeatureCollection
) -> BaseGeometry | None:
    """Return the area of a bbox in the stored CRS, None for an area that surely has no rows.

    `bbox` is (first, second, first, second) in the order of `given`. In a geographic CRS it crosses
    the antimeridian if its west is greater than its east.
    Raises QueryInvalid: a minimum is greater than its maximum.
    """
    if given.is_swapped:
        bbox = (bbox[1], bbox[0], bbox[3], bbox[2])
    xmin, ymin, xmax, ymax = bbox
    crosses = given.crs.is_geographic and xmin > xmax
    if ymin > ymax or (xmin > xmax and not crosses):
        raise QueryInvalid("bbox: a minimum is greater than its maximum.")
    boxes = (
        [shapely.box(xmin, ymin, 180.0, ymax), shapely.box(-180.0, ymin, xmax, ymax)]
        if crosses
        else [shapely.box(xmin, ymin, xmax, ymax)]
    )
    if same_crs(given.crs, collection.crs):
        area = shapely.union_all(boxes)
        return _with_turns(area, collection) if given.crs.is_geographic else area
    return _projected(boxes, given, collection)


def _with_turns(area: BaseGeometry, collection: FeatureCollection) -> BaseGeometry:
    """Add the area a turn east and west if rows are drawn beyond 180 degrees."""
    if collection.native_bounds is None:
        return area
    west, _, east, _ = collection.native_bounds
    turns = [_FULL_TURN] * (east > 180.0) + [-_FULL_TURN] * (west < -180.0)
    return shapely.union_all([area, *(affinity.translate(area, turn) for turn in turns)])


def _projected(
    boxes: Sequence[BaseGeometry], given: NamedCrs, collection: FeatureCollection
) -> BaseGeometry | None:
    """Return the boxes in the stored CRS, only where rows can be.

    Far from its area of use, a projection has no positions or wrong ones.
    """
    if given.crs.is_geographic:
        places = [_padded(place) for place in _lonlat_boxes(collection.lonlat_bounds)]
        boxes = [shapely.intersection(box, place) for box in boxes for place in places]
    parts = [box for box in boxes if not box.is_empty]
    moved = [
        shapely.make_valid(part)
        for part in _transform(
            np.array([_dense(part) for part in parts]), given.crs, collection.crs
        )
        if np.isfinite(shapely.get_coordinates(part)).all()
    ]
    if len(moved) < len(parts):
        raise QueryInvalid("bbox: a part of it has no position in the CRS of the collection.")
    return shapely.union_all(moved) if moved else None


def _lonlat_boxes(bounds: tuple[float, float, float, float]) -> list[BaseGeometry]:
    west, south, east, north = bounds
    if west <= east:
        return [shapely.box(west, south, east, north)]
    return [shapely.box(west, south, 180.0, north), shapely.box(-180.0, south, east, north)]


def _padded(place: BaseGeometry) -> BaseGeometry:
    west, south, east, north = place.bounds
    by_x, by_y = 0.01 * (east - west) + 1e-6, 0.01 * (north - south) + 1e-6
    return shapely.box(
        max(west - by_x, -180.0), max(south - by_y, -90.0),
        min(east + by_x, 180.0), min(north + by_y, 90.0),
    )  # fmt: skip


def _dense(part: BaseGeometry) -> BaseGeometry:
    xmin, ymin, xmax, ymax = part.bounds
    longest = max(xmax - xmin, ymax - ymin)
    edges = min(max(longest / _SPACING, _FEWEST_EDGES), _MOST_EDGES)
    return shapely.segmentize(part, longest / edges) if longest > 0 else part


def to_named(
    shapes: Shapes,
    collection: FeatureCollection,
    wanted: NamedCrs,
    *,
    as_xy: bool = False,
) -> Shapes:
    """Return stored geometries in the CRS of a response, in its order of axes or, `as_xy`, x, y.

    Raises QueryInvalid: a geometry has no position in that CRS.
    """
    moved = _transform(shapes, collection.crs, wanted.crs)
    if moved is not shapes and not np.isfinite(shapely.get_coordinates(moved)).all():
        raise QueryInvalid(
            f"A row of this page has no position in the CRS {wanted.uri}.",
            remedy="Leave `crs` out, for degrees, or choose another one of the collection.",
        )
    if wanted.is_swapped and not as_xy:
        return np.array([_swap(shape) for shape in moved], dtype=object)
    return moved


def to_mercator(shapes: Shapes, collection: FeatureCollection) -> Shapes:
    """Return stored geometries in EPSG:3857, x and y only; infinite where they have no position."""
    return _transform(shapes, collection.crs, _named(_OTHERS[1]).crs)


def _swap(shape: BaseGeometry) -> BaseGeometry:
    has_heights = bool(shape.has_z)
    order = [1, 0, 2] if has_heights else [1, 0]
    return shapely.transform(shape, lambda xy: xy[:, order], include_z=has_heights)


def _transform(shapes: Shapes, source: CRS, target: CRS) -> Shapes:
    """Return the geometries in another CRS, x and y first, heights unchanged."""
    if same_crs(source, target) or len(shapes) == 0:
        return shapes
    transformer = _transformer(source.to_wkt(), target.to_wkt())

    def move(xy: "np.ndarray[Any, np.dtype[np.float64]]") -> Any:
        try:
            return np.column_stack(transformer.transform(xy[:, 0], xy[:, 1]))
        except ProjError as error:
            raise QueryInvalid(f"The coordinates cannot be transformed: {error}.") from error

    return _with_heights(shapes, shapely.transform(shapes, move))


def _with_heights(shapes: Shapes, moved: Shapes) -> Shapes:
    """Put the heights back, which a transformation of x and y leaves out."""
    is_high = shapely.has_z(shapes)
    if not is_high.any():
        return moved
    heights = shapely.get_coordinates(shapes[is_high], include_z=True)[:, 2]
    positions = shapely.get_coordinates(moved[is_high])
    raised = shapely.force_3d(moved[is_high])
    moved = moved.copy()
    moved[is_high] = shapely.set_coordinates(raised, np.column_stack([positions, heights]))
    return moved


@lru_cache(maxsize=256)
def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(CRS.from_wkt(source), CRS.from_wkt(target), always_xy=True)


def numbers_of(text: str, counts: Iterable[int], parameter: str) -> list[float]:
    """Parse finite numbers separated by commas. Raises QueryInvalid."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in set(counts) or not all(map(math.isfinite, numbers)):
        raise QueryInvalid(
            f"{parameter} must be {' or '.join(map(str, counts))} numbers, separated by commas."
        )
    return numbers
