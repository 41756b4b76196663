"""Documents of the static catalog: where they lie, how they are read and written, what the catalog states in them.

What belongs here: the layout, JSON, the structural links. What stays out: the order of writes and locks (`stac_files.py`).

One line of a catalog's listing, made of an item.

What belongs here: which of an item's fields a listing has, and what stands in for those that another program left out.
What stays out: finding items.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from geo_platform.errors import CatalogRejected, ParameterInvalid, StoreDenied
from geo_platform.ports import (
    ASSET_CONTAINER,
    ASSET_KEY,
    ITEM_FINGERPRINT,
    ITEM_RUN_ID,
    ITEM_SOURCE,
    CatalogEntry,
)
from geo_platform.storage.stac_hrefs import Document, without_structure


def entry_of(
    item: dict[str, Any], *, collection: str, href: str, published_at_utc: datetime
) -> CatalogEntry:
    """`item` with absolute hrefs. What it does not say itself, its catalog knows: its collection, and when it was published."""
    properties = item["properties"]
    return CatalogEntry(
        collection=item.get("collection") or collection,
        item_id=item["id"],
        run_id=str(properties.get(ITEM_RUN_ID, "")),
        fingerprint=str(properties.get(ITEM_FINGERPRINT, "")),
        source=str(properties.get(ITEM_SOURCE, "")),
        outputs=tuple(asset["href"] for asset in item["assets"].values()),
        updated_at_utc=_updated(properties.get("updated"), published_at_utc),
        href=href,
        objects=tuple(
            (str(asset[ASSET_CONTAINER]), str(asset[ASSET_KEY]))
            for asset in item["assets"].values()
            if ASSET_CONTAINER in asset and ASSET_KEY in asset
        ),
        item=item,
    )


def _updated(text: Any, published_at_utc: datetime) -> datetime:
    """What the item says; another program's may say nothing, or nothing that is a time."""
    try:
        said = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return published_at_utc
    return said if said.tzinfo else said.replace(tzinfo=UTC)


_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")
_RESERVED = {"catalog.json", "collection.json"}
# What a collection's document has from the catalog. All else is what people wrote, or what it was
# made with.
_CATALOG_STATES = frozenset({"type", "stac_version", "stac_extensions", "id", "extent", "links"})


@dataclass(frozen=True)
class Layout:
    """Paths below a resolved root, and what lies there."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / "catalog"

    def item(self, collection: str, item_id: str) -> Path:
        return self.folder / collection / item_id / f"{item_id}.json"

    def collections(self) -> list[str]:
        """Names of folders that hold a collection, sorted."""
        return [
            name
            for name in _subfolders(self.folder)
            if (self.folder / name / "collection.json").is_file()
        ]

    def collection_titles(self) -> dict[str, str]:
        """Collection id to title, for the root's links; a collection that cannot be read shows its id."""
        titles: dict[str, str] = {}
        for name in self.collections():
            titles[name] = name
            with suppress(CatalogRejected):
                titles[name] = (read_document(self.folder / name / "collection.json") or {}).get(
                    "title"
                ) or name
        return titles

    def item_ids(self, collection_folder: Path) -> list[str]:
        """Ids of items whose file is there, sorted."""
        return [
            name
            for name in _subfolders(collection_folder)
            if (collection_folder / name / f"{name}.json").is_file()
        ]

    def item_paths(self) -> Iterator[Path]:
        """Every item's file, in no useful order."""
        for collection in _subfolders(self.folder):
            for item_id in self.item_ids(self.folder / collection):
                yield self.item(collection, item_id)

    def version_paths(self, item_path: Path) -> list[Path]:
        """Files of the archived versions of an item, sorted by name."""
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

    def kept_item_paths(self, collection: str | None, item_id: str | None) -> Iterator[Path]:
        """Where the file of each item with archived versions lies, or lay before it was unpublished."""
        for name in [collection] if collection is not None else _subfolders(self.folder):
            for folder in [item_id] if item_id is not None else _subfolders(self.folder / name):
                if (self.folder / name / folder / "versions").is_dir():
                    yield self.item(name, folder)

    def item_links(self, path: Path, collection: str) -> list[dict[str, Any]]:
        """What an item says of its place, hrefs absolute."""
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


