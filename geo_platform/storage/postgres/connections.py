"""PostgreSQL as the adapters use it: connections that say whose they are, and what the server says as the platform's errors.

What belongs here: connecting, and translating errors. What stays out: any statement (`sql/`), tables, items.

Connections that stay open between two uses of the same run: PostgreSQL checks a password for as long as a small table takes,
and ADBC asks for every type that the server has.

What belongs here: keeping, and handing out what is still alive and as it was when it was opened. What stays out: opening
(`postgres.py`), and when all are closed, which is at the end of the run (`resources/`).
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

# More are used at once only while a table is loaded; what is idle still counts among the server's
# connections.
MOST = 2

# A small table is sent over one; for a large one the time to open another does not count.
MOST_FOR_ARROW = 1


class _Closed(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=_Closed)


class Idle(Generic[C]):
    """Connections of one kind, at most `most`. Safe among threads."""

    def __init__(self, most: int, is_as_new: Callable[[C], bool]) -> None:
        self._most = most
        self._is_as_new = is_as_new
        self._idle: list[C] = []
        self._lock = Lock()
        self._is_closed = False

    def take(self) -> C | None:
        """One without a transaction, its settings as at its start; None where none is left that is alive."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None or self._is_as_new(connection):
                return connection
            connection.close()

    def keep(self, connection: C) -> None:
        """After its transaction has ended well. What there is no room for is closed."""
        with self._lock:
            has_room = not self._is_closed and len(self._idle) < self._most
            if has_room:
                self._idle.append(connection)
        if not has_room:
            connection.close()

    def close(self) -> None:
        """All that are idle now, and whatever is kept later."""
        with self._lock:
            idle, self._idle, self._is_closed = self._idle, [], True
        for connection in idle:
            connection.close()


class KeptConnections:
    """Those for statements, and those that load Arrow batches."""

    def __init__(self) -> None:
        self.for_statements: Idle[psycopg.Connection] = Idle(MOST, _is_as_new)
        self.for_arrow: Idle[AdbcConnection] = Idle(MOST_FOR_ARROW, _is_as_new_for_arrow)

    def close(self) -> None:
        """All that are idle now, and whatever is kept later."""
        self.for_statements.close()
        self.for_arrow.close()


def _is_as_new(connection: psycopg.Connection) -> bool:
    """The look whether it is alive is the statement that makes its settings those of its start. Nothing else outlives a transaction
    here: roles, locks and limits are set for one, and statements are not prepared, since tables change their shape between two."""
    try:
        connection.autocommit = True
        connection.isolation_level = None
        connection.execute("RESET ALL")
    except psycopg.Error:
        return (
            False  # the server closed it meanwhile; another is opened, and that tells what is wrong
        )
    return True


def _is_as_new_for_arrow(connection: "AdbcConnection") -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("RESET ALL")
        connection.commit()
    except adbc_driver_manager.Error:
        return False
    return True


if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection as AdbcConnection

APPLICATION = "geo_platform"
URL_REMEDY = (
    "Write it as postgresql://USER:PASSWORD@HOST:PORT/NAME; in the password % @ : / ? are written %25 %40 %3A %2F %3F, "
    "and what is left out, libpq's own variables and files say."
)
_SCHEMES = ("postgresql://", "postgres://")
_DEFAULT_NAME = "PGAPPNAME"
_CONNECT_TIMEOUT_S = 10
_LOST = (psycopg.OperationalError, psycopg.InterfaceError)
# SQLSTATE classes of what passes by itself: connection, resources (disk full, too many clients),
# shutdown, system, locks held.
_PASSING = ("08", "53", "57P", "58", "55P03", "40", "57014")

# Authentication, no such database, no privilege, read-only.
_DENIED = ("28", "3D", "42501", "25006")


