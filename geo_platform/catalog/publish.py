"""Publish an item: the last stage of both chains (a chain is the sequence of stages of a job).

The stage builds the item, validates it and passes it to the catalog, unless this version of the
item is published already. A version is identified by its fingerprint: a hash of the source's etag,
the options and the versions of the stages. `raster_item.py` and `vector_item.py` build the items.

Used by `catalog`, `chains` and `cli`.
"""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from geo_platform.catalog.naming import item_place, place_of_load
from geo_platform.catalog.provenance import Provenance, software_versions
from geo_platform.catalog.validate import collection_faults, item_faults
from geo_platform.contracts.arrival import ObjectArrived
from geo_platform.contracts.publication import ItemPublished
from geo_platform.contracts.raster import CogStored
from geo_platform.contracts.vector import FeaturesLoaded
from geo_platform.errors import CatalogRejected, Conflict, SourceNotFound
from geo_platform.fingerprint import Recipe
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

if TYPE_CHECKING:
    import pystac

# Modules that import pystac are imported in the functions that build an item. The command line
# imports this module, and does not need pystac to find that an item is published already.

BuildItem = Callable[[Provenance], "pystac.Item"]


def publish_raster(
    stored: CogStored,
    options: ItemOptions,
    catalog: Catalog,
    objects: ObjectStore,
    *,
    recipe: Recipe,
    run_id: str,
) -> ItemPublished:
    """Publish the item of a raster, unless this version of the item is published and complete.

    Complete means that the files of the item exist.
    Raises CatalogRejected: the item is not valid STAC, or the catalog returns other properties
    after the publication.
    Raises Conflict: the item id belongs to another source, another run published it at the same
    time, the source was replaced since it arrived, or a file of the item was removed.
    Raises StoreUnavailable, StoreDenied, DatabaseUnavailable: the store or database does not answer
    or refuses access.
    """
    fingerprint = recipe.extend(stored.fingerprint, options.model_dump(mode="json"))

    def build(provenance: Provenance) -> "pystac.Item":
        from geo_platform.catalog.raster_item import build_raster_item

        return build_raster_item(stored, options, provenance)

    request = ItemRequest(
        source=stored.source,
        place=item_place(stored.source, options),
        fingerprint=fingerprint,
        run_id=run_id,
        outputs={cog.sha256 for cog in stored.cogs},
    )
    return publish_item(request, build, catalog, objects)


def publish_vector(
    loaded: FeaturesLoaded,
    options: ItemOptions,
    catalog: Catalog,
    objects: ObjectStore,
    *,
    recipe: Recipe,
    run_id: str,
) -> ItemPublished:
    """Publish the item of a vector source with all its datasets, and their tables if it has any.

    Nothing is done if this version of the item and the tables is published and the files exist.
    Raises CatalogRejected: the item is not valid STAC, or the catalog returns other properties
    after the publication.
    Raises Conflict: the item id or a table belongs to another source, another run published it at
    the same time, the source was replaced since it arrived, or a file of the item was removed.
    Raises StoreUnavailable, StoreDenied, DatabaseUnavailable: the store or database does not answer
    or refuses access.
    """
    fingerprint = recipe.extend(loaded.fingerprint, options.model_dump(mode="json"))

    def build(provenance: Provenance) -> "pystac.Item":
        from geo_platform.catalog.vector_item import build_vector_item

        return build_vector_item(loaded, options, provenance)

    request = ItemRequest(
        source=loaded.source,
        place=place_of_load(loaded, options),
        fingerprint=fingerprint,
        run_id=run_id,
        outputs={
            output
            for dataset in loaded.datasets
            for output in (dataset.sha256, dataset.table.version if dataset.table else None)
            if output
        },
    )
    return publish_item(request, build, catalog, objects)


def find_published(
    catalog: Catalog,
    collection: str,
    item_id: str,
    fingerprint: str,
    objects: ObjectStore | None = None,
) -> ItemPublished | None:
    """Return the message about the published item if it has this fingerprint, else None.

    If `objects` is given, also return None if a file of the item is missing.
    Raises CatalogRejected: the published item is not valid.
    Raises StoreUnavailable, StoreDenied, DatabaseUnavailable: the store or database does not answer
    or refuses access.
    """
    item = catalog.item(collection, item_id)
    if item is None or item["properties"].get(ITEM_FINGERPRINT) != fingerprint:
        return None
    if objects is not None and missing_objects(item, objects):
        return None
    return published_message(item, replaced=None, was_unchanged=True)


@dataclass(frozen=True)
class ItemRequest:
    """The item to publish. `place` is (collection id, item id).

    `outputs` are the SHA-256 digests of the data files and the versions of the tables.
    """

    source: ObjectArrived
    place: tuple[str, str]
    fingerprint: str
    run_id: str
    outputs: AbstractSet[str]


