"""Uploads to the storage account: a URL that creates one blob, once, and does nothing else."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobClient

from geo_platform.errors import StoreDenied
from geo_platform.settings import Profile, Settings
from geo_platform.storage.azure.signed_urls import ONE_PUT_MAX_BYTES, signed_download, signed_upload
from tests.support.authenticated import ProtectedApi, protected_api
from tests.support.azure_addresses import IDENTITY, azure, blob_host, certificate_for
from tests.support.objects import blob_client
from tests.support.production import ProfileUnderTest
from tests.support.servers import Blobs


@pytest.fixture(scope="module")
def blobs(module_production: ProfileUnderTest) -> Blobs:
    assert module_production.blobs is not None
    return module_production.blobs


@pytest.fixture(scope="module")
def api(blobs: Blobs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProtectedApi]:
    account = {
        "blob_connection_string": blobs.connection_string,
        "blob_container_prefix": blobs.prefix,
    }
    with protected_api(
        tmp_path_factory.mktemp("uploads") / "home", profile=Profile.production, **account
    ) as one:
        yield one


def offered(api: ProtectedApi, **asked: Any) -> dict[str, Any]:
    answer = api.ask("POST", "/api/uploads", "submitter", json=asked)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def send(url: str, content: bytes, headers: dict[str, str]) -> httpx.Response:
    """Send the file as curl would, with the response's URL and headers only."""
    return httpx.put(url, content=content, headers=headers)


def test_one_file_is_sent_to_the_url_once_and_can_be_submitted(
    api: ProtectedApi, blobs: Blobs
) -> None:
    offer = offered(api, file_name="höhe & more.tif")
    assert offer["needs_credential"] is False
    assert send(offer["url"], b"raster", offer["headers"]).status_code == 201
    with blob_client(blobs.connection_string) as service:
        blob = service.get_blob_client(f"{blobs.prefix}bronze", offer["submit"]["blob_name"])
        assert blob.download_blob().readall() == b"raster"
        assert send(offer["url"], b"another", offer["headers"]).status_code in (403, 409)
        assert blob.download_blob().readall() == b"raster"


def test_the_url_is_limited_to_its_purpose_and_expires_soon(api: ProtectedApi) -> None:
    offer = offered(api, file_name="dem.tif")
    query = {name: values[0] for name, values in parse_qs(urlsplit(offer["url"]).query).items()}
    assert (query["sp"], query["sr"]) == ("c", "b")
    ends = datetime.fromisoformat(query["se"])
    assert ends == datetime.fromisoformat(offer["expires_at_utc"])
    assert timedelta(minutes=29) < ends - datetime.now(UTC) <= timedelta(minutes=30)
    assert offer["max_bytes"] == ONE_PUT_MAX_BYTES
    assert urlsplit(offer["url"]).path.endswith(f"bronze/{offer['submit']['blob_name']}")


WITH_THE_ADDRESS: dict[str, Callable[[BlobClient, str], object]] = {
    "reading": lambda blob, _: blob.download_blob().readall(),
    "describing": lambda blob, _: blob.get_blob_properties(),
    "deleting": lambda blob, _: blob.delete_blob(),
    "writing over": lambda blob, _: blob.upload_blob(b"other", overwrite=True),
    "writing metadata": lambda blob, _: blob.set_blob_metadata({"a": "b"}),
    "tags": lambda blob, _: blob.set_blob_tags({"a": "b"}),
}


@pytest.mark.parametrize("what", WITH_THE_ADDRESS)
def test_the_url_allows_nothing_else_on_its_blob(
    api: ProtectedApi, blobs: Blobs, what: str
) -> None:
    offer = offered(api, file_name="dem.tif")
    assert send(offer["url"], b"raster", offer["headers"]).status_code == 201
    with (
        BlobClient.from_blob_url(offer["url"], retry_total=0) as blob,
        pytest.raises(HttpResponseError) as refused,
    ):
        WITH_THE_ADDRESS[what](blob, "")
    assert refused.value.status_code in (403, 409)
    with blob_client(blobs.connection_string) as service:
        kept = service.get_blob_client(f"{blobs.prefix}bronze", offer["submit"]["blob_name"])
        assert kept.download_blob().readall() == b"raster"


