"""The storage account of the settings: its URL, its credential and its clients.

This module chooses the credential and sets the retries and timeouts of the client. Secrets of the
storage account are unwrapped in this module only, for Azure's library, and never shown or logged.

`signed_urls.py` signs URLs for clients, `blob.py` reads and writes blobs.

Used by `resources`, `storage/azure` and `storage`.
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
# The service returns this header in its response and logs it (StorageBlobLogs, ClientRequestId).
_REQUEST_ID = "x-ms-client-request-id"

# The size of each request of a download. Azure's default is 32 MiB for the first one and 4 MiB for
# the others.
_TRANSFER_BYTES = 8 * 1024**2

_REMEDY = (
    "Set GEO_PLATFORM_BLOB_CONNECTION_STRING, or GEO_PLATFORM_BLOB_ACCOUNT_URL to "
    "https://ACCOUNT.blob.core.windows.net and, unless the platform has a managed identity, "
    "GEO_PLATFORM_BLOB_KEY or GEO_PLATFORM_BLOB_SAS."
)
_QUEUE_REMEDY = (
    "Set GEO_PLATFORM_BLOB_ACCOUNT_URL to the account's own address, "
    "https://ACCOUNT.blob.core.windows.net, or GEO_PLATFORM_BLOB_CONNECTION_STRING to one with a "
    "QueueEndpoint."
)


class CredentialKind(StrEnum):
    """How the platform authenticates: by account key, SAS token, or identity (Microsoft Entra)."""

    key = "key"
    sas = "sas"
    identity = "identity"


@dataclass(frozen=True)
class BlobAccount:
    """A storage account and its credential.

    `secret` is the account key or the SAS token, or None for an identity.
    """

    url: str
    name: str
    kind: CredentialKind
    secret: SecretStr | None = None


def blob_account(settings: Settings) -> BlobAccount:
    """Return the storage account of the settings.

    The credential is the first one that is set: connection string, key, SAS token. If none is set,
    it is an identity.
    Raises StoreDenied: the account is missing, a setting is malformed, or an identity would be used
    over plain http.
    """
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
            "GEO_PLATFORM_BLOB_ACCOUNT_URL is not the plain URL of a storage account.",
            remedy=_REMEDY,
        )
    name = _account_name(url)
    if settings.blob_key is not None:
        return BlobAccount(url, name, CredentialKind.key, settings.blob_key)
    if settings.blob_sas is not None:
        return BlobAccount(url, name, CredentialKind.sas, settings.blob_sas)
    if parts.scheme != "https":
        raise StoreDenied(
            "The token of an identity is only sent over https, but the account's URL has http.",
            remedy=_REMEDY,
        )
    return BlobAccount(url, name, CredentialKind.identity)


def queue_account(settings: Settings) -> BlobAccount:
    """Return the storage account of the settings, with the URL of its queues.

    Raises StoreDenied: as for `blob_account`, or the URL of the queues cannot be derived from that
    of the blobs.
    """
    account, secret = blob_account(settings), settings.blob_connection_string
    queue_url = (
        parse_connection_string(secret.get_secret_value()).get("queueendpoint")
        if secret is not None
        else None
    )
    if queue_url:
        return replace(account, url=queue_url)
    parts = urlsplit(account.url)
    if ".blob." not in (parts.hostname or ""):
        raise StoreDenied(
            "The URL of the storage account's queues cannot be derived from the URL of its blobs.",
            remedy=_QUEUE_REMEDY,
        )
    return replace(
        account, url=parts._replace(netloc=parts.netloc.replace(".blob.", ".queue.", 1)).geturl()
    )


def blob_service(settings: Settings, *, run_id: str = "", retries: int = 3) -> BlobServiceClient:
    """Return a client for the storage account of the settings. The client does not connect yet.

    Every request has the header x-ms-client-request-id: `run_id`, or a random id if that is empty.
    The few quick retries only cover short network failures; Dagster retries the run after longer
    ones.
    Raises StoreDenied: the account is missing, or a setting or the secret is malformed.
    """
    return client_of(blob_account(settings), run_id=run_id, retries=retries)


def client_of(account: BlobAccount, *, run_id: str = "", retries: int = 3) -> BlobServiceClient:
    """Return a client for an account, as `blob_service` does.

    Raises StoreDenied: the secret is malformed.
    """
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
            raw_request_hook=_request_id_hook(run_id) if run_id else None,
        )
    except ValueError as error:
        raise StoreDenied(
            f"The storage account {account.url} cannot be used with a {account.kind.value}.",
            remedy=_REMEDY,
        ) from error


def _request_id_hook(run_id: str) -> Callable[[PipelineRequest[Any]], None]:
    # Azure's client calls the hook for every attempt of every request, before it signs the request.
    # Its own option for the id would have to be passed to each call.
    def set_request_id(request: PipelineRequest[Any]) -> None:
        request.http_request.headers[_REQUEST_ID] = run_id

    return set_request_id


def credential_of(
    account: BlobAccount,
) -> AzureNamedKeyCredential | AzureSasCredential | TokenCredential:
    """Return the credential for Azure's clients, which contains the unwrapped secret."""
    secret = account.secret.get_secret_value() if account.secret is not None else ""
    if account.kind is CredentialKind.key:
        return AzureNamedKeyCredential(account.name, secret)
    if account.kind is CredentialKind.sas:
        # At DEBUG urllib3 logs whole URLs, which contain the SAS token.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)
        return AzureSasCredential(secret.lstrip("?"))
    # Imported here: the import takes a quarter of a second, and keys and SAS tokens do not need it.
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential()


def _of_connection_string(secret: SecretStr) -> BlobAccount:
    try:
        parts = parse_connection_string(secret.get_secret_value())
    except ValueError:
        raise StoreDenied(
            "GEO_PLATFORM_BLOB_CONNECTION_STRING is not a connection string.", remedy=_REMEDY
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
        "GEO_PLATFORM_BLOB_CONNECTION_STRING has no account with a key or a SAS token.",
        remedy=_REMEDY,
    )


def _account_name(url: str) -> str:
    """Return the account name: the first part of the path (emulator), or else of the host name."""
    parts = urlsplit(url)
    path = parts.path.strip("/").partition("/")[0]
    return path or (parts.hostname or "").partition(".")[0]
