"""Publish, unpublish and forget an item, each in one transaction.

Each looks up the present state, decides, writes the documents and moves the tables last, so that
readers of the tables wait as briefly as possible. `pgstac_transaction.py` runs these functions.
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

    `present` is the published item of its id. `coming` are the tables that the new item names,
    `leaving` those that only the present one names. `holders` are other published items whose table
    would be replaced.
    """

    collection: str
    present: Document | None
    coming: tuple[Places, ...]
    leaving: tuple[Places, ...]
    holders: tuple[Document, ...]

    @property
    def locks(self) -> frozenset[str]:
        """Names of the advisory locks to take: one per collection and table."""
        # A collection's extent depends on all its items, so its publications are serialised.
        collections = {self.collection, *(str(holder["collection"]) for holder in self.holders)}
        tables = {places.wanted.name for places in (*self.coming, *self.leaving)}
        return frozenset(
            {*(f"collection {name}" for name in collections), *(f"table {name}" for name in tables)}
        )


def look_up(
    connection: psycopg.Connection, collection: str, item_id: str, item: Document | None
) -> Situation:
    """Return the present state around an item id. `item` is what is to be published, or None."""
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
    """Publish an item and its tables, and keep what they replace.

    Raises Conflict, CatalogRejected, and what psycopg raises.
    """
    check_replaces(found.present, item, replaces)
    check_is_kept(item, is_kept=writes.remove_version(connection, item))
    moves = _moves(found, run_id)
    writes.write_item(connection, collection, item, found.present)
    if found.present is not None and _is_another(found.present, item):
        writes.keep_version(connection, found.present, by_run=run_id)
    for holder in found.holders:
        _withdraw(connection, holder, run_id)
    writes.write_provenance(connection, "publish", item, run_id=run_id, replaced=found.present)
    move_tables(connection, moves, published=tables_of(item))


def unpublish(
    connection: psycopg.Connection, found: Situation, item_id: str, *, published: str, run_id: str
) -> None:
    """Unpublish an item and its tables, and keep them.

    Raises SourceNotFound, Conflict, CatalogRejected, and what psycopg raises.
    """
    present = check_published(found.present, found.collection, item_id, published)
    _withdraw(connection, present, run_id)
    move_tables(connection, _moves(found, run_id), published=())


def forget(connection: psycopg.Connection, found: Situation, version: ItemVersion) -> None:
    """Remove a kept version, and its tables unless another version names them.

    Raises SourceNotFound, Conflict, and what psycopg raises.
    """
    if not writes.remove_version(connection, dict(version.item)):
        raise SourceNotFound(
            f"Version {version.fingerprint} of {version.collection}/{version.item_id} "
            "is not kept any more."
        )
    for places in found.coming:
        if places.replaced is not None and not writes.is_kept_table(connection, places.wanted):
            drop_replaced(connection, places.wanted)


def _holder(
    connection: psycopg.Connection, places: Places, present: Document | None
) -> Document | None:
    """Return the other published item that names the live table, if that is to be replaced."""
    # Left published, that item would describe a table that is gone.
    live_version = None if places.live is None or places.is_live else places.live.version
    if live_version is None:
        return None
    asked = {"schema": places.wanted.schema, "table": places.wanted.table, "version": live_version}
    row = connection.execute(statement("table_holder"), asked).fetchone()
    holder = writes.read_stored(connection, row[0], row[1]) if row is not None else None
    is_other = holder is not None and (
        present is None
        or (holder["collection"], holder["id"]) != (present["collection"], present["id"])
    )
    names_it = any(
        (table.name, table.version) == (places.wanted.name, live_version)
        for table in tables_of(holder)
    )
    return holder if is_other and names_it else None


def _moves(found: Situation, run_id: str) -> list[Move]:
    replaced = tables_of(found.present)
    coming = [
        move
        for places in found.coming
        for move in plan_publication(places, replaced=replaced, run_id=run_id)
    ]
    return [*(move for places in found.leaving for move in plan_withdrawal(places)), *coming]


def _withdraw(connection: psycopg.Connection, item: Document, run_id: str) -> None:
    writes.keep_version(connection, item, by_run=run_id)
    writes.remove_item(connection, item)
    writes.write_provenance(connection, "unpublish", item, run_id=run_id)


def _is_another(present: Document, item: Document) -> bool:
    """Whether the item is another version than the present one, and so replaces it."""
    # The fingerprint may be the same in another table. Objects of one fingerprint, however, are
    # overwritten, so there is no earlier version of them to keep.
    return fingerprint_of(present) != fingerprint_of(item) or tables_of(present) != tables_of(item)
