"""A pool of connections for readers: a bounded number, each transaction read only and bounded.

    with pool.reading(seconds=10) as connection: ...

`connections.py` has the connections of runs, and translates the errors of both.

Called by `serving/features/tables.py`, `serving/stac/database_search.py` and
`serving/stac/stac_reader.py`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import psycopg
from psycopg_pool import ConnectionPool

from geo_platform.errors import TimeExceeded
from geo_platform.storage.postgres.connections import Database, database_errors

_CONNECT_TIMEOUT_S = 10
_WAIT_FOR_CONNECTION_S = 10.0
# A connection is closed after this time. The next one reads the credentials again, so that a
# token that was renewed is used.
_MAX_LIFETIME_S = 1_800.0

_SETTINGS = (
    "SELECT set_config('statement_timeout', %s, true), "
    "set_config('search_path', 'pgstac, public', true), set_config('TimeZone', 'UTC', true)"
)


class ReaderPool:
    """At most `max_connections` connections, the first opened at the first use."""

    def __init__(self, database: Database, *, max_connections: int) -> None:
        self.database = database
        self._pool: ConnectionPool[psycopg.Connection] = ConnectionPool(
            database.url.get_secret_value(),
            kwargs={
                "application_name": database.application_name,
                "connect_timeout": _CONNECT_TIMEOUT_S,
                # Tables change their columns when they are published again.
                "prepare_threshold": None,
            },
            min_size=0,
            max_size=max_connections,
            timeout=_WAIT_FOR_CONNECTION_S,
            max_lifetime=_MAX_LIFETIME_S,
            check=ConnectionPool.check_connection,
            open=False,
        )
        self._lock = Lock()
        self._is_open = False

    @contextmanager
    def reading(
        self, *, seconds: float, of_one_moment: bool = True
    ) -> Iterator[psycopg.Connection]:
        """Open a transaction that only reads.

        `of_one_moment`: all statements see the database as it is at the first. A reader of a table
        that may be replaced locks it instead: the rows of a table that is loaded after the first
        statement would be invisible. Times are in UTC; the functions of pgSTAC are found.
        Raises TimeExceeded: a statement takes longer than `seconds`. DatabaseUnavailable: the
        database does not answer, or all connections are in use. StoreDenied: it refuses access.
        Other errors of psycopg are raised unchanged.
        """
        with self._lock:
            if not self._is_open:
                self._pool.open()
                self._is_open = True
        with (
            database_errors(self.database.place),
            _bounded(seconds),
            self._pool.connection() as connection,
        ):
            connection.isolation_level = (
                psycopg.IsolationLevel.REPEATABLE_READ
                if of_one_moment
                else psycopg.IsolationLevel.READ_COMMITTED
            )
            connection.read_only = True
            with connection.transaction():
                connection.execute(_SETTINGS, [str(max(1, int(seconds * 1000)))])
                yield connection

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            if self._is_open:
                self._pool.close()
                self._is_open = False


@contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    try:
        yield
    except psycopg.errors.QueryCanceled as error:
        raise TimeExceeded(
            f"The request takes the database longer than {seconds:g} seconds.",
            remedy="Ask for less: a smaller area, fewer collections or a simpler filter.",
        ) from error
