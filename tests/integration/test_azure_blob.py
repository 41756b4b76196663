"""Azure's own features of the object store, on a real server: blobs, blocks, checksums, rights."""

import hashlib
import logging
import os
import re
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import (
    AccountSasPermissions,
    BlobBlock,
    BlobClient,
    BlobServiceClient,
    ContentSettings,
    ResourceTypes,
    generate_account_sas,
)

from deploy.local.servers import ACCOUNT
from geo_platform.errors import (
    Conflict,
    PlatformError,
    SourceNotFound,
    StoreDenied,
    StoreUnavailable,
)
from geo_platform.settings import Settings
from geo_platform.storage.azure import blob as azure_blob
from geo_platform.storage.azure import upload as azure_upload
from geo_platform.storage.azure.account import blob_service
from geo_platform.storage.azure.blob import AzureBlobStore
from tests.support.azure_addresses import azure, blob_host, certificate_for
from tests.support.fault_proxy import FaultProxy, before
from tests.support.objects import azure_under_test
from tests.support.servers import Blobs

# Three blocks.
IN_BLOCKS = 20_000_000


@pytest.fixture
def store(blobs: Blobs, tmp_path: Path) -> Iterator[AzureBlobStore]:
    with azure_under_test(blobs, tmp_path / "home") as under_test:
        assert isinstance(under_test.store, AzureBlobStore)
        yield under_test.store


@pytest.fixture
def service(blobs: Blobs) -> Iterator[BlobServiceClient]:
    """Azure's own client, as other programs use it."""
    with BlobServiceClient.from_connection_string(blobs.connection_string, retry_total=0) as client:
        yield client


@pytest.fixture
def proxy(blobs: Blobs) -> Iterator[FaultProxy]:
    with before(blobs.connection_string).running() as network:
        yield network


def through(proxy: FaultProxy, blobs: Blobs, *, retries: int = 0) -> AzureBlobStore:
    settings = Settings.model_validate(
        {"blob_connection_string": proxy.connection_string(blobs.connection_string)}
    )
    return AzureBlobStore(blob_service(settings, retries=retries), container_prefix=blobs.prefix)


def file_of(tmp_path: Path, size: int, name: str = "made.tif") -> Path:
    path = tmp_path / name
    path.write_bytes(os.urandom(size))
    return path


def _part(connection_string: str, name: str) -> str:
    found = re.search(f"{name}=([^;]+)", connection_string)
    assert found is not None
    return found.group(1)


@pytest.mark.parametrize("size", [5, IN_BLOCKS])
def test_a_blob_has_its_media_type_and_origin_for_any_program(
    store: AzureBlobStore, service: BlobServiceClient, blobs: Blobs, tmp_path: Path, size: int
) -> None:
    made = file_of(tmp_path, size)
    metadata = {"run_id": "r1", "fingerprint": "f" * 64, "source_etag": "0x1", "sha256": "0" * 64}
    stored = store.put_file("silver", "cogs/f/scene.tif", made, metadata=metadata)
    found = service.get_blob_client(
        f"{blobs.prefix}silver", "cogs/f/scene.tif"
    ).get_blob_properties()
    assert {
        name: value for name, value in found.metadata.items() if name != "upload_id"
    } == metadata
    assert found.content_settings.content_type == "image/tiff"
    assert (
        bytes(found.content_settings.content_md5)
        == hashlib.md5(made.read_bytes(), usedforsecurity=False).digest()
    )
    assert stored.reference.uri == found_address(blobs, "silver", "cogs/f/scene.tif")
    assert (stored.reference.container, f'"{stored.reference.etag}"') == ("silver", found.etag)


def found_address(blobs: Blobs, container: str, key: str) -> str:
    return f"{_part(blobs.connection_string, 'BlobEndpoint')}/{blobs.prefix}{container}/{key}"


def test_a_media_type_that_is_known_is_the_blobs_content_type(
    store: AzureBlobStore, service: BlobServiceClient, blobs: Blobs
) -> None:
    store.put_bytes(
        "silver", "a.bin", b"1", metadata={"media_type": "application/vnd.apache.parquet"}
    )
    found = service.get_blob_client(f"{blobs.prefix}silver", "a.bin").get_blob_properties()
    assert found.content_settings.content_type == "application/vnd.apache.parquet"
    assert store.stat("silver", "a.bin").metadata == {
        "media_type": "application/vnd.apache.parquet"
    }


