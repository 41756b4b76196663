"""The catalog as a static STAC catalog of files, which any STAC client can read.

    <root>/catalog/catalog.json
    <root>/catalog/<collection>/collection.json
    <root>/catalog/<collection>/<item>/<item>.json
    <root>/catalog/<collection>/<item>/versions/<fingerprint>.json    replaced or unpublished

The file of an item is the source of truth: an item is published if the file `<item>.json` exists.
One rename publishes it, one removal unpublishes it. Links and extents in collection.json and
catalog.json are derived from the items.

Before a publish changes files, it writes the marker file `.unfinished` into the folder of the
collection, and removes it at the end. If the process is killed, the marker is left. The next read
of the collection or of one of its items, or the next publish, derives links and extents again.

`stac_layout.py` has the paths and the documents, `stac_versions.py` the archived versions.

Called by `resources/stores.py` and `storage/stores.py`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from geo_platform.errors import CatalogRejected, SourceNotFound, StoreDenied
from geo_platform.ports import CatalogEntry, ItemVersion
from geo_platform.storage.local import stac_versions
from geo_platform.storage.local.atomic import (
    clean_incoming,
    make_durable,
    os_errors,
    process_lock,
    process_lock_if_free,
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
    item_extent,
    union,
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

# Name of the marker file of a collection whose links and extent must be derived again. Its content
# is the collection that was to be published.
_UNFINISHED = ".unfinished"


class StacFiles:
    """Implements `ports.Catalog` with files below `<root>/catalog`.

    Threads and processes of one machine may use it at the same time.
    Methods raise ParameterInvalid: an id is not valid. StoreDenied: there is no permission.
    StoreUnavailable: any other error of the file system.
    """

    def __init__(self, root: Path) -> None:
        self._layout = Layout(root.resolve())

    def item(self, collection: str, item_id: str) -> dict[str, Any] | None:
        """Return the published item with absolute hrefs, or None if no such item is published.

        Raises CatalogRejected: the item's file cannot be read, or is not a STAC document.
        """
        path = self._layout.item(check_id(collection), check_id(item_id))
        if (path.parent.parent / _UNFINISHED).exists():
            self._finish_publish(path.parent.parent)
        with os_errors(f"The item {collection}/{item_id}"):
            return read_absolute(path)

    def collection(self, collection: str) -> dict[str, Any] | None:
        """Return the collection with absolute hrefs, or None if there is no such collection.

        Raises CatalogRejected: the collection's file cannot be read, or is not a STAC document.
        """
        path = self._layout.folder / check_id(collection) / "collection.json"
        if (path.parent / _UNFINISHED).exists():
            self._finish_publish(path.parent)
        with os_errors(f"The collection {collection}"):
            return read_absolute(path)

    def entries(self) -> Iterator[CatalogEntry]:
        """Yield every published item, newest first. Each file is read just before its entry.

        Raises CatalogRejected after the last entry: some files could not be read. The
        message names them.
        """
        with os_errors("The catalog"):
            paths_by_time = [(mtime_ns(path), path) for path in self._layout.item_paths()]
        unreadable: list[CatalogRejected] = []
        for _, path in sorted(paths_by_time, reverse=True):
            try:
                document = read_document(path)
            except CatalogRejected as error:
                unreadable.append(error)
                continue
            if document is not None:
                absolute_document = absolute(document, path.as_uri())
                published_at = datetime.fromtimestamp(mtime_ns(path) / 1e9, UTC)
                yield entry_of(
                    absolute_document,
                    collection=path.parent.parent.name,
                    href=path.as_uri(),
                    published_at_utc=published_at,
                )
        if unreadable:
            raise CatalogRejected(
                " ".join(error.message for error in unreadable), remedy=unreadable[0].remedy
            )

    def publish(
        self, collection: dict[str, Any], item: dict[str, Any], *, replaces: str | None
    ) -> str:
        """Upsert collection and item, and return the item's href, a file URI.

        Titles, descriptions, licenses, providers and links that people wrote into a collection's
        file are kept. An item of another fingerprint is archived before it is replaced.
        Raises Conflict: the published item has another fingerprint than `replaces` or another
        source, or the item is restored from a version that is not kept any more. CatalogRejected:
        the item names another collection, JSON cannot represent a value, a file of the catalog
        cannot be read, or the item reads back differently.
        """
        path = self._layout.item(check_id(collection["id"]), check_id(item["id"]))
        check_belongs(collection, item)
        with os_errors(f"The item {collection['id']}/{item['id']}"), self._lock():
            clean_incoming(self._layout.root)
            present = read_absolute(path)
            archived = list(archived_versions(self._layout, path))
            check_replaces(present, item, replaces)
            check_is_kept(
                item, is_kept=any(is_same_version(version.document, item) for version in archived)
            )
            with self._marked_unfinished(path.parent.parent, collection) as was_unfinished:
                self._write_item(path, item, present, archived)
                is_new = present is None and not was_unfinished
                self._derive_collection(
                    path.parent.parent, collection=collection, added=item if is_new else None
                )
                self._derive_root()
        return path.as_uri()

    def unpublish(self, collection: str, item_id: str, *, published: str) -> None:
        """Move the item to its archived versions.

        Raises SourceNotFound: no such item is published. Conflict: the published item has another
        fingerprint than `published`. CatalogRejected: a file of the catalog cannot be read.
        """
        path = self._layout.item(check_id(collection), check_id(item_id))
        with os_errors(f"The item {collection}/{item_id}"), self._lock():
            clean_incoming(self._layout.root)
            present = check_published(read_absolute(path), collection, item_id, published)
            given = read_document(path.parent.parent / "collection.json") or _bare_collection(
                collection
            )
            with self._marked_unfinished(path.parent.parent, given):
                stac_versions.archive(self._layout, path, present, is_replaced=False)
                stac_versions.link_to_published(self._layout, path, is_published=False)
                path.unlink()
                make_durable(path.parent)
                self._derive_collection(path.parent.parent, collection=given, added=None)
                self._derive_root()

    def versions(
        self, collection: str | None = None, item_id: str | None = None
    ) -> Iterator[ItemVersion]:
        """Yield the archived versions, latest withdrawn first.

        An archived version that is published again is left out.
        Raises CatalogRejected after the last version: some files could not be read. The message
        names them.
        """
        for name in (collection, item_id):
            if name is not None:
                check_id(name)
        versions: list[ItemVersion] = []
        unreadable: list[CatalogRejected] = []
        with os_errors("The catalog"):
            for path in self._layout.archived_item_paths(collection, item_id):
                try:
                    versions.extend(self._kept_versions(path, unreadable))
                except CatalogRejected as error:
                    unreadable.append(error)
        yield from sorted(versions, key=lambda version: version.withdrawn_at_utc, reverse=True)
        if unreadable:
            raise CatalogRejected(
                " ".join(error.message for error in unreadable), remedy=unreadable[0].remedy
            )

    def forget(self, version: ItemVersion) -> None:
        """Remove the file of the version, and the links of other versions to it.

        Raises SourceNotFound: the version is not kept any more, or is published again.
        """
        path = self._layout.item(check_id(version.collection), check_id(version.item_id))
        with os_errors(f"The item {version.collection}/{version.item_id}"), self._lock():
            published = read_absolute(path)
            archived = list(archived_versions(self._layout, path))
            matching = [
                version_file
                for version_file in archived
                if is_same_version(version_file.document, dict(version.item))
            ]
            if not matching or (
                published is not None and is_same_version(published, dict(version.item))
            ):
                raise SourceNotFound(
                    f"Version {version.fingerprint} of {version.collection}/{version.item_id} "
                    "is not kept any more."
                )
            remaining = [
                version_file for version_file in archived if version_file not in matching
            ] + ([Archived(path, published)] if published is not None else [])
            for version_file in matching:
                for other in remaining:
                    stac_versions.without_links_to(self._layout, other, version_file.path)
                version_file.path.unlink()
            _remove_empty(path.parent / "versions", path.parent)

    def _kept_versions(self, path: Path, unreadable: list[CatalogRejected]) -> list[ItemVersion]:
        published = read_document(path)
        return [
            stac_versions.as_version(archived, path.parent.parent.name, path.parent.name)
            for archived in archived_versions(self._layout, path, unreadable)
            if published is None or not is_same_version(published, archived.document)
        ]

    def _write_item(
        self, path: Path, item: Document, present: Document | None, archived: list[Archived]
    ) -> None:
        archive_path = None
        if present is not None and fingerprint_of(present) != fingerprint_of(item):
            archive_path = stac_versions.archive(self._layout, path, present, is_replaced=True)
        complete = stac_versions.with_version_links(item, present, archive_path, archived)
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
        if present is None and archived:
            stac_versions.link_to_published(self._layout, path, is_published=True)

    def _derive_collection(
        self, folder: Path, *, collection: Document, added: Document | None
    ) -> None:
        """Write collection.json with links to all items and the extent around them.

        If the present links show that `added` is the only new item, the other items are not read.
        """
        path = folder / "collection.json"
        present = read_document(path)
        item_ids = self._layout.item_ids(folder)
        if present is None and not item_ids:
            return  # The first publish was refused, and left nothing to describe.
        linked = {
            link["href"] for link in (present or {}).get("links", []) if link["rel"] == "item"
        }
        extents: Iterator[dict[str, Any]]
        if present is not None and added is not None and len(linked) == len(item_ids) - 1:
            extents = iter(
                [present["extent"], item_extent(added)] if linked else [item_extent(added)]
            )
        else:
            extents = (item_extent(item) for item in self._readable_items(folder))
        document = collection_document(collection, present, item_ids, union(extents))
        content = encode(document, f"The collection {collection['id']}")
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
            except CatalogRejected:
                # A damaged item must not prevent publishing others. `entries` reports it.
                continue
            if document is not None:
                yield document

    def _finish_publish(self, folder: Path) -> None:
        """Derive links and extents after a killed publish. Do nothing without write permission.

        Do nothing either while another process publishes, so that a reader does not wait for it.
        The marker is most likely that process's own; if not, a later read finds it.
        """
        marker = folder / _UNFINISHED
        try:
            with (
                os_errors(f"The collection {folder.name}"),
                process_lock_if_free(self._lock_file) as is_held,
            ):
                given = read_document(marker) if is_held else None
                if given is not None:
                    self._derive_collection(folder, collection=given, added=None)
                    self._derive_root()
                    marker.unlink()
        except StoreDenied:
            return

    @contextmanager
    def _marked_unfinished(self, folder: Path, given: Document) -> Iterator[bool]:
        """Write the marker file, and remove it at the end; yield whether it existed already.

        If the block raises, the marker is left, as after a kill.
        """
        marker = folder / _UNFINISHED
        was_unfinished = marker.exists()
        write_atomically(
            self._layout.root,
            marker,
            encode({**given, "links": []}, f"The collection {given['id']}"),
        )
        yield was_unfinished
        marker.unlink()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with process_lock(self._lock_file):
            yield

    @property
    def _lock_file(self) -> Path:
        return self._layout.root / ".locks" / "catalog"


def _bare_collection(collection: str) -> Document:
    """Return a minimal collection, for an item whose collection.json was removed."""
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
