"""Archive replaced and unpublished items, and link the versions (STAC version extension 1.2.0).

    <collection>/<item>/versions/<fingerprint>.json

Links always have a target: while no version is published, archived ones have no link to a latest
one. `stac_files.py` decides when to archive.
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
    """An archived version: its file, and its document with absolute hrefs."""

    path: Path
    document: Document


def archived_versions(
    layout: Layout, item_path: Path, unreadable: list[CatalogRejected] | None = None
) -> Iterator[Archived]:
    """Yield every archived version of an item, in order of file name.

    An unreadable one must not stop a publication: it is skipped, and its error is appended to
    `unreadable` if that is given.
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
    """Write the published version to the archive and return its file.

    With `is_replaced` it links to its successor.
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
    item: Document, present: Document | None, archived: Path | None, earlier: list[Archived]
) -> Document:
    """Return the item with a link to its predecessor.

    The predecessor is the version that it replaces, or else the one that was withdrawn last. An
    item that is published again or restored keeps the predecessor that it had.
    """
    links = [link for link in item.get("links", []) if link["rel"] not in _VERSION_RELATIONS]
    again = next((version for version in earlier if is_same_version(version.document, item)), None)
    if again is not None:
        links.extend(_predecessors(again.document))
    elif archived is not None:
        links.append(_link("predecessor-version", archived))
    elif present is not None:
        links.extend(_predecessors(present))
    elif earlier:
        links.append(_link("predecessor-version", max(earlier, key=_withdrawn_at).path))
    return {**item, "links": links}


def link_to_published(layout: Layout, path: Path, *, is_published: bool) -> None:
    """Add or remove the links from every archived version of the item to the published one."""
    for archived in list(archived_versions(layout, path)):
        kept = [
            link
            for link in archived.document["links"]
            if link["rel"] not in {*_LINKS_TO_PUBLISHED, "self"}
        ]
        _rewrite(layout, archived, kept + (_links_to(path) if is_published else []))


def without_links_to(layout: Layout, document: Archived, removed: Path) -> None:
    """Remove the links to a version from a document. One without such links is not rewritten."""
    links = [
        link
        for link in document.document["links"]
        if link["rel"] != "self" and link["href"] != removed.as_uri()
    ]
    _rewrite(layout, document, links)


def as_version(archived: Archived, collection: str, item_id: str) -> ItemVersion:
    """Return the version as the port has it: the item as it was published."""
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
    # Earlier releases did not record it: the file was written when the version was withdrawn.
    return datetime.fromtimestamp(mtime_ns(archived.path) / 1e9, UTC)


def _predecessors(document: Document) -> list[dict[str, object]]:
    return [link for link in document["links"] if link["rel"] == "predecessor-version"]


def _links_to(path: Path) -> list[dict[str, str]]:
    return [_link(relation, path) for relation in _LINKS_TO_PUBLISHED]


def _link(relation: str, path: Path) -> dict[str, str]:
    return {"rel": relation, "href": path.as_uri(), "type": "application/geo+json"}


def _rewrite(layout: Layout, document: Archived, links: list[dict[str, object]]) -> None:
    """Write the document with other links, if they differ; keep the time of its file."""
    # Listings are sorted by the time of the file.
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
    """Return `<fingerprint>.json`, or `<fingerprint>-2.json` … if another run's version has it.

    A version of the same run is overwritten: its publish was killed after it archived, or it was
    restored since.
    """
    name = check_id(str(present["properties"].get(ITEM_FINGERPRINT) or "unknown"))
    count = 1
    while True:
        path = folder / (f"{name}.json" if count == 1 else f"{name}-{count}.json")
        existing = read_document(path)
        if existing is None or run_of(existing) == run_of(present):
            return path
        count += 1
