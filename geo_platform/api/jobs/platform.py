"""The platform API: a client's resource, by its own ids, becomes a job; the kind of data comes from the file.

What belongs here: the two routes, and a request made into a job's parameters. What stays out: jobs (`intake.py`).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Path, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from geo_platform.api.auth.authentication import Reader, Submitter, check_container, check_dataset
from geo_platform.api.jobs.data_request import DataRequest, plan_request
from geo_platform.api.jobs.intake import Accepted
from geo_platform.api.jobs.responses import ResponseModel, State
from geo_platform.api.jobs.routes import caller_of
from geo_platform.api.jobs.state import JobSnapshot
from geo_platform.api.jobs.submissions import IdempotencyKey, idempotent_response
from geo_platform.api.problems import problem_responses
from geo_platform.api.services import Services
from geo_platform.chains.raster import RASTER
from geo_platform.contracts.submission import DataRequested
from geo_platform.errors import NotFound
from geo_platform.trace.timeline import as_text

_SENT = (404, 409, 422)


class DataAccepted(ResponseModel):
    """What a request became. `request_id` is the same for the same version of the same bytes."""

    success: Literal[True]
    request_id: str = Field(examples=["0f1e2d3c4b5a69788796a5b4c3d2e1f0"])
    job_id: str
    job_type: str = Field(examples=[RASTER.job])
    message: str
    monitor_url: str = Field(
        description="where to ask for its state",
        examples=["/api/platform/status/0f1e2d3c4b5a69788796a5b4c3d2e1f0"],
    )


class DataAccess(ResponseModel):
    """Where the result is."""

    collection: str | None = Field(None, examples=["rasters"])
    item_id: str | None = Field(None, examples=["flood-2026_elevation_v1.0"])
    item: str | None = Field(None, description="href of the STAC item")
    outputs: list[str]
    table: str | None = Field(None, examples=["geo.flood_2026_wells_v1"])


class FileError(ResponseModel):
    """Why a file was not published; docs/errors.md has the codes."""

    code: str = Field(examples=["CRS_MISSING"])
    message: str = Field(examples=["'north.tif' has no coordinate reference system."])
    remedy: str = Field(
        examples=["Give the coordinate reference system with input_crs, for example EPSG:4326."]
    )


class DataFile(ResponseModel):
    """What became of one of the files."""

    file_name: str = Field(examples=["north.tif"])
    data_type: Literal["raster", "vector"] | None = Field(description="once it was looked at")
    status: State
    data_access: DataAccess | None = Field(description="once there is a result")
    error: FileError | None = Field(description="why there is none")


class DataStatus(ResponseModel):
    """How a request stands."""

    success: bool = Field(description="false once its job failed")
    request_id: str
    dataset_id: str
    resource_id: str
    version_id: str
    data_type: Literal["raster", "vector", "mixed"]
    created_at: str
    job_id: str
    job_type: str
    job_status: State
    job_stage: int
    job_result: dict[str, Any] | None
    data_access: DataAccess | None = Field(
        description="once there is a result; of several files the outputs of all"
    )
    files: list[DataFile] = Field(
        description="each file's own; where some were refused, the others are published all the same"
    )
    error: dict[str, Any] | None = Field(
        None, description="why its job failed: code, message, remedy"
    )


def platform_routes(services: Services) -> APIRouter:
    """The routes of /api/platform."""
    router = APIRouter(prefix="/api/platform", tags=["platform"])

    @router.post(
        "/submit", status_code=202, response_model=DataAccepted, responses=problem_responses(*_SENT)
    )
    async def submit_data(
        body: Annotated[DataRequest, Body()],
        request: Request,
        principal: Submitter,
        key: IdempotencyKey = None,
    ) -> JSONResponse:
        """Ask for a version of a resource. Raster or vector comes from the file's content."""

        def accepted() -> tuple[int, DataAccepted]:
            check_container(principal, body.container_name)
            check_dataset(principal, body.dataset_id)
            plan = plan_request(services.objects, body)
            done = services.intake.submit(
                plan.asked, plan.parameters, caller_of(principal, request)
            )
            kept = _keep(services, body, done, plan.data_type, principal.subject)
            services.metrics.submitted(
                plan.asked.job_type, "created" if done.is_new else "idempotent"
            )
            return 202, _accepted(kept, done)

        asked = (request.url.path, body.model_dump(mode="json"))
        return await services.submission_limiter.run(
            lambda: idempotent_response(
                services.submissions, principal.subject, key, asked, accepted
            )
        )

    @router.get(
        "/status/{request_id}", response_model=DataStatus, responses=problem_responses(404, 422)
    )
    def get_data_status(
        request_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$")], principal: Reader
    ) -> DataStatus:
        """How a request stands, and where its result is."""
        kept = services.submissions.request(request_id)
        if kept is None:
            raise NotFound(
                f"There is no request {request_id!r}.",
                remedy="The answer to POST /api/platform/submit names it.",
            )
        return _status(kept, services.intake.status(kept.job_id, principal))

    return router


