"""Reads of blobs: by ranges with few and small fetches, and as files that are fetched once."""

import io
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo_platform.errors import StoreUnavailable
from geo_platform.storage.azure import reads
from geo_platform.storage.azure.reads import (
    CACHED_RANGE_BYTES,
    MAX_FETCH_BYTES,
    MIN_FETCH_BYTES,
    Downloads,
    RangeReader,
)
from geo_platform.storage.local.scratch import ScratchRoot

CONTENT = np.random.default_rng(1).bytes(300_000)


class Fetches(list[tuple[int, int]]):
    """The bytes of an object, which records the ranges that were fetched."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content = content

    def __call__(self, offset: int, length: int) -> bytes:
        self.append((offset, length))
        return self.content[offset : offset + length]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["seek", "skip", "end"]), st.integers(0, 310_000), st.integers(-1, 60_000)
    ),
    max_size=25,
)


@settings(deadline=None)
@given(steps=STEPS, size=st.sampled_from([0, 1, MIN_FETCH_BYTES, 100_000, 300_000]))
def test_reads_return_the_same_bytes_as_a_file(
    steps: list[tuple[str, int, int]], size: int
) -> None:
    content = CONTENT[:size]
    fetches, file = Fetches(content), io.BytesIO(content)
    with RangeReader(size, fetches, "the object") as reader:
        for kind, offset, length in steps:
            if kind == "seek":
                assert reader.seek(offset) == file.seek(offset)
            elif kind == "skip":
                assert reader.seek(offset % 1000, io.SEEK_CUR) == file.seek(
                    offset % 1000, io.SEEK_CUR
                )
            else:
                assert reader.seek(-min(offset, size), io.SEEK_END) == file.seek(
                    -min(offset, size), io.SEEK_END
                )
            assert (reader.read(length), reader.tell()) == (file.read(length), file.tell())
        assert reader.fetched_bytes == sum(length for _, length in fetches)
    assert all(length > 0 and offset + length <= size for offset, length in fetches)


def test_scattered_reads_fetch_little_more_than_they_return() -> None:
    fetches = Fetches(CONTENT)
    reader = RangeReader(len(CONTENT), fetches, "the object")
    for offset, length in ((250_000, 10), (100_000, 40_000), (0, 8), (250_000, 100)):
        reader.seek(offset)
        reader.read(length)
    assert fetches == [(250_000, MIN_FETCH_BYTES), (100_000, 40_000), (0, MIN_FETCH_BYTES)]


def test_sequential_reads_double_the_fetch_up_to_a_limit() -> None:
    content = bytes(40_000_000)
    fetches = Fetches(content)
    reader = RangeReader(len(content), fetches, "the object")
    read = 0
    while piece := reader.read(10_000):
        read += len(piece)
        assert sum(map(len, reader._kept_ranges.values())) <= CACHED_RANGE_BYTES
    lengths = [length for _, length in fetches]
    assert (read, sum(lengths)) == (len(content), len(content))
    assert lengths[:4] == [
        MIN_FETCH_BYTES,
        2 * MIN_FETCH_BYTES,
        4 * MIN_FETCH_BYTES,
        8 * MIN_FETCH_BYTES,
    ]
    assert max(lengths) == MAX_FETCH_BYTES
    assert len(lengths) < 20


def test_a_small_gap_does_not_end_a_sequential_read() -> None:
    fetches = Fetches(CONTENT)
    reader = RangeReader(len(CONTENT), fetches, "the object")
    for offset in range(0, len(CONTENT), 8_000):
        reader.seek(offset)
        reader.read(8)
    assert len(fetches) <= 5


def test_a_short_response_of_the_store_is_a_retryable_error() -> None:
    reader = RangeReader(1000, lambda offset, length: b"short", "The object bronze/a")
    with pytest.raises(
        StoreUnavailable, match="The object bronze/a returned 5 bytes instead of 1000"
    ) as short:
        reader.read(10)
    assert short.value.retryable


def test_a_buffer_is_filled_and_negative_positions_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reads, "MIN_FETCH_BYTES", 4)
    reader, buffer = RangeReader(10, Fetches(CONTENT[:10]), "the object"), bytearray(20)
    assert (reader.readinto(buffer), bytes(buffer[:10])) == (10, CONTENT[:10])
    with pytest.raises(ValueError, match="before the beginning"):
        reader.seek(-1)


def version(key: str) -> tuple[str, str, str]:
    return ("bronze", key, "0x1")


def test_concurrent_readers_fetch_a_file_once(tmp_path: Path) -> None:
    downloads, fetched, barrier = Downloads(tmp_path), [], threading.Barrier(4)

    def fetch(path: Path) -> None:
        fetched.append(path)
        path.write_bytes(b"content")

    def held(_: int) -> bytes:
        barrier.wait()
        with downloads.file(version("a"), fetch) as path:
            return path.read_bytes()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(held, range(4))) == {b"content"}
    assert len(fetched) == 1


def test_the_least_recently_used_files_are_removed_first_and_open_ones_stay(tmp_path: Path) -> None:
    downloads = Downloads(tmp_path, kept_bytes=25)
    with downloads.file(version("in use"), lambda path: _write(path, 20)) as used:
        for key in ("a", "b"):
            with downloads.file(version(key), lambda path: _write(path, 10)):
                pass
        assert used.exists()
    with (
        downloads.file(version("b"), lambda path: _write(path, 10)),
        downloads.file(version("c"), lambda path: _write(path, 10)),
    ):
        pass
    assert sorted(path.stat().st_size for path in tmp_path.rglob("*-*") if path.is_file()) == [
        10,
        10,
    ]


def _write(path: Path, size: int) -> None:
    path.write_bytes(bytes(size))


def test_a_failed_fetch_leaves_no_file_and_can_be_retried(tmp_path: Path) -> None:
    downloads = Downloads(tmp_path)

    def fails(path: Path) -> None:
        path.write_bytes(b"half")
        raise StoreUnavailable("the store went away")

    with pytest.raises(StoreUnavailable), downloads.file(version("a"), fails):
        pass
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    with downloads.file(version("a"), lambda path: _write(path, 3)) as path:
        assert path.stat().st_size == 3


def test_closing_and_the_end_of_the_process_remove_every_file(tmp_path: Path) -> None:
    downloads = Downloads(tmp_path)
    with downloads.file(version("a"), lambda path: _write(path, 3)):
        pass
    downloads.close()
    assert list(tmp_path.iterdir()) == []
    with downloads.file(version("a"), lambda path: _write(path, 3)) as path:
        assert path.exists()
    downloads.close()
    assert (
        subprocess.run(
            [sys.executable, "-c", _LEAVES_A_FILE, str(tmp_path)], env=_ENVIRONMENT, check=False
        ).returncode
        == 0
    )
    assert list(tmp_path.iterdir()) == []


def test_downloads_of_a_killed_process_are_removed_with_its_scratch(tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", _LEAVES_A_FILE, str(tmp_path), "killed"],
        env=_ENVIRONMENT,
        check=False,
    )
    assert (killed.returncode, len([path for path in tmp_path.rglob("*") if path.is_file()])) == (
        -9,
        1,
    )
    assert len(ScratchRoot(tmp_path).sweep()) == 1
    assert list(tmp_path.iterdir()) == []


_ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[4])}
_LEAVES_A_FILE = """
import os, signal, sys
from pathlib import Path
from geo_platform.storage.azure.reads import Downloads
downloads = Downloads(Path(sys.argv[1]))
with downloads.file(("bronze", "a", "0x1"), lambda path: path.write_bytes(b"content")):
    pass
if "killed" in sys.argv:
    os.kill(os.getpid(), signal.SIGKILL)
"""
