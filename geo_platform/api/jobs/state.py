"""Derive the state of a job and the outcome of each of its files from Dagster's runs. Pure.

A chain is the sequence of stages that one file goes through: raster or vector. A job over several
files sends each file through its chain, all in one run. `intake.py` queries Dagster; `responses.py`
has the models of the responses.

Used by `api/jobs`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from geo_platform.api.dagster.graphql import Materialized, RunFound, Step
from geo_platform.api.jobs.types import FILES, STAGES
from geo_platform.chains.hello import SPEAK
from geo_platform.chains.registry import CHAINS, last_stages
from geo_platform.chains.vector import FEATURES
from geo_platform.contracts.submission import JobSubmitted
from geo_platform.errors import RunCanceled, UnexpectedFault
from geo_platform.runs import ATTEMPT_TAG, WILL_RETRY_TAG
from geo_platform.trace.timeline import as_text

_LAST_OF_CHAIN = last_stages()
_FINAL_STATUSES = ("SUCCESS", "FAILURE", "CANCELED")


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


# For each state, the run statuses to search for jobs in that state. `state_of` decides the state of
# a single run: rejected rows distinguish the two states of SUCCESS, and a FAILURE that the daemon
# will retry counts as queued.
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
    """The state of a job at one moment.

    `stage` counts from 1. `run` is the newest run of the job's last attempt, or None if that
    attempt has no run yet.
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
    # The outcome of each file of a job over several files (`files_of`); empty for any other job.
    files: tuple[Mapping[str, Any], ...] = ()


def newest_of(job: JobSubmitted, runs: Sequence[RunFound]) -> RunFound | None:
    """Return the newest run of the job's last attempt, or None if that attempt has no run.

    `runs` are sorted, newest first.
    """
    return next((run for run in runs if run.tags.get(ATTEMPT_TAG) == str(job.asked.attempt)), None)


def snapshot_of(
    job: JobSubmitted,
    run: RunFound | None,
    error: Mapping[str, Any] | None = None,
    refused: Sequence[Mapping[str, Any]] = (),
) -> JobSnapshot:
    """Return the state of a job, derived from its newest run. Without a run, the job is queued.

    `error` is the error in the run's log; `refused` are the files that the run refused.
    """
    stages = STAGES[job.job_type]
    if run is None:
        return JobSnapshot(
            job, JobState.queued, 1, stages, {}, job.asked.asked_at_utc, files=waiting_files(job)
        )
    state = state_of(run)
    error = _error_record(run, error) if state is JobState.failed else None
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
    metadata = next((each.metadata for each in reversed(run.made) if each.stage == stage), {})
    return {
        "stage": stage,
        "status": _STEP_STATES.get(step.status or "", JobState.queued).value,
        "started_at": _text(step.started_at_utc),
        "ended_at": _text(step.ended_at_utc),
        "result": {**metadata, **({"files": list(files)} if stage in STAGES[FILES] else {})},
    }


