"""Health routes: `/livez`, `/readyz` and `/metrics`.

`/livez` and `/readyz` need no credential. They therefore return only the name and the error code of
a dependency, never the cause. The log and `geo-platform doctor` show the cause.

Called by `app.py`.
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
DependencyName = Literal["webserver", "daemon", "code_location", "object_store", "catalog"]


class Alive(ResponseModel):
    """The process responds."""

    status: Literal["alive"]


class Dependency(ResponseModel):
    """A service that jobs need."""

    name: DependencyName
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
        result = readiness(services, pool)
        return JSONResponse(
            result.model_dump(mode="json"), 200 if result.status == "ready" else 503
        )

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
    """Check all dependencies in parallel. After TIMEOUT_S a dependency counts as not ready."""
    dagster = pool.submit(_check_dagster, services)
    checks = [(name, pool.submit(_check, name, probe)) for name, probe in _probes(services)]
    try:
        dependencies = dagster.result(TIMEOUT_S)
    except FutureTimeout:
        dependencies = [
            Dependency(name=name, is_ready=False, code="TIME_EXCEEDED")
            for name in ("webserver", "daemon", "code_location")
        ]
    for name, check in checks:
        try:
            dependencies.append(check.result(TIMEOUT_S))
        except FutureTimeout:
            dependencies.append(Dependency(name=name, is_ready=False, code="TIME_EXCEEDED"))
    is_ready = all(each.is_ready for each in dependencies)
    return Readiness(status="ready" if is_ready else "not_ready", dependencies=dependencies)


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
    states: list[tuple[DependencyName, bool]] = [
        ("webserver", True),
        ("daemon", daemons_are_healthy),
        ("code_location", health.location_is_loaded),
    ]
    return [
        Dependency(name=name, is_ready=is_ready, code=None if is_ready else StoreUnavailable.code)
        for name, is_ready in states
    ]


def _probes(services: Services) -> list[tuple[DependencyName, Callable[[], object]]]:
    return [
        ("object_store", lambda: _stat_missing_object(services)),
        ("catalog", lambda: services.catalog.collection("rasters")),
    ]


def _stat_missing_object(services: Services) -> None:
    try:
        services.objects.stat(MESSAGES, "submissions/none.json")
    except SourceNotFound:
        return


def _check(name: DependencyName, probe: Callable[[], object]) -> Dependency:
    try:
        probe()
    except PlatformError as error:
        _log.warning("%s: %s", name, error)
        return Dependency(name=name, is_ready=False, code=error.code)
    return Dependency(name=name, is_ready=True)