def check_id(name: str) -> str:
    """The id itself. Raises ParameterInvalid where it could not be a folder of the catalog."""
    if not _ID.match(name) or name.lower() in _RESERVED:
        raise ParameterInvalid(
            f"{name!r} cannot name a collection or an item.",
            remedy="Use letters, digits, dots, hyphens and underscores, at most 200, beginning with a letter or digit.",
        )
    return name


def encode(document: Document, what: str) -> bytes:
    """JSON for people and machines. Raises CatalogRejected where a value has no JSON (NaN, a time, bytes)."""
    try:
        return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise CatalogRejected(f"{what} cannot be written as JSON: {error}.") from error


def read_document(path: Path) -> Document | None:
    """A STAC document, or None where there is none. Raises CatalogRejected naming the file where it cannot be read."""
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


def document_fault(document: Any) -> str | None:
    """Why something is no STAC document that this catalog can work with; whether it is valid is not asked here."""
    kind = document.get("type") if isinstance(document, dict) else None
    if kind not in {"Feature", "Collection", "Catalog"} or not isinstance(document.get("id"), str):
        return "it is no STAC document"
    if not isinstance(document.get("links"), list) or not all(
        _has_text(link, "href", "rel") for link in document["links"]
    ):
        return "its links have no href or rel"
    if kind != "Feature":
        return None
    if not isinstance(document.get("properties"), dict):
        return "it has no properties"
    assets = document.get("assets")
    if not isinstance(assets, dict) or not all(
        _has_text(asset, "href") for asset in assets.values()
    ):
        return "its assets have no href"
    return None


def _has_text(part: Any, *names: str) -> bool:
    return isinstance(part, dict) and all(isinstance(part.get(name), str) for name in names)


def mtime_ns(path: Path) -> int:
    """0 where the file was removed in the meantime. Raises OSError otherwise."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def root_document(present: Document | None, titles: Mapping[str, str]) -> Document:
    """catalog.json with a child link to every collection; what people wrote into it is kept."""
    written: Document = (
        {name: present[name] for name in ("id", "title", "description") if name in present}
        if present
        else {}
    )
    own = [{"rel": "root", "href": "./catalog.json", "type": "application/json"}]
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
        **written,
        "links": own + children + (without_structure(present) if present else []),
    }


def with_items(
    given: Document, present: Document | None, item_ids: list[str], extent: dict[str, Any]
) -> Document:
    """collection.json with a link to every item; what people wrote into it is kept."""
    own = [
        {"rel": "root", "href": "../catalog.json", "type": "application/json"},
        {"rel": "parent", "href": "../catalog.json", "type": "application/json"},
    ]
    items = [
        {"rel": "item", "href": f"./{name}/{name}.json", "type": "application/geo+json"}
        for name in item_ids
    ]
    merged = merged_collection(given, present, extent)
    return {**merged, "links": own + items + merged["links"]}


def merged_collection(
    given: Document, present: Document | None, extent: dict[str, Any]
) -> Document:
    """A collection with what people wrote into the present one, and without links that the catalog itself states."""
    written = {
        name: value for name, value in (present or {}).items() if name not in _CATALOG_STATES
    }
    extensions = {*given.get("stac_extensions", []), *(present or {}).get("stac_extensions", [])}
    links = without_structure(present if present else given)
    return {
        **given,
        **written,
        "stac_extensions": sorted(extensions),
        "extent": extent,
        "links": links,
    }


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
            f"The catalog's folder {folder} is a file, or lies under one.",
            remedy="Put that file away.",
        ) from error


def _unreadable(path: Path, reason: str) -> CatalogRejected:
    place = "/".join(path.parts[-3:])
    return CatalogRejected(
        f"The catalog's file {place} cannot be read: {reason}.",
        remedy="Restore it or delete it, then publish again.",
    )
