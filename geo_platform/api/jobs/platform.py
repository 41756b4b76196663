"""The routes of the platform API: a client submits a version of a resource by the client's ids.

`data_request.py` turns such a request into a job; `intake.py` submits the job.

Called by `api/app.py`.
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
from geo_platform.api.jobs.responses import ResponseModel, State, with_downloads
from geo_platform.api.jobs.routes import base_url_of, caller_of
from geo_platform.api.jobs.state import JobSnapshot
from geo_platform.api.jobs.submissions import IdempotencyKey, idempotent_response
from geo_platform.api.problems import problem_responses
from geo_platform.api.services import Services
from geo_platform.chains.raster import RASTER
from geo_platform.contracts.submission import DataRequested
from geo_platform.errors import NotFound
from geo_platform.trace.timeline import as_text

_SUBMIT_PROBLEMS = (404, 409, 422)


class DataAccepted(ResponseModel):
    """The job of a request. The same version of the same bytes has the same `request_id`."""

    success: Literal[True]
    request_id: str = Field(examples=["0f1e2d3c4b5a69788796a5b4c3d2e1f0"])
    job_id: str
    job_type: str = Field(examples=[RASTER.job])
    message: str
    monitor_url: str = Field(
        description="Where to get the status of the request.",
        examples=["/api/platform/status/0f1e2d3c4b5a69788796a5b4c3d2e1f0"],
    )


class DataAccess(ResponseModel):
    """Where the result of a job is."""

    collection: str | None = Field(None, examples=["rasters"])
    item_id: str | None = Field(None, examples=["flood-2026_elevation_v1.0"])
    item: str | None = Field(None, description="href of the STAC item.")
    outputs: list[str]
    downloads: list[str] = Field(
        description="Addresses of the files, for a client with a key that may read the item.",
        examples=[["https://geo.example.org/stac/collections/rasters/items/dem/assets/data"]],
    )
    table: str | None = Field(None, examples=["geo.flood_2026_wells_v1"])


class FileError(ResponseModel):
    """Why a file was not published; docs/errors.md has the codes."""

    code: str = Field(examples=["CRS_MISSING"])
    message: str = Field(examples=["'north.tif' has no coordinate reference system."])
    remedy: str = Field(
        examples=["Give the coordinate reference system with input_crs, for example EPSG:4326."]
    )


class DataFile(ResponseModel):
    """The outcome of one file."""

    file_name: str = Field(examples=["north.tif"])
    data_type: Literal["raster", "vector"] | None = Field(
        description="Set once the content of the file was read."
    )
    status: State
    data_access: DataAccess | None = Field(description="Set once there is a result.")
    error: FileError | None = Field(description="Set if the file was not published.")


class DataStatus(ResponseModel):
    """The status of a request."""

    success: bool = Field(description="False once the job failed.")
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
        description="Set once there is a result. For several files, the outputs of all of them."
    )
    files: list[DataFile] = Field(
        description="The outcome of each file. A refused file does not keep the others from being "
        "published."
    )
    error: dict[str, Any] | None = Field(
        None, description="Why the job failed: code, message, remedy."
    )


def platform_routes(services: Services) -> APIRouter:
    """Return the routes of /api/platform."""
    router = APIRouter(prefix="/api/platform", tags=["platform"])

    @router.post(
        "/submit",
        status_code=202,
        response_model=DataAccepted,
        responses=problem_responses(*_SUBMIT_PROBLEMS),
    )
    async def submit_data(
        body: Annotated[DataRequest, Body()],
        request: Request,
        principal: Submitter,
        key: IdempotencyKey = None,
    ) -> JSONResponse:
        """Submit a version of a resource. The content of each file decides: raster or vector."""

        def respond() -> tuple[int, DataAccepted]:
            check_container(principal, body.container_name)
            check_dataset(principal, body.dataset_id)
            plan = plan_request(services.objects, body)
            accepted = services.intake.submit(
                plan.job, plan.parameters, caller_of(principal, request)
            )
            record = _store(services, body, accepted, plan.data_type, principal.subject)
            services.metrics.submitted(
                plan.job.job_type, "created" if accepted.is_new else "idempotent"
            )
            return 202, _accepted(record, accepted)

        idempotent_request = (request.url.path, body.model_dump(mode="json"))
        return await services.submission_limiter.run(
            lambda: idempotent_response(
                services.submissions, principal.subject, key, idempotent_request, respond
            )
        )

    @router.get(
        "/status/{request_id}", response_model=DataStatus, responses=problem_responses(404, 422)
    )
    def get_data_status(
        request_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$")],
        request: Request,
        principal: Reader,
    ) -> DataStatus:
        """Return the status of a request, where its result is, and the outcome of each file."""
        record = services.submissions.request(request_id)
        if record is None:
            raise NotFound(
                f"There is no request {request_id!r}.",
                remedy="The response to POST /api/platform/submit has the request_id.",
            )
        snapshot = services.intake.status(record.job_id, principal)
        return _status(record, snapshot, base_url_of(request, services))

    return router


def _store(
    services: Services, body: DataRequest, accepted: Accepted, data_type: str, subject: str
) -> DataRequested:
    job = accepted.job
    digest = hashlib.sha256(
        json.dumps([body.dataset_id, body.resource_id, body.version_id, job.job_id]).encode()
    ).hexdigest()
    record = DataRequested(
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
    services.submissions.put_request(record)
    return record


def _accepted(record: DataRequested, accepted: Accepted) -> DataAccepted:
    snapshot = accepted.snapshot
    message = (
        "The request was accepted."
        if snapshot is None
        else f"The same request was accepted before; its job is {snapshot.state}."
    )
    return DataAccepted(
        success=True,
        request_id=record.request_id,
        job_id=record.job_id,
        job_type=record.job_type,
        message=message,
        monitor_url=f"/api/platform/status/{record.request_id}",
    )


def _status(record: DataRequested, snapshot: JobSnapshot, base_url: str) -> DataStatus:
    result = with_downloads(snapshot.result, base_url) if snapshot.result is not None else None
    outcomes = snapshot.files or [_only_file(record, snapshot)]
    files = [_file(with_downloads(each, base_url)) for each in outcomes]
    return DataStatus(
        success=snapshot.error is None,
        request_id=record.request_id,
        dataset_id=record.dataset_id,
        resource_id=record.resource_id,
        version_id=record.version_id,
        data_type=record.data_type,
        created_at=as_text(record.asked_at_utc),
        job_id=record.job_id,
        job_type=record.job_type,
        job_status=snapshot.state.value,
        job_stage=snapshot.stage,
        job_result=result,
        data_access=_access_of_all(
            [each.data_access for each in files if each.data_access is not None]
        ),
        files=files,
        error=dict(snapshot.error) if snapshot.error is not None else None,
    )


def _only_file(record: DataRequested, snapshot: JobSnapshot) -> dict[str, Any]:
    """Return the outcome of the only file of a job, in the form of `files_of`."""
    outcome = {
        "file_name": snapshot.job.key,
        "data_type": record.data_type,
        "status": snapshot.state.value,
        "error": snapshot.error,
    }
    return {**outcome, **(snapshot.result or {})}


def _file(outcome: Mapping[str, Any]) -> DataFile:
    """Return the response for the outcome of one file, in the form of `files_of`."""
    error = outcome.get("error")
    return DataFile(
        file_name=outcome["file_name"],
        data_type=outcome["data_type"],
        status=outcome["status"],
        data_access=_access(outcome) if outcome.get("item_id") else None,
        error=FileError(**{name: error[name] for name in FileError.model_fields})
        if error
        else None,
    )


def _access(outcome: Mapping[str, Any]) -> DataAccess:
    if outcome.get("items"):
        return DataAccess(
            outputs=outcome.get("outputs") or [],
            downloads=[url for item in outcome["items"] for url in _downloads(item)],
            collection=outcome.get("collection"),
            item_id=None,
            item=None,
            table=outcome.get("table"),
        )
    return DataAccess(
        outputs=outcome.get("outputs") or [],
        downloads=_downloads(outcome),
        **{name: outcome.get(name) for name in ("collection", "item_id", "item", "table")},
    )


def _downloads(outcome: Mapping[str, Any]) -> list[str]:
    return list(outcome.get("downloads", {}).values())


def _access_of_all(accesses: Sequence[DataAccess]) -> DataAccess | None:
    if len(accesses) < 2:
        return accesses[0] if accesses else None
    return DataAccess(
        outputs=[href for access in accesses for href in access.outputs],
        downloads=[url for access in accesses for url in access.downloads],
        collection=None,
        item_id=None,
        item=None,
        table=None,
    )
