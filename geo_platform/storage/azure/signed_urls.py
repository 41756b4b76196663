"""Sign URLs with which a client without a credential can create one blob, or read one.

A URL expires. Anybody who has it can use it. `api/jobs/uploads.py` and `api/serving/downloads.py`
decide who gets one.

Called by `api/jobs/uploads.py`, `api/serving/downloads.py` and `storage/gdal_sources.py`.
"""

from datetime import UTC, datetime, timedelta
from threading import Lock

from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.storage.blob import BlobSasPermissions, UserDelegationKey, generate_blob_sas

from geo_platform.errors import StoreDenied
from geo_platform.settings import Settings
from geo_platform.storage.azure.account import (
    BlobAccount,
    CredentialKind,
    blob_account,
    client_of,
    credential_of,
)
from geo_platform.storage.azure.errors import azure_errors
from geo_platform.storage.azure.names import blob_uri, check_new_key
from geo_platform.storage.keys import check_container, check_key

# The limit of Put Blob, since its version 2019-12-12.
ONE_PUT_MAX_BYTES = 5_000 * 1024**2

_MAX_CLOCK_DIFFERENCE = timedelta(minutes=5)
_DELEGATION_KEY_LIFETIME = timedelta(days=2)
# Account URL -> (expiry of the key, key).
_delegation_keys: dict[str, tuple[datetime, UserDelegationKey]] = {}
_delegation_keys_lock = Lock()


def signed_upload(settings: Settings, container: str, key: str, *, ends_at_utc: datetime) -> str:
    """Return a URL with which a client can upload one new blob, valid until `ends_at_utc`.

    The URL allows one request (Put Blob) that creates this blob. It does not allow reading,
    listing, overwriting or deleting. Uploading in blocks would need the right to overwrite.
    An identity signs with a user delegation key, which the service issues and can revoke;
    otherwise the account key signs.

    Raises StoreDenied: a setting is missing, the credential is a SAS token, which cannot sign, or
    the identity may not sign. ParameterInvalid: container or key is not valid. StoreUnavailable:
    the account does not issue a user delegation key.
    """
    return _signed_url(
        settings,
        container,
        check_new_key(key),
        permission=BlobSasPermissions(create=True),
        ends_at_utc=ends_at_utc,
    )


def signed_download(
    settings: Settings,
    container: str,
    key: str,
    *,
    ends_at_utc: datetime,
    media_type: str,
    content_disposition: str,
) -> str:
    """Return a URL with which a client can read one blob, valid until `ends_at_utc`.

    The URL allows reading this blob and its properties, nothing else. The service sends the media
    type and the Content-Disposition given here. It is signed as by `signed_upload`, with the same
    errors.
    """
    return _signed_url(
        settings,
        container,
        check_key(key),
        permission=BlobSasPermissions(read=True),
        ends_at_utc=ends_at_utc,
        media_type=media_type,
        content_disposition=content_disposition,
    )


def reading_url(
    settings: Settings, container: str, key: str, *, ends_at_utc: datetime, etag: str
) -> str:
    """Return a URL with which the platform itself reads one blob, valid until `ends_at_utc`.

    For libraries that send requests of their own. The URL differs by the etag, so that what is
    kept by URL is of one version. It has the platform's own SAS token if that is its credential,
    and does not differ then. Errors as of `signed_upload`.
    """
    account = blob_account(settings)
    if account.kind is CredentialKind.sas:
        name = settings.blob_container_prefix + check_container(container)
        credential = credential_of(account)
        token = credential.signature if isinstance(credential, AzureSasCredential) else ""
        return f"{blob_uri(account.url, name, check_key(key))}?{token}"
    return _signed_url(
        settings,
        container,
        check_key(key),
        permission=BlobSasPermissions(read=True),
        ends_at_utc=ends_at_utc,
        content_disposition=etag.strip('"'),
    )


def _signed_url(
    settings: Settings,
    container: str,
    key: str,
    *,
    permission: BlobSasPermissions,
    ends_at_utc: datetime,
    media_type: str | None = None,
    content_disposition: str | None = None,
) -> str:
    account = blob_account(settings)
    name = settings.blob_container_prefix + check_container(container)
    credential = credential_of(account) if account.kind is CredentialKind.key else None
    secret = credential.named_key.key if isinstance(credential, AzureNamedKeyCredential) else None
    token = generate_blob_sas(
        account_name=account.name,
        container_name=name,
        blob_name=key,
        account_key=secret,
        user_delegation_key=None if secret is not None else _delegation_key(account, ends_at_utc),
        permission=permission,
        start=datetime.now(UTC) - _MAX_CLOCK_DIFFERENCE,
        expiry=ends_at_utc,
        protocol="https" if account.url.startswith("https:") else "https,http",
        content_type=media_type,
        content_disposition=content_disposition,
    )
    return f"{blob_uri(account.url, name, key)}?{token}"


def _delegation_key(account: BlobAccount, until_utc: datetime) -> UserDelegationKey:
    """Return a key that is valid until `until_utc` or longer.

    The key is cached, so that not every upload requests a new key from the account.
    """
    if account.kind is not CredentialKind.identity:
        raise StoreDenied(
            "With a SAS token as its credential the platform cannot sign URLs.",
            remedy="Give it an identity (unset GEO_PLATFORM_BLOB_SAS), or the account's key.",
        )
    with _delegation_keys_lock:
        ends, key = _delegation_keys.get(account.url, (datetime.min.replace(tzinfo=UTC), None))
        if key is None or ends < until_utc:
            start = datetime.now(UTC)
            ends = start + _DELEGATION_KEY_LIFETIME
            with azure_errors("The key for signing URLs"), client_of(account) as service:
                key = service.get_user_delegation_key(start - _MAX_CLOCK_DIFFERENCE, ends)
            _delegation_keys[account.url] = ends, key
        return key
