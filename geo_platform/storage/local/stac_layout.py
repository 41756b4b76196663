"""Find and read the files of the static catalog, and compute the links among its documents.

Hrefs are relative in the files, so that the folder of the catalog can be moved. They are absolute
in memory. `stac_files.py` decides the order of writes and holds the locks.

Called by `serving/stac/file_search.py`, `stac_files.py` and `stac_versions.py`.
"""

import json
import os
import posixpath
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from geo_platform.errors import CatalogRejected, StoreDenied
from geo_platform.storage.stac_documents import (
    Document,
    document_fault,
    merged_collection,
    without_structure,
)


@dataclass(frozen=True)
class Layout:
    """The paths of the catalog below `root`, which must be resolved.

    Methods that list folders raise StoreDenied: a file has the name of a folder. OSError: a folder
    cannot be read.
    """

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / "catalog"

    def item(self, collection: str, item_id: str) -> Path:
        return self.folder / collection / item_id / f"{item_id}.json"

    def collections(self) -> list[str]:
        """Return the names of the folders that hold a collection, sorted."""
        return [
            name
            for name in _subfolders(self.folder)
            if (self.folder / name / "collection.json").is_file()
        ]

    def collection_titles(self) -> dict[str, str]:
        """Return the title of each collection by its id, or the id if it has no readable title."""
        titles: dict[str, str] = {}
        for name in self.collections():
            titles[name] = name
            with suppress(CatalogRejected):
                document = read_document(self.folder / name / "collection.json") or {}
                titles[name] = document.get("title") or name
        return titles

    def item_ids(self, collection_folder: Path) -> list[str]:
        """Return the ids of the published items, which are those that have a file, sorted."""
        return [
            name
            for name in _subfolders(collection_folder)
            if (collection_folder / name / f"{name}.json").is_file()
        ]

    def item_paths(self) -> Iterator[Path]:
        """Yield the file of every item, in no particular order."""
        for collection in _subfolders(self.folder):
            for item_id in self.item_ids(self.folder / collection):
                yield self.item(collection, item_id)

    def version_paths(self, item_path: Path) -> list[Path]:
        """Return the files of an item's archived versions, sorted by name."""
        folder = item_path.parent / "versions"
        try:
            with os.scandir(folder) as entries:
                return sorted(
                    Path(entry.path)
                    for entry in entries
                    if entry.name.endswith(".json") and entry.is_file()
                )
        except (FileNotFoundError, NotADirectoryError):
            return []

    def archived_item_paths(self, collection: str | None, item_id: str | None) -> Iterator[Path]:
        """Yield the path of the file of each item that has archived versions.

        The file of an unpublished item does not exist.
        """
        for name in [collection] if collection is not None else _subfolders(self.folder):
            for folder in [item_id] if item_id is not None else _subfolders(self.folder / name):
                if (self.folder / name / folder / "versions").is_dir():
                    yield self.item(name, folder)

    def item_links(self, path: Path, collection: str) -> list[dict[str, Any]]:
        """Return the links of an item to the root and to its collection, with absolute hrefs."""
        collection_uri = (path.parent.parent / "collection.json").as_uri()
        return [
            {
                "rel": "root",
                "href": (self.folder / "catalog.json").as_uri(),
                "type": "application/json",
            },
            {
                "rel": "parent",
                "href": collection_uri,
                "type": "application/json",
                "title": collection,
            },
            {
                "rel": "collection",
                "href": collection_uri,
                "type": "application/json",
                "title": collection,
            },
        ]


def _subfolders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
            )
    except FileNotFoundError:
        return []
    except NotADirectoryError as error:
        raise StoreDenied(
            f"The catalog's folder {folder} is a file, or a parent folder of it is one.",
            remedy="Rename or remove that file.",
        ) from error


def read_document(path: Path) -> Document | None:
    """Return the STAC document of a file, with relative hrefs, or None if there is no file.

    Raises CatalogRejected: the file cannot be read, or is not a STAC document.
    """
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, str(error)) from error
    fault = document_fault(document)
    if fault is not None:
        raise _unreadable(path, fault)
    return dict(document)


def _unreadable(path: Path, reason: str) -> CatalogRejected:
    name = "/".join(path.parts[-3:])
    return CatalogRejected(
        f"The catalog's file {name} cannot be read: {reason}.",
        remedy="Restore it or delete it, then publish again.",
    )


def read_absolute(path: Path) -> Document | None:
    """Return a STAC document with absolute hrefs, or None if there is no file.

    Raises CatalogRejected: the file cannot be read, or is not a STAC document.
    """
    stored = read_document(path)
    return None if stored is None else absolute(stored, path.as_uri())


def mtime_ns(path: Path) -> int:
    """Return the file's modification time, or 0 if it was removed meanwhile. Raises OSError."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def absolute(document: Document, document_uri: str) -> Document:
    """Return a copy with hrefs resolved against the document's URI, and with a self link."""
    resolved = _with_hrefs(document, lambda href: urljoin(document_uri, href))
    self_link = {
        "rel": "self",
        "href": document_uri,
        "type": "application/geo+json" if document.get("type") == "Feature" else "application/json",
    }
    resolved["links"] = [link for link in resolved["links"] if link["rel"] != "self"] + [self_link]
    return resolved


def relative(document: Document, document_uri: str, root_uri: str) -> Document:
    """Return a copy with hrefs below the root relative to the document, the others unchanged."""
    return _with_hrefs(document, lambda href: _relative_href(href, document_uri, root_uri))


def _with_hrefs(document: Document, change: Callable[[str], str]) -> Document:
    changed = dict(document)
    changed["links"] = [
        {**link, "href": change(link["href"])} for link in document.get("links", [])
    ]
    if "assets" in document:
        changed["assets"] = {
            key: {**asset, "href": change(asset["href"])}
            for key, asset in document["assets"].items()
        }
    return changed


def _relative_href(href: str, document_uri: str, root_uri: str) -> str:
    # The three arguments are percent-encoded, and so is the result.
    if not href.startswith(root_uri.rstrip("/") + "/"):
        return href
    path = posixpath.relpath(href, posixpath.dirname(document_uri))
    return path if path.startswith("../") else f"./{path}"


def root_document(present: Document | None, titles: Mapping[str, str]) -> Document:
    """Return catalog.json with a child link to each collection.

    Its id, title and description, which people may have edited, and other links are kept.
    """
    kept_fields: Document = (
        {name: present[name] for name in ("id", "title", "description") if name in present}
        if present
        else {}
    )
    root_links = [{"rel": "root", "href": "./catalog.json", "type": "application/json"}]
    children = [
        {
            "rel": "child",
            "href": f"./{name}/collection.json",
            "type": "application/json",
            "title": title,
        }
        for name, title in titles.items()
    ]
    return {
        "type": "Catalog",
        "stac_version": "1.1.0",
        "id": "geo-platform",
        "title": "Geo platform",
        "description": "Rasters and vector datasets published by the geo platform.",
        **kept_fields,
        "links": root_links + children + (without_structure(present) if present else []),
    }


def collection_document(
    new: Document, present: Document | None, item_ids: list[str], extent: Document
) -> Document:
    """Return collection.json with a link to each item. Keep fields that people may have edited."""
    root_links = [
        {"rel": "root", "href": "../catalog.json", "type": "application/json"},
        {"rel": "parent", "href": "../catalog.json", "type": "application/json"},
    ]
    items = [
        {"rel": "item", "href": f"./{name}/{name}.json", "type": "application/geo+json"}
        for name in item_ids
    ]
    merged = merged_collection(new, present, extent)
    return {**merged, "links": root_links + items + merged["links"]}
