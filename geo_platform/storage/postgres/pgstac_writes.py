"""Write items, collections, kept versions and provenance, in the transaction that publishes.

Items and collections are read back after writing, and compared. The functions do not check whether
the change is allowed (`stac_rules.py`). Every function raises psycopg.Error: a statement fails.

Called by `pgstac.py` and `pgstac_publication.py`.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from geo_platform.errors import CatalogRejected
from geo_platform.sql import statement
from geo_platform.storage.postgres.pgstac_documents import null_paths, read_item, to_jsonb, to_store
from geo_platform.storage.postgres.pgstac_tables import TableVersion, tables_of
from geo_platform.storage.stac_documents import (
    Document,
    item_extent,
    merged_collection,
    union,
)
from geo_platform.storage.stac_rules import fingerprint_of, run_of


@dataclass(frozen=True)
class PresentCollection:
    """A stored collection, and whether pgSTAC has items and a partition (a table) for it."""

    document: Document
    has_items: bool
    has_partition: bool


def read_stored(connection: psycopg.Connection, collection: str, item_id: str) -> Document | None:
    """Return the published item without structural links, or None if no such item is published.

    Raises CatalogRejected: the stored document is not a STAC item.
    """
    row = connection.execute(
        statement("catalog_item"), {"collection": collection, "item_id": item_id}
    ).fetchone()
    return None if row is None else read_item(row[0], row[1])


def read_collection(connection: psycopg.Connection, collection: str) -> PresentCollection | None:
    """Return the stored collection without structural links, or None if there is none."""
    row = connection.execute(statement("catalog_collection"), {"collection": collection}).fetchone()
    return (
        None
        if row is None
        else PresentCollection({"links": [], **json.loads(row[0])}, row[1], row[2])
    )


def write_item(
    connection: psycopg.Connection,
    new_collection: Document,
    item: Document,
    present: Document | None,
) -> None:
    """Upsert the collection and the item, and read both back. `present` is the item to replace.

    Raises CatalogRejected: a document reads back differently, or JSON cannot represent a value.
    """
    before = read_collection(connection, new_collection["id"])
    if before is None or not before.has_partition:
        connection.execute(statement("catalog_first_partition"))
    if before is None:  # pgSTAC requires the collection before the item
        write_collection(connection, new_collection, None, item_extent(item))
    stored = to_store(item)
    _upsert_item(connection, stored)
    extent = _grown_extent(connection, before, stored, present)
    write_collection(
        connection, new_collection, before.document if before is not None else None, extent
    )


def write_collection(
    connection: psycopg.Connection,
    new_collection: Document,
    present: Document | None,
    extent: Document,
) -> None:
    """Upsert the collection and read it back. Keep fields of `present` that people may have edited.

    Raises CatalogRejected: the collection reads back differently, or JSON cannot represent a value.
    """
    document = merged_collection(new_collection, present, union([extent]))
    text = to_jsonb(document, f"The collection {new_collection['id']}")
    connection.execute(sql.SQL("SELECT upsert_collection(%s::jsonb)"), [text])
    after = read_collection(connection, new_collection["id"])
    if after is None or after.document != document:
        raise CatalogRejected(
            f"The collection {new_collection['id']} reads back differently from what was written."
        )


def remove_item(connection: psycopg.Connection, item: Document) -> None:
    """Remove the item from pgSTAC, and set its collection's extent to that of the other items.

    Raises CatalogRejected: the item is still stored afterwards, or its collection is missing.
    """
    collection = str(item["collection"])
    connection.execute(sql.SQL("SELECT delete_item(%s, %s)"), [item["id"], collection])
    before = read_collection(connection, collection)
    if read_stored(connection, collection, item["id"]) is not None or before is None:
        raise CatalogRejected(
            f"The item {collection}/{item['id']} is still published after it was removed."
        )
    write_collection(
        connection,
        before.document,
        before.document,
        union(_extents(connection, collection)),
    )


def keep_version(connection: psycopg.Connection, item: Document, *, by_run: str) -> None:
    """Add a replaced or unpublished item to the kept versions. `by_run` is the run that does it."""
    text = to_jsonb(item, f"The replaced version of {item['id']}")
    connection.execute(
        statement("version_keep"), {**_identifiers(item), "item": text, "by_run": by_run}
    )


def remove_version(connection: psycopg.Connection, item: Document) -> bool:
    """Remove the version of this item from the kept versions; return whether it was kept."""
    return connection.execute(statement("version_remove"), _identifiers(item)).rowcount == 1


def is_kept_table(connection: psycopg.Connection, table: TableVersion) -> bool:
    """Return whether any kept version of an item names this version of a table."""
    row = connection.execute(statement("version_of_table"), {"version": table.version}).fetchone()
    return bool(row and row[0])


def write_provenance(
    connection: psycopg.Connection,
    action: str,
    item: Document,
    *,
    run_id: str,
    replaced: Document | None = None,
) -> None:
    """Add a row of provenance for each table that the item names, or one row if it names no table.

    `action` is publish or unpublish, `replaced` the item that was replaced.
    """
    tables: Sequence[TableVersion | None] = tables_of(item) or (None,)
    replaced_versions = {table.name: table.version for table in tables_of(replaced)}
    properties = item["properties"]
    for table in tables:
        connection.execute(
            statement("provenance_add"),
            {
                **_identifiers(item),
                "action": action,
                "run_id": run_id,
                "source_uri": next(
                    (link["href"] for link in item["links"] if link["rel"] == "via"), None
                ),
                "source_etag": properties.get("geo_platform:source_etag"),
                "table_schema": table.schema if table else None,
                "table_name": table.table if table else None,
                "table_version": table.version if table else None,
                "replaced_fingerprint": fingerprint_of(replaced),
                "replaced_run_id": run_of(replaced) if replaced is not None else None,
                "replaced_table_version": replaced_versions.get(table.name) if table else None,
            },
        )


def _upsert_item(connection: psycopg.Connection, item: Document) -> None:
    place = {"collection": item["collection"], "item_id": item["id"]}
    connection.execute(
        sql.SQL("SELECT upsert_item(%s::jsonb)"), [to_jsonb(item, f"The item {item['id']}")]
    )
    nulls = null_paths(item)
    if nulls:
        connection.execute(statement("catalog_nulls"), {**place, "nulls": json.dumps(nulls)})
    if read_stored(connection, item["collection"], item["id"]) != item:
        raise CatalogRejected(
            f"The item {item['collection']}/{item['id']} reads back differently from what was "
            "written."
        )


def _grown_extent(
    connection: psycopg.Connection,
    before: PresentCollection | None,
    item: Document,
    replaced: Document | None,
) -> Document:
    """Return the extent around all items of the collection, after `item` was written."""
    # The other items are not read if the item is new, or replaces an item of the same extent.
    new_extent = item_extent(item)
    if before is None or not before.has_items:
        return new_extent
    if replaced is None and "extent" in before.document:
        return union([before.document["extent"], new_extent])
    if replaced is not None and item_extent(replaced) == new_extent and "extent" in before.document:
        return dict(before.document["extent"])
    return union(_extents(connection, item["collection"]))


def _extents(connection: psycopg.Connection, collection: str) -> Iterator[Document]:
    for bbox, moment, start, end in connection.execute(
        statement("catalog_extents"), {"collection": collection}
    ):
        properties = {"datetime": moment, "start_datetime": start, "end_datetime": end}
        yield item_extent({"bbox": json.loads(bbox) if bbox else None, "properties": properties})


def _identifiers(item: Document) -> dict[str, str]:
    return {
        "collection": str(item["collection"]),
        "item_id": item["id"],
        "fingerprint": fingerprint_of(item) or "",
        "run_id": run_of(item),
    }
