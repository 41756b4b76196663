"""What the platform needs of the outside, as Protocols. Adapters live in `storage/`; stages see only these.

What belongs here: the ports and the plain values that cross them. What stays out: any library of any store.

What lies under a name at this moment: that there is nothing is an answer here, and no error.

What belongs here: that. What stays out: deciding by it. Whoever writes because of it puts with `only_if_etag`, so that what changed since
is seen.
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

# Written beside a dataset's objects last of all: where it lies, the dataset is whole and holds its
# name.
FEATURES_RECORD = "features.json"

# What the name of a quarantined object's record ends in: the object's key, then this.
QUARANTINE_RECORD = ".quarantine.json"


# Metadata of an object that somebody put there together with a request of their own
# (`storage/local/arrive.py`, which says what it holds): no watch asks for it again.
SUBMITTED = "origin"


def message_key(stage: str, partition: str | None, run_id: str) -> str:
    """Where a stage's message lies in the container of messages."""
    return (
        f"{stage}/{partition}/{run_id}.json" if partition is not None else f"{stage}/{run_id}.json"
    )


@dataclass(frozen=True)
class StoredObject:
    """An object as the store describes it.

    `appeared_utc` is since when it has lain there as it is, where the store can tell that apart: a file that is moved into a
    folder keeps the time of its content.
    """

    reference: ObjectReference
    last_modified_utc: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)
    appeared_utc: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ObjectPage:
    """Some objects of a listing, in its order. `after` says where the next page begins; None after the last one.

    `at_utc` is when it was looked up, by the store's own clock.
    """

    objects: tuple[StoredObject, ...]
    after: str | None
    at_utc: datetime


class ObjectStore(Protocol):
    """Containers of named, immutable-per-etag byte strings. Keys use forward slashes.

    A put is visible whole or not at all. Errors: SourceNotFound, StoreUnavailable, StoreDenied, Conflict.
    """

    @property
    def is_local(self) -> bool:
        """Whether objects are files of this machine, so that `local_path` fetches nothing."""

    def stat(self, container: str, key: str) -> StoredObject:
        """Describe one object. Raises SourceNotFound."""

    def list(self, container: str, prefix: str = "") -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, in order of key. Half-written ones never show."""

    def page(
        self, container: str, prefix: str = "", *, after: str | None = None, most: int = 5000
    ) -> ObjectPage:
        """As `list`, at most so many at a time, so that a listing can be gone on with later, by another process too.

        Raises ParameterInvalid for an `after` of which the store knows nothing (any more).
        """

    def local_path(
        self, container: str, key: str, *, etag: str | None = None
    ) -> AbstractContextManager[Path]:
        """A readable file holding the object while the context lasts. Not to be written to. Raises Conflict at another etag."""

    def open(
        self, container: str, key: str, *, etag: str | None = None
    ) -> AbstractContextManager[BinaryIO]:
        """A seekable reader that fetches no more than what is read of it, and only while the object is at one etag.

        The etag is the one given, or the present one. Raises SourceNotFound, and Conflict where the object was replaced,
        while opening or while reading.
        """

    def read_bytes(self, container: str, key: str) -> bytes:
        """The whole object; for messages and pictures, not for data."""

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
        """Publish a file under a key, atomically. `move` lets the store take the file instead of copying it.

        With `only_if_etag` the put happens only over that etag ("" means: only where nothing is), else Conflict.
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
        """Publish a small object, atomically. `only_if_etag` as in `put_file`."""

    def delete(self, container: str, key: str) -> None:
        """Remove an object; one that is not there is no error."""

    def move(
        self, container: str, key: str, to_container: str, *, etag: str, metadata: Mapping[str, str]
    ) -> StoredObject:
        """The object at that etag lies under the same key in the other container, with a new etag and this metadata.

        Killed in between it lies in both. Raises SourceNotFound, and Conflict where the object is at another etag.
        """


