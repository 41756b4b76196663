"""Every use of Dagster that Dagster does not document as public. No other module may use such API.

The docstring of a function names the API that is not public, and the missing public API or what
would replace it. tests/unit/test_dagster_internals.py checks each use against the installed Dagster
and fails for any other use in the application.

Used by `assets`, `orchestrator` and `resources`.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import dagster as dg
from dagster import DagsterEvent
from dagster._core.events import EngineEventData
from dagster._core.log_manager import LOG_RECORD_EVENT_ATTR, DagsterLogHandler

from geo_platform.errors import PlatformError
from geo_platform.telemetry.checkpoints import LOGGER, CheckpointFields, fields_of

# Tags that Dagster reserves. A materialization logged by an op has no argument for a data version.
# Replaced by: a `data_version` argument of dg.AssetMaterialization.
DATA_VERSION_TAG = "dagster/data_version"
USER_VERSION_TAG = "dagster/data_version_is_user_provided"

# Tag with the address of the code location that launched a run. Replaced by: run worker health of
# the default launcher.
CODE_SERVER_TAG = ".dagster/grpc_info"

# Tag with the id of the run by which the daemon retried a run. Replaced by: a field of
# dg.DagsterRun.
RETRIED_BY_TAG = "dagster/auto_retry_run_id"

QUEUE_DAEMON = "QUEUED_RUN_COORDINATOR"

# ---- events -----------------------------------------------------------------------------------


def log_entries(
    instance: dg.DagsterInstance,
    run_id: str,
    of_type: dg.DagsterEventType | set[dg.DagsterEventType] | None = None,
) -> Sequence[dg.EventLogEntry]:
    """Return all entries of a run's event log, oldest first.

    `DagsterInstance.all_logs`: the public `fetch_*` methods return only some types of events,
    and no log lines.
    """
    return instance.all_logs(run_id, of_type=of_type)


def run_events(
    instance: dg.DagsterInstance, run_id: str, of_type: dg.DagsterEventType, *, page: int = 1000
) -> Iterator[dg.EventLogRecord]:
    """Yield a run's events of one type, oldest first, reading `page` at a time.

    `DagsterInstance.get_records_for_run`: needed for the same reason as in `log_entries`.
    """
    cursor: str | None = None
    while True:
        found = instance.get_records_for_run(run_id, cursor=cursor, of_type=of_type, limit=page)
        yield from found.records
        if not found.has_more:
            return
        cursor = found.cursor


def report_event(
    instance: dg.DagsterInstance, run: dg.DagsterRun, text: str, metadata: Mapping[str, Any]
) -> None:
    """Add an engine event to a run from outside its process.

    `DagsterInstance.report_engine_event`: the public `report_runless_asset_event` adds events to
    assets, not to runs.
    """
    instance.report_engine_event(text, run, EngineEventData(metadata))


def checkpoint_of(entry: dg.EventLogEntry) -> CheckpointFields | None:
    """Return the fields of a checkpoint's entry, or None for any other entry.

    `EngineEventData`: the public event types that carry custom metadata all belong to an asset.
    """
    event = entry.dagster_event
    if event is None or not event.is_engine_event:
        return None
    metadata = event.engine_event_data.metadata
    return CheckpointFields.parse({name: value.value for name, value in metadata.items()})


def engine_error(entry: dg.EventLogEntry) -> str | None:
    """Return the message of an engine event's error, or None if the entry has no such error."""
    event = entry.dagster_event
    if event is None or not event.is_engine_event or event.engine_event_data.error is None:
        return None
    return event.engine_event_data.error.message.strip()


def engine_value(entry: dg.EventLogEntry, name: str) -> str | None:
    """Return the metadata value `name` of an engine event as text, or None if there is none."""
    event = entry.dagster_event
    if event is None or not event.is_engine_event:
        return None
    found = event.engine_event_data.metadata.get(name)
    return None if found is None else str(found.value)


