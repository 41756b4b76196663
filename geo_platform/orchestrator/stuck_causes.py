"""Decide why a run stays queued or starting, and what to do about it. Pure.

docs/checkpoints.md has the table of causes. `stuck_runs.py` reads the state of the queue and acts.

Called by `stuck_runs.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

# A daemon reports every half minute. A daemon that has not reported for this long is down.
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
    """What to do about a stuck run. The cause is always reported, and no run is ever killed.

    SAY: only report the cause. FREE_SLOTS: also free the pool slots of ended runs. FAIL: also mark
    the run as failed.
    """

    SAY = "SAY"
    FREE_SLOTS = "FREE_SLOTS"
    FAIL = "FAIL"


@dataclass(frozen=True)
class TagLimit:
    """The limit of runs at once that have the tag `key`.

    It counts the runs with this `value` of the tag. If `value` is None, it counts all runs with the
    tag, or with `per_value` the runs of each value separately.
    """

    key: str
    value: str | None
    per_value: bool
    limit: int


@dataclass(frozen=True)
class Limits:
    """The limits that runs wait for.

    `runs` is the limit of all runs at once, None if unlimited. `pools` has the limits of pools that
    count whole runs. `full_pools` has the full pools that count steps, and the ids of the runs that
    hold their slots.
    """

    runs: int | None = None
    tags: tuple[TagLimit, ...] = ()
    pools: Mapping[str, int] | None = None
    full_pools: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class WaitingRun:
    """A run that waits to start, or an active run that holds what other runs wait for.

    `waiting_s` is how long the run has waited, `launches` how often it was queued, `last_error` the
    last error that Dagster recorded for the run. An active run keeps the default values of these
    three fields, which then have no meaning.
    """

    run_id: str
    job: str
    status: str
    tags: Mapping[str, str]
    pools: frozenset[str] = frozenset()
    waiting_s: float = 0.0
    launches: int = 1
    last_error: str | None = None


@dataclass(frozen=True)
class QueueState:
    """The state of the run queue: active runs, limits, daemon, and slots of ended runs.

    `daemon_silent_s` is the time since the last report of the queue's daemon, None if it never
    reported. `slots_of_ended_runs` has, by pool, the ended runs that still hold slots.
    `start_timeout_s` is None if run monitoring is off.
    """

    active: tuple[WaitingRun, ...]
    limits: Limits
    daemon_silent_s: float | None
    slots_of_ended_runs: Mapping[str, tuple[str, ...]]
    start_timeout_s: float | None


@dataclass(frozen=True)
class StuckDiagnosis:
    """A cause, a sentence about it, and the action to take.

    `sentence` does not say how long the run has waited, so it remains true while the run waits.
    `runs` are the ids of the runs that hold what this run waits for.
    """

    cause: Cause
    sentence: str
    action: Action = Action.SAY
    runs: tuple[str, ...] = ()


def diagnose(run: WaitingRun, queue_state: QueueState) -> StuckDiagnosis:
    """Return the first cause that applies to a run that has waited too long.

    The order matters: for example, while the daemon is down, no free slot would help.
    """
    return _starting(run, queue_state) if run.status != "QUEUED" else _queued(run, queue_state)


def _queued(run: WaitingRun, queue_state: QueueState) -> StuckDiagnosis:
    if queue_state.daemon_silent_s is None or queue_state.daemon_silent_s > DAEMON_SILENT_S:
        state = "has never reported" if queue_state.daemon_silent_s is None else "no longer reports"
        return StuckDiagnosis(
            Cause.NO_QUEUE_DAEMON,
            f"The daemon that takes runs out of the queue {state}; restart it.",
        )
    for pool in sorted(run.pools & queue_state.slots_of_ended_runs.keys()):
        ended = queue_state.slots_of_ended_runs[pool]
        sentence = (
            f"Slots of the pool {pool} were held by {_run_list(ended)}, which has ended; "
            "they are freed."
        )
        return StuckDiagnosis(Cause.SLOT_OF_ENDED_RUN, sentence, Action.FREE_SLOTS, ended)
    for limit, holders in _exhausted(run, queue_state):
        ids = tuple(holder.run_id for holder in holders)
        named = _run_list([f"{holder.run_id} ({holder.job})" for holder in holders])
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


def _starting(run: WaitingRun, queue_state: QueueState) -> StuckDiagnosis:
    error = f" Last error: {run.last_error}" if run.last_error else ""
    if queue_state.start_timeout_s is not None:
        sentence = (
            "It was launched and no worker has started; run monitoring fails it "
            f"{queue_state.start_timeout_s:.0f} s after its launch.{error}"
        )
        return StuckDiagnosis(Cause.NO_WORKER, sentence)
    return StuckDiagnosis(
        Cause.NO_WORKER,
        f"It was launched, no worker has started, and run monitoring is off.{error}",
        Action.FAIL,
    )


def _exhausted(
    run: WaitingRun, queue_state: QueueState
) -> Iterable[tuple[str, Sequence[WaitingRun]]]:
    """Yield each limit that leaves no slot for this run, with the runs that hold the slots."""
    limits = queue_state.limits
    if limits.runs is not None and len(queue_state.active) >= limits.runs:
        yield f"The limit of {limits.runs} runs at once", queue_state.active
    for limit in limits.tags:
        value = run.tags.get(limit.key)
        if value is None or (limit.value is not None and limit.value != value):
            continue
        same = limit.per_value or limit.value is not None
        holders = [
            other
            for other in queue_state.active
            if (other.tags.get(limit.key) == value if same else limit.key in other.tags)
        ]
        if len(holders) >= limit.limit:
            tag = f"{limit.key} = {value}" if same else limit.key
            yield f"The limit of {limit.limit} at once with the tag {tag}", holders
    for pool in sorted(run.pools & (limits.pools or {}).keys()):
        holders = [other for other in queue_state.active if pool in other.pools]
        if len(holders) >= (limits.pools or {})[pool]:
            yield f"The pool {pool}", holders
    for pool in sorted(run.pools & limits.full_pools.keys()):
        yield (
            f"The pool {pool}",
            [other for other in queue_state.active if other.run_id in limits.full_pools[pool]],
        )


def _run_list(names: Sequence[str]) -> str:
    listed, more = ", ".join(names[:HOLDERS_NAMED]), len(names) - HOLDERS_NAMED
    return f"{'run' if len(names) == 1 else 'runs'} {listed}" + (
        f" and {more} more" if more > 0 else ""
    )
