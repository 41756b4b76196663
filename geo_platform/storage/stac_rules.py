"""When a catalog lets an item be published: the same rules whatever keeps it.

What belongs here: conflicts among versions and sources, pure. What stays out: reading what is present, rules on tables.
"""

from typing import Any

from geo_platform.errors import CatalogRejected, Conflict, SourceNotFound
from geo_platform.ports import (
    ITEM_FINGERPRINT,
    ITEM_LOAD_MODE,
    ITEM_RESTORED_BY,
    ITEM_RUN_ID,
    ITEM_SOURCE,
    ITEM_SOURCE_CONTAINER,
)

Document = dict[str, Any]


def check_belongs(collection: Document, item: Document) -> None:
    """Raises CatalogRejected where the item says that it is another collection's."""
    if item.get("collection") != collection["id"]:
        raise CatalogRejected(
            f"The item {item['id']} says collection {item.get('collection')!r}, not {collection['id']!r}."
        )


def check_replaces(present: Document | None, item: Document, replaces: str | None) -> None:
    """Raises Conflict where another source holds the id, or where the version that the caller saw is not the published one."""
    name = f"{item['collection']}/{item['id']}"
    if (
        present is not None
        and not _may_change_source(item)
        and source_of(present) != source_of(item)
    ):
        raise Conflict(
            f"The item {name} was made from {source_of(present)}, not from {source_of(item)}.",
            remedy="Choose another item_id, or another collection_id.",
        )
    published = fingerprint_of(present)
    if published != replaces:
        raise Conflict(
            f"The item {name} is at version {published or 'none'}, not at {replaces or 'none'}.",
            remedy="Another run published it in the meantime; submit again.",
        )


def check_is_kept(item: Document, *, is_kept: bool) -> None:
    """What is brought back has to be kept still: what it names may have been removed together with it. Raises Conflict."""
    if ITEM_RESTORED_BY in item["properties"] and not is_kept:
        raise Conflict(
            f"The version of {item['collection']}/{item['id']} that run {run_of(item)} published is not kept any more.",
            remedy="geo-platform versions shows what can be brought back; or ingest the source again.",
        )


def check_published(
    present: Document | None, collection: str, item_id: str, published: str
) -> Document:
    """The item that is to be taken away. Raises SourceNotFound where there is none, Conflict where it is another version."""
    if present is None:
        raise SourceNotFound(
            f"No item {collection}/{item_id} is published.",
            remedy="geo-platform list shows those that are.",
        )
    if fingerprint_of(present) != published:
        raise Conflict(
            f"The item {collection}/{item_id} is at version {fingerprint_of(present) or 'none'}, not at {published}.",
            remedy="Another run published it in the meantime; look at it and ask again.",
        )
    return present


def is_same_version(one: Document, other: Document) -> bool:
    """The same fingerprint, published by the same run."""
    return fingerprint_of(one) == fingerprint_of(other) and run_of(one) == run_of(other)


def fingerprint_of(item: Document | None) -> str | None:
    return None if item is None else item["properties"].get(ITEM_FINGERPRINT)


def run_of(item: Document) -> str:
    return str(item["properties"].get(ITEM_RUN_ID, ""))


def source_of(item: Document) -> str:
    properties = item["properties"]
    return f"{properties.get(ITEM_SOURCE_CONTAINER, '')}/{properties.get(ITEM_SOURCE, '')}"


def _may_change_source(item: Document) -> bool:
    return (
        item["properties"].get(ITEM_LOAD_MODE) == "append" or ITEM_RESTORED_BY in item["properties"]
    )
