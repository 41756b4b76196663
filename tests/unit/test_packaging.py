"""What pyproject.toml promises to somebody who installs the package, and what `geo-platform init`
lays out.
"""

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from geo_platform.application_root import is_in_the_wheel, shipped_application
from geo_platform.cli.extras import EXTRA_OF_MODULE, missing_extra
from geo_platform.cli.main import main
from tests.support.command import ROOT
from tests.support.deployment import read_yaml

TEMPLATES = ROOT / "deploy" / "application"


@pytest.fixture(scope="module")
def extras() -> dict[str, list[str]]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    found: dict[str, list[str]] = project["project"]["optional-dependencies"]
    return found


class TestExtras:
    def test_all_holds_all_others(self, extras: dict[str, list[str]]) -> None:
        (everything,) = extras["all"]
        named = re.fullmatch(r"geo-platform\[([a-z,]+)\]", everything)
        assert named is not None
        assert set(named[1].split(",")) == set(extras) - {"all"}

    def test_every_module_is_in_the_extra_that_brings_it(
        self, extras: dict[str, list[str]]
    ) -> None:
        brought = {
            extra: {_normalized(re.split(r"[\[>=<; ]", line)[0]) for line in lines}
            for extra, lines in extras.items()
        }
        by_module = packages_distributions()
        # FastAPI brings Starlette.
        for module in EXTRA_OF_MODULE.keys() - {"starlette"}:
            distributions = {_normalized(name) for name in by_module[module.split(".")[0]]}
            assert distributions & brought[EXTRA_OF_MODULE[module]], module

    def test_the_longest_name_decides(self) -> None:
        sentence = missing_extra(ModuleNotFoundError("gone", name="azure.monitor.opentelemetry"))
        assert sentence is not None
        assert "pip install 'geo-platform[telemetry]'" in sentence
        sentence = missing_extra(ModuleNotFoundError("gone", name="azure.storage"))
        assert sentence is not None
        assert "pip install 'geo-platform[production]'" in sentence

    def test_the_cause_is_looked_at_and_other_modules_are_not_named(self) -> None:
        error = RuntimeError("wrapped")
        error.__cause__ = ModuleNotFoundError("gone", name="uvicorn.config")
        sentence = missing_extra(error)
        assert sentence is not None
        assert "'serve'" in sentence
        assert missing_extra(ModuleNotFoundError("gone", name="no_such_module")) is None
        assert missing_extra(ModuleNotFoundError("gone")) is None


class TestInit:
    @pytest.fixture
    def own(self, tmp_path: Path) -> Path:
        folder = tmp_path / "My terrain"
        done = CliRunner().invoke(main, ["init", str(folder)])
        assert done.exit_code == 0, done.output
        return folder

    def test_a_checkout_ships_itself(self) -> None:
        assert shipped_application() == ROOT
        assert not is_in_the_wheel(ROOT)

    def test_it_lays_out_the_application(self, own: Path) -> None:
        for name in ("assets", "resources", "schedules", "samples"):
            ours = {path.name for path in (ROOT / name).iterdir()} - {"__pycache__"}
            assert {path.name for path in (own / name).iterdir()} == ours
        lock = "contracts.lock.json"
        assert (own / lock).read_bytes() == (ROOT / lock).read_bytes()
        assert {path.name for path in (own / "deploy").iterdir()} == {
            path.name for path in (ROOT / "deploy").iterdir() if path.is_dir()
        } - {"application", "__pycache__"}
        assert not list(own.rglob("__pycache__"))

    def test_the_project_depends_on_this_version(self, own: Path) -> None:
        project = tomllib.loads((own / "pyproject.toml").read_text("utf-8"))["project"]
        ours = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        assert project["name"] == "my-terrain"
        assert project["dependencies"] == [f"geo-platform[all]=={ours['version']}"]
        assert project["requires-python"] == ours["requires-python"]
        assert "${" not in (own / "README.md").read_text("utf-8")

    def test_what_is_deployed_loads_the_definitions_of_the_folder(self, own: Path) -> None:
        (location,) = read_yaml(own / "workspace.yaml")["load_from"]
        assert location["python_file"]["relative_path"] == "definitions.py"
        (ours,) = read_yaml(ROOT / "workspace.yaml")["load_from"]
        assert location["python_file"]["location_name"] == ours["python_file"]["location_name"]
        code = read_yaml(own / "deploy" / "docker" / "compose.yaml")["services"]["code"]
        assert code["command"][code["command"].index("-f") + 1] == "definitions.py"
        for path in own.joinpath("deploy").rglob("*"):
            assert not path.is_file() or b"geo_platform/code_location.py" not in path.read_bytes()

    def test_the_image_is_made_of_what_is_there_and_let_through(self, own: Path) -> None:
        text = (own / "deploy" / "docker" / "Dockerfile").read_text("utf-8")
        copied = {
            source.removeprefix("./").split("/")[0]
            for line in text.splitlines()
            if line.startswith("COPY ") and "--from" not in line and "--chown" not in line
            for source in line.split()[1:-1]
        }
        ignored = (own / ".dockerignore").read_text("utf-8").splitlines()
        let_through = {line[1:].rstrip("/") for line in ignored if line.startswith("!")}
        assert copied == let_through - {"wheels"}
        # `uv lock` is the reader's step; the README says so.
        assert {name for name in copied if not (own / name).exists()} == {"uv.lock"}

    def test_the_image_runs_as_the_repository_s_does(self, own: Path) -> None:
        """All but where the definitions are: users, environment, health check."""
        theirs = (own / "deploy" / "docker" / "Dockerfile").read_text("utf-8")
        ours = (ROOT / "deploy" / "docker" / "Dockerfile").read_text("utf-8")
        (_, theirs), (_, ours) = (text.split("\nFROM ${PYTHON}\n") for text in (theirs, ours))
        assert theirs == ours.replace("geo_platform/code_location.py", "definitions.py")

    def test_a_folder_with_something_in_it_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "mine.txt").write_text("mine")
        done = CliRunner().invoke(main, ["init", str(tmp_path)])
        assert done.exit_code == 2
        assert "not empty" in done.output
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
