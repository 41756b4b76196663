"""Putting the platform into a database.

What belongs here: the order of the installation, and what makes it impossible. What stays out: the statements
(`sql/install_*.sql`), pgSTAC's own schema, which pypgstac brings, and what is missing (`installation_facts.py`). Everything may
be run again: what is there already is left, rights are said anew.
"""

import re
from collections.abc import Sequence

import psycopg

from geo_platform.errors import StoreDenied, TableNameInvalid
from geo_platform.sql import statement
from geo_platform.storage.database_names import PUBLISHED_SCHEMA, RESERVED_SCHEMAS
from geo_platform.storage.installation_facts import EXTENSIONS, Facts, Finding, findings, one, read_facts
from geo_platform.storage.postgres import Database, database_errors

VERSIONS = ("install_0001", "install_0002")
"""The statements of each version of our own schemas; version n is the n-th. A new version is added at the end."""

_LOCK = "geo_platform database init"
_SCHEMA_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


def install(database: Database, schemas: Sequence[str] = ()) -> Facts:
    """Extensions, pgSTAC, our schemas and tables, roles and their rights. As an administrator: may make extensions and roles.

    `schemas` are those of published tables beside the default one. pgSTAC's part is a transaction, and so is ours.
    Raises StoreDenied, DatabaseUnavailable, TableNameInvalid.
    """
    published = published_schemas(schemas)
    with database.connect(autocommit=True) as connection:
        # One installation of a database at a time; the lock goes with the connection.
        connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [_LOCK])
        before = read_facts(connection, published)
        refuse_impossible(before)
        _install_prerequisites(connection)
        if not before.has_pgstac:
            _migrate_pgstac(database)
        with connection.transaction():
            _install_own(connection, published)
        return read_facts(connection, published)


def check(database: Database, schemas: Sequence[str] = ()) -> tuple[Finding, ...]:
    """What a login that loads and publishes needs, and whether it is there. Raises StoreDenied, DatabaseUnavailable, TableNameInvalid."""
    published = published_schemas(schemas)
    with database.connect() as connection:
        return findings(read_facts(connection, published), published, own_version=len(VERSIONS))


def published_schemas(schemas: Sequence[str]) -> tuple[str, ...]:
    """The default one and these, each once. Raises TableNameInvalid for a name that cannot be one."""
    for name in schemas:
        if not _SCHEMA_NAME.fullmatch(name) or name.startswith("pg_") or name in RESERVED_SCHEMAS:
            raise TableNameInvalid(f"{name!r} cannot be a schema of published tables.")
    return tuple(dict.fromkeys((PUBLISHED_SCHEMA, *schemas)))


def refuse_impossible(facts: Facts) -> None:
    """Raises StoreDenied where installing cannot end well, before anything is changed."""
    lacking = [name for name in EXTENSIONS if name not in facts.available]
    if lacking:
        raise StoreDenied(
            f"This PostgreSQL server does not have: {', '.join(lacking)}.",
            remedy="Install the extensions on the server; on Debian 12: apt-get install postgresql-15-postgis-3.",
        )
    if facts.postgis is not None and facts.postgis_schema != "public":
        raise StoreDenied(
            f"PostGIS lies in the schema {facts.postgis_schema}, and pgSTAC looks for it in public.",
            remedy="Give the platform a database of its own, or make the extension anew in the schema public.",
        )
    if facts.own_version is not None and facts.own_version > len(VERSIONS):
        raise StoreDenied(
            f"A newer geo-platform installed version {facts.own_version} here; this one knows versions up to {len(VERSIONS)}.",
            remedy="Run the newer geo-platform.",
        )


def _install_prerequisites(connection: psycopg.Connection) -> None:
    try:
        connection.execute(statement("install_prerequisites"))
    except psycopg.errors.FeatureNotSupported as error:  # a managed server has extensions that it lets nobody make
        raise StoreDenied(
            f"The server does not let an extension be made: {str(error).splitlines()[0]}",
            remedy=f"Allow {', '.join(EXTENSIONS)} in the server's settings (on Azure the parameter azure.extensions).",
        ) from error


def _install_own(connection: psycopg.Connection, published: Sequence[str]) -> None:
    connection.execute(statement("install_version"))
    present = one(connection, "SELECT coalesce(max(version), 0) FROM geo_platform.installation")
    for version, name in enumerate(VERSIONS, start=1):
        if version > present:
            connection.execute(statement(name))
            connection.execute("INSERT INTO geo_platform.installation (version) VALUES (%s)", [version])
    connection.execute(statement("install_rights"))
    for schema in published:
        connection.execute(statement("install_published", schema=schema))


def _migrate_pgstac(database: Database) -> None:
    """pypgstac's own installation. Imported here, because it sets psycopg's JSON functions for the whole process."""
    from pypgstac.db import PgstacDB
    from pypgstac.migrate import Migrate

    pgstac = PgstacDB(dsn=database.url.get_secret_value())
    with database_errors(database.place):
        try:
            Migrate(pgstac).run_migration()
        finally:
            pool = pgstac.pool  # disconnecting forgets the pool without closing it
            pgstac.disconnect()
            if pool is not None:
                pool.close()
