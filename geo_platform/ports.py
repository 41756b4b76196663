"""The ports: Protocols of the stores that the platform uses, and the values they take and return.

Stages use only these Protocols. A class that implements one is an adapter: the adapters are in
`storage/`, and `storage/stores.py` chooses among them. Every adapter translates the errors of its
library into those of `geo_platform/errors.py`.

A fingerprint is the hash of everything that determines a result: the source's content, the options
and the version of the stage. A version of an item or a table is the result of one fingerprint in
one run.

Used throughout the application.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import pyarrow as pa

from geo_platform.contracts.message import (
    Finding,
    ObjectReference,
    SpatialReference,
    TableReference,
)
from geo_platform.errors import SourceNotFound
from geo_platform.grid import Bounds

BRONZE = "bronze"
SILVER = "silver"
QUARANTINE = "quarantine"
MESSAGES = "messages"

# Name of the JSON object that records a dataset. It is written after the dataset's other objects:
# where it exists, the dataset is complete and no other source may use its name.
FEATURES_RECORD = "features.json"

# Suffix of the JSON object that says why an object is in the container `quarantine`. Its key is the
# key of that object and this suffix.
QUARANTINE_RECORD = ".quarantine.json"

# Metadata key of an object that a client uploaded and submitted itself: the watches of containers
# start no run for it. The value identifies the uploaded file, see `storage/local/source_files.py`.
UPLOAD_ORIGIN = "origin"


def message_key(stage: str, partition: str | None, run_id: str) -> str:
    """Return the key of a stage's message in the container `messages`."""
    return (
        f"{stage}/{partition}/{run_id}.json" if partition is not None else f"{stage}/{run_id}.json"
    )


@dataclass(frozen=True)
class StoredObject:
    """An object as the store describes it.

    `appeared_utc` is when this content appeared in the store under this key. It can be later than
    `last_modified_utc`, since a file that is moved into a folder keeps its mtime. It is None if the
    store does not record it.
    """

    reference: ObjectReference
    last_modified_utc: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)
    appeared_utc: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ObjectPage:
    """One page of a listing, in the order of the listing.

    Pass `after` to `ObjectStore.page` to get the next page; on the last page `after` is None.
    `at_utc` is the time of the listing by the store's own clock.
    """

    objects: tuple[StoredObject, ...]
    after: str | None
    at_utc: datetime


