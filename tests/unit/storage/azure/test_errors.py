"""Errors of Azure's client become the platform's errors, without secrets."""

import traceback
from types import SimpleNamespace

import pytest
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from hypothesis import given
from hypothesis import strategies as st

from geo_platform.errors import (
    Conflict,
    ParameterInvalid,
    PlatformError,
    SourceNotFound,
    StoreDenied,
    StoreUnavailable,
    UnexpectedFault,
)
from geo_platform.storage.azure.errors import azure_errors, translate, without_secrets


def answered(status: int, code: str, message: str = "the service's words") -> HttpResponseError:
    response = SimpleNamespace(status_code=status, reason=code, headers={}, text=lambda: "")
    error = HttpResponseError(message, response=response)
    error.error_code = code
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (answered(404, "BlobNotFound"), SourceNotFound),
        (answered(404, "ContainerNotFound"), SourceNotFound),
        (answered(412, "ConditionNotMet"), Conflict),
        (answered(409, "BlobAlreadyExists"), Conflict),
        (answered(412, "LeaseIdMissing"), Conflict),
        (answered(400, "InvalidBlockList"), Conflict),
        (answered(409, "ContainerBeingDeleted"), StoreUnavailable),
        (answered(503, "ServerBusy"), StoreUnavailable),
        (answered(500, "InternalError"), StoreUnavailable),
        (answered(429, "TooManyRequests"), StoreUnavailable),
        (
            answered(400, "Md5Mismatch", "The MD5 value is not that of the content"),
            StoreUnavailable,
        ),
        (answered(401, "NoAuthenticationInformation"), StoreDenied),
        (answered(403, "AuthorizationPermissionMismatch"), StoreDenied),
        (answered(409, "BlobImmutableDueToPolicy"), StoreDenied),
        (answered(400, "InvalidMetadata"), ParameterInvalid),
        (answered(400, "InvalidHeaderValue"), UnexpectedFault),
        (ClientAuthenticationError("no credential gave a token"), StoreDenied),
        (ServiceRequestError("refused"), StoreUnavailable),
        (ServiceResponseError("reset"), StoreUnavailable),
        (AzureError("MD5 mismatch"), StoreUnavailable),
    ],
    ids=str,
)
def test_every_response_and_failure_is_one_error_that_names_the_object(
    error: AzureError, expected: type[PlatformError]
) -> None:
    translated = translate(error, "The object bronze/a")
    assert type(translated) is expected
    assert "The object bronze/a" in translated.message


@given(signature=st.text(st.sampled_from("abcXYZ019%+/="), min_size=8, max_size=60))
def test_signatures_and_keys_are_removed_wherever_they_occur(signature: str) -> None:
    url = f"https://a.blob.core.windows.net/bronze/a?sv=2024&sig={signature}&sp=r"
    text = without_secrets(
        ServiceRequestError(
            f"Max retries exceeded with url: {url} (Caused by AccountKey={signature};x)"
        )
    )
    assert f"={signature}" not in text
    assert "/bronze/a?sv=2024&sig=***&sp=r" in text


def test_a_traceback_shows_the_service_message_and_no_url_with_a_token() -> None:
    with pytest.raises(StoreUnavailable) as failed, azure_errors("The object bronze/a"):
        raise ServiceRequestError(
            "could not reach https://a.blob.core.windows.net/a?sp=r&sig=topsecret"
        )
    shown = "".join(traceback.format_exception(failed.value))
    assert "could not reach https://a.blob.core.windows.net/a?sp=r&sig=***" in shown
    assert "topsecret" not in shown
