"""Install the platform into a database, and check what an installation lacks.

`install` can be repeated: it keeps existing tables and grants the rights again. Its statements are
in `sql/install_*.sql`; the library pypgstac installs pgSTAC's schema. `check` and `requirements`
report what is missing.

Called by `cli/commands/database.py`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
import pypgstac

from geo_platform.errors import StoreDenied, TableNameInvalid
from geo_platform.sql import statement
from geo_platform.storage.postgres.connections import Database, database_errors
from geo_platform.storage.postgres.names import (
    LOADER_ROLE,
    OWN_SCHEMA,
    PGSTAC_SCHEMA,
    PUBLISHED_SCHEMA,
    READER_ROLE,
    REPLACED_SCHEMA,
    RESERVED_SCHEMAS,
    STAGING_SCHEMA,
)

# The extensions that pgSTAC needs. PostgreSQL itself includes btree_gist and unaccent.
EXTENSIONS = ("postgis", "btree_gist", "unaccent")

PGSTAC_VERSION = pypgstac.__version__

# The file of statements of each version of the platform's schemas, in order. Add new versions at
# the end.
VERSIONS = ("install_0001", "install_0002")

_LOCK = "geo_platform database init"
_SCHEMA_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True)
class Facts:
    """The state of the installation, as far as the current login may read it.

    `postgis`, `pgstac_version` and `own_version` are versions: None if PostGIS, pgSTAC or the
    platform is not installed, or if the login may not read its version. `available` are those of
    `EXTENSIONS` that the server offers. `adds_crs` is whether loaders may add rows to PostGIS'
    table of CRSs. `roles` and `schemas` hold the rights of each existing role and schema.
    """

    login: str
    postgis: str | None
    postgis_schema: str | None
    available: Sequence[str]
    adds_crs: bool
    roles: Mapping[str, Mapping[str, bool]]
    schemas: Mapping[str, Mapping[str, bool]]
    pgstac_version: str | None
    own_version: int | None

    @property
    def has_pgstac(self) -> bool:
        """Return whether pgSTAC has this program's version or a newer one, which is accepted."""
        return self.pgstac_version is not None and _as_tuple(self.pgstac_version) >= _as_tuple(
            PGSTAC_VERSION
        )


@dataclass(frozen=True)
class Requirement:
    """One requirement of a complete installation, and whether it is met.

    `detail` is a text for people. If `is_needed` is False, only some sources fail when the
    requirement is not met.
    """

    name: str
    is_met: bool
    detail: str
    is_needed: bool = True


def install(database: Database, schemas: Sequence[str] = ()) -> Facts:
    """Install extensions, pgSTAC, schemas, tables, roles and rights, and return the new facts.

    The login must be allowed to create extensions and roles. `schemas` are additional schemas of
    published tables, beside `geo`. pgSTAC is installed in a transaction of its own: if a later step
    fails, pgSTAC remains installed.
    Raises StoreDenied: the server lacks an extension, a newer platform is installed, or the login
    has no right. TableNameInvalid: a schema name is not valid. DatabaseUnavailable: the database
    does not answer or is busy.
    """
    published = published_schemas(schemas)
    with database.connect(autocommit=True) as connection:
        # The lock allows one installation at a time in a database. It ends with the connection.
        connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [_LOCK])
        before = read_facts(connection, published)
        check_possible(before)
        _install_prerequisites(connection)
        if not before.has_pgstac:
            _migrate_pgstac(database)
        with connection.transaction():
            _install_own(connection, published)
        return read_facts(connection, published)


def check(database: Database, schemas: Sequence[str] = ()) -> tuple[Requirement, ...]:
    """Return all requirements for loading and publishing with this login, met or not.

    Raises StoreDenied: the database refuses access. DatabaseUnavailable: it does not answer.
    TableNameInvalid: a schema name is not valid.
    """
    published = published_schemas(schemas)
    with database.connect() as connection:
        return requirements(read_facts(connection, published), published, own_version=len(VERSIONS))


