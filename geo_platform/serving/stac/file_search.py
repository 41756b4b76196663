"""Search a catalog of files with an index in memory.

The index holds times, geometries and the simple properties of all items. A request looks at the
modification time of each collection's folder, which every publication changes, and reads only the
items whose files changed. The items of a page are read from their files.

Called by `stac_reader.py`.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry import shape

from geo_platform.errors import CatalogRejected
from geo_platform.ports import Catalog
from geo_platform.serving.rights import Rights
from geo_platform.serving.stac.free_text import has_term
from geo_platform.serving.stac.indexed_item import IndexedItem, is_simple, json_type, matching
from geo_platform.serving.stac.interval import item_interval
from geo_platform.serving.stac.item_order import after, in_order, sort_values
from geo_platform.serving.stac.item_source import ItemPage, PropertyTypes
from geo_platform.serving.stac.page_token import PagePlace, read_token
from geo_platform.serving.stac.request import ItemSearch
from geo_platform.storage.local.atomic import os_errors
from geo_platform.storage.local.stac_layout import Layout, read_document
from geo_platform.storage.stac_documents import item_extent, union

# A folder that changed so recently may change again at the same time stamp.
_SETTLED_NS = 1_000_000_000

Mask = npt.NDArray[np.bool_]


class Snapshot:
    """All items at one moment, newest first: the default order of a search."""

    def __init__(self, items: Sequence[IndexedItem]) -> None:
        self.items = sorted(
            items, key=lambda item: (item.start, item.collection, item.item_id), reverse=True
        )
        self._visible: dict[Rights, Mask] = {}

    @cached_property
    def starts(self) -> npt.NDArray[np.int64]:
        return _microseconds([item.start for item in self.items])

    @cached_property
    def ends(self) -> npt.NDArray[np.int64]:
        return _microseconds([item.end for item in self.items])

    @cached_property
    def geometries(self) -> npt.NDArray[np.object_]:
        return np.array([item.geometry for item in self.items], dtype=object)

    def visible(self, rights: Rights) -> Mask:
        """Return which items the rights allow."""
        if rights not in self._visible:
            if len(self._visible) > 100:
                self._visible.clear()
            self._visible[rights] = np.fromiter(
                (rights.allows(_document(item)) for item in self.items), bool, len(self.items)
            )
        return self._visible[rights]

    def visible_items(self, rights: Rights) -> Iterator[IndexedItem]:
        for index in np.flatnonzero(self.visible(rights)):
            yield self.items[index]


class FileSearch:
    """Implements `ItemSource` on the files of a catalog. Safe among threads."""

    def __init__(self, root: Path, catalog: Catalog, *, seconds: float) -> None:
        self._layout = Layout(root.resolve())
        self._catalog = catalog
        self._seconds = seconds
        self._lock = Lock()
        self._folders: dict[str, int] = {}
        self._files: dict[str, dict[str, tuple[int, IndexedItem | None]]] = {}
        self._snapshot = Snapshot([])

    def page(self, search: ItemSearch, rights: Rights) -> ItemPage:
        deadline = time.monotonic() + self._seconds
        snapshot = self._current()
        found = [snapshot.items[index] for index in self._candidates(snapshot, search, rights)]
        if search.terms:
            found = [item for item in found if has_term(item.properties, search.terms)]
        if search.filter is not None:
            found = matching(found, search.filter, deadline)
        matched = len(found)
        found = in_order(found, search.sort)
        if search.token is not None:
            place = read_token(search.token, search.digest, len(search.sort))
            matched = matched if place.matched is None else place.matched
            found = after(found, search.sort, place.values)
        documents, last = [], None
        for item in found[: search.limit]:
            last = item
            try:
                document = self._catalog.item(item.collection, item.item_id)
            except CatalogRejected:
                continue  # It was damaged a moment ago; listings report it.
            # It may have been unpublished or replaced meanwhile.
            if document is not None and rights.allows(document):
                documents.append(document)
        token = None
        if last is not None and len(found) > search.limit:
            token = PagePlace(sort_values(last, search.sort), matched).token(search.digest)
        return ItemPage(tuple(documents), token, matched)

    def collections(self, rights: Rights) -> list[dict[str, Any]]:
        extents: dict[str, list[dict[str, Any]]] = {}
        for item in self._current().visible_items(rights):
            extents.setdefault(item.collection, []).append(item_extent(_document(item)))
        documents = []
        for collection, of_items in sorted(extents.items()):
            document = self._catalog.collection(collection)
            if document is not None:
                documents.append({**document, "extent": union(of_items)})
        return documents

    def property_types(self, rights: Rights, collections: Sequence[str] | None) -> PropertyTypes:
        types: dict[str, set[str]] = {}
        for item in self._current().visible_items(rights):
            if collections is None or item.collection in collections:
                for name, value in item.properties.items():
                    types.setdefault(name, set()).add(json_type(value))
        return PropertyTypes({name: frozenset(found) for name, found in types.items()})

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def _candidates(
        self, snapshot: Snapshot, search: ItemSearch, rights: Rights
    ) -> npt.NDArray[np.intp]:
        mask = snapshot.visible(rights).copy() if rights.is_limited else None
        chosen = np.ones(len(snapshot.items), bool) if mask is None else mask
        for names, attribute in ((search.collections, "collection"), (search.ids, "item_id")):
            if names is not None:
                wanted = frozenset(names)
                chosen &= np.fromiter(
                    (getattr(item, attribute) in wanted for item in snapshot.items),
                    bool,
                    len(snapshot.items),
                )
        if search.interval is not None:
            start, end = _microseconds(search.interval)
            chosen &= (snapshot.starts <= end) & (snapshot.ends >= start)
        indexes = np.flatnonzero(chosen)
        if search.area is not None:
            shapely.prepare(search.area)
            indexes = indexes[shapely.intersects(search.area, snapshot.geometries[indexes])]
        return indexes

    def _current(self) -> Snapshot:
        """Return the present items, after reading the files that changed."""
        with self._lock, os_errors("The catalog"):
            names = self._layout.collections()
            has_changed = set(names) != self._files.keys()
            for gone in self._files.keys() - set(names):
                del self._files[gone]
                self._folders.pop(gone, None)
            for name in names:
                folder = self._layout.folder / name
                changed_ns = folder.stat().st_mtime_ns
                if self._folders.get(name) != changed_ns:
                    has_changed |= self._refresh(name, folder)
                    is_settled = time.time_ns() - changed_ns > _SETTLED_NS
                    self._folders[name] = changed_ns if is_settled else 0
            if has_changed:
                self._snapshot = Snapshot(
                    [
                        item
                        for files in self._files.values()
                        for _, item in files.values()
                        if item is not None
                    ]
                )
            return self._snapshot

    def _refresh(self, name: str, folder: Path) -> bool:
        """Read the items of a collection whose files changed; return whether there are any."""
        known, present = self._files.get(name, {}), {}
        has_changed = name not in self._files
        for item_id in self._layout.item_ids(folder):
            path = self._layout.item(name, item_id)
            try:
                changed_ns = path.stat().st_mtime_ns
            except FileNotFoundError:
                continue
            if item_id in known and known[item_id][0] == changed_ns:
                present[item_id] = known[item_id]
            else:
                present[item_id] = (changed_ns, _indexed(name, path))
                has_changed = True
        has_changed |= len(present) != len(known)
        self._files[name] = present
        return has_changed


def _indexed(collection: str, path: Path) -> IndexedItem | None:
    """Return what the index holds of an item's file, or None if it cannot be read."""
    try:
        document = read_document(path)
    except CatalogRejected:
        return None  # A damaged item must not prevent a search. Listings report it.
    if document is None:
        return None
    properties = {
        sys.intern(name): value
        for name, value in document["properties"].items()
        if is_simple(value)
    }
    try:
        geometry = shape(document["geometry"]) if document.get("geometry") else None
    except (shapely.errors.ShapelyError, ValueError, TypeError, KeyError, AttributeError):
        geometry = None
    start, end = item_interval(properties)
    bbox = document.get("bbox")
    return IndexedItem(collection, document["id"], start, end, geometry, bbox, properties)


def _document(item: IndexedItem) -> dict[str, Any]:
    return {
        "id": item.item_id,
        "collection": item.collection,
        "bbox": item.bbox,
        "properties": item.properties,
    }


def _microseconds(moments: Sequence[datetime]) -> npt.NDArray[np.int64]:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return np.array([_whole_microseconds(moment - epoch) for moment in moments], dtype=np.int64)


def _whole_microseconds(delta: Any) -> int:
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds  # type: ignore[no-any-return]
