"""The OpenAPI document: what the routes say of themselves, and what holds for all of them.

    describe(app)

What belongs here: names of operations, tags, refusals and headers that any route may answer with. What stays out: what one route
takes and answers, which stands beside it.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from geo_platform.api.problems import Problem, problem_responses

_SUMMARY = "Raster and vector files go in; verified Cloud Optimized GeoTIFFs, datasets and STAC items come out."
_TAGS = {
    "jobs": "Work that is submitted, how it stands, and what came of it.",
    "platform": "Versions of a client's resources, by the client's own ids.",
    "uploads": "Putting a file where jobs take it from.",
    "health": "Whether the platform is there, and its figures.",
}
_BY_ANY, _BY_LOCKED, _WITH_BODY = (429, 500), (401, 403, 503), (400, 413)
_ANSWERED = {
    "X-Request-Id": {
        "description": "The platform's name for this request.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    }
}
_ASKED: list[dict[str, Any]] = [
    {
        "name": "X-Correlation-Id",
        "in": "header",
        "required": False,
        "description": "The client's own name for it: echoed, and a tag of the run. One that is no plain name is left out.",
        "schema": {"type": "string"},
        "example": "req-2026-0017",
    },
    {
        "name": "traceparent",
        "in": "header",
        "required": False,
        "description": "W3C trace context: echoed, and a tag of the run. One that is none is left out.",
        "schema": {"type": "string"},
        "example": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    },
]


def operation_id(route: APIRoute) -> str:
    """The route's own name: a client's method is called so."""
    return route.name


def describe(app: FastAPI) -> None:
    """The application serves this document from now on; its routes are there already."""
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]  # as FastAPI's own page on extending it has it


def _document(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema:
        return app.openapi_schema
    tags = [{"name": name, "description": said} for name, said in _TAGS.items()]
    document = get_openapi(
        title=app.title, version=app.version, summary=_SUMMARY, routes=app.routes, tags=tags
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own form of refusals
        schemas.pop(name, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= {**problem.pop("$defs"), "Problem": problem}
    for path in document["paths"].values():
        for method, operation in path.items():
            _complete(method, operation)
    app.openapi_schema = document
    return document


def _complete(method: str, operation: dict[str, Any]) -> None:
    """What the guard may answer, whichever route it stands before."""
    statuses = (
        *_BY_ANY,
        *(_BY_LOCKED if "security" in operation else ()),
        *(_WITH_BODY if "requestBody" in operation else ()),
    )
    for status, said in problem_responses(*statuses).items():
        operation["responses"].setdefault(str(status), said)
    for said in operation["responses"].values():
        said["headers"] = {**_ANSWERED, **said.get("headers", {})}
    if method == "post":
        operation["parameters"] = [*operation.get("parameters", ()), *_ASKED]
