"""Write the links of items, collections and pages as addresses of this API.

The catalog's documents have the addresses of the stores. A client of the API cannot open those, so
the href of an object becomes that of its download, and the href of a table that of its rows. The
store's own address stays in `alternate` (alternate assets extension).

Called by `api/serving/stac.py` and `stac_reader.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from geo_platform.ports import ASSET_CONTAINER, ASSET_KEY, ASSET_TABLE
from geo_platform.serving.downloads import extensions_with
from geo_platform.serving.published import version_of
from geo_platform.serving.stac.request import FieldPaths
from geo_platform.storage.stac_documents import STRUCTURAL_RELATIONS

GEOJSON, JSON, SCHEMA = "application/geo+json", "application/json", "application/schema+json"

QUERYABLES = "http://www.opengis.net/def/rel/ogc/1.0/queryables"
SORTABLES = "http://www.opengis.net/def/rel/ogc/1.0/sortables"

# The API writes these itself. It has no address for an earlier version of an item.
_WRITTEN = STRUCTURAL_RELATIONS | {
    "predecessor-version",
    "successor-version",
    "latest-version",
}

Document = dict[str, Any]


class StacAddresses:
    """The addresses below `root`, the absolute URL of the API's landing page."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")

    def collection(self, collection: str) -> str:
        return f"{self.root}/collections/{quote(collection, safe='')}"

    def item(self, collection: str, item_id: str) -> str:
        return f"{self.collection(collection)}/items/{quote(item_id, safe='')}"

    def asset(self, collection: str, item_id: str, name: str, version: str) -> str:
        return f"{self.item(collection, item_id)}/assets/{quote(name, safe='')}?v={version}"

    def features(self, collection: str, item_id: str, asset: str) -> str:
        """Return the address of the rows of a table, which is an asset of the item."""
        # An item that was split has a table for each family of geometries: table_points and so on.
        family = asset.removeprefix("table").removeprefix("_")
        name = ":".join(part for part in (collection, item_id, family) if part)
        return f"{self.root.removesuffix('/stac')}/features/collections/{quote(name)}/items"

    def linked_item(self, item: Mapping[str, Any]) -> Document:
        """Return the item with the addresses of the API."""
        collection, item_id = str(item["collection"]), str(item["id"])
        version = version_of(item)
        assets: Document = {}
        for name, asset in item["assets"].items():
            assets[name] = asset
            if ASSET_CONTAINER in asset and ASSET_KEY in asset:
                href = self.asset(collection, item_id, name, version)
                assets[name] = {**asset, "href": href, "alternate": _stored(asset)}
            elif ASSET_TABLE in asset:
                href = self.features(collection, item_id, name)
                served = {"href": href, "type": GEOJSON, "alternate": _stored(asset)}
                assets[name] = {**asset, **served}
        parent = self.collection(collection)
        return {
            **item,
            "stac_extensions": extensions_with(item, assets),
            "assets": assets,
            "links": [
                link("self", self.item(collection, item_id), GEOJSON),
                link("parent", parent),
                link("collection", parent),
                link("root", self.root),
                *self._tile_links(item, collection, item_id, version),
                *other_links(item),
            ],
        }

    def _tile_links(
        self, item: Mapping[str, Any], collection: str, item_id: str, version: str
    ) -> list[Document]:
        """Return the link of a raster to its tiles (web map links extension)."""
        if item["properties"].get("geo_platform:kind") != "raster":
            return []
        own = self.item(collection, item_id).removeprefix(self.root)
        href = f"{self.root.removesuffix('/stac')}/raster{own}/tilejson.json?v={version}"
        return [link("tilejson", href, title="Tiles of a web map")]

    def linked_collection(self, collection: Mapping[str, Any]) -> Document:
        """Return the collection with the addresses of the API."""
        own = self.collection(str(collection["id"]))
        return {
            **collection,
            "links": [
                link("self", own),
                link("parent", self.root),
                link("root", self.root),
                link("items", f"{own}/items", GEOJSON),
                link(QUERYABLES, f"{own}/queryables", SCHEMA),
                *other_links(collection),
            ],
        }


def _stored(asset: Mapping[str, Any]) -> Document:
    stored = {name: asset[name] for name in ("href", "type") if name in asset}
    return {"store": {**stored, "title": "Address in the store"}}


def link(relation: str, href: str, media_type: str = JSON, **more: Any) -> Document:
    """Return a link."""
    return {"rel": relation, "href": href, "type": media_type, **more}


def other_links(document: Mapping[str, Any]) -> list[Document]:
    """Return the links of a stored document that the API does not write itself."""
    return [dict(each) for each in document.get("links", ()) if each["rel"] not in _WRITTEN]


def with_fields(document: Document, fields: FieldPaths | None) -> Document:
    """Return only the chosen fields of an item or a collection; its id and links always.

    Source: https://github.com/stac-api-extensions/fields
    """
    if fields is None:
        return document
    chosen = document
    if fields.include:
        base = ("id", "collection", "type", "links")
        paths = [*fields.include, *((name,) for name in base)]
        chosen = _included(document, paths)
    for path in fields.exclude:
        # What is included, as a whole or in part, is not excluded.
        is_included = any(each[: len(path)] == path for each in fields.include)
        if path not in (("id",), ("collection",)) and not is_included:
            chosen = _excluded(chosen, path)
    return chosen


def _included(document: Mapping[str, Any], paths: Sequence[tuple[str, ...]]) -> Document:
    chosen: Document = {}
    for name, value in document.items():
        rests = [path[1:] for path in paths if path[0] == name]
        if any(not rest for rest in rests):
            chosen[name] = value
        elif rests and isinstance(value, Mapping):
            chosen[name] = _included(value, rests)
    return chosen


def _excluded(document: Mapping[str, Any], path: tuple[str, ...]) -> Document:
    first, rest = path[0], path[1:]
    if not rest:
        return {name: value for name, value in document.items() if name != first}
    inner = document.get(first)
    if not isinstance(inner, Mapping):
        return dict(document)
    return {**document, first: _excluded(inner, rest)}
