"""Read a run's log over GraphQL, as events of a timeline.

`orchestrator/run_history.py` reads the same log from Dagster's storage; `trace/run_log.py` has the
rules of both. `graphql.py` sends the queries.

Used by `api/jobs` and `api`.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from geo_platform.api.dagster.graphql import DagsterGraphql, RunFound, metadata_of
from geo_platform.errors import UnexpectedFault
from geo_platform.telemetry.checkpoints import Checkpoint, CheckpointFields
from geo_platform.trace.run_log import checkpoint_event, in_attempts, step_error_record
from geo_platform.trace.sources import RunFacts
from geo_platform.trace.timeline import Event, Kind, Store

Entry = Mapping[str, Any]

_TRANSITIONS = {
    "RunEnqueuedEvent": Kind.RUN_QUEUED,
    "RunDequeuedEvent": Kind.RUN_DEQUEUED,
    "RunStartingEvent": Kind.RUN_STARTING,
    "RunStartEvent": Kind.RUN_STARTED,
    "RunSuccessEvent": Kind.RUN_ENDED,
    "RunFailureEvent": Kind.RUN_ENDED,
    "RunCanceledEvent": Kind.RUN_ENDED,
}
_STARTS = ("ExecutionStepStartEvent", "ExecutionStepRestartEvent")
_MS = timedelta(milliseconds=1)
_WARNINGS = {"WARNING", "ERROR", "CRITICAL"}


def placed_events(entries: Sequence[Entry]) -> Iterator[tuple[int, Event]]:
    """Yield (index of its entry in the log, event), in the log's order."""
    checks = {
        entry["stepKey"]
        for entry in entries
        if entry["__typename"] == "AssetCheckEvaluationPlannedEvent"
    }

    def entry_events() -> Iterator[tuple[str, bool, Event | None]]:
        started_at: dict[str, datetime] = {}
        for entry in entries:
            step, is_start = entry.get("stepKey") or "", entry["__typename"] in _STARTS
            if is_start:
                started_at[step] = _moment(entry)
            event = _event_of(entry, is_check=step in checks, started_at=started_at.get(step))
            yield step, is_start, event

    yield from in_attempts(entry_events())


def events_of(entries: Sequence[Entry]) -> tuple[Event, ...]:
    """Return the events in the log's order."""
    return tuple(event for _, event in placed_events(entries))


def error_of(entries: Sequence[Entry]) -> Mapping[str, Any] | None:
    """Return the error of a failed run, or None if its log has no failure.

    The error is that of the first failed step. If no step failed, the error has the message of the
    run's last failure event.
    """
    failed = next(
        (entry for entry in entries if entry["__typename"] == "ExecutionStepFailureEvent"), None
    )
    if failed is not None:
        return _error_record(failed)
    last = next(
        (entry for entry in reversed(entries) if entry["__typename"] == "RunFailureEvent"), None
    )
    if last is None:
        return None
    message = str(last["message"] or "The run ended without a result.").strip()
    return UnexpectedFault(
        message, remedy="Launch it again; if that fails too, report it with the run id."
    ).as_record()


def refused_in(entries: Sequence[Entry]) -> Sequence[Mapping[str, Any]]:
    """Return key, code, message and remedy of each file that a shared run did not publish.

    A shared run processes several files. For any other run, return nothing.
    """
    failed = next(
        (
            entry
            for entry in reversed(entries)
            if entry["__typename"] == "ExecutionStepFailureEvent"
        ),
        None,
    )
    metadata = (
        metadata_of((failed["failureMetadata"] or {}).get("metadataEntries") or ())
        if failed is not None
        else {}
    )
    files = metadata.get("not_published")
    return files if isinstance(files, list) else ()


class GraphqlHistory:
    """Implement `trace.sources.RunHistory` over Dagster's GraphQL.

    A shared run is found only by its own id, not by its files.

    Methods raise StoreUnavailable: Dagster does not respond. StoreDenied: its webserver is
    read-only.
    """

    def __init__(self, dagster: DagsterGraphql) -> None:
        self._dagster = dagster

    def run(self, run_id: str) -> RunFacts | None:
        run = self._dagster.run(run_id)
        return None if run is None else facts_of(run)

    def beginning_with(self, prefix: str) -> tuple[str, ...]:
        """Read every id, because GraphQL has no filter for a prefix."""
        return tuple(
            sorted(run_id for run_id in self._dagster.run_ids() if run_id.startswith(prefix))
        )

    def tagged(self, name: str, value: str) -> tuple[RunFacts, ...]:
        runs: list[RunFacts] = []
        cursor = ""
        while page := self._dagster.runs(tags={name: value}, cursor=cursor, limit=200):
            runs += map(facts_of, page)
            cursor = page[-1].run_id
        return tuple(sorted(runs, key=lambda run: (run.requested_at_utc, run.run_id)))

    def events(self, run_id: str) -> tuple[Event, ...]:
        return events_of(self._dagster.all_events(run_id))


