"""The URL of the queue and the text of a message in the poison queue, without any request."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from geo_platform.errors import ParameterInvalid, StoreDenied
from geo_platform.ports import QueuedMessage
from geo_platform.settings import Settings
from geo_platform.storage.azure.account import CredentialKind, queue_account
from geo_platform.storage.azure.queue import (
    MESSAGE_MAX_BYTES,
    POISON,
    AzureQueue,
    buried_text,
    queue_service,
)
from geo_platform.storage.stores import account_url, open_queue

URL = "https://account.blob.core.windows.net"
QUEUES = "https://account.queue.core.windows.net"
KEY = "c2VjcmV0IGtleQ=="
SAS = "sv=2024-01-01&sp=raup&sig=c2VjcmV0"


def settings(**given: Any) -> Settings:
    return Settings.model_validate(
        {"profile": "production"} | {f"blob_{name}": value for name, value in given.items()}
    )


@pytest.mark.parametrize(
    ("given", "url", "kind"),
    [
        ({"account_url": URL}, QUEUES, CredentialKind.identity),
        ({"account_url": f"{URL}/", "key": KEY}, f"{QUEUES}/", CredentialKind.key),
        ({"account_url": URL, "sas": SAS}, QUEUES, CredentialKind.sas),
        (
            {"account_url": "https://account.z13.blob.storage.azure.net"},
            "https://account.z13.queue.storage.azure.net",
            CredentialKind.identity,
        ),
        (
            {"connection_string": f"AccountName=account;AccountKey={KEY}"},
            QUEUES,
            CredentialKind.key,
        ),
        (
            {
                "connection_string": "BlobEndpoint=http://azurite:1/dev;"
                "QueueEndpoint=http://azurite:2/dev;"
                f"AccountName=dev;AccountKey={KEY}"
            },
            "http://azurite:2/dev",
            CredentialKind.key,
        ),
        (
            {"connection_string": f"BlobEndpoint={URL};SharedAccessSignature={SAS}"},
            QUEUES,
            CredentialKind.sas,
        ),
    ],
)
def test_the_queues_are_in_the_account_of_the_objects_with_its_credential(
    given: dict[str, str], url: str, kind: CredentialKind
) -> None:
    account = queue_account(settings(**given))
    assert (account.url, account.name) == (url, "dev" if "dev" in url else "account")
    assert account.kind is kind
    with queue_service(settings(**given)) as client:
        assert client.url.partition("?")[0].rstrip("/") == url.rstrip("/")


@pytest.mark.parametrize(
    "given",
    [
        {"account_url": "https://blobs.example.org"},
        {"account_url": "http://azurite:10000/dev", "key": KEY},
        {
            "connection_string": "BlobEndpoint=http://azurite:1/dev;AccountName=dev;"
            f"AccountKey={KEY}"
        },
    ],
)
def test_a_url_without_a_queue_endpoint_is_refused_with_a_remedy(
    given: dict[str, str],
) -> None:
    with pytest.raises(StoreDenied, match="cannot be derived from") as denied:
        queue_account(settings(**given))
    assert "QueueEndpoint" in denied.value.remedy
    assert KEY not in f"{denied.value!r} {denied.value.remedy}"


def test_there_is_a_queue_only_if_the_settings_name_one() -> None:
    assert open_queue(settings(account_url=URL)) is None
    assert open_queue(Settings()) is None
    assert account_url(Settings()) is None
    named = Settings.model_validate(
        {"profile": "production", "blob_account_url": URL, "arrivals_queue": "arrivals"}
    )
    assert isinstance(open_queue(named), AzureQueue)
    assert account_url(named) == URL
    with pytest.raises(ParameterInvalid, match="GEO_PLATFORM_ARRIVALS_QUEUE"):
        open_queue(Settings.model_validate({"arrivals_queue": "arrivals"}))


@pytest.mark.parametrize("name", ["Arrivals", "a", "-a", "a--b", "arrivals/poison", "a" * 57])
def test_an_invalid_name_or_one_too_long_for_the_poison_queue_is_refused(
    name: str,
) -> None:
    with pytest.raises(ValidationError, match="arrivals_queue"):
        Settings.model_validate({"arrivals_queue": name})
    assert len("a" * 56 + POISON) == 63


@given(
    text=st.text(st.characters(exclude_categories=["Cs"])),
    times=st.integers(1, 300),
    reason=st.text(max_size=5000),
)
def test_a_poison_message_is_one_json_object_that_every_queue_accepts(
    text: str, times: int, reason: str
) -> None:
    large = text * times * 100
    written = buried_text(
        QueuedMessage("an-id", "receipt", large, times), reason, datetime(2026, 1, 2, tzinfo=UTC)
    )
    record = json.loads(written)
    assert written.isascii()
    assert len(written) <= MESSAGE_MAX_BYTES
    assert record["message"] == large[: len(large) - record.get("left_out_characters", 0)]
    assert (record["reason"], record["received_times"]) == (reason[:1000], times)
    assert (record["message_id"], record["buried_at_utc"]) == ("an-id", "2026-01-02T00:00:00+00:00")
    assert "receipt" not in written or "receipt" in f"{large}{reason}"
