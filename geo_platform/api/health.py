"""Whether the process lives, whether it can work, and its figures.

What belongs here: the routes, and asking each dependency. What stays out: why one is away, which its own log and `doctor` say: these
two routes answer without a credential.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import Field

from geo_platform.api.auth.authentication import Reader
from geo_platform.api.jobs.responses import Answer
from geo_platform.api.problems import problem_responses
from geo_platform.api.services import Services
from geo_platform.errors import PlatformError, SourceNotFound, StoreUnavailable
from geo_platform.ports import MESSAGES

PATIENCE_S = 10.0
_DAEMONS = ("QUEUED_RUN_COORDINATOR",)
_log = logging.getLogger("geo_platform.api")
Named = Literal["webserver", "daemon", "code_location", "object_store", "catalog"]


class Alive(Answer):
    """The process answers."""

    status: Literal["alive"]


class Dependency(Answer):
    """One thing that work needs."""

    name: Named
    is_ready: bool
    code: str | None = Field(
        None, description="docs/errors.md; null where it is ready", examples=["STORE_UNAVAILABLE"]
    )


class Readiness(Answer):
    """`ready` where each dependency is."""

    status: Literal["ready", "not_ready"]
    dependencies: list[Dependency]


def health_routes(services: Services) -> APIRouter:
    """/livez, /readyz and /metrics."""
    router = APIRouter(tags=["health"])
    pool = ThreadPoolExecutor(8, thread_name_prefix="ready")

    @router.get("/livez", response_model=Alive, responses=problem_responses(429, 500))
    async def livez() -> Alive:
        """Whether this process answers; nothing else is asked."""
        return Alive(status="alive")

    @router.get(
        "/readyz",
        response_model=Readiness,
        responses={
            503: {"model": Readiness, "description": "Something that work needs is away."},
            **problem_responses(429, 500),
        },
    )
    def readyz() -> JSONResponse:
        """Whether each thing that work needs is there, by name."""
        found = readiness(services, pool)
        return JSONResponse(found.model_dump(mode="json"), 200 if found.status == "ready" else 503)

    text = {"text/plain": {"schema": {"type": "string"}}}
    figures: dict[int | str, dict[str, Any]] = {
        200: {"description": "Prometheus's text format.", "content": text}
    }

    @router.get(
        "/metrics",
        response_class=Response,
        responses={**figures, **problem_responses(401, 403, 429, 500)},
    )
    def metrics(principal: Reader) -> Response:
        """Figures of this process."""
        return Response(services.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router


def readiness(services: Services, pool: ThreadPoolExecutor) -> Readiness:
    """Ask all at once; who does not answer in time is not ready."""
    dagster = pool.submit(_dagster, services)
    others = [(name, pool.submit(_asked, name, ask)) for name, ask in _questions(services)]
    try:
        found = dagster.result(PATIENCE_S)
    except TooLate:
        found = [
            Dependency(name=name, is_ready=False, code="TIME_EXCEEDED")
            for name in ("webserver", "daemon", "code_location")
        ]
    for name, asked in others:
        try:
            found.append(asked.result(PATIENCE_S))
        except TooLate:
            found.append(Dependency(name=name, is_ready=False, code="TIME_EXCEEDED"))
    is_ready = all(each.is_ready for each in found)
    return Readiness(status="ready" if is_ready else "not_ready", dependencies=found)


def _dagster(services: Services) -> list[Dependency]:
    """The webserver knows of the others; where it is away they are not known to be there."""
    try:
        health = services.dagster.health()
    except PlatformError as error:
        _log.warning("webserver: %s", error)
        return [
            Dependency(name=name, is_ready=False, code=error.code)
            for name in ("webserver", "daemon", "code_location")
        ]
    beats = all(health.daemons.get(name, False) for name in _DAEMONS)
    there: list[tuple[Named, bool]] = [
        ("webserver", True),
        ("daemon", beats),
        ("code_location", health.location_is_loaded),
    ]
    return [
        Dependency(name=name, is_ready=is_there, code=None if is_there else StoreUnavailable.code)
        for name, is_there in there
    ]


def _questions(services: Services) -> list[tuple[Named, Callable[[], object]]]:
    return [
        ("object_store", lambda: _stat_nothing(services)),
        ("catalog", lambda: services.catalog.collection("rasters")),
    ]


def _stat_nothing(services: Services) -> None:
    try:
        services.objects.stat(MESSAGES, "submissions/none.json")
    except SourceNotFound:
        return


def _asked(name: Named, ask: Callable[[], object]) -> Dependency:
    try:
        ask()
    except PlatformError as error:
        _log.warning("%s: %s", name, error)
        return Dependency(name=name, is_ready=False, code=error.code)
    return Dependency(name=name, is_ready=True)
