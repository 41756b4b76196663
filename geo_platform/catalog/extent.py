"""Footprints and bounding boxes as GeoJSON wants them (RFC 7946): lon/lat, wound to the right, cut at the antimeridian.

What belongs here: pure geometry of an item's outline. What stays out: finding the footprint of valid pixels.
"""

import json
from typing import Any

import shapely
from shapely.geometry import shape

from geo_platform.errors import CatalogRejected
from geo_platform.grid import LonLatBounds


def outline(bounds: LonLatBounds) -> dict[str, Any]:
    """The box as a Polygon, as a MultiPolygon of two where it crosses the antimeridian, as a line or point where it is flat."""
    if bounds.crosses_antimeridian:
        # a side without width is only the meridian itself, which the other side touches
        sides = [
            side for side in ((bounds.west, 180.0), (-180.0, bounds.east)) if side[0] < side[1]
        ] or [(180.0, 180.0)]
        boxes = [_box(west, bounds.south, east, bounds.north) for west, east in sides]
        return _mapped(boxes[0] if len(boxes) == 1 else shapely.union_all(boxes))
    return _mapped(_box(bounds.west, bounds.south, bounds.east, bounds.north))


def footprint(geojson: str) -> dict[str, Any]:
    """The footprint of valid data, checked. Raises CatalogRejected where it is no valid geometry on lon/lat."""
    try:
        geometry = shape(json.loads(geojson))
    except (ValueError, KeyError, TypeError, AttributeError, shapely.errors.ShapelyError) as error:
        raise CatalogRejected(f"The footprint is no GeoJSON geometry: {error}.") from error
    if geometry.is_empty or not geometry.is_valid:
        raise CatalogRejected(
            f"The footprint is not a valid geometry: {shapely.is_valid_reason(geometry)}."
        )
    west, south, east, north = geometry.bounds
    if west < -180 or east > 180 or south < -90 or north > 90:
        raise CatalogRejected(
            f"The footprint is not on longitudes and latitudes: {geometry.bounds}."
        )
    return _mapped(geometry)


def bounding_box(geometry: dict[str, Any], within: LonLatBounds) -> list[float]:
    """[west, south, east, north] of a geometry that lies within bounds; west > east where it crosses (RFC 7946, section 5.2)."""
    boxes = [part.bounds for part in shapely.get_parts(shape(geometry))]
    south, north = min(box[1] for box in boxes), max(box[3] for box in boxes)
    if within.crosses_antimeridian:
        # bounds that cross leave a gap from their east to their west; parts lie on either side of its middle
        middle = (within.east + within.west) / 2
        eastern = [box for box in boxes if (box[0] + box[2]) / 2 > middle]
        western = [box for box in boxes if (box[0] + box[2]) / 2 <= middle]
        if eastern and western:
            return [min(box[0] for box in eastern), south, max(box[2] for box in western), north]
    return [min(box[0] for box in boxes), south, max(box[2] for box in boxes), north]


def _box(west: float, south: float, east: float, north: float) -> shapely.Geometry:
    if west == east and south == north:
        return shapely.Point(west, south)
    if west == east or south == north:
        return shapely.LineString([(west, south), (east, north)])
    return shapely.box(west, south, east, north)


def _mapped(geometry: shapely.Geometry) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(shapely.to_geojson(shapely.orient_polygons(geometry)))
    return document
