"""Return every error as a problem document (RFC 9457) with the platform's code and remedy.

The document also has the fields that clients of the previous system read. The errors themselves
are in `geo_platform/errors.py`.

Used by `api/auth`, `api/jobs`, `api/serving` and `api`.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request

from geo_platform.api.request_ids import request_id_of
from geo_platform.errors import (
    AccessRefused,
    BodyTooLarge,
    Conflict,
    DatabaseUnavailable,
    Forbidden,
    InputRefused,
    LimitExceeded,
    NotFound,
    ParameterInvalid,
    PlatformError,
    QueryInvalid,
    RateExceeded,
    SourceNotFound,
    StoreUnavailable,
    TableExists,
    Unauthenticated,
    UnexpectedFault,
    VersionGone,
)
from geo_platform.trace.timeline import as_text

MEDIA_TYPE = "application/problem+json"
# Default of Retry-After: about as long as a server takes to restart.
RETRY_AFTER_S = 5
_REPORT_IT = "This is a fault of the platform; report it with the request_id."
_log = logging.getLogger("geo_platform.api")

# An error has the status of its nearest base class in this map. Without one, it is a fault: 500.
_STATUS: Mapping[type[PlatformError], HTTPStatus] = {
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    RateExceeded: HTTPStatus.TOO_MANY_REQUESTS,
    BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    SourceNotFound: HTTPStatus.NOT_FOUND,
    NotFound: HTTPStatus.NOT_FOUND,
    VersionGone: HTTPStatus.GONE,
    QueryInvalid: HTTPStatus.BAD_REQUEST,
    Conflict: HTTPStatus.CONFLICT,
    TableExists: HTTPStatus.CONFLICT,
    StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    DatabaseUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    AccessRefused: HTTPStatus.FORBIDDEN,
    InputRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    LimitExceeded: HTTPStatus.UNPROCESSABLE_ENTITY,
}


class ParametersInvalid(ParameterInvalid):
    """A request with one or more invalid parameters. `faults` are pairs (name, what is wrong)."""

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{name}: {wrong}" for name, wrong in faults) + ".")
        self.faults = tuple(faults)


class FaultFound(BaseModel):
    """One invalid parameter."""

    name: str = Field(description="parameter, or where in the request")
    message: str


class Problem(BaseModel):
    """RFC 9457, and from the previous system `error`, `message`, `request_id`, `timestamp`."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(
        description="names the code", examples=["urn:geo-platform:error:SOURCE_NOT_FOUND"]
    )
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["There is no object 'dem.tif' in the container 'bronze'."])
    instance: str = Field(
        description="path of the request", examples=["/api/jobs/submit/process_raster"]
    )
    code: str = Field(description="stable; docs/errors.md", examples=["SOURCE_NOT_FOUND"])
    remedy: str = Field(
        description="what to do about it",
        examples=["Check the name and the container, then submit it again."],
    )
    retryable: bool = Field(description="whether the same request may succeed later")
    faults: list[FaultFound] = Field(
        description="each invalid parameter, if the request is refused for its parameters"
    )
    error: str = Field(description="the code")
    message: str = Field(description="the detail")
    request_id: str = Field(description="the header X-Request-Id")
    timestamp: str = Field(description="RFC 3339", examples=["2026-11-24T10:15:00.000Z"])


def status_of(error: PlatformError) -> HTTPStatus:
    """Return the HTTP status of an error."""
    return next(
        (_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS),
        HTTPStatus.INTERNAL_SERVER_ERROR,
    )


def problem(
    error: PlatformError, *, instance: str, request_id: str, status: HTTPStatus | None = None
) -> Problem:
    """Return the problem document of an error."""
    http_status = status or status_of(error)
    faults = error.faults if isinstance(error, ParametersInvalid) else ()
    return Problem(
        type=f"urn:geo-platform:error:{error.code}",
        title=http_status.phrase,
        status=http_status.value,
        detail=error.message,
        instance=instance,
        code=error.code,
        remedy=error.remedy,
        retryable=error.retryable,
        faults=[FaultFound(name=name, message=wrong) for name, wrong in faults],
        error=error.code,
        message=error.message,
        request_id=request_id,
        timestamp=as_text(datetime.now(UTC)),
    )


def problem_response(
    error: PlatformError,
    connection: HTTPConnection,
    *,
    headers: Mapping[str, str] | None = None,
    status: HTTPStatus | None = None,
) -> JSONResponse:
    """Return the response to a request that raised this error."""
    document = problem(
        error, instance=connection.url.path, request_id=request_id_of(connection), status=status
    )
    return JSONResponse(
        document.model_dump(),
        document.status,
        {**_headers_of(error), **(headers or {})},
        media_type=MEDIA_TYPE,
    )


