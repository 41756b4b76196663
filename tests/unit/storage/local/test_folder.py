"""What only the folder store does. For all stores: tests/integration/test_object_stores.py."""

import errno
import os
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geo_platform.errors import (
    Conflict,
    ParameterInvalid,
    PlatformError,
    SourceNotFound,
    StoreDenied,
    StoreUnavailable,
)
from geo_platform.storage.local.atomic import clean_incoming, new_incoming, os_errors
from geo_platform.storage.local.folder import FolderStore
from geo_platform.storage.local.folder_layout import metadata_path

ONCE_PER_EXAMPLE = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "root")


def file_of(tmp_path: Path, content: bytes, name: str = "made.tif") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_the_uri_is_percent_encoded_and_names_the_file(store: FolderStore) -> None:
    uri = store.put_bytes("bronze", "a b/100%#ü?.tif", b"x", metadata={}).reference.uri
    assert uri.endswith("/a%20b/100%25%23%C3%BC%3F.tif")
    assert Path(unquote(urlparse(uri).path)).read_bytes() == b"x"


def test_moving_a_link_moves_its_content_and_removes_the_link(
    store: FolderStore, tmp_path: Path
) -> None:
    made = file_of(tmp_path, b"content")
    link = tmp_path / "link"
    link.symlink_to(made)
    store.put_file("silver", "x", link, metadata={}, move=True)
    with store.local_path("silver", "x") as path:
        assert not path.is_symlink()
    assert (link.is_symlink(), made.read_bytes()) == (False, b"content")


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no second file system")
def test_a_move_from_another_file_system_is_a_copy_that_removes_the_source(
    store: FolderStore, tmp_path: Path
) -> None:
    other = Path("/dev/shm") / f"geo-platform-test-{os.getpid()}"
    other.write_bytes(b"far")
    try:
        store.put_file("silver", "x", other, metadata={}, move=True)
        assert not other.exists()
        assert store.read_bytes("silver", "x") == b"far"
    finally:
        other.unlink(missing_ok=True)


def test_every_rewrite_changes_the_etag_even_with_the_same_bytes(store: FolderStore) -> None:
    etags = {
        store.put_bytes("messages", "m.json", b"{}", metadata={}).reference.etag for _ in range(50)
    }
    assert len(etags) == 50
    with store.local_path("messages", "m.json") as path:
        before = store.stat("messages", "m.json").reference.etag
        path.write_bytes(b"[]")
    assert store.stat("messages", "m.json").reference.etag != before


def test_metadata_of_a_file_rewritten_by_another_program_is_ignored(store: FolderStore) -> None:
    store.put_bytes("bronze", "a.tif", b"one", metadata={"origin": "x"})
    with store.local_path("bronze", "a.tif") as path:
        path.write_bytes(b"two!")
    assert store.stat("bronze", "a.tif").metadata == {}


def test_an_object_without_metadata_removes_that_of_its_predecessor(
    store: FolderStore,
) -> None:
    store.put_bytes("messages", "a.json", b"one", metadata={})
    assert not metadata_path(store.root, "messages", "a.json").exists()
    store.put_bytes("messages", "a.json", b"two", metadata={"origin": "x"})
    assert store.stat("messages", "a.json").metadata == {"origin": "x"}
    store.put_bytes("messages", "a.json", b"six", metadata={})
    assert store.stat("messages", "a.json").metadata == {}


def test_a_damaged_sidecar_loses_the_metadata_and_not_the_object(store: FolderStore) -> None:
    store.put_bytes("bronze", "a.tif", b"one", metadata={"origin": "x"})
    metadata_path(store.root, "bronze", "a.tif").write_bytes(b'{"metadata_by_etag": 3')
    assert store.stat("bronze", "a.tif").metadata == {}
    assert store.put_bytes("bronze", "a.tif", b"two", metadata={"origin": "y"}).metadata == {
        "origin": "y"
    }


def test_delete_is_idempotent_and_removes_the_metadata(
    store: FolderStore,
) -> None:
    store.put_bytes("silver", "a", b"1", metadata={"k": "v"})
    store.delete("silver", "a")
    store.delete("silver", "a")
    assert list(store.list("silver")) == []
    assert not metadata_path(store.root, "silver", "a").exists()
    with pytest.raises(SourceNotFound, match="silver/a"):
        store.stat("silver", "a")


def test_put_with_a_condition(store: FolderStore, tmp_path: Path) -> None:
    made = file_of(tmp_path, b"1")
    first = store.put_file("silver", "a", made, metadata={}, only_if_etag="")
    with pytest.raises(Conflict, match="not at none"):
        store.put_file("silver", "a", made, metadata={}, only_if_etag="")
    second = store.put_file("silver", "a", made, metadata={}, only_if_etag=first.reference.etag)
    with pytest.raises(Conflict):
        store.put_file(
            "silver", "a", made, metadata={}, move=True, only_if_etag=first.reference.etag
        )
    assert store.stat("silver", "a") == second
    assert made.exists(), "a failed move leaves the file in place"
    assert list((store.root / ".incoming").iterdir()) == []


