"""Local files as sources: the etag changes only with the bytes, whatever the times of the file."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_platform.errors import Conflict, SourceNotFound, SourceUnreadable
from geo_platform.ports import UPLOAD_ORIGIN, StoredObject
from geo_platform.storage.azure.names import check_new_key
from geo_platform.storage.local.folder import FolderStore
from geo_platform.storage.local.source_files import (
    key_of_sidecar,
    local_key,
    resolved_path,
    upload_file,
)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "root")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "scene.tif"
    path.write_bytes(b"II*\0" + bytes(100_000))
    return path


def test_a_second_arrival_of_the_same_file_changes_nothing(
    store: FolderStore, source: Path
) -> None:
    first = upload_file(store, source, "bronze", "scene.tif")
    assert store.read_bytes("bronze", "scene.tif") == source.read_bytes()
    assert upload_file(store, source, "bronze", "scene.tif") == first


def test_the_same_bytes_in_another_file_change_nothing(store: FolderStore, source: Path) -> None:
    first = upload_file(store, source, "bronze", "scene.tif")
    content = source.read_bytes()
    source.unlink()
    source.write_bytes(content)
    os.utime(source, (1, 1))
    assert upload_file(store, source, "bronze", "scene.tif").reference == first.reference


def test_a_touched_file_is_compared_and_not_copied(store: FolderStore, source: Path) -> None:
    first = upload_file(store, source, "bronze", "scene.tif")
    source.touch()
    assert upload_file(store, source, "bronze", "scene.tif").reference == first.reference


def test_a_changed_byte_with_equal_size_and_mtime_is_detected(
    store: FolderStore, source: Path
) -> None:
    first = upload_file(store, source, "bronze", "scene.tif")
    times = source.stat()
    with source.open("r+b") as file:
        file.seek(50_000)
        file.write(b"\1")
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    second = upload_file(store, source, "bronze", "scene.tif")
    assert second.reference.etag != first.reference.etag
    assert store.read_bytes("bronze", "scene.tif") == source.read_bytes()


def test_an_object_that_was_overwritten_by_hand_is_replaced(
    store: FolderStore, source: Path
) -> None:
    upload_file(store, source, "bronze", "scene.tif")
    with store.local_path("bronze", "scene.tif") as path:
        path.write_bytes(b"something else")
    upload_file(store, source, "bronze", "scene.tif")
    assert store.read_bytes("bronze", "scene.tif") == source.read_bytes()


def test_an_object_stored_by_another_program_is_used_unchanged(
    store: FolderStore, source: Path
) -> None:
    put = store.put_bytes("bronze", "scene.tif", source.read_bytes(), metadata={"by": "upload"})
    assert upload_file(store, source, "bronze", "scene.tif") == put


class _ConcurrentPut(FolderStore):
    """A store where another process puts `other_file` just before the first put of a key."""

    def __init__(self, root: Path, other_file: Path) -> None:
        super().__init__(root)
        self.other_file = other_file
        self.others: list[StoredObject] = []

    def put_file(self, container: str, key: str, path: Path, **options: Any) -> StoredObject:
        if not self.others:
            self.others.append(
                FolderStore(self.root).put_file(container, key, self.other_file, metadata={})
            )
        return super().put_file(container, key, path, **options)


def test_the_second_of_two_concurrent_puts_of_one_file_uses_the_first_object(
    tmp_path: Path, source: Path
) -> None:
    """Replacing the etag that the first run uses would make that run fail."""
    store = _ConcurrentPut(tmp_path / "root", source)
    assert upload_file(store, source, "bronze", "scene.tif").reference == store.others[0].reference


def test_a_concurrent_put_of_other_bytes_replaces_the_first(tmp_path: Path, source: Path) -> None:
    other = tmp_path / "other.tif"
    other.write_bytes(b"II*\0other")
    store = _ConcurrentPut(tmp_path / "root", other)
    assert upload_file(store, source, "bronze", "scene.tif").reference != store.others[0].reference
    assert store.read_bytes("bronze", "scene.tif") == source.read_bytes()


def test_a_file_that_changes_while_it_is_copied_is_refused(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderStore(tmp_path / "root")
    copy = shutil.copyfile

    def copy_during_a_write(path: Path, to: Path) -> None:
        copy(path, to)
        with path.open("ab") as file:
            file.write(b"more")

    monkeypatch.setattr(shutil, "copyfile", copy_during_a_write)
    with pytest.raises(Conflict, match="changed while it was copied"):
        upload_file(store, source, "bronze", "scene.tif")


def test_only_the_origin_is_recorded_and_nothing_of_the_path(
    store: FolderStore, source: Path
) -> None:
    assert set(upload_file(store, source, "bronze", "scene.tif").metadata) == {UPLOAD_ORIGIN}
    assert source.name not in str(store.stat("bronze", "scene.tif").metadata)


def test_a_path_that_is_no_file_is_refused(store: FolderStore, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"absent\.tif"):
        upload_file(store, tmp_path / "absent.tif", "bronze", "a.tif")
    with pytest.raises(SourceUnreadable):
        upload_file(store, tmp_path, "bronze", "a.tif")
    assert list(store.list("bronze")) == []


_NAMES = st.binary(min_size=1, max_size=255).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"0")))
_FILE_NAMES = _NAMES.map(lambda name: name.replace("/", "_")).filter(lambda n: n not in (".", ".."))


@given(_FILE_NAMES, _FILE_NAMES)
def test_every_file_name_has_a_key_of_its_own_that_each_store_accepts(
    name: str, other: str
) -> None:
    path = Path("/home/anna/data", name)
    key = local_key(path)
    assert check_new_key(key) == key
    assert "anna" not in key.rpartition("/")[0]
    assert (local_key(Path("/home/anna/data", other)) == key) is (other == name)
    assert local_key(Path("/home/bert/data", name)) != key
    sidecar = key_of_sidecar(path, key, Path("/home/anna/data", f"{name}.aux.xml"))
    assert sidecar == f"{check_new_key(key)}.aux.xml"


def test_a_sidecar_follows_the_changed_name_of_its_source() -> None:
    path = Path("/data/back\\slash.shp")
    key = local_key(path)
    assert key.endswith("/back_slash.shp")
    sidecar = key_of_sidecar(path, key, Path("/data/BACK\\SLASH.DBF"))
    assert sidecar == key.removesuffix(".shp") + ".DBF"


def test_links_are_resolved_except_into_hidden_folders(tmp_path: Path) -> None:
    (tmp_path / "data" / ".dvc").mkdir(parents=True)
    (tmp_path / "data" / "a.tif").touch()
    (tmp_path / "data" / ".dvc" / "0123").touch()
    (tmp_path / "linked").symlink_to("data")
    (tmp_path / "link.tif").symlink_to("linked/a.tif")
    (tmp_path / "data" / "b.tif").symlink_to(".dvc/0123")
    (tmp_path / "loop.tif").symlink_to("loop.tif")
    real = tmp_path / "data" / "a.tif"
    assert resolved_path(tmp_path / "link.tif") == real
    assert resolved_path(tmp_path / "linked" / ".." / "data" / "a.tif") == real
    assert resolved_path(tmp_path / "linked" / "b.tif") == tmp_path / "data" / "b.tif"
    assert resolved_path(tmp_path / "data" / ".dvc" / "0123") == tmp_path / "data" / ".dvc" / "0123"
    assert resolved_path(tmp_path / "loop.tif").name == "loop.tif"
