"""Arriving: the etag stays while the bytes stay, whatever happens to the file's own times."""

import os
from pathlib import Path

import pytest

from geo_platform.errors import SourceNotFound, SourceUnreadable
from geo_platform.ports import SUBMITTED
from geo_platform.storage.arrive import arrive
from geo_platform.storage.folder import FolderStore


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "root")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "scene.tif"
    path.write_bytes(b"II*\0" + bytes(100_000))
    return path


def test_a_second_arrival_of_the_same_file_changes_nothing(store: FolderStore, source: Path) -> None:
    first = arrive(store, source, "bronze", "scene.tif")
    assert store.read_bytes("bronze", "scene.tif") == source.read_bytes()
    assert arrive(store, source, "bronze", "scene.tif") == first


def test_the_same_bytes_in_another_file_change_nothing_either(store: FolderStore, source: Path) -> None:
    first = arrive(store, source, "bronze", "scene.tif")
    content = source.read_bytes()
    source.unlink()
    source.write_bytes(content)
    os.utime(source, (1, 1))
    assert arrive(store, source, "bronze", "scene.tif").reference == first.reference


def test_a_touched_file_is_compared_and_not_copied(store: FolderStore, source: Path) -> None:
    first = arrive(store, source, "bronze", "scene.tif")
    source.touch()
    assert arrive(store, source, "bronze", "scene.tif").reference == first.reference


def test_a_byte_that_changed_under_the_old_size_and_mtime_is_seen(store: FolderStore, source: Path) -> None:
    first = arrive(store, source, "bronze", "scene.tif")
    times = source.stat()
    with source.open("r+b") as file:
        file.seek(50_000)
        file.write(b"\1")
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    second = arrive(store, source, "bronze", "scene.tif")
    assert second.reference.etag != first.reference.etag
    assert store.read_bytes("bronze", "scene.tif") == source.read_bytes()


def test_an_object_that_was_overwritten_by_hand_is_replaced(store: FolderStore, source: Path) -> None:
    arrive(store, source, "bronze", "scene.tif")
    with store.local_path("bronze", "scene.tif") as path:
        path.write_bytes(b"something else")
    arrive(store, source, "bronze", "scene.tif")
    assert store.read_bytes("bronze", "scene.tif") == source.read_bytes()


def test_an_object_that_is_there_by_other_ways_is_taken_as_it_is(store: FolderStore, source: Path) -> None:
    put = store.put_bytes("bronze", "scene.tif", source.read_bytes(), metadata={"by": "upload"})
    assert arrive(store, source, "bronze", "scene.tif") == put


def test_only_the_origin_is_recorded_and_nothing_of_the_path(store: FolderStore, source: Path) -> None:
    assert set(arrive(store, source, "bronze", "scene.tif").metadata) == {SUBMITTED}
    assert source.name not in str(store.stat("bronze", "scene.tif").metadata)


def test_what_is_no_file_does_not_arrive(store: FolderStore, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"absent\.tif"):
        arrive(store, tmp_path / "absent.tif", "bronze", "a.tif")
    with pytest.raises(SourceUnreadable):
        arrive(store, tmp_path, "bronze", "a.tif")
    assert list(store.list("bronze")) == []
