"""The contract of every object store: the same tests on a folder and on Azure Blob Storage."""

import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geo_platform.errors import Conflict, ParameterInvalid, SourceNotFound, SourceUnreadable
from geo_platform.settings import Profile
from geo_platform.storage.azure.blob import AzureBlobStore
from tests.support.objects import (
    ObjectsUnderTest,
    Store,
    azure_under_test,
    blob_client,
    folder_under_test,
)

PROJECT = Path(__file__).parents[2]
KEYS_THAT_COULD_MEAN_ANOTHER_PLACE = [
    "", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "a/.", "a\\b", "a\0b",
    "a\nb", ".hidden", "a/.hidden", "\udcff",
    "x" * 1025, "y" * 241,
]  # fmt: skip


@pytest.fixture(params=list(Profile), ids=str)
def under_test(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectsUnderTest]:
    if request.param is Profile.embedded:
        yield folder_under_test(tmp_path / "home")
        return
    with azure_under_test(request.getfixturevalue("blobs"), tmp_path / "home") as objects:
        yield objects


@pytest.fixture
def store(under_test: ObjectsUnderTest) -> Store:
    return under_test.store


def file_of(tmp_path: Path, content: bytes, name: str = "made.tif") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def keys(store: Store, container: str, prefix: str = "") -> list[str]:
    return [stored.reference.key for stored in store.list(container, prefix)]


def test_put_stat_and_list_describe_an_object_alike(store: Store, tmp_path: Path) -> None:
    put = store.put_file(
        "silver",
        "cogs/a.tif",
        file_of(tmp_path, b"pixels"),
        metadata={"run_id": "r1", "Title": "Zürich: 100 %"},
    )
    assert put == store.stat("silver", "cogs/a.tif") == next(iter(store.list("silver")))
    assert (put.reference.container, put.reference.key, put.reference.size_bytes) == (
        "silver",
        "cogs/a.tif",
        6,
    )
    assert put.metadata == {"run_id": "r1", "Title": "Zürich: 100 %"}
    assert store.read_bytes("silver", "cogs/a.tif") == b"pixels"
    with store.local_path("silver", "cogs/a.tif") as path:
        assert path.read_bytes() == b"pixels"


@pytest.mark.parametrize("size", [0, 1, 8 * 2**20, 8 * 2**20 + 1, 25_000_000])
def test_an_object_of_any_size_is_returned_unchanged(
    store: Store, tmp_path: Path, size: int
) -> None:
    content = os.urandom(size)
    put = store.put_file("bronze", "a.bin", file_of(tmp_path, content), metadata={})
    assert put.reference.size_bytes == size
    assert put == store.stat("bronze", "a.bin")
    with store.local_path("bronze", "a.bin") as path, store.open("bronze", "a.bin") as stream:
        assert path.read_bytes() == stream.read() == store.read_bytes("bronze", "a.bin") == content


def test_the_uri_is_percent_encoded(store: Store) -> None:
    key = "a b/100%#ü?+&=.tif"
    put = store.put_bytes("bronze", key, b"x", metadata={})
    assert put.reference.uri.endswith("/a%20b/100%25%23%C3%BC%3F%2B%26%3D.tif")
    assert (store.read_bytes("bronze", key), keys(store, "bronze")) == (b"x", [key])


def test_a_copy_keeps_the_source_and_a_move_removes_it(store: Store, tmp_path: Path) -> None:
    made = file_of(tmp_path, b"1")
    store.put_file("silver", "copied", made, metadata={})
    assert made.exists()
    store.put_file("silver", "moved", made, metadata={}, move=True)
    assert not made.exists()
    assert store.read_bytes("silver", "copied") == store.read_bytes("silver", "moved") == b"1"


def test_moving_a_link_moves_its_content_and_removes_the_link(store: Store, tmp_path: Path) -> None:
    made = file_of(tmp_path, b"content")
    link = tmp_path / "link"
    link.symlink_to(made)
    store.put_file("silver", "x", link, metadata={}, move=True)
    assert store.read_bytes("silver", "x") == b"content"
    assert (link.is_symlink(), made.read_bytes()) == (False, b"content")


