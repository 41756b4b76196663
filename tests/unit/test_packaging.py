"""The extras that pyproject.toml offers, and the project that `geo-platform init` creates."""

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
    def test_all_includes_every_other_extra(self, extras: dict[str, list[str]]) -> None:
        (everything,) = extras["all"]
        named = re.fullmatch(r"geo-platform\[([a-z,]+)\]", everything)
        assert named is not None
        assert set(named[1].split(",")) == set(extras) - {"all"}

    def test_every_module_belongs_to_the_extra_that_installs_it(
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

    def test_the_longest_matching_name_decides(self) -> None:
        sentence = missing_extra(ModuleNotFoundError("gone", name="azure.monitor.opentelemetry"))
        assert sentence is not None
        assert "pip install 'geo-platform[telemetry]'" in sentence
        sentence = missing_extra(ModuleNotFoundError("gone", name="azure.storage"))
        assert sentence is not None
        assert "pip install 'geo-platform[production]'" in sentence

    def test_the_cause_of_an_error_names_its_extra_and_other_modules_none(self) -> None:
        error = RuntimeError("wrapped")
        error.__cause__ = ModuleNotFoundError("gone", name="uvicorn.config")
        sentence = missing_extra(error)
        assert sentence is not None
        assert "'serve'" in sentence
        assert missing_extra(ModuleNotFoundError("gone", name="no_such_module")) is None
        assert missing_extra(ModuleNotFoundError("gone")) is None


class TestInit:
    @pytest.fixture
    def project(self, tmp_path: Path) -> Path:
        folder = tmp_path / "My terrain"
        done = CliRunner().invoke(main, ["init", str(folder)])
        assert done.exit_code == 0, done.output
        return folder

    def test_a_checkout_is_its_own_template(self) -> None:
        assert shipped_application() == ROOT
        assert not is_in_the_wheel(ROOT)

    def test_it_creates_the_application(self, project: Path) -> None:
        for name in ("assets", "resources", "schedules", "samples"):
            ours = {path.name for path in (ROOT / name).iterdir()} - {"__pycache__"}
            assert {path.name for path in (project / name).iterdir()} == ours
        lock = "contracts.lock.json"
        assert (project / lock).read_bytes() == (ROOT / lock).read_bytes()
        assert {path.name for path in (project / "deploy").iterdir()} == {
            path.name for path in (ROOT / "deploy").iterdir() if path.is_dir()
        } - {"application", "__pycache__"}
        assert not list(project.rglob("__pycache__"))

    def test_the_project_depends_on_this_version(self, project: Path) -> None:
        metadata = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["project"]
        ours = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        assert metadata["name"] == "my-terrain"
        assert metadata["dependencies"] == [f"geo-platform[all]=={ours['version']}"]
        assert metadata["requires-python"] == ours["requires-python"]
        assert "${" not in (project / "README.md").read_text("utf-8")

    def test_deployed_files_load_the_definitions_of_the_project(self, project: Path) -> None:
        (location,) = read_yaml(project / "workspace.yaml")["load_from"]
        assert location["python_file"]["relative_path"] == "definitions.py"
        (ours,) = read_yaml(ROOT / "workspace.yaml")["load_from"]
        assert location["python_file"]["location_name"] == ours["python_file"]["location_name"]
        code = read_yaml(project / "deploy" / "docker" / "compose.yaml")["services"]["code"]
        assert code["command"][code["command"].index("-f") + 1] == "definitions.py"
        for path in project.joinpath("deploy").rglob("*"):
            assert not path.is_file() or b"geo_platform/code_location.py" not in path.read_bytes()

    def test_the_image_copies_files_that_exist_and_are_not_ignored(self, project: Path) -> None:
        text = (project / "deploy" / "docker" / "Dockerfile").read_text("utf-8")
        copied = {
            source.removeprefix("./").split("/")[0]
            for line in text.splitlines()
            if line.startswith("COPY ") and "--from" not in line and "--chown" not in line
            for source in line.split()[1:-1]
        }
        ignored = (project / ".dockerignore").read_text("utf-8").splitlines()
        let_through = {line[1:].rstrip("/") for line in ignored if line.startswith("!")}
        assert copied == let_through - {"wheels"}
        # `uv lock` is the user's next step, as the README says.
        assert {name for name in copied if not (project / name).exists()} == {"uv.lock"}

    def test_the_image_runs_like_the_image_of_the_repository(self, project: Path) -> None:
        """Users, environment and health check are the same; only the definitions are elsewhere."""
        theirs = (project / "deploy" / "docker" / "Dockerfile").read_text("utf-8")
        ours = (ROOT / "deploy" / "docker" / "Dockerfile").read_text("utf-8")
        (_, theirs), (_, ours) = (text.split("\nFROM ${PYTHON}\n") for text in (theirs, ours))
        assert theirs == ours.replace("geo_platform/code_location.py", "definitions.py")

    def test_a_folder_that_is_not_empty_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "mine.txt").write_text("mine")
        done = CliRunner().invoke(main, ["init", str(tmp_path)])
        assert done.exit_code == 2
        assert "not empty" in done.output
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
