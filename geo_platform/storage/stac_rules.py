"""Check whether a catalog may publish or unpublish an item: which version and source it replaces.

The present item is the one that is published under the same id. A fingerprint identifies the
content of an item. The checks of tables are in `postgres/pgstac_tables.py`.

Used by `storage/local` and `storage/postgres`.
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
    """Check that the item belongs to the collection.

    Raises CatalogRejected: the item names another collection.
    """
    if item.get("collection") != collection["id"]:
        raise CatalogRejected(
            f"The item {item['id']} names collection {item.get('collection')!r}, "
            f"not {collection['id']!r}."
        )


def check_replaces(present: Document | None, item: Document, replaces: str | None) -> None:
    """Check that the item may replace the present item.

    `replaces` is the fingerprint that the caller expects the present item to have, or None if the
    caller expects no item.
    Raises Conflict: the present item was made from another source, or has another fingerprint. An
    appended or restored item may have another source.
    """
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
            remedy="Another run published the item meanwhile. Submit the job again.",
        )


def check_is_kept(item: Document, *, is_kept: bool) -> None:
    """Check that the version of a restored item is still kept.

    Raises Conflict: the item is restored and `is_kept` is False. Its files may be removed too.
    """
    if ITEM_RESTORED_BY in item["properties"] and not is_kept:
        raise Conflict(
            f"The version of {item['collection']}/{item['id']} that run {run_of(item)} published "
            "is not kept any more.",
            remedy="geo-platform versions lists the kept versions. Or ingest the source again.",
        )


def check_published(
    present: Document | None, collection: str, item_id: str, published: str
) -> Document:
    """Return the item to unpublish, which is `present`.

    Raises SourceNotFound: the item is not published. Conflict: its fingerprint is not `published`.
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
            remedy="Another run published the item meanwhile. Check it, then try again.",
        )
    return present


def is_same_version(first: Document, second: Document) -> bool:
    """Return whether two items have the same fingerprint and were published by the same run."""
    return fingerprint_of(first) == fingerprint_of(second) and run_of(first) == run_of(second)


def fingerprint_of(item: Document | None) -> str | None:
    return None if item is None else item["properties"].get(ITEM_FINGERPRINT)


def run_of(item: Document) -> str:
    return str(item["properties"].get(ITEM_RUN_ID, ""))


def source_of(item: Document) -> str:
    """Return container and key of the item's source, to compare and to name it in messages."""
    properties = item["properties"]
    return f"{properties.get(ITEM_SOURCE_CONTAINER, '')}/{properties.get(ITEM_SOURCE, '')}"


def _may_change_source(item: Document) -> bool:
    return (
        item["properties"].get(ITEM_LOAD_MODE) == "append" or ITEM_RESTORED_BY in item["properties"]
    )
