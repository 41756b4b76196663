"""Install the built wheel in new environments outside the checkout, and load the definitions from
anywhere.

Without Dagster, every module must import. With the extras for jobs, the application in the wheel
must be enough for the demo, the UI and a submitted job.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.local.processes import free_port
from tests.support.command import ROOT, SAMPLES
from tests.support.deployment import ended, launch
from tests.support.legacy_client import LegacyClient

BIN = Path(sys.executable).parent
IMPORT_ALL = """
import importlib, importlib.util, pkgutil, sys
import geo_platform
assert importlib.util.find_spec("dagster") is None, "Dagster is here"
assert importlib.util.find_spec("assets") is None, "application source was installed"
names = [module.name for module in pkgutil.walk_packages(geo_platform.__path__, "geo_platform.")]
needs_dagster = (
    "geo_platform.definitions", "geo_platform.code_location", "geo_platform.orchestrator",
    "geo_platform.dagster_",
)
wanted = [
    name
    for name in names
    if not name.startswith(needs_dagster) and not name.rpartition(".")[2].startswith("dagster_")
]
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


def _empty_environment(home: Path) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution, as an index would build it.

    It is built with the project's locked setuptools, so that no build environment is downloaded.
    """
    folder = tmp_path_factory.mktemp("wheel")
    built = _run(BIN / "uv", "build", "--no-build-isolation", "--out-dir", folder, cwd=ROOT)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


def _installed(folder: Path, wheel: Path, *extras: str) -> Path:
    """Return bin/ of a new environment with the wheel and the locked dependencies of the extras."""
    env = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(folder / "env")}
    wanted = [part for extra in extras for part in ("--extra", extra)]
    seeded = _run(
        BIN / "uv",
        "sync",
        "--frozen",
        "--no-dev",
        "--no-install-project",
        *wanted,
        "--python",
        sys.executable,
        cwd=ROOT,
        env=env,
    )
    assert seeded.returncode == 0, seeded.stderr
    into = _run(
        BIN / "uv",
        "pip",
        "install",
        "--offline",
        "--no-deps",
        "--python",
        folder / "env" / "bin" / "python",
        wheel,
        cwd=folder,
    )
    assert into.returncode == 0, into.stderr
    return folder / "env" / "bin"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bin/ of an environment with everything except Dagster."""
    folder = tmp_path_factory.mktemp("without_dagster")
    return _installed(folder, wheel, "production", "telemetry", "serve")


@pytest.fixture(scope="module")
def with_jobs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bin/ of an environment that runs and serves jobs, with files on one machine."""
    return _installed(tmp_path_factory.mktemp("with_jobs"), wheel, "jobs", "serve")


class TestTheWheelWithoutDagster:
    def test_every_module_imports_without_dagster(self, installed: Path, tmp_path: Path) -> None:
        done = _run(installed / "python", "-W", "error", "-c", IMPORT_ALL, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        count, location = done.stdout.split()
        assert int(count) > 60
        assert str(installed.parent) in location

    def test_commands_without_jobs_work(self, installed: Path, tmp_path: Path) -> None:
        env = _empty_environment(tmp_path)
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

    def test_commands_that_run_jobs_name_the_missing_extra(
        self, installed: Path, tmp_path: Path
    ) -> None:
        done = _run(
            installed / "geo-platform",
            "ingest",
            SAMPLES / "sierra_nevada_srtm.tif",
            cwd=tmp_path,
            env=_empty_environment(tmp_path),
        )
        assert done.returncode != 0
        assert "pip install 'geo-platform[jobs]'" in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_folder_that_is_no_application_root_is_refused(
        self, installed: Path, tmp_path: Path
    ) -> None:
        done = _run(
            installed / "geo-platform",
            "--application-root",
            tmp_path,
            "ingest",
            SAMPLES / "sierra_nevada_srtm.tif",
            cwd=tmp_path,
            env=_empty_environment(tmp_path),
        )
        assert done.returncode != 0
        assert "workspace.yaml" in done.stderr
        assert "Traceback" not in done.stderr


class TestTheApplicationInTheWheel:
    def test_the_demo_runs_in_an_empty_folder_and_stores_its_data_there(
        self, with_jobs: Path, tmp_path: Path
    ) -> None:
        env = _empty_environment(tmp_path)
        done = _run(with_jobs / "geo-platform", "demo", cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr
        assert "Open the UI to see the results: geo-platform dev" in done.stdout
        assert [path.name for path in tmp_path.iterdir()] == [".geo"]
        listed = _run(with_jobs / "geo-platform", "list", "--json", cwd=tmp_path, env=env)
        assert listed.stdout.count('"run_id"') == 2
        assert _files_added_to_the_wheel(with_jobs) == set()

    def test_its_contracts_equal_those_of_the_checkout(
        self, with_jobs: Path, tmp_path: Path
    ) -> None:
        show = ("contracts", "show")
        env = _empty_environment(tmp_path)
        ours = _run(BIN / "geo-platform", *show, cwd=ROOT, env=env)
        theirs = _run(with_jobs / "geo-platform", *show, cwd=tmp_path, env=env)
        assert (theirs.returncode, theirs.stdout) == (0, ours.stdout), theirs.stderr
        checked = _run(with_jobs / "geo-platform", "contracts", "check", cwd=tmp_path, env=env)
        assert checked.returncode == 0, checked.stderr
        locking = _run(with_jobs / "geo-platform", "contracts", "lock", cwd=tmp_path, env=env)
        assert (locking.returncode, "geo-platform init" in locking.stderr) == (2, True)

    def test_the_wheel_contains_no_secret_and_no_cache(self, with_jobs: Path) -> None:
        application = _application(with_jobs)
        names = {path.name for path in application.rglob("*")}
        assert not {name for name in names if name.startswith(".") or name == "secrets"}
        assert {"Dockerfile", "compose.yaml", "dagster.yaml", "container-apps.json"} <= names

    @pytest.mark.slow
    def test_the_ui_starts_and_a_submitted_job_succeeds(
        self, with_jobs: Path, tmp_path: Path
    ) -> None:
        ui, api = free_port(), free_port()
        env = {
            **_empty_environment(tmp_path),
            "GEO_PLATFORM_DAGSTER_URL": f"http://127.0.0.1:{ui}",
        }
        landed = tmp_path / ".geo" / "store" / "bronze" / "dem.tif"
        landed.parent.mkdir(parents=True)
        shutil.copyfile(SAMPLES / "sierra_nevada_srtm.tif", landed)
        command = with_jobs / "geo-platform"
        key = _run(command, "keys", "create", "me", "--scope", "operator", cwd=tmp_path, env=env)
        with (
            _served(f"http://127.0.0.1:{ui}/server_info", command, "dev", ui, tmp_path, env),
            _served(f"http://127.0.0.1:{api}/readyz", command, "serve", api, tmp_path, env),
        ):
            page = f"http://127.0.0.1:{ui}"
            assert ended(page, launch(page, "hello_world")) == "SUCCESS"
            client = LegacyClient(f"http://127.0.0.1:{api}", {"X-Api-Key": key.stdout.strip()})
            answer = client.submit("process_raster", blob_name="dem.tif")
            assert client.wait(answer["job_id"])["status"] == "completed"


@pytest.fixture(scope="module")
def own(with_jobs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An application root made by `geo-platform init`."""
    folder = tmp_path_factory.mktemp("own") / "My terrain"
    env = _empty_environment(folder.parent)
    done = _run(with_jobs / "geo-platform", "init", folder, cwd=folder.parent, env=env)
    assert done.returncode == 0, done.stderr
    return folder


