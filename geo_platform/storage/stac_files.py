"""The catalog as a static STAC catalog on disk: any STAC client reads it, and the folder can be moved.

What belongs here: the Catalog port on files. What stays out: what an item says (`catalog/`), hrefs (`stac_hrefs.py`),
extents (`stac_extent.py`).

    <root>/catalog/catalog.json
    <root>/catalog/<collection>/collection.json
    <root>/catalog/<collection>/<item>/<item>.json
    <root>/catalog/<collection>/<item>/versions/<fingerprint>.json    what it replaced

An item's own file is the truth: it appears by one rename and is all that `item` and `entries` read. Links and extents
of collections are derived from the items. A publish that was killed in between leaves its mark in the collection, and
the next look at it, or the next publish, derives them again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from geo_platform.errors import CatalogRejected, Conflict, StoreDenied
from geo_platform.ports import ITEM_FINGERPRINT, ITEM_RUN_ID, ITEM_SOURCE, ITEM_SOURCE_CONTAINER, CatalogEntry
from geo_platform.storage import stac_extent, stac_hrefs
from geo_platform.storage.atomic import clean_incoming, os_errors, process_lock, write_atomically
from geo_platform.storage.stac_documents import Layout, check_id, encode, mtime_ns, read_document, root_document, with_items
from geo_platform.storage.stac_hrefs import Document
from geo_platform.storage.stac_versions import archive_replaced, with_version_links

_UNFINISHED = ".unfinished"


class StacFiles:
    """Catalog below `<root>/catalog`. Safe among threads and processes of one machine."""

    def __init__(self, root: Path) -> None:
        self._layout = Layout(root.resolve())

    def item(self, collection: str, item_id: str) -> dict[str, Any] | None:
        """The published item, hrefs absolute, or None. Raises CatalogRejected where its file cannot be read."""
        path = self._layout.item(check_id(collection), check_id(item_id))
        if (path.parent.parent / _UNFINISHED).exists():
            self._finish(path.parent.parent)
        with os_errors(f"The item {collection}/{item_id}"):
            stored = read_document(path)
        return None if stored is None else stac_hrefs.absolute(stored, path.as_uri())

    def entries(self) -> Iterator[CatalogEntry]:
        """Every published item, newest first; each file is read when it is asked for.

        Items whose file cannot be read are left out, and named by one CatalogRejected raised after the last good one.
        """
        with os_errors("The catalog"):
            found = [(mtime_ns(path), path) for path in self._layout.item_paths()]
        unreadable: list[CatalogRejected] = []
        for _, path in sorted(found, reverse=True):
            try:
                stored = read_document(path)
            except CatalogRejected as error:
                unreadable.append(error)
                continue
            if stored is not None:
                yield _entry(stac_hrefs.absolute(stored, path.as_uri()), path)
        if unreadable:
            raise CatalogRejected(" ".join(error.message for error in unreadable), remedy=unreadable[0].remedy)

    def publish(self, collection: dict[str, Any], item: dict[str, Any], *, replaces: str | None) -> str:
        """Upsert both and return the item's href, a file URI.

        What people wrote into a collection's file (title, description, licence, providers, own links) is kept.
        Raises Conflict when the published fingerprint is not `replaces` or another source holds the item id,
        CatalogRejected when what was written reads back otherwise.
        """
        path = self._layout.item(check_id(collection["id"]), check_id(item["id"]))
        if item.get("collection") != collection["id"]:
            raise CatalogRejected(f"The item {item['id']} says collection {item.get('collection')!r}, not {collection['id']!r}.")
        with os_errors(f"The item {collection['id']}/{item['id']}"), self._lock():
            clean_incoming(self._layout.root)
            stored = read_document(path)
            present = None if stored is None else stac_hrefs.absolute(stored, path.as_uri())
            _check_replaces(present, item, replaces)
            with self._marked(path.parent.parent, collection) as was_unfinished:
                self._write_item(path, item, present)
                grown = present is None and not was_unfinished
                self._derive_collection(path.parent.parent, given=collection, added=item if grown else None)
                self._derive_root()
        return path.as_uri()

    def _write_item(self, path: Path, item: Document, present: Document | None) -> None:
        archived = archive_replaced(self._layout, path, present, item)
        complete = with_version_links(item, present, archived)
        complete["links"] = self._layout.item_links(path, item["collection"]) + stac_hrefs.without_structure(complete)
        content = encode(stac_hrefs.relative(complete, path.as_uri(), self._layout.root.as_uri()), f"The item {item['id']}")
        write_atomically(self._layout.root, path, content)
        if path.read_bytes() != content:
            raise CatalogRejected(f"The item {item['id']} reads back otherwise than it was written.")

    def _derive_collection(self, folder: Path, *, given: Document, added: Document | None) -> None:
        """Write collection.json; with `added`, the only item that is new, without reading all the others."""
        path = folder / "collection.json"
        present = read_document(path)
        names = self._layout.item_ids(folder)
        known = {link["href"] for link in (present or {}).get("links", []) if link["rel"] == "item"}
        extents: Iterator[dict[str, Any]]
        if present is not None and added is not None and len(known) == len(names) - 1:
            extents = iter([present["extent"], stac_extent.item_extent(added)] if known else [stac_extent.item_extent(added)])
        else:
            extents = (stac_extent.item_extent(item) for item in self._readable_items(folder))
        document = with_items(given, present, names, stac_extent.union(extents))
        content = encode(document, f"The collection {given['id']}")
        write_atomically(self._layout.root, path, content)

    def _derive_root(self) -> None:
        path = self._layout.folder / "catalog.json"
        content = encode(root_document(read_document(path), self._layout.collection_titles()), "The catalog")
        if not path.exists() or path.read_bytes() != content:
            write_atomically(self._layout.root, path, content)

    def _readable_items(self, folder: Path) -> Iterator[Document]:
        for name in self._layout.item_ids(folder):
            try:
                document = read_document(folder / name / f"{name}.json")
            except CatalogRejected:  # named by `entries`; one damaged item must not stop the others
                continue
            if document is not None:
                yield document

    def _finish(self, folder: Path) -> None:
        """Derive again what a killed publish left undone. A catalog that may only be read is read as it is."""
        mark = folder / _UNFINISHED
        try:
            with os_errors(f"The collection {folder.name}"), self._lock():
                given = read_document(mark)
                if given is not None:
                    self._derive_collection(folder, given=given, added=None)
                    self._derive_root()
                    mark.unlink()
        except StoreDenied:
            return

    @contextmanager
    def _marked(self, folder: Path, given: Document) -> Iterator[bool]:
        """Mark the collection as unfinished, with what is needed to finish it; yields whether it was so before.

        An exception leaves the mark, as a kill does.
        """
        mark = folder / _UNFINISHED
        was_unfinished = mark.exists()
        write_atomically(self._layout.root, mark, encode({**given, "links": []}, f"The collection {given['id']}"))
        yield was_unfinished
        mark.unlink()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with process_lock(self._layout.root / ".locks" / "catalog"):
            yield


def _check_replaces(present: Document | None, item: Document, replaces: str | None) -> None:
    name = f"{item['collection']}/{item['id']}"
    if present is not None and _source(present) != _source(item):
        raise Conflict(
            f"The item {name} was made from {_source(present)}, not from {_source(item)}.",
            remedy="Choose another item_id, or another collection_id.",
        )
    published = None if present is None else present["properties"].get(ITEM_FINGERPRINT)
    if published != replaces:
        raise Conflict(
            f"The item {name} is at version {published or 'none'}, not at {replaces or 'none'}.",
            remedy="Another run published it in the meantime; submit again.",
        )


def _source(item: Document) -> str:
    properties = item["properties"]
    return f"{properties.get(ITEM_SOURCE_CONTAINER, '')}/{properties.get(ITEM_SOURCE, '')}"


def _entry(item: Document, path: Path) -> CatalogEntry:
    properties = item["properties"]
    return CatalogEntry(
        collection=item.get("collection") or path.parent.parent.name,
        item_id=item["id"],
        run_id=str(properties.get(ITEM_RUN_ID, "")),
        fingerprint=str(properties.get(ITEM_FINGERPRINT, "")),
        source=str(properties.get(ITEM_SOURCE, "")),
        outputs=tuple(asset["href"] for asset in item["assets"].values()),
        updated_at_utc=_updated(properties.get("updated"), path),
        href=path.as_uri(),
    )


def _updated(text: Any, path: Path) -> datetime:
    """What the item says, or, for another program's item, when its file was written."""
    try:
        said = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return datetime.fromtimestamp(mtime_ns(path) / 1e9, UTC)
    return said if said.tzinfo else said.replace(tzinfo=UTC)
