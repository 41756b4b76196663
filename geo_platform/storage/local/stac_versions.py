"""What an item replaced is kept: archived beside it, deprecated, and linked both ways (STAC version extension 1.2.0).

What belongs here: archived versions on disk and the links among them. What stays out: when to publish or unpublish.

    <collection>/<item>/versions/<fingerprint>.json

Links never point to what is not there: while no version is published, archived ones have no link to a latest one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from geo_platform.errors import CatalogRejected
from geo_platform.ports import ITEM_FINGERPRINT, ItemVersion
from geo_platform.storage.local.atomic import write_atomically
from geo_platform.storage.stac_documents import Layout, check_id, encode, mtime_ns, read_document
from geo_platform.storage.stac_hrefs import Document, absolute, relative, without_structure
from geo_platform.storage.stac_rules import fingerprint_of, is_same_version, run_of

VERSION_EXTENSION = "https://stac-extensions.github.io/version/v1.2.0/schema.json"
# Property of an archived version: when it was replaced or unpublished.
_WITHDRAWN = "geo_platform:withdrawn"

_TO_THE_PUBLISHED = ("successor-version", "latest-version")
_VERSION_RELATIONS = {"predecessor-version", *_TO_THE_PUBLISHED}


@dataclass(frozen=True)
class Archived:
    """An archived version as its file has it, hrefs absolute."""

    path: Path
    document: Document


def archived_versions(
    layout: Layout, item_path: Path, unreadable: list[CatalogRejected] | None = None
) -> Iterator[Archived]:
    """Every archived version of an item, in order of file name.

    One that cannot be read is left out and, where a list is given, put there: it must not stop what is published now.
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
    """Write the published version to where it is kept, and return where. Replaced, it says where its successor is."""
    archived = _free_path(path.parent / "versions", present)
    document = dict(present)
    withdrawn = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    document["properties"] = {**present["properties"], "deprecated": True, _WITHDRAWN: withdrawn}
    document["stac_extensions"] = sorted({*present.get("stac_extensions", []), VERSION_EXTENSION})
    kept = [link for link in without_structure(present) if link["rel"] not in _TO_THE_PUBLISHED]
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
    """The item with a link to its predecessor.

    That is what it replaces; where it replaces nothing the version that was withdrawn last. One that is published again or
    brought back keeps the predecessor that it had.
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
    """Give every archived version of the item its links to the published one, or take them away."""
    for archived in list(archived_versions(layout, path)):
        kept = [
            link
            for link in archived.document["links"]
            if link["rel"] not in {*_TO_THE_PUBLISHED, "self"}
        ]
        _rewrite(layout, archived, kept + (_links_to(path) if is_published else []))


def without_links_to(layout: Layout, document: Archived, removed: Path) -> None:
    """Take a link to a version that is to be removed out of a document; one without such a link is not touched."""
    links = [
        link
        for link in document.document["links"]
        if link["rel"] != "self" and link["href"] != removed.as_uri()
    ]
    _rewrite(layout, document, links)


def as_version(archived: Archived, collection: str, item_id: str) -> ItemVersion:
    """What the platform says of it: the item as it was published."""
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
    """What it says, or, for one that an earlier platform archived, when its file was written."""
    said = archived.document["properties"].get(_WITHDRAWN)
    return (
        datetime.fromisoformat(said)
        if said
        else datetime.fromtimestamp(mtime_ns(archived.path) / 1e9, UTC)
    )


def _predecessors(document: Document) -> list[dict[str, object]]:
    return [link for link in document["links"] if link["rel"] == "predecessor-version"]


def _links_to(path: Path) -> list[dict[str, str]]:
    return [_link(relation, path) for relation in _TO_THE_PUBLISHED]


def _link(relation: str, path: Path) -> dict[str, str]:
    return {"rel": relation, "href": path.as_uri(), "type": "application/geo+json"}


def _rewrite(layout: Layout, document: Archived, links: list[dict[str, object]]) -> None:
    """With other links, and the time that its file had: listings go by it."""
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
    """`<fingerprint>.json`, or `<fingerprint>-2.json` … where another run's version of that fingerprint lies there.

    The same run's is overwritten: it was archived by a publish that was killed before it went on, or was brought back since.
    """
    name = check_id(str(present["properties"].get(ITEM_FINGERPRINT) or "unknown"))
    count = 1
    while True:
        path = folder / (f"{name}.json" if count == 1 else f"{name}-{count}.json")
        there = read_document(path)
        if there is None or run_of(there) == run_of(present):
            return path
        count += 1
