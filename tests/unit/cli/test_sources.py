"""From arguments to sources: which files a walk takes, and which it skips and names."""

from pathlib import Path

import click
import pytest

from geo_platform.cli.application import Application
from geo_platform.cli.sources import Candidate, LeftOut, find_sources
from geo_platform.settings import Settings


def _make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def _find(*arguments: Path | str, home: Path) -> tuple[list[Candidate], list[LeftOut]]:
    return find_sources(list(map(str, arguments)), Application(Settings(home=home)), _no_download)


def _no_download(address: object) -> Path:
    pytest.fail(f"{address} was downloaded")


def _found(folder: Path, *, home: Path | None = None) -> tuple[list[str], dict[str, str]]:
    candidates, left = _find(folder, home=home or folder / "nowhere")
    names = [
        candidate.path.relative_to(folder).as_posix() for candidate in candidates if candidate.path
    ]
    return names, {entry.path.relative_to(folder).as_posix(): entry.reason for entry in left}


def test_a_walk_takes_sources_by_name_with_their_sidecars(tmp_path: Path) -> None:
    _make(tmp_path, "b/two.shp", "b/two.dbf", "b/two.shx", "a.tif", "a.tfw")
    names, left = _found(tmp_path)
    assert names == ["a.tif", "b/two.shp"]
    assert left == {}
    candidates, _ = _find(tmp_path, home=tmp_path / "nowhere")
    assert [[path.name for path in candidate.sidecars.values()] for candidate in candidates] == [
        ["a.tfw"],
        ["two.dbf", "two.shx"],
    ]


def test_hidden_folders_and_the_home_folder_are_not_walked(tmp_path: Path) -> None:
    _make(tmp_path, "a.tif", ".git/objects/b.tif", "results/store/silver/c.tif")
    names, left = _found(tmp_path, home=tmp_path / "results")
    assert names == ["a.tif"]
    assert left == {".git": "It is hidden.", "results": "It contains the results of the platform."}


def test_links_that_are_not_followed_are_named(tmp_path: Path) -> None:
    inside, elsewhere = tmp_path / "inside", tmp_path / "elsewhere"
    _make(inside, "a.tif")
    _make(elsewhere, "b.tif")
    (inside / "linked").symlink_to(elsewhere)
    (inside / "dangling.tif").symlink_to(elsewhere / "gone.tif")
    names, left = _found(inside)
    assert names == ["a.tif"]
    assert set(left) == {"linked", "dangling.tif"}
    assert [candidate.name for candidate in _find(inside / "linked", home=tmp_path)[0]] == ["b.tif"]


def test_a_file_named_twice_is_one_source(tmp_path: Path) -> None:
    _make(tmp_path, "a.tif")
    candidates, _ = _find(tmp_path / "a.tif", tmp_path, home=tmp_path / "nowhere")
    assert len(candidates) == 1


def test_an_empty_argument_is_not_the_current_folder() -> None:
    with pytest.raises(click.UsageError, match="empty"):
        _find("", home=Path("/nowhere"))
