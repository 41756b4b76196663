"""The sensor on the queue of events: an object landed, its run is asked for within seconds; a message goes once that run exists.

What belongs here: what becomes of each message. What stays out: what a message says (`geo_platform/arrivals/events.py`), the
decision about arrivals (`intake.py`).

Dagster wakes its sensors every five seconds, so this one waits inside of its tick: it asks the queue several times a second until
something came or the tick has lasted `TICK_S`, a moment less than four of those rounds. A second one with a shorter tick is there
while the first one rests. What it asked for is noted in its
cursor; the next tick deletes the messages whose runs Dagster has. A message that nobody deleted comes back after `HIDDEN_S`.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import dagster as dg
from pydantic import BaseModel, ConfigDict, ValidationError

from geo_platform.arrivals.arrival import Arrival, arrival_key
from geo_platform.arrivals.content import NEITHER, arrival_by_content
from geo_platform.arrivals.events import EventUnreadable, ObjectEvent, parse_message
from geo_platform.arrivals.readiness import Waiting, sort_out
from geo_platform.arrivals.watch import Watch
from geo_platform.errors import ParameterInvalid, SourceNotFound
from geo_platform.orchestrator.run_requests import Taken, existing_run_keys, take
from geo_platform.ports import MessageQueue, ObjectStore, QueuedMessage, StoredObject
from geo_platform.source.sidecars import is_single_file, set_prefix

TICK_S = 19.6
HIDDEN_S = 90
# Of one tick: what is decided about them fits into its minute.
MOST_MESSAGES = 2000

_POLL_S = 0.25
_LINGER_S = 0.15
# Where messages keep coming, those that came first wait no longer for company. A full queue gives
# `MOST_MESSAGES` in about this time.
_GATHER_S = 2.0
_RECEIVED_AT_ONCE = 32
_AT_ONCE = 8
_LATER_S = 5
A = TypeVar("A")
B = TypeVar("B")


class AskedFor(BaseModel):
    """A message, and the runs that were asked for because of it."""

    model_config = ConfigDict(frozen=True)

    id: str
    receipt: str
    run_keys: tuple[str, ...]


class EventsCursor(BaseModel):
    """What one tick leaves to the next. `waiting`: parts of sources that are not whole, by `<watch>/<key>`."""

    model_config = ConfigDict(frozen=True)

    version: int = 1
    asked: tuple[AskedFor, ...] = ()
    waiting: Mapping[str, Waiting] = {}


def read_events_cursor(text: str | None) -> EventsCursor:
    """What `model_dump_json` wrote; one of another version is forgotten: its messages come back by themselves."""
    try:
        return EventsCursor.model_validate_json(text) if text else EventsCursor()
    except ValidationError:
        return EventsCursor()


@dataclass
class _Fate:
    """What is to be done with a message: gone, unless a run was asked for or something in it has to come again."""

    message: QueuedMessage
    run_keys: set[str] = field(default_factory=set)
    later_s: int | None = None
    buried_because: str | None = None


@dataclass
class EventsTick:
    """What a tick found and asks for."""

    cursor: EventsCursor
    taken: Taken = field(default_factory=Taken)
    received: int = 0
    said: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class EventIntake:
    """Everything that a tick works on."""

    instance: dg.DagsterInstance
    queue: MessageQueue
    objects: ObjectStore
    watches: Sequence[Watch]
    account_url: str | None = None
    container_prefix: str = ""

    def tick(self, cursor: EventsCursor, *, tick_s: float = TICK_S) -> EventsTick:
        """Wait for messages, at most so long, and decide about those that came. Raises the faults of the stores."""
        until = time.monotonic() + tick_s
        self._delete_done(cursor.asked)
        tick = EventsTick(cursor.model_copy(update={"asked": ()}))
        messages = self._wait(until)
        if messages:
            self._decide(tick, messages)
        return tick

    def _delete_done(self, asked: Sequence[AskedFor]) -> None:
        """Messages whose runs all exist are deleted; of the others Dagster may still be making the runs, or they come back."""
        existing = existing_run_keys(self.instance, {key for one in asked for key in one.run_keys})
        done = [one for one in asked if existing.issuperset(one.run_keys)]
        _each(lambda one: self.queue.delete(QueuedMessage(one.id, one.receipt, "", 0)), done)

    def _wait(self, until: float) -> list[QueuedMessage]:
        messages: list[QueuedMessage] = []
        while True:
            received = self.queue.receive(_RECEIVED_AT_ONCE, hidden_s=HIDDEN_S)
            if received and not messages:
                until = min(until, time.monotonic() + _GATHER_S)
            messages += received
            if received and len(messages) < MOST_MESSAGES and time.monotonic() < until:
                if len(received) < _RECEIVED_AT_ONCE:
                    time.sleep(_LINGER_S)  # what is uploaded together shares runs
                continue
            if messages or time.monotonic() + _POLL_S > until:
                return messages
            time.sleep(_POLL_S)

    def _decide(self, tick: EventsTick, messages: Sequence[QueuedMessage]) -> None:
        tick.received = len(messages)
        fates = [_Fate(message) for message in messages]
        by_place: dict[tuple[str, str], list[_Fate]] = {}
        for fate in fates:
            for event in self._events_of(fate, tick):
                by_place.setdefault((event.container, event.key), []).append(fate)
        waiting = dict(tick.cursor.waiting)
        wanted = self._wanted(tick, by_place, waiting)
        for watch in self.watches:
            self._take(tick, watch, wanted.get(watch.name, {}))
        tick.cursor = tick.cursor.model_copy(
            update={"asked": self._settle(fates), "waiting": waiting}
        )

    def _events_of(self, fate: _Fate, tick: EventsTick) -> list[ObjectEvent]:
        """Those of whole objects in a container that is watched."""
        try:
            events = parse_message(
                fate.message.text,
                account_url=self.account_url,
                container_prefix=self.container_prefix,
            )
        except EventUnreadable as error:
            fate.buried_because = str(error)
            tick.said.append(f"message {fate.message.id} is buried: {error}")
            return []
        containers = {watch.container for watch in self.watches}
        ours = [event for event in events if event.is_created and event.container in containers]
        tick.said += [
            f"{event.container}/{event.key}: {event.type}, of no watch"
            for event in events
            if event not in ours
        ]
        return ours

    def _wanted(
        self,
        tick: EventsTick,
        places: Mapping[tuple[str, str], list[_Fate]],
        waiting: dict[str, Waiting],
    ) -> dict[str, dict[str, tuple[Arrival, list[_Fate]]]]:
        """By the watch's name and arrival key, of what lies at each place now: newer than its event, part of a set, or gone."""
        by_set: dict[tuple[str, str], list[str]] = {}
        for container, key in places:
            by_set.setdefault(
                (container, key if is_single_file(key) else set_prefix(key)), []
            ).append(key)
        wanted: dict[str, dict[str, tuple[Arrival, list[_Fate]]]] = {}
        for (container, prefix), objects in zip(
            by_set, _each(lambda place: self._lying(*place), list(by_set)), strict=True
        ):
            for key in by_set[container, prefix]:
                fates = places[container, key]
                found = self._found(container, key, objects, waiting)
                if isinstance(found, str):
                    tick.said.append(f"{container}/{key}: {found}")
                elif found is None:
                    _come_again(fates, _LATER_S)
                else:
                    watch, arrival = found
                    entry = wanted.setdefault(watch.name, {}).setdefault(
                        arrival_key(arrival, watch.parameters), (arrival, [])
                    )
                    entry[1].extend(fates)
        return wanted

    def _lying(self, container: str, place: str) -> list[StoredObject]:
        """One object, or those of a set."""
        try:
            if is_single_file(place):
                return [self.objects.stat(container, place)]
            return [
                stored
                for stored in self.objects.list(container, place)
                if set_prefix(stored.reference.key) == place
            ]
        except (
            SourceNotFound,
            ParameterInvalid,
        ):  # gone, or of a name that no object of the platform's stores can have
            return []

    def _found(
        self, container: str, key: str, objects: Sequence[StoredObject], waiting: dict[str, Waiting]
    ) -> tuple[Watch, Arrival] | str | None:
        """The arrival that an object is part of, and whose it is; None where it is not whole yet; else why there is none."""
        said = "it was deleted before its run" if not objects else "of no watch"
        for watch in self.watches:
            # A sidecar's name need not fit the patterns of its source.
            if not any(watch.is_about(container, stored.reference.key) for stored in objects):
                continue
            place = f"{watch.name}/{key}"
            before = {
                name: waiting[at]
                for name in (stored.reference.key for stored in objects)
                if (at := f"{watch.name}/{name}") in waiting
            }
            sorted_out = sort_out(
                objects, before, watch, is_local=self.objects.is_local, now_s=time.time()
            )
            waiting.pop(place, None)
            if key in sorted_out.waiting:
                waiting[place] = sorted_out.waiting[key]
                return None
            arrival = next(
                (one for one in sorted_out.ready if key in (one.key, *one.sidecars)), None
            )
            if key in sorted_out.unnamed:
                arrival = arrival_by_content(
                    self.objects, next(stored for stored in objects if stored.reference.key == key)
                )
                said = NEITHER
            if arrival is not None:
                return watch, arrival
            said = dict(sorted_out.left).get(key, said)
        return said

    def _take(
        self, tick: EventsTick, watch: Watch, wanted: Mapping[str, tuple[Arrival, list[_Fate]]]
    ) -> None:
        taken = take(
            self.instance, self.objects, watch, [arrival for arrival, _ in wanted.values()]
        )
        later = taken.unsure | {
            arrival_key(arrival, watch.parameters) for arrival in taken.without_room
        }
        for key, (_, fates) in wanted.items():
            if key in taken.asked:
                for fate in fates:
                    fate.run_keys.add(taken.asked[key])
            elif key in later:
                _come_again(fates, _LATER_S)
        tick.taken.add(taken)

    def _settle(self, fates: Sequence[_Fate]) -> tuple[AskedFor, ...]:
        """Delete, hide or bury each; those that wait for their runs are handed back."""
        _each(
            self._settle_one,
            [fate for fate in fates if not fate.run_keys or fate.later_s is not None],
        )
        waits = [fate for fate in fates if fate.run_keys and fate.later_s is None]
        return tuple(
            AskedFor(
                id=fate.message.id,
                receipt=fate.message.receipt,
                run_keys=tuple(sorted(fate.run_keys)),
            )
            for fate in waits
        )

    def _settle_one(self, fate: _Fate) -> None:
        if fate.buried_because is not None:
            self.queue.bury(fate.message, fate.buried_because)
        elif fate.later_s is not None:
            self.queue.hide(fate.message, fate.later_s)
        else:
            self.queue.delete(fate.message)


def _each(work: Callable[[A], B], items: Iterable[A]) -> list[B]:
    """Some at a time, in their order."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="arrivals") as pool:
        return list(pool.map(work, items))


def _come_again(fates: Sequence[_Fate], later_s: int) -> None:
    for fate in fates:
        fate.later_s = later_s
