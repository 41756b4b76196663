"""Kill the store or the writer: nothing partial is visible, and the next put works."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from geo_platform.errors import StoreUnavailable
from geo_platform.storage.azure.blob import AzureBlobStore
from tests.support.fault_proxy import FaultProxy, before
from tests.support.objects import blob_client
from tests.support.servers import Blobs, OwnAzurite

PROJECT = Path(__file__).parents[2]
# Five blocks: more than are uploaded in parallel.
IN_BLOCKS = 40_000_000


@pytest.fixture
def made(tmp_path: Path) -> Path:
    path = tmp_path / "made.tif"
    path.write_bytes(os.urandom(IN_BLOCKS))
    return path


@contextmanager
def store_behind(
    network: FaultProxy, connection_string: str, prefix: str, scratch: Path
) -> Iterator[AzureBlobStore]:
    with network.running(), blob_client(network.connection_string(connection_string)) as service:
        store = AzureBlobStore(service, container_prefix=prefix, scratch=scratch)
        yield store
        store.close()


def test_a_server_killed_during_an_upload_leaves_nothing_visible(
    own_azurite: OwnAzurite, made: Path, tmp_path: Path
) -> None:
    network = before(own_azurite.connection_string)
    with store_behind(network, own_azurite.connection_string, "", tmp_path / "scratch") as store:
        earlier = store.put_bytes("silver", "earlier", b"1", metadata={})
        own_azurite.stop()  # Azurite keeps the last seconds' data in memory only
        own_azurite.start()
        network.call_at(b"comp=block&", own_azurite.crash, nth=4)
        with pytest.raises(StoreUnavailable, match=r"silver/a\.tif") as gone:
            store.put_file("silver", "a.tif", made, metadata={}, move=True)
        assert (gone.value.retryable, made.exists()) == (True, True)
        with pytest.raises(StoreUnavailable):
            store.stat("silver", "earlier")
        own_azurite.start()
        assert list(store.list("silver")) == [earlier]
        stored = store.put_file("silver", "a.tif", made, metadata={"run_id": "r2"}, only_if_etag="")
        with store.local_path("silver", "a.tif", etag=stored.reference.etag) as path:
            assert path.read_bytes() == made.read_bytes()


def test_a_server_killed_during_a_read_is_a_temporary_error(
    own_azurite: OwnAzurite, made: Path, tmp_path: Path
) -> None:
    network = before(own_azurite.connection_string)
    with store_behind(network, own_azurite.connection_string, "", tmp_path / "scratch") as store:
        store.put_file("bronze", "a", made, metadata={})
        own_azurite.stop()
        own_azurite.start()
        with store.open("bronze", "a") as stream:
            assert stream.read(4) == made.read_bytes()[:4]
            own_azurite.crash()
            with pytest.raises(StoreUnavailable, match="bronze/a"):
                stream.read()
            with pytest.raises(StoreUnavailable), store.local_path("bronze", "a"):
                pass
            own_azurite.start()
            assert stream.seek(0) == 0
            assert stream.read() == made.read_bytes()
        network.call_at(b"x-ms-range: bytes=8388608-", own_azurite.crash)
        with pytest.raises(StoreUnavailable), store.local_path("bronze", "a"):
            pass
    assert [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()] == []


_WRITER = """
import sys
from pathlib import Path
from geo_platform.settings import load_settings
from geo_platform.storage.stores import open_objects
open_objects(load_settings()).put_file(
    "silver", "a.tif", Path(sys.argv[1]), metadata={"by": "the first"}
)
"""


@pytest.mark.parametrize("moment", [b"comp=block&", b"comp=blocklist"])
def test_a_writer_killed_during_an_upload_leaves_nothing_visible(
    blobs: Blobs, made: Path, tmp_path: Path, moment: bytes
) -> None:
    network = before(blobs.connection_string)
    environment = os.environ | {
        "PYTHONPATH": str(PROJECT),
        "GEO_PLATFORM_PROFILE": "production",
        "GEO_PLATFORM_HOME": str(tmp_path / "home"),
        "GEO_PLATFORM_BLOB_CONNECTION_STRING": network.connection_string(blobs.connection_string),
        "GEO_PLATFORM_BLOB_CONTAINER_PREFIX": blobs.prefix,
    }
    with store_behind(
        network, blobs.connection_string, blobs.prefix, tmp_path / "scratch"
    ) as store:
        network.call_at(
            moment,
            lambda: writer.send_signal(signal.SIGKILL),
            nth=3 if moment.endswith(b"&") else 1,
            then_cut=True,
        )
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(made)], env=environment)
        assert writer.wait(timeout=60) == -signal.SIGKILL
        assert list(store.list("silver")) == []
        store.put_file("silver", "a.tif", made, metadata={"by": "the next"}, only_if_etag="")
        assert store.stat("silver", "a.tif").metadata == {"by": "the next"}
        assert store.read_bytes("silver", "a.tif") == made.read_bytes()