@dataclass(frozen=True)
class IndexRequest:
    """What a dataset is to be found by, in names of published columns. A store says what of it does not apply to it."""

    spatial: bool = True
    attributes: tuple[str, ...] = ()
    temporal: tuple[str, ...] = ()


@dataclass(frozen=True)
class FeatureTarget:
    """Where cleaned features go and what is known of them beforehand.

    `dimension` is xy or xyz. `json_columns` are text that holds JSON. `column_comments` are sentences, by published column.
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
    """Cleaned features as the store holds them, read back after writing. `rows` and `bounds` are those of this load."""

    destination: str
    dataset: str
    stored: ObjectReference | None
    sha256: str | None
    rows: int
    bounds: Bounds
    findings: tuple[Finding, ...] = ()
    table: TableReference | None = None


class FeatureStore(Protocol):
    """Holds datasets of features. Errors: StoreUnavailable, StoreDenied, DatabaseUnavailable, TableExists, ParameterInvalid."""

    def check_free(self, target: FeatureTarget) -> None:
        """Before a row is read: may this dataset be written under `target.load_mode`? Raises TableExists, ParameterInvalid."""

    def load(
        self, target: FeatureTarget, batches: Iterable[pa.RecordBatch], *, scratch: Path
    ) -> FeatureDataset:
        """Consume the batches (WKB geometry, `target.schema`) in bounded memory and keep them under the fingerprint.

        Nothing is visible if `batches` raises. The row count and bounds are read back from what was written. A database
        keeps them staged: the catalog's publication of the item that names the table makes them the published ones.
        """

    def holds(self, stored: ObjectReference | None, table: TableReference | None) -> bool:
        """Whether what an earlier load handed back lies there unchanged: staged, published or replaced."""

    def sweep(self, older_than_utc: datetime) -> tuple[str, ...]:
        """Remove what loads left that were never published and began before then; returns the names removed."""


# The order of an item's assets, and so of an answer's outputs: data first, pictures last. Not every
# store keeps one.
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
# Of an asset that is an object: where it lies in the object store.
ASSET_KEY = "geo_platform:key"

ASSET_SCHEMA = "geo_platform:schema"
ASSET_TABLE = "geo_platform:table"
# Of an asset that is a table: its published name, and which version of it the item means.
ASSET_TABLE_VERSION = "geo_platform:table_version"

ITEM_RUN_ID = "geo_platform:run_id"
ITEM_FINGERPRINT = "geo_platform:fingerprint"
ITEM_SOURCE = "geo_platform:source"
ITEM_SOURCE_CONTAINER = "geo_platform:source_container"
# Properties of an item that every Catalog reads: entries are made of them, and conflicts are
# decided by them. An item whose load mode is `append` may replace one that was made from another
# source.
ITEM_LOAD_MODE = "geo_platform:load_mode"

ITEM_RESTORED_BY = "geo_platform:restored_by_run"
# Of an item that was brought back: the run that did it, and when this version was published for the
# first time. Such an item has to be among the kept versions, and may replace one that was made from
# another source.
ITEM_FIRST_PUBLISHED = "geo_platform:first_published"


@dataclass(frozen=True)
class CatalogEntry:
    """One line of a listing. `objects` are (container, key) of what the item's assets name in the object store.

    `item` is the item itself, hrefs absolute.
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
    """A version of an item that was published once and is kept: it was replaced or unpublished. `item` has absolute hrefs."""

    collection: str
    item_id: str
    fingerprint: str
    run_id: str
    withdrawn_at_utc: datetime
    item: Mapping[str, Any]


