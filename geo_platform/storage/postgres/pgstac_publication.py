"""Publishing, taking away and forgetting, each inside one transaction: look, lock, look again, decide, write, move tables last.

What belongs here: the order of these steps. What stays out: each step's own work, and the transaction around them.

Moving tables from schema to schema, inside the transaction that publishes or takes away the item that names them.

What belongs here: asking where tables lie, moving them, who may read them. What stays out: which ones move
(`pgstac_tables.py`), and the transaction (`pgstac_transaction.py`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from geo_platform.errors import CatalogRejected, Conflict, DatabaseUnavailable, SourceNotFound
from geo_platform.ports import ItemVersion
from geo_platform.sql import statement
from geo_platform.storage.postgres import pgstac_writes as writes
from geo_platform.storage.postgres.names import READER_ROLE, REPLACED_SCHEMA, STAGING_SCHEMA
from geo_platform.storage.postgres.pgstac_tables import (
    Move,
    Places,
    Relation,
    TableVersion,
    places_of,
    plan_publication,
    plan_withdrawal,
    read_comment,
    tables_of,
)
from geo_platform.storage.stac_documents import Document
from geo_platform.storage.stac_rules import (
    check_is_kept,
    check_published,
    check_replaces,
    fingerprint_of,
)

_PRIVILEGES = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"}
)


def find_places(connection: psycopg.Connection, meant: TableVersion) -> Places:
    """Where the version and the published table of its name lie now."""
    asked = {"schema": meant.schema, "table": meant.table, "version": meant.version}
    rows = connection.execute(
        statement("table_places"), {**asked, "staging": STAGING_SCHEMA, "replaced": REPLACED_SCHEMA}
    )
    return places_of(
        meant, [Relation(schema, name, read_comment(comment)) for schema, name, comment in rows]
    )


def move_tables(
    connection: psycopg.Connection, moves: Sequence[Move], *, published: Iterable[TableVersion]
) -> None:
    """Do the moves, those that make room first, and look whether the published tables are those that are meant.

    Whom the owner let read a table may read its successor too. Waits for readers of the tables as long as the transaction's
    lock_timeout says. Raises CatalogRejected.
    """
    grants = {
        (move.schema, move.name): _grants(connection, move)
        for move in moves
        if move.to_schema == REPLACED_SCHEMA
    }
    for move in sorted(moves, key=lambda move: move.to_schema != REPLACED_SCHEMA):
        _move(connection, move)
    for table in published:
        target = sql.Identifier(table.schema, table.table)
        for role, privilege in [
            (READER_ROLE, "SELECT"),
            *grants.get((table.schema, table.table), ()),
        ]:
            grantee = sql.SQL("PUBLIC") if role is None else sql.Identifier(role)
            connection.execute(
                sql.SQL("GRANT {} ON TABLE {} TO {}").format(sql.SQL(privilege), target, grantee)
            )
        if not find_places(connection, table).is_live:
            raise CatalogRejected(
                f"The table {table.name} is not at version {table.version} after it was moved there."
            )


def drop_replaced(connection: psycopg.Connection, table: TableVersion) -> None:
    """Remove a replaced version for good. Raises Conflict where a view or a foreign key is built on it."""
    try:
        connection.execute(
            sql.SQL("DROP TABLE {}").format(sql.Identifier(REPLACED_SCHEMA, table.version))
        )
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
            connection.execute(
                sql.SQL("ALTER TABLE {} RENAME TO {}").format(place, sql.Identifier(move.to_name))
            )
        connection.execute(
            sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(renamed, sql.Identifier(move.to_schema))
        )
    except psycopg.errors.LockNotAvailable as error:
        raise DatabaseUnavailable(
            f"The table {move.schema}.{move.name} is being read, and could not be replaced.",
            remedy="It is tried again by itself; end what reads it for that long.",
            sqlstate=error.sqlstate,
            schema=move.schema,
            table=move.name,
        ) from error


def _grants(connection: psycopg.Connection, move: Move) -> list[tuple[str | None, str]]:
    rows = connection.execute(
        statement("table_grants"), {"schema": move.schema, "table": move.name}
    )
    return [(role, privilege) for role, privilege in rows if privilege in _PRIVILEGES]


@dataclass(frozen=True)
class Situation:
    """What publishing an item, or taking it away, meets. `holders` are other items whose published table it would take."""

    collection: str
    present: Document | None
    coming: tuple[Places, ...]
    leaving: tuple[Places, ...]
    holders: tuple[Document, ...]

    @property
    def locks(self) -> frozenset[str]:
        """Extents are a collection's, so that its publications go one after the other; so do those of a table."""
        collections = {self.collection, *(str(holder["collection"]) for holder in self.holders)}
        tables = {places.meant.name for places in (*self.coming, *self.leaving)}
        return frozenset(
            {*(f"collection {name}" for name in collections), *(f"table {name}" for name in tables)}
        )


