"""Run `python -m deploy.docker.prepare` on bare servers; the platform's login then works."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
from azure.storage.blob import BlobServiceClient
from psycopg import sql

from deploy.local.contents import CONTAINERS
from tests.support.command import ROOT, geo_platform
from tests.support.deployment import DEPLOY
from tests.support.servers import OwnAzurite, OwnPostgres

LOGIN, PASSWORD = "geo_app", "loaders"


def test_bare_servers_are_prepared(
    own_postgres: OwnPostgres, own_azurite: OwnAzurite, tmp_path: Path
) -> None:
    administrator = own_postgres.logins.admin.url.get_secret_value()
    server, _, _ = administrator.rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier("geo")))
    at = f"{LOGIN}:{PASSWORD}@{server.rpartition('@')[2]}"
    settings = {
        "GEO_PLATFORM_PROFILE": "production",
        "GEO_PLATFORM_POSTGRES_URL": f"postgresql://{at}/geo",
        "GEO_PLATFORM_DAGSTER_POSTGRES_URL": f"postgresql://{at}/dagster",
        "GEO_PLATFORM_BLOB_CONNECTION_STRING": own_azurite.connection_string,
    }
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text((DEPLOY / "docker" / "dagster.yaml").read_text("utf-8"))
    done = subprocess.run(
        [sys.executable, "-m", "deploy.docker.prepare"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "ADMINISTRATOR_POSTGRES_URL": f"{server}/geo",
            "DAGSTER_HOME": str(home),
            "COMPUTE_LOGS_FOLDER": str(tmp_path / "logs"),
            **settings,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    checked = geo_platform("database", "check", home=tmp_path / "home", extra=settings)
    assert checked.exit_code == 0, checked.stdout
    with psycopg.connect(settings["GEO_PLATFORM_DAGSTER_POSTGRES_URL"]) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM event_logs").fetchone() == (0,)
    with BlobServiceClient.from_connection_string(own_azurite.connection_string) as account:
        assert {container.name for container in account.list_containers()} == set(CONTAINERS)
