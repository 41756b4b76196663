"""Translate errors of Azure's client into the platform's errors, without secrets.

A URL with a SAS token is a secret, and Azure's exceptions quote URLs. So an exception of Azure is
never chained to the platform's error. The cause of the platform's error is an `AzureErrorText`: the
text of the exception without signatures and keys.

Used by `storage/azure`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from geo_platform.errors import (
    Conflict,
    ParameterInvalid,
    PlatformError,
    SourceNotFound,
    StoreDenied,
    StoreUnavailable,
    UnexpectedFault,
)

_DENIED_REMEDY = (
    "Check the connection string, key or SAS token (its permissions and its expiry), or give the "
    "platform's identity the role Storage Blob Data Contributor."
)
_SECRET = re.compile(r"((?:sig|AccountKey|SharedAccessSignature)=)[^&;\s'\"<>]+", re.IGNORECASE)
_DENIED_STATUS = frozenset({401, 403})
_DENIED_CODES = frozenset({"BlobImmutableDueToPolicy", "PublicAccessNotPermitted"})
_TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_TRANSIENT_CODES = frozenset(
    {
        "ContainerBeingDeleted",
        "QueueBeingDeleted",
        "OperationTimedOut",
        "ServerBusy",
        "InternalError",
    }
)
_BAD_NAME_CODES = frozenset(
    {"InvalidResourceName", "InvalidUri", "InvalidMetadata", "MetadataTooLarge", "EmptyMetadataKey"}
)


class AzureErrorText(Exception):  # noqa: N818  # never raised: only the cause of an error
    """The text of an error of Azure's client, without secrets."""


@contextmanager
def azure_errors(what: str) -> Iterator[None]:
    """Translate an exception of Azure's client in the block. `what` is the subject of the message.

    Raises StoreDenied, SourceNotFound, StoreUnavailable, Conflict, ParameterInvalid,
    UnexpectedFault: `translate` says for which response of the service.
    """
    try:
        yield
    except AzureError as error:
        raise translate(error, what) from AzureErrorText(without_secrets(error))


def translate(error: AzureError, what: str) -> PlatformError:
    """Return the platform's error for an exception of Azure's client.

    StoreDenied: status 401 or 403, a policy denies the request, or there is no token.
    SourceNotFound: 404. StoreUnavailable: no response, 408, 429, 5xx, or a wrong checksum.
    Conflict: 409 or 412. ParameterInvalid: the service refuses a name or the metadata.
    UnexpectedFault: anything else.
    """
    status, code = getattr(error, "status_code", None), error_code(error)
    reason = (
        " ".join(str(part) for part in (status, code) if part)
        or without_secrets(error).splitlines()[0][:200]
    )
    details = {"status": status, "azure_code": code}
    if (
        status in _DENIED_STATUS
        or code in _DENIED_CODES
        or isinstance(error, ClientAuthenticationError)
    ):
        return StoreDenied(
            f"{what} cannot be used with these credentials: {reason}.",
            remedy=_DENIED_REMEDY,
            **details,
        )
    if status == 404:
        return SourceNotFound(f"{what} was not found.", **details)
    if (
        status is None
        or status in _TRANSIENT_STATUS
        or code in _TRANSIENT_CODES
        or (status == 400 and "md5" in str(error).lower())
    ):
        return StoreUnavailable(f"{what} could not be read or written: {reason}.", **details)
    if status in {409, 412} or code == "InvalidBlockList":
        return Conflict(
            f"{what} was changed by someone else in the meantime: {reason}.",
            remedy="Submit it again.",
            **details,
        )
    if code in _BAD_NAME_CODES:
        return ParameterInvalid(
            f"{what} has a name or metadata that Azure Blob Storage refuses: {reason}.",
            **details,
        )
    return UnexpectedFault(f"{what}: Azure Storage refused the request: {reason}.", **details)


def error_code(error: AzureError) -> str:
    """Return the service's error code, such as BlobNotFound, or "" if the response has no code."""
    code = getattr(error, "error_code", None) if isinstance(error, HttpResponseError) else None
    return str(getattr(code, "value", code) or "")


def without_secrets(error: BaseException) -> str:
    """Return the text of an error, with signatures and account keys replaced by `***`."""
    return _SECRET.sub(r"\1***", str(error)).strip() or type(error).__name__
