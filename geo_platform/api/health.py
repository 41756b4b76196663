"""Health routes: `/livez`, `/readyz` and `/metrics`.

The first two answer without a credential, so they name a dependency and its code, never the cause.
The log and `geo-platform doctor` give the cause.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import Field

from geo_platform.api.auth.authentication import Reader
from geo_platform.api.jobs.responses import ResponseModel
from geo_platform.api.problems import problem_responses
from geo_platform.api.services import Services
from geo_platform.errors import PlatformError, SourceNotFound, StoreUnavailable
from geo_platform.ports import MESSAGES

TIMEOUT_S = 10.0
_DAEMONS = ("QUEUED_RUN_COORDINATOR",)
_log = logging.getLogger("geo_platform.api")
Named = Literal["webserver", "daemon", "code_location", "object_store", "catalog"]


class Alive(ResponseModel):
    """The process responds."""

    status: Literal["alive"]


class Dependency(ResponseModel):
    """A service that jobs need."""

    name: Named
    is_ready: bool
    code: str | None = Field(
        None, description="docs/errors.md; null if it is ready", examples=["STORE_UNAVAILABLE"]
    )


class Readiness(ResponseModel):
    """`ready` if every dependency is ready."""

    status: Literal["ready", "not_ready"]
    dependencies: list[Dependency]


def health_routes(services: Services) -> APIRouter:
    """Return the routes /livez, /readyz and /metrics."""
    router = APIRouter(tags=["health"])
    pool = ThreadPoolExecutor(8, thread_name_prefix="ready")

    @router.get("/livez", response_model=Alive, responses=problem_responses(429, 500))
    async def livez() -> Alive:
        """Return whether this process responds. No dependency is checked."""
        return Alive(status="alive")

    @router.get(
        "/readyz",
        response_model=Readiness,
        responses={
            503: {"model": Readiness, "description": "A dependency is unavailable."},
            **problem_responses(429, 500),
        },
    )
    def readyz() -> JSONResponse:
        """Return whether each dependency is ready, by name."""
        found = readiness(services, pool)
        return JSONResponse(found.model_dump(mode="json"), 200 if found.status == "ready" else 503)

    text = {"text/plain": {"schema": {"type": "string"}}}
    metrics_response: dict[int | str, dict[str, Any]] = {
        200: {"description": "Prometheus text format.", "content": text}
    }

    @router.get(
        "/metrics",
        response_class=Response,
        responses={**metrics_response, **problem_responses(401, 403, 429, 500)},
    )
    def metrics(principal: Reader) -> Response:
        """Return the metrics of this process."""
        return Response(services.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router


def readiness(services: Services, pool: ThreadPoolExecutor) -> Readiness:
    """Check all dependencies at once. One that does not respond within TIMEOUT_S is not ready."""
    dagster = pool.submit(_check_dagster, services)
    others = [(name, pool.submit(_check, name, probe)) for name, probe in _probes(services)]
    try:
        found = dagster.result(TIMEOUT_S)
    except FutureTimeout:
        found = [
            Dependency(name=name, is_ready=False, code="TIME_EXCEEDED")
            for name in ("webserver", "daemon", "code_location")
        ]
    for name, checked in others:
        try:
            found.append(checked.result(TIMEOUT_S))
        except FutureTimeout:
            found.append(Dependency(name=name, is_ready=False, code="TIME_EXCEEDED"))
    is_ready = all(each.is_ready for each in found)
    return Readiness(status="ready" if is_ready else "not_ready", dependencies=found)


def _check_dagster(services: Services) -> list[Dependency]:
    """Ask the webserver, which knows the daemon and the code location."""
    try:
        health = services.dagster.health()
    except PlatformError as error:
        _log.warning("webserver: %s", error)
        return [
            Dependency(name=name, is_ready=False, code=error.code)
            for name in ("webserver", "daemon", "code_location")
        ]
    daemons_are_healthy = all(health.daemons.get(name, False) for name in _DAEMONS)
    states: list[tuple[Named, bool]] = [
        ("webserver", True),
        ("daemon", daemons_are_healthy),
        ("code_location", health.location_is_loaded),
    ]
    return [
        Dependency(name=name, is_ready=is_ready, code=None if is_ready else StoreUnavailable.code)
        for name, is_ready in states
    ]


def _probes(services: Services) -> list[tuple[Named, Callable[[], object]]]:
    return [
        ("object_store", lambda: _stat_missing_object(services)),
        ("catalog", lambda: services.catalog.collection("rasters")),
    ]


def _stat_missing_object(services: Services) -> None:
    try:
        services.objects.stat(MESSAGES, "submissions/none.json")
    except SourceNotFound:
        return


def _check(name: Named, probe: Callable[[], object]) -> Dependency:
    try:
        probe()
    except PlatformError as error:
        _log.warning("%s: %s", name, error)
        return Dependency(name=name, is_ready=False, code=error.code)
    return Dependency(name=name, is_ready=True)