@dataclass(frozen=True)
class Database:
    """A database and the run that speaks to it. The URL holds a secret: it is opened where a connection is made, and nowhere else.

    With `kept` connections are used again within the run, by whoever closes `kept` at its end.
    """

    url: SecretStr
    run_id: str = ""
    kept: KeptConnections | None = field(default=None, repr=False, compare=False)

    @property
    def application_name(self) -> str:
        """What `pg_stat_activity` and the server's log show; at most 63 bytes."""
        return f"{APPLICATION} {self.run_id}".strip()

    @property
    def place(self) -> str:
        """host:port/database, without any credential."""
        parts = conninfo_to_dict(self.url.get_secret_value())
        return f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', parts.get('user', ''))}"

    @contextmanager
    def connect(self, *, autocommit: bool = False) -> Iterator[psycopg.Connection]:
        """A connection whose transaction is committed where the context ends well, and rolled back where it does not.

        Raises DatabaseUnavailable, StoreDenied; what psycopg raises inside the context is translated too.
        """
        with (
            database_errors(self.place),
            self._of_run(self.kept) if self.kept is not None else self._open() as connection,
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
    def _of_run(self, kept: KeptConnections) -> Iterator[psycopg.Connection]:
        """One that was used before, or a new one. One whose use failed is closed: what state it is in nobody knows."""
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
        """An ADBC connection, for loading Arrow batches by binary COPY: what is not committed when the context ends is rolled back.

        Raises DatabaseUnavailable, StoreDenied; what ADBC raises inside the context is translated too.
        """
        with (
            database_errors(self.place),
            self._arrow_of_run(self.kept)
            if self.kept is not None
            else self._open_arrow() as connection,
        ):
            yield connection

    def _open_arrow(self) -> "AdbcConnection":
        import adbc_driver_postgresql.dbapi  # brings pandas along, which takes its time; the catalog does without it

        connection: AdbcConnection = adbc_driver_postgresql.dbapi.connect(
            self._arrow_uri(), autocommit=False
        )
        return connection

    @contextmanager
    def _arrow_of_run(self, kept: KeptConnections) -> Iterator["AdbcConnection"]:
        """As `_of_run`."""
        connection = kept.for_arrow.take() or self._open_arrow()
        try:
            yield connection
            connection.rollback()
        except BaseException:
            connection.close()
            raise
        kept.for_arrow.keep(connection)

    def _arrow_uri(self) -> str:
        given = self.url.get_secret_value()
        extra = (
            f"application_name={quote(self.application_name)}&connect_timeout={_CONNECT_TIMEOUT_S}"
        )
        return f"{given}{'&' if '?' in given else '?'}{extra}"


@contextmanager
def others_named_for(run_id: str) -> Iterator[None]:
    """Connections that others open in this process carry the run too, by libpq's own default: Dagster's to its storage.

    Dagster opens one for each use. Those that name themselves are not touched, and a process has one run at a time.
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
    """The database of features and catalog. Raises StoreDenied where none is set, or where what is set is no URL."""
    if settings.postgres_url is None:
        raise StoreDenied(
            "The production profile needs a database, and none is set.",
            remedy="Set GEO_PLATFORM_POSTGRES_URL to postgresql://USER@HOST/NAME.",
        )
    if not is_url(settings.postgres_url):
        # Without the reason: the driver repeats what it could not read, and the password is part of that.
        raise StoreDenied(
            "GEO_PLATFORM_POSTGRES_URL is no address of a database.", remedy=URL_REMEDY
        )
    return Database(settings.postgres_url, run_id, kept)


def is_url(url: SecretStr) -> bool:
    """Whether libpq reads it as it was meant. In a password @ : / ? % are to be written %40 %3A %2F %3F %25: left as they are,
    they make a part of the password the host or the port, which errors and item links name."""
    given = url.get_secret_value()
    try:
        port = conninfo_to_dict(given).get("port")
    except psycopg.ProgrammingError:
        return False
    authority, _, rest = given.partition("://")[2].partition("/")
    credentials = authority.rpartition("@")[0]
    cut_well = "@" not in rest.partition("?")[0] and not set(credentials) & set("@?")
    return given.startswith(_SCHEMES) and cut_well and str(port or 0).replace(",", "").isdigit()


@contextmanager
def database_errors(place: str) -> Iterator[None]:
    """Translate what psycopg or ADBC raises. What neither passes by itself nor is a matter of rights is left as it is."""
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
    """DatabaseUnavailable for what passes, StoreDenied for what needs a person, None for anything else. No message holds a secret."""
    state = error.sqlstate or ""
    text = str(error).strip().splitlines()
    says = text[0][:300] if text else type(error).__name__
    is_denied = (
        state.startswith(_DENIED)
        or "authentication failed" in says
        or "no pg_hba.conf entry" in says
    )
    if is_denied or ("does not exist" in says and not state):
        return StoreDenied(
            f"The database {place} does not let the platform in, or not do this: {says}",
            remedy="Check the user, its password and its roles; geo-platform database check says which are missing.",
        )
    if state.startswith(_PASSING) or (
        not state and isinstance(error, (*_LOST, adbc_driver_manager.OperationalError))
    ):
        return DatabaseUnavailable(
            f"The database {place} did not do what it was asked: {says}", sqlstate=state
        )
    return None
