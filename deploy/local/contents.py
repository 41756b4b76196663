"""Make what the platform needs inside its servers: two databases, a login that loads, containers.

What exists is kept. `geo-platform database init` is called for the platform's own schema.
"""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobServiceClient
from psycopg import sql
from pydantic import SecretStr

from deploy.local.packages import Say
from deploy.local.processes import ServiceError, locked
from deploy.local.services import DAGSTER_DATABASE, DATABASE, LOADER, Services
from geo_platform.ports import BRONZE, MESSAGES, QUARANTINE, SILVER
from geo_platform.storage.postgres.connections import Database
from geo_platform.storage.postgres.installation import check
from geo_platform.storage.postgres.names import LOADER_ROLE

CONTAINERS = (BRONZE, SILVER, QUARANTINE, MESSAGES)


def fill(services: Services, *, say: Say) -> None:
    """Make everything that is missing. Raises ServiceError."""
    with (
        locked(Path(services.folder) / "contents-lock"),
        psycopg.connect(services.database_url("postgres"), autocommit=True) as connection,
    ):
        make_database(connection, DATABASE)
        if not is_whole(services.database_url(DATABASE)):
            say(f"geo-platform database init on {DATABASE}")
            install_platform(services.database_url(DATABASE))
        make_login(connection, LOADER, services.loader_password, LOADER_ROLE)
        make_database(connection, DAGSTER_DATABASE, owner=LOADER)
    make_containers(services.connection_string, CONTAINERS)


def make_database(connection: psycopg.Connection, name: str, *, owner: str | None = None) -> None:
    """Make an empty database if it is missing. The connection must be in autocommit mode."""
    if connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
        owned = sql.SQL(" OWNER {}").format(sql.Identifier(owner)) if owner else sql.SQL("")
        connection.execute(sql.SQL("CREATE DATABASE {}{}").format(sql.Identifier(name), owned))


def make_login(connection: psycopg.Connection, name: str, password: str, *roles: str) -> None:
    """Make a login in these roles, or set its password.

    The password reaches the server as a SCRAM verifier, so that no statement log contains it.
    """
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).fetchone() is None:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
    verifier = connection.pgconn.encrypt_password(
        password.encode(), name.encode(), b"scram-sha-256"
    ).decode()
    connection.execute(
        sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name), sql.Literal(verifier))
    )
    for role in roles:
        connection.execute(
            sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(name))
        )


def is_whole(database_url: str) -> bool:
    """Return whether `geo-platform database check` finds nothing missing."""
    return all(finding.is_met for finding in check(Database(SecretStr(database_url))))


def install_platform(database_url: str, *schemas: str) -> None:
    """Run `geo-platform database init` as the administrator.

    The URL is passed in the environment, never on the command line. Raises ServiceError.
    """
    command = [
        str(Path(sys.executable).with_name("geo-platform")),
        "database",
        "init",
        *(part for name in schemas for part in ("--schema", name)),
    ]
    settings = {
        **os.environ,
        "GEO_PLATFORM_PROFILE": "production",
        "GEO_PLATFORM_POSTGRES_URL": database_url,
    }
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServiceError(f"geo-platform database init failed: {done.stderr.strip()[-500:]}")


def make_containers(connection_string: str, names: tuple[str, ...]) -> None:
    with BlobServiceClient.from_connection_string(connection_string) as account:
        for name in names:
            try:
                account.create_container(name)
            except ResourceExistsError:
                continue
