"""The schema of a log line: JSON with the run's id and the stage (docs/checkpoints.md).

dagster.yaml and the command line decide where lines go. Dagster is not imported: its log records
have the run in an attribute, `dagster_meta`, which is read as plain data.
"""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from geo_platform.telemetry.context import current


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
            **current(),
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
