"""Dropping a staged table: by the sweep of what is old, and by whoever found one that nobody will publish.

What belongs here: the drop that gives way to whoever works on the table. What stays out: which tables are to go.
"""

from collections.abc import Callable

import psycopg

from geo_platform.errors import DatabaseUnavailable
from geo_platform.sql import statement
from geo_platform.storage.database_names import STAGING_SCHEMA
from geo_platform.storage.postgis_session import loading
from geo_platform.storage.postgres import Database


def drop_staged(
    database: Database, name: str, *, lock_wait_s: float, may_go: Callable[[psycopg.Connection], bool] = lambda _: True
) -> bool:
    """Drop a staged table; False where it is let be: `may_go`, asked in the same transaction, says no, or somebody works on it.

    Raises DatabaseUnavailable, StoreDenied.
    """
    try:
        with loading(database, lock_wait_s=lock_wait_s) as connection:
            if not may_go(connection):
                return False
            connection.execute(statement("postgis_drop", table=(STAGING_SCHEMA, name)))
    except DatabaseUnavailable as error:
        if error.details.get("sqlstate") != psycopg.errors.LockNotAvailable.sqlstate:
            raise
        return False
    return True
