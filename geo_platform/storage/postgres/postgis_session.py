"""Transactions that load: whose rights they have, how long they wait for a lock, and what the server will not take.

What belongs here: what all of them begin with, and errors that are the data's or the installation's. What stays out:
statements, and faults of connections (`postgres.py`).
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
# A login's limit is meant for queries; a load takes what it takes.
WITHOUT_TIME_LIMIT = sql.SQL("SET LOCAL statement_timeout = 0")

WITHOUT_WAITING_FOR_DISK = sql.SQL("SET LOCAL synchronous_commit = off")
_LOCK_WAIT_S = 30
# No such table, schema, function or type.
_NOT_INSTALLED = ("42P01", "3F000", "42883", "42704")

# Under the SQLSTATE of any parameter that does not fit.
_NO_ROLE = f'role "{LOADER_ROLE}" does not exist'

# SQLSTATE classes: a value that does not fit its type, a constraint, one of PostgreSQL's limits.
_DATA = ("22", "23", "54")


@contextmanager
def loading(
    database: Database, *, lock_wait_s: float = _LOCK_WAIT_S, waits_for_disk: bool = True
) -> Iterator[psycopg.Connection]:
    """A transaction with the loader's rights, committed at the end. What it makes belongs to the role, whoever logged in.

    One that does not wait for the disk is durable once a later one did. Raises DatabaseUnavailable, StoreDenied, and ParameterInvalid
    for data that PostgreSQL will not take.
    """
    with database.connect() as connection:
        try:
            connection.execute(AS_LOADER)
            connection.execute("SET LOCAL search_path TO public")
            connection.execute(
                "SELECT set_config('lock_timeout', %s, true)", [f"{int(lock_wait_s * 1000)}ms"]
            )
            connection.execute(WITHOUT_TIME_LIMIT)
            connection.execute(
                "SET LOCAL jit = off"
            )  # compiling takes longer than the few large queries gain by it
            if not waits_for_disk:
                connection.execute(WITHOUT_WAITING_FOR_DISK)
            yield connection
        except psycopg.Error as error:
            refused = refusal(error, database)
            if refused is None:
                raise
            raise refused from error


def refusal(
    error: psycopg.Error | adbc_driver_manager.Error, database: Database
) -> PlatformError | None:
    """What is wrong with the data or the installation; None for what `postgres.translate` knows, and for faults in this code."""
    state = error.sqlstate or ""
    says = (str(error).partition("ERROR:")[2] or str(error)).strip().splitlines()[0][:300]
    if state in _NOT_INSTALLED or says == _NO_ROLE:
        return StoreDenied(
            f"The database {database.place} is not made ready for the platform: {says}",
            remedy="As an administrator: geo-platform database init, with --schema for further schemas.",
        )
    if state.startswith(_DATA):
        return ParameterInvalid(
            f"PostgreSQL cannot hold the data as they are: {says}{_where(error)}.",
            remedy="Mend the value in the source, or leave the column out.",
            sqlstate=state,
        )
    return None


def _where(error: psycopg.Error | adbc_driver_manager.Error) -> str:
    """Which column, as the server says it: COPY t, line 1, column v."""
    context = next((line for line in str(error).splitlines() if line.startswith("CONTEXT:")), "")
    column = context.rpartition(", column ")[2].split(":")[0] if ", column " in context else ""
    return f" (column {column})" if column else ""
