"""A run's log as GraphQL has it, read into the events of a timeline: the same ones that `geo-platform trace` reads off Dagster's storage.

What belongs here: what each entry means; the history of runs over GraphQL. What stays out: asking (`dagster_graphql.py`), other
stores (`geo_platform/trace/`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from geo_platform.api.dagster.graphql import DagsterGraphql, RunFound, metadata_of
from geo_platform.errors import UnexpectedFault
from geo_platform.telemetry.checkpoints import Checkpoint
from geo_platform.trace.run_log import checkpoint_event, error_in, in_attempts
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
_TOOK = re.compile(r" in ([\d.]+)(ms|s)\b|(\d+)m([\d.]+)s")
_WARNINGS = {"WARNING", "ERROR", "CRITICAL"}
_RECORD = ("code", "message", "remedy", "retryable", "user_fixable")


def placed_events(entries: Sequence[Entry]) -> Iterator[tuple[int, Event]]:
    """Each event with the place of its entry in the log, in the log's order."""
    checks = {
        entry["stepKey"]
        for entry in entries
        if entry["__typename"] == "AssetCheckEvaluationPlannedEvent"
    }

    def told() -> Iterator[tuple[str, bool, Event | None]]:
        for entry in entries:
            step = entry.get("stepKey") or ""
            yield step, entry["__typename"] in _STARTS, _event_of(entry, is_check=step in checks)

    yield from in_attempts(told())


def events_of(entries: Sequence[Entry]) -> tuple[Event, ...]:
    """As `placed_events`, without the places."""
    return tuple(event for _, event in placed_events(entries))


def error_of(entries: Sequence[Entry]) -> Mapping[str, Any] | None:
    """Why a run failed: the error of the first step that failed, else its last word; None where its log says nothing of that."""
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
    said = str(last["message"] or "The run ended without a result.").strip()
    return UnexpectedFault(
        said, remedy="Launch it again; report it with the run id if that fails too."
    ).as_record()


def refused_in(entries: Sequence[Entry]) -> Sequence[Mapping[str, Any]]:
    """Of a run over several files: those that it did not publish, each with key, code, message and remedy."""
    failed = next(
        (
            entry
            for entry in reversed(entries)
            if entry["__typename"] == "ExecutionStepFailureEvent"
        ),
        None,
    )
    shown = (
        metadata_of((failed["failureMetadata"] or {}).get("metadataEntries") or ())
        if failed is not None
        else {}
    )
    found = shown.get("not_published")
    return found if isinstance(found, list) else ()


class GraphqlHistory:
    """Implements trace.sources.RunHistory on Dagster's GraphQL. Runs over several files are found by their own ids alone.

    Raises StoreUnavailable, StoreDenied.
    """

    def __init__(self, dagster: DagsterGraphql) -> None:
        self._dagster = dagster

    def run(self, run_id: str) -> RunFacts | None:
        found = self._dagster.run(run_id)
        return None if found is None else facts_of(found)

    def beginning_with(self, prefix: str) -> tuple[str, ...]:
        """GraphQL has no filter for that, so that every id is read, some hundred at a time."""
        return tuple(
            sorted(run_id for run_id in self._dagster.run_ids() if run_id.startswith(prefix))
        )

    def tagged(self, name: str, value: str) -> tuple[RunFacts, ...]:
        found: list[RunFacts] = []
        cursor = ""
        while page := self._dagster.runs(tags={name: value}, cursor=cursor, limit=200):
            found += map(facts_of, page)
            cursor = page[-1].run_id
        return tuple(sorted(found, key=lambda run: (run.requested_at_utc, run.run_id)))

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


def _event_of(entry: Entry, *, is_check: bool) -> Event | None:
    kind, said = entry["__typename"], str(entry.get("message") or "")
    if kind == "LogMessageEvent":
        warning = _event(entry, Kind.LOGGED, said) if entry["level"] in _WARNINGS else None
        return _checkpoint(entry, said) or warning
    if kind in _TRANSITIONS:
        named = str(entry["eventType"]).replace(
            "RUN_", "PIPELINE_", 1
        )  # as Dagster's own events say it
        return _event(entry, _TRANSITIONS[kind], (said or named).strip())
    if kind == "EngineEvent":
        fault = (
            _event(entry, Kind.LOGGED, f"{said}: {entry['error']['message'].strip()}")
            if entry["error"]
            else None
        )
        return _checkpoint(entry, said) or fault
    if kind == "AssetCheckEvaluationEvent":
        return _check(entry, is_check=is_check)
    return _step_event(entry, kind, is_check=is_check)


def _check(entry: Entry, *, is_check: bool) -> Event:
    """A check within a step of several files says of which partition."""
    found = entry["evaluation"]
    asset = "/".join(found["assetKey"]["path"])
    whose = "/".join(filter(None, (asset, found["partition"] if not is_check else None)))
    said = f"{found['checkName']} of {whose} {'passed' if found['success'] else 'failed'}"
    return _event(entry, Kind.CHECK_EVALUATED, said, details={"passed": found["success"]})


def _step_event(entry: Entry, kind: str, *, is_check: bool) -> Event | None:
    """A check's step is told by what it found, and by a failure of its own."""
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
        causes = (entry["error"] or {}).get("causes") or ()
        cause = error_in(causes[0]["message"].partition(": ")[2].strip()) if causes else None
        return _event(
            entry,
            Kind.STAGE_RETRIED,
            f"tried again in {wait_s:.1f} s",
            error=cause,
            details={"seconds_to_wait": wait_s},
        )
    if kind in _STARTS and not is_check:
        return _event(entry, Checkpoint.STAGE_START, f"{step} starts")
    if kind == "ExecutionStepSuccessEvent" and not is_check:
        took_ms = _took_ms(str(entry["message"]))
        said = (
            f"{step} took {took_ms / 1000:.3f} s" if took_ms is not None else f"{step} ended well"
        )
        return _event(entry, Checkpoint.STAGE_DONE, said, duration_ms=took_ms)
    return None


def _took_ms(said: str) -> float | None:
    """GraphQL tells no duration of a step but in the sentence about it: `in 30ms`, `in 3.25s`, `in 1m2s`."""
    found = _TOOK.search(said)
    if found is None:
        return None
    if found[3]:
        return (int(found[3]) * 60 + float(found[4])) * 1000
    return float(found[1]) * (1 if found[2] == "ms" else 1000)


def _checkpoint(entry: Entry, text: str) -> Event | None:
    return checkpoint_event(_moment(entry), entry.get("stepKey") or None, text)


def _moment(entry: Entry) -> datetime:
    return datetime.fromtimestamp(float(entry["timestamp"]) / 1000, UTC)


def _event(
    entry: Entry,
    kind: str,
    said: str,
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
        said,
        step,
        duration_ms=duration_ms,
        error=error,
        details=details or {},
    )


def _error_record(failed: Entry) -> Mapping[str, Any]:
    """The stage's own error where it raised one of ours; anything else is a fault of the platform."""
    ours = metadata_of((failed["failureMetadata"] or {}).get("metadataEntries") or ())
    if "code" in ours:
        return {name: ours.get(name) for name in _RECORD}
    error = failed["error"] or {}
    return UnexpectedFault(
        str(error.get("message", "")).strip() or "The stage failed without a word."
    ).as_record()
