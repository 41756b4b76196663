"""Which adapters a profile means: the one place where settings become stores.

What belongs here: composition. What stays out: what the adapters do. Connecting is left to a store's first use, and a
profile's libraries are imported when it is chosen: the embedded one needs neither Azure's nor PostgreSQL's.

The inventory of a home whose datasets are files: there is no database to look into.
"""

from collections.abc import Iterator

from geo_platform.errors import ParameterInvalid
from geo_platform.ports import (
    Catalog,
    FeatureStore,
    Inventory,
    MessageQueue,
    ObjectStore,
    StoredTable,
)
from geo_platform.settings import Profile, Settings


class NoTables:
    """Implements `ports.Inventory` where datasets are files."""

    def tables(self) -> Iterator[StoredTable]:
        return iter(())

    def drop_staged(self, name: str, run_id: str) -> bool:
        return False

    def was_withdrawn(self, collection: str, item_id: str) -> bool:
        return False


def open_objects(settings: Settings, *, retries: int = 3) -> ObjectStore:
    """Raises StoreDenied where a setting is missing. `retries` of requests to an account that does not answer."""
    if settings.profile is Profile.production:
        from geo_platform.storage.azure.account import blob_service
        from geo_platform.storage.azure.blob import AzureBlobStore

        service, prefix = blob_service(settings, retries=retries), settings.blob_container_prefix
        return AzureBlobStore(service, container_prefix=prefix, scratch=settings.scratch_dir)
    from geo_platform.storage.local.folder import FolderStore

    return FolderStore(settings.store_dir)


def open_features(settings: Settings, *, run_id: str = "") -> FeatureStore:
    """For a run, whose id its connections carry. Raises StoreDenied where a setting is missing."""
    if settings.profile is Profile.production:
        from geo_platform.storage.postgres.connections import database_of
        from geo_platform.storage.postgres.postgis import PostgisFeatures

        return PostgisFeatures(
            database_of(settings, run_id=run_id), connections=settings.load_connections
        )
    from geo_platform.storage.local.geoparquet import GeoParquetLake

    return GeoParquetLake(open_objects(settings))


def open_catalog(settings: Settings, *, run_id: str = "") -> Catalog:
    """For a run, whose id its connections carry. Raises StoreDenied where a setting is missing."""
    if settings.profile is Profile.production:
        from geo_platform.storage.postgres.connections import database_of
        from geo_platform.storage.postgres.pgstac import PgStac

        return PgStac(database_of(settings, run_id=run_id), root_href=settings.stac_url)
    from geo_platform.storage.local.stac_files import StacFiles

    return StacFiles(settings.catalog_dir)


def open_inventory(settings: Settings, *, run_id: str = "") -> Inventory:
    """What lies in the database; where datasets are files, nothing. Raises StoreDenied where a setting is missing."""
    if settings.profile is Profile.production:
        from geo_platform.storage.postgres.connections import database_of
        from geo_platform.storage.postgres.postgis_inventory import PostgisInventory

        return PostgisInventory(database_of(settings, run_id=run_id))

    return NoTables()


def open_queue(settings: Settings) -> MessageQueue | None:
    """The queue of events; None where the settings name none. Raises StoreDenied where a setting is missing.

    Raises ParameterInvalid in the embedded profile: its objects are files, of which no storage account tells.
    """
    if settings.arrivals_queue is None:
        return None
    if settings.profile is not Profile.production:
        raise ParameterInvalid(
            "GEO_PLATFORM_ARRIVALS_QUEUE names a queue of a storage account, and the embedded profile has none.",
            remedy="Leave it unset: files are found by looking into the folder.",
        )
    from geo_platform.storage.azure.queue import AzureQueue, queue_service

    return AzureQueue(queue_service(settings), settings.arrivals_queue)


def account_url(settings: Settings) -> str | None:
    """The address of the storage account that holds the objects; None where they are files. Raises StoreDenied."""
    if settings.profile is not Profile.production:
        return None
    from geo_platform.storage.azure.account import blob_account

    return blob_account(settings).url