def _keep(
    services: Services, body: DataRequest, accepted: Accepted, data_type: str, subject: str
) -> DataRequested:
    job = accepted.job
    digest = hashlib.sha256(
        json.dumps([body.dataset_id, body.resource_id, body.version_id, job.job_id]).encode()
    ).hexdigest()
    kept = DataRequested(
        request_id=digest[:32],
        job_id=job.job_id,
        job_type=job.job_type,
        data_type=data_type,
        dataset_id=body.dataset_id,
        resource_id=body.resource_id,
        version_id=body.version_id,
        asked_by=subject,
        asked_at_utc=datetime.now(UTC),
        request_json=json.dumps(body.model_dump(mode="json")),
    )
    services.submissions.put_request(kept)
    return kept


def _accepted(kept: DataRequested, accepted: Accepted) -> DataAccepted:
    snapshot = accepted.snapshot
    said = (
        "The request was accepted."
        if snapshot is None
        else f"The same request was accepted before; its job is {snapshot.state}."
    )
    return DataAccepted(
        success=True,
        request_id=kept.request_id,
        job_id=kept.job_id,
        job_type=kept.job_type,
        message=said,
        monitor_url=f"/api/platform/status/{kept.request_id}",
    )


def _status(kept: DataRequested, snapshot: JobSnapshot) -> DataStatus:
    result = dict(snapshot.result) if snapshot.result is not None else None
    files = [_file(each) for each in snapshot.files or [_as_file(kept, snapshot)]]
    return DataStatus(
        success=snapshot.error is None,
        request_id=kept.request_id,
        dataset_id=kept.dataset_id,
        resource_id=kept.resource_id,
        version_id=kept.version_id,
        data_type=kept.data_type,
        created_at=as_text(kept.asked_at_utc),
        job_id=kept.job_id,
        job_type=kept.job_type,
        job_status=snapshot.state.value,
        job_stage=snapshot.stage,
        job_result=result,
        data_access=_access_of_all(
            [each.data_access for each in files if each.data_access is not None]
        ),
        files=files,
        error=dict(snapshot.error) if snapshot.error is not None else None,
    )


def _as_file(kept: DataRequested, snapshot: JobSnapshot) -> dict[str, Any]:
    """A job over one file, as one of several would be."""
    found = {
        "file_name": snapshot.job.key,
        "data_type": kept.data_type,
        "status": snapshot.state.value,
        "error": snapshot.error,
    }
    return {**found, **(snapshot.result or {})}


def _file(said: Mapping[str, Any]) -> DataFile:
    """`said` as `job_files.files_of` has it."""
    error = said.get("error")
    return DataFile(
        file_name=said["file_name"],
        data_type=said["data_type"],
        status=said["status"],
        data_access=_access(said) if said.get("item_id") else None,
        error=FileError(**{name: error[name] for name in FileError.model_fields})
        if error
        else None,
    )


def _access(said: Mapping[str, Any]) -> DataAccess:
    return DataAccess(
        outputs=said.get("outputs") or [],
        **{name: said.get(name) for name in ("collection", "item_id", "item", "table")},
    )


def _access_of_all(each: Sequence[DataAccess]) -> DataAccess | None:
    if len(each) < 2:
        return each[0] if each else None
    return DataAccess(
        outputs=[href for one in each for href in one.outputs],
        collection=None,
        item_id=None,
        item=None,
        table=None,
    )
