"""Search a catalog of files with an index in memory.

The index holds times, geometries and the simple properties of all items. A request looks at the
modification time of each collection's folder, which every publication changes, and reads only the
items whose files changed. The items of a page are read from their files.

Called by `stac_reader.py`.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

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
from geo_platform.storage.local.stac_layout import Layout, mtime_ns, read_document
from geo_platform.storage.stac_documents import item_extent, union

# A folder that changed so recently may change again at the same time stamp.
_SETTLED_NS = 1_000_000_000
_EXAMINED_EVERY_S = 60.0
_MOST_DERIVED = 300

Mask = npt.NDArray[np.bool_]
T = TypeVar("T")

# The times (ns) of an item's folder and file, and the item; None if the file cannot be read.
_Entry = tuple[int, int, IndexedItem | None]


class Snapshot:
    """All items at one moment, newest first: the default order of a search.

    What is derived for a caller's rights is kept until the next snapshot.
    """

    def __init__(self, items: Sequence[IndexedItem]) -> None:
        self.items = sorted(
            items, key=lambda item: (item.start, item.collection, item.item_id), reverse=True
        )
        self.starts = _microseconds([item.start for item in self.items])
        self.ends = _microseconds([item.end for item in self.items])
        self.geometries = np.array([item.geometry for item in self.items], dtype=object)
        self._derived: dict[tuple[Any, ...], Any] = {}

    def visible(self, rights: Rights) -> Mask:
        """Return which items the rights allow."""
        return self._kept(
            ("visible", rights),
            lambda: np.fromiter(
                (rights.allows(_document(item)) for item in self.items), bool, len(self.items)
            ),
        )

    def extents(self, rights: Rights) -> dict[str, dict[str, Any]]:
        """Return the extent of the visible items of each collection that has any."""

        def derived() -> dict[str, dict[str, Any]]:
            extents: dict[str, list[dict[str, Any]]] = {}
            for item in self._visible_items(rights):
                extents.setdefault(item.collection, []).append(item_extent(_document(item)))
            return {name: union(extents[name]) for name in sorted(extents)}

        return self._kept(("extents", rights), derived)

    def property_types(self, rights: Rights, collections: tuple[str, ...] | None) -> PropertyTypes:
        """Return the properties of the visible items in these collections, or in all."""

        def derived() -> PropertyTypes:
            types: dict[str, set[str]] = {}
            for item in self._visible_items(rights):
                if collections is None or item.collection in collections:
                    for name, value in item.properties.items():
                        types.setdefault(name, set()).add(json_type(value))
            return PropertyTypes({name: frozenset(found) for name, found in types.items()})

        return self._kept(("types", rights, collections), derived)

    def _visible_items(self, rights: Rights) -> Iterator[IndexedItem]:
        return (self.items[index] for index in np.flatnonzero(self.visible(rights)))

    def _kept(self, key: tuple[Any, ...], derive: Callable[[], T]) -> T:
        kept: T | None = self._derived.get(key)
        if kept is None:
            kept = derive()
            if len(self._derived) >= _MOST_DERIVED:
                self._derived.clear()
            self._derived[key] = kept
        return kept


class FileSearch:
    """Implements `ItemSource` on the files of a catalog. Safe among threads."""

    def __init__(self, root: Path, catalog: Catalog, *, seconds: float) -> None:
        self._layout = Layout(root.resolve())
        self._catalog = catalog
        self._seconds = seconds
        self._lock = Lock()
        self._folders: dict[str, int] = {}
        self._items: dict[str, dict[str, _Entry]] = {}
        self._examine_at = 0.0
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
        documents = []
        for collection, extent in self._current().extents(rights).items():
            document = self._catalog.collection(collection)
            if document is not None:
                documents.append({**document, "extent": extent})
        return documents

    def property_types(self, rights: Rights, collections: Sequence[str] | None) -> PropertyTypes:
        names = None if collections is None else tuple(sorted(collections))
        return self._current().property_types(rights, names)

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
            if time.monotonic() > self._examine_at:
                # Somebody may have edited a file, which does not change its folder.
                self._folders.clear()
                self._examine_at = time.monotonic() + _EXAMINED_EVERY_S
                is_thorough = True
            else:
                is_thorough = False
            names = self._layout.collections()
            has_changed = False
            for gone in self._items.keys() - set(names):
                del self._items[gone]
                self._folders.pop(gone, None)
                has_changed = True
            for name in names:
                folder = self._layout.folder / name
                changed_ns = folder.stat().st_mtime_ns
                if self._folders.get(name) != changed_ns:
                    has_changed |= self._refresh(name, folder, is_thorough=is_thorough)
                    is_settled = time.time_ns() - changed_ns > _SETTLED_NS
                    self._folders[name] = changed_ns if is_settled else 0
            if has_changed:
                self._snapshot = Snapshot(
                    [
                        item
                        for entries in self._items.values()
                        for _, _, item in entries.values()
                        if item is not None
                    ]
                )
            return self._snapshot

    def _refresh(self, name: str, folder: Path, *, is_thorough: bool) -> bool:
        """Read the items of a collection that changed; return whether there are any.

        A publication renames a file into the item's folder, which changes the folder's time. With
        `is_thorough`, the times of the files are compared too.
        """
        known = self._items.get(name, {})
        present: dict[str, _Entry] = {}
        has_changed = name not in self._items
        with os.scandir(folder) as folders:
            for each in folders:
                if each.name.startswith(".") or not each.is_dir(follow_symlinks=False):
                    continue
                entry, folder_ns = known.get(each.name), each.stat().st_mtime_ns
                is_recent = time.time_ns() - folder_ns < _SETTLED_NS
                if entry is None or entry[0] != folder_ns or is_thorough or is_recent:
                    path = self._layout.item(name, each.name)
                    file_ns = mtime_ns(path)
                    if file_ns == 0:
                        continue
                    if entry is None or entry[1] != file_ns:
                        entry = (folder_ns, file_ns, _indexed(name, path))
                        has_changed = True
                    else:
                        entry = (folder_ns, file_ns, entry[2])
                present[each.name] = entry
        has_changed |= len(present) != len(known)
        self._items[name] = present
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
    """Return the microseconds since 1970 of times in UTC."""
    return np.array(
        [moment.replace(tzinfo=None) for moment in moments], dtype="datetime64[us]"
    ).view(np.int64)
