"""Start PostgreSQL and Azurite: one pair shared by the session, and servers for one test.

The session's process puts a folder's name into the environment; xdist's workers inherit it and
share the servers there. Databases are cloned from a template. Data is in the session's own folder
and ports are free ones, so other servers on the machine are not touched. The process ends the
servers with the session. If a session was killed, the kernel has released its lock, and the next
session removes what it left.

`production.py` has the fixtures.
"""

import fcntl
import hashlib
import hmac
import os
import secrets
import shutil
import signal
import subprocess
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil
import psycopg
from azure.storage.blob import BlobServiceClient
from psycopg import sql
from pydantic import SecretStr

from deploy.local.contents import (
    CONTAINERS,
    install_platform,
    make_containers,
    make_database,
    make_login,
)
from deploy.local.packages import install_missing
from deploy.local.processes import ServiceError, end_process, free_port, locked
from deploy.local.servers import ACCOUNT, ADMIN, make_folder, start_azurite, start_postgres
from deploy.local.services import Services, start, stop
from geo_platform.storage.postgres.connections import Database
from geo_platform.storage.postgres.names import LOADER_ROLE, READER_ROLE

FOLDER_VARIABLE = "GEO_PLATFORM_TESTS_SERVERS"
# A second schema of published tables in every test database, next to the default one.
EXTRA_SCHEMA = "geo_extra"

LOADER, OTHER_LOADER, READER, STRANGER = (
    "test_loader",
    "test_other_loader",
    "test_reader",
    "test_stranger",
)
LOGINS: Mapping[str, tuple[str, ...]] = {
    LOADER: (LOADER_ROLE,),
    OTHER_LOADER: (LOADER_ROLE,),
    READER: (READER_ROLE,),
    STRANGER: (),
}

# PostgreSQL's user can reach its data here; pytest's own folders are closed to it.
_ROOT = Path("/var/tmp")

EMPTY, TEMPLATE = "template0", "geo_template"
_PREFIX = "geo-platform-tests-"
_SEED = "seed"
_FAILED = "failed"


@dataclass(frozen=True)
class Logins:
    """One database, as each login sees it.

    Only the administrator is a superuser; a stranger has no role at all.
    """

    name: str
    admin: Database
    loader: Database
    other_loader: Database
    reader: Database
    stranger: Database


def logins_of(port: int, password: str, name: str) -> Logins:
    """Return the logins of a database.

    They share the administrator's password, which is made for the session and opens nothing else.
    """

    def of(user: str) -> Database:
        return Database(SecretStr(f"postgresql://{user}:{password}@127.0.0.1:{port}/{name}"))

    return Logins(name, of(ADMIN), of(LOADER), of(OTHER_LOADER), of(READER), of(STRANGER))


class Session:
    """The folder of a session's servers; the session's process holds it as long as it lives."""

    def __init__(self) -> None:
        self.folder = _ROOT / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(3)}"
        self._held: IO[bytes] = _hold(_lock_of(self.folder))
        os.environ[FOLDER_VARIABLE] = str(self.folder)
        _remove_dead_sessions(self.folder)

    def end(self) -> None:
        """Stop the servers and remove their data."""
        _remove(self.folder)
        _lock_of(self.folder).unlink(missing_ok=True)
        self._held.close()
        os.environ.pop(FOLDER_VARIABLE, None)


def shared_services() -> Services:
    """Return the session's servers, with the template; the first caller starts them.

    Raises ServiceError: if they cannot start.
    """
    folder = Path(os.environ[FOLDER_VARIABLE])
    install_missing(lambda _: None)
    make_folder(folder)
    with locked(folder / "first-lock"):
        failed = folder / _FAILED
        if failed.exists():
            raise ServiceError(failed.read_text("utf-8"))
        try:
            if not (folder / "postgres").exists():
                _copy_cluster(_seed(folder), folder / "postgres")
            return start(folder, durable=False)
        except Exception as error:
            failed.write_text(str(error), encoding="utf-8")
            raise