def publish_item(
    request: ItemRequest, build_item: BuildItem, catalog: Catalog, objects: ObjectStore
) -> ItemPublished:
    """Build, validate and publish an item, unless this version of the item is published already.

    `build_item` is called only if the item has to be published.
    Raises the errors of `publish_raster`, for the same reasons.
    """
    collection_id, item_id = request.place
    before = catalog.item(collection_id, item_id)
    if not request.source.force:
        unchanged = _unchanged(request, catalog, objects)
        if unchanged is not None:
            return report_published(unchanged)
    collection, item = _build(request, build_item, before)
    _check_valid(collection, item)
    _check_objects(item, objects)
    # The source is checked after `before` was read. If a run of a newer source published before
    # this check, the check fails. If it publishes after the check, the published fingerprint is not
    # `replaces` any more. Therefore the item of an older source never replaces that of a newer one.
    check_current(objects, request.source)
    replaces = None if before is None else before["properties"].get(ITEM_FINGERPRINT)
    try:
        catalog.publish(collection, item, replaces=replaces)
    except Conflict:
        # Another run of the same source and recipe may have published the same item first. Its
        # tables are other versions with the same rows; those of this run are not published.
        published = find_published(catalog, *request.place, request.fingerprint, objects)
        if published is None:
            raise
        return report_published(published)
    after = read_back(catalog, item)
    return report_published(published_message(after, replaced=replaces, was_unchanged=False))


def _build(
    request: ItemRequest, build_item: BuildItem, before: dict[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the documents of the collection and the item, for `Catalog.publish`."""
    from geo_platform.catalog.item import build_collection, to_document

    now = datetime.now(UTC)
    created = before["properties"].get("created") if before else None
    provenance = Provenance(
        run_id=request.run_id,
        fingerprint=request.fingerprint,
        published_at_utc=now,
        created_utc=datetime.fromisoformat(created) if created else now,
        software=software_versions(request.source.kind),
        before=before,
    )
    item = build_item(provenance)
    return to_document(build_collection(item)), to_document(item)


def read_back(catalog: Catalog, item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the item from the catalog after it was published.

    Raises CatalogRejected: the catalog has no such item, or its properties differ from those of
    `item`.
    """
    collection_id, item_id = str(item["collection"]), str(item["id"])
    after = catalog.item(collection_id, item_id)
    if after is None or after["properties"] != item["properties"]:
        raise CatalogRejected(
            f"The item {collection_id}/{item_id} reads back differently from what was published."
        )
    return after


def report_published(published: ItemPublished) -> ItemPublished:
    """Log the checkpoint ITEM_PUBLISHED or ITEM_UNCHANGED, and return the message unchanged."""
    report(
        Checkpoint.ITEM_UNCHANGED if published.was_unchanged else Checkpoint.ITEM_PUBLISHED,
        f"{published.collection}/{published.item_id}",
        collection=published.collection,
        item_id=published.item_id,
        replaced_version=published.replaced_version,
    )
    return published


def _unchanged(
    request: ItemRequest, catalog: Catalog, objects: ObjectStore
) -> ItemPublished | None:
    """Return the message about the published item if it has the requested outputs and all files."""
    published = find_published(catalog, *request.place, request.fingerprint, objects)
    item = catalog.item(*request.place) if published else None
    if item is None:
        return None
    assets = item["assets"].values()
    # A checksum is a multihash: a prefix of two bytes (four hex digits), then the SHA-256.
    item_outputs = {str(asset["file:checksum"])[4:] for asset in assets if "file:checksum" in asset}
    item_outputs |= {
        str(asset[ASSET_TABLE_VERSION]) for asset in assets if ASSET_TABLE_VERSION in asset
    }
    return published if item_outputs == request.outputs else None


def _check_valid(collection: dict[str, Any], item: dict[str, Any]) -> None:
    """Raise CatalogRejected if a document is invalid, with every fault of both documents."""
    faults = [*item_faults(item), *collection_faults(collection)]
    if faults:
        raise CatalogRejected(
            f"The item {item['id']} is not valid STAC: {'; '.join(faults)}.", faults=faults
        )


def missing_objects(item: Mapping[str, Any], objects: ObjectStore) -> list[str]:
    """Return `container/key` of each object of the item that does not exist in the store.

    An object counts as missing if its size or checksum differs from that in the item.
    """
    stored = [
        asset
        for asset in item["assets"].values()
        if ASSET_CONTAINER in asset and ASSET_KEY in asset
    ]
    return [
        f"{asset[ASSET_CONTAINER]}/{asset[ASSET_KEY]}"
        for asset in stored
        if not _exists(asset, objects)
    ]


def _check_objects(item: Mapping[str, Any], objects: ObjectStore) -> None:
    missing = missing_objects(item, objects)
    if missing:
        raise Conflict(
            f"Files of the item were removed before it was published: {', '.join(missing)}.",
            remedy="Submit it again.",
        )


def _exists(asset: Mapping[str, Any], objects: ObjectStore) -> bool:
    try:
        stored = objects.stat(asset[ASSET_CONTAINER], asset[ASSET_KEY])
    except SourceNotFound:
        return False
    checksum, sha256 = asset.get("file:checksum"), stored.metadata.get("sha256")
    differs = checksum is not None and sha256 is not None and not checksum.endswith(sha256)
    return stored.reference.size_bytes == asset.get("file:size") and not differs


def published_message(
    item: Mapping[str, Any], *, replaced: str | None, was_unchanged: bool
) -> ItemPublished:
    """Return the message about a published item. `item` is the document from the catalog.

    `replaced` is the fingerprint of the replaced version, or None.
    """
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
        file_assets=tuple(name for name, asset in item["assets"].items() if ASSET_KEY in asset),
    )
