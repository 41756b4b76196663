"""Azure Blob Storage as a Dagster resource: one store per run, closed at its end.

The account is dagster-azure's own resource.
"""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster_azure.blob import AzureBlobStorageResource

from geo_platform.contracts.message import ObjectReference
from geo_platform.errors import StoreDenied
from geo_platform.ports import ObjectStore
from geo_platform.storage.traced import TracedObjects
from resources.production import BlobAccountOfSettings, BlobObjects
from tests.support.servers import Blobs


@pytest.fixture
def scratch(blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEO_PLATFORM_BLOB_CONNECTION_STRING", blobs.connection_string)
    monkeypatch.setenv("GEO_PLATFORM_BLOB_CONTAINER_PREFIX", blobs.prefix)
    monkeypatch.setenv("GEO_PLATFORM_SCRATCH", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_stages_of_a_run_share_one_store_and_its_downloads_end_with_the_run(
    scratch: Path, instance: dg.DagsterInstance
) -> None:
    stores: list[ObjectStore] = []
    files: list[Path] = []

    @dg.asset
    def stored(objects: dg.ResourceParam[ObjectStore]) -> str:
        stores.append(objects)
        return objects.put_bytes("bronze", "a", b"1", metadata={}).reference.uri

    @dg.asset
    def read(stored: str, objects: dg.ResourceParam[ObjectStore]) -> None:
        stores.append(objects)
        with objects.local_path("bronze", "a") as path:
            files.append(path)
            assert path.read_bytes() == b"1"

    done = dg.materialize([stored, read], resources={"objects": BlobObjects()}, instance=instance)
    assert done.success
    assert (isinstance(stores[0], TracedObjects), stores[0] is stores[1], files[0].parents[1]) == (
        True,
        True,
        scratch,
    )
    assert list(scratch.iterdir()) == []


def test_an_asset_can_request_the_account_by_dagster_azures_type(
    scratch: Path, blobs: Blobs, instance: dg.DagsterInstance
) -> None:
    seen: list[str] = []

    @dg.asset
    def containers(account: AzureBlobStorageResource) -> None:
        with account.get_client() as client:
            seen.extend(
                found.name for found in client.list_containers(name_starts_with=blobs.prefix)
            )

    account = BlobAccountOfSettings.read()
    assert dg.materialize([containers], resources={"account": account}, instance=instance).success
    assert f"{blobs.prefix}bronze" in seen
    assert account.credential.credential_type == "key"
    key = blobs.connection_string.partition("AccountKey=")[2].partition(";")[0]
    assert key not in f"{account!r} {account} {account.model_dump()}"


def test_settings_without_an_account_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEO_PLATFORM_BLOB_CONNECTION_STRING", raising=False)
    with pytest.raises(StoreDenied, match="storage account"):
        BlobAccountOfSettings.read()


def test_a_message_names_an_object_without_the_deployments_prefix(
    scratch: Path, instance: dg.DagsterInstance
) -> None:
    with dg.build_resources({"objects": BlobObjects()}, instance=instance) as resources:
        reference: ObjectReference = resources.objects.put_bytes(
            "messages", "m.json", b"{}", metadata={}
        ).reference
    assert reference.container == "messages"
