"""What is asked of the stores beyond the ports: the history of runs, and the database's own account of what was published.

What belongs here: Protocols and the plain values that cross them. What stays out: Dagster (`geo_platform/orchestrator/run_history.py`), SQL
(`storage/postgres/provenance.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from geo_platform.ports import Catalog, ObjectStore
from geo_platform.trace.reach import Reach
from geo_platform.trace.timeline import Event


@dataclass(frozen=True)
class RunFacts:
    """A run as the orchestrator has it. `status` is in lower case: queued, started, success, failure, canceled …"""

    run_id: str
    job: str
    status: str
    tags: Mapping[str, str]
    requested_at_utc: datetime
    started_at_utc: datetime | None = None
    ended_at_utc: datetime | None = None


class RunHistory(Protocol):
    """Runs and their events. Errors: StoreUnavailable, StoreDenied, DatabaseUnavailable."""

    def run(self, run_id: str) -> RunFacts | None:
        """The run of this very id, or None."""

    def beginning_with(self, prefix: str) -> tuple[str, ...]:
        """Ids of all runs that begin so."""

    def tagged(self, name: str, value: str) -> tuple[RunFacts, ...]:
        """Runs with this tag, the one that was requested first of all first."""

    def events(self, run_id: str) -> tuple[Event, ...]:
        """What the run's log says: its transitions, stages, checkpoints, checks and errors, in the log's order."""


@dataclass(frozen=True)
class CatalogWrite:
    """One publishing or unpublishing of an item. `run_id` is None where the catalog does not say who did it.

    `made_by` is the run that made the version, where that is told: another one than `run_id` where it was brought back.
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
    """A table where it lies now. `says` is its comment (docs/postgis.md); empty where it is not the platform's."""

    schema: str
    name: str
    says: Mapping[str, str | int | None] = field(default_factory=dict)


class ProvenanceReader(Protocol):
    """A database's account of tables and publications. Errors: DatabaseUnavailable, StoreDenied."""

    def writes_of(self, run_id: str) -> Sequence[CatalogWrite]:
        """What the run published and unpublished, and what others did since with what it had published; the oldest first."""

    def tables_of(self, run_id: str) -> Sequence[TableFound]:
        """The tables that the run loaded, wherever they lie now."""

    def tables_named(self, schema: str | None, name: str) -> Sequence[TableFound]:
        """Tables of this name; without a schema, versions that are staged or replaced."""

    def runs_of_version(self, version: str) -> Sequence[str]:
        """Runs that published this version of a table, the first one first; also where the table is gone."""

    def runs_of_item(self, collection: str, item_id: str) -> Sequence[str]:
        """Runs that published this item, the last one first; also where neither it nor a version is kept."""


@dataclass(frozen=True)
class TraceStores:
    """The stores of one home. They are opened when first asked, since opening one can fail as asking it can."""

    objects: Callable[[], ObjectStore]
    catalog: Callable[[], Catalog]
    history: Callable[[], RunHistory]
    provenance: Callable[[], ProvenanceReader] | None
    reach: Reach
