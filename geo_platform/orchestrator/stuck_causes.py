"""Decide why a run stays queued or starting, and what to do about it. Pure.

docs/checkpoints.md has the table of causes. `stuck_runs.py` reads the facts and acts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

# A daemon reports every half minute. If it is silent for this long, it is down.
DAEMON_SILENT_S = 180.0

HOLDERS_NAMED = 5


class Cause(StrEnum):
    """Why a run does not start. The detail `cause` of RUN_STUCK."""

    NO_QUEUE_DAEMON = "NO_QUEUE_DAEMON"
    NO_FREE_SLOT = "NO_FREE_SLOT"
    SLOT_OF_ENDED_RUN = "SLOT_OF_ENDED_RUN"
    CODE_LOCATION_UNREACHABLE = "CODE_LOCATION_UNREACHABLE"
    NO_WORKER = "NO_WORKER"
    NO_CAUSE_FOUND = "NO_CAUSE_FOUND"


class Action(StrEnum):
    """What to do besides reporting the cause. SAY: nothing. No run is ever killed."""

    SAY = "SAY"
    FREE_SLOTS = "FREE_SLOTS"
    FAIL = "FAIL"


@dataclass(frozen=True)
class TagLimit:
    """At most `limit` runs with the tag: with this `value`, or per value if `per_value`."""

    key: str
    value: str | None
    per_value: bool
    limit: int


@dataclass(frozen=True)
class Limits:
    """The limits that runs wait for.

    `runs` is None if unlimited. `pools` are the limits of pools that count whole runs. `taken` are
    the full pools that count steps, each with the runs that hold its slots.
    """

    runs: int | None = None
    tags: tuple[TagLimit, ...] = ()
    pools: Mapping[str, int] | None = None
    taken: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class WaitingRun:
    """A run that waits, or one that holds what others wait for.

    `for_s` is how long it has waited, `launches` how often it was queued.
    """

    run_id: str
    job: str
    status: str
    tags: Mapping[str, str]
    pools: frozenset[str] = frozenset()
    for_s: float = 0.0
    launches: int = 1
    last_error: str | None = None


@dataclass(frozen=True)
class Surroundings:
    """What a waiting run depends on.

    `daemon_silent_s` is None if the queue's daemon never reported. `held_by_ended` are, by pool,
    ended runs that still hold slots. `start_timeout_s` is None without run monitoring.
    """

    active: tuple[WaitingRun, ...]
    limits: Limits
    daemon_silent_s: float | None
    held_by_ended: Mapping[str, tuple[str, ...]]
    start_timeout_s: float | None


@dataclass(frozen=True)
class StuckDiagnosis:
    """A cause, a sentence about it, and the action to take.

    `sentence` names no time, so it stays true while the run waits. `runs` are the runs it names.
    """

    cause: Cause
    sentence: str
    action: Action = Action.SAY
    runs: tuple[str, ...] = ()


def diagnose(run: WaitingRun, around: Surroundings) -> StuckDiagnosis:
    """Return the first cause that applies to a run that has waited too long.

    The order matters: each cause hides those after it.
    """
    return _starting(run, around) if run.status != "QUEUED" else _queued(run, around)


def _queued(run: WaitingRun, around: Surroundings) -> StuckDiagnosis:
    if around.daemon_silent_s is None or around.daemon_silent_s > DAEMON_SILENT_S:
        state = "has never reported" if around.daemon_silent_s is None else "no longer reports"
        return StuckDiagnosis(
            Cause.NO_QUEUE_DAEMON,
            f"The daemon that takes runs out of the queue {state}; restart it.",
        )
    for pool in sorted(run.pools & around.held_by_ended.keys()):
        ended = around.held_by_ended[pool]
        sentence = (
            f"Slots of the pool {pool} were held by {_named(ended)}, which has ended; "
            "they are freed."
        )
        return StuckDiagnosis(Cause.SLOT_OF_ENDED_RUN, sentence, Action.FREE_SLOTS, ended)
    for limit, holders in _exhausted(run, around):
        ids = tuple(holder.run_id for holder in holders)
        named = _named([f"{holder.run_id} ({holder.job})" for holder in holders])
        sentence = f"{limit} is held by {named}; it starts when one of them ends."
        return StuckDiagnosis(Cause.NO_FREE_SLOT, sentence, runs=ids)
    if run.launches > 1:
        error = f": {run.last_error}" if run.last_error else ""
        return StuckDiagnosis(
            Cause.CODE_LOCATION_UNREACHABLE,
            "The code location was unreachable or did not load, and the run was queued "
            f"again{error}",
        )
    return StuckDiagnosis(
        Cause.NO_CAUSE_FOUND,
        "The daemon is running and a slot is free; see the daemon's log.",
    )


def _starting(run: WaitingRun, around: Surroundings) -> StuckDiagnosis:
    error = f" Last error: {run.last_error}" if run.last_error else ""
    if around.start_timeout_s is not None:
        sentence = (
            "It was launched and no worker has started; run monitoring fails it "
            f"{around.start_timeout_s:.0f} s after its launch.{error}"
        )
        return StuckDiagnosis(Cause.NO_WORKER, sentence)
    return StuckDiagnosis(
        Cause.NO_WORKER,
        f"It was launched, no worker has started, and run monitoring is off.{error}",
        Action.FAIL,
    )


def _exhausted(run: WaitingRun, around: Surroundings) -> Iterable[tuple[str, Sequence[WaitingRun]]]:
    """Yield each limit that leaves no slot for this run, with the runs that hold the slots."""
    limits = around.limits
    if limits.runs is not None and len(around.active) >= limits.runs:
        yield f"The limit of {limits.runs} runs at once", around.active
    for limit in limits.tags:
        value = run.tags.get(limit.key)
        if value is None or (limit.value is not None and limit.value != value):
            continue
        same = limit.per_value or limit.value is not None
        holders = [
            other
            for other in around.active
            if (other.tags.get(limit.key) == value if same else limit.key in other.tags)
        ]
        if len(holders) >= limit.limit:
            tag = f"{limit.key} = {value}" if same else limit.key
            yield f"The limit of {limit.limit} at once with the tag {tag}", holders
    for pool in sorted(run.pools & (limits.pools or {}).keys()):
        holders = [other for other in around.active if pool in other.pools]
        if len(holders) >= (limits.pools or {})[pool]:
            yield f"The pool {pool}", holders
    for pool in sorted(run.pools & limits.taken.keys()):
        yield (
            f"The pool {pool}",
            [other for other in around.active if other.run_id in limits.taken[pool]],
        )


def _named(names: Sequence[str]) -> str:
    shown, more = ", ".join(names[:HOLDERS_NAMED]), len(names) - HOLDERS_NAMED
    return f"{'run' if len(names) == 1 else 'runs'} {shown}" + (
        f" and {more} more" if more > 0 else ""
    )
