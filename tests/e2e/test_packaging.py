"""The wheel alone, without Dagster; the definitions from anywhere, with nothing in the environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import ROOT, SAMPLES

BIN = Path(sys.executable).parent
IMPORT_ALL = """
import importlib, importlib.util, pkgutil, sys
import geo_platform
assert importlib.util.find_spec("dagster") is None, "Dagster is here"
assert importlib.util.find_spec("assets") is None, "application source was installed"
needs_dagster = {"geo_platform.definitions"}
names = [module.name for module in pkgutil.walk_packages(geo_platform.__path__, "geo_platform.")]
wanted = [name for name in names if name not in needs_dagster and not name.rpartition(".")[2].startswith("dagster_")]
for name in wanted:
    importlib.import_module(name)
print(len(wanted), geo_platform.__file__)
"""


def _run(
    *command: str | Path, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bin/ of an environment that holds the built wheel and its locked dependencies, the production stores' too, without Dagster."""
    folder = tmp_path_factory.mktemp("wheel")
    env = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(folder / "env")}
    seeded = _run(
        BIN / "uv",
        "sync",
        "--frozen",
        "--no-dev",
        "--no-install-project",
        "--extra",
        "production",
        "--extra",
        "telemetry",
        "--extra",
        "api",
        "--python",
        sys.executable,
        cwd=ROOT,
        env=env,
    )
    assert seeded.returncode == 0, seeded.stderr
    # The wheel is built with the project's own locked setuptools, so that no build environment has to be fetched.
    wheel = _run(
        BIN / "uv", "build", "--wheel", "--no-build-isolation", "--out-dir", folder, cwd=ROOT
    )
    assert wheel.returncode == 0, wheel.stderr
    (built,) = folder.glob("*.whl")
    into = _run(
        BIN / "uv",
        "pip",
        "install",
        "--offline",
        "--no-deps",
        "--python",
        folder / "env" / "bin" / "python",
        built,
        cwd=folder,
    )
    assert into.returncode == 0, into.stderr
    return folder / "env" / "bin"


class TestTheWheelAlone:
    def test_every_module_imports_without_dagster(self, installed: Path, tmp_path: Path) -> None:
        done = _run(installed / "python", "-W", "error", "-c", IMPORT_ALL, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        count, location = done.stdout.split()
        assert int(count) > 60
        assert str(installed.parent) in location

    def test_commands_that_need_no_jobs_work(self, installed: Path, tmp_path: Path) -> None:
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        planned = _run(
            installed / "geo-platform",
            "plan",
            "--json",
            SAMPLES / "sierra_nevada_srtm.tif",
            cwd=tmp_path,
            env=env,
        )
        assert planned.returncode == 0, planned.stderr
        listed = _run(installed / "geo-platform", "list", "--json", cwd=tmp_path, env=env)
        assert (listed.returncode, listed.stdout.strip()) == (0, "[]")

    def test_commands_that_run_jobs_say_plainly_that_there_are_none(
        self, installed: Path, tmp_path: Path
    ) -> None:
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        done = _run(
            installed / "geo-platform",
            "ingest",
            SAMPLES / "sierra_nevada_srtm.tif",
            cwd=tmp_path,
            env=env,
        )
        assert done.returncode != 0
        assert "workspace.yaml" in done.stderr
        assert "Traceback" not in done.stderr


def test_definitions_load_with_an_empty_environment_from_another_directory(tmp_path: Path) -> None:
    done = _run(
        BIN / "dagster",
        "definitions",
        "validate",
        "-w",
        ROOT / "workspace.yaml",
        cwd=tmp_path,
        env={"HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / ".geo").exists()
