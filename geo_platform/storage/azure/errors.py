"""What Azure Blob Storage says, in the platform's words, and without its secrets.

What belongs here: the translation of errors. What stays out: any request.

An address that carries a SAS token is a secret, and Azure's client quotes addresses: its exceptions are never chained as
they are. What is chained is what they say, with signatures and keys cut out.
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

_SECRET = re.compile(r"((?:sig|AccountKey|SharedAccessSignature)=)[^&;\s'\"<>]+", re.IGNORECASE)
_DENIED_STATUS = frozenset({401, 403})
_DENIED_CODES = frozenset({"BlobImmutableDueToPolicy", "PublicAccessNotPermitted"})
_PASSING_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_PASSING_CODES = frozenset(
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


class AzureAnswer(Exception):  # noqa: N818  # no error of ours: what someone else said
    """What Azure's client said, secrets cut out: the cause of the platform's error."""


@contextmanager
def azure_errors(what: str) -> Iterator[None]:
    """Translate what Azure's client raises while working on `what`, which the message names."""
    try:
        yield
    except AzureError as error:
        raise translate(error, what) from AzureAnswer(without_secrets(error))


def translate(error: AzureError, what: str) -> PlatformError:
    """The leaf that fits: by status and code where the service answered, otherwise by how it could not be reached."""
    status, code = getattr(error, "status_code", None), error_code(error)
    says = (
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
            f"{what} may not be used with these credentials: {says}.", remedy=_RIGHTS, **details
        )
    if status == 404:
        return SourceNotFound(f"{what} was not found.", **details)
    if (
        status is None
        or status in _PASSING_STATUS
        or code in _PASSING_CODES
        or (status == 400 and "md5" in str(error).lower())
    ):
        return StoreUnavailable(f"{what} could not be read or written: {says}.", **details)
    if status in {409, 412} or code == "InvalidBlockList":
        return Conflict(
            f"{what} was changed by someone else in the meantime: {says}.",
            remedy="Submit it again.",
            **details,
        )
    if code in _BAD_NAME_CODES:
        return ParameterInvalid(
            f"{what} has a name or metadata that Azure Blob Storage does not take: {says}.",
            **details,
        )
    return UnexpectedFault(
        f"{what}: Azure Blob Storage did not understand the platform: {says}.", **details
    )


_RIGHTS = (
    "Check the connection string, key or SAS token (its permissions and its end), or give the platform's identity the role "
    "Storage Blob Data Contributor."
)


def error_code(error: AzureError) -> str:
    """The service's own code, such as BlobNotFound; empty where it did not answer."""
    code = getattr(error, "error_code", None) if isinstance(error, HttpResponseError) else None
    return str(getattr(code, "value", code) or "")


def without_secrets(error: BaseException) -> str:
    return _SECRET.sub(r"\1***", str(error)).strip() or type(error).__name__
