"""The routes of jobs: submit, status, list, retry, cancel, follow, trace.

`intake.py` decides what happens with a request; `state.py` derives the state of a job.

Called by `api/app.py` and `platform.py`.
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
    submit_response,
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
        description="The job_id of the submission's response.",
        examples=["3b1f0c9ad2f7e6518a4c0d9be1f2a3c4" * 2],
    ),
]
# `document.py` adds the responses of authentication to each route.
_READ_PROBLEMS = (404, 422)
_WRITE_PROBLEMS = (404, 409, 422)


def job_routes(services: Services) -> APIRouter:
    """Return the routes of /api/jobs."""
    router = APIRouter(prefix="/api/jobs", tags=["jobs"])
    _add_submitting(router, services)
    _add_reading(router, services)
    _add_following(router, services)
    return router


def caller_of(principal: Principal, request: Request) -> Caller:
    """Return the principal of the request, with the ids of the request."""
    return Caller(principal, request_id_of(request), client_ids_of_request(request))


def base_url_of(request: Request, services: Services) -> str:
    """Return the URL at which the client reaches the HTTP API, without a final slash."""
    return (services.settings.api_url or str(request.base_url)).rstrip("/")


def _add_submitting(router: APIRouter, services: Services) -> None:
    intake = services.intake
    for job_type, body in BODIES.items():
        _add_submit(router, services, job_type, body)

    @router.post("/submit/{job_type}", include_in_schema=False)
    def submit_other(job_type: str, principal: Submitter) -> None:
        """Refuse an unknown job type."""
        job_request_of(job_type, {})

    @router.post(
        "/{job_id}/retry", response_model=JobCreated, responses=problem_responses(*_WRITE_PROBLEMS)
    )
    def retry_job(job_id: JobId, request: Request, principal: Submitter) -> JobCreated:
        """Run a failed or cancelled job again, with the same parameters."""
        answer = submit_response(intake.retry(job_id, caller_of(principal, request)))
        services.metrics.submitted(answer.job_type, "retried")
        return answer  # type: ignore[return-value]  # a retried job is always JobCreated

    @router.post(
        "/{job_id}/cancel",
        status_code=202,
        response_model=JobStatus,
        responses=problem_responses(*_WRITE_PROBLEMS),
    )
    def cancel_job(job_id: JobId, request: Request, principal: Submitter) -> JobStatus:
        """Ask the run of a job to end. The job fails with RUN_CANCELED.

        What the run has published stays published.
        """
        snapshot = intake.cancel(job_id, caller_of(principal, request))
        return status_of_job(snapshot, base_url_of(request, services))


def _add_submit(router: APIRouter, services: Services, job_type: str, body: type[JobBody]) -> None:
    examples = {name: Example(value=dict(value)) for name, value in EXAMPLES[job_type].items()}

    @router.post(
        f"/submit/{job_type}",
        name=f"submit_{job_type}",
        summary=f"Submit {job_type}",
        response_model=Submitted,
        responses=problem_responses(*_WRITE_PROBLEMS),
    )
    async def submit(
        parameters: Annotated[dict[str, Any], DescribedAs(body), Body(openapi_examples=examples)],
        request: Request,
        principal: Submitter,
        key: IdempotencyKey = None,
    ) -> JSONResponse:
        """Submit a job. The same job type, source and parameters are the same job, which runs once.

        If the source is replaced, it is another job. `force` runs the same job again. Unknown
        parameters are refused. Types are strict: `true` is not 1.
        """

        def respond() -> tuple[int, JobCreated]:
            answer = submit_response(
                services.intake.submit(
                    job_request_of(job_type, parameters), parameters, caller_of(principal, request)
                ),
                base_url_of(request, services),
            )
            services.metrics.submitted(job_type, answer.status)
            return 200, answer  # type: ignore[return-value]  # one of the three models

        idempotent_request = (request.url.path, parameters)
        return await services.submission_limiter.run(
            lambda: idempotent_response(
                services.submissions, principal.subject, key, idempotent_request, respond
            )
        )


def _add_reading(router: APIRouter, services: Services) -> None:
    intake = services.intake

    @router.get(
        "/status/{job_id}", response_model=JobStatus, responses=problem_responses(*_READ_PROBLEMS)
    )
    def get_job_status(job_id: JobId, request: Request, principal: Reader) -> JobStatus:
        """Return the status of a job. It is read from Dagster."""
        return status_of_job(intake.status(job_id, principal), base_url_of(request, services))

    @router.get("", response_model=JobPage, responses=problem_responses(422))
    def list_jobs(
        request: Request,
        principal: Reader,
        type: Annotated[
            str | None, Query(pattern=f"^({'|'.join(STAGES)})$", description="Jobs of one type.")
        ] = None,
        state: Annotated[JobState | None, Query(description="Jobs in one state.")] = None,
        limit: Annotated[
            int, Query(ge=1, le=100, description="Number of jobs on a page, at most.")
        ] = 20,
        cursor: Annotated[
            str | None, Query(pattern=CURSOR, description="nextCursor of the page before.")
        ] = None,
    ) -> JobPage:
        """List jobs: first the jobs that wait to be launched, then all others, newest first."""
        return jobs_page(
            services,
            principal,
            JobQuery(type or "", state, limit),
            cursor=cursor or "",
            base_url=base_url_of(request, services),
        )


def _add_following(router: APIRouter, services: Services) -> None:
    intake = services.intake
    event_stream = {"text/event-stream": {"schema": {"type": "string"}}}
    stream_response: dict[int | str, dict[str, Any]] = {
        200: {"description": "Server-sent events until the job ends.", "content": event_stream}
    }

    @router.get(
        "/{job_id}/events",
        response_class=StreamingResponse,
        responses={
            **stream_response,
            204: {"description": "The job has ended and all of its events were sent."},
            **problem_responses(*_READ_PROBLEMS),
        },
    )
    def follow_job(
        job_id: JobId,
        request: Request,
        principal: Reader,
        last_event_id: Annotated[
            str | None, Header(max_length=200, description="Resume after this event.")
        ] = None,
    ) -> Response:
        """Stream the checkpoints and stages of a job as server-sent events.

        The last event is `end`, with the status of the job.
        """
        snapshot = intake.status(job_id, principal)
        if (
            last_event_id is not None
            and last_event_id.endswith(ENDED_ID)
            and not snapshot.state.is_active
        ):
            # Otherwise a browser's EventSource would reconnect for ever.
            return Response(status_code=204)
        return StreamingResponse(
            progress(services, snapshot.job, last_event_id or "", base_url_of(request, services)),
            media_type="text/event-stream",
        )

    @router.get(
        "/{job_id}/trace", response_model=TraceAnswer, responses=problem_responses(*_READ_PROBLEMS)
    )
    def trace_job(job_id: JobId, principal: Reader) -> TraceAnswer:
        """Return the newest run of a job as one timeline over all stores.

        The document is the same as that of `geo-platform trace RUN --json`.
        """
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
