"""Connections that stay open between two uses of the same run: PostgreSQL checks a password for as long as a small table takes.

What belongs here: keeping, and handing out what is still alive and as it was when it was opened. What stays out: opening
(`postgres.py`), and when all are closed, which is at the end of the run (`resources/`).
"""

from threading import Lock

import psycopg

MOST = 2
"""More are used at once only while a table is loaded; what is idle still counts among the server's connections."""


class KeptConnections:
    """Safe among threads."""

    def __init__(self) -> None:
        self._idle: list[psycopg.Connection] = []
        self._lock = Lock()
        self._is_closed = False

    def take(self) -> psycopg.Connection | None:
        """One without a transaction, its settings as at its start; None where none is left that is alive."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None or _is_as_new(connection):
                return connection
            connection.close()

    def keep(self, connection: psycopg.Connection) -> None:
        """After its transaction has ended well. What there is no room for is closed."""
        with self._lock:
            has_room = not self._is_closed and not connection.closed and len(self._idle) < MOST
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
