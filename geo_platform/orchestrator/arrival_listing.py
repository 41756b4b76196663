"""Find the arrivals of a watch by listing its folder or container, also those that events missed.

`arrivals/listing.py` has passes and their cursor; `run_requests.py` decides about arrivals.

A folder is listed every second within a tick. A container is listed once per tick, for at most
`BUDGET_S`; the next tick continues the pass.
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
# Just under the five seconds between Dagster's rounds. Not longer, because `geo-platform dev` ends
# only when the tick has ended.
FOLDER_TICK_S = 4.6

# How long after the listing its results may still be compared with receipts. The next tick lists
# the rest again.
_OVERTIME_S = 10.0

_POLL_S = 1.0
_MAX_KNOWN = 100_000
_MAX_ARRIVALS = 2_000
_COMPARED_TOGETHER = 500
# Writing this many receipts fits into the rest of Dagster's minute, even on a slow store.
_MAX_TAKEN = 1_000


@dataclass
class KnownArrivals:
    """A cache of arrivals that have a run, because each pass lists the latest ones again.

    An arrival that is not in the cache costs one read of its receipt.
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
        while len(self._keys) > _MAX_KNOWN:
            self._keys.popitem(last=False)


@dataclass
class ListingTick:
    """What a tick found and requests, and the cursor for the next one."""

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
    """List until there is a run to request, the pass is complete or time is up.

    A folder is listed again and again until time is up. Raises the store's errors.
    """
    until = time.monotonic() + (
        tick_s if tick_s is not None else FOLDER_TICK_S if objects.is_local else BUDGET_S
    )
    tick = ListingTick(cursor)
    while True:
        budget_s = max(0.0, min(BUDGET_S, until - time.monotonic()))
        found = look(objects, watch, tick.cursor, budget_s=budget_s, most_arrivals=_MAX_ARRIVALS)
        tick.objects += found.objects
        tick.left = found.skipped
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
    """Take the arrivals that are not in `known`, oldest first, and add to `known`.

    Return what was decided, and whether that was about all arrivals.
    """
    others = known.others(arrivals, watch)
    for start in range(0, len(others), _COMPARED_TOGETHER) if len(others) > _MAX_TAKEN else ():
        if time.monotonic() > until:
            return Taken(), False
        part = others[start : start + _COMPARED_TOGETHER]
        known.add(
            arrivals_with_runs(
                instance, objects, [arrival_key(arrival, watch.parameters) for arrival in part]
            )
        )
    left = sorted(
        known.others(others, watch), key=lambda arrival: (arrival.last_modified_utc, arrival.key)
    )
    taken = take(instance, objects, watch, left[:_MAX_TAKEN])
    known.add(taken.known)
    return taken, len(left) <= _MAX_TAKEN and not taken.without_room and not taken.unsure
