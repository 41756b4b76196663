"""Open PostgreSQL connections, keep them open within a run, and translate their errors.

Connections have the id of the run in their application name. There are two kinds: psycopg for
statements, ADBC for loading Arrow data. Errors of both become DatabaseUnavailable or StoreDenied.
The resources (`resources/production.py`) close the kept connections at the end of a run.

Used throughout the application.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar
from urllib.parse import quote

import adbc_driver_manager
import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from geo_platform.errors import DatabaseUnavailable, PlatformError, StoreDenied
from geo_platform.settings import Settings

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection as AdbcConnection

APPLICATION = "geo_platform"
URL_REMEDY = (
    "Write it as postgresql://USER:PASSWORD@HOST:PORT/NAME. In the password write % @ : / ? as "
    "%25 %40 %3A %2F %3F. libpq's variables and files supply the parts that are left out."
)
_SCHEMES = ("postgresql://", "postgres://")
_APPLICATION_NAME_VARIABLE = "PGAPPNAME"
_CONNECT_TIMEOUT_S = 10
_CONNECTION_ERRORS = (psycopg.OperationalError, psycopg.InterfaceError)
# SQLSTATE prefixes of transient errors: connection, resources (disk full, too many clients),
# shutdown, system, lock not available, serialization, statement timeout.
_TRANSIENT = ("08", "53", "57P", "58", "55P03", "40", "57014")

# SQLSTATE prefixes: authentication, no such database, no privilege, read-only.
_DENIED = ("28", "3D", "42501", "25006")

# Only a load uses more connections at once, and idle connections count against the server's limit.
MAX_IDLE = 2

# A small table is sent over one connection. For a large table the time to open another is small.
MAX_IDLE_ARROW = 1


class _Closable(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=_Closable)


class IdleConnections(Generic[C]):
    """At most `max_idle` idle connections of one kind. Threads may share it.

    `reset` restores the settings of a connection, and returns False if the server has closed it.
    """

    def __init__(self, max_idle: int, reset: Callable[[C], bool]) -> None:
        self._max_idle = max_idle
        self._reset = reset
        self._idle: list[C] = []
        self._lock = Lock()
        self._is_closed = False

    def take(self) -> C | None:
        """Return an idle connection with restored settings, or None if there is none."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None or self._reset(connection):
                return connection
            connection.close()

    def keep(self, connection: C) -> None:
        """Keep a connection whose transaction has ended, or close it if `max_idle` are kept."""
        with self._lock:
            has_room = not self._is_closed and len(self._idle) < self._max_idle
            if has_room:
                self._idle.append(connection)
        if not has_room:
            connection.close()

    def close(self) -> None:
        """Close the idle connections. Connections passed to `keep` later are closed too."""
        with self._lock:
            idle, self._idle, self._is_closed = self._idle, [], True
        for connection in idle:
            connection.close()


class KeptConnections:
    """The idle connections of a run or a server: for statements, and for loading Arrow batches.

    `max_idle` bounds those for statements. They are kept because opening one is slow: the check of
    the password takes as long as loading a small table, and ADBC reads all types of the server.
    """

    def __init__(self, max_idle: int = MAX_IDLE) -> None:
        self.for_statements: IdleConnections[psycopg.Connection] = IdleConnections(max_idle, _reset)
        self.for_arrow: IdleConnections[AdbcConnection] = IdleConnections(
            MAX_IDLE_ARROW, _reset_arrow
        )

    def close(self) -> None:
        """Close the idle connections. Connections passed to `keep` later are closed too."""
        self.for_statements.close()
        self.for_arrow.close()


def _reset(connection: psycopg.Connection) -> bool:
    # RESET ALL resets the settings and shows whether the connection is alive. Nothing else has to
    # be reset: roles, locks and limits end with each transaction. Statements are not prepared,
    # since tables change their columns.
    try:
        connection.autocommit = True
        connection.isolation_level = None
        connection.execute("RESET ALL")
    except psycopg.Error:
        return False  # The server closed it. The next attempt to open one reports the cause.
    return True


def _reset_arrow(connection: "AdbcConnection") -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("RESET ALL")
        connection.commit()
    except adbc_driver_manager.Error:
        return False
    return True


