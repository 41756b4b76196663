"""Find the arrivals of a watch by listing its folder or container, also arrivals without an event.

An arrival is a complete source in a watched container; a pass is one complete listing.
`arrivals/listing.py` has passes and their cursor; `run_requests.py` decides which runs to request.

A folder is listed every second within a tick (one evaluation of the sensor). A container is listed
once per tick, for at most `BUDGET_S`; the next tick continues the pass.

Called by `schedules/sensors.py`.
"""

import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

import dagster as dg

from geo_platform.arrivals.arrival import Arrival, arrival_key
from geo_platform.arrivals.listing import ListingCursor, look
from geo_platform.arrivals.watch import Watch
from geo_platform.orchestrator.run_requests import LaunchPlan, arrivals_with_runs, plan_launches
from geo_platform.ports import ObjectStore

BUDGET_S = 20.0
# Just under the five seconds between Dagster's rounds. Not longer, because `geo-platform dev` ends
# only when the tick has ended.
FOLDER_TICK_S = 4.6

# How long after the end of the listing time its results may still be compared with receipts. The
# next tick lists again the objects that were not compared.
_OVERTIME_S = 10.0

_POLL_S = 1.0
_MAX_KNOWN = 100_000
_MAX_ARRIVALS = 2_000
_COMPARED_TOGETHER = 500
# Dagster ends a tick after a minute. Writing this many receipts fits into the rest of that minute,
# even on a slow store.
_MAX_REQUESTED = 1_000


@dataclass
class KnownArrivals:
    """A cache of the keys of arrivals that have a run.

    Each pass lists the latest arrivals again. An arrival that is not in the cache costs one read of
    its receipt, the record that a run was requested.
    """

    _keys: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def without_cached(self, arrivals: Iterable[Arrival], watch: Watch) -> list[Arrival]:
        """Return the arrivals that are not in the cache."""
        return [
            arrival
            for arrival in arrivals
            if arrival_key(arrival, watch.parameters) not in self._keys
        ]

    def add(self, arrival_keys: Iterable[str]) -> None:
        """Add the keys, and drop the oldest keys of a full cache."""
        self._keys.update(dict.fromkeys(arrival_keys))
        while len(self._keys) > _MAX_KNOWN:
            self._keys.popitem(last=False)


@dataclass
class ListingTick:
    """The result of a tick: the runs to request, and the cursor for the next tick.

    `objects` counts the listed objects; a folder that is listed twice counts twice. `skipped` has
    (key, reason) of the objects that the last listing found and that get no run.
    """

    cursor: ListingCursor
    plan: LaunchPlan = field(default_factory=LaunchPlan)
    objects: int = 0
    skipped: tuple[tuple[str, str], ...] = ()


def listing_tick(
    instance: dg.DagsterInstance,
    objects: ObjectStore,
    watch: Watch,
    cursor: ListingCursor,
    known: KnownArrivals,
    *,
    tick_s: float | None = None,
) -> ListingTick:
    """List the watch's objects and plan the runs of new arrivals.

    A container is listed until there is a run to request, the pass is complete or the time is up. A
    folder is listed repeatedly until there is a run to request or the time is up. Both stop if some
    arrivals could not be decided; the returned cursor then lists them again.

    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access. Raises
    ContractError: a receipt cannot be read.
    """
    until = time.monotonic() + (
        tick_s if tick_s is not None else FOLDER_TICK_S if objects.is_local else BUDGET_S
    )
    tick = ListingTick(cursor)
    while True:
        budget_s = max(0.0, min(BUDGET_S, until - time.monotonic()))
        page = look(objects, watch, tick.cursor, budget_s=budget_s, most_arrivals=_MAX_ARRIVALS)
        tick.objects += page.objects
        tick.skipped = page.skipped
        tick.plan, is_all_decided = _decide(
            instance, objects, watch, page.arrivals, known, until=until + _OVERTIME_S
        )
        if is_all_decided:
            tick.cursor = page.cursor
        is_over = time.monotonic() + _POLL_S > until
        if (
            tick.plan.requests
            or is_over
            or not is_all_decided
            or (page.is_whole and not objects.is_local)
        ):
            return tick
        if page.is_whole:
            time.sleep(_POLL_S)


def _decide(
    instance: dg.DagsterInstance,
    objects: ObjectStore,
    watch: Watch,
    arrivals: Iterable[Arrival],
    known: KnownArrivals,
    *,
    until: float,
) -> tuple[LaunchPlan, bool]:
    """Plan runs for the arrivals that are not in `known`, oldest first, and update `known`.

    Return the plan, and whether it decides about all arrivals.
    """
    uncached = known.without_cached(arrivals, watch)
    for start in (
        range(0, len(uncached), _COMPARED_TOGETHER) if len(uncached) > _MAX_REQUESTED else ()
    ):
        if time.monotonic() > until:
            return LaunchPlan(), False
        part = uncached[start : start + _COMPARED_TOGETHER]
        known.add(
            arrivals_with_runs(
                instance, objects, [arrival_key(arrival, watch.parameters) for arrival in part]
            )
        )
    remaining = sorted(
        known.without_cached(uncached, watch),
        key=lambda arrival: (arrival.last_modified_utc, arrival.key),
    )
    plan = plan_launches(instance, objects, watch, remaining[:_MAX_REQUESTED])
    known.add(plan.with_run)
    return plan, len(remaining) <= _MAX_REQUESTED and not plan.deferred and not plan.undecided
