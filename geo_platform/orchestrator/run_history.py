"""Read Dagster's runs and their event logs for `geo-platform trace`.

Loads no definitions and changes no run. `api/dagster/run_events.py` reads the same over GraphQL;
`trace/run_log.py` has the rules that both share.

Called by `cli/commands/trace.py` and `launch.py`.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from geo_platform.dagster_internals import (
    checkpoint_of,
    engine_error,
    failure_metadata,
    failure_text,
    log_entries,
    run_ids,
)
from geo_platform.orchestrator.instance import open_instance, storage_errors
from geo_platform.orchestrator.shared_runs import shared_runs_of
from geo_platform.runs import PARTITION_TAG
from geo_platform.settings import Profile, Settings
from geo_platform.telemetry.checkpoints import Checkpoint
from geo_platform.trace.run_log import checkpoint_event, in_attempts, step_error_record
from geo_platform.trace.sources import RunFacts
from geo_platform.trace.timeline import Event, Kind, Store

_PAGE = 500
_STARTS = (dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_RESTARTED)
_TRANSITIONS = {
    dg.DagsterEventType.RUN_ENQUEUED: Kind.RUN_QUEUED,
    dg.DagsterEventType.RUN_DEQUEUED: Kind.RUN_DEQUEUED,
    dg.DagsterEventType.RUN_STARTING: Kind.RUN_STARTING,
    dg.DagsterEventType.RUN_START: Kind.RUN_STARTED,
    dg.DagsterEventType.RUN_SUCCESS: Kind.RUN_ENDED,
    dg.DagsterEventType.RUN_FAILURE: Kind.RUN_ENDED,
    dg.DagsterEventType.RUN_CANCELED: Kind.RUN_ENDED,
}


class NoHistory:
    """Implement `RunHistory` for a home in which no job has ever run."""

    def run(self, run_id: str) -> RunFacts | None:
        return None

    def beginning_with(self, prefix: str) -> tuple[str, ...]:
        return ()

    def tagged(self, name: str, value: str) -> tuple[RunFacts, ...]:
        return ()

    def events(self, run_id: str) -> tuple[Event, ...]:
        return ()


class DagsterHistory:
    """Implement `RunHistory` on one Dagster instance.

    Every method raises StoreUnavailable, StoreDenied, DatabaseUnavailable: Dagster's storage cannot
    be used.
    """

    def __init__(self, instance: dg.DagsterInstance, settings: Settings) -> None:
        self._instance = instance
        self._settings = settings

    def run(self, run_id: str) -> RunFacts | None:
        with storage_errors(self._settings):
            record = self._instance.get_run_record_by_id(run_id)
        return None if record is None else _facts(record)

    def beginning_with(self, prefix: str) -> tuple[str, ...]:
        """Return the ids with this prefix. All ids are read: Dagster cannot filter by prefix."""
        with storage_errors(self._settings):
            ids = run_ids(self._instance, page=_PAGE)
            return tuple(sorted(run_id for run_id in ids if run_id.startswith(prefix)))

    def tagged(self, name: str, value: str) -> tuple[RunFacts, ...]:
        with storage_errors(self._settings):
            records = [*self._instance.get_run_records(filters=dg.RunsFilter(tags={name: value}))]
            if name == PARTITION_TAG:
                records += shared_runs_of(self._instance, value)
        return tuple(
            sorted(map(_facts, records), key=lambda run: (run.requested_at_utc, run.run_id))
        )

    def events(self, run_id: str) -> tuple[Event, ...]:
        with storage_errors(self._settings):
            # Reading the log of an unknown run makes SQLite create a file.
            if self._instance.get_run_record_by_id(run_id) is None:
                return ()
            return events_of(log_entries(self._instance, run_id))


@contextmanager
def opened(settings: Settings, template: Path) -> Iterator[NoHistory | DagsterHistory]:
    """Open the history of this home without changing any run.

    Raises StoreUnavailable, StoreDenied, DatabaseUnavailable: Dagster's storage cannot be used.
    """
    if (
        settings.profile is Profile.embedded
        and not (settings.dagster_home_dir / "dagster.yaml").exists()
    ):
        yield NoHistory()
        return
    with storage_errors(settings):
        instance = open_instance(settings, template, ends_killed_runs=False)
    with instance:
        yield DagsterHistory(instance, settings)


def _facts(record: dg.RunRecord) -> RunFacts:
    run = record.dagster_run
    return RunFacts(
        run_id=run.run_id,
        job=run.job_name,
        status=run.status.value.lower(),
        tags=dict(run.tags),
        requested_at_utc=_as_utc(record.create_timestamp),
        started_at_utc=_time_of(record.start_time),
        ended_at_utc=_time_of(record.end_time),
    )


def _as_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _time_of(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def events_of(entries: Sequence[dg.EventLogEntry]) -> tuple[Event, ...]:
    """Return the run's events in the order of its log, without Dagster's internal events."""
    checks = {
        entry.step_key
        for entry in entries
        if _type(entry) is dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED
    }

    def entry_events() -> Iterator[tuple[str, bool, Event | None]]:
        for entry in entries:
            kind, step = _type(entry), entry.step_key or ""
            yield (
                step,
                kind in _STARTS,
                _log_event(entry)
                if kind is None
                else _dagster_event(entry, is_check=step in checks),
            )

    return tuple(event for _, event in in_attempts(entry_events()))


def _type(entry: dg.EventLogEntry) -> dg.DagsterEventType | None:
    return entry.dagster_event.event_type if entry.dagster_event is not None else None


def _log_event(entry: dg.EventLogEntry) -> Event | None:
    """Return the event of a warning or an error. Other log lines are not part of the timeline."""
    is_warning = int(entry.level) >= logging.WARNING
    return _event(entry, Kind.LOGGED, entry.user_message) if is_warning else None


def _engine_event(entry: dg.EventLogEntry, event: dg.DagsterEvent) -> Event | None:
    """Return the event of a checkpoint or of an error of Dagster, such as a failed launch."""
    fields = checkpoint_of(entry)
    if fields is not None:
        moment = datetime.fromtimestamp(entry.timestamp, UTC)
        return checkpoint_event(moment, entry.step_key or None, event.message or "", fields)
    error = engine_error(entry)
    return None if error is None else _event(entry, Kind.LOGGED, f"{event.message}: {error}")


def _dagster_event(entry: dg.EventLogEntry, *, is_check: bool) -> Event | None:
    """Return the timeline event of a Dagster event (run status, step or check), or None."""
    event = entry.dagster_event
    if event is None:
        return None
    if event.event_type in _TRANSITIONS:
        return _event(
            entry, _TRANSITIONS[event.event_type], (event.message or event.event_type.value).strip()
        )
    if event.event_type is dg.DagsterEventType.ENGINE_EVENT:
        return _engine_event(entry, event)
    if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
        evaluation = event.asset_check_evaluation_data
        checked_asset = "/".join(
            filter(
                None,
                (
                    evaluation.asset_key.to_user_string(),
                    evaluation.partition if not is_check else None,
                ),
            )
        )
        outcome = "passed" if evaluation.passed else "failed"
        text = f"{evaluation.check_name} of {checked_asset} {outcome}"
        return _event(entry, Kind.CHECK_EVALUATED, text, details={"passed": evaluation.passed})
    return _step_event(entry, event, is_check=is_check)


def _step_event(entry: dg.EventLogEntry, event: dg.DagsterEvent, *, is_check: bool) -> Event | None:
    """Return the event of a step. The step of a check has an event only if it failed."""
    kind, step = event.event_type, entry.step_key or ""
    if kind is dg.DagsterEventType.STEP_FAILURE:
        error = step_error(event)
        return _event(
            entry,
            Checkpoint.STAGE_FAILED,
            f"{error['code']}: {error['message']} {error['remedy']}",
            error=error,
        )
    if kind is dg.DagsterEventType.STEP_UP_FOR_RETRY:
        return _retry_event(entry, event)
    if kind in _STARTS and not is_check:
        return _event(entry, Checkpoint.STAGE_START, f"{step} starts")
    if kind is dg.DagsterEventType.STEP_SUCCESS and not is_check:
        took_ms = event.step_success_data.duration_ms
        return _event(
            entry,
            Checkpoint.STAGE_DONE,
            f"{step} took {took_ms / 1000:.3f} s",
            duration_ms=round(took_ms, 1),
        )
    return None


def _retry_event(entry: dg.EventLogEntry, event: dg.DagsterEvent) -> Event:
    # `in_attempts` adds the error: Dagster's event has it only as text.
    wait_s = event.step_retry_data.seconds_to_wait or 0.0
    return _event(
        entry,
        Kind.STAGE_RETRIED,
        f"retried in {wait_s:.1f} s",
        details={"seconds_to_wait": wait_s},
    )


def _event(
    entry: dg.EventLogEntry,
    kind: str,
    text: str,
    *,
    duration_ms: float | None = None,
    error: Mapping[str, Any] | None = None,
    details: Mapping[str, Any] | None = None,
) -> Event:
    moment = datetime.fromtimestamp(entry.timestamp, UTC)
    return Event(
        moment,
        Store.dagster,
        kind,
        text,
        entry.step_key or None,
        duration_ms=duration_ms,
        error=error,
        details=details or {},
    )


def step_error(event: dg.DagsterEvent) -> Mapping[str, Any]:
    """Return the error record of a failed step."""
    metadata = {name: value.value for name, value in failure_metadata(event).items()}
    return step_error_record(metadata, failure_text(event))
