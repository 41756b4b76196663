"""What the orchestrator and this machine say, as plain values, and what is asked of them: `Orchestrator`, `LocalFiles`.

What belongs here: facts that comparisons are made on. What stays out: judging them, and any library of an orchestrator.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class RunFact:
    """A run that is said to be unfinished. `is_alive` is None where it cannot be known here; `place` says where it runs."""

    run_id: str
    job: str
    status: str
    place: str
    is_alive: bool | None
    since_utc: datetime


@dataclass(frozen=True)
class SlotFact:
    """A run that holds, or waits for, a slot of a pool. `status` is None where there is no such run."""

    pool: str
    run_id: str
    status: str | None
    has_ended: bool


@dataclass(frozen=True)
class TickFact:
    """A sensor or schedule that is switched on. `last_utc`: its last tick; of a schedule, when it was looked after last."""

    name: str
    is_sensor: bool
    last_utc: datetime
    interval_seconds: float


@dataclass(frozen=True)
class QueueFact:
    """Queued runs, and the last sign of the daemon that launches them; None where it never gave one."""

    queued: int
    oldest_utc: datetime
    heartbeat_utc: datetime | None


@dataclass(frozen=True)
class PartitionFact:
    """A partition of which no item tells. `status` is that of its latest run of all stages; None where there is none.

    `item` is what that run said that it published, as (collection, item id), and `at_utc` when the run was last heard of.
    """

    definition: str
    key: str
    run_id: str | None
    status: str | None
    item: tuple[str, str] | None
    at_utc: datetime | None = None


class Orchestrator(Protocol):
    """What is asked of the orchestrator, and done with it. Errors: StoreUnavailable, DatabaseUnavailable, StoreDenied."""

    def unfinished_runs(self) -> Iterator[RunFact]:
        """Runs that are started, starting, or about to be."""

    def ended(self, run_ids: Iterable[str]) -> Mapping[str, bool]:
        """Which of these runs have ended for good, with no retry to come. Those that are not known are left out."""

    def runs_under_way(self) -> bool:
        """Whether any run is queued, starting or at work, or is going to be retried."""

    def slots(self) -> Iterator[SlotFact]:
        """Who holds slots of pools, or waits for one."""

    def ticks(self) -> Iterator[TickFact]:
        """Sensors and schedules that are switched on."""

    def queue(self) -> QueueFact | None:
        """None where no run is queued."""

    def partitions(self) -> Iterator[tuple[str, str]]:
        """(definition, key) of every partition."""

    def partition(self, definition: str, key: str) -> PartitionFact:
        """What became of one."""

    def withdrawn_items(self) -> Mapping[tuple[str, str], datetime]:
        """(collection, item id) of what runs have unpublished, and when that was last."""

    def end_run(self, run_id: str) -> bool:
        """Mark it as failed, if it is still unfinished and still without a process. False where it is not."""

    def free_slots(self, run_id: str) -> bool:
        """Free what it holds of pools, if it has ended. False where it has not."""

    def remove_partition(self, definition: str, key: str) -> bool:
        """Remove it, if it still has no run. False where it has."""


class LocalFiles(Protocol):
    """What dead processes of this machine left in the folders of this home. Errors: StoreUnavailable, StoreDenied."""

    def left(self) -> Iterator[str]:
        """Names of scratch folders and half-written files."""

    def sweep(self) -> int:
        """Remove them; how many."""
