"""The committed bundle of the map page is what its locked sources make."""

import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.local.packages import tool
from tests.support.command import ROOT

_WEB = ROOT / "geo_platform" / "web"

# It installs the compiler and the bundler from npm.
pytestmark = pytest.mark.slow


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_committed_bundle_is_what_the_sources_make(tmp_path: Path) -> None:
    page = tmp_path / "page"
    shutil.copytree(_WEB / "page", page, ignore=shutil.ignore_patterns("node_modules"))
    for command in (["ci", "--no-audit", "--no-fund"], ["run", "build"]):
        done = subprocess.run([tool("npm"), *command], cwd=page, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert _contents(tmp_path / "bundle") == _contents(_WEB / "bundle"), "run `make web`"
