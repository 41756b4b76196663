"""The platform API: a client's resource, by its own ids, becomes a job; the kind of data comes from the file.

What belongs here: the two routes, and a request made into a job's parameters. What stays out: jobs (`intake.py`).
"""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Path, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from geo_platform.api.answers import Answer, State
from geo_platform.api.idempotency import IdempotencyKey, answered_once
from geo_platform.api.intake import Accepted
from geo_platform.api.job_state import Standing
from geo_platform.api.job_types import JobAsked, asked_of
from geo_platform.api.jobs import who_asks
from geo_platform.api.lock import Reader, Submitter, demand_container, demand_dataset
from geo_platform.api.problems import ParametersInvalid, problem_responses
from geo_platform.api.services import Services
from geo_platform.api.sources import kind_of_source, source_of
from geo_platform.chains import CHAINS
from geo_platform.contracts.arrival import SourceKind
from geo_platform.contracts.submission import DataRequested
from geo_platform.errors import NotFound
from geo_platform.trace.timeline import as_text
from geo_platform.vector.field_names import MAX_NAME_LENGTH, clean_name

ResourceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)]
_OURS = ("blob_name", "container_name", "item_id", "table_name", "title")
_SENT = (400, 401, 403, 404, 409, 413, 422, 429, 500, 503)


class DataRequest(BaseModel):
    """A version of a resource of a dataset, and the file that it is made of."""

    model_config = ConfigDict(extra="forbid", strict=True)

    dataset_id: ResourceName = Field(examples=["flood-2026"])
    resource_id: ResourceName = Field(examples=["elevation"])
    version_id: ResourceName = Field(examples=["v1.0"])
    operation: Literal["CREATE"]
    container_name: str = Field("bronze", max_length=63, examples=["bronze"])
    file_name: str | Annotated[list[str], Field(min_length=1, max_length=1)] = Field(
        description="The object's name; a list holds one: several files are several requests.", examples=["dem.tif"]
    )
    service_name: str | None = Field(None, max_length=200, description="Title of the result.", examples=["Elevation"])
    access_level: str | None = Field(None, max_length=100, description="Kept with the request.", examples=["public"])
    description: str | None = Field(None, max_length=4000, description="Kept with the request.")
    tags: list[str] | None = Field(None, max_length=100, description="Kept with the request.")
    processing_options: dict[str, Any] | None = Field(
        None, description="Parameters of the job, by the names that POST /api/jobs/submit takes.", examples=[{"output_tier": "analysis"}]
    )
    client_id: str | None = Field(None, max_length=200, description="Kept with the request.", examples=["ddh"])

    @property
    def key(self) -> str:
        return self.file_name if isinstance(self.file_name, str) else self.file_name[0]


class DataAccepted(Answer):
    """What a request became. `request_id` is the same for the same version of the same bytes."""

    success: Literal[True]
    request_id: str = Field(examples=["0f1e2d3c4b5a69788796a5b4c3d2e1f0"])
    job_id: str
    job_type: str = Field(examples=["process_raster"])
    message: str
    monitor_url: str = Field(description="where to ask for its state", examples=["/api/platform/status/0f1e2d3c4b5a69788796a5b4c3d2e1f0"])


class DataAccess(Answer):
    """Where the result is."""

    collection: str | None = Field(None, examples=["rasters"])
    item_id: str | None = Field(None, examples=["flood-2026_elevation_v1.0"])
    item: str | None = Field(None, description="href of the STAC item")
    outputs: list[str]
    table: str | None = Field(None, examples=["geo.flood_2026_wells_v1"])


class DataStatus(Answer):
    """How a request stands."""

    success: bool = Field(description="false once its job failed")
    request_id: str
    dataset_id: str
    resource_id: str
    version_id: str
    data_type: Literal["raster", "vector"]
    created_at: str
    job_id: str
    job_type: str
    job_status: State
    job_stage: int
    job_result: dict[str, Any] | None
    data_access: DataAccess | None = Field(description="once there is a result")
    error: dict[str, Any] | None = Field(None, description="why its job failed: code, message, remedy")


