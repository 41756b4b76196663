"""Every error has one status and a problem document for RFC 9457 and for older clients."""

from http import HTTPStatus

import pytest
from starlette.requests import HTTPConnection

from geo_platform.api.problems import (
    ParametersInvalid,
    Problem,
    problem,
    problem_response,
    status_of,
)
from geo_platform.errors import PlatformError, PlatformFault, RateExceeded, error_leaves

STATUS_OF_CODE = {
    "UNAUTHENTICATED": 401,
    "FORBIDDEN": 403,
    "SOURCE_NOT_FOUND": 404,
    "NOT_FOUND": 404,
    "CONFLICT": 409,
    "TABLE_EXISTS": 409,
    "VERSION_GONE": 410,
    "BODY_TOO_LARGE": 413,
    "RATE_EXCEEDED": 429,
    "STORE_UNAVAILABLE": 503,
    "DATABASE_UNAVAILABLE": 503,
}


@pytest.mark.parametrize("leaf", error_leaves(), ids=lambda leaf: leaf.code)
def test_every_error_has_one_status_and_a_complete_document(leaf: type[PlatformError]) -> None:
    error = leaf("the object")
    expected = STATUS_OF_CODE.get(leaf.code, 500 if issubclass(leaf, PlatformFault) else 422)
    assert status_of(error) == expected
    document = problem(error, instance="/api/jobs", request_id="r").model_dump()
    assert document["status"] == expected
    assert document["title"] == HTTPStatus(expected).phrase
    assert document["code"] == document["error"] == leaf.code
    assert document["detail"] == document["message"] == "the object"
    assert (document["remedy"], document["retryable"]) == (error.remedy, error.retryable)
    assert (document["instance"], document["request_id"]) == ("/api/jobs", "r")
    assert document["timestamp"].endswith("Z")
    assert document["type"] == f"urn:geo-platform:error:{leaf.code}"


def test_every_fault_is_named() -> None:
    document = problem(
        ParametersInvalid([("a", "is wrong"), ("b", "is too")]), instance="/", request_id="r"
    )
    assert [fault.name for fault in document.faults] == ["a", "b"]
    assert document.detail == "a: is wrong; b: is too."
    assert set(Problem.model_fields) == set(document.model_dump())


@pytest.mark.parametrize("leaf", error_leaves(), ids=lambda leaf: leaf.code)
def test_retryable_errors_have_a_retry_after_header(leaf: type[PlatformError]) -> None:
    connection = HTTPConnection(
        {
            "type": "http",
            "path": "/api/jobs",
            "headers": [],
            "server": ("localhost", 80),
            "scheme": "http",
        }
    )
    retry_after = problem_response(leaf("the object"), connection).headers.get("Retry-After")
    assert retry_after == ("5" if leaf.retryable else None)
    if leaf is RateExceeded:
        assert (
            problem_response(leaf("you", retry_after_s=7), connection).headers["Retry-After"] == "7"
        )