def test_a_container_that_is_missing_is_empty_and_is_made_by_the_first_put(
    store: AzureBlobStore, service: BlobServiceClient, blobs: Blobs, tmp_path: Path
) -> None:
    for name in ("bronze", "silver"):
        service.delete_container(f"{blobs.prefix}{name}")
        assert list(store.list(name)) == []
        with pytest.raises(SourceNotFound):
            store.stat(name, "a")
        store.delete(name, "a")
    store.put_bytes("bronze", "a", b"1", metadata={})
    store.put_file("silver", "a", file_of(tmp_path, IN_BLOCKS), metadata={})
    assert [len(list(store.list(name))) for name in ("bronze", "silver")] == [1, 1]


def test_staged_blocks_are_invisible_until_they_are_committed(
    store: AzureBlobStore, service: BlobServiceClient, blobs: Blobs
) -> None:
    client = service.get_blob_client(f"{blobs.prefix}bronze", "half.tif")
    client.stage_block("0001", b"half")
    assert list(store.list("bronze")) == []
    with pytest.raises(SourceNotFound):
        store.stat("bronze", "half.tif")
    client.commit_block_list([BlobBlock("0001")])
    assert store.read_bytes("bronze", "half.tif") == b"half"


def test_invalid_names_and_directory_blobs_are_not_listed(
    store: AzureBlobStore, service: BlobServiceClient, blobs: Blobs
) -> None:
    container = service.get_container_client(f"{blobs.prefix}bronze")
    for name in (".hidden", "in/.hidden", "a//b", "in/seen.tif"):
        container.upload_blob(name, b"x")
    container.upload_blob("in", b"", metadata={"hdi_isfolder": "true"})
    assert [stored.reference.key for stored in store.list("bronze")] == ["in/seen.tif"]
    for read in (store.stat, store.read_bytes):
        with pytest.raises(SourceNotFound):
            read("bronze", "in")


def test_a_listing_continues_after_a_page(
    store: AzureBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure_blob, "LIST_PAGE_SIZE", 3)
    names = [f"k{number}" for number in range(8)]
    for name in names:
        store.put_bytes("bronze", name, b"", metadata={"name": name})
    assert [
        (stored.reference.key, stored.metadata["name"]) for stored in store.list("bronze", "k")
    ] == [(name, name) for name in names]


def test_an_object_with_snapshots_is_deleted_with_them(
    store: AzureBlobStore, service: BlobServiceClient, blobs: Blobs
) -> None:
    store.put_bytes("bronze", "a", b"1", metadata={})
    service.get_blob_client(f"{blobs.prefix}bronze", "a").create_snapshot()
    store.delete("bronze", "a")
    assert list(store.list("bronze")) == []


