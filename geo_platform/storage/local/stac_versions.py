"""Archive replaced and unpublished items, and link the versions (STAC version extension 1.2.0).

    <collection>/<item>/versions/<fingerprint>.json

Every link has a target: while no version is published, archived versions have no link to the latest
version. `stac_files.py` decides when to archive.

Called by `stac_files.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from geo_platform.errors import CatalogRejected
from geo_platform.ports import ITEM_FINGERPRINT, ItemVersion
from geo_platform.storage.local.atomic import write_atomically
from geo_platform.storage.local.stac_layout import (
    Layout,
    absolute,
    mtime_ns,
    read_document,
    relative,
)
from geo_platform.storage.stac_documents import Document, check_id, encode, without_structure
from geo_platform.storage.stac_rules import fingerprint_of, is_same_version, run_of

VERSION_EXTENSION = "https://stac-extensions.github.io/version/v1.2.0/schema.json"
# Property of an archived version: when it was replaced or unpublished.
_WITHDRAWN = "geo_platform:withdrawn"

_LINKS_TO_PUBLISHED = ("successor-version", "latest-version")
_VERSION_RELATIONS = {"predecessor-version", *_LINKS_TO_PUBLISHED}


@dataclass(frozen=True)
class Archived:
    """An archived version of an item: its file, and its document with absolute hrefs."""

    path: Path
    document: Document


def archived_versions(
    layout: Layout, item_path: Path, unreadable: list[CatalogRejected] | None = None
) -> Iterator[Archived]:
    """Yield every archived version of an item, in order of file name.

    An unreadable file must not prevent a publication. So it is skipped, and its error is appended
    to the list `unreadable`, if there is one.
    """
    for path in layout.version_paths(item_path):
        try:
            document = read_document(path)
        except CatalogRejected as error:
            if unreadable is not None:
                unreadable.append(error)
            continue
        if document is not None:
            yield Archived(path, absolute(document, path.as_uri()))


def archive(layout: Layout, path: Path, present: Document, *, is_replaced: bool) -> Path:
    """Write the published version to the archive, and return the path of the archived file.

    `path` is the item's own file, `present` the published document. With `is_replaced` the archived
    version gets links to the version that replaces it.
    Raises CatalogRejected: an archived file cannot be read. OSError: a file cannot be written.
    """
    archived = _free_path(path.parent / "versions", present)
    document = dict(present)
    withdrawn = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    document["properties"] = {**present["properties"], "deprecated": True, _WITHDRAWN: withdrawn}
    document["stac_extensions"] = sorted({*present.get("stac_extensions", []), VERSION_EXTENSION})
    kept = [link for link in without_structure(present) if link["rel"] not in _LINKS_TO_PUBLISHED]
    document["links"] = (
        layout.item_links(path, str(present["collection"]))
        + kept
        + (_links_to(path) if is_replaced else [])
    )
    _write(layout, archived, document)
    return archived


def with_version_links(
    item: Document, present: Document | None, archive_path: Path | None, archived: list[Archived]
) -> Document:
    """Return the item with a link to its predecessor.

    The predecessor is the version that the item replaces (`archive_path`), or else the archived
    version that was withdrawn last. An item that is published again or restored keeps its earlier
    predecessor.
    """
    links = [link for link in item.get("links", []) if link["rel"] not in _VERSION_RELATIONS]
    same_version = next(
        (version for version in archived if is_same_version(version.document, item)), None
    )
    if same_version is not None:
        links.extend(_predecessors(same_version.document))
    elif archive_path is not None:
        links.append(_link("predecessor-version", archive_path))
    elif present is not None:
        links.extend(_predecessors(present))
    elif archived:
        links.append(_link("predecessor-version", max(archived, key=_withdrawn_at).path))
    return {**item, "links": links}


def link_to_published(layout: Layout, path: Path, *, is_published: bool) -> None:
    """Add links from every archived version to the published version, or remove them."""
    for archived in list(archived_versions(layout, path)):
        kept = [
            link
            for link in archived.document["links"]
            if link["rel"] not in {*_LINKS_TO_PUBLISHED, "self"}
        ]
        _rewrite(layout, archived, kept + (_links_to(path) if is_published else []))


def without_links_to(layout: Layout, document: Archived, removed: Path) -> None:
    """Remove the links to the file `removed` from a document.

    A document without such links is not rewritten.
    """
    links = [
        link
        for link in document.document["links"]
        if link["rel"] != "self" and link["href"] != removed.as_uri()
    ]
    _rewrite(layout, document, links)


def as_version(archived: Archived, collection: str, item_id: str) -> ItemVersion:
    """Return the archived version as an `ItemVersion`, with the item as it was published."""
    properties = {
        name: value
        for name, value in archived.document["properties"].items()
        if name not in {"deprecated", _WITHDRAWN}
    }
    links = [
        link
        for link in without_structure(archived.document)
        if link["rel"] not in _VERSION_RELATIONS
    ]
    return ItemVersion(
        collection=collection,
        item_id=item_id,
        fingerprint=fingerprint_of(archived.document) or "",
        run_id=run_of(archived.document),
        withdrawn_at_utc=_withdrawn_at(archived),
        item={**archived.document, "properties": properties, "links": links},
    )


def _withdrawn_at(archived: Archived) -> datetime:
    text = archived.document["properties"].get(_WITHDRAWN)
    if text:
        return datetime.fromisoformat(text)
    # Earlier releases did not record the time. The file was written when the version was withdrawn.
    return datetime.fromtimestamp(mtime_ns(archived.path) / 1e9, UTC)


def _predecessors(document: Document) -> list[dict[str, object]]:
    return [link for link in document["links"] if link["rel"] == "predecessor-version"]


def _links_to(path: Path) -> list[dict[str, str]]:
    return [_link(relation, path) for relation in _LINKS_TO_PUBLISHED]


def _link(relation: str, path: Path) -> dict[str, str]:
    return {"rel": relation, "href": path.as_uri(), "type": "application/geo+json"}


def _rewrite(layout: Layout, document: Archived, links: list[dict[str, object]]) -> None:
    """Write the document with these links, if they differ from its own."""
    # The file keeps its mtime, since `entries` lists items in the order of their mtimes.
    if links != [link for link in document.document["links"] if link["rel"] != "self"]:
        _write(
            layout,
            document.path,
            {**document.document, "links": links},
            modified_ns=mtime_ns(document.path),
        )


def _write(
    layout: Layout, path: Path, document: Document, *, modified_ns: int | None = None
) -> None:
    content = encode(
        relative(document, path.as_uri(), layout.root.as_uri()), f"A version of {document['id']}"
    )
    write_atomically(layout.root, path, content, modified_ns=modified_ns)


def _free_path(folder: Path, present: Document) -> Path:
    """Return the path to archive to: `<fingerprint>.json`, `<fingerprint>-2.json` and so on.

    A file of another run is not overwritten. A file of the same run is: either a publish was killed
    after it archived this version, or the version was restored and is now archived again.
    """
    name = check_id(str(present["properties"].get(ITEM_FINGERPRINT) or "unknown"))
    count = 1
    while True:
        path = folder / (f"{name}.json" if count == 1 else f"{name}-{count}.json")
        existing = read_document(path)
        if existing is None or run_of(existing) == run_of(present):
            return path
        count += 1
