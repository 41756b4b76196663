"""Compute the extent of a collection from the extents of its items."""

from collections.abc import Iterable
from typing import Any

# west, south, east, north; west > east crosses the antimeridian (RFC 7946, section 5.2).
Box = tuple[float, float, float, float]


def item_extent(item: dict[str, Any]) -> dict[str, Any]:
    """Return the extent of one item, in the form of a collection's `extent`."""
    bbox = item.get("bbox")
    if not (
        isinstance(bbox, list)
        and len(bbox) in {4, 6}
        and all(isinstance(side, int | float) for side in bbox)
    ):
        bbox = None  # an item of another program: it does not widen the extent
    properties = item.get("properties", {})
    moment = properties.get("datetime")
    start, end = (
        properties.get("start_datetime") or moment,
        properties.get("end_datetime") or moment,
    )
    return {"spatial": {"bbox": [bbox] if bbox else []}, "temporal": {"interval": [[start, end]]}}


def union(extents: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return one extent around all: without any box the whole Earth, without any time open."""
    boxes: list[Box] = []
    starts: list[str] = []
    ends: list[str] = []
    for extent in extents:
        boxes.extend(_flat(box) for box in extent["spatial"]["bbox"][:1])
        for start, end in extent["temporal"]["interval"][:1]:
            starts.extend([start] if start else [])
            ends.extend([end] if end else [])
    # Times of items are written in UTC with Z, and such texts sort by time, to the second.
    interval = [min(starts) if starts else None, max(ends) if ends else None]
    return {"spatial": {"bbox": [list(_around(boxes))]}, "temporal": {"interval": [interval]}}


def _flat(box: list[float]) -> Box:
    # A 3D box has its heights at 2 and 5.
    return (box[0], box[1], box[3], box[4]) if len(box) == 6 else (box[0], box[1], box[2], box[3])


def _around(boxes: list[Box]) -> Box:
    if not boxes:
        return -180.0, -90.0, 180.0, 90.0
    south, north = min(box[1] for box in boxes), max(box[3] for box in boxes)
    if all(box[0] <= box[2] for box in boxes):
        return min(box[0] for box in boxes), south, max(box[2] for box in boxes), north
    west, east = _around_the_antimeridian([(box[0], box[2]) for box in boxes])
    return west, south, east, north


def _around_the_antimeridian(arcs: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the shortest arc of longitudes around all arcs: the circle without the widest gap."""
    unrolled = sorted((west, east if east >= west else east + 360.0) for west, east in arcs)
    widest, start, end = 0.0, -180.0, 180.0
    reached = max(east for _, east in unrolled) - 360.0
    for west, east in unrolled:
        if west - reached > widest:
            widest, start, end = west - reached, west, reached
        reached = max(reached, east)
    end = end + 360.0 if end < -180.0 else end
    return start, end - 360.0 if end > 180.0 else end
