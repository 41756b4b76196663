"""Plain facts about runs, pools, sensors and partitions, and the protocols that read them.

`geo_platform/orchestrator/instance_state.py` implements `Orchestrator` for Dagster.

Used by `cli/commands`, `doctor` and `orchestrator`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class RunFact:
    """An unfinished run.

    `is_alive` is whether the run's process exists, or None if this host cannot check it. `place`
    describes where the process runs. `since_utc` is when the run got its `status`.
    """

    run_id: str
    job: str
    status: str
    place: str
    is_alive: bool | None
    since_utc: datetime


@dataclass(frozen=True)
class SlotFact:
    """A run that holds, or waits for, a slot of a pool. `status` is None if the run is unknown."""

    pool: str
    run_id: str
    status: str | None
    has_ended: bool


@dataclass(frozen=True)
class TickFact:
    """A sensor or schedule that is switched on.

    `last_utc` is a sensor's last tick, or when the daemon last evaluated a schedule.
    """

    name: str
    is_sensor: bool
    last_utc: datetime
    interval_seconds: float


@dataclass(frozen=True)
class QueueFact:
    """The number of queued runs, the time of the oldest, and the daemon's last heartbeat.

    The daemon launches queued runs. `heartbeat_utc` is None if it never sent a heartbeat.
    """

    queued: int
    oldest_utc: datetime
    heartbeat_utc: datetime | None


@dataclass(frozen=True)
class PartitionFact:
    """A partition whose object is not the source of any item.

    `run_id` and `status` are those of the latest run of the chain's last stage for this partition;
    None if there is no run. `item` is the (collection, item id) that this run reported as
    published. `at_utc` is when the run ended, or was last updated.
    """

    definition: str
    key: str
    run_id: str | None
    status: str | None
    item: tuple[str, str] | None
    at_utc: datetime | None = None


class Orchestrator(Protocol):
    """Reads and changes the state of the orchestrator (Dagster).

    Every method may raise StoreUnavailable, DatabaseUnavailable, StoreDenied: the orchestrator's
    storage does not answer or refuses access.
    """

    def unfinished_runs(self) -> Iterator[RunFact]:
        """Yield the runs that are running, starting, or not started yet."""

    def ended(self, run_ids: Iterable[str]) -> Mapping[str, bool]:
        """Return for each known run whether it has ended with no retry pending."""

    def runs_under_way(self) -> bool:
        """Return whether any run is queued, starting or running, or will be retried."""

    def slots(self) -> Iterator[SlotFact]:
        """Yield the runs that hold slots of pools, or wait for one."""

    def ticks(self) -> Iterator[TickFact]:
        """Yield the sensors and schedules that are switched on."""

    def queue(self) -> QueueFact | None:
        """Return the state of the queue, or None if no run is queued."""

    def partitions(self) -> Iterator[tuple[str, str]]:
        """Yield (name of the partitions definition, key) of every partition."""

    def partition(self, definition: str, key: str) -> PartitionFact:
        """Return the facts of one partition."""

    def withdrawn_items(self) -> Mapping[tuple[str, str], datetime]:
        """Return when each (collection, item id) was last unpublished by a run."""

    def end_run(self, run_id: str) -> bool:
        """Mark the run as failed if it is still unfinished and its process is gone.

        Return whether it was marked.
        """

    def free_slots(self, run_id: str) -> bool:
        """Free the run's pool slots if the run has ended. Return whether the run has ended."""

    def remove_partition(self, definition: str, key: str) -> bool:
        """Remove the partition if it still has no run. Return whether it was removed."""


class LocalFiles(Protocol):
    """Files that dead processes of this machine left in the home.

    Every method may raise StoreUnavailable, StoreDenied: a folder cannot be read or changed.
    """

    def descriptions(self) -> Iterator[str]:
        """Yield the names of scratch folders and half-written files."""

    def sweep(self) -> int:
        """Remove these scratch folders and files. Return how many were removed."""
