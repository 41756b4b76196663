"""GDAL reads one version of an object, on a disk and in a private storage account."""

import logging
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from geo_platform.errors import Conflict, StoreDenied, StoreUnavailable
from geo_platform.ports import SILVER, ObjectStore
from geo_platform.serving.published import PublishedItem
from geo_platform.serving.raster.cogs import COG_MEDIA_TYPE, CogReader
from geo_platform.settings import Settings
from geo_platform.storage.gdal_sources import GdalSource, GdalSources
from geo_platform.storage.local.folder import FolderStore
from tests.support.production import ProfileUnderTest

KEY = "cogs/a folder/dem ü.tif"


def tiff(path: Path, value: int) -> Path:
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=700,
        height=700,
        count=1,
        dtype="uint8",
        tiled=True,
        crs="EPSG:32633",
        transform=Affine(10, 0, 500_000, 0, -10, 5_200_000),
    ) as target:
        noise = np.random.default_rng(value).integers(0, 9, (1, 700, 700)) + value
        target.write(noise.astype(np.uint8))
    return path


def item(objects: ObjectStore, version: str) -> PublishedItem:
    size = objects.stat(SILVER, KEY).reference.size_bytes
    asset = {
        "type": COG_MEDIA_TYPE,
        "geo_platform:container": SILVER,
        "geo_platform:key": KEY,
        "file:size": size,
    }
    return PublishedItem("rasters", "dem", version, {"assets": {"data": asset}})


@pytest.fixture
def settings(profile: ProfileUnderTest, tmp_path: Path) -> Settings:
    return profile.settings(tmp_path / "home")


@pytest.fixture
def objects(profile: ProfileUnderTest, tmp_path: Path) -> ObjectStore:
    return profile.objects(tmp_path / "home")


def put(objects: ObjectStore, path: Path) -> str:
    return objects.put_file(SILVER, KEY, path, metadata={}).reference.etag


def test_each_version_is_read_by_its_etag(
    settings: Settings, objects: ObjectStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sources = GdalSources(settings, objects)
    first_etag = put(objects, tiff(tmp_path / "first.tif", 10))
    reader = CogReader(objects, sources)
    with reader.open(item(objects, "1" * 16), "data") as cog:
        first = cog.full.read(1)
    assert first.min() >= 10
    assert first.max() < 20
    second_etag = put(objects, tiff(tmp_path / "second.tif", 100))
    assert second_etag != first_etag
    # The kept one still has the version that was opened; it never mixes it with another.
    with reader.open(item(objects, "2" * 16), "data") as cog:
        second = cog.full.read(1)
    assert second.min() >= 100
    reader.close()
    assert "sig=" not in caplog.text.replace("sig=***", "")


def test_an_object_with_another_etag_is_not_read(
    settings: Settings, objects: ObjectStore, tmp_path: Path
) -> None:
    etag = put(objects, tiff(tmp_path / "first.tif", 10))
    put(objects, tiff(tmp_path / "second.tif", 100))

    class Late(GdalSources):
        """The object was replaced after it was looked at."""

        def source(self, container: str, key: str, *, etag: str) -> GdalSource:
            return super().source(container, key, etag=replaced)

    replaced = etag
    reader = CogReader(objects, Late(settings, objects))
    with pytest.raises(Conflict), reader.open(item(objects, "1" * 16), "data"):
        pass


def test_a_replaced_object_is_a_conflict(
    settings: Settings, objects: ObjectStore, tmp_path: Path
) -> None:
    put(objects, tiff(tmp_path / "first.tif", 10))
    before = item(objects, "1" * 16)
    objects.put_bytes(SILVER, KEY, b"something else", metadata={})
    reader = CogReader(objects, GdalSources(settings, objects))
    with pytest.raises(Conflict, match="is being replaced"), reader.open(before, "data"):
        pass
    objects.delete(SILVER, KEY)
    with pytest.raises(Conflict, match="is being replaced"), reader.open(before, "data"):
        pass


def test_a_url_of_an_account_is_for_one_object_and_for_reading(
    profile: ProfileUnderTest, settings: Settings, objects: ObjectStore, tmp_path: Path
) -> None:
    etag = put(objects, tiff(tmp_path / "first.tif", 10))
    source = GdalSources(settings, objects).source(SILVER, KEY, etag=etag)
    if profile.blobs is None:
        assert source == GdalSource(str(tmp_path / "home" / "store" / SILVER / KEY))
        return
    assert source.path.startswith("/vsicurl/http")
    assert "sp=r&" in source.path
    assert "sig" not in repr(source)
    # The same URL again, so that GDAL finds what it kept.
    assert GdalSources(settings, objects).source(SILVER, KEY, etag=etag).path == source.path
    with opened(source) as dataset:
        assert dataset.read(1).shape == (700, 700)
    other = GdalSource(source.path.replace("dem", "den"), source.options)
    with pytest.raises(rasterio.RasterioIOError), opened(other):
        pass


def test_a_refusal_of_the_account_is_told_without_the_url(
    production: ProfileUnderTest, tmp_path: Path
) -> None:
    settings = production.settings(tmp_path / "home")
    objects = production.objects(tmp_path / "home")

    class Refused(GdalSources):
        def source(self, container: str, key: str, *, etag: str) -> GdalSource:
            found = super().source(container, key, etag=etag)
            return GdalSource(found.path.replace("sig=", "sig=A"), found.options)

    put(objects, tiff(tmp_path / "first.tif", 10))
    reader = CogReader(objects, Refused(settings, objects))
    with pytest.raises(StoreDenied) as refused, reader.open(item(objects, "1" * 16), "data"):
        pass
    assert "sig=" not in f"{refused.value} {refused.value.details}"
    assert refused.value.__cause__ is None


def opened(source: GdalSource) -> rasterio.io.DatasetReader:
    with rasterio.Env(**source.options, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        return rasterio.open(source.path, driver="GTiff", sharing=False)


def test_a_store_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    objects = FolderStore(tmp_path / "store")
    put(objects, tiff(tmp_path / "first.tif", 10))
    with socket.create_server(("127.0.0.1", 0)) as silent:

        class Silent(GdalSources):
            def source(self, container: str, key: str, *, etag: str) -> GdalSource:
                limits = {"GDAL_HTTP_TIMEOUT": "1", "GDAL_HTTP_MAX_RETRY": "0"}
                port = silent.getsockname()[1]
                return GdalSource(f"/vsicurl/http://127.0.0.1:{port}/a.tif?sig=secret", limits)

        reader = CogReader(objects, Silent(Settings(home=tmp_path), objects))
        started = time.monotonic()
        with (
            pytest.raises(StoreUnavailable, match="could not be read") as failed,
            reader.open(item(objects, "1" * 16), "data"),
        ):
            pass
    assert time.monotonic() - started < 10
    assert "secret" not in f"{failed.value} {failed.value.details}"
