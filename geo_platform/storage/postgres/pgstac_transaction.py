"""Run a transaction that publishes: with the rights of the role geo_loader, with locks and retries.

Advisory locks allow only one publication at a time per collection and per table. A transaction
takes all its advisory locks at once, in a fixed order. Readers take no advisory locks.

A published table is locked against readers only while it is renamed. While a statement waits for
that lock, all later readers wait too. Therefore it waits only 0.3 seconds. If it does not get the
lock, the transaction is rolled back, and begins again after a pause, until the time limit of the
caller (`patience_s`) has passed.

Called by `pgstac.py`, `provenance.py` and `serving/stac/database_search.py`.
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
    """A state that was read from the database, and the names of its advisory locks."""

    @property
    def locks(self) -> frozenset[str]: ...


L = TypeVar("L", bound=Lockable)

# How long readers may have to wait. It is below the server's deadlock_timeout of 1 s: if a
# publication and a reader wait for each other, the publication ends first, and the reader goes on.
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
    """Call `work` with the state that `look_up` returns, in one transaction; return its result.

    `look_up` is called twice: before the locks are taken, to learn their names, and afterwards. The
    transaction begins again if a lock is not available, or if the second state needs other locks.
    Raises what `look_up` and `work` raise. DatabaseUnavailable: the database does not answer, or
    the locks were not available within `patience_s` seconds. StoreDenied: the platform is not
    installed in the database, or the login lacks a right. CatalogRejected: the database refused a
    statement for another reason.
    """
    deadline = time.monotonic() + patience_s
    attempt = 0
    while True:
        try:
            with catalog_errors(database), database.connect() as connection:
                # Each statement sees what was committed before it.
                connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
                # The first look-up has a transaction of its own. Otherwise the tables that it read
                # would be locked while this process waits for the advisory locks.
                with _transaction(connection, wait_ms=_READER_WAITS_MS):
                    lock_names = look_up(connection).locks
                with _transaction(connection, wait_ms=int(patience_s * 1000) + 1):
                    connection.execute(statement("publish_locks"), {"names": sorted(lock_names)})
                    state = look_up(connection)
                    if state.locks <= lock_names:
                        _wait_at_most(connection, _READER_WAITS_MS)
                        return work(connection, state)
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
        time.sleep(_PAUSES_S[min(attempt, len(_PAUSES_S) - 1)])
        attempt += 1


@contextmanager
def reading(database: Database) -> Iterator[psycopg.Connection]:
    """Open a connection to read the catalog, each statement in its own transaction.

    Raises DatabaseUnavailable: the database does not answer or is busy. StoreDenied: the platform
    is not installed in the database, or the login lacks a right. CatalogRejected: the database
    refused a statement for another reason.
    """
    # The functions of pgSTAC call each other without naming their schema.
    with catalog_errors(database), database.connect(autocommit=True) as connection:
        connection.execute(sql.SQL("SET search_path TO pgstac, public"))
        yield connection


@contextmanager
def catalog_errors(database: Database) -> Iterator[None]:
    """Translate the database errors of the block that `Database.connect` does not translate.

    Raises StoreDenied: the platform is not installed in the database. DatabaseUnavailable: pgSTAC
    did not get a lock. CatalogRejected: any other error of psycopg.
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
            # pgSTAC ignores it when it does not get the lock to create a partition.
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
    """Return the error with the current readers of the locked table, if the error names a table."""
    table = {name: error.details.get(name) for name in ("schema", "table")}
    if table["table"] is None:
        return error
    with reading(database) as connection:
        rows = connection.execute(statement("table_readers"), table).fetchall()
    readers = ", ".join(
        f"{login} ({application or 'no name'}, pid {pid})" for pid, login, application in rows
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
