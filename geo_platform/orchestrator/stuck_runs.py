"""Runs that wait in the queue, or start, for longer than they should: why, said once on the run, and what is done about it.

What belongs here: reading the facts, saying and acting, the sensor. What stays out: the diagnosis (`stuck_causes.py`), and what
Dagster's run monitoring does itself: it fails what has not started within its start timeout and started runs whose container
is gone, and frees slots of ended runs after a while.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from geo_platform.orchestrator.instance_state import InstanceState
from geo_platform.orchestrator.run_reports import report_of_run, said_of
from geo_platform.orchestrator.stuck_causes import (
    Action,
    Limits,
    RunAtHand,
    StuckDiagnosis,
    Surroundings,
    TagLimit,
    diagnose,
)
from geo_platform.settings import load_settings
from geo_platform.telemetry.checkpoints import Checkpoint

# Of the queue only so many are looked at in a tick, the oldest ones: what blocks them blocks the
# others.
LOOKED_AT = 100

_STATUS = dg.DagsterRunStatus
_QUEUE_DAEMON = "QUEUED_RUN_COORDINATOR"


def watch(instance: dg.DagsterInstance, *, queued_too_long_s: float) -> str:
    """One look: end runs whose process is known to be gone, diagnose those that wait too long, say and do. Returns a summary."""
    state = InstanceState(instance, load_settings())
    ended = _end_dead_runs(instance, state)
    waiting = _waiting_too_long(instance, queued_too_long_s)
    around = _surroundings(instance, state) if waiting else None
    said = 0
    for run in waiting if around is not None else ():
        found = instance.get_run_by_id(run.run_id)
        if around is None or found is None or found.status.value != run.status:
            continue  # it went on meanwhile
        said += _act(instance, state, found, diagnose(run, around))
    return f"{len(waiting)} waited too long, {said} of them told so now; {ended} were ended whose process was gone"


def _act(
    instance: dg.DagsterInstance,
    state: InstanceState,
    run: dg.DagsterRun,
    diagnosis: StuckDiagnosis,
) -> bool:
    """Once for each cause: who holds the slot may change all the time."""
    if not any(
        text.startswith(f"{Checkpoint.RUN_STUCK} {diagnosis.cause}:")
        for text in said_of(instance, run.run_id)
    ):
        details = {
            "cause": diagnosis.cause.value,
            "action": diagnosis.action.value,
            "runs": ",".join(diagnosis.runs) or None,
        }
        report_of_run(
            instance,
            run,
            Checkpoint.RUN_STUCK,
            f"{diagnosis.cause}: {diagnosis.said}",
            details=details,
        )
    elif diagnosis.action is Action.SAY:
        return False
    if diagnosis.action is Action.FREE_SLOTS:
        for run_id in diagnosis.runs:
            state.free_slots(run_id)
    elif diagnosis.action is Action.FAIL:
        instance.report_run_failed(run, diagnosis.said)
    return True


def _end_dead_runs(instance: dg.DagsterInstance, state: InstanceState) -> int:
    """Of processes on this host, which run monitoring does not ask after: a dead run may hold what others wait for."""
    if instance.run_launcher.supports_check_run_worker_health:
        return 0
    return sum(
        state.end_run(fact.run_id) for fact in state.unfinished_runs() if fact.is_alive is False
    )


def _waiting_too_long(instance: dg.DagsterInstance, queued_too_long_s: float) -> list[RunAtHand]:
    """Queued for longer than that, or launched and not started for longer than half of the start timeout."""
    starting_s = (_start_timeout_s(instance) or 2 * queued_too_long_s) / 2
    found = []
    for statuses, bound_s in (
        ([_STATUS.QUEUED], queued_too_long_s),
        ([_STATUS.STARTING, _STATUS.NOT_STARTED], starting_s),
    ):
        before = datetime.now(UTC) - timedelta(seconds=bound_s)
        wanted = dg.RunsFilter(statuses=statuses, created_before=before)
        for record in instance.get_run_records(wanted, limit=LOOKED_AT, ascending=True):
            run = record.dagster_run
            stats = instance.get_run_stats(run.run_id)
            since = (
                stats.launch_time if run.status is _STATUS.STARTING else stats.enqueued_time
            ) or record.create_timestamp.timestamp()
            if time.time() - since >= bound_s:
                found.append(
                    _at_hand(run, for_s=time.time() - since, events=_events(instance, run))
                )
    return found


def _events(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Sequence[dg.EventLogEntry]:
    return instance.all_logs(
        run.run_id, of_type={dg.DagsterEventType.RUN_ENQUEUED, dg.DagsterEventType.ENGINE_EVENT}
    )


def _at_hand(
    run: dg.DagsterRun, *, for_s: float = 0.0, events: Sequence[dg.EventLogEntry] = ()
) -> RunAtHand:
    needs = run.run_op_concurrency
    return RunAtHand(
        run.run_id,
        run.job_name,
        run.status.value,
        run.tags,
        frozenset(needs.all_pools or ()) if needs is not None else frozenset(),
        for_s,
        launches=sum(
            entry.dagster_event_type is dg.DagsterEventType.RUN_ENQUEUED for entry in events
        ),
        last_trouble=_last_trouble(events),
    )


def _last_trouble(events: Sequence[dg.EventLogEntry]) -> str | None:
    """The last engine event that carries an error: its first line."""
    for entry in reversed(events):
        event = entry.dagster_event
        error = (
            event.engine_event_data.error if event is not None and event.is_engine_event else None
        )
        if error is not None:
            return error.message.strip().splitlines()[0][:300]
    return None


def _surroundings(instance: dg.DagsterInstance, state: InstanceState) -> Surroundings:
    active = instance.get_runs(
        dg.RunsFilter(statuses=[_STATUS.STARTED, _STATUS.STARTING, _STATUS.CANCELING])
    )
    heartbeat = instance.get_daemon_heartbeats().get(_QUEUE_DAEMON)
    held: dict[str, tuple[str, ...]] = {}
    for slot in state.slots():
        if slot.has_ended:
            held[slot.pool] = (*held.get(slot.pool, ()), slot.run_id)
    return Surroundings(
        at_work=tuple(_at_hand(run) for run in active),
        limits=_limits(instance),
        daemon_silent_s=time.time() - heartbeat.timestamp if heartbeat is not None else None,
        held_by_ended=held,
        start_timeout_s=_start_timeout_s(instance),
    )


def _limits(instance: dg.DagsterInstance) -> Limits:
    config = instance.get_concurrency_config()
    queue = config.run_queue_config
    if queue is None:
        return Limits()
    granularity = config.pool_config.pool_granularity
    pools, taken = {}, {}
    if instance.event_log_storage.supports_global_concurrency_limits:
        if granularity is not None and granularity.value == "run":
            pools = {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}
        else:
            taken = _taken(instance)
    return Limits(
        runs=queue.max_concurrent_runs if queue.max_concurrent_runs >= 0 else None,
        tags=tuple(_tag_limit(limit) for limit in queue.tag_concurrency_limits),
        pools=pools,
        taken=taken,
    )


def _taken(instance: dg.DagsterInstance) -> dict[str, tuple[str, ...]]:
    """Pools that count steps and have no slot left, with the runs that hold them: the queue keeps back who begins with such a step."""
    found = {}
    for pool in instance.event_log_storage.get_concurrency_keys():
        slots = instance.event_log_storage.get_concurrency_info(pool)
        if slots.active_slot_count >= slots.slot_count:
            found[pool] = tuple(sorted({slot.run_id for slot in slots.claimed_slots}))
    return found


def _tag_limit(given: Mapping[str, object]) -> TagLimit:
    value = given.get("value")
    per_value = isinstance(value, Mapping) and bool(value.get("applyLimitPerUniqueValue"))
    return TagLimit(
        str(given["key"]),
        value if isinstance(value, str) else None,
        per_value,
        int(str(given["limit"])),
    )


def _start_timeout_s(instance: dg.DagsterInstance) -> float | None:
    timeout_s = instance.run_monitoring_start_timeout_seconds
    return float(timeout_s) if instance.run_monitoring_enabled and timeout_s > 0 else None
