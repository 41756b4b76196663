"""The catalog in pgSTAC, in the database that holds the tables: an item and the table that it names are published together.

What belongs here: the Catalog port. What stays out: how documents are kept (`pgstac_documents.py`, `pgstac_writes.py`), which
tables move (`pgstac_tables.py`), the order of it all (`pgstac_publication.py`), locks and patience (`pgstac_transaction.py`).

    pgstac.collections, pgstac.items      what is published, and all that a STAC API on this database serves
    geo_platform.item_versions            what was replaced or unpublished, kept for a while
    geo_platform.provenance               an entry for each publishing and unpublishing
"""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from geo_platform.errors import CatalogRejected
from geo_platform.ports import CatalogEntry, ItemVersion
from geo_platform.sql import statement
from geo_platform.storage.postgres import pgstac_publication as publication
from geo_platform.storage.postgres.connections import Database
from geo_platform.storage.postgres.pgstac_documents import Addresses, read_item
from geo_platform.storage.postgres.pgstac_transaction import publishing, reading
from geo_platform.storage.postgres.pgstac_writes import read_collection, read_stored
from geo_platform.storage.stac_documents import check_id, entry_of
from geo_platform.storage.stac_rules import check_belongs
from geo_platform.telemetry.checkpoints import Checkpoint, report

# How long a publication waits for others, and for readers of a table that it replaces, before it is
# DATABASE_UNAVAILABLE.
PATIENCE_S = 15.0

_PAGE_ROWS = 200
_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


class PgStac:
    """Catalog in one PostgreSQL database. Safe among processes and machines.

    `root_href` is the root of a STAC API on the database, for links; without one they are `pgstac://host:port/database/…`.
    """

    def __init__(
        self, database: Database, *, root_href: str | None, patience_s: float = PATIENCE_S
    ) -> None:
        self._database = database
        self._addresses = Addresses.of(root_href, database.place)
        self._patience_s = patience_s

    def item(self, collection: str, item_id: str) -> dict[str, Any] | None:
        """The published item with links to itself and upwards, or None. Raises CatalogRejected where it cannot be used."""
        _check_ids(collection, item_id)
        with reading(self._database) as connection:
            stored = read_stored(connection, collection, item_id)
        return None if stored is None else self._addresses.linked_item(stored)

    def collection(self, collection: str) -> dict[str, Any] | None:
        """The collection with links to itself, its items and upwards, or None."""
        check_id(collection)
        with reading(self._database) as connection:
            found = read_collection(connection, collection)
        return None if found is None else self._addresses.linked_collection(found.document)

    def entries(self) -> Iterator[CatalogEntry]:
        """Every published item, newest first; read a page at a time, between pages no transaction is open.

        Raises CatalogRejected after the last one where some could not be read.
        """
        unreadable: list[CatalogRejected] = []
        with reading(self._database) as connection:
            keys = connection.execute(statement("catalog_keys")).fetchall()
            for start in range(0, len(keys), _PAGE_ROWS):
                page = keys[start : start + _PAGE_ROWS]
                asked = {
                    "collections": [key[0] for key in page],
                    "item_ids": [key[1] for key in page],
                }
                for place, text, nulls in connection.execute(
                    statement("catalog_items"), asked
                ).fetchall():
                    try:
                        yield self._entry(page[place - 1], text, nulls)
                    except CatalogRejected as error:
                        unreadable.append(error)
        if unreadable:
            raise CatalogRejected(
                " ".join(error.message for error in unreadable), remedy=unreadable[0].remedy
            )

    def publish(
        self, collection: dict[str, Any], item: dict[str, Any], *, replaces: str | None
    ) -> str:
        """Upsert both, make the tables that the item names the published ones, keep what is replaced; all of it or nothing.

        Returns the item's href. Raises Conflict when the published fingerprint is not `replaces`, another source holds the item
        id or a table, or what is brought back is not kept any more; CatalogRejected when what was written reads back
        otherwise; DatabaseUnavailable where a table is read for longer than patience lasts.
        """
        _check_ids(collection["id"], item["id"])
        check_belongs(collection, item)
        run_id = self._database.run_id
        publishing(
            self._database,
            lambda connection: publication.look_at(connection, collection["id"], item["id"], item),
            lambda connection, found: publication.publish(
                connection, found, collection, item, replaces=replaces, run_id=run_id
            ),
            patience_s=self._patience_s,
        )
        _report_committed(collection["id"], item["id"])
        return self._addresses.item(collection["id"], item["id"])

    def unpublish(self, collection: str, item_id: str, *, published: str) -> None:
        """Move the item to the kept versions and its tables out of sight. Raises SourceNotFound, Conflict."""
        _check_ids(collection, item_id)
        run_id = self._database.run_id
        publishing(
            self._database,
            lambda connection: publication.look_at(connection, collection, item_id, None),
            lambda connection, found: publication.unpublish(
                connection, found, item_id, published=published, run_id=run_id
            ),
            patience_s=self._patience_s,
        )
        _report_committed(collection, item_id)

    def versions(
        self, collection: str | None = None, item_id: str | None = None
    ) -> Iterator[ItemVersion]:
        """What is kept, newest withdrawn first, a page at a time. What is published again is not among it."""
        _check_ids(*(name for name in (collection, item_id) if name is not None))
        asked: dict[str, Any] = {"collection": collection, "item_id": item_id, "rows": _PAGE_ROWS}
        last: Sequence[Any] = (None, None, None, None, None)
        with reading(self._database) as connection:
            while True:
                after = dict(
                    zip(
                        (
                            "after_collection",
                            "after_item_id",
                            "after_fingerprint",
                            "after_run_id",
                            "after_at",
                        ),
                        last,
                        strict=True,
                    )
                )
                page = connection.execute(statement("version_page"), {**asked, **after}).fetchall()
                for own_collection, own_id, fingerprint, run_id, withdrawn_at, text in page:
                    yield ItemVersion(
                        own_collection,
                        own_id,
                        fingerprint,
                        run_id,
                        withdrawn_at.astimezone(UTC),
                        json.loads(text),
                    )
                if len(page) < _PAGE_ROWS:
                    return
                last = page[-1][:-1]

    def forget(self, version: ItemVersion) -> None:
        """Remove the kept version, and its table where no other version names it. Raises SourceNotFound, Conflict."""
        publishing(
            self._database,
            lambda connection: publication.look_at(
                connection, version.collection, version.item_id, dict(version.item)
            ),
            lambda connection, found: publication.forget(connection, found, version),
            patience_s=self._patience_s,
        )

    def _entry(self, key: Sequence[Any], text: str, nulls: str | None) -> CatalogEntry:
        collection, item_id, happened_at = key
        item = read_item(text, nulls)
        published = happened_at.astimezone(UTC) if happened_at is not None else _BEFORE_ALL
        return entry_of(
            item,
            collection=collection,
            href=self._addresses.item(collection, item_id),
            published_at_utc=published,
        )


def _report_committed(collection: str, item_id: str) -> None:
    report(
        Checkpoint.SWAP_COMMITTED, f"{collection}/{item_id}", collection=collection, item_id=item_id
    )


def _check_ids(*names: str) -> None:
    for name in names:
        check_id(name)
