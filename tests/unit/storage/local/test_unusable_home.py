"""A folder that cannot be used is an error of the platform, and never refuses a source."""

from collections.abc import Callable
from pathlib import Path

import pytest

from geo_platform.errors import StoreDenied
from geo_platform.ports import BRONZE
from geo_platform.storage.local.folder import FolderStore
from geo_platform.storage.local.scratch import ScratchRoot
from geo_platform.storage.local.stac_files import StacFiles


def _put(home: Path) -> object:
    return FolderStore(home / "store").put_bytes(BRONZE, "a/b.tif", b"x", metadata={})


def _scratch(home: Path) -> object:
    with ScratchRoot(home / "scratch").of_run("run") as folder:
        return folder


def _entries(home: Path) -> object:
    return list(StacFiles(home).entries())


@pytest.mark.parametrize(
    ("in_the_way", "use"),
    [
        (".", _put),
        ("store", _put),
        ("store/bronze", _put),
        ("store/.incoming", _put),
        ("store/.locks", _put),
        (".", _scratch),
        ("scratch", _scratch),
        (".", _entries),
        ("catalog", _entries),
    ],
)
def test_a_file_in_the_place_of_a_folder(
    in_the_way: str, use: Callable[[Path], object], tmp_path: Path
) -> None:
    file = tmp_path / "home" / in_the_way
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("in the way")
    with pytest.raises(StoreDenied) as raised:
        use(tmp_path / "home")
    assert str(file) in str(raised.value)
    assert not raised.value.user_fixable