def facts_of(run: RunFound) -> RunFacts:
    return RunFacts(
        run_id=run.run_id,
        job=run.job,
        status=run.status.lower(),
        tags=run.tags,
        requested_at_utc=run.created_at_utc,
        started_at_utc=run.started_at_utc,
        ended_at_utc=run.ended_at_utc,
    )


def _event_of(entry: Entry, *, is_check: bool, started_at: datetime | None) -> Event | None:
    kind, text = entry["__typename"], str(entry.get("message") or "")
    if kind == "LogMessageEvent":
        return _event(entry, Kind.LOGGED, text) if entry["level"] in _WARNINGS else None
    if kind in _TRANSITIONS:
        # The name of the event type in Dagster's storage.
        name = str(entry["eventType"]).replace("RUN_", "PIPELINE_", 1)
        return _event(entry, _TRANSITIONS[kind], (text or name).strip())
    if kind == "EngineEvent":
        return _engine_event(entry, text)
    if kind == "AssetCheckEvaluationEvent":
        return _check(entry, is_check=is_check)
    return _step_event(entry, kind, is_check=is_check, started_at=started_at)


def _engine_event(entry: Entry, text: str) -> Event | None:
    """Return the event of a checkpoint or of an error of Dagster, such as a failed launch."""
    fields = CheckpointFields.parse(metadata_of(entry["metadataEntries"]))
    if fields is not None:
        return checkpoint_event(_moment(entry), entry.get("stepKey") or None, text, fields)
    if not entry["error"]:
        return None
    return _event(entry, Kind.LOGGED, f"{text}: {entry['error']['message'].strip()}")


def _check(entry: Entry, *, is_check: bool) -> Event:
    """Return the result of a check. If files share the step, the text names the partition."""
    evaluation = entry["evaluation"]
    asset = "/".join(evaluation["assetKey"]["path"])
    subject = "/".join(filter(None, (asset, evaluation["partition"] if not is_check else None)))
    text = (
        f"{evaluation['checkName']} of {subject} {'passed' if evaluation['success'] else 'failed'}"
    )
    return _event(entry, Kind.CHECK_EVALUATED, text, details={"passed": evaluation["success"]})


def _step_event(
    entry: Entry, kind: str, *, is_check: bool, started_at: datetime | None
) -> Event | None:
    """Return the event of a step. The step of a check has an event only if it failed."""
    step = entry.get("stepKey") or ""
    if kind == "ExecutionStepFailureEvent":
        error = _error_record(entry)
        return _event(
            entry,
            Checkpoint.STAGE_FAILED,
            f"{error['code']}: {error['message']} {error['remedy']}",
            error=error,
        )
    if kind == "ExecutionStepUpForRetryEvent":
        wait_s = entry["secondsToWait"] or 0.0
        # `in_attempts` adds the error: Dagster's event has it only as text.
        return _event(
            entry,
            Kind.STAGE_RETRIED,
            f"retried in {wait_s:.1f} s",
            details={"seconds_to_wait": wait_s},
        )
    if kind in _STARTS and not is_check:
        return _event(entry, Checkpoint.STAGE_START, f"{step} starts")
    if kind == "ExecutionStepSuccessEvent" and not is_check:
        # Dagster computes its step statistics from the same two moments.
        took_ms = ((_moment(entry) - started_at) / _MS) if started_at is not None else None
        text = f"{step} took {took_ms / 1000:.3f} s" if took_ms is not None else f"{step} succeeded"
        return _event(entry, Checkpoint.STAGE_DONE, text, duration_ms=took_ms)
    return None


def _moment(entry: Entry) -> datetime:
    return datetime.fromtimestamp(float(entry["timestamp"]) / 1000, UTC)


def _event(
    entry: Entry,
    kind: str,
    text: str,
    *,
    duration_ms: float | None = None,
    error: Mapping[str, Any] | None = None,
    details: Mapping[str, Any] | None = None,
) -> Event:
    step = entry.get("stepKey") or None
    return Event(
        _moment(entry),
        Store.dagster,
        kind,
        text,
        step,
        duration_ms=duration_ms,
        error=error,
        details=details or {},
    )


def _error_record(failed: Entry) -> Mapping[str, Any]:
    """Return the error record of a failed step."""
    metadata = metadata_of((failed["failureMetadata"] or {}).get("metadataEntries") or ())
    return step_error_record(metadata, (failed["error"] or {}).get("message"))
