"""The production stores: Azure Blob Storage, PostGIS, pgSTAC.

What belongs here: the call that makes each adapter, with what a run has to say of itself. What stays out: the adapters.
Addresses and secrets are read from the settings when a run starts, so that loading the definitions needs none of them.
"""

from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import Self

import dagster as dg
from azure.storage.blob import BlobServiceClient
from dagster_azure.blob import (
    AzureBlobStorageDefaultCredential,
    AzureBlobStorageKeyCredential,
    AzureBlobStorageResource,
    AzureBlobStorageSASTokenCredential,
)
from pydantic import PrivateAttr

from geo_platform.ports import Catalog, FeatureStore, ObjectStore
from geo_platform.settings import load_settings
from geo_platform.storage.azure.account import CredentialKind, blob_account, blob_service
from geo_platform.storage.azure.blob import AzureBlobStore
from geo_platform.storage.postgres.connections import (
    KeptConnections,
    database_of,
    default_application_name,
)
from geo_platform.storage.postgres.pgstac import PgStac
from geo_platform.storage.postgres.postgis import PostgisFeatures
from geo_platform.storage.traced import TracedCatalog, TracedFeatures, TracedObjects
from resources.dagster_connections import keep_connections
from resources.stores import run_id_of

_CREDENTIALS = {
    CredentialKind.key: AzureBlobStorageKeyCredential,
    CredentialKind.sas: AzureBlobStorageSASTokenCredential,
    CredentialKind.identity: AzureBlobStorageDefaultCredential,
}


class BlobAccountOfSettings(AzureBlobStorageResource):
    """dagster-azure's resource for the account that the settings mean.

    It shows the account and the kind of credential and holds no secret: that is opened where the client is made, by the
    platform's own rules (`storage/azure/account.py`), with retries that dagster-azure's resource has no field for. In a run
    every request carries the run's id.
    """

    _run: str = PrivateAttr("")

    @classmethod
    def read(cls) -> Self:
        """As the settings are now. Raises StoreDenied where they mean no account."""
        account = blob_account(load_settings())
        return cls(account_url=account.url, credential=_CREDENTIALS[account.kind]())

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        self._run = run_id_of(context)

    @contextmanager
    def get_client(self) -> Generator[BlobServiceClient, None, None]:
        with blob_service(load_settings(), run_id=self._run) as service:
            yield service


class BlobObjects(dg.ConfigurableResource[ObjectStore]):
    """Objects in Azure Blob Storage: one client and one folder of downloads for a run, both gone at its end."""

    def create_resource(self, context: dg.InitResourceContext) -> ObjectStore:
        raise NotImplementedError(
            "the store is closed at the end of a run, so it is only to be had in its context"
        )

    @contextmanager
    def yield_for_execution(
        self, context: dg.InitResourceContext
    ) -> Generator[ObjectStore, None, None]:
        settings, account = load_settings(), BlobAccountOfSettings.read()
        account.setup_for_execution(context)
        with account.get_client() as service:
            prefix, scratch = settings.blob_container_prefix, settings.scratch_dir
            with closing(
                AzureBlobStore(service, container_prefix=prefix, scratch=scratch)
            ) as objects:
                yield TracedObjects(objects, run_id=run_id_of(context))


class PostgisTables(dg.ConfigurableResource[FeatureStore]):
    """Features in PostGIS tables. Connections stay open until the end of a run."""

    def create_resource(self, context: dg.InitResourceContext) -> FeatureStore:
        return self._tables(context, None)

    @contextmanager
    def yield_for_execution(
        self, context: dg.InitResourceContext
    ) -> Generator[FeatureStore, None, None]:
        with closing(KeptConnections()) as kept:
            yield self._tables(context, kept)

    def _tables(
        self, context: dg.InitResourceContext, kept: KeptConnections | None
    ) -> FeatureStore:
        settings = load_settings()
        run_id = run_id_of(context)
        tables = PostgisFeatures(
            database_of(settings, run_id=run_id, kept=kept), connections=settings.load_connections
        )
        return TracedFeatures(tables, run_id=run_id)


class PgStacCatalog(dg.ConfigurableResource[Catalog]):
    """The catalog in pgSTAC, in the same database as the tables, so that both are published in one transaction.

    While a run has it, Dagster's own connections of this process carry the run's name too, and the catalog's stay open.
    """

    def create_resource(self, context: dg.InitResourceContext) -> Catalog:
        return self._catalog(context, None)

    def _catalog(self, context: dg.InitResourceContext, kept: KeptConnections | None) -> Catalog:
        settings = load_settings()
        run_id = run_id_of(context)
        return TracedCatalog(
            PgStac(database_of(settings, run_id=run_id, kept=kept), root_href=settings.stac_url),
            run_id=run_id,
        )

    @contextmanager
    def yield_for_execution(
        self, context: dg.InitResourceContext
    ) -> Generator[Catalog, None, None]:
        with default_application_name(run_id_of(context)), closing(KeptConnections()) as kept:
            if context.instance is not None:
                keep_connections(context.instance)
            yield self._catalog(context, kept)
