"""Saying something of a run from outside of it: in its own events, where the UI shows it, and on the log with its id.

What belongs here: the two ways out, and that a thing is said once. What stays out: what is said, and when.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from geo_platform.runs import PARTITION_TAG
from geo_platform.telemetry.checkpoints import Checkpoint, Detail, report
from geo_platform.telemetry.context import telemetry_context

_log = logging.getLogger("geo_platform.state")


def report_of_run(
    instance: dg.DagsterInstance,
    run: dg.DagsterRun,
    checkpoint: Checkpoint,
    said: str,
    *,
    details: Mapping[str, Detail] | None = None,
) -> bool:
    """Say it as a warning, once: where the run's events have just this already, nothing is said and False handed back.

    A checkpoint that a run says of itself is a log entry of its events; what is said of it from outside is an engine event,
    whose message is the same text: the checkpoint's name, then the sentence.
    """
    text = f"{checkpoint} {said}"
    if text in said_of(instance, run.run_id):
        return False
    instance.report_engine_event(text, run)
    context = {
        "run_id": run.run_id,
        "job": run.job_name,
        "partition": run.tags.get(PARTITION_TAG, ""),
    }
    figures: dict[str, Any] = dict(details or {})
    with _lines_of(instance), telemetry_context(**context):
        report(checkpoint, said, level=logging.WARNING, **figures)
    return True


def warn_of_run(instance: dg.DagsterInstance, run_id: str, said: str, error_code: str) -> None:
    """A line of the log that is no checkpoint."""
    with _lines_of(instance), telemetry_context(run_id=run_id):
        _log.warning("%s", said, extra={"error_code": error_code})


def said_of(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """The engine events of a run, oldest first, as they were said."""
    entries = instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    return [entry.dagster_event.message or "" for entry in entries if entry.dagster_event]


@contextmanager
def _lines_of(instance: dg.DagsterInstance) -> Iterator[None]:
    """The instance's log of JSON lines: Dagster attaches it to the platform's loggers only while a run is executed."""
    logger = logging.getLogger("geo_platform")
    handlers = list(instance.get_yaml_python_handlers())
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
