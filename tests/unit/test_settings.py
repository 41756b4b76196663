"""Settings are read when needed, and the application root is found from any folder below it."""

from pathlib import Path

import pytest

from geo_platform.application_root import find_application_root
from geo_platform.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]


def test_the_environment_is_read_when_settings_are_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GEO_PLATFORM_HOME", str(tmp_path / "a"))
    assert load_settings().store_dir == tmp_path / "a" / "store"
    monkeypatch.setenv("GEO_PLATFORM_HOME", str(tmp_path / "b"))
    assert load_settings().scratch_dir == tmp_path / "b" / "scratch"


def test_without_settings_the_home_is_in_the_application_root(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("GEO_PLATFORM_HOME")
    monkeypatch.chdir(tmp_path)
    assert load_settings().home_dir == ROOT / ".geo"


def test_the_application_root_is_the_nearest_folder_upwards_with_a_workspace(
    tmp_path: Path,
) -> None:
    inner = tmp_path / "app" / "samples" / "deep"
    inner.mkdir(parents=True)
    (tmp_path / "app" / "workspace.yaml").touch()
    assert find_application_root(start=inner) == tmp_path / "app"
    assert find_application_root(start=tmp_path) == ROOT
    assert find_application_root(tmp_path / "named", start=inner) == tmp_path / "named"