class TestACustomApplicationRoot:
    def test_a_changed_stage_runs(self, with_jobs: Path, own: Path) -> None:
        stage = own / "assets" / "raster.py"
        before = stage.read_text("utf-8")
        changed = re.sub(
            r'(def raster_cog\(.*?"""[^\n]*"""\n)',
            r'\1    open("changed", "x").close()\n',
            before,
            flags=re.DOTALL,
        )
        assert changed != before
        stage.write_text(changed, encoding="utf-8")
        inside = own / "samples"
        done = _run(
            with_jobs / "geo-platform",
            "ingest",
            "sierra_nevada_srtm.tif",
            cwd=inside,
            env=_empty_environment(own),
        )
        assert done.returncode == 0, done.stderr
        assert (inside / "changed").exists()
        assert (own / ".geo" / "store").is_dir()

    def test_dagster_loads_it_from_anywhere(
        self, with_jobs: Path, own: Path, tmp_path: Path
    ) -> None:
        done = _run(
            with_jobs / "dagster",
            "definitions",
            "validate",
            "-w",
            own / "workspace.yaml",
            cwd=tmp_path,
            env=_empty_environment(tmp_path),
        )
        assert done.returncode == 0, done.stderr

    def test_a_folder_that_is_not_empty_is_refused(self, with_jobs: Path, own: Path) -> None:
        done = _run(with_jobs / "geo-platform", "init", own, cwd=own, env=_empty_environment(own))
        assert done.returncode == 2
        assert "not empty" in done.stderr


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


def _application(bin_folder: Path) -> Path:
    (found,) = bin_folder.parent.glob("lib/python*/site-packages/geo_platform/application")
    return found


def _files_added_to_the_wheel(bin_folder: Path) -> set[str]:
    """Return what was added to the application in the wheel, except compiled modules."""
    application = _application(bin_folder)
    (record,) = application.parents[1].glob("geo_platform-*.dist-info/RECORD")
    brought = {line.split(",")[0] for line in record.read_text("utf-8").splitlines()}
    found = {
        path.relative_to(application.parents[1]).as_posix()
        for path in application.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    return found - brought


@contextmanager
def _served(
    ready: str, program: Path, command: str, port: int, home: Path, env: dict[str, str]
) -> Iterator[None]:
    """Run `geo-platform dev` or `serve` until the context ends."""
    log = home / f"{command}.log"
    with log.open("wb") as output:
        started: Any = subprocess.Popen(
            [str(program), command, "--port", str(port)],
            cwd=home,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while not _answers(ready):
            assert started.poll() is None, log.read_text(errors="replace")[-3000:]
            assert time.monotonic() < deadline, log.read_text(errors="replace")[-3000:]
            time.sleep(0.3)
        yield
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        try:
            started.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait(10)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False
