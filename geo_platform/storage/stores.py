"""Create the stores that the settings select: Azure and PostgreSQL in production, else local files.

A store connects at its first use, not when it is created. The libraries of Azure and PostgreSQL are
imported only in the production profile.

Used throughout the application.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

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
from geo_platform.storage.gdal_sources import GdalSources
from geo_platform.trace.sources import ProvenanceReader

if TYPE_CHECKING:
    from geo_platform.storage.postgres.connections import KeptConnections


def open_objects(settings: Settings, *, retries: int = 3) -> ObjectStore:
    """Return the object store.

    `retries` is how often a request is repeated when a storage account does not answer.
    Raises StoreDenied: a setting of the storage account is missing or malformed.
    """
    if settings.profile is Profile.production:
        from geo_platform.storage.azure.account import blob_service
        from geo_platform.storage.azure.blob import AzureBlobStore

        service, prefix = blob_service(settings, retries=retries), settings.blob_container_prefix
        return AzureBlobStore(service, container_prefix=prefix, scratch=settings.scratch_dir)
    from geo_platform.storage.local.folder import FolderStore

    return FolderStore(settings.store_dir)


def open_features(settings: Settings, *, run_id: str = "") -> FeatureStore:
    """Return the feature store.

    Its database connections show `run_id` in their application name.
    Raises StoreDenied: a setting of a store is missing or malformed.
    """
    if settings.profile is Profile.production:
        from geo_platform.storage.postgres.connections import database_of
        from geo_platform.storage.postgres.postgis import PostgisFeatures

        return PostgisFeatures(
            database_of(settings, run_id=run_id), connections=settings.load_connections
        )
    from geo_platform.storage.local.geoparquet import GeoParquetLake

    return GeoParquetLake(open_objects(settings))


def open_catalog(
    settings: Settings, *, run_id: str = "", kept: "KeptConnections | None" = None
) -> Catalog:
    """Return the catalog.

    Its database connections show `run_id` in their application name, and are reused with `kept`.
    Raises StoreDenied: the setting of the database is missing or malformed.
    """
    if settings.profile is Profile.production:
        from geo_platform.storage.postgres.connections import database_of
        from geo_platform.storage.postgres.pgstac import PgStac

        database = database_of(settings, run_id=run_id, kept=kept)
        return PgStac(database, root_href=settings.stac_url)
    from geo_platform.storage.local.stac_files import StacFiles

    return StacFiles(settings.catalog_dir)


def open_inventory(settings: Settings, *, run_id: str = "") -> Inventory:
    """Return the inventory of the database, which is empty in the embedded profile.

    Raises StoreDenied: the setting of the database is missing or malformed.
    """
    if settings.profile is Profile.production:
        from geo_platform.storage.postgres.connections import database_of
        from geo_platform.storage.postgres.postgis_inventory import PostgisInventory

        return PostgisInventory(database_of(settings, run_id=run_id))
    return EmptyInventory()


def open_queue(settings: Settings) -> MessageQueue | None:
    """Return the queue of storage events, or None if the settings name no queue.

    Raises StoreDenied: a setting of the storage account is missing or malformed. ParameterInvalid:
    the profile is embedded, which has no storage account that sends events.
    """
    if settings.arrivals_queue is None:
        return None
    if settings.profile is not Profile.production:
        raise ParameterInvalid(
            "GEO_PLATFORM_ARRIVALS_QUEUE names a queue of a storage account, and the embedded "
            "profile has none.",
            remedy="Leave it unset: new files are found by listing the folder.",
        )
    from geo_platform.storage.azure.queue import AzureQueue, queue_service

    return AzureQueue(queue_service(settings), settings.arrivals_queue)


def account_url(settings: Settings) -> str | None:
    """Return the URL of the storage account, or None in the embedded profile.

    Raises StoreDenied: a setting of the storage account is missing or malformed.
    """
    if settings.profile is not Profile.production:
        return None
    from geo_platform.storage.azure.account import blob_account

    return blob_account(settings).url


@dataclass(frozen=True)
class HomeStores:
    """The stores of one home, each created at its first use."""

    settings: Settings

    @cached_property
    def objects(self) -> ObjectStore:
        return open_objects(self.settings)

    @cached_property
    def gdal_sources(self) -> GdalSources:
        return GdalSources(self.settings, self.objects)

    @cached_property
    def catalog(self) -> Catalog:
        return open_catalog(self.settings)

    @property
    def provenance(self) -> Callable[[], ProvenanceReader] | None:
        """A function that opens the database's record of publications, or None in embedded."""
        if self.settings.profile is not Profile.production:
            return None

        def open_provenance() -> ProvenanceReader:
            from geo_platform.storage.postgres.connections import database_of
            from geo_platform.storage.postgres.provenance import PostgresProvenance

            return PostgresProvenance(database_of(self.settings))

        return open_provenance


class EmptyInventory:
    """Implements `ports.Inventory` for the embedded profile, which has no database."""

    def tables(self) -> Iterator[StoredTable]:
        return iter(())

    def drop_staged(self, name: str, run_id: str) -> bool:
        return False

    def was_withdrawn(self, collection: str, item_id: str) -> bool:
        return False
