"""`python -m deploy.docker.prepare`: make what the platform needs inside the servers of
compose.yaml.

Safe to repeat; run it after every upgrade. It calls `deploy/local/contents.py`,
`geo-platform database init` and `dagster instance migrate`.
"""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from deploy.local.contents import (
    CONTAINERS,
    install_platform,
    make_containers,
    make_database,
    make_login,
)
from deploy.local.processes import ServiceError
from geo_platform.storage.postgres.names import LOADER_ROLE

# Only this command gets it; the services use a login that loads.
ADMINISTRATOR_URL = "ADMINISTRATOR_POSTGRES_URL"


def prepare() -> None:
    """Raises ServiceError, psycopg.Error, azure.core.exceptions.AzureError."""
    administrator = os.environ[ADMINISTRATOR_URL]
    platform = conninfo_to_dict(os.environ["GEO_PLATFORM_POSTGRES_URL"])
    dagster = conninfo_to_dict(os.environ["GEO_PLATFORM_DAGSTER_POSTGRES_URL"])
    install_platform(administrator)
    with psycopg.connect(administrator, autocommit=True) as connection:
        make_login(connection, str(platform["user"]), str(platform["password"]), LOADER_ROLE)
        make_database(connection, str(dagster["dbname"]), owner=str(dagster["user"]))
    make_containers(os.environ["GEO_PLATFORM_BLOB_CONNECTION_STRING"], CONTAINERS)
    _make_dagsters_tables()


def _make_dagsters_tables() -> None:
    """Make Dagster's tables before webserver, daemon and code location start and each tries to."""
    command = [str(Path(sys.executable).with_name("dagster")), "instance", "migrate"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # of this environment
    if done.returncode:
        raise ServiceError(f"dagster instance migrate failed: {done.stderr.strip()[-500:]}")


if __name__ == "__main__":
    try:
        prepare()
    except ServiceError as error:
        sys.exit(f"prepare: {error}")
