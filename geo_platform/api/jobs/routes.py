"""The routes of jobs: submit, ask, list, retry, cancel, follow, trace.

What belongs here: HTTP in and out. What stays out: what becomes of a request (`intake.py`), how a job stands (`job_state.py`).
"""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Path, Query, Request
from fastapi.openapi.models import Example
from fastapi.responses import JSONResponse, Response, StreamingResponse

from geo_platform.api.auth.authentication import Reader, Submitter
from geo_platform.api.auth.principal import Principal
from geo_platform.api.jobs.bodies import BODIES, EXAMPLES, DescribedAs
from geo_platform.api.jobs.bodies import Body as JobBody
from geo_platform.api.jobs.intake import Caller
from geo_platform.api.jobs.job_list import CURSOR, JobQuery, jobs_page
from geo_platform.api.jobs.progress import ENDED_ID, progress
from geo_platform.api.jobs.responses import (
    JobCreated,
    JobPage,
    JobStatus,
    Submitted,
    TraceAnswer,
    status_of_job,
    submitted,
)
from geo_platform.api.jobs.state import JobState
from geo_platform.api.jobs.submissions import IdempotencyKey, idempotent_response
from geo_platform.api.jobs.types import STAGES, job_request_of
from geo_platform.api.problems import problem_responses
from geo_platform.api.request_ids import client_ids_of_request, request_id_of
from geo_platform.api.services import Services
from geo_platform.trace.answer import trace

JobId = Annotated[
    str,
    Path(
        pattern=r"^[0-9a-f]{64}$",
        description="As the submission answered it.",
        examples=["3b1f0c9ad2f7e6518a4c0d9be1f2a3c4" * 2],
    ),
]
_ASKED = (404, 422)
# What the lock answers on any route is in the document for each of them: `document.py`.
_DONE = (404, 409, 422)


def job_routes(services: Services) -> APIRouter:
    """The routes of /api/jobs."""
    router = APIRouter(prefix="/api/jobs", tags=["jobs"])
    _add_submitting(router, services)
    _add_asking(router, services)
    _add_following(router, services)
    return router


def caller_of(principal: Principal, request: Request) -> Caller:
    return Caller(principal, request_id_of(request), client_ids_of_request(request))


def _add_submitting(router: APIRouter, services: Services) -> None:
    intake = services.intake
    for job_type, body in BODIES.items():
        _add_submit(router, services, job_type, body)

    @router.post("/submit/{job_type}", include_in_schema=False)
    def submit_other(job_type: str, principal: Submitter) -> None:
        """A job type that there is not."""
        job_request_of(job_type, {})

    @router.post("/{job_id}/retry", response_model=JobCreated, responses=problem_responses(*_DONE))
    def retry_job(job_id: JobId, request: Request, principal: Submitter) -> JobCreated:
        """Ask for a job anew that failed or was canceled, with the parameters that it had."""
        answer = submitted(intake.retry(job_id, caller_of(principal, request)))
        services.metrics.submitted(answer.job_type, "retried")
        return answer  # type: ignore[return-value]  # what is accepted anew is created

    @router.post(
        "/{job_id}/cancel",
        status_code=202,
        response_model=JobStatus,
        responses=problem_responses(*_DONE),
    )
    def cancel_job(job_id: JobId, request: Request, principal: Submitter) -> JobStatus:
        """Ask a job's run to end. What it had published by then stays published; it fails with RUN_CANCELED."""
        return status_of_job(intake.cancel(job_id, caller_of(principal, request)))


