"""Request runs for the messages on the queue of events, and delete a message once its run exists.

`arrivals/events.py` parses messages; `run_requests.py` decides about arrivals.

Dagster evaluates sensors every five seconds. To request a run sooner, the sensor waits inside its
tick: it polls the queue several times a second until a message arrives or the tick has lasted
`TICK_S`, just under four rounds of Dagster. A second sensor with a shorter tick covers the pause
between ticks. The cursor holds what was requested, and the next tick deletes the messages whose
runs exist. A message that was not deleted becomes visible again after `HIDDEN_S`.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import dagster as dg
from pydantic import BaseModel, ConfigDict, ValidationError

from geo_platform.arrivals.arrival import Arrival, arrival_key
from geo_platform.arrivals.content import NO_KNOWN_FORMAT, arrival_by_content
from geo_platform.arrivals.events import EventUnreadable, ObjectEvent, parse_message
from geo_platform.arrivals.readiness import Waiting, sort_out
from geo_platform.arrivals.watch import Watch
from geo_platform.errors import ParameterInvalid, SourceNotFound
from geo_platform.orchestrator.run_requests import Taken, existing_run_keys, take
from geo_platform.ports import MessageQueue, ObjectStore, QueuedMessage, StoredObject
from geo_platform.source.sidecars import group_prefix, is_single_file

TICK_S = 19.6
HIDDEN_S = 90
# Per tick. Deciding about so many messages fits into the minute that Dagster gives a tick.
MAX_MESSAGES = 2000

_POLL_S = 0.25
_LINGER_S = 0.15
# If messages keep coming, the first ones wait no longer than this for others to share a run with.
# A full queue gives `MAX_MESSAGES` in about this time.
_GATHER_S = 2.0
_RECEIVED_AT_ONCE = 32
_THREADS = 8
_RETRY_AFTER_S = 5
A = TypeVar("A")
B = TypeVar("B")


class RequestedMessage(BaseModel):
    """A message and the runs requested because of it."""

    model_config = ConfigDict(frozen=True)

    id: str
    receipt: str
    run_keys: tuple[str, ...]


class EventsCursor(BaseModel):
    """What one tick passes to the next.

    `asked` are the messages whose runs were requested. `waiting` are the objects of incomplete
    sources, by `<watch>/<key>`.
    """

    model_config = ConfigDict(frozen=True)

    version: int = 1
    asked: tuple[RequestedMessage, ...] = ()
    waiting: Mapping[str, Waiting] = {}


def read_events_cursor(text: str | None) -> EventsCursor:
    """Parse a cursor that `model_dump_json` wrote.

    Return an empty cursor if it is of another version: its messages become visible again.
    """
    try:
        return EventsCursor.model_validate_json(text) if text else EventsCursor()
    except ValidationError:
        return EventsCursor()


@dataclass
class _MessageDecision:
    """What to do with a message.

    It is deleted, unless a run was requested for it or an object in it has to be retried.
    """

    message: QueuedMessage
    run_keys: set[str] = field(default_factory=set)
    retry_after_s: int | None = None
    bury_reason: str | None = None


@dataclass
class EventsTick:
    """What a tick found and requests."""

    cursor: EventsCursor
    taken: Taken = field(default_factory=Taken)
    received: int = 0
    log_lines: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class EventIntake:
    """What a tick works on."""

    instance: dg.DagsterInstance
    queue: MessageQueue
    objects: ObjectStore
    watches: Sequence[Watch]
    account_url: str | None = None
    container_prefix: str = ""

    def tick(self, cursor: EventsCursor, *, tick_s: float = TICK_S) -> EventsTick:
        """Wait up to `tick_s` for messages and decide about them.

        Raises the errors of the stores.
        """
        until = time.monotonic() + tick_s
        self._delete_done(cursor.asked)
        tick = EventsTick(cursor.model_copy(update={"asked": ()}))
        messages = self._wait(until)
        if messages:
            self._decide(tick, messages)
        return tick

    def _delete_done(self, asked: Sequence[RequestedMessage]) -> None:
        """Delete the messages whose runs all exist.

        Dagster may still be creating the runs of the others. If not, they become visible again.
        """
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
            if received and len(messages) < MAX_MESSAGES and time.monotonic() < until:
                if len(received) < _RECEIVED_AT_ONCE:
                    time.sleep(_LINGER_S)  # files uploaded together share runs
                continue
            if messages or time.monotonic() + _POLL_S > until:
                return messages
            time.sleep(_POLL_S)

    def _decide(self, tick: EventsTick, messages: Sequence[QueuedMessage]) -> None:
        tick.received = len(messages)
        decisions = [_MessageDecision(message) for message in messages]
        by_place: dict[tuple[str, str], list[_MessageDecision]] = {}
        for decision in decisions:
            for event in self._events_of(decision, tick):
                by_place.setdefault((event.container, event.key), []).append(decision)
        waiting = dict(tick.cursor.waiting)
        wanted = self._wanted(tick, by_place, waiting)
        for watch in self.watches:
            self._take(tick, watch, wanted.get(watch.name, {}))
        tick.cursor = tick.cursor.model_copy(
            update={"asked": self._settle(decisions), "waiting": waiting}
        )

    def _events_of(self, decision: _MessageDecision, tick: EventsTick) -> list[ObjectEvent]:
        """Return the events of objects created in a watched container."""
        try:
            events = parse_message(
                decision.message.text,
                account_url=self.account_url,
                container_prefix=self.container_prefix,
            )
        except EventUnreadable as error:
            decision.bury_reason = str(error)
            tick.log_lines.append(f"message {decision.message.id} is buried: {error}")
            return []
        containers = {watch.container for watch in self.watches}
        ours = [event for event in events if event.is_created and event.container in containers]
        tick.log_lines += [
            f"{event.container}/{event.key}: {event.type}, of no watch"
            for event in events
            if event not in ours
        ]
        return ours

    def _wanted(
        self,
        tick: EventsTick,
        places: Mapping[tuple[str, str], list[_MessageDecision]],
        waiting: dict[str, Waiting],
    ) -> dict[str, dict[str, tuple[Arrival, list[_MessageDecision]]]]:
        """Return the arrivals by watch and arrival key, with the decisions that depend on each.

        The objects are read as they are now: one may be newer than its event, part of a set, or
        deleted.
        """
        by_set: dict[tuple[str, str], list[str]] = {}
        for container, key in places:
            by_set.setdefault(
                (container, key if is_single_file(key) else group_prefix(key)), []
            ).append(key)
        wanted: dict[str, dict[str, tuple[Arrival, list[_MessageDecision]]]] = {}
        for (container, prefix), objects in zip(
            by_set, _each(lambda place: self._present(*place), list(by_set)), strict=True
        ):
            for key in by_set[container, prefix]:
                decisions = places[container, key]
                found = self._found(container, key, objects, waiting)
                if isinstance(found, str):
                    tick.log_lines.append(f"{container}/{key}: {found}")
                elif found is None:
                    _retry_later(decisions, _RETRY_AFTER_S)
                else:
                    watch, arrival = found
                    entry = wanted.setdefault(watch.name, {}).setdefault(
                        arrival_key(arrival, watch.parameters), (arrival, [])
                    )
                    entry[1].extend(decisions)
        return wanted

    def _present(self, container: str, place: str) -> list[StoredObject]:
        """Return the object, or the objects of its set; empty if there is none."""
        try:
            if is_single_file(place):
                return [self.objects.stat(container, place)]
            return [
                stored
                for stored in self.objects.list(container, place)
                if group_prefix(stored.reference.key) == place
            ]
        except (SourceNotFound, ParameterInvalid):
            # It was deleted, or has a name that is invalid in the platform's stores.
            return []

    def _found(
        self, container: str, key: str, objects: Sequence[StoredObject], waiting: dict[str, Waiting]
    ) -> tuple[Watch, Arrival] | str | None:
        """Return the watch and arrival of an object.

        Return None if its source is incomplete, or the reason if there is no arrival.
        """
        reason = "it was deleted before its run" if not objects else "of no watch"
        for watch in self.watches:
            # A sidecar's name need not fit the patterns of its source.
            if not any(watch.covers(container, stored.reference.key) for stored in objects):
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
                reason = NO_KNOWN_FORMAT
            if arrival is not None:
                return watch, arrival
            reason = dict(sorted_out.skipped).get(key, reason)
        return reason

    def _take(
        self,
        tick: EventsTick,
        watch: Watch,
        wanted: Mapping[str, tuple[Arrival, list[_MessageDecision]]],
    ) -> None:
        taken = take(
            self.instance, self.objects, watch, [arrival for arrival, _ in wanted.values()]
        )
        later = taken.unsure | {
            arrival_key(arrival, watch.parameters) for arrival in taken.without_room
        }
        for key, (_, decisions) in wanted.items():
            if key in taken.asked:
                for decision in decisions:
                    decision.run_keys.add(taken.asked[key])
            elif key in later:
                _retry_later(decisions, _RETRY_AFTER_S)
        tick.taken.add(taken)

    def _settle(self, decisions: Sequence[_MessageDecision]) -> tuple[RequestedMessage, ...]:
        """Delete, hide or bury each message; return those that wait for their runs."""
        _each(
            self._settle_one,
            [
                decision
                for decision in decisions
                if not decision.run_keys or decision.retry_after_s is not None
            ],
        )
        waits = [
            decision
            for decision in decisions
            if decision.run_keys and decision.retry_after_s is None
        ]
        return tuple(
            RequestedMessage(
                id=decision.message.id,
                receipt=decision.message.receipt,
                run_keys=tuple(sorted(decision.run_keys)),
            )
            for decision in waits
        )

    def _settle_one(self, decision: _MessageDecision) -> None:
        if decision.bury_reason is not None:
            self.queue.bury(decision.message, decision.bury_reason)
        elif decision.retry_after_s is not None:
            self.queue.hide(decision.message, decision.retry_after_s)
        else:
            self.queue.delete(decision.message)


def _each(work: Callable[[A], B], items: Iterable[A]) -> list[B]:
    """Apply `work` to all items, some at a time; results in order."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="arrivals") as pool:
        return list(pool.map(work, items))


def _retry_later(decisions: Sequence[_MessageDecision], retry_after_s: int) -> None:
    for decision in decisions:
        decision.retry_after_s = retry_after_s
