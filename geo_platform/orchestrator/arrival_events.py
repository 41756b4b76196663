"""Request runs for the messages on the queue of events, and delete a message once its run exists.

A message holds events of the storage account; an event names an object that was created. Complete
sources among these objects are arrivals. `arrivals/events.py` parses messages; `run_requests.py`
decides which runs to request for arrivals.

Dagster evaluates sensors every five seconds. To request a run sooner, the sensor waits inside its
tick (one evaluation): it polls the queue several times a second until a message arrives or the tick
has lasted `TICK_S`, just under four evaluation rounds. A second sensor with a shorter tick covers
the pause between ticks. The cursor holds the messages whose runs were requested; the next tick
deletes the messages whose runs exist. A message that was not deleted becomes visible again
`HIDDEN_S` seconds after it was received.

Called by `schedules/sensors.py`.
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
from geo_platform.orchestrator.run_requests import LaunchPlan, existing_run_keys, plan_launches
from geo_platform.ports import MessageQueue, ObjectStore, QueuedMessage, StoredObject
from geo_platform.source.sidecars import group_prefix, group_prefixes, is_single_file

TICK_S = 19.6
HIDDEN_S = 90
# Per tick. The decisions about 2000 messages fit into the minute that Dagster gives a tick.
MAX_MESSAGES = 2000

_POLL_S = 0.25
_LINGER_S = 0.15
# If messages keep coming, the first messages wait no longer than this for more messages, whose
# files could share a run with theirs.
# A full queue gives `MAX_MESSAGES` in about this time.
_GATHER_S = 2.0
_RECEIVED_AT_ONCE = 32
_THREADS = 8
_RETRY_AFTER_S = 5
A = TypeVar("A")
B = TypeVar("B")


class RequestedMessage(BaseModel):
    """A message and the run keys of the runs that were requested for its objects."""

    model_config = ConfigDict(frozen=True)

    id: str
    receipt: str
    run_keys: tuple[str, ...]


class EventsCursor(BaseModel):
    """What one tick passes to the next tick.

    `asked`: the messages whose runs were requested. `waiting`: when the objects of incomplete
    sources were first found, by `<watch>/<key>`.
    """

    model_config = ConfigDict(frozen=True)

    version: int = 1
    asked: tuple[RequestedMessage, ...] = ()
    waiting: Mapping[str, Waiting] = {}


def read_events_cursor(text: str | None) -> EventsCursor:
    """Parse a cursor that `model_dump_json` wrote.

    Return an empty cursor if the text has another format. No message is lost: those that the old
    cursor held become visible in the queue again.
    """
    try:
        return EventsCursor.model_validate_json(text) if text else EventsCursor()
    except ValidationError:
        return EventsCursor()


@dataclass
class _MessageDecision:
    """What to do with a message.

    The message is deleted, unless a run was requested for one of its objects, an object has to be
    examined again later (`retry_after_s`), or the message is unreadable (`bury_reason`).
    """

    message: QueuedMessage
    run_keys: set[str] = field(default_factory=set)
    retry_after_s: int | None = None
    bury_reason: str | None = None


@dataclass
class EventsTick:
    """The result of a tick: the next cursor, the runs to request, and lines to log."""

    cursor: EventsCursor
    plan: LaunchPlan = field(default_factory=LaunchPlan)
    received: int = 0
    log_lines: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class EventIntake:
    """The stores, the queue and the watches that a tick works on."""

    instance: dg.DagsterInstance
    queue: MessageQueue
    objects: ObjectStore
    watches: Sequence[Watch]
    account_url: str | None = None
    container_prefix: str = ""

    def tick(self, cursor: EventsCursor, *, tick_s: float = TICK_S) -> EventsTick:
        """Wait up to `tick_s` for messages, and plan the runs of the objects that they name.

        Raises StoreUnavailable, StoreDenied: the queue or the object store does not answer or
        refuses access.
        """
        until = time.monotonic() + tick_s
        self._delete_launched(cursor.asked)
        tick = EventsTick(cursor.model_copy(update={"asked": ()}))
        messages = self._wait(until)
        if messages:
            self._decide(tick, messages)
        return tick

    def _delete_launched(self, messages: Sequence[RequestedMessage]) -> None:
        """Delete the messages whose runs all exist.

        For the other messages, Dagster may still be creating the runs. If it does not create them,
        the messages become visible in the queue again.
        """
        existing = existing_run_keys(
            self.instance, {key for message in messages for key in message.run_keys}
        )
        launched = [message for message in messages if existing.issuperset(message.run_keys)]
        _map_parallel(
            lambda message: self.queue.delete(QueuedMessage(message.id, message.receipt, "", 0)),
            launched,
        )

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
        decisions_by_object: dict[tuple[str, str], list[_MessageDecision]] = {}
        for decision in decisions:
            for event in self._events_of(decision, tick):
                decisions_by_object.setdefault((event.container, event.key), []).append(decision)
        waiting = dict(tick.cursor.waiting)
        by_watch = self._arrivals_by_watch(tick, decisions_by_object, waiting)
        for watch in self.watches:
            self._plan(tick, watch, by_watch.get(watch.name, {}))
        tick.cursor = tick.cursor.model_copy(
            update={"asked": self._settle(decisions), "waiting": waiting}
        )

    def _events_of(self, decision: _MessageDecision, tick: EventsTick) -> list[ObjectEvent]:
        """Return the message's events about objects created in a watched container."""
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

    def _arrivals_by_watch(
        self,
        tick: EventsTick,
        places: Mapping[tuple[str, str], list[_MessageDecision]],
        waiting: dict[str, Waiting],
    ) -> dict[str, dict[str, tuple[Arrival, list[_MessageDecision]]]]:
        """Return the arrivals by watch and arrival key, with the decisions that depend on each.

        The store is read now, because an object may have been replaced or deleted since its event.
        It may also be one file of several that form a source.
        """
        by_set: dict[tuple[str, str], list[str]] = {}
        for container, key in places:
            by_set.setdefault(
                (container, key if is_single_file(key) else group_prefix(key)), []
            ).append(key)
        by_watch: dict[str, dict[str, tuple[Arrival, list[_MessageDecision]]]] = {}
        for (container, prefix), objects in zip(
            by_set,
            _map_parallel(lambda place: self._stored_objects(*place), list(by_set)),
            strict=True,
        ):
            for key in by_set[container, prefix]:
                decisions = places[container, key]
                found = self._arrival_of(container, key, objects, waiting)
                if isinstance(found, str):
                    tick.log_lines.append(f"{container}/{key}: {found}")
                elif found is None:
                    _retry_later(decisions, _RETRY_AFTER_S)
                else:
                    watch, arrival = found
                    entry = by_watch.setdefault(watch.name, {}).setdefault(
                        arrival_key(arrival, watch.parameters), (arrival, [])
                    )
                    entry[1].extend(decisions)
        return by_watch

    def _stored_objects(self, container: str, place: str) -> list[StoredObject]:
        """Return the object, or all objects of a source of several files; empty if none exists."""
        try:
            if is_single_file(place):
                return [self.objects.stat(container, place)]
            return [
                stored
                for prefix in group_prefixes(place)
                for stored in self.objects.list(container, prefix)
                if group_prefix(stored.reference.key) == prefix
            ]
        except (SourceNotFound, ParameterInvalid):
            # It was deleted, or has a name that is invalid in the platform's stores.
            return []

    def _arrival_of(
        self, container: str, key: str, objects: Sequence[StoredObject], waiting: dict[str, Waiting]
    ) -> tuple[Watch, Arrival] | str | None:
        """Return the watch and the arrival that the object belongs to.

        Return None if the source of the object is incomplete. If the object is no part of an
        arrival, return the reason as text.
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
                (ready for ready in sorted_out.ready if key in (ready.key, *ready.sidecars)), None
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

    def _plan(
        self,
        tick: EventsTick,
        watch: Watch,
        arrivals: Mapping[str, tuple[Arrival, list[_MessageDecision]]],
    ) -> None:
        plan = plan_launches(
            self.instance, self.objects, watch, [arrival for arrival, _ in arrivals.values()]
        )
        later = plan.undecided | {
            arrival_key(arrival, watch.parameters) for arrival in plan.deferred
        }
        for key, (_, decisions) in arrivals.items():
            if key in plan.run_keys:
                for decision in decisions:
                    decision.run_keys.add(plan.run_keys[key])
            elif key in later:
                _retry_later(decisions, _RETRY_AFTER_S)
        tick.plan.add(plan)

    def _settle(self, decisions: Sequence[_MessageDecision]) -> tuple[RequestedMessage, ...]:
        """Delete, hide or bury messages. Return the messages to delete once their runs exist."""
        _map_parallel(
            self._settle_message,
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

    def _settle_message(self, decision: _MessageDecision) -> None:
        if decision.bury_reason is not None:
            self.queue.bury(decision.message, decision.bury_reason)
        elif decision.retry_after_s is not None:
            self.queue.hide(decision.message, decision.retry_after_s)
        else:
            self.queue.delete(decision.message)


def _map_parallel(work: Callable[[A], B], items: Iterable[A]) -> list[B]:
    """Apply `work` to all items in threads, and return the results in the order of the items."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="arrivals") as pool:
        return list(pool.map(work, items))


def _retry_later(decisions: Sequence[_MessageDecision], retry_after_s: int) -> None:
    for decision in decisions:
        decision.retry_after_s = retry_after_s
