"""STAC documents on their way into pgSTAC's jsonb and back: what comes out is what went in.

What belongs here: floats, nulls, order and links, as plain functions on documents. What stays out: any statement.

jsonb keeps numbers as decimals, so that a large float would come back as an integer; it is written with a point. It sorts the
members of objects by the length of their names; assets are put in order again. pgSTAC drops members of objects that are null;
where they were is kept beside the item.
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
_OWN_RELATIONS = {"predecessor-version", "successor-version", "latest-version"}


def to_jsonb(document: Document, what: str) -> str:
    """JSON for a jsonb parameter. Raises CatalogRejected where a value has no JSON."""
    return _STRING_OR_LARGE_FLOAT.sub(_written_out, encode(document, what).decode())


def _written_out(token: re.Match[str]) -> str:
    """`1e+20` as `100000000000000000000.0`: Python writes an exponent only from 1e16 on, where no digit is a fraction."""
    return token[0] if token[0].startswith('"') else f"{Decimal(token[0]):f}.0"


def null_paths(value: Any) -> list[Path]:
    """Where members of objects are null, at any depth. Nulls that are items of arrays stay by themselves."""
    return list(_null_paths(value, []))


def _null_paths(value: Any, path: Path) -> Iterator[Path]:
    if isinstance(value, dict):
        for name, member in value.items():
            yield from [[*path, name]] if member is None else _null_paths(member, [*path, name])
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from _null_paths(member, [*path, index])


def with_nulls(document: Document, paths: Sequence[Path]) -> Document:
    """The document with its nulls again; it is changed in place. What another program changed in the meantime stays."""
    for *parents, name in paths:
        place: Any = document
        for step in parents:
            place = _member(place, step)
        if isinstance(place, dict):
            place.setdefault(name, None)
    return document


def _member(place: Any, step: str | int) -> Any:
    """None where there is none."""
    if isinstance(place, dict):
        return place.get(step)
    return (
        place[step]
        if isinstance(place, list) and isinstance(step, int) and step < len(place)
        else None
    )


def read_item(text: str, nulls: str | None) -> Document:
    """An item as pgSTAC has it. Raises CatalogRejected where it is nothing that this platform can work with."""
    document: Document = {
        "links": [],
        **with_nulls(json.loads(text), json.loads(nulls) if nulls else []),
    }
    fault = document_fault(document)
    if fault is not None:
        raise CatalogRejected(
            f"The catalog's item {document.get('collection')}/{document.get('id')} cannot be used: {fault}."
        )
    return {**document, "assets": in_order(document.get("assets", {}))}


def in_order(assets: Mapping[str, Any]) -> dict[str, Any]:
    """The assets in the platform's order (`ASSET_ORDER`); what other programs call otherwise comes after, as it came."""
    known = [name for name in ASSET_ORDER if name in assets]
    return {
        name: assets[name] for name in (*known, *(name for name in assets if name not in known))
    }


def to_store(item: Document) -> Document:
    """The item as a STAC API may serve it: such a server states the links to itself, its collection and the root."""
    kept = [link for link in without_structure(item) if link["rel"] not in _OWN_RELATIONS]
    return {**item, "links": kept}


@dataclass(frozen=True)
class Addresses:
    """Where documents are found: below a STAC API, or, where there is none, by names that stay the same."""

    root: str

    @classmethod
    def of(cls, root_href: str | None, place: str) -> "Addresses":
        return cls(root_href.rstrip("/") if root_href else f"pgstac://{place}")

    def collection(self, collection: str) -> str:
        return f"{self.root}/collections/{quote(collection, safe='')}"

    def item(self, collection: str, item_id: str) -> str:
        return f"{self.collection(collection)}/items/{quote(item_id, safe='')}"

    def linked_item(self, item: Document) -> Document:
        """The item with absolute links to itself and upwards."""
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
