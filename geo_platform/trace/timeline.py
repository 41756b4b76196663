"""The events of a timeline (one run over all stores): types, order, JSON, and summaries of stages.

Pure functions.

Used throughout the application.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from geo_platform.telemetry.checkpoints import Checkpoint

_ONE_SECOND = timedelta(seconds=1)


class Store(StrEnum):
    """The store that an event comes from."""

    dagster = "dagster"
    objects = "objects"
    catalog = "catalog"
    tables = "tables"


class Kind(StrEnum):
    """Kinds of events. The checkpoints of docs/checkpoints.md are further kinds."""

    RUN_REQUESTED = "RUN_REQUESTED"
    RUN_QUEUED = "RUN_QUEUED"
    RUN_DEQUEUED = "RUN_DEQUEUED"
    RUN_STARTING = "RUN_STARTING"
    RUN_STARTED = "RUN_STARTED"
    RUN_ENDED = "RUN_ENDED"
    STAGE_RETRIED = "STAGE_RETRIED"
    CHECK_EVALUATED = "CHECK_EVALUATED"
    LOGGED = "LOGGED"
    SOURCE_ARRIVED = "SOURCE_ARRIVED"
    MESSAGE_STORED = "MESSAGE_STORED"
    MESSAGE_GONE = "MESSAGE_GONE"
    MESSAGE_UNREADABLE = "MESSAGE_UNREADABLE"
    ROWS_COUNTED = "ROWS_COUNTED"
    BLOB_WRITTEN = "BLOB_WRITTEN"
    BLOB_REUSED = "BLOB_REUSED"
    BLOB_OVERWRITTEN = "BLOB_OVERWRITTEN"
    BLOB_GONE = "BLOB_GONE"
    TABLE_LOADED = "TABLE_LOADED"
    CATALOG_PUBLISHED = "CATALOG_PUBLISHED"
    CATALOG_UNPUBLISHED = "CATALOG_UNPUBLISHED"
    REPLACED = "REPLACED"
    RESTORED = "RESTORED"
    UNPUBLISHED = "UNPUBLISHED"


# Later events in which another run replaced, restored or unpublished this run's items.
SINCE = frozenset({Kind.REPLACED, Kind.RESTORED, Kind.UNPUBLISHED})


@dataclass(frozen=True)
class Event:
    """One event from one store.

    `text` is a sentence for people; its JSON field is `said`. `by_run` is the run that caused the
    event, if it is not the run of the timeline. `error` is `PlatformError.as_record()`, or the
    known part of it. `is_whole_seconds`: `at_utc` has no fraction of a second.
    """

    at_utc: datetime
    store: Store
    kind: str
    text: str
    stage: str | None = None
    attempt: int | None = None
    duration_ms: float | None = None
    error: Mapping[str, Any] | None = None
    by_run: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    is_whole_seconds: bool = False

    def document(self) -> dict[str, Any]:
        """Return the event as JSON values, without fields that are None."""
        document: dict[str, Any] = {
            "at_utc": as_text(self.at_utc),
            "store": self.store.value,
            "kind": str(self.kind),
            "stage": self.stage,
            "attempt": self.attempt,
            "duration_ms": self.duration_ms,
            "said": self.text,
            "by_run": self.by_run,
            "error": dict(self.error) if self.error else None,
            "details": {name: value for name, value in self.details.items() if value is not None}
            or None,
        }
        return {name: value for name, value in document.items() if value is not None}


@dataclass(frozen=True)
class StageSummary:
    """The outcome of a stage in a run.

    `status` is done, failed or unfinished. `duration_ms` and `error_code` are those of the last
    finished attempt.
    """

    stage: str
    status: str
    attempts: int
    duration_ms: float | None
    error_code: str | None = None


def as_text(moment: datetime) -> str:
    """Return a time as RFC 3339 in UTC, with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ordered(events: Iterable[Event]) -> tuple[Event, ...]:
    """Sort events by time; events of the same time keep their order.

    A store that records whole seconds would place an event of a stage before the start of the
    stage. If the stage started within that second, the event is placed at the start of the stage.
    """
    unordered = list(events)
    starts: dict[str | None, list[datetime]] = {}
    for event in unordered:
        if event.kind == Checkpoint.STAGE_START:
            starts.setdefault(event.stage, []).append(event.at_utc)

    def moment(event: Event) -> datetime:
        if not event.is_whole_seconds or event.stage is None:
            return event.at_utc
        within = [
            start
            for start in starts.get(event.stage, ())
            if event.at_utc <= start < event.at_utc + _ONE_SECOND
        ]
        return max(within, default=event.at_utc)

    return tuple(sorted(unordered, key=moment))


def stages_of(events: Sequence[Event]) -> tuple[StageSummary, ...]:
    """Return the outcome of each stage, in the order of their first starts.

    `events` must be in order of time.
    """
    return tuple(
        _summary(stage, [event for event in events if event.stage == stage])
        for stage in _started_stages(events)
    )


def _started_stages(events: Sequence[Event]) -> list[str]:
    return list(
        dict.fromkeys(
            event.stage for event in events if event.stage and event.kind == Checkpoint.STAGE_START
        )
    )


def _summary(stage: str, events: Sequence[Event]) -> StageSummary:
    ends = [
        event for event in events if event.kind in (Checkpoint.STAGE_DONE, Checkpoint.STAGE_FAILED)
    ]
    last = ends[-1] if ends else None
    attempts = max(event.attempt or 1 for event in events)
    is_current = last is not None and (last.attempt or 1) == attempts
    status = (
        "unfinished"
        if last is None or not is_current
        else "done"
        if last.kind == Checkpoint.STAGE_DONE
        else "failed"
    )
    code = last.error.get("code") if last is not None and last.error else None
    return StageSummary(
        stage, status, attempts, last.duration_ms if last is not None else None, code
    )
