"""Connections that stay open between two uses of the same run: PostgreSQL checks a password for as long as a small table takes,
and ADBC asks for every type that the server has.

What belongs here: keeping, and handing out what is still alive and as it was when it was opened. What stays out: opening
(`postgres.py`), and when all are closed, which is at the end of the run (`resources/`).
"""

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import adbc_driver_manager
import psycopg

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection as AdbcConnection

MOST = 2
"""More are used at once only while a table is loaded; what is idle still counts among the server's connections."""

MOST_FOR_ARROW = 1
"""A small table is sent over one; for a large one the time to open another does not count."""


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
        return False  # the server closed it meanwhile; another is opened, and that tells what is wrong
    return True


def _is_as_new_for_arrow(connection: "AdbcConnection") -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("RESET ALL")
        connection.commit()
    except adbc_driver_manager.Error:
        return False
    return True
