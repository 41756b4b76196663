"""List the tables of the database, and drop staged tables of runs that ended without publishing.

A staged table is loaded but not published. Readers do not see it.

Called by `postgis.py` and `storage/stores.py`.
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
from geo_platform.storage.postgres.postgis_live import load_start_utc
from geo_platform.storage.postgres.postgis_session import loading

_LOCK_WAIT_S = 1
_PLACES = {STAGING_SCHEMA: TablePlace.staged, REPLACED_SCHEMA: TablePlace.replaced}


class PostgisInventory:
    """Implements `ports.Inventory` with PostGIS.

    Every method raises DatabaseUnavailable: the database does not answer or is busy. StoreDenied:
    the database refuses access, or the platform is not installed in it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def tables(self) -> Iterator[StoredTable]:
        """Yield every staged and replaced table, and the published tables of the platform."""
        # One statement, so that a table that is published meanwhile is listed once.
        with loading(self._database) as connection:
            rows = connection.execute(
                statement("inventory_tables"),
                {"staging": STAGING_SCHEMA, "replaced": REPLACED_SCHEMA},
            ).fetchall()
        for schema, name, comment in rows:
            table = _stored_table(str(schema), str(name), comment)
            if table.place is not TablePlace.published or table.version is not None:
                yield table

    def drop_staged(self, name: str, run_id: str) -> bool:
        """Drop a staged table of this run, and return whether it was dropped.

        Return False if there is no such table, if another run made the table, or if another
        connection has locked it for longer than a second.
        """
        # The run is looked up in the transaction that drops the table.
        places = {"schemas": [STAGING_SCHEMA], "names": [name]}

        def is_of_run(connection: psycopg.Connection) -> bool:
            row = connection.execute(statement("postgis_relations"), places).fetchone()
            return row is not None and _stored_table(STAGING_SCHEMA, name, row[3]).run_id == run_id

        return drop_staged(self._database, name, lock_wait_s=_LOCK_WAIT_S, may_drop=is_of_run)

    def was_withdrawn(self, collection: str, item_id: str) -> bool:
        """Return whether the last recorded write to the item unpublished it."""
        with loading(self._database) as connection:
            row = connection.execute(
                statement("inventory_withdrawn"), {"collection": collection, "item_id": item_id}
            ).fetchone()
        return bool(row and row[0])


def drop_staged(
    database: Database,
    name: str,
    *,
    lock_wait_s: float,
    may_drop: Callable[[psycopg.Connection], bool] = lambda _: True,
) -> bool:
    """Drop a staged table, and return whether it was dropped.

    The table is not dropped if `may_drop`, called in the same transaction, returns False, or if
    another connection has locked the table for longer than `lock_wait_s` seconds.
    Raises DatabaseUnavailable: the database does not answer or is busy. StoreDenied: it refuses
    access.
    """
    try:
        with loading(database, lock_wait_s=lock_wait_s) as connection:
            if not may_drop(connection):
                return False
            connection.execute(statement("postgis_drop", table=(STAGING_SCHEMA, name)))
    except DatabaseUnavailable as error:
        if error.details.get("sqlstate") != psycopg.errors.LockNotAvailable.sqlstate:
            raise
        return False
    return True


def _stored_table(schema: str, name: str, comment: str | None) -> StoredTable:
    comment_fields = _parse_comment(comment)
    fields = {
        name: value
        for name in ("version", "run_id", "dataset", "source_uri")
        if isinstance(value := comment_fields.get(name), str)
    }
    return StoredTable(
        place=_PLACES.get(schema, TablePlace.published),
        schema=schema,
        name=name,
        version=fields.get("version"),
        run_id=fields.get("run_id"),
        began_at_utc=load_start_utc(comment),
        dataset=fields.get("dataset"),
        source_uri=fields.get("source_uri"),
    )


def _parse_comment(comment: str | None) -> dict[str, Any]:
    try:
        fields = json.loads(comment or "")
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}