def test_another_name_another_container_and_a_listing_are_refused(
    api: ProtectedApi, blobs: Blobs
) -> None:
    url = httpx.URL(offered(api, file_name="dem.tif")["url"])
    own = f"/{blobs.prefix}bronze/"
    for path in (
        url.path.replace("dem.tif", "other.tif"),
        url.path.replace(own, f"/{blobs.prefix}silver/"),
        f"{url.path}/below",
    ):
        assert path != url.path
        assert (
            send(str(url.copy_with(path=path)), b"x", {"x-ms-blob-type": "BlockBlob"}).status_code
            == 403
        )
    container = url.copy_with(path=url.path.partition(own)[0] + own.rstrip("/"))
    listing = container.copy_merge_params({"restype": "container", "comp": "list"})
    assert httpx.get(listing).status_code == 403
    with blob_client(blobs.connection_string) as service:
        names = [*service.get_container_client(f"{blobs.prefix}bronze").list_blob_names()]
        assert not [name for name in names if "other" in name or "below" in name]


def test_changed_permissions_or_expiry_break_the_signature(api: ProtectedApi) -> None:
    url = offered(api, file_name="dem.tif")["url"]
    for changed in (
        url.replace("sp=c", "sp=racwd"),
        url.replace("se=20", "se=21"),
        url.replace("sr=b", "sr=c"),
    ):
        assert changed != url
        assert send(changed, b"x", {"x-ms-blob-type": "BlockBlob"}).status_code == 403


def test_an_expired_url_accepts_nothing(blobs: Blobs) -> None:
    settings = Settings(
        profile=Profile.production,
        blob_connection_string=blobs.connection_string,
        blob_container_prefix=blobs.prefix,
    )  # type: ignore[arg-type]
    url = signed_upload(
        settings,
        "bronze",
        "uploads/x/late.tif",
        ends_at_utc=datetime.now(UTC) - timedelta(seconds=1),
    )
    assert send(url, b"x", {"x-ms-blob-type": "BlockBlob"}).status_code == 403


def test_the_platform_accepts_no_bytes_itself_if_there_is_an_account(api: ProtectedApi) -> None:
    answer = api.ask("PUT", f"/api/uploads/{'0' * 16}/x.tif", "submitter", content=b"x")
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


def test_a_platform_configured_with_a_sas_token_cannot_sign() -> None:
    settings = Settings(
        profile=Profile.production,
        blob_account_url="https://a.blob.core.windows.net",
        blob_sas="sv=1&sig=x",
    )  # type: ignore[arg-type]
    with pytest.raises(StoreDenied, match="cannot sign URLs"):
        signed_upload(settings, "bronze", "uploads/x/y.tif", ends_at_utc=datetime.now(UTC))


def test_with_a_managed_identity_a_delegation_key_signs_the_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Check what signs the URL, and for how long.

    Azurite issues the key, but does not know the signature of the client's newest version.
    """
    caplog.set_level("INFO", "azure.core.pipeline.policies.http_logging_policy")
    with azure(tmp_path, certificate_for([blob_host()], tmp_path), {}) as cloud:
        for name, value in cloud.environment.items():
            monkeypatch.setenv(name, value)
        settings = Settings(profile=Profile.production, blob_account_url=f"https://{blob_host()}")
        for name in ("a.tif", "b.tif"):
            url = signed_upload(
                settings,
                "bronze",
                f"uploads/x/{name}",
                ends_at_utc=datetime.now(UTC) + timedelta(minutes=5),
            )
            query = parse_qs(urlsplit(url).query)
            assert (query["sp"], query["sr"], query["spr"], query["skoid"]) == (
                ["c"],
                ["b"],
                ["https"],
                [IDENTITY],
            )
            assert urlsplit(url).path == f"/bronze/uploads/x/{name}"
        reading = signed_download(
            settings,
            "silver",
            "cogs/a.tif",
            ends_at_utc=datetime.now(UTC) + timedelta(minutes=5),
            media_type="image/tiff",
            content_disposition='attachment; filename="a.tif"',
        )
        query = parse_qs(urlsplit(reading).query)
        assert (query["sp"], query["sr"], query["skoid"]) == (["r"], ["b"], [IDENTITY])
        assert (query["rsct"], query["rscd"]) == (["image/tiff"], ['attachment; filename="a.tif"'])
    asked = [
        record.getMessage()
        for record in caplog.records
        if f"{blob_host()}/?restype=" in record.getMessage()
    ]
    assert len(asked) == 1
    assert cloud.account_key not in caplog.text