class _CheckpointsAsEvents(logging.Filter):
    """Attach an engine event with the checkpoint's fields to its log record.

    Dagster's log handler stores a record's text and drops its fields, unless the record has this
    attribute: then the entry of the event log is that event. Job and step are those of the handler,
    which is attached to the platform's loggers while a run executes. Replaced by: Dagster storing
    `extra` of a log record.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        fields, handler = fields_of(record), _log_handler(logging.getLogger(record.name))
        if (
            fields is not None
            and handler is not None
            and not hasattr(record, LOG_RECORD_EVENT_ATTR)
        ):
            event = DagsterEvent(
                event_type_value=dg.DagsterEventType.ENGINE_EVENT.value,
                job_name=handler.metadata["job_name"] or "",
                step_key=handler.metadata["step_key"],
                event_specific_data=EngineEventData(fields.as_mapping()),
                message=record.getMessage(),
            )
            setattr(record, LOG_RECORD_EVENT_ATTR, event)
        return True


def _log_handler(logger: logging.Logger | None) -> DagsterLogHandler | None:
    """Return the handler that stores what this logger logs in Dagster, or None outside of a run."""
    while logger is not None:
        found = [handler for handler in logger.handlers if isinstance(handler, DagsterLogHandler)]
        if found:
            return found[0]
        logger = logger.parent if logger.propagate else None
    return None


_FILTER = _CheckpointsAsEvents()


def record_checkpoints_as_events() -> None:
    """Make Dagster store the checkpoints of this process with their fields from now on.

    A repeated call has no effect.
    """
    logging.getLogger(LOGGER).addFilter(_FILTER)


def log_handlers(instance: dg.DagsterInstance) -> list[logging.Handler]:
    """Return new log handlers as dagster.yaml configures them.

    Dagster attaches its handlers only while a run executes.
    `DagsterInstance.get_yaml_python_handlers`. Replaced by: a public way to log for a run from
    outside.
    """
    return list(instance.get_yaml_python_handlers())


# ---- runs -------------------------------------------------------------------------------------


def fail_run(instance: dg.DagsterInstance, run: dg.DagsterRun, message: str) -> None:
    """Mark a run whose process is gone as failed.

    `DagsterInstance.report_run_failed`: nothing public ends a run that no process executes.
    """
    instance.report_run_failed(run, message)


def add_tags(instance: dg.DagsterInstance, run_id: str, tags: Mapping[str, str]) -> None:
    """Add tags to a run. `DagsterInstance.add_run_tags`: publicly, tags are set only at launch."""
    instance.add_run_tags(run_id, dict(tags))


def count_runs(instance: dg.DagsterInstance, wanted: dg.RunsFilter) -> int:
    """Return how many runs match the filter.

    `DagsterInstance.get_runs_count`: with public API, all matching runs have to be read.
    """
    return instance.get_runs_count(wanted)


def run_ids(instance: dg.DagsterInstance, *, page: int) -> Iterator[str]:
    """Yield the ids of all runs, newest first.

    `DagsterInstance.get_run_ids`: with public API, whole records with their configuration are read.
    """
    cursor: str | None = None
    while found := instance.get_run_ids(cursor=cursor, limit=page):
        yield from found
        cursor = found[-1]


def queued_or_launched_at(instance: dg.DagsterInstance, run: dg.DagsterRun) -> float | None:
    """Return when a starting run was launched, or when any other run was queued.

    The time is in seconds since the epoch, or None if Dagster has not recorded it.

    `DagsterInstance.get_run_stats`. Replaced by: these times in dg.RunRecord.
    """
    stats: Any = instance.get_run_stats(run.run_id)
    time_s = (
        stats.launch_time if run.status is dg.DagsterRunStatus.STARTING else stats.enqueued_time
    )
    return None if time_s is None else float(time_s)


def has_worker_health(instance: dg.DagsterInstance) -> bool:
    """Return whether the launcher can report on a run's worker. Launchers of containers can.

    `DagsterInstance.run_launcher`. Replaced by: a public health of a run's worker.
    """
    return bool(instance.run_launcher.supports_check_run_worker_health)


def worker_health(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Return the state of a run's worker: RUNNING, SUCCESS, NOT_FOUND, FAILED or UNKNOWN.

    `DagsterInstance.run_launcher`, as for `has_worker_health`. An exception of the launcher passes
    unchanged; its class depends on the launcher.
    """
    return str(instance.run_launcher.check_run_worker_health(run).status.value)


def start_timeout_s(instance: dg.DagsterInstance) -> float | None:
    """Return after how many seconds run monitoring fails a run that has not started.

    Return None if run monitoring or its start timeout is off.

    `run_monitoring_enabled` and `run_monitoring_start_timeout_seconds`. Replaced by: public
    settings.
    """
    timeout_s = instance.run_monitoring_start_timeout_seconds
    return float(timeout_s) if instance.run_monitoring_enabled and timeout_s > 0 else None


