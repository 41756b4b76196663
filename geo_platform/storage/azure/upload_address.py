"""Sign a URL with which a client without credentials can upload one new blob.

With the URL a client can create the blob of one name, in one request (Put Blob), if there is none
yet. It cannot read, list, overwrite or delete; uploading in blocks would need the right to
overwrite. With an identity it is signed by a user delegation key, which the service issues and can
revoke; otherwise by the account key. Who may request a URL: `api/jobs/uploads.py`.
"""

from datetime import UTC, datetime, timedelta
from threading import Lock

from azure.storage.blob import BlobSasPermissions, UserDelegationKey, generate_blob_sas

from geo_platform.errors import StoreDenied
from geo_platform.settings import Settings
from geo_platform.storage.azure.account import BlobAccount, CredentialKind, blob_account, client_of
from geo_platform.storage.azure.errors import azure_errors
from geo_platform.storage.azure.names import blob_uri, check_new_key
from geo_platform.storage.keys import check_container

# The limit of Put Blob, since its version 2019-12-12.
ONE_PUT_MAX_BYTES = 5_000 * 1024**2

_MAX_CLOCK_DIFFERENCE = timedelta(minutes=5)
_DELEGATION_KEY_LIFETIME = timedelta(days=2)
# By account URL: expiry and key.
_delegation_keys: dict[str, tuple[datetime, UserDelegationKey]] = {}
_delegation_keys_lock = Lock()


def signed_upload(settings: Settings, container: str, key: str, *, ends_at_utc: datetime) -> str:
    """Return a URL for the upload of one blob, valid until `ends_at_utc`.

    Raises StoreDenied: the settings cannot sign, or the identity has no right to. ParameterInvalid:
    container or key is not valid. StoreUnavailable.
    """
    account = blob_account(settings)
    name = settings.blob_container_prefix + check_container(container)
    secret = (
        account.secret.get_secret_value()
        if account.secret is not None and account.kind is CredentialKind.key
        else None
    )
    token = generate_blob_sas(
        account_name=account.name,
        container_name=name,
        blob_name=check_new_key(key),
        account_key=secret,
        user_delegation_key=None if secret is not None else _delegation_key(account, ends_at_utc),
        permission=BlobSasPermissions(create=True),
        start=datetime.now(UTC) - _MAX_CLOCK_DIFFERENCE,
        expiry=ends_at_utc,
        protocol="https" if account.url.startswith("https:") else "https,http",
    )
    return f"{blob_uri(account.url, name, key)}?{token}"


def _delegation_key(account: BlobAccount, until_utc: datetime) -> UserDelegationKey:
    """Return a key that is valid until `until_utc`, cached: one request per upload is too many."""
    if account.kind is not CredentialKind.identity:
        raise StoreDenied(
            "With a SAS token as its credential the platform cannot sign uploads.",
            remedy="Give it an identity (unset GEO_PLATFORM_BLOB_SAS), or the account's key.",
        )
    with _delegation_keys_lock:
        ends, key = _delegation_keys.get(account.url, (datetime.min.replace(tzinfo=UTC), None))
        if key is None or ends < until_utc:
            start = datetime.now(UTC)
            ends = start + _DELEGATION_KEY_LIFETIME
            with azure_errors("The key for signing uploads"), client_of(account) as service:
                key = service.get_user_delegation_key(start - _MAX_CLOCK_DIFFERENCE, ends)
            _delegation_keys[account.url] = ends, key
        return key