def test_a_file_that_changes_while_it_is_copied_is_refused(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = file_of(tmp_path, b"first half")
    copy = __import__("shutil").copyfile

    def copy_during_a_write(source: Path, target: Path) -> None:
        copy(source, target)
        with source.open("ab") as file:
            file.write(b", second half")

    monkeypatch.setattr("geo_platform.storage.local.folder.shutil.copyfile", copy_during_a_write)
    with pytest.raises(Conflict, match=r"made\.tif.*changed while"):
        store.put_file("bronze", "a.tif", made, metadata={})
    assert list(store.list("bronze")) == []
    assert list((store.root / ".incoming").iterdir()) == []


@ONCE_PER_EXAMPLE
@given(key=st.text(st.sampled_from("ab./\\\0~ %é\n-"), max_size=12))
def test_no_key_escapes_its_container(key: str, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "root")
    try:
        path = store._path("bronze", key)
    except PlatformError:
        return
    assert Path(os.path.normpath(path)).is_relative_to(store.root / "bronze")
    assert path != store.root / "bronze"


def test_links_out_of_the_container_are_not_followed_or_listed(
    store: FolderStore, tmp_path: Path
) -> None:
    secret = tmp_path / "secrets"
    secret.mkdir()
    (secret / "key.pem").write_text("secret")
    store.put_bytes("bronze", "a.tif", b"1", metadata={})
    bronze = store.root / "bronze"
    (bronze / "file.pem").symlink_to(secret / "key.pem")
    (bronze / "folder").symlink_to(secret)
    (bronze / "inside.tif").symlink_to(bronze / "a.tif")
    (bronze / "dangling.tif").symlink_to(bronze / "nothing")
    for key in ("file.pem", "folder/key.pem"):
        for attempt in (store.stat, store.read_bytes, store.delete):
            with pytest.raises(StoreDenied, match="symbolic link"):
                attempt("bronze", key)
        with pytest.raises(StoreDenied):
            store.put_bytes("bronze", key, b"overwritten", metadata={})
    assert [stored.reference.key for stored in store.list("bronze")] == ["a.tif", "inside.tif"]
    assert (secret / "key.pem").read_text() == "secret"


def test_hidden_and_unfinished_files_are_not_listed(store: FolderStore) -> None:
    store.put_bytes("bronze", ".cache/a.tif", b"in a hidden folder, by its own key", metadata={})
    (store.root / "bronze" / ".DS_Store").write_bytes(b"hidden")
    (store.root / "bronze" / "a\nb").write_bytes(b"no key")
    new_incoming(store.root).write_bytes(b"half")
    assert [stored.reference.key for stored in store.list("bronze")] == [".cache/a.tif"]
    assert list(store.list("quarantine")) == []


def test_a_key_below_an_object_or_at_a_folder_is_a_conflict(store: FolderStore) -> None:
    store.put_bytes("silver", "a", b"1", metadata={})
    store.put_bytes("silver", "b/c", b"1", metadata={})
    with pytest.raises(Conflict):
        store.put_bytes("silver", "a/b", b"1", metadata={})
    with pytest.raises(Conflict):
        store.put_bytes("silver", "b", b"1", metadata={})
    for key in ("b", "a/b", "a/b/c"):
        with pytest.raises(SourceNotFound):
            store.stat("silver", key)
        with pytest.raises(SourceNotFound):
            store.read_bytes("silver", key)
        store.delete("silver", key)
    assert [stored.reference.key for stored in store.list("silver")] == ["a", "b/c"]


def test_a_folder_named_like_a_sidecar_is_not_a_sidecar(store: FolderStore) -> None:
    for key in ("a", "a.json/b", "a.json@/b"):
        store.put_bytes("silver", key, b"1", metadata={"key": key})
    assert {stored.metadata["key"] for stored in store.list("silver")} == {
        "a",
        "a.json/b",
        "a.json@/b",
    }


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, StoreUnavailable),
        (errno.EIO, StoreUnavailable),
        (errno.EMFILE, StoreUnavailable),
        (errno.EACCES, StoreDenied),
        (errno.EROFS, StoreDenied),
        (errno.ENOENT, SourceNotFound),
        (errno.EISDIR, Conflict),
        (errno.ENAMETOOLONG, ParameterInvalid),
    ],
)
def test_every_system_error_becomes_a_platform_error_that_names_the_object(
    number: int, expected: type[PlatformError]
) -> None:
    with (
        pytest.raises(expected, match="The object bronze/a") as refused,
        os_errors("The object bronze/a"),
    ):
        raise OSError(number, os.strerror(number))
    assert isinstance(refused.value.__cause__, OSError)


def test_a_full_disk_is_reported_and_leaves_nothing(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("geo_platform.storage.local.folder.shutil.copyfile", full)
    with pytest.raises(StoreUnavailable, match="No space left") as refused:
        store.put_file("bronze", "a", file_of(tmp_path, b"1"), metadata={})
    assert refused.value.retryable
    assert list((store.root / ".incoming").iterdir()) == []


def test_leftovers_of_ended_processes_are_removed_and_of_running_ones_kept(
    store: FolderStore,
) -> None:
    mine = new_incoming(store.root)
    mine.write_bytes(b"under way")
    machine, _, rest = mine.name.split("-")
    dead = mine.with_name(f"{machine}-{2**22 + 1}.12345-{rest}")
    reused = mine.with_name(f"{machine}-{os.getpid()}.1-{rest}")
    elsewhere = mine.with_name(f"{'0' * 8}-1.1-{rest}")
    for path in (dead, reused, elsewhere):
        path.write_bytes(b"left")
    assert clean_incoming(store.root) == 2
    assert sorted((store.root / ".incoming").iterdir()) == sorted([mine, elsewhere])
