"""Run the transactions that publish: with the loader's rights, locks and retries.

Publications of one collection, or of one table, are serialised by advisory locks, which are taken
all at once and in one order. Readers take none. A published table is locked against readers only
while it is renamed. A statement that waits for such a lock makes all later readers wait too, so the
wait is short; the transaction then pauses and begins again, until the caller's patience ends.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import psycopg
from psycopg import sql

from geo_platform.errors import CatalogRejected, DatabaseUnavailable, StoreDenied
from geo_platform.sql import statement
from geo_platform.storage.postgres.connections import Database
from geo_platform.storage.postgres.names import LOADER_ROLE

T = TypeVar("T")


class Lockable(Protocol):
    """A state of the database, with the names of the advisory locks that protect it."""

    @property
    def locks(self) -> frozenset[str]: ...


L = TypeVar("L", bound=Lockable)

# How long readers may have to wait. It is below the server's deadlock_timeout of 1 s: if a
# publication and a reader wait for each other, the publication gives way.
_READER_WAITS_MS = 300

_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
_LOCK_NOT_AVAILABLE = "55P03"
# SQLSTATEs to retry: a lock that was not available in time, a deadlock, a serialization failure.
_RETRIED = frozenset({_LOCK_NOT_AVAILABLE, "40P01", "40001"})

# No such table, schema or function.
_NOT_INSTALLED = ("42P01", "3F000", "42883")


def publishing(
    database: Database,
    look_up: Callable[[psycopg.Connection], L],
    work: Callable[[psycopg.Connection, L], T],
    *,
    patience_s: float,
) -> T:
    """Look up the state, take its locks, look it up again, and return what `work` does with it.

    It all begins again if a lock is not available, or if the second look-up needs other locks.
    Raises what `work` raises.
    Raises DatabaseUnavailable: the locks were not available within `patience_s`.
    Raises StoreDenied: the database is not installed, or the login lacks rights.
    Raises CatalogRejected: the database refused the document.
    """
    deadline = time.monotonic() + patience_s
    tries = 0
    while True:
        try:
            with catalog_errors(database), database.connect() as connection:
                # Each statement sees what was committed before it.
                connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
                # The first look-up has its own transaction: the rows and tables that it read would
                # else stay locked during the wait.
                with _transaction(connection, wait_ms=_READER_WAITS_MS):
                    names = look_up(connection).locks
                with _transaction(connection, wait_ms=int(patience_s * 1000) + 1):
                    connection.execute(statement("publish_locks"), {"names": sorted(names)})
                    found = look_up(connection)
                    if found.locks <= names:
                        _wait_at_most(connection, _READER_WAITS_MS)
                        return work(connection, found)
            error = DatabaseUnavailable(
                f"Other runs keep publishing in the catalog of {database.place}.",
                sqlstate=_LOCK_NOT_AVAILABLE,
            )
        except DatabaseUnavailable as unavailable:
            error = unavailable
        if error.details.get("sqlstate") not in _RETRIED:
            raise error
        if time.monotonic() > deadline:
            raise _with_readers(database, error) from error
        time.sleep(_PAUSES_S[min(tries, len(_PAUSES_S) - 1)])
        tries += 1


@contextmanager
def reading(database: Database) -> Iterator[psycopg.Connection]:
    """Open a connection to read the catalog, each statement in its own transaction."""
    # pgSTAC finds its functions by the search path.
    with catalog_errors(database), database.connect(autocommit=True) as connection:
        connection.execute(sql.SQL("SET search_path TO pgstac, public"))
        yield connection


@contextmanager
def catalog_errors(database: Database) -> Iterator[None]:
    """Translate database errors that are not about connections or rights.

    Raises StoreDenied: the platform is not installed in the database.
    Raises DatabaseUnavailable: pgSTAC was busy.
    Raises CatalogRejected: the database refused the document.
    """
    try:
        yield
    except psycopg.Error as error:
        primary = error.diag.message_primary or str(error) or type(error).__name__
        parts = (primary, error.diag.message_detail)
        message = " ".join(part.strip() for part in parts if part)[:500]
        if (
            isinstance(error, psycopg.errors.CheckViolation)
            and "no partition of relation" in message
        ):
            # pgSTAC's statement that creates a partition ignores a lock that it did not get.
            raise DatabaseUnavailable(
                f"The catalog in {database.place} is busy: {message}", sqlstate=_LOCK_NOT_AVAILABLE
            ) from error
        if error.sqlstate in _NOT_INSTALLED:
            raise StoreDenied(
                f"The platform is not installed in the database {database.place}: {message}",
                remedy="As an administrator, run geo-platform database init, with --schema for "
                "further schemas.",
            ) from error
        raise CatalogRejected(
            f"The catalog in {database.place} refused the document: {message}"
        ) from error


def _with_readers(database: Database, error: DatabaseUnavailable) -> DatabaseUnavailable:
    """Return the error with the readers of the table that it names."""
    table = {name: error.details.get(name) for name in ("schema", "table")}
    if table["table"] is None:
        return error
    with reading(database) as connection:
        found = connection.execute(statement("table_readers"), table).fetchall()
    readers = ", ".join(
        f"{login} ({application or 'no name'}, pid {pid})" for pid, login, application in found
    )
    return DatabaseUnavailable(
        f"{error.message} Its readers now: {readers or 'none'}.",
        remedy=error.remedy,
        **error.details,
    )


@contextmanager
def _transaction(connection: psycopg.Connection, *, wait_ms: int) -> Iterator[None]:
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(LOADER_ROLE)))
        connection.execute(sql.SQL("SET LOCAL search_path TO pgstac, public"))
        _wait_at_most(connection, wait_ms)
        yield


def _wait_at_most(connection: psycopg.Connection, milliseconds: int) -> None:
    connection.execute(
        sql.SQL("SELECT set_config('lock_timeout', %s, true)"), [f"{milliseconds}ms"]
    )
