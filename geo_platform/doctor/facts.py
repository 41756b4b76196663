"""Plain facts about runs, pools, sensors, partitions and local files, and where they come from.

`geo_platform/orchestrator/instance_state.py` implements `Orchestrator` for Dagster.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class RunFact:
    """An unfinished run.

    `is_alive` is whether its process lives; None if this host cannot know. `place` describes where
    it runs.
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
    """Queued runs, and the last heartbeat of the daemon that launches them; None if it had none."""

    queued: int
    oldest_utc: datetime
    heartbeat_utc: datetime | None


@dataclass(frozen=True)
class PartitionFact:
    """A partition that no item has as its source.

    `status` is that of its latest run up to the last stage; None if there is none. `item` is the
    (collection, item id) that this run reported as published. `at_utc` is when the run ended, or
    was last updated.
    """

    definition: str
    key: str
    run_id: str | None
    status: str | None
    item: tuple[str, str] | None
    at_utc: datetime | None = None


class Orchestrator(Protocol):
    """Reads and changes the orchestrator's state.

    Methods raise StoreUnavailable, DatabaseUnavailable, StoreDenied.
    """

    def unfinished_runs(self) -> Iterator[RunFact]:
        """Yield the runs that are running, starting, or not started yet."""

    def ended(self, run_ids: Iterable[str]) -> Mapping[str, bool]:
        """Return whether each run has ended with no retry pending, without unknown runs."""

    def runs_under_way(self) -> bool:
        """Return whether any run is queued, starting or running, or will be retried."""

    def slots(self) -> Iterator[SlotFact]:
        """Yield the runs that hold slots of pools, or wait for one."""

    def ticks(self) -> Iterator[TickFact]:
        """Yield the sensors and schedules that are switched on."""

    def queue(self) -> QueueFact | None:
        """Return the state of the queue, or None if no run is queued."""

    def partitions(self) -> Iterator[tuple[str, str]]:
        """Yield (definition, key) of every partition."""

    def partition(self, definition: str, key: str) -> PartitionFact:
        """Return the facts of one partition."""

    def withdrawn_items(self) -> Mapping[tuple[str, str], datetime]:
        """Return when each (collection, item id) was last unpublished by a run."""

    def end_run(self, run_id: str) -> bool:
        """Mark the run as failed if it is still unfinished and its process is gone.

        Return whether it was marked.
        """

    def free_slots(self, run_id: str) -> bool:
        """Free the run's pool slots if it has ended. Return whether it has."""

    def remove_partition(self, definition: str, key: str) -> bool:
        """Remove the partition if it still has no run. Return whether it was removed."""


class LocalFiles(Protocol):
    """Files that dead processes of this machine left in the home.

    Methods raise StoreUnavailable, StoreDenied.
    """

    def left(self) -> Iterator[str]:
        """Yield the names of scratch folders and half-written files."""

    def sweep(self) -> int:
        """Remove them. Return how many."""
