"""The format of a log line, and the context (run, stage, partition, attempt) that it carries.

A log line is a JSON object with the run's id and the stage (docs/checkpoints.md). Checkpoints and
spans carry the same context. dagster.yaml and the command line decide where lines go. Dagster is
not imported: its log records have the run in the attribute `dagster_meta`, which is plain data.

Used throughout the application.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

_EMPTY: Mapping[str, str | int] = {}
_context: ContextVar[Mapping[str, str | int]] = ContextVar(
    "geo_platform_telemetry_context", default=_EMPTY
)
_shares_step: ContextVar[bool] = ContextVar("geo_platform_shares_step", default=False)


@contextmanager
def sharing_a_step() -> Iterator[None]:
    """Mark the work inside as that of one of several files of a step: log entries name the file."""
    token = _shares_step.set(True)
    try:
        yield
    finally:
        _shares_step.reset(token)


def shares_step() -> bool:
    """Return whether the current work shares its Dagster step with other files."""
    return _shares_step.get()


@contextmanager
def telemetry_context(**fields: str | int) -> Iterator[None]:
    """Add `fields` (run_id, stage, partition, attempt) to each log line and span inside.

    Empty strings are ignored. A thread started inside does not inherit the context: pass it with
    `contextvars.copy_context().run`.
    """
    token = _context.set(
        {**_context.get(), **{name: value for name, value in fields.items() if value != ""}}
    )
    try:
        yield
    finally:
        _context.reset(token)


def current_context() -> Mapping[str, str | int]:
    """Return the fields of the current context; empty outside of a run."""
    return _context.get()


class JsonLines(logging.Formatter):
    """Format each record as one line with a JSON object.

    Fields: timestamp, level, logger, run_id, job, stage, correlation_id, partition, attempt,
    checkpoint, duration_ms, message, details, error.code, error.traceback. Empty fields are left
    out.

    Text from a file is a JSON string, so it cannot end a line or forge another. A traceback is a
    field, never lines of its own.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname,
            "logger": record.name,
            **_dagster_fields(record),
            **current_context(),
            "checkpoint": getattr(record, "checkpoint", None),
            "duration_ms": getattr(record, "duration_ms", None),
            "message": _message(record),
            "details": getattr(record, "details", None) or None,
            "error": self._error(record),
        }
        return json.dumps(
            {key: value for key, value in line.items() if value is not None},
            ensure_ascii=True,
            default=str,
        )

    def _error(self, record: logging.LogRecord) -> dict[str, str] | None:
        error = {}
        code = getattr(record, "error_code", None)
        if code is not None:
            error["code"] = str(code)
        if record.exc_info:
            error["traceback"] = self.formatException(record.exc_info)
        return error or None


def _dagster_fields(record: logging.LogRecord) -> dict[str, Any]:
    meta = getattr(record, "dagster_meta", None) or {}
    return {
        "run_id": meta.get("run_id"),
        "job": meta.get("job_name"),
        "stage": meta.get("step_key"),
    }


def _message(record: logging.LogRecord) -> str:
    """Return a checkpoint's sentence without its name, or a Dagster message without run and step.

    Name, run and step have fields of their own.
    """
    meta = getattr(record, "dagster_meta", None) or {}
    return str(getattr(record, "said", None) or meta.get("orig_message") or record.getMessage())
