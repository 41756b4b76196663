"""Find runs that are queued or starting for too long, report each cause once, and act on it.

`stuck_causes.py` decides the cause. Dagster's run monitoring fails runs that do not start within
its timeout and started runs whose container is gone, and frees slots of ended runs.

Called by `schedules/sensors.py`.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from geo_platform.dagster_internals import (
    QUEUE_DAEMON,
    concurrency_config,
    engine_error,
    fail_run,
    has_worker_health,
    heartbeat_s,
    log_entries,
    pool_limits,
    pools,
    queued_or_launched_at,
    start_timeout_s,
)
from geo_platform.orchestrator.instance_state import DagsterState
from geo_platform.orchestrator.run_reports import report_on_run
from geo_platform.orchestrator.stuck_causes import (
    Action,
    Limits,
    QueueState,
    StuckDiagnosis,
    TagLimit,
    WaitingRun,
    diagnose,
)
from geo_platform.settings import load_settings
from geo_platform.telemetry.checkpoints import Checkpoint

# A tick examines only the oldest waiting runs: the other runs wait for the same cause.
RUNS_PER_TICK = 100

_STATUS = dg.DagsterRunStatus


def report_stuck_runs(instance: dg.DagsterInstance, *, queued_too_long_s: float) -> str:
    """Fail runs whose process is gone, then diagnose and report runs that wait too long.

    Return a summary for the sensor.
    """
    state = DagsterState(instance, load_settings())
    ended = _end_dead_runs(instance, state)
    waiting = _waiting_too_long(instance, queued_too_long_s)
    queue_state = _queue_state(instance, state) if waiting else None
    reported = 0
    for run in waiting if queue_state is not None else ():
        current = instance.get_run_by_id(run.run_id)
        if queue_state is None or current is None or current.status.value != run.status:
            continue  # the run has made progress meanwhile
        reported += _act(instance, state, current, diagnose(run, queue_state))
    return (
        f"{len(waiting)} waited too long, {reported} of them reported now; "
        f"{ended} without a process ended"
    )


def _act(
    instance: dg.DagsterInstance, state: DagsterState, run: dg.DagsterRun, diagnosis: StuckDiagnosis
) -> bool:
    """Report the cause once per run, even if another run holds the slot later, and act on it.

    Return whether the cause was new or an action was taken.
    """
    is_new = report_on_run(
        instance,
        run,
        Checkpoint.RUN_STUCK,
        f"{diagnosis.cause}: {diagnosis.sentence}",
        details={
            "cause": diagnosis.cause.value,
            "action": diagnosis.action.value,
            "runs": ",".join(diagnosis.runs) or None,
        },
        identified_by=["cause"],
    )
    if not is_new and diagnosis.action is Action.SAY:
        return False
    if diagnosis.action is Action.FREE_SLOTS:
        for run_id in diagnosis.runs:
            state.free_slots(run_id)
    elif diagnosis.action is Action.FAIL:
        fail_run(instance, run, diagnosis.sentence)
    return True


def _end_dead_runs(instance: dg.DagsterInstance, state: DagsterState) -> int:
    """Fail runs whose process on this host is dead, and return how many.

    Such a run may hold slots, and run monitoring does not check processes of this host.
    """
    if has_worker_health(instance):
        return 0
    return sum(
        state.end_run(fact.run_id) for fact in state.unfinished_runs() if fact.is_alive is False
    )


def _waiting_too_long(instance: dg.DagsterInstance, queued_too_long_s: float) -> list[WaitingRun]:
    """Return the runs that wait too long.

    A run may be queued for `queued_too_long_s`, and starting for half of the start timeout. Without
    a start timeout, it may be starting for `queued_too_long_s`.
    """
    starting_s = (start_timeout_s(instance) or 2 * queued_too_long_s) / 2
    found = []
    for statuses, bound_s in (
        ([_STATUS.QUEUED], queued_too_long_s),
        ([_STATUS.STARTING, _STATUS.NOT_STARTED], starting_s),
    ):
        before = datetime.now(UTC) - timedelta(seconds=bound_s)
        waiting = dg.RunsFilter(statuses=statuses, created_before=before)
        for record in instance.get_run_records(waiting, limit=RUNS_PER_TICK, ascending=True):
            run = record.dagster_run
            since = queued_or_launched_at(instance, run) or record.create_timestamp.timestamp()
            if time.time() - since >= bound_s:
                found.append(
                    _waiting_run(run, waiting_s=time.time() - since, events=_events(instance, run))
                )
    return found


def _events(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Sequence[dg.EventLogEntry]:
    types = {dg.DagsterEventType.RUN_ENQUEUED, dg.DagsterEventType.ENGINE_EVENT}
    return log_entries(instance, run.run_id, types)


def _waiting_run(
    run: dg.DagsterRun, *, waiting_s: float = 0.0, events: Sequence[dg.EventLogEntry] = ()
) -> WaitingRun:
    needs = run.run_op_concurrency
    return WaitingRun(
        run.run_id,
        run.job_name,
        run.status.value,
        run.tags,
        frozenset(needs.all_pools or ()) if needs is not None else frozenset(),
        waiting_s,
        launches=sum(
            entry.dagster_event_type is dg.DagsterEventType.RUN_ENQUEUED for entry in events
        ),
        last_error=_last_error(events),
    )


def _last_error(events: Sequence[dg.EventLogEntry]) -> str | None:
    """Return the first line of the last error that an engine event carries."""
    errors = filter(None, map(engine_error, reversed(events)))
    return next((error.splitlines()[0][:300] for error in errors), None)


def _queue_state(instance: dg.DagsterInstance, state: DagsterState) -> QueueState:
    active = dg.RunsFilter(statuses=[_STATUS.STARTED, _STATUS.STARTING, _STATUS.CANCELING])
    heartbeat = heartbeat_s(instance, QUEUE_DAEMON)
    held: dict[str, tuple[str, ...]] = {}
    for slot in state.slots():
        if slot.has_ended:
            held[slot.pool] = (*held.get(slot.pool, ()), slot.run_id)
    return QueueState(
        active=tuple(
            _waiting_run(record.dagster_run) for record in instance.get_run_records(active)
        ),
        limits=_limits(instance),
        daemon_silent_s=time.time() - heartbeat if heartbeat is not None else None,
        slots_of_ended_runs=held,
        start_timeout_s=start_timeout_s(instance),
    )


def _limits(instance: dg.DagsterInstance) -> Limits:
    config = concurrency_config(instance)
    queue = config.run_queue_config
    if queue is None:
        return Limits()
    granularity = config.pool_config.pool_granularity
    counts_runs = granularity is not None and granularity.value == "run"
    return Limits(
        runs=queue.max_concurrent_runs if queue.max_concurrent_runs >= 0 else None,
        tags=tuple(_tag_limit(limit) for limit in queue.tag_concurrency_limits),
        pools=pool_limits(instance) if counts_runs else {},
        full_pools={} if counts_runs else _full_pools(instance),
    )


def _full_pools(instance: dg.DagsterInstance) -> dict[str, tuple[str, ...]]:
    """Return the full pools that count steps, and the ids of the runs that hold their slots.

    The queue does not launch a run whose first step needs such a pool.
    """
    return {
        pool: tuple(sorted({slot.run_id for slot in slots.claimed_slots}))
        for pool, slots in pools(instance).items()
        if slots.active_slot_count >= slots.slot_count
    }


def _tag_limit(limit: Mapping[str, object]) -> TagLimit:
    value = limit.get("value")
    per_value = isinstance(value, Mapping) and bool(value.get("applyLimitPerUniqueValue"))
    return TagLimit(
        str(limit["key"]),
        value if isinstance(value, str) else None,
        per_value,
        int(str(limit["limit"])),
    )
