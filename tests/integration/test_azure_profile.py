"""Profile a 400 MB raster in Azure Blob Storage with less than 8 MB on the wire.

What needs the whole file fetches it once.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from geo_platform.chains.raster import ARRIVAL, COG, PROFILE
from geo_platform.contracts.arrival import ObjectArrived
from geo_platform.contracts.raster import RasterProfiled
from geo_platform.options import ArrivalOptions
from geo_platform.raster.convert import make_cogs
from geo_platform.raster.options import RasterCogOptions, RasterProfileOptions
from geo_platform.raster.profile import profile_object
from geo_platform.source.arrival import open_source, receive
from geo_platform.storage.azure.blob import AzureBlobStore
from tests.support.fault_proxy import FaultProxy, before
from tests.support.objects import blob_client
from tests.support.servers import Blobs

COST_BYTES = 8_000_000
SIZE_PX = 12_000


@pytest.fixture
def wire(blobs: Blobs) -> Iterator[FaultProxy]:
    with before(blobs.connection_string).running() as network:
        yield network


@pytest.fixture
def store(blobs: Blobs, wire: FaultProxy, tmp_path: Path) -> Iterator[AzureBlobStore]:
    with blob_client(wire.connection_string(blobs.connection_string)) as service:
        store = AzureBlobStore(service, container_prefix=blobs.prefix, scratch=tmp_path / "scratch")
        yield store
        store.close()


def large_tiff(path: Path) -> Path:
    """Write 432 MB of incompressible noise, in tiles of 512 pixels."""
    strip = np.random.default_rng(7).integers(1, 255, (3, 512, SIZE_PX), dtype="uint8")
    place = {"crs": "EPSG:32633", "transform": (1, 0, 500_000, 0, -1, 5_000_000)}
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "photometric": "RGB"}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=SIZE_PX,
        height=SIZE_PX,
        count=3,
        dtype="uint8",
        **place,
        **layout,
    ) as target:
        for row in range(0, SIZE_PX, 512):
            rows = min(512, SIZE_PX - row)
            target.write(
                np.roll(strip, row, axis=2)[:, :rows], window=Window(0, row, SIZE_PX, rows)
            )
    return path


def profiled_object(
    store: AzureBlobStore, key: str, scratch: Path
) -> tuple[ObjectArrived, RasterProfiled]:
    arrived = receive(store, "bronze", key, ArrivalOptions(), recipe=ARRIVAL.recipe)
    return arrived, profile_object(
        arrived, RasterProfileOptions(), store, recipe=PROFILE.recipe, scratch=scratch
    )


def test_a_400_mb_tiff_is_profiled_with_less_than_8_mb(
    store: AzureBlobStore, wire: FaultProxy, tmp_path: Path
) -> None:
    path = large_tiff(tmp_path / "scene.tif")
    store.put_file("bronze", "in/scene.tif", path, metadata={}, move=True)
    description = (
        b'<PAMDataset><PAMRasterBand band="1"><Description>red light</Description>'
        b"</PAMRasterBand></PAMDataset>"
    )
    store.put_bytes("bronze", "in/scene.tif.aux.xml", description, metadata={})
    store.put_bytes("bronze", "in/scene.tfw", b"9\n0\n0\n-9\n0\n0\n", metadata={})
    before_bytes = wire.from_server
    arrived, profiled = profiled_object(store, "in/scene.tif", tmp_path)
    cost = wire.from_server - before_bytes
    assert arrived.size_bytes > 400_000_000
    assert cost < COST_BYTES
    assert [sidecar.key for sidecar in arrived.sidecars] == ["in/scene.tfw", "in/scene.tif.aux.xml"]
    assert (
        profiled.bands[0].description,
        profiled.raster_type.value,
        profiled.crs.authority_code,
    ) == ("red light", "rgb", "EPSG:32633")
    assert profiled.bands[0].statistics is not None
    assert profiled.bands[0].statistics.sampled_pixels >= 9 * 512 * 512


def test_the_stages_of_a_run_fetch_a_source_once(
    store: AzureBlobStore, wire: FaultProxy, tmp_path: Path
) -> None:
    """The profile fetches a small TIFF as a whole; the conversion uses the same file."""
    pixels = np.random.default_rng(1).integers(1, 255, (1, 1500, 1500), dtype="uint8")
    place = {"crs": "EPSG:32633", "transform": (1, 0, 500_000, 0, -1, 5_000_000)}
    with rasterio.open(
        tmp_path / "a.tif",
        "w",
        driver="GTiff",
        width=1500,
        height=1500,
        count=1,
        dtype="uint8",
        **place,
    ) as target:
        target.write(pixels)
    store.put_file("bronze", "a.tif", tmp_path / "a.tif", metadata={})
    before_bytes = wire.from_server
    arrived, profiled = profiled_object(store, "a.tif", tmp_path)
    with open_source(store, arrived, scratch=tmp_path) as source:
        assert source.ranged == {}
    stored = make_cogs(
        profiled, RasterCogOptions(), store, recipe=COG.recipe, run_id="r1", scratch=tmp_path
    )
    cost = wire.from_server - before_bytes
    assert arrived.size_bytes < cost < 1.4 * arrived.size_bytes
    assert store.stat("silver", stored.cogs[0].stored.key).metadata["run_id"] == "r1"
    again = make_cogs(
        profiled, RasterCogOptions(), store, recipe=COG.recipe, run_id="r2", scratch=tmp_path
    )
    assert (again.was_reused, again.cogs[0].stored) == (True, stored.cogs[0].stored)
