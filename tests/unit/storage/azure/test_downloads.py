"""The cache of downloads: each object is fetched once, the size is limited, files are removed."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from geo_platform.errors import StoreUnavailable
from geo_platform.storage.azure.reads import Downloads
from geo_platform.storage.azure.upload import BLOCK_BYTES, MAX_BLOCKS, block_bytes
from geo_platform.storage.local.scratch import ScratchRoot


def version(key: str) -> tuple[str, str, str]:
    return ("bronze", key, "0x1")


def test_a_file_is_fetched_once_however_many_ask_at_the_same_time(tmp_path: Path) -> None:
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


def test_the_least_recently_used_go_first_and_what_is_in_use_stays(tmp_path: Path) -> None:
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


def test_a_fetch_that_fails_leaves_no_file_and_may_be_tried_again(tmp_path: Path) -> None:
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


def test_what_a_killed_process_downloaded_is_swept_with_the_rest_of_scratch(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    "size", [0, 1, BLOCK_BYTES * MAX_BLOCKS, BLOCK_BYTES * MAX_BLOCKS + 1, 10**12, 190 * 2**40]
)
def test_blocks_are_large_enough_that_fifty_thousand_suffice(size: int) -> None:
    block = block_bytes(size)
    assert block % 2**20 == 0
    assert -(-size // block) <= MAX_BLOCKS
    assert BLOCK_BYTES <= block <= 4000 * 2**20
