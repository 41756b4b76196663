"""The production stores as resources: Azure Blob Storage, PostGIS, pgSTAC.

Addresses and secrets are read from the settings when a run starts, so that loading the definitions
needs none of them. A run's process also pools Dagster's own connections to PostgreSQL, and names
each after the run: docs/decisions/0015-dagsters-connections-are-kept-open.md.

Called by `stores.py`.
"""

import os
from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import Any, Self
from weakref import WeakSet

import dagster as dg
import sqlalchemy.event
import sqlalchemy.exc
import sqlalchemy.pool
from azure.storage.blob import BlobServiceClient
from dagster_azure.blob import (
    AzureBlobStorageDefaultCredential,
    AzureBlobStorageKeyCredential,
    AzureBlobStorageResource,
    AzureBlobStorageSASTokenCredential,
)
from pydantic import PrivateAttr

from geo_platform.dagster_internals import is_on_postgres, pool_connections
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
from resources.stores import run_id_of

# By default Dagster opens about 200 connections in a run, and PostgreSQL takes 10 to 15 ms to check
# a password each time: half of a small run. So they are pooled, as Dagster's webserver does.
_RECYCLE_S = 3600
_MAX_OVERFLOW = 10
_SET_NAME = "SELECT set_config('application_name', %s, false)"
_pooled_instances: WeakSet[dg.DagsterInstance] = WeakSet()


def keep_connections(instance: dg.DagsterInstance) -> None:
    """Pool the instance's connections in this process, once, if its storage is PostgreSQL."""
    if instance in _pooled_instances or not is_on_postgres(instance):
        return
    if not _pooled_instances:
        sqlalchemy.event.listen(sqlalchemy.pool.Pool, "checkout", _check_and_name)
    _pooled_instances.add(instance)
    pool_connections(instance, recycle_s=_RECYCLE_S, max_overflow=_MAX_OVERFLOW)


def _check_and_name(connection: Any, *_: object) -> None:
    """Name the connection after the run that uses it. If it is dead, the pool opens another one.

    The pool itself does not check whether a connection is alive; setting the name does, in one
    round trip (SQLAlchemy, Dealing with Disconnects, pessimistic).
    """
    if not type(connection).__module__.startswith("psycopg2"):
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute(_SET_NAME, [os.environ.get("PGAPPNAME", "")])
    except (connection.OperationalError, connection.InterfaceError) as error:
        raise sqlalchemy.exc.DisconnectionError from error


_CREDENTIALS = {
    CredentialKind.key: AzureBlobStorageKeyCredential,
    CredentialKind.sas: AzureBlobStorageSASTokenCredential,
    CredentialKind.identity: AzureBlobStorageDefaultCredential,
}


class BlobAccountOfSettings(AzureBlobStorageResource):
    """dagster-azure's resource for the configured storage account.

    The fields are the account and the kind of credential, never a secret. The client comes from
    `storage/azure/account.py`, with the secret and with the retries for which dagster-azure has no
    field. In a run, every request carries the run's id.
    """

    _run: str = PrivateAttr("")

    @classmethod
    def read(cls) -> Self:
        """Return the resource for the present settings. Raises StoreDenied: no account is set."""
        account = blob_account(load_settings())
        return cls(account_url=account.url, credential=_CREDENTIALS[account.kind]())

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        self._run = run_id_of(context)

    @contextmanager
    def get_client(self) -> Generator[BlobServiceClient, None, None]:
        with blob_service(load_settings(), run_id=self._run) as service:
            yield service


class BlobObjects(dg.ConfigurableResource[ObjectStore]):
    """Objects in Azure Blob Storage. Each run has one client and one folder of downloads.

    Raises StoreDenied when a run starts: no storage account is set.
    """

    def create_resource(self, context: dg.InitResourceContext) -> ObjectStore:
        raise NotImplementedError(
            "the store is closed at the end of a run: use it through yield_for_execution"
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
    """Features in PostGIS tables. Connections stay open until the run ends."""

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
    """The catalog in pgSTAC, in the tables' database, so that one transaction publishes both.

    During a run its connections stay open, and Dagster's own connections carry the run's id too.
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
