"""An address of the storage account that one new blob can be written to, by somebody who has no account.

What belongs here: the signature, and what it allows. What stays out: who may ask for it, and for which name (`api/jobs/uploads.py`).

It allows to create: the blob of that one name, in one request (Put Blob), while there is none. Not to read, list, overwrite or delete;
writing in blocks would need the right to overwrite. With an identity the signature is by a user delegation key, which the
service hands out and can revoke; where an account key is set, by that.
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

# Of Put Blob, since its version 2019-12-12.
ONE_PUT_MAX_BYTES = 5_000 * 1024**2

_CLOCKS_MAY_DIFFER = timedelta(minutes=5)
_DELEGATED_FOR = timedelta(days=2)
_delegated: dict[str, tuple[datetime, UserDelegationKey]] = {}
_one_at_a_time = Lock()


def signed_upload(settings: Settings, container: str, key: str, *, ends_at_utc: datetime) -> str:
    """The address. Raises StoreDenied (the settings cannot sign, or the identity may not), StoreUnavailable, ParameterInvalid."""
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
        start=datetime.now(UTC) - _CLOCKS_MAY_DIFFER,
        expiry=ends_at_utc,
        protocol="https" if account.url.startswith("https:") else "https,http",
    )
    return f"{blob_uri(account.url, name, key)}?{token}"


def _delegation_key(account: BlobAccount, until_utc: datetime) -> UserDelegationKey:
    """Kept while it holds beyond `until_utc`: asking for each upload would be asked for too much."""
    if account.kind is not CredentialKind.identity:
        raise StoreDenied(
            "With a SAS token of its own the platform can sign no upload.",
            remedy="Give it an identity (unset GEO_PLATFORM_BLOB_SAS), or the account's key.",
        )
    with _one_at_a_time:
        ends, kept = _delegated.get(account.url, (datetime.min.replace(tzinfo=UTC), None))
        if kept is None or ends < until_utc:
            start = datetime.now(UTC)
            ends = start + _DELEGATED_FOR
            with azure_errors("The key to sign uploads with"), client_of(account) as service:
                kept = service.get_user_delegation_key(start - _CLOCKS_MAY_DIFFER, ends)
            _delegated[account.url] = ends, kept
        return kept
