"""Models of the responses about jobs, and functions that fill the models.

The field names are those of the previous system, which clients know. FastAPI makes the schemas of
the OpenAPI document from the models. `api/problems.py` has the responses to errors.

Used by `api/jobs` and `api`.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from geo_platform.api.jobs.intake import Accepted
from geo_platform.api.jobs.state import JobSnapshot
from geo_platform.chains.raster import RASTER
from geo_platform.serving.downloads import download_path
from geo_platform.trace.timeline import as_text

_JOB_ID = "3b1f0c9ad2f7e6518a4c0d9be1f2a3c4d5e6f708192a3b4c5d6e7f8091a2b3c4"
_RUN_ID = "ea2add4b-aee9-45ca-b4b4-26abf84316a1"
_PARAMETERS = {"blob_name": "dem.tif", "container_name": "bronze"}
_RESULT = {
    "run_id": _RUN_ID,
    "item": "file:///data/catalog/rasters/dem/dem.json",
    "outputs": ["file:///data/store/silver/cogs/dem/0f1e2d3c/dem_analysis.tif"],
    "collection": "rasters",
    "item_id": "dem",
    "published_at_utc": "2026-11-24T10:15:03+00:00",
    "published_by_run": _RUN_ID,
    "was_unchanged": False,
    "downloads": {
        "analysis": "https://geo.example.org/stac/collections/rasters/items/dem/assets/analysis"
    },
}
State = Literal["queued", "processing", "completed", "failed", "completed_with_errors"]


class ResponseModel(BaseModel):
    """Base of the responses. An undeclared field is an error."""

    model_config = ConfigDict(extra="forbid")


class JobCreated(ResponseModel):
    """The job was created, or runs again.

    It runs again if it failed, if `force` is set, or if its result is no longer published.
    """

    job_id: str = Field(examples=[_JOB_ID])
    status: Literal["created"]
    job_type: str = Field(examples=[RASTER.job])
    message: str = Field(examples=["The job was created and is queued."])
    parameters: dict[str, Any] = Field(examples=[_PARAMETERS])
    idempotent: Literal[False]


class JobUnderWay(ResponseModel):
    """The same job was submitted before and is queued or running."""

    job_id: str = Field(examples=[_JOB_ID])
    status: Literal["queued", "processing"]
    job_type: str = Field(examples=[RASTER.job])
    message: str = Field(examples=["The same job was submitted before and is processing."])
    parameters: dict[str, Any] = Field(examples=[_PARAMETERS])
    idempotent: Literal[True]
    current_stage: int = Field(examples=[2])
    total_stages: int = Field(examples=[4])


class JobAlreadyDone(ResponseModel):
    """The same job was submitted before and is done; its result is published."""

    job_id: str = Field(examples=[_JOB_ID])
    status: Literal["already_completed"]
    job_type: str = Field(examples=[RASTER.job])
    message: str = Field(examples=["The same job was done before."])
    parameters: dict[str, Any] = Field(examples=[_PARAMETERS])
    idempotent: Literal[True]
    result_data: dict[str, Any] = Field(examples=[_RESULT])
    created_at: str = Field(examples=["2026-11-24T10:15:00.000Z"])
    completed_at: str | None = Field(examples=["2026-11-24T10:15:03.500Z"])


Submitted = Annotated[JobCreated | JobUnderWay | JobAlreadyDone, Field(discriminator="status")]


class ErrorDetails(ResponseModel):
    """Why the job failed; docs/errors.md has the codes."""

    code: str = Field(examples=["CRS_MISSING"])
    message: str = Field(examples=["'dem.tif' has no coordinate reference system."])
    remedy: str = Field(
        examples=["Give the coordinate reference system with input_crs, for example EPSG:4326."]
    )
    retryable: bool
    user_fixable: bool


class JobStatus(ResponseModel):
    """The status of a job. `stageResults` is keyed by the number of the stage, from 1."""

    jobId: str = Field(examples=[_JOB_ID])  # noqa: N815  # clients know these names
    jobType: str = Field(examples=[RASTER.job])  # noqa: N815
    status: State
    stage: int = Field(description="Number of the current stage, from 1.", examples=[4])
    totalStages: int = Field(examples=[4])  # noqa: N815
    parameters: dict[str, Any] = Field(examples=[_PARAMETERS])
    stageResults: dict[str, dict[str, Any]] = Field(  # noqa: N815
        examples=[
            {
                "1": {
                    "stage": RASTER.first.name,
                    "status": "completed",
                    "result": {"format": "geotiff"},
                }
            }
        ]
    )
    createdAt: str = Field(examples=["2026-11-24T10:15:00.000Z"])  # noqa: N815
    updatedAt: str = Field(examples=["2026-11-24T10:15:03.500Z"])  # noqa: N815
    resultData: dict[str, Any] | None = Field(  # noqa: N815
        None,
        description="Set once the job is completed. `downloads` are the addresses of the files, by "
        "the name of the asset.",
        examples=[_RESULT],
    )
    errorDetails: ErrorDetails | None = Field(None, description="Set once the job failed.")  # noqa: N815
    runId: str | None = Field(  # noqa: N815
        None,
        description="Newest run of the job; the key to its logs, outputs and trace.",
        examples=[_RUN_ID],
    )
    attempt: int = Field(description="Number of the attempt, from 1.", examples=[1])
    correlationId: str | None = Field(  # noqa: N815
        None, description="X-Correlation-Id of the last request for the job."
    )
    requestId: str = Field(description="X-Request-Id of the last request for the job.")  # noqa: N815


class JobPage(ResponseModel):
    """A page of jobs. `nextCursor` is null on the last page."""

    jobs: list[JobStatus]
    nextCursor: str | None  # noqa: N815


class TraceAnswer(ResponseModel):
    """A trace, as `geo-platform trace RUN --json` prints it (docs/trace.md)."""

    question: str
    understood_as: str | None
    looked_for: list[str]
    timelines: list[dict[str, Any]]
    unreached: list[dict[str, Any]]


def with_downloads(outcome: Mapping[str, Any], base_url: str) -> dict[str, Any]:
    """Return the result of a job or of one of its files, with the address of each file.

    `downloads` has the addresses by the name of the asset, for each item by itself if there are
    several. `base_url` is the URL of the HTTP API without a final slash.
    """
    result = dict(outcome)
    names = result.pop("file_assets", None) or []
    if result.get("items"):
        result["items"] = [with_downloads(item, base_url) for item in result["items"]]
    elif names:
        place = result["collection"], result["item_id"]
        result["downloads"] = {name: base_url + download_path(*place, name) for name in names}
    if "files" in result:
        result["files"] = [with_downloads(file, base_url) for file in result["files"]]
    return result


def submit_response(
    accepted: Accepted, base_url: str = ""
) -> JobCreated | JobUnderWay | JobAlreadyDone:
    """Return the response to a submission. `base_url` is as in `with_downloads`."""
    job, snapshot = accepted.job, accepted.snapshot
    common: dict[str, Any] = {
        "job_id": job.job_id,
        "job_type": job.job_type,
        "parameters": json.loads(job.parameters_json),
    }
    if snapshot is None:
        attempt = f", for the {_ordinal(job.asked.attempt)} time," if job.asked.attempt > 1 else ""
        return JobCreated(
            status="created",
            message=f"The job was created{attempt} and is queued.",
            idempotent=False,
            **common,
        )
    if snapshot.state.is_active:
        message = f"The same job was submitted before and is {snapshot.state}."
        stages = {"current_stage": snapshot.stage, "total_stages": len(snapshot.stages)}
        return JobUnderWay(
            status=snapshot.state.value, message=message, idempotent=True, **stages, **common
        )
    return JobAlreadyDone(
        status="already_completed",
        message="The same job was done before.",
        idempotent=True,
        result_data=with_downloads(snapshot.result or {}, base_url),
        created_at=as_text(job.asked.asked_at_utc),
        completed_at=as_text(snapshot.completed_at_utc) if snapshot.completed_at_utc else None,
        **common,
    )


def status_of_job(snapshot: JobSnapshot, base_url: str = "") -> JobStatus:
    """Return the status of a job as a response. `base_url` is as in `with_downloads`."""
    job = snapshot.job
    return JobStatus(
        jobId=job.job_id,
        jobType=job.job_type,
        status=snapshot.state.value,
        stage=snapshot.stage,
        totalStages=len(snapshot.stages),
        parameters=json.loads(job.parameters_json),
        stageResults={number: dict(result) for number, result in snapshot.stage_results.items()},
        createdAt=as_text(job.asked.asked_at_utc),
        updatedAt=as_text(snapshot.updated_at_utc),
        resultData=with_downloads(snapshot.result, base_url)
        if snapshot.result is not None
        else None,
        errorDetails=ErrorDetails(**snapshot.error) if snapshot.error is not None else None,
        runId=snapshot.run.run_id if snapshot.run is not None else None,
        attempt=job.asked.attempt,
        correlationId=job.asked.correlation_id or None,
        requestId=job.asked.request_id,
    )


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")