def _result(run: RunFound, files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return (
        {"run_id": run.run_id, "files": list(files)}
        if files
        else {"run_id": run.run_id, **result_of(run.made)}
    )


def _error_record(run: RunFound, logged: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if run.status == "CANCELED":
        return RunCanceled(f"The run {run.run_id} was canceled.").as_record()
    return (
        logged
        or UnexpectedFault(f"The run {run.run_id} failed, and its log has no error.").as_record()
    )


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else as_text(moment)


def result_of(materializations: Sequence[Materialized]) -> dict[str, Any]:
    """Return what the run published from one source, and where.

    For the smoke test, return the greeting.
    """
    result: dict[str, Any] = {}
    for materialization in materializations:
        metadata = materialization.metadata
        if materialization.stage in _LAST_OF_CHAIN:
            names = (
                "collection",
                "item_id",
                "published_at_utc",
                "published_by_run",
                "was_unchanged",
            )
            result |= {
                "item": metadata.get("item"),
                "outputs": metadata.get("outputs", []),
                "file_assets": metadata.get("file_assets", []),
                **{name: metadata.get(name) for name in names},
                # Only if all layers of a source were taken: one entry for each item.
                **{name: metadata[name] for name in ("items",) if name in metadata},
            }
        elif materialization.stage == FEATURES.name:
            result |= {
                "dataset": metadata.get("dataset"),
                "table": metadata.get("dagster/table_name"),
                "rows": _row_counts(materialization),
            }
            result["reject_reasons"] = metadata.get("reject_reasons", {})
        elif materialization.stage == SPEAK.name:
            result["text"] = metadata.get("text")
    return result


def rejected_rows(materializations: Sequence[Materialized]) -> int:
    """Return the number of rows that could not be published; `result_of` gives the reasons."""
    return sum(_row_counts(each).get("rejected", 0) for each in materializations)


def is_appended(job: JobSubmitted, outcome: Mapping[str, Any]) -> bool:
    """Return whether the rows of this outcome were appended to a dataset.

    `outcome` is the result of the job, or of one of its files. Appended rows remain in the
    dataset when another run publishes the dataset again.
    """
    options = json.loads(job.options_json)
    file_name = outcome.get("file_name")
    features = next(
        (file["parameters"] for file in _files_of_job(job) if file["key"] == file_name),
        options.get(FEATURES.name, {}),
    )
    return bool(features.get("load_mode") == "append")


def waiting_files(job: JobSubmitted) -> tuple[Mapping[str, Any], ...]:
    """Return all files of a job as queued; nothing for a job over one source."""
    return tuple(
        {"file_name": file["key"], "status": "queued", "data_type": None}
        for file in _files_of_job(job)
    )


def files_of(
    job: JobSubmitted,
    run: RunFound,
    error: Mapping[str, Any] | None,
    refused: Sequence[Mapping[str, Any]],
) -> tuple[Mapping[str, Any], ...]:
    """Return the status of each file of a job, with its result or its error.

    A failed file has its own error from `refused`; if `refused` does not name the file, it has
    `error`, the error of the run.
    """
    file_errors = {
        file["key"]: {name: file.get(name) for name in ("code", "message", "remedy")}
        for file in refused
    }
    return tuple(
        _file_outcome(file["key"], run, file_errors.get(file["key"], error))
        for file in _files_of_job(job)
    )


def _file_outcome(key: str, run: RunFound, error: Mapping[str, Any] | None) -> Mapping[str, Any]:
    materializations = [each for each in run.made if each.partition == key]
    stages = {each.stage for each in materializations}
    chain = next((chain for chain in CHAINS if stages.intersection(chain.stage_names)), None)
    file: dict[str, Any] = {"file_name": key, "data_type": chain.name if chain else None}
    if any(each.stage in _LAST_OF_CHAIN for each in materializations):
        status = "completed_with_errors" if rejected_rows(materializations) else "completed"
        return {**file, "status": status, "run_id": run.run_id, **result_of(materializations)}
    if run.status in _FINAL_STATUSES and error is not None:
        return {
            **file,
            "status": "failed",
            "error": {name: error.get(name) for name in ("code", "message", "remedy")},
        }
    return {**file, "status": "processing" if run.started_at_utc is not None else "queued"}


def _files_of_job(job: JobSubmitted) -> Sequence[Mapping[str, Any]]:
    """Return the files of a job over several files; nothing for any other job."""
    files: Sequence[Mapping[str, Any]] = (
        json.loads(job.options_json)[STAGES[FILES][0]]["files"] if job.job_type == FILES else ()
    )
    return files


def _row_counts(materialization: Materialized) -> dict[str, int]:
    """Return the counts read, inserted, rejected and repaired; empty if no rows were loaded."""
    rows = materialization.metadata.get("rows") if materialization.stage == FEATURES.name else None
    return {str(row["rows"]): int(row["count"]) for row in rows} if isinstance(rows, list) else {}
