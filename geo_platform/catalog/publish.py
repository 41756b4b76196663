"""The last stage of both chains: an item is built, validated and published, or found to be published already.

What belongs here: the order of these steps. What stays out: what items say, how a catalog keeps them.
"""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from geo_platform.catalog.collection import build_collection
from geo_platform.catalog.provenance import Provenance, item_place, software_versions
from geo_platform.catalog.raster_item import build_raster_item
from geo_platform.catalog.validate import collection_faults, item_faults
from geo_platform.catalog.vector_item import build_vector_item, dataset_of
from geo_platform.contracts.arrival import ObjectArrived
from geo_platform.contracts.publication import ItemPublished
from geo_platform.contracts.raster import CogStored
from geo_platform.contracts.vector import FeaturesLoaded
from geo_platform.errors import CatalogRejected, Conflict, SourceNotFound
from geo_platform.fingerprint import extend
from geo_platform.options import ItemOptions
from geo_platform.ports import (
    ASSET_CONTAINER,
    ASSET_KEY,
    ASSET_TABLE_VERSION,
    ITEM_FINGERPRINT,
    ITEM_RUN_ID,
    Catalog,
    ObjectStore,
)
from geo_platform.source.arrival import check_current
from geo_platform.telemetry.checkpoints import Checkpoint, report

Build = Callable[[Provenance], dict[str, Any]]


def publish_raster(
    stored: CogStored, options: ItemOptions, catalog: Catalog, objects: ObjectStore, *, run_id: str
) -> ItemPublished:
    """Publish the item of a raster, unless this very version of it is published and its files are there.

    Raises CatalogRejected (no valid STAC), Conflict (another source or run holds the item id, or the source was replaced meanwhile),
    StoreUnavailable.
    """
    fingerprint = extend(stored.fingerprint, "raster_item", options.model_dump(mode="json"))
    made = {cog.sha256 for cog in stored.cogs}

    def build(provenance: Provenance) -> dict[str, Any]:
        return build_raster_item(stored, options, provenance)

    place = item_place(stored.source, options)
    return _publish(
        _Request(stored.source, place, fingerprint, run_id, made), build, catalog, objects
    )


def publish_vector(
    loaded: FeaturesLoaded,
    options: ItemOptions,
    catalog: Catalog,
    objects: ObjectStore,
    *,
    run_id: str,
) -> ItemPublished:
    """Publish the item of a vector dataset and its table, unless this very version of them is published and its files are there.

    Raises CatalogRejected (no valid STAC), Conflict (another source or run holds the item id or the table), StoreUnavailable,
    DatabaseUnavailable.
    """
    fingerprint = extend(loaded.fingerprint, "vector_item", options.model_dump(mode="json"))
    made = {made for made in (loaded.sha256, loaded.table and loaded.table.version) if made}

    def build(provenance: Provenance) -> dict[str, Any]:
        return build_vector_item(loaded, options, provenance)

    place = item_place(loaded.source, options, dataset=dataset_of(loaded))
    return _publish(
        _Request(loaded.source, place, fingerprint, run_id, made), build, catalog, objects
    )


def find_published(
    catalog: Catalog,
    collection: str,
    item_id: str,
    fingerprint: str,
    objects: ObjectStore | None = None,
) -> ItemPublished | None:
    """What was answered the first time, where this version is published; with `objects`, only where its files are there too."""
    item = catalog.item(collection, item_id)
    if item is None or item["properties"].get(ITEM_FINGERPRINT) != fingerprint:
        return None
    if objects is not None and missing_objects(item, objects):
        return None
    return answer(item, replaced=None, was_unchanged=True)


@dataclass(frozen=True)
class _Request:
    """What is to be published, and where: (collection, item id). `made`: SHA-256 of data files and versions of tables that it will name."""

    source: ObjectArrived
    place: tuple[str, str]
    fingerprint: str
    run_id: str
    made: AbstractSet[str]