def look_at(
    connection: psycopg.Connection, collection: str, item_id: str, item: Document | None
) -> Situation:
    """What is there now of an item's id and of the tables that it and `item`, which is to take its place, name."""
    present = writes.read_stored(connection, collection, item_id)
    named, before = tables_of(item), tables_of(present)
    coming = tuple(find_places(connection, table) for table in named)
    names = {table.name for table in named}
    leaving = tuple(find_places(connection, table) for table in before if table.name not in names)
    holders = tuple(
        holder for places in coming if (holder := _holder(connection, places, present)) is not None
    )
    return Situation(collection, present, coming, leaving, holders)


def publish(
    connection: psycopg.Connection,
    found: Situation,
    collection: Document,
    item: Document,
    *,
    replaces: str | None,
    run_id: str,
) -> None:
    """Raises Conflict, CatalogRejected, and what psycopg raises."""
    check_replaces(found.present, item, replaces)
    check_is_kept(item, is_kept=writes.remove_version(connection, item))
    moves = _moves(found, run_id)
    writes.write_item(connection, collection, item, found.present)
    if found.present is not None and _is_another(found.present, item):
        writes.keep_version(connection, found.present, by_run=run_id)
    for holder in found.holders:
        _take_away(connection, holder, run_id)
    writes.write_provenance(connection, "publish", item, run_id=run_id, replaced=found.present)
    move_tables(connection, moves, published=tables_of(item))


def unpublish(
    connection: psycopg.Connection, found: Situation, item_id: str, *, published: str, run_id: str
) -> None:
    """Raises SourceNotFound, Conflict, CatalogRejected, and what psycopg raises."""
    present = check_published(found.present, found.collection, item_id, published)
    _take_away(connection, present, run_id)
    move_tables(connection, _moves(found, run_id), published=())


def forget(connection: psycopg.Connection, found: Situation, version: ItemVersion) -> None:
    """Raises SourceNotFound, Conflict, and what psycopg raises."""
    if not writes.remove_version(connection, dict(version.item)):
        raise SourceNotFound(
            f"Version {version.fingerprint} of {version.collection}/{version.item_id} is not kept any more."
        )
    for places in found.coming:
        if places.replaced is not None and not writes.is_kept_table(connection, places.meant):
            drop_replaced(connection, places.meant)


def _holder(
    connection: psycopg.Connection, places: Places, present: Document | None
) -> Document | None:
    """The other item that means the version which is live and would go. It would say what is not true any more."""
    live_version = None if places.live is None or places.is_live else places.live.version
    if live_version is None:
        return None
    asked = {"schema": places.meant.schema, "table": places.meant.table, "version": live_version}
    row = connection.execute(statement("table_holder"), asked).fetchone()
    holder = writes.read_stored(connection, row[0], row[1]) if row is not None else None
    is_other = holder is not None and (
        present is None
        or (holder["collection"], holder["id"]) != (present["collection"], present["id"])
    )
    means_it = any(
        (table.name, table.version) == (places.meant.name, live_version)
        for table in tables_of(holder)
    )
    return holder if is_other and means_it else None


def _moves(found: Situation, run_id: str) -> list[Move]:
    replaced = tables_of(found.present)
    coming = [
        move
        for places in found.coming
        for move in plan_publication(places, replaced=replaced, run_id=run_id)
    ]
    return [*(move for places in found.leaving for move in plan_withdrawal(places)), *coming]


def _take_away(connection: psycopg.Connection, item: Document, run_id: str) -> None:
    writes.keep_version(connection, item, by_run=run_id)
    writes.remove_item(connection, item)
    writes.write_provenance(connection, "unpublish", item, run_id=run_id)


def _is_another(present: Document, item: Document) -> bool:
    """Another recipe or source, or the same made anew in another table. Objects of one fingerprint were overwritten."""
    return fingerprint_of(present) != fingerprint_of(item) or tables_of(present) != tables_of(item)
