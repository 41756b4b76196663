"""The ports: Protocols of the stores that the platform uses, and the plain values that cross them.

Stages see only these. The adapters are in `storage/`, and `storage/stores.py` chooses among them.
Every adapter translates the errors of its library into those of `geo_platform/errors.py`.
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

# Name of the record of a dataset. It is written after the dataset's objects: where it exists, the
# dataset is complete and owns its name.
FEATURES_RECORD = "features.json"

# Suffix of the record of a quarantined object, after the object's key.
QUARANTINE_RECORD = ".quarantine.json"

# Metadata key that marks an object as submitted by a client: watches do not start a run for it.
# The value identifies the file that was uploaded, see `storage/local/source_files.py`.
SUBMITTED = "origin"


def message_key(stage: str, partition: str | None, run_id: str) -> str:
    """Return the key of a stage's message in the container `messages`."""
    return (
        f"{stage}/{partition}/{run_id}.json" if partition is not None else f"{stage}/{run_id}.json"
    )


@dataclass(frozen=True)
class StoredObject:
    """An object as the store describes it.

    `appeared_utc` is when this version of the object appeared in the store, or None if the store
    cannot tell it from `last_modified_utc`: a file that is moved into a folder keeps its mtime.
    """

    reference: ObjectReference
    last_modified_utc: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)
    appeared_utc: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ObjectPage:
    """One page of a listing, in the order of the listing.

    Pass `after` to `ObjectStore.page` to get the next page; it is None on the last page. `at_utc`
    is the time of the listing by the store's own clock.
    """

    objects: tuple[StoredObject, ...]
    after: str | None
    at_utc: datetime


class ObjectStore(Protocol):
    """Containers of named byte strings. The content of an object is fixed for an etag.

    Keys use forward slashes. A put is atomic: readers see the whole object or none of it.
    Every method may raise StoreUnavailable, StoreDenied, and ParameterInvalid for a container or
    key that is not valid.
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
        """Return at most `limit` objects of `list`. Another process can continue the listing.

        `after` is the `after` of the page before.
        Raises ParameterInvalid: the store does not know `after`, or no longer knows it.
        """

    def local_path(
        self, container: str, key: str, *, etag: str | None = None
    ) -> AbstractContextManager[Path]:
        """Open a context that gives a local file with the object's content. Do not write to it.

        Raises SourceNotFound: there is no such object. Conflict: it is not at `etag`.
        """

    def open(
        self, container: str, key: str, *, etag: str | None = None
    ) -> AbstractContextManager[BinaryIO]:
        """Open a seekable reader that fetches little more than what is read from it.

        The reader is pinned to `etag`, or to the current etag if none is given.
        Raises SourceNotFound: there is no such object. Conflict: the object is not at that etag,
        or was replaced while it was read.
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

        With `move` the store may take the file instead of copying it. With `only_if_etag` the
        object is written only if its current etag is this one ("": only if there is no object).
        Raises Conflict: `only_if_etag` does not hold, or the file changed while it was copied.
        SourceNotFound, SourceUnreadable: `path` does not exist, or is not a regular file.
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
        """Store a small object, atomically, and return it. `only_if_etag` as in `put_file`.

        Raises Conflict: `only_if_etag` does not hold.
        """

    def delete(self, container: str, key: str) -> None:
        """Delete an object. Do nothing if there is none."""

    def move(
        self, container: str, key: str, to_container: str, *, etag: str, metadata: Mapping[str, str]
    ) -> StoredObject:
        """Move the object at `etag` to the same key of another container, and return it there.

        It gets a new etag and exactly this metadata. If the process is killed in between, the
        object is in both containers.
        Raises SourceNotFound: there is no such object. Conflict: it is not at `etag`.
        """


@dataclass(frozen=True)
class IndexRequest:
    """The indexes that a dataset should get, by names of published columns.

    A store reports as findings what it cannot build.
    """

    spatial: bool = True
    attributes: tuple[str, ...] = ()
    temporal: tuple[str, ...] = ()


