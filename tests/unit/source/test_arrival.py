"""The first stage on a real store: the received object, and opening it again unchanged."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio

from geo_platform.chains.raster import RASTER
from geo_platform.chains.vector import VECTOR
from geo_platform.contracts.arrival import ObjectArrived, SourceFormat, SourceKind
from geo_platform.errors import (
    Conflict,
    LayerAmbiguous,
    SourceNotFound,
    SourceUnreadable,
    UnsupportedFormat,
)
from geo_platform.fingerprint import Recipe
from geo_platform.options import ArrivalOptions
from geo_platform.source.arrival import open_source, receive
from geo_platform.source.sidecars import group_sources
from geo_platform.storage.local.folder import FolderStore
from tests.support.far import FarFolder
from tests.unit.source.conftest import shapefile_parts

_OPTIONS = ArrivalOptions()


@pytest.fixture(params=[FolderStore, FarFolder], ids=["in the folder", "by ranges"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FolderStore:
    """Receive from a remote store: the result and the refusals must be the same."""
    store: FolderStore = request.param(tmp_path / "store")
    return store


def _put(store: FolderStore, key: str, content: Path | bytes) -> None:
    store.put_bytes(
        "bronze", key, content if isinstance(content, bytes) else content.read_bytes(), metadata={}
    )


def _receive(store: FolderStore, key: str, expected: SourceKind | None = None) -> ObjectArrived:
    if expected is None:
        return receive(store, "bronze", key, _OPTIONS, recipe=RASTER.first.recipe)
    chain = RASTER if expected is SourceKind.raster else VECTOR
    return chain.receive(store, key, chain.fit({}))


def test_an_object_by_itself(samples: Path, store: FolderStore, tmp_path: Path) -> None:
    _put(store, "in/a.bin", samples / "geotiff.tif")
    arrived = _receive(store, "in/a.bin", SourceKind.raster)
    stat = store.stat("bronze", "in/a.bin")
    assert (arrived.format, arrived.kind, arrived.media_type) == (
        SourceFormat.geotiff,
        SourceKind.raster,
        "image/tiff; application=geotiff",
    )
    assert (arrived.etag, arrived.uri, arrived.size_bytes) == (
        stat.reference.etag,
        stat.reference.uri,
        stat.reference.size_bytes,
    )
    assert arrived.sidecars == ()
    assert arrived.fingerprint == Recipe("raw_raster", 1).extend(arrived.etag, {})
    assert ObjectArrived.model_validate_json(arrived.model_dump_json()) == arrived
    with (
        open_source(store, arrived, scratch=tmp_path / "s") as source,
        rasterio.open(source.gdal_path, driver="GTiff") as dataset,
    ):
        assert dataset.shape == (48, 64)
        assert source.display_name == "in/a.bin"


def test_a_shapefile_arrives_with_its_parts(
    samples: Path, store: FolderStore, tmp_path: Path
) -> None:
    for name, path in shapefile_parts(samples).items():
        _put(store, f"in/{name}", path)
    _put(store, "in/shapefile.qix", b"not exposed")
    _put(store, "in/shapefile2.dbf", b"another's")
    arrived = _receive(store, "in/shapefile.shp", SourceKind.vector)
    assert [part.key for part in arrived.sidecars] == [
        f"in/shapefile.{part}" for part in ("cpg", "dbf", "prj", "shx")
    ]
    assert arrived.etag != store.stat("bronze", "in/shapefile.shp").reference.etag
    with open_source(store, arrived, scratch=tmp_path / "s") as source:
        info = pyogrio.read_info(source.gdal_path)
        assert (info["features"], info["crs"], list(info["fields"])) == (3, "EPSG:4326", ["name"])


def test_a_new_sidecar_makes_a_new_source(samples: Path, store: FolderStore) -> None:
    _put(store, "a.png", samples / "png.png")
    first = _receive(store, "a.png")
    _put(store, "a.pgw", b"1\n0\n0\n-1\n0\n0\n")
    second = _receive(store, "a.png")
    _put(store, "a.pgw", b"2\n0\n0\n-2\n0\n0\n")
    third = _receive(store, "a.png")
    assert len({first.fingerprint, second.fingerprint, third.fingerprint}) == 3
    assert third.fingerprint == _receive(store, "a.png").fingerprint


@pytest.mark.parametrize("replaced", ["a.png", "a.pgw"])
def test_an_object_replaced_meanwhile_is_a_conflict(
    samples: Path, store: FolderStore, tmp_path: Path, replaced: str
) -> None:
    _put(store, "a.png", samples / "png.png")
    _put(store, "a.pgw", b"1\n0\n0\n-1\n0\n0\n")
    arrived = _receive(store, "a.png")
    _put(store, replaced, b"something else")
    with pytest.raises(Conflict) as refusal, open_source(store, arrived, scratch=tmp_path / "s"):
        pass
    assert not refusal.value.retryable
    assert "again" in refusal.value.remedy
    store.delete("bronze", replaced)
    with pytest.raises(Conflict), open_source(store, arrived, scratch=tmp_path / "s"):
        pass


def test_a_file_for_the_other_job(samples: Path, store: FolderStore) -> None:
    _put(store, "a.tif", samples / "geopackage.gpkg")
    with pytest.raises(UnsupportedFormat, match="GeoPackage") as refusal:
        _receive(store, "a.tif", SourceKind.raster)
    assert "ingest_vector" in refusal.value.remedy
    assert _receive(store, "a.tif").kind is SourceKind.vector


def test_an_archive_of_several(
    samples: Path, store: FolderStore, tmp_path: Path, zipped: Callable[..., Path]
) -> None:
    _put(
        store,
        "a.zip",
        zipped({"b1.tif": samples / "geotiff.tif", "b2.tif": samples / "geotiff.tif"}),
    )
    with pytest.raises(LayerAmbiguous):
        _receive(store, "a.zip")
    chosen = [
        receive(
            store,
            "bronze",
            "a.zip",
            ArrivalOptions(archive_member=name),
            recipe=RASTER.first.recipe,
        )
        for name in ("b1.tif", "b2.tif")
    ]
    assert [one.archive_member.path for one in chosen if one.archive_member] == ["b1.tif", "b2.tif"]
    assert chosen[0].etag == chosen[1].etag
    assert chosen[0].fingerprint != chosen[1].fingerprint
    with (
        open_source(store, chosen[1], scratch=tmp_path / "s") as source,
        rasterio.open(source.gdal_path, driver="GTiff") as dataset,
    ):
        assert dataset.count == 1
        assert source.gdal_path.endswith("b2.tif")


def test_a_geopackage_with_changes_beside_it(samples: Path, store: FolderStore) -> None:
    _put(store, "a.gpkg", samples / "geopackage.gpkg")
    _put(store, "a.gpkg-shm", b"x")
    _put(store, "a.gpkg-wal", b"")
    assert _receive(store, "a.gpkg").sidecars == ()
    _put(store, "a.gpkg-wal", b"changes")
    with pytest.raises(SourceUnreadable, match="not written into it yet"):
        _receive(store, "a.gpkg")


def test_force_travels_with_the_object_and_changes_no_fingerprint(
    samples: Path, store: FolderStore
) -> None:
    _put(store, "a.tif", samples / "geotiff.tif")
    forced = receive(
        store, "bronze", "a.tif", ArrivalOptions(force=True), recipe=RASTER.first.recipe
    )
    assert forced.force
    assert forced.fingerprint == _receive(store, "a.tif").fingerprint


def test_a_missing_object_is_not_found(store: FolderStore) -> None:
    with pytest.raises(SourceNotFound):
        _receive(store, "a.tif")


def test_every_format_is_known_by_ranges_as_it_is_in_a_file(
    samples: Path, tmp_path: Path, zipped: Callable[..., Path]
) -> None:
    """Only GeoPackage (SQLite) and GeoParquet (Arrow) are downloaded as files."""
    near, far = FolderStore(tmp_path / "store"), FarFolder(tmp_path / "store")
    archives = [
        zipped({name: samples / name}, f"{name}.zip")
        for name in ("geotiff.tif", "geopackage.gpkg", "kml.kml")
    ]
    files = [path for path in samples.iterdir() if path.is_file() and path.name != "plain.parquet"]
    for path in (*files, *archives):
        _put(near, path.name, path)
    names = [
        group.main for group in group_sources(path.name for path in (*files, *archives)).sources
    ]
    assert len(names) > 17
    for name in names:
        assert _receive(far, name) == _receive(near, name)
    assert sorted(far.whole) == ["geopackage.gpkg", "geoparquet.parquet"]


def test_detection_reads_little_of_a_large_object(
    tmp_path: Path, zipped: Callable[..., Path]
) -> None:
    pixels, store = (
        np.random.default_rng(0).integers(0, 255, (3, 2048, 2048), dtype="uint8"),
        FarFolder(tmp_path / "store"),
    )
    profile = {
        "width": 2048,
        "height": 2048,
        "count": 3,
        "dtype": "uint8",
        "crs": "EPSG:3857",
        "transform": (10, 0, 7, 0, -10, 9),
    }
    with rasterio.open(
        tmp_path / "large.tif", "w", driver="GTiff", tiled=True, **profile
    ) as dataset:
        dataset.write(pixels)
    archive = zipped(
        {"a/large.tif": tmp_path / "large.tif", "a/readme.txt": b"words"},
        compression=zipfile.ZIP_STORED,
    )
    for path in (tmp_path / "large.tif", archive):
        _put(store, path.name, path)
        store.fetches.clear()
        assert _receive(store, path.name).kind is SourceKind.raster
        assert (sum(store.fetches) < 700_000, len(store.fetches) < 15, store.whole) == (
            True,
            True,
            [],
        )


def test_an_object_replaced_during_detection_is_a_conflict(samples: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    _put(store, "a.tif", samples / "geotiff.tif")
    described = store.stat("bronze", "a.tif")
    _put(store, "a.tif", samples / "geotiff.tif")
    store.stat = lambda container, key: described  # type: ignore[method-assign]  # the earlier version
    with pytest.raises(Conflict, match=r"a\.tif"):
        _receive(store, "a.tif")