def test_every_rewrite_changes_the_etag_even_with_the_same_bytes(store: Store) -> None:
    etags = {
        store.put_bytes("messages", "m.json", b"{}", metadata={}).reference.etag for _ in range(20)
    }
    assert len(etags) == 20


def test_delete_is_idempotent_and_removes_the_metadata(store: Store) -> None:
    store.put_bytes("silver", "a", b"1", metadata={"k": "v"})
    store.delete("silver", "a")
    store.delete("silver", "a")
    assert keys(store, "silver") == []
    assert (
        store.put_bytes("silver", "a", b"2", metadata={}).metadata
        == {}
        == store.stat("silver", "a").metadata
    )


def test_a_missing_object_is_not_found_by_any_method(store: Store) -> None:
    def opened() -> bytes:
        with store.open("silver", "a") as stream:
            return stream.read()

    def as_file() -> bytes:
        with store.local_path("silver", "a") as path:
            return path.read_bytes()

    for attempt in (
        lambda: store.stat("silver", "a"),
        lambda: store.read_bytes("silver", "a"),
        opened,
        as_file,
    ):
        with pytest.raises(SourceNotFound, match="silver/a"):
            attempt()


def test_put_under_a_condition(store: Store, tmp_path: Path) -> None:
    made = file_of(tmp_path, b"1")
    first = store.put_file("silver", "a", made, metadata={}, only_if_etag="")
    with pytest.raises(Conflict, match="silver/a"):
        store.put_file("silver", "a", made, metadata={}, only_if_etag="")
    second = store.put_file("silver", "a", made, metadata={}, only_if_etag=first.reference.etag)
    with pytest.raises(Conflict):
        store.put_file(
            "silver", "a", made, metadata={}, move=True, only_if_etag=first.reference.etag
        )
    assert store.stat("silver", "a") == second
    assert made.exists(), "a move that did not happen gives the file back"


@pytest.mark.parametrize("size", [1, 9_000_000], ids=["small", "in blocks"])
def test_exactly_one_of_many_concurrent_conditional_puts_wins(
    under_test: ObjectsUnderTest, tmp_path: Path, size: int
) -> None:
    barrier = threading.Barrier(4)

    def put(number: int) -> bool:
        made = file_of(tmp_path, str(number).encode() * size, f"made{number}")
        barrier.wait()
        try:
            under_test.again().put_file(
                "silver", "a", made, metadata={"n": str(number)}, only_if_etag=""
            )
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(put, range(4)))
    assert won.count(True) == 1
    winner = str(won.index(True))
    content = under_test.store.read_bytes("silver", "a").decode()
    assert (set(content), len(content), under_test.store.stat("silver", "a").metadata) == (
        {winner},
        size,
        {"n": winner},
    )


_COUNT = """
import sys
from pathlib import Path
from geo_platform.errors import Conflict
from geo_platform.settings import load_settings
from geo_platform.storage.stores import open_objects
store, made = open_objects(load_settings()), Path(sys.argv[1])
done = 0
while done < 15:
    present = store.stat("silver", "counter")
    made.write_text(str(int(store.read_bytes("silver", "counter")) + 1))
    try:
        store.put_file("silver", "counter", made, metadata={}, only_if_etag=present.reference.etag)
        done += 1
    except Conflict:
        pass
"""


def test_processes_that_count_concurrently_lose_no_count(
    under_test: ObjectsUnderTest, tmp_path: Path
) -> None:
    under_test.store.put_bytes("silver", "counter", b"0", metadata={})
    environment = os.environ | under_test.environment | {"PYTHONPATH": str(PROJECT)}
    counters = [
        subprocess.Popen([sys.executable, "-c", _COUNT, str(tmp_path / name)], env=environment)
        for name in ("one", "two")
    ]
    assert [counter.wait(timeout=60) for counter in counters] == [0, 0]
    assert under_test.store.read_bytes("silver", "counter") == b"30"