@dataclass(frozen=True)
class FeatureTarget:
    """Where cleaned features go, and what is known about them before the first row is read.

    `dimension` is xy or xyz. `json_columns` are text columns that hold JSON. `column_comments`
    holds one sentence for each published column.
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


@dataclass(frozen=True)
class FeatureDataset:
    """A dataset as the store holds it, read back after writing.

    `rows` and `bounds` are those of this load, also where rows were appended to a table.
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

    Every method may raise StoreUnavailable, StoreDenied and DatabaseUnavailable.
    """

    def check_free(self, target: FeatureTarget) -> None:
        """Check, before any row is read, that `target.load_mode` allows writing the dataset.

        Raises TableExists: the name is taken. ParameterInvalid: the store cannot do what the
        target asks for.
        """

    def load(
        self, target: FeatureTarget, batches: Iterable[pa.RecordBatch], *, scratch: Path
    ) -> FeatureDataset:
        """Write the batches (WKB geometry, `target.schema`) in bounded memory.

        Row count and bounds are read back from what was written. Nothing becomes visible if
        `batches` raises. A database keeps the rows in a staged table until the catalog publishes
        the item that names it.
        Raises what `batches` raises. NoFeatures: there are no rows. TableExists, ParameterInvalid:
        as `check_free`, or the store cannot hold a value.
        """

    def holds(self, stored: ObjectReference | None, table: TableReference | None) -> bool:
        """Return whether the result of an earlier load still exists unchanged.

        A table counts whether it is staged, published or replaced.
        """

    def sweep(self, older_than_utc: datetime) -> tuple[str, ...]:
        """Remove what unpublished loads left that started before this time; return the names."""


# The order of an item's assets, and so of the outputs in an answer: data first, pictures last. Not
# every store keeps the order of a JSON object.
ASSET_ORDER = (
    "data",
    "table",
    "visualization",
    "analysis",
    "archive",
    "rejected",
    "thumbnail",
    "preview",
)

ASSET_CONTAINER = "geo_platform:container"
# Of an asset that is an object: its container and key in the object store.
ASSET_KEY = "geo_platform:key"

# Of an asset that is a table: its published schema and name, and the version that the item names.
ASSET_SCHEMA = "geo_platform:schema"
ASSET_TABLE = "geo_platform:table"
ASSET_TABLE_VERSION = "geo_platform:table_version"

# Properties of an item that every Catalog reads, to make entries and to decide on conflicts.

ITEM_RUN_ID = "geo_platform:run_id"
ITEM_FINGERPRINT = "geo_platform:fingerprint"
ITEM_SOURCE = "geo_platform:source"
ITEM_SOURCE_CONTAINER = "geo_platform:source_container"
# Of an appended item: every source that rows came from, in the order in which they were added.
ITEM_SOURCES = "geo_platform:sources"
# An item whose load mode is `append` may replace one that was made from another source.
ITEM_LOAD_MODE = "geo_platform:load_mode"

# Of an item that was restored: the run that restored it, and when this version was first published.
# Such an item must be among the kept versions, and may replace one made from another source.
ITEM_RESTORED_BY = "geo_platform:restored_by_run"
ITEM_FIRST_PUBLISHED = "geo_platform:first_published"


@dataclass(frozen=True)
class CatalogEntry:
    """A published item, as listings show it.

    `objects` are the (container, key) pairs that the item's assets name. `item` is the item as
    STAC JSON with absolute hrefs.
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
    """A kept version of an item: it was published, then replaced or unpublished.

    `item` is the item as STAC JSON with absolute hrefs.
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
    Every method may raise StoreUnavailable, StoreDenied and DatabaseUnavailable.
    """

    def item(self, collection: str, item_id: str) -> dict[str, Any] | None:
        """Return the published item with absolute hrefs, or None if there is none.

        Raises CatalogRejected: what is stored is not a valid item.
        """

    def entries(self) -> Iterator[CatalogEntry]:
        """Yield every published item, newest first.

        Raises CatalogRejected: some items could not be read; raised after the last one.
        """

    def publish(
        self, collection: dict[str, Any], item: dict[str, Any], *, replaces: str | None
    ) -> str:
        """Upsert collection and item, and return the item's href. Keep what is replaced.

        `replaces` is the fingerprint of the item that the caller expects to replace, None for none.
        Raises CatalogRejected: the documents are not valid. Conflict: the published fingerprint is
        not `replaces`, another source owns the item id or the table, or the item is a restored one
        that is no longer among the kept versions.
        """

    def collection(self, collection: str) -> dict[str, Any] | None:
        """Return the published collection, or None if there is none."""

    def unpublish(self, collection: str, item_id: str, *, published: str) -> None:
        """Remove the item and its table from what readers see, and keep both as a version.

        `published` is the fingerprint that the caller expects to unpublish.
        Raises SourceNotFound: there is no such item. Conflict: its fingerprint is another one.
        """

    def versions(
        self, collection: str | None = None, item_id: str | None = None
    ) -> Iterator[ItemVersion]:
        """Yield the kept versions of this item, or of all items, latest withdrawn first.

        The published version is not among them.
        """

    def forget(self, version: ItemVersion) -> None:
        """Delete a kept version, and its table unless another item or version names it.

        Raises SourceNotFound: it is no longer kept. Conflict: another database object depends on
        its table.
        """


