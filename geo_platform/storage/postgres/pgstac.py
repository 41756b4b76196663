"""The catalog in pgSTAC, in the same database as the tables of features.

    pgstac.collections, pgstac.items      published collections and items; a STAC API can serve them
    geo_platform.item_versions            kept versions: replaced and unpublished items
    geo_platform.provenance               a row for each publication and withdrawal of an item

An item and the table that it names are published in one transaction: `pgstac_publication.py` has
the steps of the transaction, `pgstac_transaction.py` its rights, locks and retries.

Called by `resources/production.py` and `storage/stores.py`.
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

# How long a publication waits for other publications, and for readers of the table that it
# replaces. Then it fails with DATABASE_UNAVAILABLE.
PATIENCE_S = 15.0

_PAGE_ROWS = 200
_EARLIEST_TIME = datetime.min.replace(tzinfo=UTC)


class PgStac:
    """Implements `ports.Catalog` in one PostgreSQL database, also for several machines at once.

    Links begin with `root_href`, the root URL of a STAC API that serves the database. If it is
    None, they begin with `pgstac://host:port/database`. Every method raises ParameterInvalid: an id
    is not valid. DatabaseUnavailable: the database does not answer or is busy. StoreDenied: the
    database refuses access, or the platform is not installed in it. CatalogRejected: the database
    refuses a statement for another reason.
    """

    def __init__(
        self, database: Database, *, root_href: str | None, patience_s: float = PATIENCE_S
    ) -> None:
        self._database = database
        self._addresses = Addresses.of(root_href, database.place)
        self._patience_s = patience_s

    def item(self, collection: str, item_id: str) -> dict[str, Any] | None:
        """Return the published item with absolute links, or None if no such item is published.

        Raises CatalogRejected: the stored document is not a STAC item.
        """
        _check_ids(collection, item_id)
        with reading(self._database) as connection:
            stored = read_stored(connection, collection, item_id)
        return None if stored is None else self._addresses.linked_item(stored)

    def collection(self, collection: str) -> dict[str, Any] | None:
        """Return the collection with absolute links, or None if there is no such collection."""
        check_id(collection)
        with reading(self._database) as connection:
            present = read_collection(connection, collection)
        return None if present is None else self._addresses.linked_collection(present.document)

    def entries(self) -> Iterator[CatalogEntry]:
        """Yield every published item, newest first.

        Items are read in pages of 200, and no transaction is open between two pages.
        Raises CatalogRejected after the last entry: some stored documents are not STAC items. The
        message names them.
        """
        unreadable: list[CatalogRejected] = []
        with reading(self._database) as connection:
            keys = connection.execute(statement("catalog_keys")).fetchall()
            for start in range(0, len(keys), _PAGE_ROWS):
                page = keys[start : start + _PAGE_ROWS]
                parameters = {
                    "collections": [key[0] for key in page],
                    "item_ids": [key[1] for key in page],
                }
                for position, text, nulls in connection.execute(
                    statement("catalog_items"), parameters
                ).fetchall():
                    try:
                        yield self._entry(page[position - 1], text, nulls)
                    except CatalogRejected as error:
                        unreadable.append(error)
        if unreadable:
            raise CatalogRejected(
                " ".join(error.message for error in unreadable), remedy=unreadable[0].remedy
            )

    def publish(
        self, collection: dict[str, Any], item: dict[str, Any], *, replaces: str | None
    ) -> str:
        """Upsert collection and item, and return the item's href, all in one transaction.

        The transaction also publishes the tables that the item names, and keeps the item and the
        tables that are replaced.
        Raises Conflict: the published item has another fingerprint than `replaces` or another
        source, a table may not be replaced, or the item is restored from a version that is not kept
        any more. CatalogRejected: the item names another collection, the database refuses a
        document, or a document reads back differently. DatabaseUnavailable: other publications or
        readers locked a table for longer than `patience_s`.
        """
        _check_ids(collection["id"], item["id"])
        check_belongs(collection, item)
        run_id = self._database.run_id
        publishing(
            self._database,
            lambda connection: publication.look_up(connection, collection["id"], item["id"], item),
            lambda connection, situation: publication.publish(
                connection, situation, collection, item, replaces=replaces, run_id=run_id
            ),
            patience_s=self._patience_s,
        )
        _report_committed(collection["id"], item["id"])
        return self._addresses.item(collection["id"], item["id"])

    def unpublish(self, collection: str, item_id: str, *, published: str) -> None:
        """Move the item to the kept versions, and its tables out of the published schemas.

        Raises SourceNotFound: no such item is published. Conflict: the published item has another
        fingerprint than `published`. DatabaseUnavailable: other publications or readers locked a
        table for longer than `patience_s`.
        """
        _check_ids(collection, item_id)
        run_id = self._database.run_id
        publishing(
            self._database,
            lambda connection: publication.look_up(connection, collection, item_id, None),
            lambda connection, situation: publication.unpublish(
                connection, situation, item_id, published=published, run_id=run_id
            ),
            patience_s=self._patience_s,
        )
        _report_committed(collection, item_id)

    def versions(
        self, collection: str | None = None, item_id: str | None = None
    ) -> Iterator[ItemVersion]:
        """Yield the kept versions, latest withdrawn first. They are read in pages of 200."""
        _check_ids(*(name for name in (collection, item_id) if name is not None))
        parameters: dict[str, Any] = {
            "collection": collection,
            "item_id": item_id,
            "rows": _PAGE_ROWS,
        }
        last_key: Sequence[Any] = (None, None, None, None, None)
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
                        last_key,
                        strict=True,
                    )
                )
                page = connection.execute(
                    statement("version_page"), {**parameters, **after}
                ).fetchall()
                for (
                    version_collection,
                    version_item_id,
                    fingerprint,
                    run_id,
                    withdrawn_at,
                    text,
                ) in page:
                    yield ItemVersion(
                        version_collection,
                        version_item_id,
                        fingerprint,
                        run_id,
                        withdrawn_at.astimezone(UTC),
                        json.loads(text),
                    )
                if len(page) < _PAGE_ROWS:
                    return
                last_key = page[-1][:-1]

    def forget(self, version: ItemVersion) -> None:
        """Remove a kept version, and its replaced tables unless another kept version names them.

        Raises SourceNotFound: the version is not kept any more. Conflict: a view or a foreign key
        depends on a table. DatabaseUnavailable: other publications or readers locked a table for
        longer than `patience_s`.
        """
        publishing(
            self._database,
            lambda connection: publication.look_up(
                connection, version.collection, version.item_id, dict(version.item)
            ),
            lambda connection, situation: publication.forget(connection, situation, version),
            patience_s=self._patience_s,
        )

    def _entry(self, key: Sequence[Any], text: str, nulls: str | None) -> CatalogEntry:
        collection, item_id, happened_at = key
        item = read_item(text, nulls)
        published = happened_at.astimezone(UTC) if happened_at is not None else _EARLIEST_TIME
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