def platform_routes(services: Services) -> APIRouter:
    """The routes of /api/platform."""
    router = APIRouter(prefix="/api/platform", tags=["platform"])

    @router.post("/submit", status_code=202, response_model=DataAccepted, responses=problem_responses(*_SENT))
    def submit(body: Annotated[DataRequest, Body()], request: Request, principal: Submitter, key: IdempotencyKey = None) -> JSONResponse:
        """Ask for a version of a resource. Raster or vector comes from the file's content."""

        def accepted() -> tuple[int, DataAccepted]:
            demand_container(principal, body.container_name)
            demand_dataset(principal, body.dataset_id)
            asked, parameters, kind = _job_of(services, body)
            done = services.intake.submit(asked, parameters, who_asks(principal, request))
            kept = _keep(services, body, done, kind, principal.subject)
            services.metrics.submitted(asked.job_type, "created" if done.is_new else "idempotent")
            return 202, _accepted(kept, done)

        return answered_once(services.submissions, principal.subject, key, (request.url.path, body.model_dump(mode="json")), accepted)

    @router.get("/status/{request_id}", response_model=DataStatus, responses=problem_responses(401, 403, 404, 422, 429, 500, 503))
    def status(request_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$")], principal: Reader) -> DataStatus:
        """How a request stands, and where its result is."""
        kept = services.submissions.request(request_id)
        if kept is None:
            raise NotFound(f"There is no request {request_id!r}.", remedy="The answer to POST /api/platform/submit names it.")
        return _status(kept, services.intake.status(kept.job_id, principal))

    return router


def names_of(body: DataRequest, kind: SourceKind) -> dict[str, str]:
    """What the result is called: of all three ids, cut with a digest where they are too long together. Pure."""
    joined = f"{body.dataset_id}_{body.resource_id}_{body.version_id}"
    named = {"item_id": joined, **({"title": body.service_name} if body.service_name else {})}
    if kind is SourceKind.raster:
        return named
    table = clean_name(joined.replace(".", "_"))
    table = table if table[:1].isalpha() else f"t_{table}"
    plain = joined.replace("-", "_").replace(".", "_").lower()
    if table != plain or len(joined) > MAX_NAME_LENGTH:
        table = f"{table[: MAX_NAME_LENGTH - 9].rstrip('_')}_{hashlib.sha256(joined.encode()).hexdigest()[:8]}"
    return {**named, "table_name": table}


def _job_of(services: Services, body: DataRequest) -> tuple[JobAsked, dict[str, Any], SourceKind]:
    """Raises ParameterInvalid, SourceNotFound."""
    options = body.processing_options or {}
    taken = [(f"processing_options.{name}", "follows from the request itself") for name in options if name in _OURS]
    if taken:
        raise ParametersInvalid(taken)
    # What the door refuses of a name it refuses before the store is asked.
    place = {"blob_name": body.key, "container_name": body.container_name}
    asked_of(CHAINS[SourceKind.raster].job, place)
    source = source_of(services.objects, body.container_name, body.key)
    kind = kind_of_source(services.objects, source)
    parameters = {**place, **names_of(body, kind), **options}
    asked = asked_of(CHAINS[kind].job, parameters)
    return replace(asked, dataset=body.dataset_id), parameters, kind


def _keep(services: Services, body: DataRequest, accepted: Accepted, kind: SourceKind, subject: str) -> DataRequested:
    job = accepted.job
    digest = hashlib.sha256(json.dumps([body.dataset_id, body.resource_id, body.version_id, job.job_id]).encode()).hexdigest()
    kept = DataRequested(
        request_id=digest[:32],
        job_id=job.job_id,
        job_type=job.job_type,
        data_type=kind.value,
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
    standing = accepted.standing
    said = "The request was accepted." if standing is None else f"The same request was accepted before; its job is {standing.state}."
    return DataAccepted(
        success=True,
        request_id=kept.request_id,
        job_id=kept.job_id,
        job_type=kept.job_type,
        message=said,
        monitor_url=f"/api/platform/status/{kept.request_id}",
    )


def _status(kept: DataRequested, standing: Standing) -> DataStatus:
    result = dict(standing.result) if standing.result is not None else None
    named = ("collection", "item_id", "item", "table")
    access = DataAccess(outputs=result.get("outputs") or [], **{name: result.get(name) for name in named}) if result is not None else None
    return DataStatus(
        success=standing.error is None,
        request_id=kept.request_id,
        dataset_id=kept.dataset_id,
        resource_id=kept.resource_id,
        version_id=kept.version_id,
        data_type="raster" if kept.data_type == "raster" else "vector",
        created_at=as_text(kept.asked_at_utc),
        job_id=kept.job_id,
        job_type=kept.job_type,
        job_status=standing.state.value,
        job_stage=standing.stage,
        job_result=result,
        data_access=access,
        error=dict(standing.error) if standing.error is not None else None,
    )
