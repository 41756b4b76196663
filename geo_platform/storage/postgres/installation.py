"""Putting the platform into a database.

What belongs here: the order of the installation, and what makes it impossible. What stays out: the statements
(`sql/install_*.sql`), pgSTAC's own schema, which pypgstac brings, and what is missing (`installation_facts.py`). Everything may
be run again: what is there already is left, rights are said anew.

What a database has of the platform, and what of a whole installation is missing.

What belongs here: asking the catalogs, and judging the answers, which is pure. What stays out: changing anything (`installation.py`).
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

# What pgSTAC builds on; the last two come with PostgreSQL itself.
EXTENSIONS = ("postgis", "btree_gist", "unaccent")

PGSTAC_VERSION = pypgstac.__version__


@dataclass(frozen=True)
class Facts:
    """What the present login sees. A version is None where it is not there, or not for this login to read.

    `roles`: those that are there; whether the login is a member, and whether pgSTAC's role is theirs. `schemas`: those that are
    there, and what the two roles may do. `available`: those of `EXTENSIONS` that the server has. `adds_crs`: whether loaders may write
    into PostGIS' table of CRSs.
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
        """At this program's version or a newer one: pgSTAC goes forward only."""
        return self.pgstac_version is not None and _ordered(self.pgstac_version) >= _ordered(
            PGSTAC_VERSION
        )


@dataclass(frozen=True)
class Requirement:
    """One thing that a whole installation has. `holds` is False where it is missing; `says` is for people either way.

    What is not `is_needed` is missed only by some sources.
    """

    name: str
    holds: bool
    says: str
    is_needed: bool = True


def read_facts(connection: psycopg.Connection, published: Sequence[str]) -> Facts:
    """Ask the catalogs. `published` are the schemas of published tables."""
    asked = {
        "extensions": list(EXTENSIONS),
        "loader": LOADER_ROLE,
        "reader": READER_ROLE,
        "schemas": [STAGING_SCHEMA, REPLACED_SCHEMA, OWN_SCHEMA, PGSTAC_SCHEMA, *published],
    }
    row = connection.execute(statement("installation_facts"), asked).fetchone()
    found: dict[str, Any] = row[0] if row else {}
    readable = found.pop("readable")
    pgstac = (
        one(connection, "SELECT pgstac.get_version()")
        if readable.get("pgstac.migrations")
        else None
    )
    own = (
        one(connection, "SELECT max(version) FROM geo_platform.installation")
        if readable.get("geo_platform.installation")
        else None
    )
    return Facts(**found, pgstac_version=pgstac, own_version=own)


def one(connection: psycopg.Connection, query: LiteralString) -> Any:
    """The first value of the first row."""
    row = connection.execute(query).fetchone()
    return row[0] if row else None


def findings(
    facts: Facts, published: Sequence[str], *, own_version: int
) -> tuple[Requirement, ...]:
    """What holds and what is missing for loading and publishing as the present login, in the order in which it would be mended."""
    own = f"version {facts.own_version or 'none'}, or none that {facts.login} may see; this program needs version {own_version}"
    login = f"{facts.login} may not load or publish; an administrator says: GRANT {LOADER_ROLE} TO the login"
    return (
        _finding(
            "PostGIS",
            facts.postgis is not None,
            f"version {facts.postgis}",
            "the extension is not in this database",
        ),
        _finding(
            "pgSTAC", facts.has_pgstac, f"version {facts.pgstac_version}", _pgstac_missing(facts)
        ),
        _finding(
            "installation", facts.own_version == own_version, f"version {facts.own_version}", own
        ),
        *(_role_finding(facts, role) for role in (LOADER_ROLE, READER_ROLE)),
        *(
            _schema_finding(facts, name, is_published=False)
            for name in (STAGING_SCHEMA, REPLACED_SCHEMA, OWN_SCHEMA)
        ),
        *(_schema_finding(facts, name, is_published=True) for name in published),
        _crs_finding(facts),
        _finding(
            "login",
            facts.roles.get(LOADER_ROLE, {}).get("is_mine", False),
            f"{facts.login} may load and publish",
            login,
        ),
    )


def _finding(name: str, holds: bool, present: str, missing: str) -> Requirement:
    return Requirement(name, holds, present if holds else missing)


def _pgstac_missing(facts: Facts) -> str:
    if facts.pgstac_version is not None:
        return f"version {facts.pgstac_version}; this program needs {PGSTAC_VERSION}"
    is_hidden = PGSTAC_SCHEMA in facts.schemas
    return (
        f"{facts.login} may not read its version"
        if is_hidden
        else f"the schema {PGSTAC_SCHEMA} is not in this database"
    )


def _role_finding(facts: Facts, role: str) -> Requirement:
    rights = facts.roles.get(role)
    missing = "is not there" if rights is None else "has no right to the catalog"
    return _finding(
        f"role {role}",
        rights is not None and rights["has_catalog"],
        "is there, with its right to the catalog",
        missing,
    )


def _crs_finding(facts: Facts) -> Requirement:
    lacking = f"a source whose CRS has no code is refused; the owner of PostGIS says: GRANT INSERT ON public.spatial_ref_sys TO {LOADER_ROLE}"
    return Requirement(
        "CRS table",
        facts.adds_crs,
        f"{LOADER_ROLE} may add to it" if facts.adds_crs else lacking,
        is_needed=False,
    )


def _schema_finding(facts: Facts, name: str, *, is_published: bool) -> Requirement:
    rights = facts.schemas.get(name)
    if rights is None:
        return Requirement(f"schema {name}", False, "is not there")
    wrong = {
        f"{LOADER_ROLE} may not create in it": name != OWN_SCHEMA and not rights["loader_creates"],
        f"{READER_ROLE} may not use it": is_published and not rights["reader_uses"],
        f"{READER_ROLE} may look into it": name in (STAGING_SCHEMA, REPLACED_SCHEMA)
        and rights["reader_uses"],
    }
    says = "; ".join(sentence for sentence, is_so in wrong.items() if is_so)
    return Requirement(f"schema {name}", not says, says or "is there, with its rights")


def _ordered(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


# The statements of each version of our own schemas; version n is the n-th. A new version is added
# at the end.
VERSIONS = ("install_0001", "install_0002")

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


def check(database: Database, schemas: Sequence[str] = ()) -> tuple[Requirement, ...]:
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
    except (
        psycopg.errors.FeatureNotSupported
    ) as error:  # a managed server has extensions that it lets nobody make
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
            connection.execute(
                "INSERT INTO geo_platform.installation (version) VALUES (%s)", [version]
            )
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
