"""Protocols for what `trace` reads beyond the ports: the history of runs, and provenance.

Implemented by `orchestrator/run_history.py` (Dagster's storage), `api/dagster/run_events.py`
(GraphQL) and `storage/postgres/provenance.py` (SQL). `Reach` asks stores of which some may not
answer.
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
    """Runs and their events. Methods raise StoreUnavailable, StoreDenied, DatabaseUnavailable."""

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

    `run_id` is None if the catalog does not record who did it. `made_by` is the run that made the
    version, if known; it differs from `run_id` for a restored version.
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
class TableFound:
    """A table and its present place. `says` is its comment (docs/postgis.md), if the platform's."""

    schema: str
    name: str
    says: Mapping[str, str | int | None] = field(default_factory=dict)


class ProvenanceReader(Protocol):
    """A database's record of tables and publications.

    Methods raise DatabaseUnavailable, StoreDenied.
    """

    def writes_of(self, run_id: str) -> Sequence[CatalogWrite]:
        """Return the run's writes and later writes to what it published, oldest first."""

    def tables_of(self, run_id: str) -> Sequence[TableFound]:
        """Return the tables that the run loaded, wherever they are now."""

    def tables_named(self, schema: str | None, name: str) -> Sequence[TableFound]:
        """Return tables of this name; without a schema, staged and replaced versions."""

    def runs_of_version(self, version: str) -> Sequence[str]:
        """Return the runs that published this table version, oldest first, even if it is gone."""

    def runs_of_item(self, collection: str, item_id: str) -> Sequence[str]:
        """Return the runs that published this item, newest first, even if no version is kept."""


T = TypeVar("T")


U = TypeVar("U")


# CatalogRejected: the store answers, but with a document that cannot be used.
_OUT_OF_REACH = (StoreUnavailable, StoreDenied, DatabaseUnavailable, CatalogRejected)


@dataclass
class Reach:
    """Asks stores, and remembers those that did not answer.

    A store that did not answer is not asked again, since each call would wait again. One that
    returned an unusable document is: its other documents may be sound.
    """

    _faults: dict[Store, PlatformError] = field(default_factory=dict)

    def ask(self, store: Store, question: Callable[[], T], otherwise: U) -> T | U:
        """Return the answer, or `otherwise` if the store does not answer now or did not before."""
        if self._is_unreachable(store):
            return otherwise
        try:
            return question()
        except _OUT_OF_REACH as fault:
            self._faults[store] = fault
            return otherwise

    def gather(self, store: Store, question: Callable[[], Iterable[T]]) -> list[T]:
        """Return what the store yields, up to the first error."""
        gathered: list[T] = []
        if self._is_unreachable(store):
            return gathered
        try:
            for part in question():
                # Not list(): what comes before an error is kept.
                gathered.append(part)
        except _OUT_OF_REACH as fault:
            self._faults[store] = fault
        return gathered

    def _is_unreachable(self, store: Store) -> bool:
        return not isinstance(self._faults.get(store), CatalogRejected | None)

    def unreached(self) -> tuple[Mapping[str, Any], ...]:
        """Return each store that did not answer, with code, message and remedy."""
        named = ("code", "message", "remedy")
        return tuple(
            {
                "store": store.value,
                **{name: self._faults[store].as_record()[name] for name in named},
            }
            for store in Store
            if store in self._faults
        )


@dataclass(frozen=True)
class TraceStores:
    """The stores of one home, as functions: opening a store can fail, like reading it."""

    objects: Callable[[], ObjectStore]
    catalog: Callable[[], Catalog]
    history: Callable[[], RunHistory]
    provenance: Callable[[], ProvenanceReader] | None
    reach: Reach
