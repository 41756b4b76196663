"""All sensors: arrivals, tiles of large items, stuck runs, quarantine and state checks.

Two sensors read the queue of the storage account's events, and one sensor per watch lists its
container. The work of all sensors is in `geo_platform/orchestrator`.

Called by `definitions.py`.
"""

import warnings
from collections.abc import Sequence
from importlib.util import find_spec

import dagster as dg

from geo_platform.arrivals.listing import read_cursor
from geo_platform.arrivals.watch import Watch, read_watches
from geo_platform.orchestrator.arrival_events import TICK_S, EventIntake, read_events_cursor
from geo_platform.orchestrator.arrival_listing import KnownArrivals, listing_tick
from geo_platform.orchestrator.large_items import PublicationsCursor, plan_tiles_of_published
from geo_platform.orchestrator.left_staged import discard_left_staged
from geo_platform.orchestrator.refused_arrivals import FAULTS_LOGGED, FailuresCursor, move_refused
from geo_platform.orchestrator.run_requests import LaunchPlan
from geo_platform.orchestrator.state_check import TERMINAL_EVENTS, check_state
from geo_platform.orchestrator.stuck_runs import report_stuck_runs
from geo_platform.settings import Profile, Settings, load_settings
from geo_platform.storage.stores import (
    account_url,
    open_catalog,
    open_inventory,
    open_objects,
    open_queue,
)
from schedules.jobs import ARRIVAL_JOBS, draw_vector_tiles

# Dagster itself sets `owners`, a beta parameter, on a sensor whose job gets resources, and then
# warns about it.
warnings.filterwarnings(
    "ignore", message="Parameter `owners` of initializer `SensorDefinition", category=dg.BetaWarning
)

_LINES_PER_TICK = 20
# Dagster pauses a sensor between its ticks, for up to five seconds. Two sensors with ticks of
# different lengths read the queue, so that one reads while the other pauses.
_EVENT_TICKS_S = {"arrival_events": TICK_S, "arrival_events_meanwhile": TICK_S - 5}

_FOLDER_EVERY_S, _CONTAINER_EVERY_S = 1, 10


def arrival_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """Return the sensors that find arrivals, the complete sources in the containers of watches.

    Raises ParameterInvalid: the file of watches is invalid.
    """
    watches = read_watches(settings.watches)
    # A tick that waits occupies one of the few threads of the code location.
    waits = len(watches) == 1
    listing = [_watch_sensor(watch, _every_s(settings), waits=waits) for watch in watches]
    return [*(_event_sensor(name, tick_s) for name, tick_s in _EVENT_TICKS_S.items()), *listing]


def _every_s(settings: Settings) -> int:
    if settings.profile is not Profile.production:
        return _FOLDER_EVERY_S
    return _CONTAINER_EVERY_S if settings.arrivals_queue is None else settings.listed_every_s