def _publish(
    request: _Request, build: Build, catalog: Catalog, objects: ObjectStore
) -> ItemPublished:
    collection_id, item_id = request.place
    before = catalog.item(collection_id, item_id)
    if not request.source.force:
        unchanged = _unchanged(request, catalog, objects)
        if unchanged is not None:
            return report_published(unchanged)
    item = build(_provenance(request, before))
    collection = build_collection(collection_id, request.source.kind, item)
    _check_valid(collection, item)
    _check_there(item, objects)
    # After `before` was read: newer bytes whose run published before that are seen here, and one that publishes later makes
    # `replaces` untrue. So what was made of older bytes never replaces what was made of newer ones.
    check_current(objects, request.source)
    replaces = None if before is None else before["properties"].get(ITEM_FINGERPRINT)
    try:
        catalog.publish(collection, item, replaces=replaces)
    except Conflict:
        published = _unchanged(
            request, catalog, objects
        )  # another run of the same source and recipe was faster
        if published is None:
            raise
        return report_published(published)
    after = catalog.item(collection_id, item_id)
    if after is None or after["properties"] != item["properties"]:
        raise CatalogRejected(
            f"The item {collection_id}/{item_id} reads back otherwise than it was published."
        )
    return report_published(answer(after, replaced=replaces, was_unchanged=False))


def report_published(published: ItemPublished) -> ItemPublished:
    """Say that the catalog holds the item, read back, and hand the answer on."""
    report(
        Checkpoint.ITEM_UNCHANGED if published.was_unchanged else Checkpoint.ITEM_PUBLISHED,
        f"{published.collection}/{published.item_id}",
        collection=published.collection,
        item_id=published.item_id,
        replaced_version=published.replaced_version,
    )
    return published


def _unchanged(request: _Request, catalog: Catalog, objects: ObjectStore) -> ItemPublished | None:
    """The published answer, where the files that it names are those that were just made and are there."""
    published = find_published(catalog, *request.place, request.fingerprint, objects)
    item = catalog.item(*request.place) if published else None
    if item is None:
        return None
    named = {
        str(asset["file:checksum"])[4:]
        for asset in item["assets"].values()
        if "file:checksum" in asset
    }
    named |= {
        str(asset[ASSET_TABLE_VERSION])
        for asset in item["assets"].values()
        if ASSET_TABLE_VERSION in asset
    }
    return published if named == request.made else None


def _provenance(request: _Request, before: dict[str, Any] | None) -> Provenance:
    now = datetime.now(UTC)
    created = before["properties"].get("created") if before else None
    return Provenance(
        run_id=request.run_id,
        fingerprint=request.fingerprint,
        published_at_utc=now,
        created_utc=datetime.fromisoformat(created) if created else now,
        software=software_versions(request.source.kind),
        before=before,
    )


def _check_valid(collection: dict[str, Any], item: dict[str, Any]) -> None:
    """Raises CatalogRejected with every fault where either is no valid STAC."""
    faults = [*item_faults(item), *collection_faults(collection)]
    if faults:
        raise CatalogRejected(
            f"The item {item['id']} is no valid STAC: {'; '.join(faults)}.", faults=faults
        )


def missing_objects(item: Mapping[str, Any], objects: ObjectStore) -> list[str]:
    """Names of the objects that the item names and that are not in the store as it describes them."""
    named = [
        asset
        for asset in item["assets"].values()
        if ASSET_CONTAINER in asset and ASSET_KEY in asset
    ]
    return [
        f"{asset[ASSET_CONTAINER]}/{asset[ASSET_KEY]}"
        for asset in named
        if not _is_there(asset, objects)
    ]


def _check_there(item: Mapping[str, Any], objects: ObjectStore) -> None:
    missing = missing_objects(item, objects)
    if missing:
        raise Conflict(
            f"What is to be published was removed meanwhile: {', '.join(missing)}.",
            remedy="Submit it again.",
        )


def _is_there(asset: Mapping[str, Any], objects: ObjectStore) -> bool:
    try:
        stored = objects.stat(asset[ASSET_CONTAINER], asset[ASSET_KEY])
    except SourceNotFound:
        return False
    checksum, kept = asset.get("file:checksum"), stored.metadata.get("sha256")
    is_another = checksum is not None and kept is not None and not checksum.endswith(kept)
    return stored.reference.size_bytes == asset.get("file:size") and not is_another


def answer(item: Mapping[str, Any], *, replaced: str | None, was_unchanged: bool) -> ItemPublished:
    """The message about a published item, made of the item as the catalog hands it out."""
    properties = item["properties"]
    return ItemPublished(
        collection=item["collection"],
        item_id=item["id"],
        href=next(link["href"] for link in item["links"] if link["rel"] == "self"),
        published_at_utc=datetime.fromisoformat(properties["updated"]),
        run_id=properties[ITEM_RUN_ID],
        replaced_version=replaced,
        outputs=tuple(asset["href"] for asset in item["assets"].values()),
        was_unchanged=was_unchanged,
        fingerprint=properties[ITEM_FINGERPRINT],
    )
