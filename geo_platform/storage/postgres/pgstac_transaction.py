"""The transaction that publishes: whose rights it has, what it waits for and how long, and when it is begun again.

What belongs here: roles, locks, patience. What stays out: what is done inside (`pgstac_writes.py`, `pgstac_moves.py`).

Publications of one collection, and of one table, go one after the other: each takes advisory locks, all at once and in one
order. Readers take none. The published table is locked against readers only for the moment in which it changes its name, and
never waited for longer than a reader can bear: whoever waits for such a lock makes every later reader wait too. So the
wait is short, and the transaction is begun again after a pause, until patience ends.
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
    """Something found in the database, and the names by which its publications wait for each other."""

    @property
    def locks(self) -> frozenset[str]: ...


L = TypeVar("L", bound=Lockable)

# Below the server's deadlock_timeout of 1 s: of a publication and a reader that wait for each other
# the publication gives way.
_READER_WAITS_MS = 300

_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
_LOCK_NOT_AVAILABLE = "55P03"
# SQLSTATE of a lock that was not got in time, a deadlock, a serialization failure.
_BEGIN_AGAIN = frozenset({_LOCK_NOT_AVAILABLE, "40P01", "40001"})

# No such table, schema or function.
_NOT_INSTALLED = ("42P01", "3F000", "42883")


def publishing(
    database: Database,
    look: Callable[[psycopg.Connection], L],
    work: Callable[[psycopg.Connection, L], T],
    *,
    patience_s: float,
) -> T:
    """Look, wait for other publications of what was found, look again and do the work on that, with the loader's rights.

    The first look is a transaction of its own: what it read would stay locked while it waits. It is all begun again where a
    lock was not to be had, or where the second look needs more of them. Raises what `work` raises, DatabaseUnavailable where
    patience ended, StoreDenied, CatalogRejected for what the database refuses.
    """
    deadline = time.monotonic() + patience_s
    tries = 0
    while True:
        try:
            with catalog_errors(database), database.connect() as connection:
                connection.isolation_level = (
                    psycopg.IsolationLevel.READ_COMMITTED
                )  # each statement sees what was committed before it
                with _transaction(connection, wait_ms=_READER_WAITS_MS):
                    names = look(connection).locks
                with _transaction(connection, wait_ms=int(patience_s * 1000) + 1):
                    connection.execute(statement("publish_locks"), {"names": sorted(names)})
                    found = look(connection)
                    if found.locks <= names:
                        _wait_at_most(connection, _READER_WAITS_MS)
                        return work(connection, found)
            error = DatabaseUnavailable(
                f"Others publish in the catalog of {database.place} all the time.",
                sqlstate=_LOCK_NOT_AVAILABLE,
            )
        except DatabaseUnavailable as unavailable:
            error = unavailable
        if error.details.get("sqlstate") not in _BEGIN_AGAIN:
            raise error
        if time.monotonic() > deadline:
            raise _with_readers(database, error) from error
        time.sleep(_PAUSES_S[min(tries, len(_PAUSES_S) - 1)])
        tries += 1


@contextmanager
def reading(database: Database) -> Iterator[psycopg.Connection]:
    """A connection to read the catalog by, each statement for itself. pgSTAC's functions are found by the search path."""
    with catalog_errors(database), database.connect(autocommit=True) as connection:
        connection.execute(sql.SQL("SET search_path TO pgstac, public"))
        yield connection


@contextmanager
def catalog_errors(database: Database) -> Iterator[None]:
    """What the database says that is no matter of connections or rights: it is not installed, or refuses the document."""
    try:
        yield
    except psycopg.Error as error:
        said = (
            error.diag.message_primary or str(error) or type(error).__name__,
            error.diag.message_detail,
        )
        says = " ".join(part.strip() for part in said if part)[:500]
        if isinstance(error, psycopg.errors.CheckViolation) and "no partition of relation" in says:
            # pgSTAC's own statement that makes one swallows a lock that it did not get
            raise DatabaseUnavailable(
                f"The catalog in {database.place} is busy: {says}", sqlstate=_LOCK_NOT_AVAILABLE
            ) from error
        if error.sqlstate in _NOT_INSTALLED:
            raise StoreDenied(
                f"The database {database.place} is not made ready for the platform: {says}",
                remedy="As an administrator: geo-platform database init, with --schema for further schemas.",
            ) from error
        raise CatalogRejected(
            f"The catalog in {database.place} did not accept it: {says}"
        ) from error


def _with_readers(database: Database, error: DatabaseUnavailable) -> DatabaseUnavailable:
    """The error, saying who reads the table that it names."""
    table = {name: error.details.get(name) for name in ("schema", "table")}
    if table["table"] is None:
        return error
    with reading(database) as connection:
        found = connection.execute(statement("table_readers"), table).fetchall()
    readers = ", ".join(
        f"{login} ({application or 'no name'}, pid {pid})" for pid, login, application in found
    )
    return DatabaseUnavailable(
        f"{error.message} Its readers now: {readers or 'none any more'}.",
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
