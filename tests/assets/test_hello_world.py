"""The smoke test of a deployment, run by the launcher with real definitions, instance and store."""

import gc
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from geo_platform.definitions import defs
from geo_platform.orchestrator.launch import InProcessLauncher
from geo_platform.ports import MESSAGES
from geo_platform.runs import RunRequest
from geo_platform.settings import Settings, load_settings
from geo_platform.storage.local.folder import FolderStore

# Dagster leaves closing the log file to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

TEMPLATE = Path(__file__).parents[2] / "deploy" / "embedded" / "dagster.yaml"


@pytest.fixture
def settings() -> Settings:
    return load_settings()


@pytest.fixture
def launcher(settings: Settings) -> Iterator[InProcessLauncher]:
    with InProcessLauncher(defs, settings, TEMPLATE) as opened:
        yield opened
    gc.collect()


def test_it_greets_the_given_name(launcher: InProcessLauncher, settings: Settings) -> None:
    report = launcher.run(
        RunRequest(
            "hello_world", None, stage_options={"prepared_greeting": {"name": "Null Island"}}
        )
    )
    assert (report.status, report.error) == ("success", None)
    assert list(report.stage_seconds) == ["prepared_greeting", "spoken_greeting"]
    stored = FolderStore(settings.store_dir).read_bytes(
        MESSAGES, f"spoken_greeting/{report.run_id}.json"
    )
    assert json.loads(stored)["content"] == {"text": "hello Null Island"}


def test_its_log_lines_have_run_and_stage(launcher: InProcessLauncher, settings: Settings) -> None:
    report = launcher.run(RunRequest("hello_world", None))
    lines = [json.loads(line) for line in settings.log_file.read_text().splitlines()]
    done = [
        (line["run_id"], line["stage"]) for line in lines if line.get("checkpoint") == "STAGE_DONE"
    ]
    assert done == [(report.run_id, "prepared_greeting"), (report.run_id, "spoken_greeting")]


def test_an_invalid_name_is_refused_with_its_code(launcher: InProcessLauncher) -> None:
    report = launcher.run(
        RunRequest("hello_world", None, stage_options={"prepared_greeting": {"name": ""}})
    )
    assert report.status == "failure"
    assert report.error is not None
    assert report.error["code"] == "PARAMETER_INVALID"
    again = launcher.status(report.run_id)
    assert again is not None
    assert again.error == report.error


def test_an_unknown_run_has_no_status(launcher: InProcessLauncher) -> None:
    assert launcher.status("00000000-0000-0000-0000-000000000000") is None