def _headers_of(error: PlatformError) -> dict[str, str]:
    """Return the headers that HTTP requires: WWW-Authenticate (RFC 6750) or Retry-After."""
    if isinstance(error, Unauthenticated):
        wrong = "" if error.details.get("is_missing") else ', error="invalid_token"'
        return {"WWW-Authenticate": f'Bearer realm="geo_platform"{wrong}'}
    if isinstance(error, Forbidden):
        return {"WWW-Authenticate": 'Bearer realm="geo_platform", error="insufficient_scope"'}
    if error.retryable:
        return {"Retry-After": str(error.details.get("retry_after_s", RETRY_AFTER_S))}
    return {}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe these statuses, each with a problem document, for a route in OpenAPI."""
    return {status: _openapi_response(HTTPStatus(status)) for status in statuses}


# An example for each status.
_EXAMPLES: Mapping[int, PlatformError] = {
    400: ParameterInvalid("There was an error parsing the body"),
    401: Unauthenticated("The request carries no credential.", is_missing=True),
    403: Forbidden("This needs the scope submitter; key:dashboard has reader."),
    404: SourceNotFound("There is no object 'dem.tif' in the container 'bronze'."),
    409: Conflict("Another request submits the same work.", remedy="Send the request again."),
    410: VersionGone("The item 'dem' has been replaced: 0f1e2d3c4b5a6978 is not current."),
    413: BodyTooLarge("The body is longer than 1048576 bytes."),
    416: ParameterInvalid("The file has 742558 bytes, and none of them is in the range."),
    422: ParametersInvalid(
        [
            ("jpeg_quality", "Input should be less than or equal to 100"),
            ("colour", "is not a parameter of process_raster"),
        ]
    ),
    429: RateExceeded("Too many requests from key:dashboard.", retry_after_s=20),
    500: UnexpectedFault(
        "KeyError while /api/jobs was answered.",
        remedy="This is a fault of the platform; report it with the request_id.",
    ),
    503: StoreUnavailable("Dagster's webserver did not answer: ConnectError."),
}

_HEADERS: Mapping[str, Any] = {
    "Retry-After": {
        "description": "Seconds to wait before the next request.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "WWW-Authenticate": {"description": "How to authenticate.", "schema": {"type": "string"}},
}


def _openapi_response(status: HTTPStatus) -> dict[str, Any]:
    document = problem(
        _EXAMPLES[status],
        instance="/api/jobs",
        request_id="0f1e2d3c4b5a69788796a5b4c3d2e1f0",
        status=status,
    )
    example = {**document.model_dump(), "timestamp": "2026-11-24T10:15:00.000Z"}
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}}
    headers = {name: _HEADERS[name] for name in _headers_of(_EXAMPLES[status])}
    return {
        "description": status.phrase,
        "content": content,
        **({"headers": headers} if headers else {}),
    }


def answer_with_problems(app: FastAPI) -> None:
    """Make the application return every error of a route as a problem document."""

    async def platform_error(request: Request, error: Exception) -> JSONResponse:
        platform = error if isinstance(error, PlatformError) else _unexpected(request, error)
        if not platform.user_fixable:
            _log.error(
                "%s %s: %s",
                request.method,
                request.url.path,
                platform,
                exc_info=None if platform.retryable else error,
            )
        return problem_response(platform, request)

    async def invalid_parameters(request: Request, error: Exception) -> JSONResponse:
        return problem_response(parameters_invalid(error), request)

    async def http_error(request: Request, error: Exception) -> JSONResponse:
        return (
            _http_problem(error, request)
            if isinstance(error, HTTPException)
            else await platform_error(request, error)
        )

    app.add_exception_handler(PlatformError, platform_error)
    app.add_exception_handler(RequestValidationError, invalid_parameters)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, platform_error)


def parameters_invalid(error: Exception) -> ParametersInvalid:
    """Return the error of a request whose parameters FastAPI refused."""
    return ParametersInvalid(_faults_of(error) or [("body", "is not valid")])


def _unexpected(request: Request, error: Exception) -> PlatformError:
    """Return the error for the client. The cause is in the log, under the request's id."""
    return UnexpectedFault(
        f"{type(error).__name__} while {request.url.path} was answered.",
        remedy=_REPORT_IT,
    )


def _faults_of(error: Exception) -> list[tuple[str, str]]:
    errors = error.errors() if isinstance(error, RequestValidationError) else []
    return [
        (_parameter_name(each["loc"]), str(each["msg"]).removeprefix("Value error, "))
        for each in errors
    ]


def _parameter_name(location: Sequence[Any]) -> str:
    """Return `jpeg_quality` for ("body", "jpeg_quality"). The name of a header keeps its prefix."""
    first, *rest = map(str, location)
    return (
        ".".join(rest) if first in ("body", "query", "path") and rest else ".".join([first, *rest])
    )


def _http_problem(error: HTTPException, request: Request) -> JSONResponse:
    """Translate the framework's refusals: unknown route, wrong method, body that is not JSON."""
    status = HTTPStatus(error.status_code)
    if status is HTTPStatus.NOT_FOUND:
        translated: PlatformError = NotFound(
            f"There is no route {request.url.path}.", remedy="GET /openapi.json lists the routes."
        )
    elif status is HTTPStatus.METHOD_NOT_ALLOWED:
        translated = ParameterInvalid(
            f"{request.url.path} does not accept {request.method}.",
            remedy="The header Allow lists the accepted methods.",
        )
    elif status < HTTPStatus.INTERNAL_SERVER_ERROR:
        translated = ParameterInvalid(str(error.detail))
    else:
        translated = UnexpectedFault(str(error.detail))
    return problem_response(translated, request, headers=error.headers, status=status)
