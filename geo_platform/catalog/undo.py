"""Undoing a publication: taking an item away, and bringing an earlier version back.

What belongs here: the order of looking, checking and asking the catalog. What stays out: which version is meant (`history.py`),
how a catalog keeps versions and tables.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from geo_platform.catalog.collection import build_collection
from geo_platform.catalog.history import is_of_run, restored_item, version_to_restore
from geo_platform.catalog.publish import answer, missing_objects, report_published
from geo_platform.contracts.arrival import SourceKind
from geo_platform.contracts.publication import ItemPublished
from geo_platform.errors import CatalogRejected, Conflict, SourceNotFound
from geo_platform.ports import ITEM_FINGERPRINT, ITEM_RESTORED_BY, ITEM_RUN_ID, Catalog, ObjectStore
from geo_platform.telemetry.checkpoints import Checkpoint, report


@dataclass(frozen=True)
class ItemWithdrawn:
    """What was taken away, and can be brought back as long as it is kept."""

    collection: str
    item_id: str
    fingerprint: str
    run_id: str


def unpublish_item(
    catalog: Catalog, collection: str, item_id: str, *, run: str | None
) -> ItemWithdrawn:
    """Take the item out of what can be found, where it is what `run` published; without `run`, whoever published it.

    Raises SourceNotFound (there is no such item), Conflict (another run's is published), and what the catalog raises.
    """
    item = catalog.item(collection, item_id)
    if item is None:
        raise SourceNotFound(
            f"No item {collection}/{item_id} is published.",
            remedy="geo-platform list shows those that are.",
        )
    properties = item["properties"]
    if run is not None and not is_of_run(item, run):
        raise Conflict(
            f"The item {collection}/{item_id} is what run {properties.get(ITEM_RUN_ID)} published, not run {run}.",
            remedy="Name that run, or none.",
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
    return ItemWithdrawn(collection, item_id, fingerprint, str(properties.get(ITEM_RUN_ID, "")))


def rollback_item(
    catalog: Catalog,
    objects: ObjectStore,
    collection: str,
    item_id: str,
    *,
    to_run: str | None,
    run_id: str,
) -> ItemPublished:
    """Publish again what `to_run` had published; without it, the version before. `run_id` is the run that does it.

    Done already by this very run (a retry after the answer was lost), it is not done again. Raises SourceNotFound (no such
    version, or its files are gone), Conflict, CatalogRejected, and what the catalog raises.
    """
    present = catalog.item(collection, item_id)
    if present is not None and present["properties"].get(ITEM_RESTORED_BY) == run_id:
        return answer(present, replaced=None, was_unchanged=False)
    version = version_to_restore(
        f"{collection}/{item_id}", present, list(catalog.versions(collection, item_id)), to_run
    )
    missing = missing_objects(version.item, objects)
    if missing:
        raise SourceNotFound(
            f"What run {version.run_id} published of {collection}/{item_id} cannot be brought back: {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not in the store any more as it was.",
            remedy="Ingest the source again, or go back to another version.",
        )
    item = restored_item(version, run_id=run_id, now_utc=datetime.now(UTC))
    replaces = None if present is None else present["properties"].get(ITEM_FINGERPRINT)
    document = catalog.collection(collection) or _collection_of(item)
    catalog.publish(document, item, replaces=replaces)
    after = catalog.item(collection, item_id)
    if after is None or after["properties"] != item["properties"]:
        raise CatalogRejected(
            f"The item {collection}/{item_id} reads back otherwise than it was published."
        )
    return report_published(answer(after, replaced=replaces, was_unchanged=False))


def _collection_of(item: dict[str, Any]) -> dict[str, Any]:
    """For an item whose collection was removed since."""
    return build_collection(
        str(item["collection"]), SourceKind(item["properties"]["geo_platform:kind"]), item
    )