def _add_submit(router: APIRouter, services: Services, job_type: str, body: type[JobBody]) -> None:
    shown = {name: Example(value=dict(value)) for name, value in EXAMPLES[job_type].items()}

    @router.post(
        f"/submit/{job_type}",
        name=f"submit_{job_type}",
        summary=f"Submit {job_type}",
        response_model=Submitted,
        responses=problem_responses(*_DONE),
    )
    async def submit(
        parameters: Annotated[dict[str, Any], DescribedAs(body), Body(openapi_examples=shown)],
        request: Request,
        principal: Submitter,
        key: IdempotencyKey = None,
    ) -> JSONResponse:
        """Submit work. The same work is done once: parameters and source decide, and a source that was replaced is other work.

        `force` does it again. Unknown parameters are refused, as is `true` where a number is wanted.
        """

        def accepted() -> tuple[int, JobCreated]:
            answer = submitted(
                services.intake.submit(
                    job_request_of(job_type, parameters), parameters, caller_of(principal, request)
                )
            )
            services.metrics.submitted(job_type, answer.status)
            return 200, answer  # type: ignore[return-value]  # one of the three

        asked = (request.url.path, parameters)
        return await services.submission_limiter.run(
            lambda: idempotent_response(
                services.submissions, principal.subject, key, asked, accepted
            )
        )


def _add_asking(router: APIRouter, services: Services) -> None:
    intake = services.intake

    @router.get("/status/{job_id}", response_model=JobStatus, responses=problem_responses(*_ASKED))
    def get_job_status(job_id: JobId, principal: Reader) -> JobStatus:
        """How a job stands, as Dagster has it."""
        return status_of_job(intake.status(job_id, principal))

    @router.get("", response_model=JobPage, responses=problem_responses(422))
    def list_jobs(
        principal: Reader,
        type: Annotated[
            str | None, Query(pattern=f"^({'|'.join(STAGES)})$", description="Jobs of one type.")
        ] = None,
        state: Annotated[JobState | None, Query(description="Jobs in one state.")] = None,
        limit: Annotated[int, Query(ge=1, le=100, description="How many at most.")] = 20,
        cursor: Annotated[
            str | None, Query(pattern=CURSOR, description="nextCursor of the page before.")
        ] = None,
    ) -> JobPage:
        """Jobs: first those that wait to be launched, then those that were, newest first."""
        return jobs_page(
            services, principal, JobQuery(type or "", state, limit), cursor=cursor or ""
        )


def _add_following(router: APIRouter, services: Services) -> None:
    intake = services.intake
    lines = {"text/event-stream": {"schema": {"type": "string"}}}
    streamed: dict[int | str, dict[str, Any]] = {
        200: {"description": "Server-sent events until the job ends.", "content": lines}
    }

    @router.get(
        "/{job_id}/events",
        response_class=StreamingResponse,
        responses={
            **streamed,
            204: {"description": "It has ended, and all of it was told."},
            **problem_responses(*_ASKED),
        },
    )
    def follow_job(
        job_id: JobId,
        principal: Reader,
        last_event_id: Annotated[
            str | None, Header(max_length=200, description="What came after this event is told.")
        ] = None,
    ) -> Response:
        """A job's checkpoints and stages as they happen: server-sent events. The last one is `end`, with the job's status."""
        snapshot = intake.status(job_id, principal)
        if (
            last_event_id is not None
            and last_event_id.endswith(ENDED_ID)
            and not snapshot.state.is_active
        ):
            return Response(status_code=204)  # a browser's EventSource would ask for ever
        return StreamingResponse(
            progress(services, snapshot.job, last_event_id or ""), media_type="text/event-stream"
        )

    @router.get("/{job_id}/trace", response_model=TraceAnswer, responses=problem_responses(*_ASKED))
    def trace_job(job_id: JobId, principal: Reader) -> TraceAnswer:
        """Everything that the stores know of the job's newest run, in one timeline: as `geo-platform trace RUN --json`."""
        snapshot = intake.status(job_id, principal)
        if snapshot.run is None:
            return TraceAnswer(
                question=job_id,
                understood_as=None,
                looked_for=["a run of this job"],
                timelines=[],
                unreached=[],
            )
        answer = trace(snapshot.run.run_id, services.trace_stores())
        return TraceAnswer.model_validate(answer.document())
