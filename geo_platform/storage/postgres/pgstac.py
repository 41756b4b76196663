"""The Catalog port in pgSTAC, in the database that holds the tables of features.

    pgstac.collections, pgstac.items      what is published; a STAC API may serve it from here
    geo_platform.item_versions            replaced and unpublished items, kept for a while
    geo_platform.provenance               an entry for each publishing and unpublishing

An item and the table that it names are published in one transaction: `pgstac_publication.py` has
its steps, `pgstac_transaction.py` its rights, locks and retries.
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

# How long a publication waits for others, and for readers of a table that it replaces, before it
# fails with DATABASE_UNAVAILABLE.
PATIENCE_S = 15.0

_PAGE_ROWS = 200
_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


class PgStac:
    """A Catalog in one PostgreSQL database, safe among processes and machines.

    Links begin with `root_href`, the root of a STAC API on the database, or without one with
    `pgstac://host:port/database`.
    """

    def __init__(
        self, database: Database, *, root_href: str | None, patience_s: float = PATIENCE_S
    ) -> None:
        self._database = database
        self._addresses = Addresses.of(root_href, database.place)
        self._patience_s = patience_s

    def item(self, collection: str, item_id: str) -> dict[str, Any] | None:
        """Return the published item with its structural links, or None if there is none.

        Raises CatalogRejected: the stored item cannot be used.
        """
        _check_ids(collection, item_id)
        with reading(self._database) as connection:
            stored = read_stored(connection, collection, item_id)
        return None if stored is None else self._addresses.linked_item(stored)

    def collection(self, collection: str) -> dict[str, Any] | None:
        """Return the collection with its structural links, or None if there is none."""
        check_id(collection)
        with reading(self._database) as connection:
            found = read_collection(connection, collection)
        return None if found is None else self._addresses.linked_collection(found.document)

    def entries(self) -> Iterator[CatalogEntry]:
        """Yield every published item, newest first.

        Items are read a page at a time, and no transaction is open between pages.
        Raises CatalogRejected, after the last entry: it names the items that could not be used.
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
        """Upsert both and return the item's href, all in one transaction.

        It also publishes the tables that the item names, and keeps what is replaced.
        Raises Conflict: the published fingerprint is not `replaces`, another source holds the item
        id or a table, or a restored item is not kept any more.
        Raises CatalogRejected: the item is of another collection, or reads back differently.
        Raises DatabaseUnavailable: readers hold a table for longer than `patience_s`.
        """
        _check_ids(collection["id"], item["id"])
        check_belongs(collection, item)
        run_id = self._database.run_id
        publishing(
            self._database,
            lambda connection: publication.look_up(connection, collection["id"], item["id"], item),
            lambda connection, found: publication.publish(
                connection, found, collection, item, replaces=replaces, run_id=run_id
            ),
            patience_s=self._patience_s,
        )
        _report_committed(collection["id"], item["id"])
        return self._addresses.item(collection["id"], item["id"])

    def unpublish(self, collection: str, item_id: str, *, published: str) -> None:
        """Move the item to the kept versions, and its tables out of the published schemas.

        Raises SourceNotFound: it is not published.
        Raises Conflict: its fingerprint is not `published`.
        """
        _check_ids(collection, item_id)
        run_id = self._database.run_id
        publishing(
            self._database,
            lambda connection: publication.look_up(connection, collection, item_id, None),
            lambda connection, found: publication.unpublish(
                connection, found, item_id, published=published, run_id=run_id
            ),
            patience_s=self._patience_s,
        )
        _report_committed(collection, item_id)

    def versions(
        self, collection: str | None = None, item_id: str | None = None
    ) -> Iterator[ItemVersion]:
        """Yield the kept versions, newest withdrawn first, without those that are published again.

        They are read a page at a time.
        """
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
        """Remove the kept version, and its table unless another version names it.

        Raises SourceNotFound: the version is not kept any more.
        Raises Conflict: a view or a foreign key depends on its table.
        """
        publishing(
            self._database,
            lambda connection: publication.look_up(
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