def test_a_reader_reads_anywhere_and_only_while_the_object_is_at_its_etag(store: Store) -> None:
    content = os.urandom(300_000)
    first = store.put_bytes("bronze", "a", content, metadata={}).reference.etag
    with store.open("bronze", "a", etag=first) as stream:
        assert stream.read(10) == content[:10]
        assert (stream.seek(-20, io.SEEK_END), stream.read()) == (len(content) - 20, content[-20:])
        assert (stream.seek(150_000), stream.read(100_000)) == (150_000, content[150_000:250_000])
        assert (stream.seek(len(content) + 5), stream.read(1)) == (len(content) + 5, b"")
    store.put_bytes("bronze", "a", b"another", metadata={})
    with pytest.raises(Conflict, match="bronze/a"), store.open("bronze", "a", etag=first):
        pass
    with pytest.raises(Conflict, match="bronze/a"), store.local_path("bronze", "a", etag=first):
        pass


@pytest.mark.parametrize("key", KEYS_THAT_COULD_MEAN_ANOTHER_PLACE)
def test_keys_that_could_escape_the_container_are_refused(key: str, tmp_path: Path) -> None:
    """The check comes before any request, so no server is needed."""
    made = file_of(tmp_path, b"1")
    with blob_client(
        "BlobEndpoint=http://127.0.0.1:9/none;AccountName=none;AccountKey=AAAA"
    ) as service:
        stores = (folder_under_test(tmp_path / "home").store, AzureBlobStore(service))
    for store in stores:
        for attempt in (
            lambda store=store: store.put_file("bronze", key, made, metadata={}),
            lambda store=store: store.stat("bronze", key),
            lambda store=store: store.read_bytes("bronze", key),
            lambda store=store: store.delete("bronze", key),
        ):
            with pytest.raises(ParameterInvalid):
                attempt()


def test_an_unknown_container_is_refused_by_name(store: Store) -> None:
    for attempt in (lambda: list(store.list("catalog")), lambda: store.stat("catalog", "a")):
        with pytest.raises(ParameterInvalid, match="catalog") as refused:
            attempt()
        assert "bronze" in refused.value.remedy


NAMES = st.text(st.sampled_from("ab-./0é!"), min_size=1, max_size=5)
KEYS = st.lists(st.lists(NAMES, min_size=1, max_size=3).map("/".join), max_size=8)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(names=KEYS, prefix=st.text(st.sampled_from("ab-./"), max_size=3))
def test_a_listing_is_every_object_of_the_prefix_in_order_of_key(
    store: Store, names: list[str], prefix: str
) -> None:
    for stored in list(store.list("silver")):
        store.delete("silver", stored.reference.key)
    there: set[str] = set()
    for key in names:
        try:
            store.put_bytes("silver", key, b"x", metadata={"key": key})
        except (ParameterInvalid, Conflict):  # no key, or a folder is in the way
            continue
        there.add(key)
    listed = list(store.list("silver", prefix))
    assert [stored.reference.key for stored in listed] == sorted(
        key for key in there if key.startswith(prefix)
    )
    assert all(stored.metadata == {"key": stored.reference.key} for stored in listed)


def paged(store: Store, prefix: str, most: int) -> list[str]:
    found: list[str] = []
    after = None
    while True:
        page = store.page("silver", prefix, after=after, limit=most)
        assert len(page.objects) <= most
        found += [stored.reference.key for stored in page.objects]
        after = page.after
        if after is None:
            return found


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(names=KEYS, prefix=st.text(st.sampled_from("ab-./"), max_size=3), most=st.integers(1, 4))
def test_pages_are_the_listing_in_parts(
    store: Store, names: list[str], prefix: str, most: int
) -> None:
    for stored in list(store.list("silver")):
        store.delete("silver", stored.reference.key)
    for key in names:
        with suppress(ParameterInvalid, Conflict):  # no key, or a folder is in the way
            store.put_bytes("silver", key, b"x", metadata={})
    assert paged(store, prefix, most) == keys(store, "silver", prefix)


