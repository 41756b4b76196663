"""Undo a publication: unpublish an item, or publish an earlier version of it again.

The catalog keeps a version that was replaced or unpublished, with its table. `versions.py` chooses
the version for a rollback.

Called by `assets/report.py` and `assets/undo.py`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from geo_platform.catalog.publish import (
    missing_objects,
    published_message,
    read_back,
    report_published,
)
from geo_platform.catalog.versions import is_of_run, restored_item, version_to_restore
from geo_platform.contracts.publication import ItemPublished
from geo_platform.errors import Conflict, SourceNotFound
from geo_platform.ports import ITEM_FINGERPRINT, ITEM_RESTORED_BY, ITEM_RUN_ID, Catalog, ObjectStore
from geo_platform.telemetry.checkpoints import Checkpoint, report


@dataclass(frozen=True)
class ItemWithdrawn:
    """The item that was unpublished.

    `rollback_item` can publish it again while the catalog keeps it.
    """

    collection: str
    item_id: str
    fingerprint: str
    run_id: str


def unpublish_item(
    catalog: Catalog, collection: str, item_id: str, *, run: str | None
) -> ItemWithdrawn:
    """Unpublish the item. If `run` is given, only if this run published or restored the item.

    Raises SourceNotFound: the item is not published.
    Raises Conflict: another run published the item, or publishes it at the same time.
    Raises CatalogRejected: the published item is not valid.
    Raises StoreUnavailable, StoreDenied, DatabaseUnavailable: the store or database does not answer
    or refuses access.
    """
    item = catalog.item(collection, item_id)
    if item is None:
        raise SourceNotFound(
            f"No item {collection}/{item_id} is published.",
            remedy="geo-platform list shows the published items.",
        )
    properties = item["properties"]
    run_id = str(properties.get(ITEM_RUN_ID, ""))
    if run is not None and not is_of_run(item, run):
        raise Conflict(
            f"The item {collection}/{item_id} is what run {run_id} published, not run {run}.",
            remedy="Name that run, or no run.",
        )
    fingerprint = str(properties.get(ITEM_FINGERPRINT, ""))
    catalog.unpublish(collection, item_id, published=fingerprint)
    report(
        Checkpoint.ITEM_UNPUBLISHED,
        f"{collection}/{item_id}",
        collection=collection,
        item_id=item_id,
        fingerprint=fingerprint,
    )
    return ItemWithdrawn(collection, item_id, fingerprint, run_id)


def rollback_item(
    catalog: Catalog,
    objects: ObjectStore,
    collection: str,
    item_id: str,
    *,
    to_run: str | None,
    run_id: str,
) -> ItemPublished:
    """Publish an earlier version of the item again.

    The version is that of the run `to_run`; if `to_run` is None, the version before the published
    one. `run_id` is the run that does the rollback. If this run has restored the item already, for
    example before a retry, nothing is done.
    Raises SourceNotFound: the catalog keeps no such version, or a file of the version was removed.
    Raises Conflict: the version is published already, or another run publishes at the same time.
    Raises CatalogRejected: an item is not valid, or the catalog returns other properties after the
    publication.
    Raises StoreUnavailable, StoreDenied, DatabaseUnavailable: the store or database does not answer
    or refuses access.
    """
    published_item = catalog.item(collection, item_id)
    if published_item is not None and published_item["properties"].get(ITEM_RESTORED_BY) == run_id:
        return published_message(published_item, replaced=None, was_unchanged=False)
    version = version_to_restore(
        f"{collection}/{item_id}",
        published_item,
        list(catalog.versions(collection, item_id)),
        to_run,
    )
    missing = missing_objects(version.item, objects)
    if missing:
        raise SourceNotFound(
            f"The version of {collection}/{item_id} that run {version.run_id} published cannot be "
            f"restored. These files are not in the store, or differ: {', '.join(missing)}.",
            remedy="Ingest the source again, or roll back to another version.",
        )
    item = restored_item(version, run_id=run_id, now_utc=datetime.now(UTC))
    replaces = (
        None if published_item is None else published_item["properties"].get(ITEM_FINGERPRINT)
    )
    document = catalog.collection(collection) or _collection_of(item)
    catalog.publish(document, item, replaces=replaces)
    after = read_back(catalog, item)
    return report_published(published_message(after, replaced=replaces, was_unchanged=False))


def _collection_of(item: dict[str, Any]) -> dict[str, Any]:
    """Return the document of a new collection, for an item whose collection was removed."""
    # Imported here, because importing pystac takes about 0.2 s and this case is rare.
    import pystac

    from geo_platform.catalog.item import build_collection, to_document

    # The collection does not need the links of the item, and pystac would rewrite its self link.
    parsed = pystac.Item.from_dict({**item, "links": []}, migrate=False)
    return to_document(build_collection(parsed))