def published_schemas(schemas: Sequence[str]) -> tuple[str, ...]:
    """Return the schemas of published tables: the default `geo` and `schemas`, without duplicates.

    Raises TableNameInvalid: a name is not valid, or is reserved.
    """
    for name in schemas:
        if not _SCHEMA_NAME.fullmatch(name) or name.startswith("pg_") or name in RESERVED_SCHEMAS:
            raise TableNameInvalid(f"{name!r} cannot be a schema of published tables.")
    return tuple(dict.fromkeys((PUBLISHED_SCHEMA, *schemas)))


def check_possible(facts: Facts) -> None:
    """Check that the installation can succeed, before anything is changed.

    Raises StoreDenied: an extension is missing, PostGIS is in another schema, or a newer
    geo-platform installed this database.
    """
    lacking = [name for name in EXTENSIONS if name not in facts.available]
    if lacking:
        raise StoreDenied(
            f"This PostgreSQL server does not have: {', '.join(lacking)}.",
            remedy="Install the extensions on the server; on Debian 12: "
            "apt-get install postgresql-15-postgis-3.",
        )
    if facts.postgis is not None and facts.postgis_schema != "public":
        raise StoreDenied(
            f"PostGIS is in the schema {facts.postgis_schema}, and pgSTAC needs it in public.",
            remedy="Give the platform its own database, or create the extension again in the "
            "schema public.",
        )
    if facts.own_version is not None and facts.own_version > len(VERSIONS):
        raise StoreDenied(
            f"A newer geo-platform installed version {facts.own_version} here; this one knows "
            f"versions up to {len(VERSIONS)}.",
            remedy="Run the newer geo-platform.",
        )


def _install_prerequisites(connection: psycopg.Connection) -> None:
    try:
        connection.execute(statement("install_prerequisites"))
    except psycopg.errors.FeatureNotSupported as error:
        # A managed server may offer extensions, but allow nobody to create them.
        raise StoreDenied(
            f"The server does not allow creating an extension: {str(error).splitlines()[0]}",
            remedy=f"Allow {', '.join(EXTENSIONS)} in the server's settings (on Azure the "
            "parameter azure.extensions).",
        ) from error


def _install_own(connection: psycopg.Connection, published: Sequence[str]) -> None:
    connection.execute(statement("install_version"))
    installed = _first_value(
        connection, "SELECT coalesce(max(version), 0) FROM geo_platform.installation"
    )
    for version, name in enumerate(VERSIONS, start=1):
        if version > installed:
            connection.execute(statement(name))
            connection.execute(
                "INSERT INTO geo_platform.installation (version) VALUES (%s)", [version]
            )
    connection.execute(statement("install_rights"))
    for schema in published:
        connection.execute(statement("install_published", schema=schema))


def _migrate_pgstac(database: Database) -> None:
    # Imported here: pypgstac sets psycopg's JSON functions for the whole process.
    from pypgstac.db import PgstacDB
    from pypgstac.migrate import Migrate

    pgstac = PgstacDB(dsn=database.url.get_secret_value())
    with database_errors(database.place):
        try:
            Migrate(pgstac).run_migration()
        finally:
            pool = pgstac.pool  # disconnect() drops the pool without closing it
            pgstac.disconnect()
            if pool is not None:
                pool.close()


def read_facts(connection: psycopg.Connection, published: Sequence[str]) -> Facts:
    """Read the state of the installation from PostgreSQL's system catalogs.

    `published` are the schemas of published tables. Raises psycopg.Error: a query fails.
    """
    parameters = {
        "extensions": list(EXTENSIONS),
        "loader": LOADER_ROLE,
        "reader": READER_ROLE,
        "schemas": [STAGING_SCHEMA, REPLACED_SCHEMA, OWN_SCHEMA, PGSTAC_SCHEMA, *published],
    }
    row = connection.execute(statement("installation_facts"), parameters).fetchone()
    values: dict[str, Any] = row[0] if row else {}
    readable = values.pop("readable")
    pgstac = (
        _first_value(connection, "SELECT pgstac.get_version()")
        if readable.get("pgstac.migrations")
        else None
    )
    own_version = (
        _first_value(connection, "SELECT max(version) FROM geo_platform.installation")
        if readable.get("geo_platform.installation")
        else None
    )
    return Facts(**values, pgstac_version=pgstac, own_version=own_version)


