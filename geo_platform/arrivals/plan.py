"""Decide which runs take which arrivals, by size and age. Pure.

A large object has a run of its own: its work outweighs the start of a run. Small objects that are
found together share a run, oldest first, since the start of a run costs as much as the work on ten
of them. A single small object does not wait for others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from geo_platform.arrivals.arrival import Arrival, arrival_key, group_key
from geo_platform.arrivals.watch import MIB, Watch


class MemoryClass(StrEnum):
    """Memory of a run. dagster.yaml limits runs by it: the tag geo_platform/memory."""

    small = "small"
    medium = "medium"
    large = "large"


_MEDIUM_FROM_BYTES = 64 * MIB
_LARGE_FROM_BYTES = 1024 * MIB


@dataclass(frozen=True)
class PlannedRun:
    """A run to launch: for one arrival its chain's job, for several one job over all of them."""

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
    asked, waiting = groups[:room], groups[room:]
    return [_planned(group, watch) for group in asked], [
        arrival for group in waiting for arrival in group
    ]


def _has_room(group: list[Arrival], arrival: Arrival, watch: Watch) -> bool:
    size = sum(member.size_bytes for member in group) + arrival.size_bytes
    return len(group) < watch.files_per_run and size <= watch.bytes_per_run


def _planned(group: list[Arrival], watch: Watch) -> PlannedRun:
    keys = [arrival_key(arrival, watch.parameters) for arrival in group]
    key = keys[0] if len(keys) == 1 else group_key(keys)
    return PlannedRun(key, tuple(group), memory_class(max(arrival.size_bytes for arrival in group)))


def memory_class(size_bytes: int) -> MemoryClass:
    """Return the class by the source's size. The profile's estimate is known only in a run."""
    if size_bytes >= _LARGE_FROM_BYTES:
        return MemoryClass.large
    return MemoryClass.medium if size_bytes >= _MEDIUM_FROM_BYTES else MemoryClass.small