def _event_sensor(name: str, tick_s: float) -> dg.SensorDefinition:
    @dg.sensor(
        name=name,
        jobs=ARRIVAL_JOBS,
        minimum_interval_seconds=1,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Launches a run for each object that the storage account's events announce "
        "(GEO_PLATFORM_ARRIVALS_QUEUE), within seconds.",
    )
    def arrivals(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        settings = load_settings()
        queue = open_queue(settings)
        if queue is None:
            return dg.SkipReason(
                "GEO_PLATFORM_ARRIVALS_QUEUE is not set: arrivals are found by listing only."
            )
        intake = EventIntake(
            context.instance,
            queue,
            open_objects(settings),
            read_watches(settings.watches),
            account_url=account_url(settings),
            container_prefix=settings.blob_container_prefix,
        )
        tick = intake.tick(read_events_cursor(context.cursor), tick_s=tick_s)
        _log_lines(context, tick.log_lines)
        return _result(tick.plan, f"{tick.received} messages", tick.cursor.model_dump_json())

    return arrivals


def _watch_sensor(watch: Watch, every_s: int, *, waits: bool) -> dg.SensorDefinition:
    known = KnownArrivals()

    @dg.sensor(
        name=f"arrivals_{watch.name}",
        jobs=ARRIVAL_JOBS,
        minimum_interval_seconds=every_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Lists {watch.container}/{watch.prefix} and launches a run for each new "
        "object.",
    )
    def arrivals(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        objects = open_objects(load_settings())
        tick_s = 0.0 if objects.is_local and not waits else None
        tick = listing_tick(
            context.instance, objects, watch, read_cursor(context.cursor), known, tick_s=tick_s
        )
        _log_lines(context, [f"{key}: {reason}" for key, reason in tick.skipped])
        return _result(tick.plan, f"{tick.objects:,} objects listed", tick.cursor.model_dump_json())

    return arrivals


def _result(plan: LaunchPlan, summary: str, cursor: str) -> dg.SensorResult:
    waiting = (
        f", {len(plan.deferred)} arrivals wait for room in the run queue" if plan.deferred else ""
    )
    return dg.SensorResult(
        run_requests=plan.requests,
        skip_reason=None if plan.requests else dg.SkipReason(summary + waiting),
        dynamic_partitions_requests=plan.partition_requests(),
        cursor=cursor,
    )


def _log_lines(context: dg.SensorEvaluationContext, lines: Sequence[str]) -> None:
    for line in lines[:_LINES_PER_TICK]:
        context.log.info(line)
    if len(lines) > _LINES_PER_TICK:
        context.log.info(f"and {len(lines) - _LINES_PER_TICK} more like these")


@dg.sensor(
    name="stuck_runs",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports once, as RUN_STUCK, why a run is queued for longer than "
    "GEO_PLATFORM_QUEUED_TOO_LONG_S or starting for longer than half of the start timeout. "
    "Marks runs as failed whose process on this host is gone.",
)
def stuck_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    return dg.SkipReason(
        report_stuck_runs(context.instance, queued_too_long_s=load_settings().queued_too_long_s)
    )


@dg.sensor(
    name="quarantine_refused",
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Moves what runs of the watches refused to the container quarantine, with the "
    "reason; `geo-platform quarantine` lists it.",
)
def quarantine_refused(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    before = (
        FailuresCursor.model_validate_json(context.cursor) if context.cursor else FailuresCursor()
    )
    cursor, tick = move_refused(context.instance, open_objects(load_settings()), before)
    for fault in tick.faults[:FAULTS_LOGGED]:
        context.log.warning(fault)
    return dg.SensorResult(skip_reason=dg.SkipReason(tick.summary), cursor=cursor.model_dump_json())


@dg.sensor(
    name="large_vector_items",
    job=draw_vector_tiles,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests the runs that draw the vector tiles of low zooms of large items after "
    "they are published.",
)
def large_vector_items(
    context: dg.SensorEvaluationContext,
) -> dg.SensorResult | dg.SkipReason:
    if find_spec("pmtiles") is None:
        return dg.SkipReason(
            "No tiles are drawn ahead: pip install 'geo-platform[serving]' for what draws them."
        )
    before = (
        PublicationsCursor.model_validate_json(context.cursor)
        if context.cursor
        else PublicationsCursor()
    )
    cursor, plan = plan_tiles_of_published(context.instance, open_catalog(load_settings()), before)
    for fault in plan.faults[:FAULTS_LOGGED]:
        context.log.warning(fault)
    return dg.SensorResult(**plan.result, cursor=cursor.model_dump_json())


def _sensor_after(status: dg.DagsterRunStatus) -> dg.RunStatusSensorDefinition:
    @dg.run_status_sensor(
        run_status=status,
        name=f"state_after_{status.value.lower()}",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description="Compares run storage, event log and catalog for each run that ended as "
        f"{status.value}, and reports STATE_MISMATCH if they disagree. Drops staged tables that no "
        "run will publish.",
    )
    def compare(context: dg.RunStatusSensorContext) -> None:
        settings = load_settings()
        check_state(context.instance, context.dagster_run.run_id, settings)
        discard_left_staged(context.instance, open_inventory(settings))

    return compare


STATE_SENSORS = [_sensor_after(status) for status in TERMINAL_EVENTS.values()]