@dataclass(frozen=True)
class Database:
    """The URL of a database, and the run that uses it.

    The URL may hold a password, and is unwrapped only to connect and to read its host. If `kept` is
    set, connections are reused; the caller closes `kept` at the end of the run.
    """

    url: SecretStr
    run_id: str = ""
    kept: KeptConnections | None = field(default=None, repr=False, compare=False)

    @property
    def application_name(self) -> str:
        """The name in `pg_stat_activity` and in the server's log, at most 63 bytes."""
        return f"{APPLICATION} {self.run_id}".strip()

    @property
    def place(self) -> str:
        """Return host:port/database, without credentials."""
        parts = conninfo_to_dict(self.url.get_secret_value())
        name = parts.get("dbname", parts.get("user", ""))
        return f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{name}"

    @contextmanager
    def connect(self, *, autocommit: bool = False) -> Iterator[psycopg.Connection]:
        """Open a connection; commit at the end of the block, roll back on an error.

        Errors of psycopg inside the block are translated too.
        Raises DatabaseUnavailable: the database does not answer or is busy. StoreDenied: it refuses
        access.
        """
        with (
            database_errors(self.place),
            self._reuse(self.kept) if self.kept is not None else self._open() as connection,
        ):
            connection.autocommit = autocommit
            yield connection

    def _open(self) -> psycopg.Connection:
        return psycopg.connect(
            self.url.get_secret_value(),
            application_name=self.application_name,
            connect_timeout=_CONNECT_TIMEOUT_S,
        )

    @contextmanager
    def _reuse(self, kept: KeptConnections) -> Iterator[psycopg.Connection]:
        # After an error the state of the connection is unknown, so it is not kept.
        connection = kept.for_statements.take()
        if connection is None:
            connection = self._open()
            connection.prepare_threshold = None
        try:
            yield connection
            connection.commit()
        except BaseException:
            connection.close()
            raise
        kept.for_statements.keep(connection)

    @contextmanager
    def connect_arrow(self) -> Iterator["AdbcConnection"]:
        """Open an ADBC connection for binary COPY. Work that the caller does not commit is lost.

        Errors of ADBC inside the block are translated too.
        Raises DatabaseUnavailable: the database does not answer or is busy. StoreDenied: it refuses
        access.
        """
        with (
            database_errors(self.place),
            self._reuse_arrow(self.kept)
            if self.kept is not None
            else self._open_arrow() as connection,
        ):
            yield connection

    def _open_arrow(self) -> "AdbcConnection":
        # Imported here: the driver loads pandas, which is slow, and the catalog does not need it.
        import adbc_driver_postgresql.dbapi

        connection: AdbcConnection = adbc_driver_postgresql.dbapi.connect(
            self._arrow_uri(), autocommit=False
        )
        return connection

    @contextmanager
    def _reuse_arrow(self, kept: KeptConnections) -> Iterator["AdbcConnection"]:
        connection = kept.for_arrow.take() or self._open_arrow()
        try:
            yield connection
            connection.rollback()
        except BaseException:
            connection.close()
            raise
        kept.for_arrow.keep(connection)

    def _arrow_uri(self) -> str:
        url = self.url.get_secret_value()
        extra = (
            f"application_name={quote(self.application_name)}&connect_timeout={_CONNECT_TIMEOUT_S}"
        )
        return f"{url}{'&' if '?' in url else '?'}{extra}"


@contextmanager
def default_application_name(run_id: str) -> Iterator[None]:
    """Set libpq's default application name to that of the run, for connections of other libraries.

    Dagster opens a connection for each use of its storage, without an application name. The default
    is a variable of the whole process, which executes one run at a time.
    """
    previous_name = os.environ.get(_APPLICATION_NAME_VARIABLE)
    os.environ[_APPLICATION_NAME_VARIABLE] = Database(SecretStr(""), run_id).application_name
    try:
        yield
    finally:
        if previous_name is None:
            os.environ.pop(_APPLICATION_NAME_VARIABLE, None)
        else:
            os.environ[_APPLICATION_NAME_VARIABLE] = previous_name


def database_of(
    settings: Settings, *, run_id: str = "", kept: KeptConnections | None = None
) -> Database:
    """Return the database of features and catalog that the settings name.

    Raises StoreDenied: the setting is missing, or is not a valid URL.
    """
    if settings.postgres_url is None:
        raise StoreDenied(
            "The production profile needs a database, and none is set.",
            remedy="Set GEO_PLATFORM_POSTGRES_URL to postgresql://USER@HOST/NAME.",
        )
    if not is_url(settings.postgres_url):
        # The driver's reason is left out: it quotes the URL, which holds the password.
        raise StoreDenied(
            "GEO_PLATFORM_POSTGRES_URL is not the URL of a database.", remedy=URL_REMEDY
        )
    return Database(settings.postgres_url, run_id, kept)


def is_url(url: SecretStr) -> bool:
    """Return whether the URL is valid, and its password is escaped.

    With an unescaped @ : / ? or % in the password, libpq would read a part of the password as host
    or port, and errors and links would show it.
    """
    text = url.get_secret_value()
    try:
        port = conninfo_to_dict(text).get("port")
    except psycopg.ProgrammingError:
        return False
    authority, _, path = text.partition("://")[2].partition("/")
    credentials = authority.rpartition("@")[0]
    is_escaped = "@" not in path.partition("?")[0] and not set(credentials) & set("@?")
    return text.startswith(_SCHEMES) and is_escaped and str(port or 0).replace(",", "").isdigit()


@contextmanager
def database_errors(place: str) -> Iterator[None]:
    """Translate errors of psycopg and ADBC in the block. `place` names the database in messages.

    Raises DatabaseUnavailable: the database does not answer, is busy, or has no free resources.
    StoreDenied: it refuses access. Any other error of psycopg or ADBC is raised unchanged.
    """
    try:
        yield
    except PlatformError:
        raise
    except (psycopg.Error, adbc_driver_manager.Error) as error:
        translated = translate(error, place)
        if translated is None:
            raise
        raise translated from error


def translate(error: psycopg.Error | adbc_driver_manager.Error, place: str) -> PlatformError | None:
    """Return the platform's error for a database error, or None if it is neither of these:

    DatabaseUnavailable: a transient error, for which a retry can help. StoreDenied: the login, a
    right or a setting has to be changed. No message contains a secret.
    """
    state = error.sqlstate or ""
    text = str(error).strip().splitlines()
    reason = text[0][:300] if text else type(error).__name__
    is_denied = (
        state.startswith(_DENIED)
        or "authentication failed" in reason
        or "no pg_hba.conf entry" in reason
    )
    if is_denied or ("does not exist" in reason and not state):
        return StoreDenied(
            f"The database {place} denied the request: {reason}",
            remedy="Check the user, its password and its roles; geo-platform database check lists "
            "what is missing.",
        )
    if state.startswith(_TRANSIENT) or (
        not state and isinstance(error, (*_CONNECTION_ERRORS, adbc_driver_manager.OperationalError))
    ):
        return DatabaseUnavailable(
            f"The database {place} did not execute a request: {reason}", sqlstate=state
        )
    return None
