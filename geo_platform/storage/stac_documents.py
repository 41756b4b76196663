"""Check, encode and merge STAC documents, and compute extents. Both catalogs use these functions.

`local/stac_layout.py` reads and writes documents as files, `postgres/pgstac_documents.py` as jsonb.

Used throughout the application.
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

# Relations of structural links: the catalog writes them from the addresses of its documents.
STRUCTURAL_RELATIONS = frozenset({"self", "root", "parent", "collection", "item", "items", "child"})

_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")
_RESERVED_IDS = {"catalog.json", "collection.json"}
# Fields of a collection that the catalog sets. People may edit other fields, so a publication keeps
# those.
_CATALOG_FIELDS = frozenset({"type", "stac_version", "stac_extensions", "id", "extent", "links"})


def check_id(name: str) -> str:
    """Return `name`, the id of a collection or an item, unchanged.

    Raises ParameterInvalid: the id cannot be the name of a folder in a catalog of files. All
    catalogs accept the same ids.
    """
    if not _ID.match(name) or name.lower() in _RESERVED_IDS:
        raise ParameterInvalid(
            f"{name!r} cannot be the id of a collection or an item.",
            remedy="Use letters, digits, dots, hyphens and underscores, at most 200, "
            "beginning with a letter or digit.",
        )
    return name


def encode(document: Document, what: str) -> bytes:
    """Return the document as indented JSON in UTF-8. `what` is the subject of the error message.

    Raises CatalogRejected: JSON cannot represent a value, such as NaN, a datetime or bytes.
    """
    try:
        return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise CatalogRejected(f"{what} cannot be written as JSON: {error}.") from error


def document_fault(document: Any) -> str | None:
    """Return why the catalog cannot use this as a STAC document, or None if it can.

    Only the fields that the platform reads are checked. The document may still be invalid STAC.
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

    `collection` and `published_at_utc` are used if the item has no collection or time of its own,
    as items that another program wrote may not.
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
    """Return the links of the document without its structural links."""
    return [link for link in document.get("links", []) if link["rel"] not in STRUCTURAL_RELATIONS]


def merged_collection(new: Document, present: Document | None, extent: Document) -> Document:
    """Return the new collection with this extent, and with the fields of the present collection.

    Fields of the present collection take precedence, except those that the catalog sets: people may
    have edited them. Structural links are left out, since each catalog adds its own.
    """
    kept_fields = {
        name: value for name, value in (present or {}).items() if name not in _CATALOG_FIELDS
    }
    extensions = {*new.get("stac_extensions", []), *(present or {}).get("stac_extensions", [])}
    links = without_structure(present if present else new)
    return {
        **new,
        **kept_fields,
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
        # Another program may write an item without a valid box. It does not widen the extent.
        bbox = None
    properties = item.get("properties", {})
    moment = properties.get("datetime")
    start, end = (
        properties.get("start_datetime") or moment,
        properties.get("end_datetime") or moment,
    )
    return {"spatial": {"bbox": [bbox] if bbox else []}, "temporal": {"interval": [[start, end]]}}


def union(extents: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the smallest extent that contains all extents.

    It is the whole Earth if no extent has a box. A start or an end that no extent has is None.
    """
    boxes: list[Box] = []
    starts: list[str] = []
    ends: list[str] = []
    for extent in extents:
        boxes.extend(_flat(box) for box in extent["spatial"]["bbox"][:1])
        for start, end in extent["temporal"]["interval"][:1]:
            starts.extend([start] if start else [])
            ends.extend([end] if end else [])
    # Items have times in UTC with Z, and the alphabetical order of such texts is the order in time.
    interval = [min(starts) if starts else None, max(ends) if ends else None]
    return {"spatial": {"bbox": [list(_around(boxes))]}, "temporal": {"interval": [interval]}}


def _flat(box: list[float]) -> Box:
    # A 3D box has its heights at the indexes 2 and 5.
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
    """Return the shortest arc of longitudes that contains all arcs.

    It is the circle without the widest gap between two arcs.
    """
    unrolled = sorted((west, east if east >= west else east + 360.0) for west, east in arcs)
    widest, start, end = 0.0, -180.0, 180.0
    reached = max(east for _, east in unrolled) - 360.0
    for west, east in unrolled:
        if west - reached > widest:
            widest, start, end = west - reached, west, reached
        reached = max(reached, east)
    end = end + 360.0 if end < -180.0 else end
    return start, end - 360.0 if end > 180.0 else end