def _first_value(connection: psycopg.Connection, query: LiteralString) -> Any:
    """Return the first value of the first row, or None if there is no row."""
    row = connection.execute(query).fetchone()
    return row[0] if row else None


def requirements(
    facts: Facts, published: Sequence[str], *, own_version: int
) -> tuple[Requirement, ...]:
    """Return the requirements for loading and publishing, in the order in which to meet them."""
    installation_missing = (
        f"version {facts.own_version or 'none'}, or not readable for {facts.login}; this program "
        f"needs version {own_version}"
    )
    login_missing = (
        f"{facts.login} may not load or publish; as an administrator, run: GRANT {LOADER_ROLE} TO "
        "the login"
    )
    return (
        _requirement(
            "PostGIS",
            facts.postgis is not None,
            f"version {facts.postgis}",
            "the extension is not installed in this database",
        ),
        _requirement(
            "pgSTAC", facts.has_pgstac, f"version {facts.pgstac_version}", _pgstac_missing(facts)
        ),
        _requirement(
            "installation",
            facts.own_version == own_version,
            f"version {facts.own_version}",
            installation_missing,
        ),
        *(_role_requirement(facts, role) for role in (LOADER_ROLE, READER_ROLE)),
        *(
            _schema_requirement(facts, name, is_published=False)
            for name in (STAGING_SCHEMA, REPLACED_SCHEMA, OWN_SCHEMA)
        ),
        *(_schema_requirement(facts, name, is_published=True) for name in published),
        _crs_requirement(facts),
        _requirement(
            "login",
            facts.roles.get(LOADER_ROLE, {}).get("is_mine", False),
            f"{facts.login} may load and publish",
            login_missing,
        ),
    )


def _requirement(name: str, is_met: bool, met: str, missing: str) -> Requirement:
    return Requirement(name, is_met, met if is_met else missing)


def _pgstac_missing(facts: Facts) -> str:
    if facts.pgstac_version is not None:
        return f"version {facts.pgstac_version}; this program needs {PGSTAC_VERSION}"
    is_hidden = PGSTAC_SCHEMA in facts.schemas
    return (
        f"{facts.login} may not read its version"
        if is_hidden
        else f"the schema {PGSTAC_SCHEMA} does not exist in this database"
    )


def _role_requirement(facts: Facts, role: str) -> Requirement:
    rights = facts.roles.get(role)
    missing = "does not exist" if rights is None else "has no right to the catalog"
    return _requirement(
        f"role {role}",
        rights is not None and rights["has_catalog"],
        "exists and has its right to the catalog",
        missing,
    )


def _crs_requirement(facts: Facts) -> Requirement:
    missing = (
        "a source whose CRS has no code is refused; as the owner of PostGIS, run: GRANT INSERT ON "
        f"public.spatial_ref_sys TO {LOADER_ROLE}"
    )
    return Requirement(
        "CRS table",
        facts.adds_crs,
        f"{LOADER_ROLE} may add to it" if facts.adds_crs else missing,
        is_needed=False,
    )


def _schema_requirement(facts: Facts, name: str, *, is_published: bool) -> Requirement:
    rights = facts.schemas.get(name)
    if rights is None:
        return Requirement(f"schema {name}", False, "does not exist")
    faults = {
        f"{LOADER_ROLE} may not create in it": name != OWN_SCHEMA and not rights["loader_creates"],
        f"{READER_ROLE} may not use it": is_published and not rights["reader_uses"],
        f"{READER_ROLE} may use it": name in (STAGING_SCHEMA, REPLACED_SCHEMA)
        and rights["reader_uses"],
    }
    detail = "; ".join(text for text, applies in faults.items() if applies)
    return Requirement(f"schema {name}", not detail, detail or "exists and has its rights")


def _as_tuple(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))