def test_a_page_describes_its_objects_and_has_the_time_of_the_store(
    under_test: ObjectsUnderTest,
) -> None:
    store = under_test.store
    assert store.page("silver").objects == ()
    put = [store.put_bytes("silver", f"{name}.tif", b"1", metadata={"n": name}) for name in "abc"]
    page = store.page("silver", limit=2)
    assert list(page.objects) == put[:2]
    assert (
        timedelta(0)
        <= page.at_utc - put[-1].last_modified_utc + timedelta(seconds=1)
        < timedelta(minutes=1)
    )
    rest = under_test.again().page("silver", after=page.after, limit=2)
    assert (list(rest.objects), rest.after) == (put[2:], None)


def test_a_listing_continues_after_its_last_key_despite_puts_and_deletes(
    store: Store,
) -> None:
    for name in "bdf":
        store.put_bytes("silver", f"{name}/x.tif", b"1", metadata={})
    page = store.page("silver", limit=2)
    store.delete("silver", "d/x.tif")
    for name in "aceg":
        store.put_bytes("silver", f"{name}/x.tif", b"1", metadata={})
    rest = store.page("silver", after=page.after)
    assert [stored.reference.key for stored in rest.objects] == ["e/x.tif", "f/x.tif", "g/x.tif"]


@pytest.mark.parametrize("size", [0, 3, 9_000_000])
def test_a_moved_object_is_only_in_the_other_container_with_a_new_etag(
    store: Store, tmp_path: Path, size: int
) -> None:
    content = os.urandom(size)
    put = store.put_file(
        "bronze", "a b/ü#.tif", file_of(tmp_path, content), metadata={"origin": "somewhere"}
    )
    moved = store.move(
        "bronze", "a b/ü#.tif", "quarantine", etag=put.reference.etag, metadata={"code": "Ä: 1 %"}
    )
    assert moved == store.stat("quarantine", "a b/ü#.tif") == next(iter(store.list("quarantine")))
    assert (moved.reference.size_bytes, moved.metadata) == (size, {"code": "Ä: 1 %"})
    assert moved.reference.etag != put.reference.etag
    assert (keys(store, "bronze"), store.read_bytes("quarantine", "a b/ü#.tif")) == ([], content)
    back = store.move("quarantine", "a b/ü#.tif", "bronze", etag=moved.reference.etag, metadata={})
    assert (back.metadata, store.stat("bronze", "a b/ü#.tif")) == ({}, back)
    assert back.reference.etag not in (put.reference.etag, moved.reference.etag)


def test_a_move_replaces_an_existing_object(store: Store) -> None:
    store.put_bytes("quarantine", "a.tif", b"earlier", metadata={"n": "1"})
    put = store.put_bytes("bronze", "a.tif", b"later", metadata={})
    store.move("bronze", "a.tif", "quarantine", etag=put.reference.etag, metadata={"n": "2"})
    assert (
        store.read_bytes("quarantine", "a.tif"),
        store.stat("quarantine", "a.tif").metadata,
    ) == (b"later", {"n": "2"})


def test_a_replaced_object_is_not_moved(store: Store) -> None:
    put = store.put_bytes("bronze", "a.tif", b"1", metadata={})
    newer = store.put_bytes("bronze", "a.tif", b"2", metadata={"n": "2"})
    with pytest.raises(Conflict, match=r"bronze/a\.tif"):
        store.move("bronze", "a.tif", "quarantine", etag=put.reference.etag, metadata={})
    assert (list(store.list("bronze")), keys(store, "quarantine")) == ([newer], [])
    with pytest.raises(SourceNotFound, match=r"bronze/b\.tif"):
        store.move("bronze", "b.tif", "quarantine", etag=put.reference.etag, metadata={})
    with pytest.raises(ParameterInvalid):
        store.move("bronze", "a.tif", "bronze", etag=newer.reference.etag, metadata={})
    assert store.stat("bronze", "a.tif") == newer


def test_sources_that_are_not_regular_files(store: Store, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"nothing\.tif"):
        store.put_file("bronze", "a", tmp_path / "nothing.tif", metadata={})
    with pytest.raises(SourceUnreadable, match="regular file"):
        store.put_file("bronze", "a", tmp_path, metadata={})
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(SourceUnreadable, match="regular file"):
        store.put_file("bronze", "a", pipe, metadata={})
    assert keys(store, "bronze") == []
