"""Protocols that `trace` reads beside the ports: the history of runs, and a database's provenance.

Provenance is the database's record of which run wrote which table and item. The protocols are
implemented by `orchestrator/run_history.py` (Dagster's storage), `api/dagster/run_events.py`
(GraphQL) and `storage/postgres/provenance.py` (SQL). `Reach` reads stores that may be unavailable.

Used throughout the application.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

from geo_platform.errors import (
    CatalogRejected,
    DatabaseUnavailable,
    PlatformError,
    StoreDenied,
    StoreUnavailable,
)
from geo_platform.ports import Catalog, ObjectStore
from geo_platform.trace.timeline import Event, Store


@dataclass(frozen=True)
class RunFacts:
    """A run in the orchestrator. `status` is in lower case: queued, started, success, failure."""

    run_id: str
    job: str
    status: str
    tags: Mapping[str, str]
    requested_at_utc: datetime
    started_at_utc: datetime | None = None
    ended_at_utc: datetime | None = None


class RunHistory(Protocol):
    """Runs and their events.

    Every method may raise StoreUnavailable, StoreDenied, DatabaseUnavailable: Dagster's storage or
    server does not answer or refuses access.
    """

    def run(self, run_id: str) -> RunFacts | None:
        """Return the run of this id, or None if there is none."""

    def beginning_with(self, prefix: str) -> tuple[str, ...]:
        """Return the ids of all runs that start with `prefix`."""

    def tagged(self, name: str, value: str) -> tuple[RunFacts, ...]:
        """Return the runs with this tag, in the order in which they were requested."""

    def events(self, run_id: str) -> tuple[Event, ...]:
        """Return the run's transitions, stages, checkpoints, checks and errors, in log order."""


@dataclass(frozen=True)
class CatalogWrite:
    """One publication or withdrawal of an item.

    `action` is "publish" or "unpublish". `run_id` is the run that wrote, or None if the catalog
    does not record it. `made_by` is the run that made the version, if known; it differs from
    `run_id` for a restored version.
    """

    at_utc: datetime
    action: str
    run_id: str | None
    collection: str
    item_id: str
    fingerprint: str
    table: str | None = None
    table_version: str | None = None
    replaced_fingerprint: str | None = None
    replaced_run_id: str | None = None
    replaced_table_version: str | None = None
    login: str | None = None
    made_by: str | None = None


@dataclass(frozen=True)
class LocatedTable:
    """A table, where it is now, and its comment.

    `comment` has the fields that the platform writes into the comment (docs/postgis.md). It is
    empty if the platform did not write the comment.
    """

    schema: str
    name: str
    comment: Mapping[str, str | int | None] = field(default_factory=dict)


class ProvenanceReader(Protocol):
    """A database's record of tables and publications.

    Every method may raise DatabaseUnavailable, StoreDenied: the database does not answer or refuses
    access.
    """

    def writes_of(self, run_id: str) -> Sequence[CatalogWrite]:
        """Return the run's writes and later writes to the items that it published, oldest first."""

    def tables_of(self, run_id: str) -> Sequence[LocatedTable]:
        """Return the tables that the run loaded, wherever they are now."""

    def tables_named(self, schema: str | None, name: str) -> Sequence[LocatedTable]:
        """Return the tables of this name; without a schema, the staged and replaced versions."""

    def runs_of_version(self, version: str) -> Sequence[str]:
        """Return the runs that published this table version, oldest first.

        The table itself may have been removed.
        """

    def runs_of_item(self, collection: str, item_id: str) -> Sequence[str]:
        """Return the runs that published this item, newest first.

        The item and all its versions may have been removed.
        """


T = TypeVar("T")


U = TypeVar("U")


# CatalogRejected: the store answers, but a document in it cannot be used.
_UNREADABLE = (StoreUnavailable, StoreDenied, DatabaseUnavailable, CatalogRejected)


@dataclass
class Reach:
    """Reads stores that may be unavailable, and remembers their errors.

    A store that did not answer is not read again, since each attempt would wait for the timeout. A
    store that returned an unusable document is read again, since its other documents may be valid.
    """

    _faults: dict[Store, PlatformError] = field(default_factory=dict)

    def ask(self, store: Store, read: Callable[[], T], default: U) -> T | U:
        """Return the result of `read`, or `default` if the store is or was unavailable."""
        if self._is_unreachable(store):
            return default
        try:
            return read()
        except _UNREADABLE as fault:
            self._faults[store] = fault
            return default

    def gather(self, store: Store, read: Callable[[], Iterable[T]]) -> list[T]:
        """Return the values that `read` yields, up to the first error."""
        gathered: list[T] = []
        if self._is_unreachable(store):
            return gathered
        try:
            for part in read():
                # Not list(): it would lose the values before an error.
                gathered.append(part)
        except _UNREADABLE as fault:
            self._faults[store] = fault
        return gathered

    def _is_unreachable(self, store: Store) -> bool:
        return not isinstance(self._faults.get(store), CatalogRejected | None)

    def unreached(self) -> tuple[Mapping[str, Any], ...]:
        """Return each store that did not answer, with code, message and remedy."""
        fields = ("code", "message", "remedy")
        return tuple(
            {
                "store": store.value,
                **{name: self._faults[store].as_record()[name] for name in fields},
            }
            for store in Store
            if store in self._faults
        )


@dataclass(frozen=True)
class TraceStores:
    """The stores of one home, as functions that open them, since opening a store can fail.

    `provenance` is None if the deployment has no database.
    """

    objects: Callable[[], ObjectStore]
    catalog: Callable[[], Catalog]
    history: Callable[[], RunHistory]
    provenance: Callable[[], ProvenanceReader] | None
    reach: Reach