class Catalog(Protocol):
    """STAC collections and items. Items cross this port as STAC JSON objects.

    What an item's assets name is published by publishing the item: where an asset names a version of a table
    (`ASSET_TABLE_VERSION`), that version becomes the published table in the same transaction, and what it replaces is kept.
    Errors: CatalogRejected, Conflict, StoreUnavailable, StoreDenied, DatabaseUnavailable.
    """

    def item(self, collection: str, item_id: str) -> dict[str, Any] | None:
        """The published item, hrefs absolute, or None."""

    def entries(self) -> Iterator[CatalogEntry]:
        """Every published item, newest first. Raises CatalogRejected after the last one where some could not be read."""

    def publish(
        self, collection: dict[str, Any], item: dict[str, Any], *, replaces: str | None
    ) -> str:
        """Upsert both and return the item's href. What is replaced is kept as a version.

        Raises Conflict when the published fingerprint is not `replaces`, when another source holds the item id or the table,
        and when an item that is brought back is not kept any more.
        """

    def collection(self, collection: str) -> dict[str, Any] | None:
        """The collection as it is published, or None."""

    def unpublish(self, collection: str, item_id: str, *, published: str) -> None:
        """Take the item, and the table that it names, out of what can be found; both are kept as a version.

        Raises Conflict where the published fingerprint is not `published`, SourceNotFound where there is no such item.
        """

    def versions(
        self, collection: str | None = None, item_id: str | None = None
    ) -> Iterator[ItemVersion]:
        """What is kept of this item, or of all items, newest withdrawn first. The published version is not among them."""

    def forget(self, version: ItemVersion) -> None:
        """Remove a kept version for good, with its table unless a published item or another version names that too.

        Raises SourceNotFound where it is not kept any more, Conflict where something else is built on its table.
        """


class TablePlace(StrEnum):
    """Where a table lies, which is what it is."""

    staged = "staged"
    published = "published"
    replaced = "replaced"


@dataclass(frozen=True)
class StoredTable:
    """A table as it lies in the database. `version` is None where it is not whole, or not the platform's; `run_id` only for the latter.

    `dataset` is what it is called, or is to be called, once it is published; `source_uri` what it was loaded from.
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
    """What lies in the database, asked by nobody but who compares stores. Errors: StoreDenied, DatabaseUnavailable."""

    def tables(self) -> Iterator[StoredTable]:
        """Every staged and replaced table, and those of the platform that are published, in order of place, schema and name."""

    def drop_staged(self, name: str, run_id: str) -> bool:
        """Drop a staged table of this run. False where there is none any more, or somebody works on it."""

    def was_withdrawn(self, collection: str, item_id: str) -> bool:
        """Whether the last that was done with the item was to take it away, as far as is remembered."""


@dataclass(frozen=True)
class QueuedMessage:
    """A message that was received and not deleted. `receipt` is the right to delete it, until it is received again."""

    id: str
    receipt: str
    text: str
    received_times: int


class MessageQueue(Protocol):
    """Messages that come back unless they are deleted. Errors: StoreUnavailable, StoreDenied, SourceNotFound (no such queue)."""

    def receive(self, most: int, *, hidden_s: int) -> list[QueuedMessage]:
        """Those that are there now, at most so many; nobody else receives them for that long."""

    def hide(self, message: QueuedMessage, hidden_s: int) -> QueuedMessage:
        """It comes back after that long; returns it with its new receipt."""

    def delete(self, message: QueuedMessage) -> None:
        """It does not come back. One that is gone, or was received by another, is no error."""

    def bury(self, message: QueuedMessage, reason: str) -> None:
        """Into the queue of messages that nobody can use, with the reason, and out of this one."""


class Scratch(Protocol):
    """Room for files in the making, on the file system of the store so that publishing can be a rename."""

    def of_run(self, run_id: str) -> AbstractContextManager[Path]:
        """An empty folder, removed when the context ends, however it ends."""


def present(objects: ObjectStore, container: str, key: str) -> StoredObject | None:
    """The object, or None. Raises the store's faults."""
    try:
        return objects.stat(container, key)
    except SourceNotFound:
        return None


def present_etag(objects: ObjectStore, container: str, key: str) -> str:
    """As `only_if_etag` takes it: empty where there is nothing. Raises the store's faults."""
    stored = present(objects, container, key)
    return stored.reference.etag if stored else ""
