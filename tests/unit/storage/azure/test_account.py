"""The account and credential of the settings, without any request."""

from typing import Any

import pytest

from geo_platform.errors import StoreDenied
from geo_platform.settings import Settings
from geo_platform.storage.azure.account import CredentialKind, blob_account, blob_service

URL = "https://account.blob.core.windows.net"
KEY = "c2VjcmV0IGtleQ=="
SAS = "sv=2024-01-01&sp=rw&sig=c2VjcmV0"


def settings(**given: Any) -> Settings:
    return Settings.model_validate({f"blob_{name}": value for name, value in given.items()})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"account_url": URL, "key": KEY}, (URL, "account", CredentialKind.key, KEY)),
        ({"account_url": URL, "sas": SAS}, (URL, "account", CredentialKind.sas, SAS)),
        ({"account_url": URL}, (URL, "account", CredentialKind.identity, None)),
        (
            {"account_url": "http://azurite:10000/dev", "key": KEY},
            ("http://azurite:10000/dev", "dev", CredentialKind.key, KEY),
        ),
        (
            {"connection_string": f"AccountName=account;AccountKey={KEY}"},
            (URL, "account", CredentialKind.key, KEY),
        ),
        (
            {
                "connection_string": "DefaultEndpointsProtocol=https;AccountName=a;"
                f"AccountKey={KEY};"
                "EndpointSuffix=core.chinacloudapi.cn"
            },
            ("https://a.blob.core.chinacloudapi.cn", "a", CredentialKind.key, KEY),
        ),
        (
            {
                "connection_string": "BlobEndpoint=http://azurite:10000/dev;AccountName=dev;"
                f"AccountKey={KEY};"
            },
            ("http://azurite:10000/dev", "dev", CredentialKind.key, KEY),
        ),
        (
            {"connection_string": f"BlobEndpoint={URL}/;SharedAccessSignature={SAS}"},
            (f"{URL}/", "account", CredentialKind.sas, SAS),
        ),
        (
            {
                "connection_string": f"AccountName=account;AccountKey={KEY}",
                "account_url": "https://b",
                "sas": SAS,
            },
            (URL, "account", CredentialKind.key, KEY),
        ),
    ],
)
def test_the_settings_decide(
    given: dict[str, str], expected: tuple[str, str, CredentialKind, str | None]
) -> None:
    account = blob_account(settings(**given))
    secret = account.secret.get_secret_value() if account.secret else None
    assert (account.url, account.name, account.kind, secret) == expected
    assert KEY not in repr(account)
    assert SAS not in repr(account)
    with blob_service(settings(**given)) as client:
        assert client.account_name == account.name or account.kind is not CredentialKind.key
        assert "sig=" not in client.url


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"key": KEY},
        {"account_url": "account"},
        {"account_url": f"{URL}?{SAS}"},
        {"account_url": "http://account.blob.core.windows.net"},
        {"connection_string": "no connection string"},
        {"connection_string": "AccountName=account"},
        {"connection_string": f"AccountKey={KEY}"},
    ],
)
def test_settings_without_a_usable_account_are_refused_with_a_remedy(given: dict[str, str]) -> None:
    with pytest.raises(StoreDenied) as denied:
        blob_account(settings(**given))
    assert "GEO_PLATFORM_BLOB_CONNECTION_STRING" in denied.value.remedy
    said = f"{denied.value!r} {denied.value.__cause__!r} {denied.value.details}"
    assert KEY not in said
    assert SAS not in said
