"""Checkpoints: the named moments of a run, their fields, and `report`, which logs a checkpoint.

The names are stable: queries, alerts and tests rely on them (docs/checkpoints.md). Programs read
the fields, people read the sentence. `logs.py` has the schema of a log line.

Used throughout the application.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from geo_platform.telemetry.logs import current_context, shares_step

LOGGER = "geo_platform.checkpoint"
_log = logging.getLogger(LOGGER)

Detail = str | int | float | bool | None


class Checkpoint(StrEnum):
    """The checkpoints, in the order in which a run reaches them; problems come last."""

    STAGE_START = "STAGE_START"
    STAGE_PROGRESS = "STAGE_PROGRESS"
    STAGE_DONE = "STAGE_DONE"
    STAGE_FAILED = "STAGE_FAILED"
    MESSAGE_CREATED = "MESSAGE_CREATED"
    COG_VERIFIED = "COG_VERIFIED"
    FEATURES_LOADED = "FEATURES_LOADED"
    SWAP_COMMITTED = "SWAP_COMMITTED"
    ITEM_PUBLISHED = "ITEM_PUBLISHED"
    ITEM_UNCHANGED = "ITEM_UNCHANGED"
    ITEM_UNPUBLISHED = "ITEM_UNPUBLISHED"
    VERSIONS_REMOVED = "VERSIONS_REMOVED"
    QUARANTINED = "QUARANTINED"
    STATE_MISMATCH = "STATE_MISMATCH"
    RUN_STUCK = "RUN_STUCK"
    TELEMETRY_LOST = "TELEMETRY_LOST"


MEANING = {
    Checkpoint.STAGE_START: "A stage starts an attempt.",
    Checkpoint.STAGE_PROGRESS: "A stage reports its progress.",
    Checkpoint.STAGE_DONE: "A stage succeeded; its message is stored next.",
    Checkpoint.STAGE_FAILED: "An attempt of a stage failed; error.code names the error.",
    Checkpoint.MESSAGE_CREATED: "The message of a stage is stored; the next stage can read it.",
    Checkpoint.COG_VERIFIED: (
        "A COG was written, reopened and compared with the source; it is not in the store yet."
    ),
    Checkpoint.FEATURES_LOADED: (
        "The datasets of a layer were loaded and read back; tables are staged, not published. "
        "Names and versions of several are separated by commas."
    ),
    Checkpoint.SWAP_COMMITTED: (
        "Item and tables were committed in one transaction; readers see the new ones."
    ),
    Checkpoint.ITEM_PUBLISHED: (
        "The catalog holds the item, read back; the version that it replaced is kept."
    ),
    Checkpoint.ITEM_UNCHANGED: "The catalog already held this item; nothing was written.",
    Checkpoint.ITEM_UNPUBLISHED: "The item is no longer published; it is kept as a version.",
    Checkpoint.VERSIONS_REMOVED: "Versions past their retention time were deleted.",
    Checkpoint.QUARANTINED: (
        "An object that the run refused was moved to quarantine with the reason; "
        "a person releases it."
    ),
    Checkpoint.STATE_MISMATCH: "Two stores disagree about a run; both values are named.",
    Checkpoint.RUN_STUCK: "A run is queued or starting for too long; the cause is named.",
    Checkpoint.TELEMETRY_LOST: (
        "Spans cannot be delivered; logged once per process, and no run fails because of it."
    ),
}


@dataclass(frozen=True)
class CheckpointFields:
    """The fields of a checkpoint. `error` is all or part of `PlatformError.as_record()`."""

    checkpoint: Checkpoint
    stage: str = ""
    partition: str = ""
    attempt: int | None = None
    duration_ms: float | None = None
    error: Mapping[str, Any] | None = None
    details: Mapping[str, Detail] = field(default_factory=dict)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self | None:
        """Parse what `as_mapping` returned. Return None if `values` are not of a checkpoint."""
        try:
            checkpoint = Checkpoint(str(values.get("checkpoint")))
        except ValueError:
            return None
        return cls(
            checkpoint,
            stage=values.get("stage") or "",
            partition=values.get("partition") or "",
            attempt=values.get("attempt"),
            duration_ms=values.get("duration_ms"),
            error=values.get("error"),
            details=values.get("details") or {},
        )

    def as_mapping(self) -> dict[str, Any]:
        """Return the fields as JSON values, without the empty ones."""
        values: dict[str, Any] = {
            "checkpoint": self.checkpoint.value,
            "stage": self.stage,
            "partition": self.partition,
            "attempt": self.attempt,
            "duration_ms": self.duration_ms,
            "error": dict(self.error or {}),
            "details": dict(self.details),
        }
        return {name: value for name, value in values.items() if value not in ("", None, {})}

    @property
    def labels(self) -> tuple[str, str]:
        """Return the labels that may precede the sentence: one with stage and file, one without."""
        return (
            f"{self.checkpoint} [{self.stage}/{self.partition}] ",
            f"{self.checkpoint} ",
        )

    def sentence(self, text: str) -> str:
        """Return the sentence of a log entry: its text without the label."""
        label = next((label for label in self.labels if text.startswith(label)), "")
        return text.removeprefix(label)


def report(
    checkpoint: Checkpoint,
    message: str,
    *,
    level: int = logging.INFO,
    duration_ms: float | None = None,
    error: Mapping[str, Any] | None = None,
    exception: BaseException | None = None,
    **details: Detail,
) -> None:
    """Log that `checkpoint` was reached, with its fields.

    During a run, Dagster also stores the checkpoint in the event log of the run.

    `message` is a sentence for people, without the checkpoint's name. `error` is
    `PlatformError.as_record()`. Details are values for programs, never secrets.
    """
    context = current_context()
    fields = CheckpointFields(
        checkpoint,
        stage=str(context.get("stage", "")),
        partition=str(context.get("partition", "")),
        attempt=_as_int(context.get("attempt")),
        duration_ms=None if duration_ms is None else round(duration_ms, 1),
        error=error,
        details={name: value for name, value in details.items() if value is not None},
    )
    file_label, checkpoint_label = fields.labels
    label = file_label if shares_step() and fields.partition else checkpoint_label
    extra: dict[str, Any] = {
        "checkpoint": str(checkpoint),
        "said": message,
        "details": dict(fields.details),
        "checkpoint_fields": fields,
    }
    if fields.duration_ms is not None:
        extra["duration_ms"] = fields.duration_ms
    if error is not None:
        extra["error_code"] = error["code"]
    _log.log(level, "%s%s", label, message, extra=extra, exc_info=exception)


def fields_of(record: logging.LogRecord) -> CheckpointFields | None:
    """Return the fields of a record that `report` made, or None for any other record."""
    found = getattr(record, "checkpoint_fields", None)
    return found if isinstance(found, CheckpointFields) else None


def _as_int(value: str | int | None) -> int | None:
    return None if value is None else int(value)