@contextmanager
def own_database(
    services: Services, *, template: str = TEMPLATE, owner: str = ADMIN
) -> Iterator[Logins]:
    """Clone a template; drop the clone at the end, whoever is connected.

    By default, clone the one in which `geo-platform database init` ran.
    """
    logins = logins_of(
        services.postgres_port, services.postgres_password, f"test_{secrets.token_hex(6)}"
    )
    name = sql.Identifier(logins.name)
    making = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
        name, sql.Identifier(template), sql.Identifier(owner)
    )
    with _administration(services) as connection:
        connection.execute(making)
    try:
        yield logins
    finally:
        with _administration(services) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


@contextmanager
def own_dagster_database(services: Services) -> Iterator[str]:
    """Yield the URL of an empty database that the loader owns.

    Dagster opens two hundred connections in a run. The URL turns off TLS and GSSAPI, which a server
    on this machine never grants, to save the negotiation.
    """
    with own_database(services, template=EMPTY, owner=LOADER) as logins:
        yield f"{logins.loader.url.get_secret_value()}?sslmode=disable&gssencmode=disable"


@dataclass(frozen=True)
class Blobs:
    """A storage account, and the prefix of this test's own containers."""

    connection_string: str
    prefix: str


@contextmanager
def own_containers(connection_string: str) -> Iterator[Blobs]:
    """Create the platform's containers under a new prefix; remove them at the end."""
    blobs = Blobs(connection_string, f"t{secrets.token_hex(4)}-")
    make_containers(connection_string, tuple(f"{blobs.prefix}{name}" for name in CONTAINERS))
    try:
        yield blobs
    finally:
        with BlobServiceClient.from_connection_string(connection_string) as account:
            for container in list(account.list_containers(name_starts_with=blobs.prefix)):
                account.delete_container(container.name)


