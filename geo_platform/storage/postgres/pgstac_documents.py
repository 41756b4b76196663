"""Convert STAC documents to pgSTAC's jsonb and back without loss.

jsonb keeps numbers as decimals, so a large float would come back as an integer: it is written with
a decimal point. It also sorts the members of objects by the length of their names, so assets are
sorted again when they are read. pgSTAC drops members that are null, so their paths are kept beside
the item.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from geo_platform.errors import CatalogRejected
from geo_platform.ports import ASSET_ORDER
from geo_platform.storage.stac_documents import Document, document_fault, encode, without_structure

Path = list[str | int]

_STRING_OR_LARGE_FLOAT = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?e\+\d+')
_VERSION_RELATIONS = {"predecessor-version", "successor-version", "latest-version"}


def to_jsonb(document: Document, what: str) -> str:
    """Return JSON for a jsonb parameter. `what` is the subject of the error message.

    Raises CatalogRejected: a value has no JSON.
    """
    return _STRING_OR_LARGE_FLOAT.sub(_written_out, encode(document, what).decode())


def _written_out(token: re.Match[str]) -> str:
    """Write `1e+20` as `100000000000000000000.0`, and leave strings as they are."""
    # Python writes a positive exponent only from 1e16 on, where a float has no fraction.
    return token[0] if token[0].startswith('"') else f"{Decimal(token[0]):f}.0"


def null_paths(value: Any) -> list[Path]:
    """Return the paths of the members of objects that are null, at any depth.

    pgSTAC keeps nulls that are items of arrays, so those are left out.
    """
    return list(_null_paths(value, []))


def _null_paths(value: Any, path: Path) -> Iterator[Path]:
    if isinstance(value, dict):
        for name, member in value.items():
            yield from [[*path, name]] if member is None else _null_paths(member, [*path, name])
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from _null_paths(member, [*path, index])


def with_nulls(document: Document, paths: Sequence[Path]) -> Document:
    """Put nulls back into the document, in place, and return it.

    A member that another program has set meanwhile keeps its value.
    """
    for *parents, name in paths:
        place: Any = document
        for step in parents:
            place = _member(place, step)
        if isinstance(place, dict):
            place.setdefault(name, None)
    return document


def _member(place: Any, step: str | int) -> Any:
    """Return a member of an object or an array, or None if there is none."""
    if isinstance(place, dict):
        return place.get(step)
    return (
        place[step]
        if isinstance(place, list) and isinstance(step, int) and step < len(place)
        else None
    )


def read_item(text: str, nulls: str | None) -> Document:
    """Return an item from its jsonb text and the JSON of its null paths.

    Raises CatalogRejected: the platform cannot use it.
    """
    document: Document = {
        "links": [],
        **with_nulls(json.loads(text), json.loads(nulls) if nulls else []),
    }
    fault = document_fault(document)
    if fault is not None:
        raise CatalogRejected(
            f"The catalog's item {document.get('collection')}/{document.get('id')} cannot be used: "
            f"{fault}."
        )
    return {**document, "assets": in_order(document.get("assets", {}))}


def in_order(assets: Mapping[str, Any]) -> dict[str, Any]:
    """Return the assets in the order of `ASSET_ORDER`; others follow in their own order."""
    known = [name for name in ASSET_ORDER if name in assets]
    return {
        name: assets[name] for name in (*known, *(name for name in assets if name not in known))
    }


def to_store(item: Document) -> Document:
    """Return the item without the links that a STAC API adds itself, and without version links."""
    # Kept versions have no address to link to.
    kept = [link for link in without_structure(item) if link["rel"] not in _VERSION_RELATIONS]
    return {**item, "links": kept}


@dataclass(frozen=True)
class Addresses:
    """URLs of documents: below a STAC API, or without one with the scheme `pgstac:`."""

    root: str

    @classmethod
    def of(cls, root_href: str | None, place: str) -> "Addresses":
        return cls(root_href.rstrip("/") if root_href else f"pgstac://{place}")

    def collection(self, collection: str) -> str:
        return f"{self.root}/collections/{quote(collection, safe='')}"

    def item(self, collection: str, item_id: str) -> str:
        return f"{self.collection(collection)}/items/{quote(item_id, safe='')}"

    def linked_item(self, item: Document) -> Document:
        """Return the item with absolute links to itself, its collection and the root."""
        collection = str(item["collection"])
        return {
            **item,
            "links": [
                self._link("root", self.root, "application/json"),
                self._link("parent", self.collection(collection), "application/json"),
                self._link("collection", self.collection(collection), "application/json"),
                *without_structure(item),
                self._link("self", self.item(collection, item["id"]), "application/geo+json"),
            ],
        }

    def linked_collection(self, collection: Document) -> Document:
        return {
            **collection,
            "links": [
                self._link("root", self.root, "application/json"),
                self._link("parent", self.root, "application/json"),
                self._link(
                    "items", f"{self.collection(collection['id'])}/items", "application/geo+json"
                ),
                *without_structure(collection),
                self._link("self", self.collection(collection["id"]), "application/json"),
            ],
        }

    @staticmethod
    def _link(relation: str, href: str, media_type: str) -> dict[str, str]:
        return {"rel": relation, "href": href, "type": media_type}
