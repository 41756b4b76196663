"""Rules by which every catalog accepts an item: which version and source it may replace.

Rules on tables are in `postgres/pgstac_tables.py`.
"""

from geo_platform.errors import CatalogRejected, Conflict, SourceNotFound
from geo_platform.ports import (
    ITEM_FINGERPRINT,
    ITEM_LOAD_MODE,
    ITEM_RESTORED_BY,
    ITEM_RUN_ID,
    ITEM_SOURCE,
    ITEM_SOURCE_CONTAINER,
)
from geo_platform.storage.stac_documents import Document


def check_belongs(collection: Document, item: Document) -> None:
    """Raise CatalogRejected if the item names another collection."""
    if item.get("collection") != collection["id"]:
        raise CatalogRejected(
            f"The item {item['id']} names collection {item.get('collection')!r}, "
            f"not {collection['id']!r}."
        )


def check_replaces(present: Document | None, item: Document, replaces: str | None) -> None:
    """Raise Conflict if another source holds the id, or the published version is not `replaces`."""
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
            remedy="Another run published it meanwhile. Submit it again.",
        )


def check_is_kept(item: Document, *, is_kept: bool) -> None:
    """Raise Conflict if a restored item is no longer kept: its files may be removed too."""
    if ITEM_RESTORED_BY in item["properties"] and not is_kept:
        raise Conflict(
            f"The version of {item['collection']}/{item['id']} that run {run_of(item)} published "
            "is not kept any more.",
            remedy="geo-platform versions lists the kept versions. Or ingest the source again.",
        )


def check_published(
    present: Document | None, collection: str, item_id: str, published: str
) -> Document:
    """Return the item to unpublish.

    Raises SourceNotFound: it is not published.
    Raises Conflict: its fingerprint is not `published`.
    """
    if present is None:
        raise SourceNotFound(
            f"No item {collection}/{item_id} is published.",
            remedy="geo-platform list shows the published items.",
        )
    if fingerprint_of(present) != published:
        raise Conflict(
            f"The item {collection}/{item_id} is at version {fingerprint_of(present) or 'none'}, "
            f"not at {published}.",
            remedy="Another run published it meanwhile. Look at it, then try again.",
        )
    return present


def is_same_version(one: Document, other: Document) -> bool:
    """Whether both have the same fingerprint and were published by the same run."""
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