class _OwnServer:
    """A process that a test ends and restarts at will."""

    process: subprocess.Popen[bytes] | None

    def _end(self, kind: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(kind)
            self.process.wait(timeout=60)
            self.process = None


@dataclass
class OwnPostgres(_OwnServer):
    """A PostgreSQL for one test, to stop, kill and restart.

    `logins` is a database with the platform installed.
    """

    folder: Path
    port: int
    password: str
    logins: Logins = field(init=False)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.logins = logins_of(self.port, self.password, TEMPLATE)

    def start(self) -> None:
        """Start on the same port and data; wait until connections are accepted."""
        self.process = start_postgres(
            self.folder / "postgres", port=self.port, password=self.password, durable=False
        )

    def stop(self) -> None:
        """Stop as an administrator in a hurry does: cut connections, roll back transactions."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """Stop as in a power failure: nothing is closed; the next start recovers from the log."""
        self._end(signal.SIGQUIT)


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """Start a PostgreSQL; end it and remove its data with the context.

    It is a copy of the session's seed, which saves time.
    """
    shared = shared_services()
    with own_folder() as folder:
        _copy_cluster(Path(shared.folder) / _SEED / "postgres", folder / "postgres")
        server = OwnPostgres(folder, free_port(), shared.postgres_password)
        try:
            server.start()
            url = f"postgresql://{ADMIN}:{server.password}@127.0.0.1:{server.port}/postgres"
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(
                    sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(
                        sql.Identifier(TEMPLATE)
                    )
                )
            yield server
        finally:
            server.stop()


@dataclass
class OwnAzurite(_OwnServer):
    """An Azurite for one test, to stop, kill and restart on the same port and data."""

    folder: Path
    blob_port: int
    queue_port: int
    account_key: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def connection_string(self) -> str:
        endpoint = f"http://127.0.0.1:{self.blob_port}/{ACCOUNT}"
        return (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={self.account_key};"
            f"BlobEndpoint={endpoint};QueueEndpoint=http://127.0.0.1:{self.queue_port}/{ACCOUNT};"
        )

    def start(self) -> None:
        self.process = start_azurite(
            self.folder / "azurite",
            blob_port=self.blob_port,
            queue_port=self.queue_port,
            account_key=self.account_key,
        )

    def stop(self) -> None:
        """Stop in an orderly way."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """Kill: connections are cut, and unwritten data is lost."""
        self._end(signal.SIGKILL)


@contextmanager
def own_azurite() -> Iterator[OwnAzurite]:
    """Start an Azurite without containers; end it and remove its data with the context."""
    shared = shared_services()
    with own_folder() as folder:
        server = OwnAzurite(folder, free_port(), free_port(), shared.account_key)
        try:
            server.start()
            yield server
        finally:
            server.crash()


def _seed(folder: Path) -> Path:
    """Return a stopped cluster with the template and the logins; all servers are copies of it."""
    made = folder / _SEED
    make_folder(made)
    password, port = secrets.token_urlsafe(24), free_port()
    (folder / "postgres-password").touch(mode=0o600)
    (folder / "postgres-password").write_text(password, encoding="utf-8")
    process = start_postgres(made / "postgres", port=port, password=password, durable=False)
    try:
        url = f"postgresql://{ADMIN}:{password}@127.0.0.1:{port}"
        with psycopg.connect(f"{url}/postgres", autocommit=True) as connection:
            make_database(connection, TEMPLATE)
            install_platform(f"{url}/{TEMPLATE}", EXTRA_SCHEMA)
            for login, roles in LOGINS.items():
                make_login(connection, login, password, *roles)
                _hash_once(connection, login, password)
            # A database can only be cloned while nobody is connected to it, autovacuum included.
            connection.execute(
                sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(
                    sql.Identifier(TEMPLATE)
                )
            )
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    return made / "postgres"


def _hash_once(connection: psycopg.Connection, login: str, password: str) -> None:
    """Set a login's password with one hash iteration instead of 4096.

    The iterations protect passwords that can be guessed, and a run of Dagster connects two hundred
    times. Otherwise SCRAM is as usual; the administrator and logins made by tests use the defaults.
    """
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    client, server = (
        hmac.digest(salted, name, "sha256") for name in (b"Client Key", b"Server Key")
    )
    parts = [b64encode(part).decode() for part in (salt, hashlib.sha256(client).digest(), server)]
    verifier = f"SCRAM-SHA-256$1:{parts[0]}${parts[1]}:{parts[2]}"
    connection.execute(
        sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(login), sql.Literal(verifier))
    )


def _copy_cluster(source: Path, target: Path) -> None:
    """Copy a cluster with its owner, as PostgreSQL requires; `cp` shares blocks where it can."""
    subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(target)], check=True)


@contextmanager
def _administration(services: Services) -> Iterator[psycopg.Connection]:
    with psycopg.connect(services.database_url("postgres"), autocommit=True) as connection:
        yield connection


@contextmanager
def own_folder() -> Iterator[Path]:
    """Yield a folder next to the session's; if the session is killed, the next one removes it."""
    folder = Path(os.environ[FOLDER_VARIABLE]) / f"own-{secrets.token_hex(4)}"
    make_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def end_all_in(folder: Path) -> None:
    """End every server whose data is in the folder, known to this process or not."""
    for pid in psutil.pids():
        end_process(pid, str(folder))


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _hold(file: Path) -> IO[bytes]:
    held = file.open("ab")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        raise
    return held


def _remove_dead_sessions(own: Path) -> None:
    for lock in own.parent.glob(f"{_PREFIX}*.lock"):
        if lock == _lock_of(own) or lock.stat().st_uid != os.geteuid():
            continue
        try:
            with _hold(lock):
                _remove(lock.with_suffix(""))
                lock.unlink(missing_ok=True)
        except BlockingIOError:
            continue  # its session is alive


def _remove(folder: Path) -> None:
    """End every server whose data is in the folder, then remove the data."""
    if not folder.is_dir():
        return
    stop(folder)
    end_all_in(folder)
    shutil.rmtree(folder)
