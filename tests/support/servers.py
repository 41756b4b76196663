"""The production profile's servers for tests: one PostgreSQL and one Azurite a session, and servers that one test has for itself.

What belongs here: starting, sharing among xdist's workers, ending; databases cloned from a template. What stays out: fixtures
(`production.py`). Nothing that runs on this machine already is touched: data lies in a folder of the session's own, ports are
picked free.

The session's process names the folder in the environment, which its workers inherit, and ends what was started there. What a
killed session left behind is known by its lock, which the kernel let go, and is cleared away by the next one.
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
# A second schema of published tables in every database of tests, beside the default one.
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

# Where PostgreSQL's user can reach its data; pytest's own folders are closed to it.
_ROOT = Path("/var/tmp")

EMPTY, TEMPLATE = "template0", "geo_template"
_PREFIX = "geo-platform-tests-"
_SEED = "seed"
_FAILED = "failed"


@dataclass(frozen=True)
class Logins:
    """One database, as each of the logins sees it. All but the administrator are no superusers; a stranger has no role at all."""

    name: str
    admin: Database
    loader: Database
    other_loader: Database
    reader: Database
    stranger: Database


def logins_of(port: int, password: str, name: str) -> Logins:
    """The logins share the administrator's password: it is made for the session and opens nothing else."""

    def of(user: str) -> Database:
        return Database(SecretStr(f"postgresql://{user}:{password}@127.0.0.1:{port}/{name}"))

    return Logins(name, of(ADMIN), of(LOADER), of(OTHER_LOADER), of(READER), of(STRANGER))


class Session:
    """The folder of a session's servers, held by the session's process as long as it lives."""

    def __init__(self) -> None:
        self.folder = _ROOT / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(3)}"
        self._held: IO[bytes] = _hold(_lock_of(self.folder))
        os.environ[FOLDER_VARIABLE] = str(self.folder)
        _clear_away_the_dead(self.folder)

    def end(self) -> None:
        """Stop what was started and remove it."""
        _remove(self.folder)
        _lock_of(self.folder).unlink(missing_ok=True)
        self._held.close()
        os.environ.pop(FOLDER_VARIABLE, None)


def shared_services() -> Services:
    """The session's pair, with the template in it: started by whoever asks first. Raises ServiceError."""
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
    """A clone of a template, by default of the one in which `geo-platform database init` ran; dropped at the end whoever is connected."""
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
    """The URL of an empty database that the loader owns.

    Dagster connects anew for each of the two hundred questions of a run: what a server on this machine never grants is not asked for.
    """
    with own_database(services, template=EMPTY, owner=LOADER) as logins:
        yield f"{logins.loader.url.get_secret_value()}?sslmode=disable&gssencmode=disable"


@dataclass(frozen=True)
class Blobs:
    """A storage account and the prefix of the containers that are this test's own."""

    connection_string: str
    prefix: str


@contextmanager
def own_containers(connection_string: str) -> Iterator[Blobs]:
    """Every container of the platform under a prefix of its own; all that begin with it are removed at the end."""
    blobs = Blobs(connection_string, f"t{secrets.token_hex(4)}-")
    make_containers(connection_string, tuple(f"{blobs.prefix}{name}" for name in CONTAINERS))
    try:
        yield blobs
    finally:
        with BlobServiceClient.from_connection_string(connection_string) as account:
            for container in list(account.list_containers(name_starts_with=blobs.prefix)):
                account.delete_container(container.name)


class _OwnServer:
    """A process that a test ends as it likes and starts again."""

    process: subprocess.Popen[bytes] | None

    def _end(self, kind: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(kind)
            self.process.wait(timeout=60)
            self.process = None


@dataclass
class OwnPostgres(_OwnServer):
    """A server that one test has for itself, to stop, kill and start again. `logins` is a database with the platform in it."""

    folder: Path
    port: int
    password: str
    logins: Logins = field(init=False)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.logins = logins_of(self.port, self.password, TEMPLATE)

    def start(self) -> None:
        """On the same port and the same data; waits until it takes connections."""
        self.process = start_postgres(
            self.folder / "postgres", port=self.port, password=self.password, durable=False
        )

    def stop(self) -> None:
        """As an administrator who is in a hurry: connections are cut, transactions rolled back."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """As if the machine had lost power: nothing is closed; the next start recovers from the log."""
        self._end(signal.SIGQUIT)


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """Started, and ended with its data at the end. A copy of the session's seed, so that it takes no time to make."""
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
    """A storage account that one test has for itself, to stop, kill and start again on the same port and the same data."""

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
        """Closed in order."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """Killed: connections are cut, what was not written yet is lost."""
        self._end(signal.SIGKILL)


@contextmanager
def own_azurite() -> Iterator[OwnAzurite]:
    """Started, without any container, and ended with its data at the end."""
    shared = shared_services()
    with own_folder() as folder:
        server = OwnAzurite(folder, free_port(), free_port(), shared.account_key)
        try:
            server.start()
            yield server
        finally:
            server.crash()


def _seed(folder: Path) -> Path:
    """A cluster at rest that has the template and the logins: what every server of the session is a copy of."""
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
            # Cloning waits for everybody who is connected to a template, autovacuum too: nobody can be.
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
    """The login's password is hashed once at each connection, and not 4096 times, which is for passwords that can be guessed.

    A run of Dagster connects two hundred times. All else of SCRAM is as it is; the administrator and logins that a test makes
    are wholly as shipped.
    """
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    client, server = (
        hmac.digest(salted, name, "sha256") for name in (b"Client Key", b"Server Key")
    )
    told = [b64encode(part).decode() for part in (salt, hashlib.sha256(client).digest(), server)]
    verifier = f"SCRAM-SHA-256$1:{told[0]}${told[1]}:{told[2]}"
    connection.execute(
        sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(login), sql.Literal(verifier))
    )


def _copy_cluster(source: Path, target: Path) -> None:
    """With its owner, as PostgreSQL demands; by `cp`, which shares the blocks where the file system can."""
    subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(target)], check=True)


@contextmanager
def _administration(services: Services) -> Iterator[psycopg.Connection]:
    with psycopg.connect(services.database_url("postgres"), autocommit=True) as connection:
        yield connection


@contextmanager
def own_folder() -> Iterator[Path]:
    """Beside the session's, and part of what a killed session leaves to the next one to clear away."""
    folder = Path(os.environ[FOLDER_VARIABLE]) / f"own-{secrets.token_hex(4)}"
    make_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def end_all_in(folder: Path) -> None:
    """End every server whose data lies there, also one that nobody remembers."""
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


def _clear_away_the_dead(own: Path) -> None:
    for lock in own.parent.glob(f"{_PREFIX}*.lock"):
        if lock == _lock_of(own) or lock.stat().st_uid != os.geteuid():
            continue
        try:
            with _hold(lock):
                _remove(lock.with_suffix(""))
                lock.unlink(missing_ok=True)
        except BlockingIOError:
            continue  # its session lives


def _remove(folder: Path) -> None:
    """End every server whose data lies there, then the data."""
    if not folder.is_dir():
        return
    stop(folder)
    end_all_in(folder)
    shutil.rmtree(folder)
