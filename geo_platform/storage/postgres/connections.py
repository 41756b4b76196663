"""PostgreSQL connections: opened with the run's name, kept open within a run, and their errors.

Errors of psycopg and ADBC become DatabaseUnavailable or StoreDenied. Statements are in `sql/`. The
resources (`resources/production.py`) close the kept connections at the end of a run.
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
    "%25 %40 %3A %2F %3F. libpq's variables and files give what is left out."
)
_SCHEMES = ("postgresql://", "postgres://")
_DEFAULT_NAME = "PGAPPNAME"
_CONNECT_TIMEOUT_S = 10
_CONNECTION_ERRORS = (psycopg.OperationalError, psycopg.InterfaceError)
# SQLSTATE prefixes of transient errors: connection, resources (disk full, too many clients),
# shutdown, system, lock not available, serialization, statement timeout.
_TRANSIENT = ("08", "53", "57P", "58", "55P03", "40", "57014")

# SQLSTATE prefixes: authentication, no such database, no privilege, read-only.
_DENIED = ("28", "3D", "42501", "25006")

# More are used at once only while a table is loaded, and idle ones count against the server's
# limit.
MAX_IDLE = 2

# A small table is sent over one connection; for a large one the time to open another is negligible.
MAX_IDLE_ARROW = 1


class _Closable(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=_Closable)


class IdleConnections(Generic[C]):
    """At most `max_idle` idle connections of one kind. Safe among threads.

    `reset` gives a connection its initial settings, and returns False if it is no longer alive.
    """

    def __init__(self, max_idle: int, reset: Callable[[C], bool]) -> None:
        self._max_idle = max_idle
        self._reset = reset
        self._idle: list[C] = []
        self._lock = Lock()
        self._is_closed = False

    def take(self) -> C | None:
        """Return a connection without a transaction, reset, or None if none is alive."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None or self._reset(connection):
                return connection
            connection.close()

    def keep(self, connection: C) -> None:
        """Keep a connection whose transaction has ended, or close it if there are enough."""
        with self._lock:
            has_room = not self._is_closed and len(self._idle) < self._max_idle
            if has_room:
                self._idle.append(connection)
        if not has_room:
            connection.close()

    def close(self) -> None:
        """Close the idle connections, and from now on every one that is handed back."""
        with self._lock:
            idle, self._idle, self._is_closed = self._idle, [], True
        for connection in idle:
            connection.close()


class KeptConnections:
    """The idle connections of a run: those for statements, and those for loading Arrow batches.

    Opening is slow: PostgreSQL checks the password for as long as a small table takes to load, and
    ADBC reads every type of the server.
    """

    def __init__(self) -> None:
        self.for_statements: IdleConnections[psycopg.Connection] = IdleConnections(MAX_IDLE, _reset)
        self.for_arrow: IdleConnections[AdbcConnection] = IdleConnections(
            MAX_IDLE_ARROW, _reset_arrow
        )

    def close(self) -> None:
        """Close the idle connections, and from now on every one that is handed back."""
        self.for_statements.close()
        self.for_arrow.close()


def _reset(connection: psycopg.Connection) -> bool:
    # One statement resets the settings and shows whether the connection is alive. Nothing else
    # outlives a transaction here: roles, locks and limits are set per transaction, and statements
    # are not prepared, because tables change their columns.
    try:
        connection.autocommit = True
        connection.isolation_level = None
        connection.execute("RESET ALL")
    except psycopg.Error:
        return False  # the server closed it; opening another one will report what is wrong
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
    """A database, and the run that uses it.

    The URL holds a secret; it is unwrapped only to connect. With `kept` connections are reused
    within the run; the caller closes `kept` at its end.
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

        Raises DatabaseUnavailable, StoreDenied, also for errors of psycopg inside the block.
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
        # A connection whose use failed is closed, since its state is unknown.
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
        """Open an ADBC connection for binary COPY. The caller commits; the rest is rolled back.

        Raises DatabaseUnavailable, StoreDenied, also for errors of ADBC inside the block.
        """
        with (
            database_errors(self.place),
            self._reuse_arrow(self.kept)
            if self.kept is not None
            else self._open_arrow() as connection,
        ):
            yield connection

    def _open_arrow(self) -> "AdbcConnection":
        # Imported here: it loads pandas, which is slow, and the catalog does not need it.
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
    """Name connections of other libraries in this process after the run, by libpq's own default.

    Dagster opens one for each use of its storage. Connections that have a name keep it. A process
    has one run at a time.
    """
    before = os.environ.get(_DEFAULT_NAME)
    os.environ[_DEFAULT_NAME] = Database(SecretStr(""), run_id).application_name
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_DEFAULT_NAME, None)
        else:
            os.environ[_DEFAULT_NAME] = before


def database_of(
    settings: Settings, *, run_id: str = "", kept: KeptConnections | None = None
) -> Database:
    """Return the database of features and catalog.

    Raises StoreDenied: the setting is missing, or is not a URL.
    """
    if settings.postgres_url is None:
        raise StoreDenied(
            "The production profile needs a database, and none is set.",
            remedy="Set GEO_PLATFORM_POSTGRES_URL to postgresql://USER@HOST/NAME.",
        )
    if not is_url(settings.postgres_url):
        # Without the reason: the driver's message quotes the URL, and so the password.
        raise StoreDenied(
            "GEO_PLATFORM_POSTGRES_URL is not the URL of a database.", remedy=URL_REMEDY
        )
    return Database(settings.postgres_url, run_id, kept)


def is_url(url: SecretStr) -> bool:
    """Return whether libpq reads this URL as its author meant it.

    An unescaped @ : / ? or % in the password turns a part of it into the host or the port, which
    errors and links in items show.
    """
    text = url.get_secret_value()
    try:
        port = conninfo_to_dict(text).get("port")
    except psycopg.ProgrammingError:
        return False
    authority, _, rest = text.partition("://")[2].partition("/")
    credentials = authority.rpartition("@")[0]
    cut_well = "@" not in rest.partition("?")[0] and not set(credentials) & set("@?")
    return text.startswith(_SCHEMES) and cut_well and str(port or 0).replace(",", "").isdigit()


@contextmanager
def database_errors(place: str) -> Iterator[None]:
    """Translate errors of psycopg and ADBC in the block, as `translate` does.

    Other errors of theirs are raised unchanged.
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
    """Return the platform's error for a database error. No message contains a secret.

    DatabaseUnavailable: a transient error. StoreDenied: somebody has to change rights or settings.
    None: any other error.
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