class ObjectStore(Protocol):
    """Containers of objects: byte strings with a key, an etag and metadata.

    Every new content of an object has a new etag. Keys use forward slashes. A put is atomic:
    readers see the whole object or none of it.
    Every method raises StoreUnavailable: the store does not answer. StoreDenied: the store refuses
    access. ParameterInvalid: the container or the key is not valid.
    """

    @property
    def is_local(self) -> bool:
        """Whether objects are files on this machine, so that `local_path` downloads nothing."""

    def stat(self, container: str, key: str) -> StoredObject:
        """Describe one object.

        Raises SourceNotFound: there is no such object.
        """

    def list(self, container: str, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every object whose key starts with `prefix`, in order of key.

        Objects that are still being written are not listed.
        """

    def page(
        self, container: str, prefix: str = "", *, after: str | None = None, limit: int = 5000
    ) -> ObjectPage:
        """Return at most `limit` of the objects that `list` yields.

        `after` is that of the previous page; another process may request the next page.
        Raises ParameterInvalid: the store does not accept `after`, for example because it expired.
        """

    def local_path(
        self, container: str, key: str, *, etag: str | None = None
    ) -> AbstractContextManager[Path]:
        """Open a context that gives the path of a local file with the object's content.

        Do not write to the file, and do not use the path after the context.
        Raises SourceNotFound: there is no such object. Conflict: the object has another etag.
        """

    def open(
        self, container: str, key: str, *, etag: str | None = None
    ) -> AbstractContextManager[BinaryIO]:
        """Open a seekable reader that fetches little more than the bytes that are read from it.

        The reader returns bytes of one version only: of `etag`, or of the current etag if None.
        Raises SourceNotFound: there is no such object. Conflict: the object has another etag, or
        was replaced while it was read.
        """

    def read_bytes(self, container: str, key: str) -> bytes:
        """Return the content of an object. For messages and pictures, not for large data.

        Raises SourceNotFound: there is no such object.
        """

    def put_file(
        self,
        container: str,
        key: str,
        path: Path,
        *,
        metadata: Mapping[str, str],
        move: bool = False,
        only_if_etag: str | None = None,
    ) -> StoredObject:
        """Store a file under a key, atomically, and return the new object.

        With `move` the file no longer exists afterwards. `only_if_etag` is the etag that the object
        must have now: "" if there must be no object yet, None for any.
        Raises Conflict: the object has another etag, or the file changed while it was copied.
        SourceNotFound: there is no file `path`. SourceUnreadable: it is not a regular file.
        """

    def put_bytes(
        self,
        container: str,
        key: str,
        content: bytes,
        *,
        metadata: Mapping[str, str],
        only_if_etag: str | None = None,
    ) -> StoredObject:
        """Store a small object, atomically, and return it.

        `only_if_etag` is the etag that the object must have now: "" if there must be no object yet,
        None for any.
        Raises Conflict: the object has another etag.
        """

    def delete(self, container: str, key: str) -> None:
        """Delete an object. Do nothing if there is no such object."""

    def move(
        self, container: str, key: str, to_container: str, *, etag: str, metadata: Mapping[str, str]
    ) -> StoredObject:
        """Move an object to the same key of another container, and return the moved object.

        The moved object has a new etag, and `metadata` replaces its metadata. If the process is
        killed during the move, the object may be in both containers.
        Raises SourceNotFound: there is no such object. Conflict: the object does not have the etag
        `etag`. ParameterInvalid: both containers are the same.
        """


@dataclass(frozen=True)
class IndexRequest:
    """The indexes that a dataset should get.

    `attributes` and `temporal` are names of published columns. An index that the store cannot build
    is reported as a finding of the load.
    """

    spatial: bool = True
    attributes: tuple[str, ...] = ()
    temporal: tuple[str, ...] = ()


@dataclass(frozen=True)
class FeatureTarget:
    """The dataset to write, and its properties that are known before the first row is read.

    `schema` holds the published columns. `load_mode` is update, create, replace or append
    (`vector/options.py`). `key_columns` are the columns by which an append recognises a row that
    exists already. `dimension` is xy or xyz. `json_columns` are text columns that hold JSON.
    `column_comments` holds one sentence for each published column. `key_prefix` is the folder of a
    store of files, `schema_name` the schema of a database. `is_forced`: replace also a sound file
    of the same fingerprint.
    """

    dataset: str
    schema: pa.Schema
    geometry_column: str
    crs: SpatialReference
    geometry_type: str
    fingerprint: str
    key_prefix: str
    metadata: Mapping[str, str]
    indexes: IndexRequest = IndexRequest()
    schema_name: str = "geo"
    load_mode: str = "update"
    key_columns: tuple[str, ...] = ()
    dimension: str = "xy"
    json_columns: tuple[str, ...] = ()
    column_comments: Mapping[str, str] = field(default_factory=dict)
    is_forced: bool = False


@dataclass(frozen=True)
class FeatureDataset:
    """The result of a load. `stored` is its file, `table` its table; the other one is None.

    `rows` and `bounds` are read back from the store. They describe the rows of this load only, also
    if the load appended to a table.
    """

    destination: str
    dataset: str
    stored: ObjectReference | None
    sha256: str | None
    rows: int
    bounds: Bounds
    findings: tuple[Finding, ...] = ()
    table: TableReference | None = None


class FeatureStore(Protocol):
    """A store of feature datasets.

    Every method raises StoreUnavailable or DatabaseUnavailable: the store does not answer.
    StoreDenied: the store refuses access.
    """

    def check_free(self, target: FeatureTarget) -> None:
        """Check, before any row is read, that `target.load_mode` allows writing the dataset.

        Raises TableExists: another dataset has the name, and the mode does not replace it.
        ParameterInvalid: the store does not support the mode, a column or the schema.
        """

    def load(
        self, target: FeatureTarget, batches: Iterable[pa.RecordBatch], *, scratch: Path
    ) -> FeatureDataset:
        """Write the batches (WKB geometry, `target.schema`) in bounded memory.

        If `batches` raises, readers see nothing of the load. A database keeps the rows in a staged
        table, which readers do not see, until the catalog publishes the item that names the table.
        Raises what `batches` raises. NoFeatures: there are no rows. TableExists: another dataset
        got the name meanwhile. ParameterInvalid, FieldEncoding: the store cannot store a value or
        a column.
        """

    def holds(self, stored: ObjectReference | None, table: TableReference | None) -> bool:
        """Return whether the result of an earlier load can still be used.

        `stored` must have the same etag. `table` must exist: staged, published or replaced. A table
        with appended rows counts only if it is published, or if it is staged and the table that it
        is based on is still the published one.
        """

    def sweep(self, older_than_utc: datetime) -> tuple[str, ...]:
        """Drop the tables of unpublished loads that began before this time; return their names."""


# The order of an item's assets, and so of the outputs of a job: data first, pictures last. Catalogs
# sort by it, since not every store keeps the order of a JSON object.
ASSET_ORDER = (
    "data",
    "data_points",
    "data_lines",
    "data_polygons",
    "data_collections",
    "table",
    "table_points",
    "table_lines",
    "table_polygons",
    "table_collections",
    "visualization",
    "analysis",
    "archive",
    "rejected",
    "thumbnail",
    "preview",
)

# Fields of an asset that is an object: its container and its key in the object store.
ASSET_CONTAINER = "geo_platform:container"
ASSET_KEY = "geo_platform:key"

# Fields of an asset that is a table: its published schema and name, and the version of the table.
ASSET_SCHEMA = "geo_platform:schema"
ASSET_TABLE = "geo_platform:table"
ASSET_TABLE_VERSION = "geo_platform:table_version"

# Properties of an item. Every Catalog reads them, to make entries and to find conflicts.
ITEM_RUN_ID = "geo_platform:run_id"
ITEM_FINGERPRINT = "geo_platform:fingerprint"
ITEM_SOURCE = "geo_platform:source"
ITEM_SOURCE_CONTAINER = "geo_platform:source_container"
# Only if rows were appended: every source of rows, in the order in which the rows were added.
ITEM_SOURCES = "geo_platform:sources"
# An item whose load mode is `append` may replace one that was made from another source.
ITEM_LOAD_MODE = "geo_platform:load_mode"

# Only if the item was restored: the run that restored it, and when the version was published first.
# A restored item must be one of the kept versions. It may replace an item from another source.
ITEM_RESTORED_BY = "geo_platform:restored_by_run"
ITEM_FIRST_PUBLISHED = "geo_platform:first_published"


@dataclass(frozen=True)
class CatalogEntry:
    """A published item, as listings show it.

    `outputs` are the hrefs of the item's assets, `objects` the (container, key) pairs of those that
    are objects. `item` is the item as STAC JSON with absolute hrefs.
    """

    collection: str
    item_id: str
    run_id: str
    fingerprint: str
    source: str
    outputs: tuple[str, ...]
    updated_at_utc: datetime
    href: str
    objects: tuple[tuple[str, str], ...] = ()
    item: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class ItemVersion:
    """A kept version of an item: a version that was published, and then replaced or unpublished.

    `withdrawn_at_utc` is when it was replaced or unpublished. `item` is the item as STAC JSON with
    absolute hrefs.
    """

    collection: str
    item_id: str
    fingerprint: str
    run_id: str
    withdrawn_at_utc: datetime
    item: Mapping[str, Any]


class Catalog(Protocol):
    """STAC collections and items. Items cross this port as STAC JSON objects.

    Publishing an item publishes the tables that it names: where an asset names a version of a table
    (`ASSET_TABLE_VERSION`), that version becomes the published table in the same transaction, and
    the table that it replaces is kept.
    Every method raises StoreUnavailable or DatabaseUnavailable: the catalog does not answer.
    StoreDenied: the catalog refuses access. ParameterInvalid: an id is not valid.
    """

    def item(self, collection: str, item_id: str) -> dict[str, Any] | None:
        """Return the published item with absolute hrefs, or None if no such item is published.

        Raises CatalogRejected: the stored document is not a STAC item.
        """

    def entries(self) -> Iterator[CatalogEntry]:
        """Yield every published item, newest first.

        Raises CatalogRejected after the last entry: some items could not be read.
        """

    def publish(
        self, collection: dict[str, Any], item: dict[str, Any], *, replaces: str | None
    ) -> str:
        """Upsert collection and item, and return the item's href. Keep the item that is replaced.

        `replaces` is the fingerprint of the item that the caller expects to replace, or None if it
        expects no item.
        Raises CatalogRejected: the catalog cannot store a document. Conflict: the published item
        has another fingerprint than `replaces` or another source, the table belongs to another
        source, or the item is restored from a version that is not kept any more.
        """

    def collection(self, collection: str) -> dict[str, Any] | None:
        """Return the published collection, or None if there is no such collection.

        Raises CatalogRejected: the stored document cannot be read.
        """

    def unpublish(self, collection: str, item_id: str, *, published: str) -> None:
        """Hide the item and its table from readers, and keep both as a version.

        `published` is the fingerprint of the item that the caller expects to unpublish.
        Raises SourceNotFound: no such item is published. Conflict: the published item has another
        fingerprint.
        """

    def versions(
        self, collection: str | None = None, item_id: str | None = None
    ) -> Iterator[ItemVersion]:
        """Yield the kept versions of an item, a collection or the whole catalog, latest first.

        They are sorted by `withdrawn_at_utc`. The published version is not among them.
        """

    def forget(self, version: ItemVersion) -> None:
        """Delete a kept version, and its replaced table unless another kept version names it.

        Raises SourceNotFound: the version is not kept any more. Conflict: another database object,
        such as a view, depends on the table.
        """


class TablePlace(StrEnum):
    """The state of a table. The schema that holds the table determines it."""

    staged = "staged"
    published = "published"
    replaced = "replaced"


@dataclass(frozen=True)
class StoredTable:
    """A table of the database.

    `version` is None while the table is being loaded, and if the platform did not create the table.
    `run_id` is None only in the second case. `dataset` is the name under which the table is or will
    be published. `source_uri` is the source of its rows.
    """

    place: TablePlace
    schema: str
    name: str
    version: str | None
    run_id: str | None
    began_at_utc: datetime | None
    dataset: str | None = None
    source_uri: str | None = None


class Inventory(Protocol):
    """The tables in the database, for `geo-platform doctor`, which compares the stores.

    Every method raises DatabaseUnavailable: the database does not answer. StoreDenied: the database
    refuses access.
    """

    def tables(self) -> Iterator[StoredTable]:
        """Yield every staged and replaced table, and the published tables of the platform.

        The order is by place, schema and name.
        """

    def drop_staged(self, name: str, run_id: str) -> bool:
        """Drop a staged table of this run, and return whether it was dropped.

        Return False if there is no such table, or if another connection has locked the table.
        """

    def was_withdrawn(self, collection: str, item_id: str) -> bool:
        """Return whether the last recorded write to the item unpublished it."""


@dataclass(frozen=True)
class QueuedMessage:
    """A message that was received and not deleted yet.

    `receipt` proves to the queue that this client received the message last. It is needed to hide
    or delete the message, and becomes invalid when the message is hidden or received again.
    """

    id: str
    receipt: str
    text: str
    received_times: int


class MessageQueue(Protocol):
    """A queue that delivers a message again until it is deleted.

    Every method raises StoreUnavailable: the queue does not answer. StoreDenied: the queue refuses
    access. SourceNotFound: there is no such queue.
    """

    def receive(self, max_messages: int, *, hidden_s: int) -> list[QueuedMessage]:
        """Return at most `max_messages` messages, and hide them from other clients.

        `hidden_s` is for how many seconds. A message that is not deleted by then is delivered
        again.
        """

    def hide(self, message: QueuedMessage, hidden_s: int) -> QueuedMessage:
        """Hide a message for `hidden_s` seconds from now, and return it with its new receipt.

        Return the message unchanged if it was deleted, or if another client received it.
        """

    def delete(self, message: QueuedMessage) -> None:
        """Delete a message. Do nothing if it was deleted, or if another client received it."""

    def bury(self, message: QueuedMessage, reason: str) -> None:
        """Move a message to the poison queue, which keeps unusable messages with the reason.

        Do nothing if the message was deleted, or if another client received it.
        """


class Scratch(Protocol):
    """Temporary folders on the file system of the store, so that publishing can be a rename."""

    def of_run(self, run_id: str) -> AbstractContextManager[Path]:
        """Open a context that gives an empty folder and removes it at the end, also on errors.

        Raises StoreUnavailable, StoreDenied: the folder cannot be created.
        """


def stat_or_none(objects: ObjectStore, container: str, key: str) -> StoredObject | None:
    """Return the description of an object, or None if there is no such object.

    The object may change afterwards. To overwrite only this version, put with `only_if_etag`.
    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    ParameterInvalid: the container or the key is not valid.
    """
    try:
        return objects.stat(container, key)
    except SourceNotFound:
        return None


def etag_or_empty(objects: ObjectStore, container: str, key: str) -> str:
    """Return the current etag of an object, or "" if there is no such object.

    The result is a valid `only_if_etag` of a put.
    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    ParameterInvalid: the container or the key is not valid.
    """
    stored = stat_or_none(objects, container, key)
    return stored.reference.etag if stored else ""
