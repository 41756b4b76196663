"""Object stores under test: the folder and Azure Blob Storage. Servers are in `servers.py`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from azure.storage.blob import BlobServiceClient

from geo_platform.settings import Profile, Settings
from geo_platform.storage.azure.account import blob_service
from geo_platform.storage.azure.blob import AzureBlobStore
from geo_platform.storage.local.folder import FolderStore
from tests.support.servers import Blobs

Store = FolderStore | AzureBlobStore


@dataclass(frozen=True)
class ObjectsUnderTest:
    """A store, and the settings with which another process opens the same one."""

    store: Store
    environment: Mapping[str, str]

    def again(self) -> Store:
        """Return the same store through a new adapter, as another process would open it."""
        if isinstance(self.store, FolderStore):
            return FolderStore(self.store.root)
        return AzureBlobStore(
            self.store._service,
            container_prefix=self.store._prefix,
            scratch=self.store._downloads._scratch,
        )


def folder_under_test(home: Path) -> ObjectsUnderTest:
    return ObjectsUnderTest(FolderStore(home / "store"), {"GEO_PLATFORM_HOME": str(home)})


@contextmanager
def azure_under_test(blobs: Blobs, home: Path) -> Iterator[ObjectsUnderTest]:
    environment = {
        "GEO_PLATFORM_HOME": str(home),
        "GEO_PLATFORM_PROFILE": Profile.production.value,
        "GEO_PLATFORM_BLOB_CONNECTION_STRING": blobs.connection_string,
        "GEO_PLATFORM_BLOB_CONTAINER_PREFIX": blobs.prefix,
    }
    with blob_client(blobs.connection_string) as service:
        store = AzureBlobStore(service, container_prefix=blobs.prefix, scratch=home / "scratch")
        yield ObjectsUnderTest(store, environment)
        store.close()


def blob_client(connection_string: str) -> BlobServiceClient:
    """Return the client as the platform makes it, but without retries."""
    return blob_service(
        Settings.model_validate({"blob_connection_string": connection_string}), retries=0
    )
