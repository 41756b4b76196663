"""Publish, unpublish and forget an item, each in one transaction.

A transaction looks up the present state (the situation), checks whether the change is allowed,
writes the documents, and then moves the tables. The tables are moved last because readers of the
tables wait from then on. `pgstac_transaction.py` runs these functions.

Called by `pgstac.py`.
"""

from dataclasses import dataclass

import psycopg

from geo_platform.errors import SourceNotFound
from geo_platform.ports import ItemVersion
from geo_platform.sql import statement
from geo_platform.storage.postgres import pgstac_writes as writes
from geo_platform.storage.postgres.pgstac_tables import (
    Move,
    Places,
    drop_replaced,
    find_places,
    move_tables,
    plan_publication,
    plan_withdrawal,
    tables_of,
)
from geo_platform.storage.stac_documents import Document
from geo_platform.storage.stac_rules import (
    check_is_kept,
    check_published,
    check_replaces,
    fingerprint_of,
)


@dataclass(frozen=True)
class Situation:
    """The state of the catalog before an item is published, unpublished or forgotten.

    `present` is the item that is published under the same id. `coming` are the tables that the new
    item names. `holders` are other published items that name a table that would be replaced: they
    are unpublished. `leaving` are the other tables of the present item and of the holders.
    """

    collection: str
    present: Document | None
    coming: tuple[Places, ...]
    leaving: tuple[Places, ...]
    holders: tuple[Document, ...]

    @property
    def locks(self) -> frozenset[str]:
        """The names of the advisory locks to take: one per collection and one per table."""
        # The extent of a collection depends on all its items, so that only one publication at a
        # time may change it.
        collections = {self.collection, *(str(holder["collection"]) for holder in self.holders)}
        tables = {places.wanted.name for places in (*self.coming, *self.leaving)}
        return frozenset(
            {*(f"collection {name}" for name in collections), *(f"table {name}" for name in tables)}
        )


def look_up(
    connection: psycopg.Connection, collection: str, item_id: str, item: Document | None
) -> Situation:
    """Return the situation of an item id.

    `item` is the item to publish or to forget, or None to unpublish the present item.
    Raises CatalogRejected: a stored document is not a STAC item. psycopg.Error: a query fails.
    """
    present = writes.read_stored(connection, collection, item_id)
    new_tables, present_tables = tables_of(item), tables_of(present)
    coming = tuple(find_places(connection, table) for table in new_tables)
    # An item can hold several of the tables.
    holders = {
        (str(holder["collection"]), str(holder["id"])): holder
        for places in coming
        if (holder := _holder(connection, places, present)) is not None
    }
    held_tables = [table for holder in holders.values() for table in tables_of(holder)]
    names = {table.name for table in new_tables}
    leaving = tuple(
        find_places(connection, table)
        for table in dict.fromkeys((*present_tables, *held_tables))
        if table.name not in names
    )
    return Situation(collection, present, coming, leaving, tuple(holders.values()))


def publish(
    connection: psycopg.Connection,
    situation: Situation,
    collection: Document,
    item: Document,
    *,
    replaces: str | None,
    run_id: str,
) -> None:
    """Publish an item and its tables, and keep the item and the tables that they replace.

    Raises Conflict: the item may not replace the present item, or a table may not be replaced.
    CatalogRejected: a document or a table is not as expected after writing. DatabaseUnavailable:
    readers hold a table. psycopg.Error: a statement fails.
    """
    check_replaces(situation.present, item, replaces)
    check_is_kept(item, is_kept=writes.remove_version(connection, item))
    moves = _moves(situation, run_id)
    writes.write_item(connection, collection, item, situation.present)
    if situation.present is not None and _is_other_version(situation.present, item):
        writes.keep_version(connection, situation.present, by_run=run_id)
    for holder in situation.holders:
        _withdraw(connection, holder, run_id)
    writes.write_provenance(connection, "publish", item, run_id=run_id, replaced=situation.present)
    move_tables(connection, moves, published=tables_of(item))


def unpublish(
    connection: psycopg.Connection,
    situation: Situation,
    item_id: str,
    *,
    published: str,
    run_id: str,
) -> None:
    """Unpublish an item and its tables, and keep them as a version.

    Raises SourceNotFound: the item is not published. Conflict: its fingerprint is not `published`.
    CatalogRejected: the item is still published afterwards. DatabaseUnavailable: readers hold a
    table. psycopg.Error: a statement fails.
    """
    present = check_published(situation.present, situation.collection, item_id, published)
    _withdraw(connection, present, run_id)
    move_tables(connection, _moves(situation, run_id), published=())


def forget(connection: psycopg.Connection, situation: Situation, version: ItemVersion) -> None:
    """Remove a kept version, and its replaced tables unless another kept version names them.

    Raises SourceNotFound: the version is not kept. Conflict: a view or a foreign key depends on a
    table. psycopg.Error: a statement fails.
    """
    if not writes.remove_version(connection, dict(version.item)):
        raise SourceNotFound(
            f"Version {version.fingerprint} of {version.collection}/{version.item_id} "
            "is not kept any more."
        )
    for places in situation.coming:
        if places.replaced is not None and not writes.is_kept_table(connection, places.wanted):
            drop_replaced(connection, places.wanted)


def _holder(
    connection: psycopg.Connection, places: Places, present: Document | None
) -> Document | None:
    """Return the other published item that names the table to be replaced, or None.

    That item must be unpublished too: its table is not published any more.
    """
    live_version = None if places.live is None or places.is_live else places.live.version
    if live_version is None:
        return None
    parameters = {
        "schema": places.wanted.schema,
        "table": places.wanted.table,
        "version": live_version,
    }
    row = connection.execute(statement("table_holder"), parameters).fetchone()
    holder = writes.read_stored(connection, row[0], row[1]) if row is not None else None
    is_other = holder is not None and (
        present is None
        or (holder["collection"], holder["id"]) != (present["collection"], present["id"])
    )
    names_live_table = any(
        (table.name, table.version) == (places.wanted.name, live_version)
        for table in tables_of(holder)
    )
    return holder if is_other and names_live_table else None


def _moves(situation: Situation, run_id: str) -> list[Move]:
    replaced = tables_of(situation.present)
    coming = [
        move
        for places in situation.coming
        for move in plan_publication(places, replaced=replaced, run_id=run_id)
    ]
    return [*(move for places in situation.leaving for move in plan_withdrawal(places)), *coming]


def _withdraw(connection: psycopg.Connection, item: Document, run_id: str) -> None:
    writes.keep_version(connection, item, by_run=run_id)
    writes.remove_item(connection, item)
    writes.write_provenance(connection, "unpublish", item, run_id=run_id)


def _is_other_version(present: Document, item: Document) -> bool:
    """Return whether the item has another fingerprint or other tables than the present item."""
    # Two loads of one fingerprint make two tables, and the earlier table is kept. Objects of one
    # fingerprint have the same key, so that no earlier object is left to keep.
    return fingerprint_of(present) != fingerprint_of(item) or tables_of(present) != tables_of(item)
