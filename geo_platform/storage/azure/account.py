"""The storage account: where it is, how the platform shows who it is, and a client that says so.

What belongs here: the one decision on credentials, the client's retries and time limits, and the run that its requests name.
What stays out: objects.

A secret is opened in `credential_of` and handed to Azure's client; nothing else holds, shows or logs it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential, TokenCredential
from azure.core.pipeline import PipelineRequest
from azure.core.utils import parse_connection_string
from azure.storage.blob import BlobServiceClient, ExponentialRetry
from pydantic import SecretStr

from geo_platform.errors import StoreDenied
from geo_platform.settings import Settings

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
# The header that the service repeats in its answer and keeps in its logs (StorageBlobLogs,
# ClientRequestId).
_REQUEST_ID = "x-ms-client-request-id"

# Of one request while downloading; Azure's client asks for 32 MiB and then for 4.
_TRANSFER_BYTES = 8 * 1024**2


class CredentialKind(StrEnum):
    """How the platform shows who it is."""

    key = "key"
    sas = "sas"
    identity = "identity"


@dataclass(frozen=True)
class BlobAccount:
    """An account and the way in. `secret` is the key or the SAS token; an identity has none, its tokens are minted where used."""

    url: str
    name: str
    kind: CredentialKind
    secret: SecretStr | None = None


def blob_account(settings: Settings) -> BlobAccount:
    """What the settings mean: connection string before key before SAS before identity. Raises StoreDenied where they mean nothing."""
    if settings.blob_connection_string is not None:
        return _of_connection_string(settings.blob_connection_string)
    url = settings.blob_account_url
    if url is None:
        raise StoreDenied(
            "The production profile needs a storage account, and none is set.", remedy=_REMEDY
        )
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise StoreDenied(
            "GEO_PLATFORM_BLOB_ACCOUNT_URL is no plain address of a storage account.",
            remedy=_REMEDY,
        )
    name = _account_name(url)
    if settings.blob_key is not None:
        return BlobAccount(url, name, CredentialKind.key, settings.blob_key)
    if settings.blob_sas is not None:
        return BlobAccount(url, name, CredentialKind.sas, settings.blob_sas)
    if parts.scheme != "https":
        raise StoreDenied(
            "An identity's token may only travel by https, and the account's address says http.",
            remedy=_REMEDY,
        )
    return BlobAccount(url, name, CredentialKind.identity)


def queue_account(settings: Settings) -> BlobAccount:
    """The same account and way in, at the address of its queues. Raises StoreDenied, also where that does not follow from the settings."""
    account, secret = blob_account(settings), settings.blob_connection_string
    named = (
        parse_connection_string(secret.get_secret_value()).get("queueendpoint")
        if secret is not None
        else None
    )
    if named:
        return replace(account, url=named)
    parts = urlsplit(account.url)
    if ".blob." not in (parts.hostname or ""):
        raise StoreDenied(
            "Where the storage account has its queues does not follow from the address of its blobs.",
            remedy=_QUEUE_REMEDY,
        )
    return replace(
        account, url=parts._replace(netloc=parts.netloc.replace(".blob.", ".queue.", 1)).geturl()
    )


_QUEUE_REMEDY = (
    "Set GEO_PLATFORM_BLOB_ACCOUNT_URL to the account's own address, https://ACCOUNT.blob.core.windows.net, or "
    "GEO_PLATFORM_BLOB_CONNECTION_STRING to one with a QueueEndpoint."
)
_REMEDY = (
    "Set GEO_PLATFORM_BLOB_CONNECTION_STRING, or GEO_PLATFORM_BLOB_ACCOUNT_URL to https://ACCOUNT.blob.core.windows.net and, unless "
    "the platform has a managed identity, GEO_PLATFORM_BLOB_KEY or GEO_PLATFORM_BLOB_SAS."
)


def blob_service(settings: Settings, *, run_id: str = "", retries: int = 3) -> BlobServiceClient:
    """A client of the settings' account. Nothing is asked of the service yet. Raises StoreDenied.

    Every request carries the run's id; without a run, a random id of its own that Azure's client makes.
    A few quick retries stand for a hiccup of the network; what lasts longer is the run's own retry policy's to wait for.
    """
    return client_of(blob_account(settings), run_id=run_id, retries=retries)


def client_of(account: BlobAccount, *, run_id: str = "", retries: int = 3) -> BlobServiceClient:
    """The client of an account that was decided on. Raises StoreDenied where the secret has not the form of one."""
    try:
        return BlobServiceClient(
            account.url,
            credential=credential_of(account),
            retry_policy=ExponentialRetry(
                initial_backoff=0, increment_base=2, retry_total=retries, random_jitter_range=1
            ),
            connection_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            max_single_get_size=_TRANSFER_BYTES,
            max_chunk_get_size=_TRANSFER_BYTES,
            raw_request_hook=_naming(run_id) if run_id else None,
        )
    except ValueError as error:
        raise StoreDenied(
            f"The storage account {account.url} cannot be used with a {account.kind.value}.",
            remedy=_REMEDY,
        ) from error


def _naming(run_id: str) -> Callable[[PipelineRequest[Any]], None]:
    """Called for every request, each attempt and each block, before it is signed: the client's own option is for single calls."""

    def name(request: PipelineRequest[Any]) -> None:
        request.http_request.headers[_REQUEST_ID] = run_id

    return name


def credential_of(
    account: BlobAccount,
) -> AzureNamedKeyCredential | AzureSasCredential | TokenCredential:
    """What a client of Azure's takes; the secret is opened here."""
    secret = account.secret.get_secret_value() if account.secret is not None else ""
    if account.kind is CredentialKind.key:
        return AzureNamedKeyCredential(account.name, secret)
    if account.kind is CredentialKind.sas:
        # urllib3 writes whole addresses at DEBUG, and a SAS token is part of each.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)
        return AzureSasCredential(secret.lstrip("?"))
    from azure.identity import (
        DefaultAzureCredential,
    )  # a quarter of a second that keys and SAS tokens can do without

    return DefaultAzureCredential()


def _of_connection_string(secret: SecretStr) -> BlobAccount:
    try:
        parts = parse_connection_string(secret.get_secret_value())
    except ValueError:
        raise StoreDenied(
            "GEO_PLATFORM_BLOB_CONNECTION_STRING is no connection string.", remedy=_REMEDY
        ) from None
    name, suffix = parts.get("accountname", ""), parts.get("endpointsuffix", "core.windows.net")
    url = parts.get("blobendpoint") or (
        f"{parts.get('defaultendpointsprotocol', 'https')}://{name}.blob.{suffix}" if name else ""
    )
    if url and name and "accountkey" in parts:
        return BlobAccount(url, name, CredentialKind.key, SecretStr(parts["accountkey"]))
    if url and "sharedaccesssignature" in parts:
        return BlobAccount(
            url,
            name or _account_name(url),
            CredentialKind.sas,
            SecretStr(parts["sharedaccesssignature"]),
        )
    raise StoreDenied(
        "GEO_PLATFORM_BLOB_CONNECTION_STRING names no account with a key or a SAS token.",
        remedy=_REMEDY,
    )


def _account_name(url: str) -> str:
    """The first part of the host; of an emulator (an address, a port or a bare name), the first part of the path."""
    parts = urlsplit(url)
    path = parts.path.strip("/").partition("/")[0]
    return path or (parts.hostname or "").partition(".")[0]
