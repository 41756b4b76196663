"""Moving tables from schema to schema, inside the transaction that publishes or takes away the item that names them.

What belongs here: asking where tables lie, moving them, who may read them. What stays out: which ones move
(`pgstac_tables.py`), and the transaction (`pgstac_transaction.py`).
"""

from collections.abc import Iterable, Sequence

import psycopg
from psycopg import sql

from geo_platform.errors import CatalogRejected, Conflict, DatabaseUnavailable
from geo_platform.sql import statement
from geo_platform.storage.database_names import READER_ROLE, REPLACED_SCHEMA, STAGING_SCHEMA
from geo_platform.storage.pgstac_tables import Move, Places, Relation, TableVersion, places_of, read_comment

_PRIVILEGES = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"})


def find_places(connection: psycopg.Connection, meant: TableVersion) -> Places:
    """Where the version and the published table of its name lie now."""
    asked = {"schema": meant.schema, "table": meant.table, "version": meant.version}
    rows = connection.execute(statement("table_places"), {**asked, "staging": STAGING_SCHEMA, "replaced": REPLACED_SCHEMA})
    return places_of(meant, [Relation(schema, name, read_comment(comment)) for schema, name, comment in rows])


def move_tables(connection: psycopg.Connection, moves: Sequence[Move], *, published: Iterable[TableVersion]) -> None:
    """Do the moves, those that make room first, and look whether the published tables are those that are meant.

    Whom the owner let read a table may read its successor too. Waits for readers of the tables as long as the transaction's
    lock_timeout says. Raises CatalogRejected.
    """
    grants = {(move.schema, move.name): _grants(connection, move) for move in moves if move.to_schema == REPLACED_SCHEMA}
    for move in sorted(moves, key=lambda move: move.to_schema != REPLACED_SCHEMA):
        _move(connection, move)
    for table in published:
        target = sql.Identifier(table.schema, table.table)
        for role, privilege in [(READER_ROLE, "SELECT"), *grants.get((table.schema, table.table), ())]:
            grantee = sql.SQL("PUBLIC") if role is None else sql.Identifier(role)
            connection.execute(sql.SQL("GRANT {} ON TABLE {} TO {}").format(sql.SQL(privilege), target, grantee))
        if not find_places(connection, table).is_live:
            raise CatalogRejected(f"The table {table.name} is not at version {table.version} after it was moved there.")


def drop_replaced(connection: psycopg.Connection, table: TableVersion) -> None:
    """Remove a replaced version for good. Raises Conflict where a view or a foreign key is built on it."""
    try:
        connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(REPLACED_SCHEMA, table.version)))
    except psycopg.errors.DependentObjectsStillExist as error:
        reason = error.diag.message_detail or "something is built on it"
        raise Conflict(
            f"Version {table.version} of the table {table.name} cannot be removed: {reason}.",
            remedy="Make that view again on the published table, then try again.",
        ) from error


def _move(connection: psycopg.Connection, move: Move) -> None:
    """Out of sight of readers at once: the lock that a new name takes is held until the transaction ends."""
    place = sql.Identifier(move.schema, move.name)
    renamed = sql.Identifier(move.schema, move.to_name)
    try:
        if move.name != move.to_name:
            connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(place, sql.Identifier(move.to_name)))
        connection.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(renamed, sql.Identifier(move.to_schema)))
    except psycopg.errors.LockNotAvailable as error:
        raise DatabaseUnavailable(
            f"The table {move.schema}.{move.name} is being read, and could not be replaced.",
            remedy="It is tried again by itself; end what reads it for that long.",
            sqlstate=error.sqlstate,
            schema=move.schema,
            table=move.name,
        ) from error


def _grants(connection: psycopg.Connection, move: Move) -> list[tuple[str | None, str]]:
    rows = connection.execute(statement("table_grants"), {"schema": move.schema, "table": move.name})
    return [(role, privilege) for role, privilege in rows if privilege in _PRIVILEGES]