# ---- daemon, sensors, limits -------------------------------------------------------------------


def heartbeat_s(instance: dg.DagsterInstance, daemon: str) -> float | None:
    """Return when a daemon last reported, in seconds since the epoch, or None if it never did.

    `DagsterInstance.get_daemon_heartbeats`: publicly, only the webserver's GraphQL has them.
    """
    found = instance.get_daemon_heartbeats().get(daemon)
    return None if found is None else float(found.timestamp)


def instigators(instance: dg.DagsterInstance) -> Sequence[Any]:
    """Return the state of every sensor and schedule.

    `DagsterInstance.all_instigator_state`: publicly, only the webserver's GraphQL has them.
    """
    return instance.all_instigator_state()


def concurrency_config(instance: dg.DagsterInstance) -> Any:
    """Return the limits of the run queue and of pools, as dagster.yaml sets them.

    `DagsterInstance.get_concurrency_config`. Replaced by: public settings.
    """
    return instance.get_concurrency_config()


def pools(instance: dg.DagsterInstance) -> Mapping[str, Any]:
    """Return, for each pool, Dagster's record of the steps that hold its slots or wait for a slot.

    Return an empty dict if the storage has no pools.

    `DagsterInstance.event_log_storage`: publicly, only the webserver's GraphQL has them.
    """
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return {}
    return {pool: storage.get_concurrency_info(pool) for pool in storage.get_concurrency_keys()}


def pool_limits(instance: dg.DagsterInstance) -> Mapping[str, int]:
    """Return each pool's limit. `DagsterInstance.event_log_storage`, as for `pools`."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return {}
    return {pool.name: pool.limit for pool in storage.get_pool_limits()}


def free_pool_slots(instance: dg.DagsterInstance, run_id: str) -> None:
    """Free the slots that a run holds. `DagsterInstance.event_log_storage`, as for `pools`."""
    instance.event_log_storage.free_concurrency_slots_for_run(run_id)


# ---- connections -------------------------------------------------------------------------------


def is_on_postgres(instance: dg.DagsterInstance) -> bool:
    """Return whether runs are stored in PostgreSQL.

    `DagsterInstance.run_storage`: no public API names the kind of storage.
    """
    return type(instance.run_storage).__module__.startswith("dagster_postgres")


def pool_connections(instance: dg.DagsterInstance, *, recycle_s: int, max_overflow: int) -> None:
    """Keep the instance's connections to PostgreSQL open (docs/decisions/0015).

    `DagsterInstance.optimize_for_webserver`, and `has_table` of the event log, which opens a second
    connection for every event of an asset; so the result of `has_table` is cached.
    Replaced by: connection pool settings in dagster.yaml.
    """
    instance.optimize_for_webserver(
        statement_timeout=0, pool_recycle=recycle_s, max_overflow=max_overflow
    )
    events: Any = instance.event_log_storage
    events.has_table = cache(events.has_table)


# ---- failures ----------------------------------------------------------------------------------


def as_failure(error: PlatformError) -> dg.Failure:
    """Return the error as a Dagster failure with its record as metadata.

    Dagster retries the step only if the error is retryable.
    Public API; `failure_metadata` below is its counterpart.
    """
    metadata: dict[str, Any] = {
        **error.as_record(),
        **{f"detail_{name}": str(value) for name, value in error.details.items()},
    }
    return dg.Failure(
        description=f"{error.code}: {error.message}",
        metadata=metadata,
        allow_retries=error.retryable,
    )


def failure_metadata(event: DagsterEvent) -> Mapping[str, dg.MetadataValue[Any]]:
    """Return the metadata of the dg.Failure that ended a step; empty for any other exception.

    `StepFailureData.user_failure_data`: publicly, only the webserver's GraphQL has it.
    """
    failure = event.step_failure_data.user_failure_data
    return failure.metadata if failure is not None else {}


def failure_text(event: DagsterEvent, *, with_stack: bool = False) -> str | None:
    """Return the message of the exception that ended a step, or None if there is none.

    With `with_stack` the text includes the stack.
    """
    error = event.step_failure_data.error
    if error is None:
        return None
    return error.to_string() if with_stack else error.message.strip()
