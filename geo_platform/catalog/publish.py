"""The last stage of both chains: an item is built, validated and published, or found to be published already.

What belongs here: the order of these steps. What stays out: what items say, how a catalog keeps them.
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from geo_platform.catalog.collection import build_collection
from geo_platform.catalog.provenance import ASSET_CONTAINER, ASSET_KEY, Provenance, item_place, software_versions
from geo_platform.catalog.raster_item import build_raster_item
from geo_platform.catalog.validate import collection_faults, item_faults
from geo_platform.catalog.vector_item import build_vector_item
from geo_platform.contracts.arrival import ObjectArrived
from geo_platform.contracts.publication import ItemPublished
from geo_platform.contracts.raster import CogStored
from geo_platform.contracts.vector import FeaturesLoaded
from geo_platform.errors import CatalogRejected, Conflict, SourceNotFound
from geo_platform.fingerprint import extend
from geo_platform.options import ItemOptions
from geo_platform.ports import ITEM_FINGERPRINT, ITEM_RUN_ID, Catalog, ObjectStore

Build = Callable[[Provenance], dict[str, Any]]


def publish_raster(stored: CogStored, options: ItemOptions, catalog: Catalog, objects: ObjectStore, *, run_id: str) -> ItemPublished:
    """Publish the item of a raster, unless this very version of it is published and its files are there.

    Raises CatalogRejected (no valid STAC), Conflict (another source or run holds the item id), StoreUnavailable.
    """
    fingerprint = extend(stored.fingerprint, "raster_item", options.model_dump(mode="json"))
    made = {cog.sha256 for cog in stored.cogs}

    def build(provenance: Provenance) -> dict[str, Any]:
        return build_raster_item(stored, options, provenance)

    return _publish(_Request(stored.source, options, fingerprint, run_id, made), build, catalog, objects)


def publish_vector(loaded: FeaturesLoaded, options: ItemOptions, catalog: Catalog, objects: ObjectStore, *, run_id: str) -> ItemPublished:
    """Publish the item of a vector dataset, unless this very version of it is published and its files are there.

    Raises CatalogRejected (no valid STAC), Conflict (another source or run holds the item id), StoreUnavailable.
    """
    fingerprint = extend(loaded.fingerprint, "vector_item", options.model_dump(mode="json"))
    made = {loaded.sha256} if loaded.sha256 else set()

    def build(provenance: Provenance) -> dict[str, Any]:
        return build_vector_item(loaded, options, provenance)

    return _publish(_Request(loaded.source, options, fingerprint, run_id, made), build, catalog, objects)


def find_published(
    catalog: Catalog, collection: str, item_id: str, fingerprint: str, objects: ObjectStore | None = None
) -> ItemPublished | None:
    """What was answered the first time, where this version is published; with `objects`, only where its files are there too."""
    item = catalog.item(collection, item_id)
    if item is None or item["properties"].get(ITEM_FINGERPRINT) != fingerprint:
        return None
    if objects is not None and not all(_is_there(asset, objects) for asset in item["assets"].values()):
        return None
    return _answer(item, replaced=None, was_unchanged=True)


@dataclass(frozen=True)
class _Request:
    """What is to be published. `made` are the SHA-256 of the data files that the item will name."""

    source: ObjectArrived
    options: ItemOptions
    fingerprint: str
    run_id: str
    made: AbstractSet[str]


def _publish(request: _Request, build: Build, catalog: Catalog, objects: ObjectStore) -> ItemPublished:
    collection_id, item_id = item_place(request.source, request.options)
    before = catalog.item(collection_id, item_id)
    if not request.source.force:
        unchanged = _unchanged(request, catalog, objects)
        if unchanged is not None:
            return unchanged
    item = build(_provenance(request, before))
    collection = build_collection(collection_id, request.source.kind, item)
    _check_valid(collection, item)
    replaces = None if before is None else before["properties"].get(ITEM_FINGERPRINT)
    try:
        catalog.publish(collection, item, replaces=replaces)
    except Conflict:
        published = _unchanged(request, catalog, objects)  # another run of the same source and recipe was faster
        if published is None:
            raise
        return published
    after = catalog.item(collection_id, item_id)
    if after is None or after["properties"] != item["properties"]:
        raise CatalogRejected(f"The item {collection_id}/{item_id} reads back otherwise than it was published.")
    return _answer(after, replaced=replaces, was_unchanged=False)


def _unchanged(request: _Request, catalog: Catalog, objects: ObjectStore) -> ItemPublished | None:
    """The published answer, where the files that it names are those that were just made and are there."""
    collection_id, item_id = item_place(request.source, request.options)
    published = find_published(catalog, collection_id, item_id, request.fingerprint, objects)
    item = catalog.item(collection_id, item_id) if published else None
    if item is None:
        return None
    named = {str(asset["file:checksum"])[4:] for asset in item["assets"].values() if "file:checksum" in asset}
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
    )


def _check_valid(collection: dict[str, Any], item: dict[str, Any]) -> None:
    faults = [*item_faults(item), *collection_faults(collection)]
    if faults:
        raise CatalogRejected(f"The item {item['id']} is no valid STAC: {'; '.join(faults)}.", faults=faults)


def _is_there(asset: dict[str, Any], objects: ObjectStore) -> bool:
    container, key = asset.get(ASSET_CONTAINER), asset.get(ASSET_KEY)
    if container is None or key is None:
        return True  # not an object of the store
    try:
        stored = objects.stat(container, key)
    except SourceNotFound:
        return False
    return stored.reference.size_bytes == asset.get("file:size")


def _answer(item: dict[str, Any], *, replaced: str | None, was_unchanged: bool) -> ItemPublished:
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
