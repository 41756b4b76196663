"""Log lines as JSON, each with the run id and the stage.

What belongs here: the schema of a line and the context that fills it. What stays out: where lines go (dagster.yaml and
the CLI decide) and Dagster itself: its records carry their run in an attribute that is read as plain data.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

_EMPTY: Mapping[str, str] = {}
_context: ContextVar[Mapping[str, str]] = ContextVar("geo_platform_log_context", default=_EMPTY)


@contextmanager
def log_context(**fields: str) -> Iterator[None]:
    """Every line written inside carries `fields` (run_id, stage, partition)."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


class JsonLines(logging.Formatter):
    """One JSON object per line: timestamp, level, logger, run_id, stage, partition, checkpoint, message, error.

    Texts from files are values of JSON strings, so that none can end a line or forge another. A traceback is a field
    and never a line of its own.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            **_dagster_fields(record),
            **_context.get(),
            "message": _message(record),
        }
        checkpoint = getattr(record, "checkpoint", None)
        if checkpoint:
            line["checkpoint"] = checkpoint
        if record.exc_info:
            line["error"] = {"traceback": self.formatException(record.exc_info)}
        return json.dumps({key: value for key, value in line.items() if value is not None}, ensure_ascii=True, default=str)


def _dagster_fields(record: logging.LogRecord) -> dict[str, Any]:
    meta = getattr(record, "dagster_meta", None) or {}
    return {"run_id": meta.get("run_id"), "stage": meta.get("step_key"), "job": meta.get("job_name")}


def _message(record: logging.LogRecord) -> str:
    """Dagster's records spell run and step in the text again; their plain message is in the metadata."""
    meta = getattr(record, "dagster_meta", None) or {}
    return str(meta.get("orig_message") or record.getMessage())
