"""Open transactions of a load: set role and time limits, and translate errors of the data.

`connections.py` translates errors of connections.

Used by `storage/postgres`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import adbc_driver_manager
import psycopg
from psycopg import sql

from geo_platform.errors import ParameterInvalid, PlatformError, StoreDenied
from geo_platform.storage.postgres.connections import Database
from geo_platform.storage.postgres.names import LOADER_ROLE

AS_LOADER = sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(LOADER_ROLE))
# The time limit of a login is meant for queries; a load may take longer.
NO_TIME_LIMIT = sql.SQL("SET LOCAL statement_timeout = 0")

ASYNC_COMMIT = sql.SQL("SET LOCAL synchronous_commit = off")
_LOCK_WAIT_S = 30
# SQLSTATE: no such table, schema, function or type.
_NOT_INSTALLED = ("42P01", "3F000", "42883", "42704")

# A missing role has the SQLSTATE of any invalid parameter.
_NO_ROLE = f'role "{LOADER_ROLE}" does not exist'

# SQLSTATE classes: a value that does not fit its type, a constraint, a limit of PostgreSQL.
_DATA_STATES = ("22", "23", "54")


@contextmanager
def loading(
    database: Database, *, lock_wait_s: float = _LOCK_WAIT_S, waits_for_disk: bool = True
) -> Iterator[psycopg.Connection]:
    """Open a transaction with the rights of the role geo_loader, which owns all tables.

    It commits at the end of the block. `lock_wait_s` is how long a statement waits for a lock. With
    `waits_for_disk` False the commit does not wait for the disk: the transaction is durable only
    after a later commit that waits.
    Raises DatabaseUnavailable: the database does not answer, is busy, or a lock is not available.
    StoreDenied: the database refuses access, or the platform is not installed in it.
    ParameterInvalid: PostgreSQL cannot store the data.
    """
    with database.connect() as connection:
        try:
            connection.execute(AS_LOADER)
            connection.execute("SET LOCAL search_path TO public")
            connection.execute(
                "SELECT set_config('lock_timeout', %s, true)", [f"{int(lock_wait_s * 1000)}ms"]
            )
            connection.execute(NO_TIME_LIMIT)
            # Compiling the queries would take longer than the time that it saves.
            connection.execute("SET LOCAL jit = off")
            if not waits_for_disk:
                connection.execute(ASYNC_COMMIT)
            yield connection
        except psycopg.Error as error:
            translated = data_error(error, database)
            if translated is None:
                raise
            raise translated from error


def data_error(
    error: psycopg.Error | adbc_driver_manager.Error, database: Database
) -> PlatformError | None:
    """Return the platform's error for faulty data or a missing installation, or None.

    `connections.translate` translates other errors of the database.
    """
    state = error.sqlstate or ""
    reason = (str(error).partition("ERROR:")[2] or str(error)).strip().splitlines()[0][:300]
    if state in _NOT_INSTALLED or reason == _NO_ROLE:
        return StoreDenied(
            f"The platform is not installed in the database {database.place}: {reason}",
            remedy="As an administrator, run: geo-platform database init, with --schema for more "
            "schemas.",
        )
    if state.startswith(_DATA_STATES):
        return ParameterInvalid(
            f"PostgreSQL cannot store the data as it is: {reason}{_column_of(error)}.",
            remedy="Correct the value in the source, or leave the column out.",
            sqlstate=state,
        )
    return None


def _column_of(error: psycopg.Error | adbc_driver_manager.Error) -> str:
    # The server names the column in a line such as: CONTEXT: COPY t, line 1, column v.
    context = next((line for line in str(error).splitlines() if line.startswith("CONTEXT:")), "")
    column = context.rpartition(", column ")[2].split(":")[0] if ", column " in context else ""
    return f" (column {column})" if column else ""
