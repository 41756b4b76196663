"""Derive a job's state, stages, result and error from its record and its newest run. Pure.

Querying Dagster: `intake.py`; the models of responses: `responses.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from geo_platform.api.dagster.graphql import RunFound, Step
from geo_platform.api.jobs.files import files_of, rejected_rows, result_of, waiting_files
from geo_platform.api.jobs.types import FILES, STAGES
from geo_platform.contracts.submission import JobSubmitted
from geo_platform.errors import RunCanceled, UnexpectedFault
from geo_platform.runs import ATTEMPT_TAG, WILL_RETRY_TAG
from geo_platform.trace.timeline import as_text


class JobState(StrEnum):
    """The state of a job, as clients see it."""

    queued = "queued"
    processing = "processing"
    completed = "completed"
    failed = "failed"
    completed_with_errors = "completed_with_errors"

    @property
    def is_active(self) -> bool:
        return self in (JobState.queued, JobState.processing)

    @property
    def has_result(self) -> bool:
        return self in (JobState.completed, JobState.completed_with_errors)


# Dagster's run statuses that can lead to a state; SUCCESS leads to two.
STATUSES: Mapping[JobState, tuple[str, ...]] = {
    JobState.queued: ("QUEUED", "NOT_STARTED", "MANAGED"),
    JobState.processing: ("STARTING", "STARTED", "CANCELING"),
    JobState.completed: ("SUCCESS",),
    JobState.completed_with_errors: ("SUCCESS",),
    JobState.failed: ("FAILURE", "CANCELED"),
}

_STEP_STATES = {
    "IN_PROGRESS": JobState.processing,
    "SUCCESS": JobState.completed,
    "FAILURE": JobState.failed,
}


@dataclass(frozen=True)
class JobSnapshot:
    """A job at one moment.

    `stage` counts from 1. `run` is the newest run of the last attempt, or None if it has none yet.
    """

    job: JobSubmitted
    state: JobState
    stage: int
    stages: tuple[str, ...]
    stage_results: Mapping[str, Mapping[str, Any]]
    updated_at_utc: datetime
    run: RunFound | None = None
    completed_at_utc: datetime | None = None
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = field(default=None)
    # The outcome of each file of a job over several (`files.py`); empty for any other job.
    files: tuple[Mapping[str, Any], ...] = ()


def newest_of(job: JobSubmitted, runs: Sequence[RunFound]) -> RunFound | None:
    """Return the newest run of the last attempt, or None. `runs` are sorted, newest first."""
    return next((run for run in runs if run.tags.get(ATTEMPT_TAG) == str(job.asked.attempt)), None)


def snapshot_of(
    job: JobSubmitted,
    run: RunFound | None,
    error: Mapping[str, Any] | None = None,
    refused: Sequence[Mapping[str, Any]] = (),
) -> JobSnapshot:
    """Return the state of a job by its run.

    `error` is the failure in the run's log; `refused` are the files that the run refused.
    """
    stages = STAGES[job.job_type]
    if run is None:
        return JobSnapshot(
            job, JobState.queued, 1, stages, {}, job.asked.asked_at_utc, files=waiting_files(job)
        )
    state = state_of(run)
    error = _error(run, error) if state is JobState.failed else None
    files = files_of(job, run, error, refused)
    started = {
        step.name: step for step in run.steps if step.name in stages and step.status is not None
    }
    results = {
        str(number): _stage_result(stage, started[stage], run, files)
        for number, stage in enumerate(stages, start=1)
        if stage in started
    }
    moments = (run.updated_at_utc, run.ended_at_utc, run.started_at_utc, run.created_at_utc)
    return JobSnapshot(
        job=job,
        state=state,
        stage=max(len(started), 1),
        stages=stages,
        stage_results=results,
        updated_at_utc=max(moment for moment in moments if moment is not None),
        run=run,
        completed_at_utc=run.ended_at_utc if state.has_result else None,
        result=_result(run, files) if state.has_result else None,
        error=error,
        files=files,
    )


def state_of(run: RunFound) -> JobState:
    """Return the state of a run. A failed run that the daemon will retry counts as queued."""
    if run.status == "SUCCESS":
        return JobState.completed_with_errors if rejected_rows(run.made) else JobState.completed
    if run.status in ("FAILURE", "CANCELED"):
        return (
            JobState.queued
            if run.status == "FAILURE" and run.tags.get(WILL_RETRY_TAG) == "true"
            else JobState.failed
        )
    return JobState.processing if run.status in STATUSES[JobState.processing] else JobState.queued


def _stage_result(
    stage: str, step: Step, run: RunFound, files: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    made = next((each.metadata for each in reversed(run.made) if each.stage == stage), {})
    return {
        "stage": stage,
        "status": _STEP_STATES.get(step.status or "", JobState.queued).value,
        "started_at": _text(step.started_at_utc),
        "ended_at": _text(step.ended_at_utc),
        "result": {**made, **({"files": list(files)} if stage in STAGES[FILES] else {})},
    }


def _result(run: RunFound, files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return (
        {"run_id": run.run_id, "files": list(files)}
        if files
        else {"run_id": run.run_id, **result_of(run.made)}
    )


def _error(run: RunFound, found: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if run.status == "CANCELED":
        return RunCanceled(f"The run {run.run_id} was canceled.").as_record()
    return (
        found
        or UnexpectedFault(f"The run {run.run_id} failed, and its log has no error.").as_record()
    )


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else as_text(moment)
