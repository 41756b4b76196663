"""Move a blob whose copy takes time, fails, or is overtaken by another writer.

Azurite copies at once, so these tests use a simulated blob.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError
from azure.storage.blob import BlobClient, BlobProperties

from geo_platform.errors import Conflict, StoreUnavailable
from geo_platform.storage.azure import move as azure_move
from geo_platform.storage.azure.move import move_blob, source_url

URL = "https://acc.blob.core.windows.net"


@dataclass
class Blob:
    """A simulated blob: its copy status at each poll, and the requests that it got."""

    etag: str = '"e1"'
    states: list[str] = field(default_factory=list)
    delete_fault: Exception | None = None
    is_there: bool = True
    asked: list[str] = field(default_factory=list)
    url: str = f"{URL}/bronze/a.tif"
    credential: object = None
    copy_id: str = "mine"

    def get_blob_properties(self) -> BlobProperties:
        found = BlobProperties(name="a.tif")
        found.etag = self.etag
        found.copy.id, found.copy.status = (
            self.copy_id,
            self.states.pop(0) if self.states else "success",
        )
        return found

    def start_copy_from_url(self, url: str, **terms: Any) -> dict[str, str]:
        self.asked.append(f"copy {url} at {terms['source_etag']}")
        return {"copy_id": "mine"}

    def delete_blob(self, **terms: Any) -> None:
        self.asked.append(f"delete at {terms['etag']}")
        if self.delete_fault is not None:
            raise self.delete_fault

    def exists(self) -> bool:
        return self.is_there


def move(source: Blob, destination: Blob) -> BlobProperties:
    return move_blob(source, destination, "e1", {"upload_id": "1"}, "The object bronze/a.tif")  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(azure_move.time, "sleep", waited.append)
    return waited


def test_the_source_is_removed_after_the_copy_has_ended(pauses: list[float]) -> None:
    source, destination = Blob(), Blob(etag='"e2"', states=["pending"] * 7)
    assert move(source, destination).etag == '"e2"'
    assert destination.asked == [f'copy {URL}/bronze/a.tif at "e1"']
    assert source.asked == ['delete at "e1"']
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


@pytest.mark.parametrize("end", ["failed", "aborted"])
def test_a_copy_that_fails_leaves_the_source_alone(end: str) -> None:
    source, destination = Blob(), Blob(etag='"e2"', states=["pending", end])
    with pytest.raises(StoreUnavailable, match=end):
        move(source, destination)
    assert (source.asked, destination.asked[1:]) == ([], ['delete at "e2"'])


def test_a_source_replaced_during_the_copy_stays_and_the_copy_is_removed() -> None:
    source, destination = Blob(delete_fault=ResourceModifiedError("412")), Blob(etag='"e2"')
    source.delete_fault.status_code = 412  # type: ignore[union-attr]
    with pytest.raises(Conflict):
        move(source, destination)
    assert destination.asked[1:] == ['delete at "e2"']


@pytest.mark.parametrize("fault", [ResourceNotFoundError("404"), ResourceModifiedError("412")])
def test_a_source_removed_during_the_copy_counts_as_moved(fault: Exception) -> None:
    source, destination = Blob(delete_fault=fault, is_there=False), Blob(etag='"e2"')
    assert move(source, destination).etag == '"e2"'
    assert len(destination.asked) == 1


def test_a_destination_written_during_the_copy_is_kept() -> None:
    source, destination = Blob(), Blob(etag='"e2"', copy_id="theirs")
    with pytest.raises(Conflict, match="someone else"):
        move(source, destination)
    assert (source.asked, len(destination.asked)) == ([], 1)


def test_the_source_url_has_a_shared_access_signature_and_no_other_secret() -> None:
    def client(credential: Any) -> BlobClient:
        return BlobClient(URL, "bronze", "a b.tif", credential=credential)

    assert (
        source_url(client(AzureSasCredential("?sv=1&sig=secret")))
        == f"{URL}/bronze/a%20b.tif?sv=1&sig=secret"
    )
    assert source_url(client(AzureNamedKeyCredential("acc", "a2V5"))) == f"{URL}/bronze/a%20b.tif"
