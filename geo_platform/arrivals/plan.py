"""Decide which runs process which arrivals (complete sources), by size and age. Pure functions.

A large source gets a run of its own: its processing takes much longer than the start of a run.
Small sources that are found together share a run, oldest first, since the start of a run costs as
much as the work on ten of them. A single small source does not wait for others.

Called by `api/jobs/intake.py` and `orchestrator/run_requests.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from geo_platform.arrivals.arrival import Arrival, arrival_key, group_key
from geo_platform.arrivals.watch import MIB, Watch


class MemoryClass(StrEnum):
    """How much memory a run needs. The run has it as its tag geo_platform/memory.

    dagster.yaml limits the number of parallel runs by this tag.
    """

    small = "small"
    medium = "medium"
    large = "large"


_MEDIUM_FROM_BYTES = 64 * MIB
_LARGE_FROM_BYTES = 1024 * MIB


@dataclass(frozen=True)
class PlannedRun:
    """A run to launch: the chain's own job for one arrival, the shared job for several."""

    run_key: str
    arrivals: tuple[Arrival, ...]
    memory: MemoryClass

    @property
    def is_shared(self) -> bool:
        return len(self.arrivals) > 1


def plan_runs(
    arrivals: Sequence[Arrival], watch: Watch, *, room: int
) -> tuple[list[PlannedRun], list[Arrival]]:
    """Return at most `room` runs, oldest arrivals first, and the arrivals that have to wait."""
    ordered = sorted(arrivals, key=lambda arrival: (arrival.last_modified_utc, arrival.key))
    groups: list[list[Arrival]] = []
    open_group: list[Arrival] | None = None
    for arrival in ordered:
        if arrival.size_bytes > watch.small_bytes:
            groups.append([arrival])
        elif open_group is None or not _has_room(open_group, arrival, watch):
            open_group = [arrival]
            groups.append(open_group)
        else:
            open_group.append(arrival)
    admitted, waiting = groups[:room], groups[room:]
    return [_planned_run(group, watch) for group in admitted], [
        arrival for group in waiting for arrival in group
    ]


def _has_room(group: list[Arrival], arrival: Arrival, watch: Watch) -> bool:
    size = sum(member.size_bytes for member in group) + arrival.size_bytes
    return len(group) < watch.files_per_run and size <= watch.bytes_per_run


def _planned_run(group: list[Arrival], watch: Watch) -> PlannedRun:
    keys = [arrival_key(arrival, watch.parameters) for arrival in group]
    key = keys[0] if len(keys) == 1 else group_key(keys)
    return PlannedRun(key, tuple(group), memory_class(max(arrival.size_bytes for arrival in group)))


def memory_class(size_bytes: int) -> MemoryClass:
    """Return the memory class for a source of this size.

    The estimate of a profile would be better, but is known only after a run has started.
    """
    if size_bytes >= _LARGE_FROM_BYTES:
        return MemoryClass.large
    return MemoryClass.medium if size_bytes >= _MEDIUM_FROM_BYTES else MemoryClass.small
