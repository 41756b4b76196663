"""Convert STAC documents to pgSTAC's jsonb and back without loss.

The type jsonb stores numbers as decimals, so that a large float would be read back as an integer.
Therefore such a float is written with a decimal point. jsonb sorts the members of objects by the
length of their names, so that assets are sorted again after reading. pgSTAC drops members that are
null, so that the paths of these members are stored beside the item.

Called by `pgstac.py`, `pgstac_writes.py` and `serving/stac/database_search.py`.
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

    Raises CatalogRejected: JSON cannot represent a value, such as NaN or a datetime.
    """
    return _STRING_OR_LARGE_FLOAT.sub(_without_exponent, encode(document, what).decode())


def _without_exponent(token: re.Match[str]) -> str:
    """Return `1e+20` as `100000000000000000000.0`, and strings unchanged."""
    # Python writes a positive exponent only from 1e16 on, where a float has no fraction.
    return token[0] if token[0].startswith('"') else f"{Decimal(token[0]):f}.0"


def null_paths(value: Any) -> list[Path]:
    """Return the paths of all members of objects that are null, at any depth.

    Nulls that are items of arrays are left out, since pgSTAC keeps them.
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
    """Add the null members at `paths` to the document, which is changed in parent, and return it.

    A member that exists keeps its value: another program may have set it.
    """
    for *parents, name in paths:
        parent: Any = document
        for step in parents:
            parent = _member(parent, step)
        if isinstance(parent, dict):
            parent.setdefault(name, None)
    return document


def _member(parent: Any, step: str | int) -> Any:
    """Return a member of an object or an array, or None if there is no such member."""
    if isinstance(parent, dict):
        return parent.get(step)
    return (
        parent[step]
        if isinstance(parent, list) and isinstance(step, int) and step < len(parent)
        else None
    )


def read_item(text: str, nulls: str | None) -> Document:
    """Return an item from its jsonb text and the JSON of the paths of its null members.

    Raises CatalogRejected: the document is not a STAC item that the platform can use.
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
    """Return the assets in the order of `ASSET_ORDER`, and then any other assets."""
    known = [name for name in ASSET_ORDER if name in assets]
    return {
        name: assets[name] for name in (*known, *(name for name in assets if name not in known))
    }


def to_store(item: Document) -> Document:
    """Return the item without version links, and without the links that a STAC API adds."""
    # A kept version has no address, so that no link can lead to it.
    kept = [link for link in without_structure(item) if link["rel"] not in _VERSION_RELATIONS]
    return {**item, "links": kept}


@dataclass(frozen=True)
class Addresses:
    """The URLs of documents: below the URL of a STAC API, or below `pgstac://host:port/database`."""

    root: str

    @classmethod
    def of(cls, root_href: str | None, place: str) -> "Addresses":
        return cls(root_href.rstrip("/") if root_href else f"pgstac://{place}")

    def collection(self, collection: str) -> str:
        return f"{self.root}/collections/{quote(collection, safe='')}"

    def item(self, collection: str, item_id: str) -> str:
        return f"{self.collection(collection)}/items/{quote(item_id, safe='')}"

    def linked_item(self, item: Document) -> Document:
        """Return the item with absolute links to the item, its collection and the root."""
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
