"""Search the collections that a caller sees, in memory: there are few.

Called by `stac_reader.py`.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import shapely

from geo_platform.errors import QueryInvalid
from geo_platform.serving.stac.area import area_of
from geo_platform.serving.stac.free_text import has_term
from geo_platform.serving.stac.indexed_item import IndexedItem, is_simple, json_type, matching
from geo_platform.serving.stac.interval import EARLIEST, LATEST, instant
from geo_platform.serving.stac.item_order import after, in_order, sort_values
from geo_platform.serving.stac.item_source import ItemPage, PropertyTypes
from geo_platform.serving.stac.page_token import PagePlace, read_token
from geo_platform.serving.stac.request import ItemSearch

_SECONDS = 10.0


def find_collections(documents: Sequence[Mapping[str, Any]], search: ItemSearch) -> ItemPage:
    """Return a page of the collections that the search finds.

    Boxes, times and filters compare the collection's extent and its members, such as `title`.
    Raises QueryInvalid: the token is not one of this search. TimeExceeded: it takes too long.
    """
    by_id = {document["id"]: document for document in documents}
    found = [_indexed(document) for document in documents]
    found.sort(key=lambda item: (item.start, item.item_id), reverse=True)
    if search.area is not None:
        found = [item for item in found if shapely.intersects(search.area, item.geometry)]
    if search.interval is not None:
        start, end = search.interval
        found = [item for item in found if item.start <= end and item.end >= start]
    if search.terms:
        found = [item for item in found if has_term(item.properties, search.terms)]
    if search.filter is not None:
        found = matching(found, search.filter, time.monotonic() + _SECONDS)
    matched = len(found)
    found = in_order(found, search.sort)
    if search.token is not None:
        place = read_token(search.token, search.digest, len(search.sort))
        found = after(found, search.sort, place.values)
    page, token = found[: search.limit], None
    if len(found) > search.limit:
        token = PagePlace(sort_values(page[-1], search.sort), matched).token(search.digest)
    return ItemPage(tuple(dict(by_id[item.item_id]) for item in page), token, matched)


def collection_properties(documents: Sequence[Mapping[str, Any]]) -> PropertyTypes:
    """Return the members of these collections that a filter can compare."""
    types: dict[str, set[str]] = {}
    for document in documents:
        for name, value in _indexed(document).properties.items():
            types.setdefault(name, set()).add(json_type(value))
    return PropertyTypes({name: frozenset(found) for name, found in types.items()})


def _indexed(document: Mapping[str, Any]) -> IndexedItem:
    extent = document["extent"]
    start, end = next(iter(extent["temporal"]["interval"]), (None, None))
    boxes = extent["spatial"]["bbox"]
    try:
        geometry = shapely.union_all([area_of(box, "extent") for box in boxes[:1]])
    except QueryInvalid:
        geometry = None
    return IndexedItem(
        collection=document["id"],
        item_id=document["id"],
        start=instant(start, "extent") if start else EARLIEST,
        end=instant(end, "extent") if end else LATEST,
        geometry=geometry,
        bbox=None,
        properties={name: value for name, value in document.items() if is_simple(value)},
    )
