"""Report on a run from outside its process, in the run's event log and in the log file.

Used by `orchestrator`.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from geo_platform.dagster_internals import checkpoint_of, log_entries, log_handlers, report_event
from geo_platform.runs import PARTITION_TAG
from geo_platform.telemetry.checkpoints import Checkpoint, CheckpointFields, Detail, report
from geo_platform.telemetry.logs import telemetry_context

_log = logging.getLogger("geo_platform.state")


def report_on_run(
    instance: dg.DagsterInstance,
    run: dg.DagsterRun,
    checkpoint: Checkpoint,
    sentence: str,
    *,
    details: Mapping[str, Detail],
    identified_by: Sequence[str],
    error: Mapping[str, Any] | None = None,
) -> bool:
    """Report a checkpoint as a warning, unless the run already has the same report.

    Return whether it was reported now. Two reports are the same if they have the same checkpoint
    and equal values of the details that `identified_by` names. No step of the run reports this
    checkpoint, so it is stored as an engine event, with the fields of a stage's checkpoint.
    """
    if has_report(
        instance, run.run_id, checkpoint, {name: details[name] for name in identified_by}
    ):
        return False
    partition = run.tags.get(PARTITION_TAG, "")
    fields = CheckpointFields(
        checkpoint,
        partition=partition,
        error=error,
        details={name: value for name, value in details.items() if value is not None},
    )
    report_event(instance, run, f"{checkpoint} {sentence}", fields.as_mapping())
    context = {"run_id": run.run_id, "job": run.job_name, "partition": partition}
    figures: dict[str, Any] = dict(details)
    with _instance_handlers(instance), telemetry_context(**context):
        report(checkpoint, sentence, level=logging.WARNING, error=error, **figures)
    return True


def has_report(
    instance: dg.DagsterInstance,
    run_id: str,
    checkpoint: Checkpoint,
    details: Mapping[str, Detail],
) -> bool:
    """Return whether the run's event log has this checkpoint with these details."""
    entries = log_entries(instance, run_id, dg.DagsterEventType.ENGINE_EVENT)
    return any(
        fields.checkpoint is checkpoint
        and all(fields.details.get(name) == value for name, value in details.items())
        for fields in filter(None, map(checkpoint_of, entries))
    )


def warn_on_run(instance: dg.DagsterInstance, run_id: str, sentence: str, error_code: str) -> None:
    """Log a warning with the run's id. It is not stored as a checkpoint or an event of the run."""
    with _instance_handlers(instance), telemetry_context(run_id=run_id):
        _log.warning("%s", sentence, extra={"error_code": error_code})


@contextmanager
def _instance_handlers(instance: dg.DagsterInstance) -> Iterator[None]:
    """Attach the instance's log handlers, as Dagster does only while it executes a run."""
    logger = logging.getLogger("geo_platform")
    handlers = log_handlers(instance)
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
