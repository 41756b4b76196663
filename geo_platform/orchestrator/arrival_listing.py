"""The sensor of a watch: finds arrivals by listing, in a folder or in a container without events, and what events missed.

What belongs here: how long a tick looks, and what of it the next one has to look at again. What stays out: passes and their
cursor (`geo_platform/arrivals/listing.py`), the decision about arrivals (`intake.py`).

A folder is looked into every second inside of a tick, much as `arrival_events.py` does with its queue. A container is gone through once
a tick, for at most `BUDGET_S`; what is left of the pass is the next tick's.
"""

import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

import dagster as dg

from geo_platform.arrivals.arrival import Arrival, arrival_key
from geo_platform.arrivals.listing import ListingCursor, look
from geo_platform.arrivals.watch import Watch
from geo_platform.orchestrator.run_requests import Taken, arrivals_with_runs, take
from geo_platform.ports import ObjectStore

BUDGET_S = 20.0
# A moment less than a round of Dagster's. It waits for the tick when a person ends `geo-platform
# dev`, so that this is no longer.
FOLDER_TICK_S = 4.6

# How long after a look what it found may still be compared with receipts. What is left of it is
# found again by the next tick.
_OVERTIME_S = 10.0

_POLL_S = 1.0
_MOST_KNOWN = 100_000
_MOST_AT_ONCE = 2_000
_COMPARED_AT_ONCE = 500
# To take so many receipts fits into what is left of Dagster's minute, also where the store is slow.
_MOST_TAKEN = 1_000


@dataclass
class KnownArrivals:
    """Those of which this process knows that Dagster has their run: a pass finds the latest ones again, time after time.

    Forgetting costs a look at a receipt; so does another process.
    """

    _keys: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def others(self, arrivals: Iterable[Arrival], watch: Watch) -> list[Arrival]:
        return [
            arrival
            for arrival in arrivals
            if arrival_key(arrival, watch.parameters) not in self._keys
        ]

    def add(self, arrival_keys: Iterable[str]) -> None:
        self._keys.update(dict.fromkeys(arrival_keys))
        while len(self._keys) > _MOST_KNOWN:
            self._keys.popitem(last=False)


@dataclass
class ListingTick:
    """What a tick found and asks for, and the cursor for the next one."""

    cursor: ListingCursor
    taken: Taken = field(default_factory=Taken)
    objects: int = 0
    left: tuple[tuple[str, str], ...] = ()


def listing_tick(
    instance: dg.DagsterInstance,
    objects: ObjectStore,
    watch: Watch,
    cursor: ListingCursor,
    known: KnownArrivals,
    *,
    tick_s: float | None = None,
) -> ListingTick:
    """Look until something is to be asked for, the pass is whole (a folder: again and again) or time is up. Raises the store's faults."""
    until = time.monotonic() + (
        tick_s if tick_s is not None else FOLDER_TICK_S if objects.is_local else BUDGET_S
    )
    tick = ListingTick(cursor)
    while True:
        budget_s = max(0.0, min(BUDGET_S, until - time.monotonic()))
        found = look(objects, watch, tick.cursor, budget_s=budget_s, most_arrivals=_MOST_AT_ONCE)
        tick.objects += found.objects
        tick.left = found.left
        tick.taken, is_all_decided = _decide(
            instance, objects, watch, found.arrivals, known, until=until + _OVERTIME_S
        )
        if is_all_decided:
            tick.cursor = found.cursor
        is_over = time.monotonic() + _POLL_S > until
        if (
            tick.taken.requests
            or is_over
            or not is_all_decided
            or (found.is_whole and not objects.is_local)
        ):
            return tick
        if found.is_whole:
            time.sleep(_POLL_S)


def _decide(
    instance: dg.DagsterInstance,
    objects: ObjectStore,
    watch: Watch,
    arrivals: Iterable[Arrival],
    known: KnownArrivals,
    *,
    until: float,
) -> tuple[Taken, bool]:
    """What was taken of those that are not known, the oldest first; and whether that is all. What it learns stays `known`."""
    others = known.others(arrivals, watch)
    for start in range(0, len(others), _COMPARED_AT_ONCE) if len(others) > _MOST_TAKEN else ():
        if time.monotonic() > until:
            return Taken(), False
        part = others[start : start + _COMPARED_AT_ONCE]
        known.add(
            arrivals_with_runs(
                instance, objects, [arrival_key(arrival, watch.parameters) for arrival in part]
            )
        )
    left = sorted(
        known.others(others, watch), key=lambda arrival: (arrival.last_modified_utc, arrival.key)
    )
    taken = take(instance, objects, watch, left[:_MOST_TAKEN])
    known.add(taken.known)
    return taken, len(left) <= _MOST_TAKEN and not taken.without_room and not taken.unsure
