"""The Catalog port as a static STAC catalog on disk, which any STAC client reads.

    <root>/catalog/catalog.json
    <root>/catalog/<collection>/collection.json
    <root>/catalog/<collection>/<item>/<item>.json
    <root>/catalog/<collection>/<item>/versions/<fingerprint>.json    replaced or unpublished

An item's own file is the source of truth: one rename publishes it, one removal unpublishes it, and
`item` and `entries` read nothing else. Links and extents of collections are derived from the items.
A killed publish leaves a mark in the collection; the next read of it, or the next publish, derives
them again. `stac_layout.py` has the paths and the documents.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from geo_platform.errors import CatalogRejected, SourceNotFound, StoreDenied
from geo_platform.ports import CatalogEntry, ItemVersion
from geo_platform.storage import stac_documents as stac_extent
from geo_platform.storage.local import stac_versions
from geo_platform.storage.local.atomic import (
    clean_incoming,
    make_durable,
    os_errors,
    process_lock,
    write_atomically,
)
from geo_platform.storage.local.stac_layout import (
    Layout,
    absolute,
    collection_document,
    mtime_ns,
    read_absolute,
    read_document,
    relative,
    root_document,
)
from geo_platform.storage.local.stac_versions import Archived, archived_versions
from geo_platform.storage.stac_documents import (
    Document,
    check_id,
    encode,
    entry_of,
    without_structure,
)
from geo_platform.storage.stac_rules import (
    check_belongs,
    check_is_kept,
    check_published,
    check_replaces,
    fingerprint_of,
    is_same_version,
)

# Marks a collection whose links and extent were not derived yet; holds the given collection.
_UNFINISHED = ".unfinished"


class StacFiles:
    """A Catalog below `<root>/catalog`, safe among threads and processes of one machine."""

    def __init__(self, root: Path) -> None:
        self._layout = Layout(root.resolve())

    def item(self, collection: str, item_id: str) -> dict[str, Any] | None:
        """Return the published item with absolute hrefs, or None if there is none.

        Raises CatalogRejected: its file cannot be read.
        """
        path = self._layout.item(check_id(collection), check_id(item_id))
        if (path.parent.parent / _UNFINISHED).exists():
            self._finish(path.parent.parent)
        with os_errors(f"The item {collection}/{item_id}"):
            return read_absolute(path)

    def collection(self, collection: str) -> dict[str, Any] | None:
        """Return the collection with absolute hrefs, or None if there is none.

        Raises CatalogRejected: its file cannot be read.
        """
        path = self._layout.folder / check_id(collection) / "collection.json"
        if (path.parent / _UNFINISHED).exists():
            self._finish(path.parent)
        with os_errors(f"The collection {collection}"):
            return read_absolute(path)

    def entries(self) -> Iterator[CatalogEntry]:
        """Yield every published item, newest first. Each file is read when its entry is due.

        Raises CatalogRejected, after the last entry: it names the files that could not be read.
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
                read = absolute(stored, path.as_uri())
                written = datetime.fromtimestamp(mtime_ns(path) / 1e9, UTC)
                yield entry_of(
                    read,
                    collection=path.parent.parent.name,
                    href=path.as_uri(),
                    published_at_utc=written,
                )
        if unreadable:
            raise CatalogRejected(
                " ".join(error.message for error in unreadable), remedy=unreadable[0].remedy
            )

    def publish(
        self, collection: dict[str, Any], item: dict[str, Any], *, replaces: str | None
    ) -> str:
        """Upsert both and return the item's href, a file URI.

        Titles, descriptions, licenses, providers and links that people wrote into a collection's
        file are kept.
        Raises Conflict: the published fingerprint is not `replaces`, another source holds the item
        id, or a restored item is not kept any more.
        Raises CatalogRejected: the item is of another collection, or reads back differently.
        """
        path = self._layout.item(check_id(collection["id"]), check_id(item["id"]))
        check_belongs(collection, item)
        with os_errors(f"The item {collection['id']}/{item['id']}"), self._lock():
            clean_incoming(self._layout.root)
            present = read_absolute(path)
            earlier = list(archived_versions(self._layout, path))
            check_replaces(present, item, replaces)
            check_is_kept(
                item, is_kept=any(is_same_version(version.document, item) for version in earlier)
            )
            with self._marked(path.parent.parent, collection) as was_unfinished:
                self._write_item(path, item, present, earlier)
                grown = present is None and not was_unfinished
                self._derive_collection(
                    path.parent.parent, given=collection, added=item if grown else None
                )
                self._derive_root()
        return path.as_uri()

    def unpublish(self, collection: str, item_id: str, *, published: str) -> None:
        """Move the item to its archived versions.

        Raises SourceNotFound: it is not published.
        Raises Conflict: its fingerprint is not `published`.
        """
        path = self._layout.item(check_id(collection), check_id(item_id))
        with os_errors(f"The item {collection}/{item_id}"), self._lock():
            clean_incoming(self._layout.root)
            present = check_published(read_absolute(path), collection, item_id, published)
            given = read_document(path.parent.parent / "collection.json") or _bare_collection(
                collection
            )
            with self._marked(path.parent.parent, given):
                stac_versions.archive(self._layout, path, present, is_replaced=False)
                stac_versions.link_to_published(self._layout, path, is_published=False)
                path.unlink()
                make_durable(path.parent)
                self._derive_collection(path.parent.parent, given=given, added=None)
                self._derive_root()

    def versions(
        self, collection: str | None = None, item_id: str | None = None
    ) -> Iterator[ItemVersion]:
        """Yield the archived versions, newest withdrawn first, without one that is published again.

        Raises CatalogRejected, after the last version: it names the files that could not be read.
        """
        for name in (collection, item_id):
            if name is not None:
                check_id(name)
        found: list[ItemVersion] = []
        unreadable: list[CatalogRejected] = []
        with os_errors("The catalog"):
            for path in self._layout.archived_item_paths(collection, item_id):
                try:
                    found.extend(self._kept(path, unreadable))
                except CatalogRejected as error:
                    unreadable.append(error)
        yield from sorted(found, key=lambda version: version.withdrawn_at_utc, reverse=True)
        if unreadable:
            raise CatalogRejected(
                " ".join(error.message for error in unreadable), remedy=unreadable[0].remedy
            )

    def forget(self, version: ItemVersion) -> None:
        """Remove the version's file. Raises SourceNotFound: it is not kept any more."""
        path = self._layout.item(check_id(version.collection), check_id(version.item_id))
        with os_errors(f"The item {version.collection}/{version.item_id}"), self._lock():
            published = read_absolute(path)
            archived = list(archived_versions(self._layout, path))
            mine = [kept for kept in archived if is_same_version(kept.document, dict(version.item))]
            if not mine or (
                published is not None and is_same_version(published, dict(version.item))
            ):
                raise SourceNotFound(
                    f"Version {version.fingerprint} of {version.collection}/{version.item_id} "
                    "is not kept any more."
                )
            others = [kept for kept in archived if kept not in mine] + (
                [Archived(path, published)] if published is not None else []
            )
            for kept in mine:
                for other in others:
                    stac_versions.without_links_to(self._layout, other, kept.path)
                kept.path.unlink()
            _remove_empty(path.parent / "versions", path.parent)

    def _kept(self, path: Path, unreadable: list[CatalogRejected]) -> list[ItemVersion]:
        published = read_document(path)
        return [
            stac_versions.as_version(archived, path.parent.parent.name, path.parent.name)
            for archived in archived_versions(self._layout, path, unreadable)
            if published is None or not is_same_version(published, archived.document)
        ]

    def _write_item(
        self, path: Path, item: Document, present: Document | None, earlier: list[Archived]
    ) -> None:
        is_another = present is not None and fingerprint_of(present) != fingerprint_of(item)
        archived = (
            stac_versions.archive(self._layout, path, present, is_replaced=True)
            if present is not None and is_another
            else None
        )
        complete = stac_versions.with_version_links(item, present, archived, earlier)
        complete["links"] = [
            *self._layout.item_links(path, item["collection"]),
            *without_structure(complete),
        ]
        content = encode(
            relative(complete, path.as_uri(), self._layout.root.as_uri()),
            f"The item {item['id']}",
        )
        write_atomically(self._layout.root, path, content)
        if path.read_bytes() != content:
            raise CatalogRejected(
                f"The item {item['id']} reads back differently from what was written."
            )
        if present is None and earlier:
            stac_versions.link_to_published(self._layout, path, is_published=True)

    def _derive_collection(self, folder: Path, *, given: Document, added: Document | None) -> None:
        """Write collection.json. If `added` is the only new item, the others are not read."""
        path = folder / "collection.json"
        present = read_document(path)
        names = self._layout.item_ids(folder)
        if present is None and not names:
            return  # writing its first item was refused
        known = {link["href"] for link in (present or {}).get("links", []) if link["rel"] == "item"}
        extents: Iterator[dict[str, Any]]
        if present is not None and added is not None and len(known) == len(names) - 1:
            extents = iter(
                [present["extent"], stac_extent.item_extent(added)]
                if known
                else [stac_extent.item_extent(added)]
            )
        else:
            extents = (stac_extent.item_extent(item) for item in self._readable_items(folder))
        document = collection_document(given, present, names, stac_extent.union(extents))
        content = encode(document, f"The collection {given['id']}")
        write_atomically(self._layout.root, path, content)

    def _derive_root(self) -> None:
        path = self._layout.folder / "catalog.json"
        content = encode(
            root_document(read_document(path), self._layout.collection_titles()), "The catalog"
        )
        if not path.exists() or path.read_bytes() != content:
            write_atomically(self._layout.root, path, content)

    def _readable_items(self, folder: Path) -> Iterator[Document]:
        for name in self._layout.item_ids(folder):
            try:
                document = read_document(folder / name / f"{name}.json")
            except CatalogRejected:  # `entries` names it; a damaged item must not stop the others
                continue
            if document is not None:
                yield document

    def _finish(self, folder: Path) -> None:
        """Finish a killed publish. A catalog without write permission is read as it is."""
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
        """Mark the collection as unfinished; yield whether it was marked already.

        An exception leaves the mark, as a kill does.
        """
        mark = folder / _UNFINISHED
        was_unfinished = mark.exists()
        write_atomically(
            self._layout.root, mark, encode({**given, "links": []}, f"The collection {given['id']}")
        )
        yield was_unfinished
        mark.unlink()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with process_lock(self._layout.root / ".locks" / "catalog"):
            yield


def _bare_collection(collection: str) -> Document:
    """Return a collection for an item whose collection's file was removed."""
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": collection,
        "description": collection,
        "license": "other",
        "links": [],
    }


def _remove_empty(*folders: Path) -> None:
    for folder in folders:
        if not any(folder.iterdir()):
            folder.rmdir()
