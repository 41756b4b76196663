"""What lies in the database of features and catalog, for whoever compares stores.

What belongs here: listing tables by where they lie, dropping a staged one, asking whether an item was ever taken away. What stays
out: loading (`postgis.py`) and publishing (`pgstac.py`).

Dropping a staged table: by the sweep of what is old, and by whoever found one that nobody will publish.

What belongs here: the drop that gives way to whoever works on the table. What stays out: which tables are to go.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg

from geo_platform.errors import DatabaseUnavailable
from geo_platform.ports import StoredTable, TablePlace
from geo_platform.sql import statement
from geo_platform.storage.postgres.connections import Database
from geo_platform.storage.postgres.names import REPLACED_SCHEMA, STAGING_SCHEMA
from geo_platform.storage.postgres.postgis_live import began_at_utc
from geo_platform.storage.postgres.postgis_session import loading


def drop_staged(
    database: Database,
    name: str,
    *,
    lock_wait_s: float,
    may_go: Callable[[psycopg.Connection], bool] = lambda _: True,
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


_DROP_WAITS_S = 1
_PLACES = {STAGING_SCHEMA: TablePlace.staged, REPLACED_SCHEMA: TablePlace.replaced}


class PostgisInventory:
    """Implements `ports.Inventory`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def tables(self) -> Iterator[StoredTable]:
        """One statement: what is published while it is read is there once."""
        with loading(self._database) as connection:
            rows = connection.execute(
                statement("inventory_tables"),
                {"staging": STAGING_SCHEMA, "replaced": REPLACED_SCHEMA},
            ).fetchall()
        for schema, name, comment in rows:
            table = _described(str(schema), str(name), comment)
            if table.place is not TablePlace.published or table.version is not None:
                yield table

    def drop_staged(self, name: str, run_id: str) -> bool:
        """Whose it is, is looked up in the transaction that drops it."""
        places = {"schemas": [STAGING_SCHEMA], "names": [name]}

        def is_of_the_run(connection: psycopg.Connection) -> bool:
            found = connection.execute(statement("postgis_lies"), places).fetchone()
            return found is not None and _described(STAGING_SCHEMA, name, found[3]).run_id == run_id

        return drop_staged(self._database, name, lock_wait_s=_DROP_WAITS_S, may_go=is_of_the_run)

    def was_withdrawn(self, collection: str, item_id: str) -> bool:
        with loading(self._database) as connection:
            row = connection.execute(
                statement("inventory_withdrawn"), {"collection": collection, "item_id": item_id}
            ).fetchone()
        return bool(row and row[0])


def _described(schema: str, name: str, comment: str | None) -> StoredTable:
    says = _says(comment)
    told = {
        name: value
        for name in ("version", "run_id", "dataset", "source_uri")
        if isinstance(value := says.get(name), str)
    }
    return StoredTable(
        place=_PLACES.get(schema, TablePlace.published),
        schema=schema,
        name=name,
        version=told.get("version"),
        run_id=told.get("run_id"),
        began_at_utc=began_at_utc(comment),
        dataset=told.get("dataset"),
        source_uri=told.get("source_uri"),
    )


def _says(comment: str | None) -> dict[str, Any]:
    try:
        says = json.loads(comment or "")
    except ValueError:
        return {}
    return says if isinstance(says, dict) else {}
