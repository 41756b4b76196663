"""Why a run that waits in the queue, or starts, does not get on: plain facts in, one sentence and one action out.

What belongs here: the rule, which docs/checkpoints.md has as a table. What stays out: reading the facts and acting (`stuck_runs.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

# A daemon gives a sign every half minute; without one for so long it is down.
DAEMON_SILENT_S = 180.0

HOLDERS_NAMED = 5


class Cause(StrEnum):
    """Why a run does not get on. The word follows RUN_STUCK in what is said."""

    NO_QUEUE_DAEMON = "NO_QUEUE_DAEMON"
    NO_FREE_SLOT = "NO_FREE_SLOT"
    SLOT_OF_ENDED_RUN = "SLOT_OF_ENDED_RUN"
    CODE_LOCATION_UNREACHABLE = "CODE_LOCATION_UNREACHABLE"
    NO_WORKER = "NO_WORKER"
    NO_CAUSE_FOUND = "NO_CAUSE_FOUND"


class Action(StrEnum):
    """What is done beside saying it. No run is ever killed."""

    SAY = "SAY"
    FREE_SLOTS = "FREE_SLOTS"
    FAIL = "FAIL"


@dataclass(frozen=True)
class TagLimit:
    """At most `limit` runs with the tag; of one `value`, or, where `per_value`, of each value that there is."""

    key: str
    value: str | None
    per_value: bool
    limit: int


@dataclass(frozen=True)
class Limits:
    """What runs wait for. `runs` is None where any number may run; `pools` are limits of pools that count whole runs.

    `taken` are pools that count steps and have no slot left: the living runs whose steps hold them.
    """

    runs: int | None = None
    tags: tuple[TagLimit, ...] = ()
    pools: Mapping[str, int] | None = None
    taken: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class RunAtHand:
    """A run that waits or that is at work. `for_s` is how long it waits; `launches` how often it was put into the queue."""

    run_id: str
    job: str
    status: str
    tags: Mapping[str, str]
    pools: frozenset[str] = frozenset()
    for_s: float = 0.0
    launches: int = 1
    last_trouble: str | None = None


@dataclass(frozen=True)
class Surroundings:
    """What a waiting run depends on. `daemon_silent_s` is None where the daemon of the queue never gave a sign.

    `held_by_ended` are runs that ended and hold slots still, by pool; `start_timeout_s` is None where run monitoring is off.
    """

    at_work: tuple[RunAtHand, ...]
    limits: Limits
    daemon_silent_s: float | None
    held_by_ended: Mapping[str, tuple[str, ...]]
    start_timeout_s: float | None


@dataclass(frozen=True)
class StuckDiagnosis:
    """`said` is a sentence that stays true while the run waits for this: it names no time. `runs` are those that it is about."""

    cause: Cause
    said: str
    action: Action = Action.SAY
    runs: tuple[str, ...] = ()


def diagnose(run: RunAtHand, around: Surroundings) -> StuckDiagnosis:
    """Why this run, which has waited for too long, does not get on. The first cause that fits: each hides those after it."""
    return _starting(run, around) if run.status != "QUEUED" else _queued(run, around)


def _queued(run: RunAtHand, around: Surroundings) -> StuckDiagnosis:
    if around.daemon_silent_s is None or around.daemon_silent_s > DAEMON_SILENT_S:
        since = "never gave a sign" if around.daemon_silent_s is None else "gives no sign any more"
        return StuckDiagnosis(
            Cause.NO_QUEUE_DAEMON,
            f"The daemon that takes runs out of the queue {since}; start it again.",
        )
    for pool in sorted(run.pools & around.held_by_ended.keys()):
        ended = around.held_by_ended[pool]
        said = (
            f"Slots of the pool {pool} were held by {_named(ended)}, which ended; they are freed."
        )
        return StuckDiagnosis(Cause.SLOT_OF_ENDED_RUN, said, Action.FREE_SLOTS, ended)
    for limit, holders in _exhausted(run, around):
        ids = tuple(holder.run_id for holder in holders)
        said = f"{limit} is held by {_named([f'{holder.run_id} ({holder.job})' for holder in holders])}; it starts when one of them ends."
        return StuckDiagnosis(Cause.NO_FREE_SLOT, said, runs=ids)
    if run.launches > 1:
        trouble = f": {run.last_trouble}" if run.last_trouble else ""
        return StuckDiagnosis(
            Cause.CODE_LOCATION_UNREACHABLE,
            f"The code location could not be reached, or did not load, and the run was put back into the queue{trouble}",
        )
    return StuckDiagnosis(
        Cause.NO_CAUSE_FOUND,
        "The daemon is at work and a slot is free; its log says what it waits for.",
    )


def _starting(run: RunAtHand, around: Surroundings) -> StuckDiagnosis:
    trouble = f" The last that was said of it: {run.last_trouble}" if run.last_trouble else ""
    if around.start_timeout_s is not None:
        said = f"It was launched and no worker has begun; run monitoring fails it {around.start_timeout_s:.0f} s after its launch.{trouble}"
        return StuckDiagnosis(Cause.NO_WORKER, said)
    return StuckDiagnosis(
        Cause.NO_WORKER,
        f"It was launched, no worker has begun, and no run monitoring watches it.{trouble}",
        Action.FAIL,
    )


def _exhausted(run: RunAtHand, around: Surroundings) -> Iterable[tuple[str, Sequence[RunAtHand]]]:
    """The limits that leave no slot for this run, each with who holds it."""
    limits = around.limits
    if limits.runs is not None and len(around.at_work) >= limits.runs:
        yield f"The limit of {limits.runs} runs at once", around.at_work
    for limit in limits.tags:
        value = run.tags.get(limit.key)
        if value is None or (limit.value is not None and limit.value != value):
            continue
        same = limit.per_value or limit.value is not None
        holders = [
            other
            for other in around.at_work
            if (other.tags.get(limit.key) == value if same else limit.key in other.tags)
        ]
        if len(holders) >= limit.limit:
            yield (
                f"The limit of {limit.limit} at once with the tag {limit.key}{f' = {value}' if same else ''}",
                holders,
            )
    for pool in sorted(run.pools & (limits.pools or {}).keys()):
        holders = [other for other in around.at_work if pool in other.pools]
        if len(holders) >= (limits.pools or {})[pool]:
            yield f"The pool {pool}", holders
    for pool in sorted(run.pools & limits.taken.keys()):
        yield (
            f"The pool {pool}",
            [other for other in around.at_work if other.run_id in limits.taken[pool]],
        )


def _named(names: Sequence[str]) -> str:
    shown, more = ", ".join(names[:HOLDERS_NAMED]), len(names) - HOLDERS_NAMED
    return f"{'run' if len(names) == 1 else 'runs'} {shown}" + (
        f" and {more} more" if more > 0 else ""
    )
