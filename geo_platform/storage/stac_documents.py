"""STAC documents as JSON, as both catalogs handle them: checks, encoding, merging, extents.

`local/stac_layout.py` reads and writes documents as files, `postgres/pgstac_documents.py` as jsonb.
"""

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from geo_platform.errors import CatalogRejected, ParameterInvalid
from geo_platform.ports import (
    ASSET_CONTAINER,
    ASSET_KEY,
    ITEM_FINGERPRINT,
    ITEM_RUN_ID,
    ITEM_SOURCE,
    CatalogEntry,
)

Document = dict[str, Any]

# Relations of the links that the catalog writes itself, by where its documents are.
STRUCTURAL_RELATIONS = frozenset({"self", "root", "parent", "collection", "item", "items", "child"})

_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")
_RESERVED_IDS = {"catalog.json", "collection.json"}
# Fields of a collection that the catalog sets. People may edit the others, so those are kept.
_CATALOG_FIELDS = frozenset({"type", "stac_version", "stac_extensions", "id", "extent", "links"})


def check_id(name: str) -> str:
    """Return the id of a collection or an item.

    Raises ParameterInvalid: the id could not be a folder of the catalog.
    """
    if not _ID.match(name) or name.lower() in _RESERVED_IDS:
        raise ParameterInvalid(
            f"{name!r} cannot be the id of a collection or an item.",
            remedy="Use letters, digits, dots, hyphens and underscores, at most 200, "
            "beginning with a letter or digit.",
        )
    return name


def encode(document: Document, what: str) -> bytes:
    """Return the document as indented JSON. `what` is the subject of the error message.

    Raises CatalogRejected: a value has no JSON (NaN, a time, bytes).
    """
    try:
        return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise CatalogRejected(f"{what} cannot be written as JSON: {error}.") from error


def document_fault(document: Any) -> str | None:
    """Return why the catalog cannot use this as a STAC document, or None if it can.

    It checks the fields that the platform reads, not whether the document is valid STAC.
    """
    kind = document.get("type") if isinstance(document, dict) else None
    if kind not in {"Feature", "Collection", "Catalog"} or not isinstance(document.get("id"), str):
        return "it is not a STAC document"
    if not isinstance(document.get("links"), list) or not all(
        _has_text(link, "href", "rel") for link in document["links"]
    ):
        return "its links have no href or rel"
    if kind != "Feature":
        return None
    if not isinstance(document.get("properties"), dict):
        return "it has no properties"
    assets = document.get("assets")
    if not isinstance(assets, dict) or not all(
        _has_text(asset, "href") for asset in assets.values()
    ):
        return "its assets have no href"
    return None


def _has_text(part: Any, *names: str) -> bool:
    return isinstance(part, dict) and all(isinstance(part.get(name), str) for name in names)


def entry_of(
    item: Document, *, collection: str, href: str, published_at_utc: datetime
) -> CatalogEntry:
    """Return the listing entry of an item with absolute hrefs.

    `collection` and `published_at_utc` stand in if the item lacks them; another program may have
    written it.
    """
    properties = item["properties"]
    return CatalogEntry(
        collection=item.get("collection") or collection,
        item_id=item["id"],
        run_id=str(properties.get(ITEM_RUN_ID, "")),
        fingerprint=str(properties.get(ITEM_FINGERPRINT, "")),
        source=str(properties.get(ITEM_SOURCE, "")),
        outputs=tuple(asset["href"] for asset in item["assets"].values()),
        updated_at_utc=_time_or(published_at_utc, properties.get("updated")),
        href=href,
        objects=tuple(
            (str(asset[ASSET_CONTAINER]), str(asset[ASSET_KEY]))
            for asset in item["assets"].values()
            if ASSET_CONTAINER in asset and ASSET_KEY in asset
        ),
        item=item,
    )


def _time_or(default: datetime, text: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return default
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def without_structure(document: Document) -> list[dict[str, Any]]:
    """Return the document's links except those that the catalog writes itself."""
    return [link for link in document.get("links", []) if link["rel"] not in STRUCTURAL_RELATIONS]


def merged_collection(given: Document, present: Document | None, extent: Document) -> Document:
    """Return the given collection with this extent, and with what people wrote into the present.

    Structural links are left out: each catalog adds its own.
    """
    written = {
        name: value for name, value in (present or {}).items() if name not in _CATALOG_FIELDS
    }
    extensions = {*given.get("stac_extensions", []), *(present or {}).get("stac_extensions", [])}
    links = without_structure(present if present else given)
    return {
        **given,
        **written,
        "stac_extensions": sorted(extensions),
        "extent": extent,
        "links": links,
    }


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