def test_a_put_whose_blocks_another_put_discarded_is_repeated(
    store: AzureBlobStore, blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit discards all other blocks staged for the blob."""
    ours, others = file_of(tmp_path, IN_BLOCKS, "ours"), file_of(tmp_path, IN_BLOCKS, "others")
    commit, between = BlobClient.commit_block_list, [1]

    def after_the_other(self: BlobClient, *arguments: object, **keywords: object) -> object:
        if between[0]:
            between[0] -= 1
            store.put_file("silver", "a", others, metadata={"by": "others"})
        return commit(self, *arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(BlobClient, "commit_block_list", after_the_other)
    stored = store.put_file("silver", "a", ours, metadata={"by": "us"})
    assert (stored, store.read_bytes("silver", "a")) == (
        store.stat("silver", "a"),
        ours.read_bytes(),
    )
    between[0] = 1
    with pytest.raises(Conflict):
        store.put_file("silver", "a", ours, metadata={}, only_if_etag=stored.reference.etag)
    assert store.stat("silver", "a").metadata == {"by": "others"}


def test_concurrent_puts_of_one_key_leave_one_complete_object(
    store: AzureBlobStore, tmp_path: Path
) -> None:
    made = [file_of(tmp_path, IN_BLOCKS, f"made{number}") for number in range(3)]

    def put(path: Path) -> bool:
        try:
            store.put_file("silver", "a", path, metadata={"name": path.name})
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(3) as pool:
        assert any(pool.map(put, made))
    winner = store.stat("silver", "a").metadata["name"]
    assert store.read_bytes("silver", "a") == (tmp_path / winner).read_bytes()


@pytest.mark.parametrize(
    ("size", "request_of", "retries"),
    [
        (9, b"PUT /", 0),
        (9, b"PUT /", 1),
        (IN_BLOCKS, b"comp=blocklist", 0),
        (IN_BLOCKS, b"comp=blocklist", 1),
    ],
)
def test_a_completed_put_is_recognised_if_its_response_was_lost(
    blobs: Blobs, proxy: FaultProxy, tmp_path: Path, size: int, request_of: bytes, retries: int
) -> None:
    store, made = through(proxy, blobs, retries=retries), file_of(tmp_path, size)
    proxy.lose_answer_to(request_of)
    stored = store.put_file("silver", "a.tif", made, metadata={"run_id": "r1"}, only_if_etag="")
    assert stored == store.stat("silver", "a.tif")
    assert store.read_bytes("silver", "a.tif") == made.read_bytes()
    with pytest.raises(Conflict):
        store.put_file("silver", "a.tif", made, metadata={}, only_if_etag="")


def test_a_connection_cut_once_costs_only_a_retry(
    blobs: Blobs, proxy: FaultProxy, tmp_path: Path
) -> None:
    store, made = through(proxy, blobs, retries=2), file_of(tmp_path, IN_BLOCKS)
    proxy.cut_at(b"comp=block&", nth=2)
    stored = store.put_file("silver", "a.tif", made, metadata={})
    proxy.cut_at(b"GET /")
    assert store.stat("silver", "a.tif") == stored
    assert store.read_bytes("silver", "a.tif") == made.read_bytes()


@pytest.mark.parametrize("request_of", [b"comp=block&", b"comp=blocklist"])
def test_a_cut_connection_without_retry_leaves_nothing_visible(
    blobs: Blobs, proxy: FaultProxy, tmp_path: Path, request_of: bytes
) -> None:
    store, made = through(proxy, blobs), file_of(tmp_path, IN_BLOCKS)
    proxy.cut_at(request_of)
    with pytest.raises(StoreUnavailable, match=r"silver/a\.tif") as cut:
        store.put_file("silver", "a.tif", made, metadata={}, move=True)
    assert (cut.value.retryable, made.exists(), list(store.list("silver"))) == (True, True, [])
    store.put_file("silver", "a.tif", made, metadata={}, move=True)
    assert not made.exists()


@pytest.mark.parametrize("size", [1_000, IN_BLOCKS], ids=["small", "in blocks"])
def test_the_service_detects_bytes_damaged_on_the_way_to_it(
    blobs: Blobs, proxy: FaultProxy, tmp_path: Path, size: int
) -> None:
    store, made = through(proxy, blobs), tmp_path / "made.tif"
    made.write_bytes(b"\0" * (size - 30) + b"this is to be stored" + b"\0" * 10)
    proxy.alter(b"this is to be stored", b"this is to be STORED")
    with pytest.raises(StoreUnavailable):
        store.put_file("silver", "a.tif", made, metadata={})
    assert list(store.list("silver")) == []


def test_content_that_differs_from_its_md5_is_refused(
    store: AzureBlobStore, service: BlobServiceClient, blobs: Blobs, tmp_path: Path
) -> None:
    store.put_bytes("bronze", "a", b"as it was", metadata={})
    wrong = ContentSettings(
        content_md5=bytearray(hashlib.md5(b"as it is", usedforsecurity=False).digest())
    )
    service.get_blob_client(f"{blobs.prefix}bronze", "a").set_http_headers(wrong)
    with pytest.raises(StoreUnavailable, match="MD5"):
        store.read_bytes("bronze", "a")
    with pytest.raises(StoreUnavailable, match="MD5"), store.local_path("bronze", "a"):
        pass
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("way", ["read_bytes", "local_path", "open"])
def test_bytes_damaged_on_the_way_back_are_detected(
    blobs: Blobs, proxy: FaultProxy, way: str
) -> None:
    store = through(proxy, blobs)
    store.put_bytes("bronze", "a", b"this was stored", metadata={})

    def read() -> bytes:
        if way == "read_bytes":
            return store.read_bytes("bronze", "a")
        if way == "local_path":
            with store.local_path("bronze", "a") as path:
                return path.read_bytes()
        with store.open("bronze", "a") as stream:
            return stream.read()

    proxy.alter_answer(b"this was stored", b"this was STORED")
    with pytest.raises(StoreUnavailable, match="bronze/a") as damaged:
        read()
    assert (damaged.value.retryable, read()) == (True, b"this was stored")


@pytest.mark.parametrize("size", [9, IN_BLOCKS], ids=["small", "in blocks"])
def test_a_file_that_changes_during_its_put_is_refused(
    store: AzureBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    made, send = file_of(tmp_path, size), azure_upload._send

    def send_while_another_writes(*arguments: object) -> object:
        done = send(*arguments)  # type: ignore[arg-type]
        with made.open("ab") as file:
            file.write(b", more")
        return done

    monkeypatch.setattr(azure_upload, "_send", send_while_another_writes)
    with pytest.raises(Conflict, match=r"made\.tif.*changed while"):
        store.put_file("bronze", "a.tif", made, metadata={}, move=True)
    assert (list(store.list("bronze")), made.exists()) == ([], True)


def test_a_reader_detects_that_its_object_was_replaced(store: AzureBlobStore) -> None:
    store.put_bytes("bronze", "a", bytes(1_000_000), metadata={})
    with store.open("bronze", "a") as stream:
        assert stream.read(10) == bytes(10)
        store.put_bytes("bronze", "a", bytes(1_000_000), metadata={})
        with pytest.raises(Conflict, match="bronze/a"):
            stream.read()
    with store.open("bronze", "a") as stream:
        store.delete("bronze", "a")
        with pytest.raises((SourceNotFound, Conflict)):  # Azurite checks the condition first
            stream.read()


def test_bytes_are_fetched_only_as_they_are_read(blobs: Blobs, proxy: FaultProxy) -> None:
    counted: list[int] = []
    store = AzureBlobStore(
        through(proxy, blobs)._service, container_prefix=blobs.prefix, received=counted.append
    )
    content = os.urandom(30_000_000)
    store.put_bytes("bronze", "a", content, metadata={})
    before = proxy.from_server
    with store.open("bronze", "a") as stream:
        for offset in (29_000_000, 15_000_000, 1_000, 15_000_100, 29_000_500):
            stream.seek(offset)
            assert stream.read(100) == content[offset : offset + 100]
    assert counted == [16384] * 3
    assert proxy.from_server - before < sum(counted) + 8_000
    counted.clear()
    with store.open("bronze", "a") as stream:
        assert b"".join(iter(lambda: stream.read(50_000), b"")) == content
    assert (sum(counted), len(counted) < 20, max(counted)) == (30_000_000, True, 4 * 2**20)


def test_an_object_is_fetched_once_for_all_callers(
    blobs: Blobs, store: AzureBlobStore, tmp_path: Path
) -> None:
    counted: list[int] = []
    counting = AzureBlobStore(
        store._service,
        container_prefix=blobs.prefix,
        scratch=tmp_path / "s",
        received=counted.append,
    )
    counting.put_bytes("bronze", "a", bytes(100_000), metadata={})
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: _held(counting, "a"), range(8)))
    assert (len(paths), counted) == (1, [100_000])
    counting.put_bytes("bronze", "a", b"another", metadata={})
    with counting.local_path("bronze", "a") as path:
        assert path.read_bytes() == b"another"
        assert path.stat().st_mode & 0o222 == 0
    counting.close()
    assert list((tmp_path / "s").iterdir()) == []


def _held(store: AzureBlobStore, key: str) -> Path:
    with store.local_path("bronze", key) as path:
        return path


def test_a_full_disk_during_a_download_is_reported_and_no_partial_file_stays(
    store: AzureBlobStore, tmp_path: Path
) -> None:
    store.put_bytes("bronze", "a", bytes(3_000_000), metadata={})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with (
            pytest.raises(StoreUnavailable, match="File too large"),
            store.local_path("bronze", "a"),
        ):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []
    with store.local_path("bronze", "a") as path:
        assert path.stat().st_size == 3_000_000


def sas_of(blobs: Blobs, permissions: str, *, hours: int = 1) -> str:
    return generate_account_sas(
        ACCOUNT,
        account_key=_part(blobs.connection_string, "AccountKey"),
        resource_types=ResourceTypes(container=True, object=True),
        permission=AccountSasPermissions.from_string(permissions),
        expiry=datetime.now(UTC) + timedelta(hours=hours),
    )


def with_settings(blobs: Blobs, **given: object) -> AzureBlobStore:
    settings = Settings.model_validate(
        {"blob_account_url": _part(blobs.connection_string, "BlobEndpoint"), **given}
    )
    return AzureBlobStore(blob_service(settings, retries=0), container_prefix=blobs.prefix)


def test_a_sas_token_gives_its_permissions(blobs: Blobs, store: AzureBlobStore) -> None:
    writing, reading = (
        with_settings(blobs, blob_sas=f"?{sas_of(blobs, rights)}") for rights in ("rwdlc", "rl")
    )
    stored = writing.put_bytes("bronze", "a b", b"1", metadata={})
    assert (
        stored
        == reading.stat("bronze", "a b")
        == next(iter(reading.list("bronze")))
        == store.stat("bronze", "a b")
    )
    assert reading.read_bytes("bronze", "a b") == b"1"
    for attempt in (
        lambda: reading.put_bytes("bronze", "b", b"1", metadata={}),
        lambda: reading.delete("bronze", "a b"),
    ):
        with pytest.raises(StoreDenied, match="bronze/"):
            attempt()


def test_a_container_that_cannot_be_created_is_named_in_the_error(
    blobs: Blobs, service: BlobServiceClient
) -> None:
    service.delete_container(f"{blobs.prefix}bronze")
    objects_only = generate_account_sas(
        ACCOUNT,
        account_key=_part(blobs.connection_string, "AccountKey"),
        resource_types=ResourceTypes(object=True),
        permission=AccountSasPermissions(read=True, write=True, create=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    with pytest.raises(StoreDenied, match=f"{blobs.prefix}bronze") as denied:
        with_settings(blobs, blob_sas=objects_only).put_bytes("bronze", "a", b"1", metadata={})
    assert f"{blobs.prefix}bronze" in denied.value.remedy


def test_no_secret_is_in_any_error_or_log_line(
    blobs: Blobs, proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    expired, wrong = sas_of(blobs, "rwl", hours=-1), "d3Jvbmcga2V5IGZvciBhIHN0b3JhZ2UgYWNjb3VudA=="
    unreachable = f"http://127.0.0.1:9/{ACCOUNT}"
    cutting = _part(proxy.connection_string(blobs.connection_string), "BlobEndpoint")
    proxy.cut_at(b"GET /")
    stores = {
        "expired": (with_settings(blobs, blob_sas=expired), StoreDenied),
        "wrong key": (with_settings(blobs, blob_key=wrong), StoreDenied),
        "no key": (with_settings(blobs, blob_key="this is no key"), StoreDenied),
        "unreachable": (
            with_settings(blobs, blob_sas=expired, blob_account_url=unreachable),
            StoreUnavailable,
        ),
        "cut": (
            with_settings(blobs, blob_sas=sas_of(blobs, "rl"), blob_account_url=cutting),
            StoreUnavailable,
        ),
    }
    texts: list[str] = []
    with caplog.at_level(logging.DEBUG):
        for name, (store, expected) in stores.items():
            with pytest.raises(expected) as failed:
                store.read_bytes("bronze", "a")
            texts += [name, *_chain_of(failed.value)]
    everything = "\n".join(
        [*texts, caplog.text, *map(repr, (store for store, _ in stores.values()))]
    )
    for secret in (
        "this is no key",
        wrong,
        _part(blobs.connection_string, "AccountKey"),
        "sig=" + expired.partition("sig=")[2][:10],
    ):
        assert secret not in everything
    assert not re.search(r"sig=(?!\*\*\*|REDACTED)", everything)


def _chain_of(error: BaseException | None) -> list[str]:
    """Return what a traceback shows: the error with its causes."""
    texts: list[str] = []
    while error is not None:
        texts += [str(error), repr(error), repr(getattr(error, "details", ""))]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return texts


def test_a_managed_identity_opens_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DefaultAzureCredential gets a token, and the service accepts it over HTTPS at the account's
    own address.
    """
    with azure(tmp_path, certificate_for([blob_host()], tmp_path), {}) as cloud:
        for name, value in cloud.environment.items():
            monkeypatch.setenv(name, value)
        settings = Settings.model_validate({"blob_account_url": f"https://{blob_host()}"})
        with blob_service(settings, retries=0) as client:
            store = AzureBlobStore(client)
            stored = store.put_bytes("bronze", "a b", b"1", metadata={"run_id": "r"})
            assert stored.reference.uri == f"https://{blob_host()}/bronze/a%20b"
            assert store.stat("bronze", "a b") == stored


def test_a_missing_identity_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    settings = Settings.model_validate({"blob_account_url": "https://nobody.blob.core.windows.net"})
    with blob_service(settings, retries=0) as client, pytest.raises(StoreDenied) as denied:
        AzureBlobStore(client).stat("bronze", "a")
    assert "Storage Blob Data Contributor" in denied.value.remedy
    assert isinstance(denied.value, PlatformError)