class TablePlace(StrEnum):
    """The state of a table, which follows from the schema that it is in."""

    staged = "staged"
    published = "published"
    replaced = "replaced"


@dataclass(frozen=True)
class StoredTable:
    """A table of the database.

    `version` is None for a table that is still being loaded, and for one that the platform did not
    make; `run_id` is None only for the latter. `dataset` is its published name, also before it is
    published. `source_uri` is the source that it was loaded from.
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

    Every method may raise StoreDenied and DatabaseUnavailable.
    """

    def tables(self) -> Iterator[StoredTable]:
        """Yield every staged and replaced table, and the published tables of the platform.

        The order is by place, schema and name.
        """

    def drop_staged(self, name: str, run_id: str) -> bool:
        """Drop a staged table of this run, and return whether it was dropped.

        Return False if there is no such table, or if it is locked by somebody else.
        """

    def was_withdrawn(self, collection: str, item_id: str) -> bool:
        """Return whether the last recorded write to the item unpublished it."""


@dataclass(frozen=True)
class QueuedMessage:
    """A message that was received and not deleted yet.

    `receipt` is needed to hide or delete it. It is valid until the message is received again.
    """

    id: str
    receipt: str
    text: str
    received_times: int


class MessageQueue(Protocol):
    """A queue that delivers a message again until it is deleted.

    Every method may raise StoreUnavailable, StoreDenied, and SourceNotFound: there is no such
    queue.
    """

    def receive(self, max_messages: int, *, hidden_s: int) -> list[QueuedMessage]:
        """Receive the messages that are available now, and hide them from others for `hidden_s`."""

    def hide(self, message: QueuedMessage, hidden_s: int) -> QueuedMessage:
        """Hide a message for `hidden_s` from now, and return it with its new receipt."""

    def delete(self, message: QueuedMessage) -> None:
        """Delete a message. Do nothing if it is gone or was received by somebody else."""

    def bury(self, message: QueuedMessage, reason: str) -> None:
        """Move a message that cannot be used to the poison queue, with the reason."""


class Scratch(Protocol):
    """Temporary folders on the file system of the store, so that publishing can be a rename."""

    def of_run(self, run_id: str) -> AbstractContextManager[Path]:
        """Open a context that gives an empty folder and removes it at the end, also on errors."""


def stat_or_none(objects: ObjectStore, container: str, key: str) -> StoredObject | None:
    """Describe an object, or return None if there is none. Raises as `ObjectStore.stat`.

    The object may change afterwards: to write what depends on it, put with `only_if_etag`.
    """
    try:
        return objects.stat(container, key)
    except SourceNotFound:
        return None


def etag_or_empty(objects: ObjectStore, container: str, key: str) -> str:
    """Return the current etag of an object, or "" if there is none, for a put's `only_if_etag`.

    Raises as `ObjectStore.stat`.
    """
    stored = stat_or_none(objects, container, key)
    return stored.reference.etag if stored else ""
