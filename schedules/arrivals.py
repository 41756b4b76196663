"""The sensors on arrivals: one on the queue of events, one for each watch, which lists.

What belongs here: sensors, their cursors and how often they look. What stays out: what they do (`arrival_events.py`,
`arrival_listing.py`).
"""

import warnings
from collections.abc import Sequence
from typing import Any

import dagster as dg

from geo_platform.arrivals.listing import read_cursor
from geo_platform.arrivals.watch import Watch, read_watches
from geo_platform.settings import Profile, Settings, load_settings
from geo_platform.storage.stores import account_url, open_objects, open_queue
from schedules.arrival_events import EventIntake, read_events_cursor
from schedules.arrival_listing import KnownArrivals, listing_tick
from schedules.intake import Taken
from schedules.jobs import ingest_files, ingest_vector, process_raster

# Dagster hands a sensor's owners on, none here, where it gives resources to a job that the sensor asks for, and warns of itself.
warnings.filterwarnings("ignore", message="Parameter `owners` of initializer `SensorDefinition", category=dg.BetaWarning)

_JOBS: list[Any] = [process_raster, ingest_vector, ingest_files]
_MOST_SAID = 20
_FOLDER_EVERY_S, _CONTAINER_EVERY_S = 1, 10


def arrival_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """Of the watches that the settings name. Raises ParameterInvalid where their file does not fit."""
    return [arrival_events, *(_watch_sensor(watch, _every_s(settings)) for watch in read_watches(settings.watches))]


def _every_s(settings: Settings) -> int:
    if settings.profile is not Profile.production:
        return _FOLDER_EVERY_S
    return _CONTAINER_EVERY_S if settings.arrivals_queue is None else settings.listed_every_s


@dg.sensor(
    name="arrival_events",
    jobs=_JOBS,
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Objects of which the storage account's events tell (GEO_PLATFORM_ARRIVALS_QUEUE): each has its run within seconds.",
)
def arrival_events(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    settings = load_settings()
    queue = open_queue(settings)
    if queue is None:
        return dg.SkipReason("GEO_PLATFORM_ARRIVALS_QUEUE is not set: arrivals are found by listing alone.")
    intake = EventIntake(
        context.instance,
        queue,
        open_objects(settings),
        read_watches(settings.watches),
        account_url=account_url(settings),
        container_prefix=settings.blob_container_prefix,
    )
    tick = intake.tick(read_events_cursor(context.cursor))
    _say(context, tick.said)
    return _result(tick.taken, f"{tick.received} messages", tick.cursor.model_dump_json())


def _watch_sensor(watch: Watch, every_s: int) -> dg.SensorDefinition:
    known = KnownArrivals()

    @dg.sensor(
        name=f"arrivals_{watch.name}",
        jobs=_JOBS,
        minimum_interval_seconds=every_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"New objects under {watch.container}/{watch.prefix} found by listing: each has its run, once.",
    )
    def arrivals(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        tick = listing_tick(context.instance, open_objects(load_settings()), watch, read_cursor(context.cursor), known)
        _say(context, [f"{key}: {reason}" for key, reason in tick.left])
        return _result(tick.taken, f"{tick.objects:,} objects looked at", tick.cursor.model_dump_json())

    return arrivals


def _result(taken: Taken, looked_at: str, cursor: str) -> dg.SensorResult:
    waiting = f", {len(taken.without_room)} arrivals wait for room in the queue of runs" if taken.without_room else ""
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
