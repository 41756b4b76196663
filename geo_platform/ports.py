"""What the platform needs of the outside, as Protocols. Adapters live in `storage/`; stages see only these.

What belongs here: the ports and the plain values that cross them. What stays out: any library of any store.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from geo_platform.contracts.message import Finding, ObjectReference, SpatialReference
from geo_platform.grid import Bounds

BRONZE = "bronze"
SILVER = "silver"
QUARANTINE = "quarantine"
MESSAGES = "messages"


def message_key(stage: str, partition: str | None, run_id: str) -> str:
    """Where a stage's message lies in the container of messages."""
    return f"{stage}/{partition}/{run_id}.json" if partition is not None else f"{stage}/{run_id}.json"


@dataclass(frozen=True)
class StoredObject:
    """An object as the store describes it."""

    reference: ObjectReference
    last_modified_utc: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)


class ObjectStore(Protocol):
    """Containers of named, immutable-per-etag byte strings. Keys use forward slashes.

    A put is visible whole or not at all. Errors: SourceNotFound, StoreUnavailable, StoreDenied, Conflict.
    """

    def stat(self, container: str, key: str) -> StoredObject:
        """Describe one object. Raises SourceNotFound."""

    def list(self, container: str, prefix: str = "") -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, in order of key. Half-written ones never show."""

    def local_path(self, container: str, key: str) -> AbstractContextManager[Path]:
        """A readable file holding the object while the context lasts. Not to be written to."""

    def read_bytes(self, container: str, key: str) -> bytes:
        """The whole object; for messages and pictures, not for data."""

    def put_file(
        self, container: str, key: str, path: Path, *, metadata: Mapping[str, str], move: bool = False, only_if_etag: str | None = None
    ) -> StoredObject:
        """Publish a file under a key, atomically. `move` lets the store take the file instead of copying it.

        With `only_if_etag` the put happens only over that etag ("" means: only where nothing is), else Conflict.
        """

    def put_bytes(self, container: str, key: str, content: bytes, *, metadata: Mapping[str, str]) -> StoredObject:
        """Publish a small object, atomically."""

    def delete(self, container: str, key: str) -> None:
        """Remove an object; one that is not there is no error."""


@dataclass(frozen=True)
class IndexRequest:
    """What a dataset is to be found by, in names of published columns. A store says what of it does not apply to it."""

    spatial: bool = True
    attributes: tuple[str, ...] = ()
    temporal: tuple[str, ...] = ()


@dataclass(frozen=True)
class FeatureTarget:
    """Where cleaned features go and what is known of them beforehand."""

    dataset: str
    schema: pa.Schema
    geometry_column: str
    crs: SpatialReference
    geometry_type: str
    fingerprint: str
    key_prefix: str
    metadata: Mapping[str, str]
    indexes: IndexRequest = IndexRequest()


@dataclass(frozen=True)
class FeatureDataset:
    """Cleaned features as the store holds them, read back after writing."""

    destination: str
    dataset: str
    stored: ObjectReference | None
    sha256: str | None
    rows: int
    bounds: Bounds
    findings: tuple[Finding, ...] = ()


class FeatureStore(Protocol):
    """Holds datasets of features. Errors: StoreUnavailable, StoreDenied, DatabaseUnavailable, TableExists."""

    def load(self, target: FeatureTarget, batches: Iterable[pa.RecordBatch], *, scratch: Path) -> FeatureDataset:
        """Consume the batches (WKB geometry, `target.schema`) in bounded memory and publish them under the fingerprint.

        Nothing is visible if `batches` raises. The row count and bounds are read back from what was written.
        """


ITEM_RUN_ID = "geo_platform:run_id"
ITEM_FINGERPRINT = "geo_platform:fingerprint"
ITEM_SOURCE = "geo_platform:source"
ITEM_SOURCE_CONTAINER = "geo_platform:source_container"
"""Properties of an item that every Catalog reads: entries are made of them, and conflicts are decided by them."""


@dataclass(frozen=True)
class CatalogEntry:
    """One line of a listing."""

    collection: str
    item_id: str
    run_id: str
    fingerprint: str
    source: str
    outputs: tuple[str, ...]
    updated_at_utc: datetime
    href: str


class Catalog(Protocol):
    """STAC collections and items. Items cross this port as STAC JSON objects. Errors: CatalogRejected, Conflict, StoreUnavailable."""

    def item(self, collection: str, item_id: str) -> dict[str, Any] | None:
        """The published item, hrefs absolute, or None."""

    def entries(self) -> Iterator[CatalogEntry]:
        """Every published item, newest first. Raises CatalogRejected after the last one where some could not be read."""

    def publish(self, collection: dict[str, Any], item: dict[str, Any], *, replaces: str | None) -> str:
        """Upsert both and return the item's href.

        Raises Conflict when the published fingerprint is not `replaces`, or when another source holds the item id.
        """


class Scratch(Protocol):
    """Room for files in the making, on the file system of the store so that publishing can be a rename."""

    def of_run(self, run_id: str) -> AbstractContextManager[Path]:
        """An empty folder, removed when the context ends, however it ends."""
