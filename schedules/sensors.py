"""The sensors on arrivals: two on the queue of events, one for each watch, which lists.

What belongs here: sensors, their cursors and how often they look. What stays out: what they do (`arrival_events.py`,
`arrival_listing.py`).
"""

import warnings
from collections.abc import Sequence
from typing import Any

import dagster as dg

from geo_platform.arrivals.listing import read_cursor
from geo_platform.arrivals.watch import Watch, read_watches
from geo_platform.orchestrator.arrival_events import TICK_S, EventIntake, read_events_cursor
from geo_platform.orchestrator.arrival_listing import KnownArrivals, listing_tick
from geo_platform.orchestrator.left_staged import discard_left_staged
from geo_platform.orchestrator.refused_arrivals import MOST_SAID, FailuresCursor, move_refused
from geo_platform.orchestrator.run_requests import Taken
from geo_platform.orchestrator.state_check import TERMINAL_EVENTS, check_state
from geo_platform.orchestrator.stuck_runs import watch as watch_waiting_runs
from geo_platform.settings import Profile, Settings, load_settings
from geo_platform.storage.stores import account_url, open_inventory, open_objects, open_queue
from schedules.jobs import ingest_files, ingest_vector, process_raster

# Dagster hands a sensor's owners on, none here, where it gives resources to a job that the sensor asks for, and warns of itself.
warnings.filterwarnings(
    "ignore", message="Parameter `owners` of initializer `SensorDefinition", category=dg.BetaWarning
)

_JOBS: list[Any] = [process_raster, ingest_vector, ingest_files]
_MOST_SAID = 20
# Two wait at the queue, for different times, so that one is there while Dagster lets the other
# rest: up to five seconds.
_EVENT_TICKS_S = {"arrival_events": TICK_S, "arrival_events_meanwhile": TICK_S - 5}

_FOLDER_EVERY_S, _CONTAINER_EVERY_S = 1, 10


def arrival_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """Of the watches that the settings name. Raises ParameterInvalid where their file does not fit."""
    watches = read_watches(settings.watches)
    waits = len(watches) == 1  # a code location has few threads, and a tick that waits holds one
    listing = [_watch_sensor(watch, _every_s(settings), waits=waits) for watch in watches]
    return [*(_event_sensor(name, tick_s) for name, tick_s in _EVENT_TICKS_S.items()), *listing]


def _every_s(settings: Settings) -> int:
    if settings.profile is not Profile.production:
        return _FOLDER_EVERY_S
    return _CONTAINER_EVERY_S if settings.arrivals_queue is None else settings.listed_every_s


def _event_sensor(name: str, tick_s: float) -> dg.SensorDefinition:
    @dg.sensor(
        name=name,
        jobs=_JOBS,
        minimum_interval_seconds=1,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Objects of which the storage account's events tell (GEO_PLATFORM_ARRIVALS_QUEUE): each has its run within seconds.",
    )
    def arrivals(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        settings = load_settings()
        queue = open_queue(settings)
        if queue is None:
            return dg.SkipReason(
                "GEO_PLATFORM_ARRIVALS_QUEUE is not set: arrivals are found by listing alone."
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
        _say(context, tick.said)
        return _result(tick.taken, f"{tick.received} messages", tick.cursor.model_dump_json())

    return arrivals


def _watch_sensor(watch: Watch, every_s: int, *, waits: bool) -> dg.SensorDefinition:
    known = KnownArrivals()

    @dg.sensor(
        name=f"arrivals_{watch.name}",
        jobs=_JOBS,
        minimum_interval_seconds=every_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"New objects under {watch.container}/{watch.prefix} found by listing: each has its run, once.",
    )
    def arrivals(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        objects = open_objects(load_settings())
        tick_s = 0.0 if objects.is_local and not waits else None
        tick = listing_tick(
            context.instance, objects, watch, read_cursor(context.cursor), known, tick_s=tick_s
        )
        _say(context, [f"{key}: {reason}" for key, reason in tick.left])
        return _result(
            tick.taken, f"{tick.objects:,} objects looked at", tick.cursor.model_dump_json()
        )

    return arrivals


def _result(taken: Taken, looked_at: str, cursor: str) -> dg.SensorResult:
    waiting = (
        f", {len(taken.without_room)} arrivals wait for room in the queue of runs"
        if taken.without_room
        else ""
    )
    return dg.SensorResult(
        run_requests=taken.requests,
        skip_reason=None if taken.requests else dg.SkipReason(looked_at + waiting),
        dynamic_partitions_requests=taken.partition_requests(),
        cursor=cursor,
    )


def _say(context: dg.SensorEvaluationContext, said: Sequence[str]) -> None:
    for line in said[:_MOST_SAID]:
        context.log.info(line)
    if len(said) > _MOST_SAID:
        context.log.info(f"and {len(said) - _MOST_SAID} more like these")


@dg.sensor(
    name="stuck_runs",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Runs that are queued for longer than GEO_PLATFORM_QUEUED_TOO_LONG_S, or start for longer than half of the start timeout: "
    "why, said once as RUN_STUCK on the run. Runs whose process on this host is gone are marked as failed.",
)
def stuck_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    return dg.SkipReason(
        watch_waiting_runs(context.instance, queued_too_long_s=load_settings().queued_too_long_s)
    )


@dg.sensor(
    name="quarantine_refused",
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="What runs of the watches refused moves to the container quarantine, with the reason beside it; "
    "`geo-platform quarantine` shows it.",
)
def quarantine_refused(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    before = (
        FailuresCursor.model_validate_json(context.cursor) if context.cursor else FailuresCursor()
    )
    cursor, tick = move_refused(context.instance, open_objects(load_settings()), before)
    for fault in tick.faults[:MOST_SAID]:
        context.log.warning(fault)
    return dg.SensorResult(skip_reason=dg.SkipReason(tick.summary), cursor=cursor.model_dump_json())


def _sensor_after(status: dg.DagsterRunStatus) -> dg.RunStatusSensorDefinition:
    @dg.run_status_sensor(
        run_status=status,
        name=f"state_after_{status.value.lower()}",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description=f"Reads back the state of each run that ended as {status.value}: run storage, event log and catalog. "
        f"What disagrees is said as STATE_MISMATCH. Staged tables that nobody will publish any more are dropped.",
    )
    def compare(context: dg.RunStatusSensorContext) -> None:
        settings = load_settings()
        check_state(context.instance, context.dagster_run.run_id, settings)
        discard_left_staged(context.instance, open_inventory(settings))

    return compare


STATE_SENSORS = [_sensor_after(status) for status in TERMINAL_EVENTS.values()]
