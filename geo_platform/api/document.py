"""Complete the OpenAPI document: operation names, tags, and errors and headers of every route.

    describe(app)

Parameters and responses of a single route are described at the route.

Called by `app.py`.
"""

from threading import Lock
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from geo_platform.api.problems import Problem, problem_responses

_SUMMARY = (
    "Raster and vector files go in; verified Cloud Optimized GeoTIFFs, datasets and STAC items "
    "come out."
)
_TAGS = {
    "jobs": "Submit, follow and cancel jobs, and read their results.",
    "platform": "Versions of a client's resources, by the client's own ids.",
    "uploads": "Upload files for jobs.",
    "downloads": "Download the files of published items.",
    "features": "Rows of published vector items, and vector tiles.",
    "pictures": "Tiles and pictures of published rasters, and the values under them.",
    "search": "Find published items and collections: STAC API 1.1.",
    "health": "Health and metrics.",
}
_EVERY_ROUTE_STATUSES, _SECURED_STATUSES, _BODY_STATUSES = (429, 500), (401, 403, 503), (400, 413)
_RESPONSE_HEADERS = {
    "X-Request-Id": {
        "description": "The platform's id of this request.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    }
}
_REQUEST_HEADERS: list[dict[str, Any]] = [
    {
        "name": "X-Correlation-Id",
        "in": "header",
        "required": False,
        "description": "The client's own id; echoed, and a tag of the run. Ignored if invalid.",
        "schema": {"type": "string"},
        "example": "req-2026-0017",
    },
    {
        "name": "traceparent",
        "in": "header",
        "required": False,
        "description": "W3C trace context; echoed, and a tag of the run. Ignored if invalid.",
        "schema": {"type": "string"},
        "example": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    },
]


def operation_id(route: APIRoute) -> str:
    """Return the route's name, which generated clients use for the method."""
    return route.name


def describe(app: FastAPI) -> None:
    """Make the application serve the completed document. Call it after all routes are added.

    The first call makes it; others at the same time wait, since FastAPI cannot make two at once.

    Source: https://fastapi.tiangolo.com/how-to/extending-openapi/
    """
    making = Lock()

    def document() -> dict[str, Any]:
        with making:
            return _document(app)

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema:
        return app.openapi_schema
    tags = [{"name": name, "description": text} for name, text in _TAGS.items()]
    document = get_openapi(
        title=app.title, version=app.version, summary=_SUMMARY, routes=app.routes, tags=tags
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    # FastAPI's own form of refusals, which no route returns.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= {**problem.pop("$defs"), "Problem": problem}
    for path in document["paths"].values():
        for method, operation in path.items():
            _complete(method, operation)
    app.openapi_schema = document
    return document


def _complete(method: str, operation: dict[str, Any]) -> None:
    """Add the responses and headers that the guard gives for any route."""
    statuses = (
        *_EVERY_ROUTE_STATUSES,
        *(_SECURED_STATUSES if "security" in operation else ()),
        *(_BODY_STATUSES if "requestBody" in operation else ()),
    )
    for status, response in problem_responses(*statuses).items():
        operation["responses"].setdefault(str(status), response)
    for response in operation["responses"].values():
        response["headers"] = {**_RESPONSE_HEADERS, **response.get("headers", {})}
    if method == "post":
        operation["parameters"] = [*operation.get("parameters", ()), *_REQUEST_HEADERS]
