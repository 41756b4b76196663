"""Events of all stores, in one order. Pure.

What belongs here: what an event is, the order, what stages come to, the document that programs get. What stays out: asking any
store.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from geo_platform.telemetry.checkpoints import Checkpoint

_ONE_SECOND = timedelta(seconds=1)


class Store(StrEnum):
    """Who says so, and who may be out of reach."""

    dagster = "dagster"
    objects = "objects"
    catalog = "catalog"
    tables = "tables"


class Kind(StrEnum):
    """What an event is beside the checkpoints, which go by their own names (docs/checkpoints.md)."""

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


# What other runs did with what this one had published.
SINCE = frozenset({Kind.REPLACED, Kind.RESTORED, Kind.UNPUBLISHED})


@dataclass(frozen=True)
class Event:
    """One thing that one store knows. `by_run` is the run that did it, where it is another than the timeline's own.

    `error` is `PlatformError.as_record()`, or as much of it as is known. `is_whole_seconds`: the store tells no parts of one.
    """

    at_utc: datetime
    store: Store
    kind: str
    said: str
    stage: str | None = None
    attempt: int | None = None
    duration_ms: float | None = None
    error: Mapping[str, Any] | None = None
    by_run: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    is_whole_seconds: bool = False

    def document(self) -> dict[str, Any]:
        """JSON values; what there is nothing to say of is left out."""
        said: dict[str, Any] = {
            "at_utc": as_text(self.at_utc),
            "store": self.store.value,
            "kind": str(self.kind),
            "stage": self.stage,
            "attempt": self.attempt,
            "duration_ms": self.duration_ms,
            "said": self.said,
            "by_run": self.by_run,
            "error": dict(self.error) if self.error else None,
            "details": {name: value for name, value in self.details.items() if value is not None}
            or None,
        }
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True)
class StageSummary:
    """What a stage came to. `status` is done, failed or unfinished; `duration_ms` is that of the last attempt that ended."""

    stage: str
    status: str
    attempts: int
    duration_ms: float | None
    error_code: str | None = None


def as_text(moment: datetime) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ordered(events: Iterable[Event]) -> tuple[Event, ...]:
    """By time; those of one moment as they were given.

    A store that tells whole seconds would put what a stage wrote before the stage's start: such an event is placed at the
    start that lies within its second.
    """
    given = list(events)
    starts: dict[str | None, list[datetime]] = {}
    for event in given:
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

    return tuple(sorted(given, key=moment))


def stages_of(events: Sequence[Event]) -> tuple[StageSummary, ...]:
    """What each stage came to, in the order in which they began. `events` are ordered."""
    return tuple(
        _summary(stage, [event for event in events if event.stage == stage])
        for stage in _began(events)
    )


def _began(events: Sequence[Event]) -> list[str]:
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
