"""Detect inconsistent states after a run, made by hand in the stores of each profile."""

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from geo_platform.cli.application import INSTANCE_TEMPLATES
from geo_platform.orchestrator.instance import open_instance
from geo_platform.orchestrator.state_check import check_state
from geo_platform.settings import Profile
from schedules.sensors import STATE_SENSORS
from tests.support.command import ROOT, SAMPLES, environment
from tests.support.in_process import DAGSTER_S_WARNINGS, Give, commands
from tests.support.production import ProfileUnderTest
from tests.support.run_events import engine_messages

pytestmark = [*DAGSTER_S_WARNINGS, pytest.mark.filterwarnings("ignore::dagster.BetaWarning")]
SOURCE = SAMPLES / "san_francisco_landsat7.tif"
PLACE = ("rasters", "san_francisco_landsat7")


@pytest.fixture
def give(
    profile: ProfileUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Give]:
    monkeypatch.setenv("DAGSTER_HOME", "unset")
    with commands(profile, tmp_path / "home") as given:
        yield given


def _instance(profile: ProfileUnderTest, home: Path) -> dg.DagsterInstance:
    return open_instance(profile.settings(home), ROOT / INSTANCE_TEMPLATES[profile.profile])


def _set_status(profile: ProfileUnderTest, home: Path, run_id: str, status: str) -> None:
    """Edit Dagster's own table, as no program does."""
    if profile.profile is Profile.production:
        with psycopg.connect(
            profile.environment["GEO_PLATFORM_DAGSTER_POSTGRES_URL"]
        ) as connection:
            connection.execute("UPDATE runs SET status = %s WHERE run_id = %s", (status, run_id))
        return
    with closing(sqlite3.connect(home / "dagster" / "history" / "runs.db")) as database, database:
        database.execute("UPDATE runs SET status = ? WHERE run_id = ?", (status, run_id))


def _lines(home: Path, checkpoint: str) -> list[dict[str, Any]]:
    lines = [
        json.loads(line)
        for line in (home / "logs" / "platform.jsonl").read_text("utf-8").splitlines()
    ]
    return [line for line in lines if line.get("checkpoint") == checkpoint]


def _tick(sensor: str, instance: dg.DagsterInstance, run_id: str) -> None:
    """Evaluate the sensor for an ended run, as the daemon does."""
    run = instance.get_run_by_id(run_id)
    (ended,) = instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_SUCCESS)
    context = dg.build_run_status_sensor_context(
        sensor, dagster_event=ended.dagster_event, dagster_instance=instance, dagster_run=run
    )
    next(found for found in STATE_SENSORS if found.name == sensor)(context)


def test_inconsistent_stores_are_an_event_of_their_own(
    give: Give, profile: ProfileUnderTest, tmp_path: Path
) -> None:
    home, settings = tmp_path / "home", profile.settings(tmp_path / "home")
    run_id = give("ingest", SOURCE)["run_id"]
    with _instance(profile, home) as instance:
        assert check_state(instance, run_id, settings) == ()
        assert _lines(home, "STATE_MISMATCH") == []
        _set_status(profile, home, run_id, "CANCELED")
        (mismatch,) = check_state(instance, run_id, settings)
        said = mismatch.sentence
        assert (mismatch.expected, mismatch.found) == ("CANCELED", "SUCCESS")
        assert said == "Dagster's run storage says CANCELED, its last terminal event is SUCCESS."
        assert check_state(instance, run_id, settings) == (mismatch,)
        _tick("state_after_success", instance, run_id)
        assert engine_messages(instance, run_id).count(f"STATE_MISMATCH {said}") == 1, "said once"
        (line,) = _lines(home, "STATE_MISMATCH")
        assert (line["run_id"], line["partition"], line["message"]) == (
            run_id,
            instance.get_run_by_id(run_id).tags["dagster/partition"],
            said,
        )
        _set_status(profile, home, run_id, "SUCCESS")
        again = give("ingest", SOURCE, "--force")["run_id"]
        assert check_state(instance, run_id, settings) == (), (
            "a forced run replaced it before the sensor checked"
        )
        run_id = again
        catalog = profile.catalog(home)
        item = catalog.item(*PLACE)
        assert item is not None
        catalog.unpublish(*PLACE, published=item["properties"]["geo_platform:fingerprint"])
        assert check_state(instance, run_id, settings) == (), "a kept version was published"
        (version,) = catalog.versions(*PLACE)
        catalog.forget(version)
        _tick("state_after_success", instance, run_id)
        (said,) = [
            text
            for text in engine_messages(instance, run_id)
            if "the catalog holds no such item" in text
        ]
        assert said.startswith(
            "STATE_MISMATCH The run succeeded with rasters/san_francisco_landsat7 published by run "
        )


def test_a_run_killed_during_publication_is_checked_against_the_catalog(
    give: Give, profile: ProfileUnderTest, tmp_path: Path
) -> None:
    home, reached = tmp_path / "home", tmp_path / "reached"
    committed = "ITEM_PUBLISHED" if profile.profile is Profile.embedded else "SWAP_COMMITTED"
    command = [sys.executable, "-m", "tests.support.killed_at", committed]
    killed = subprocess.run(
        [*command, "before", str(reached), "ingest", str(SOURCE)],
        cwd=ROOT,
        env=environment(home, profile.environment),
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    run_id = reached.read_text("utf-8").split()[-1]
    status = give("status", run_id)
    assert status["status"] == "failure"
    assert "was killed" in status["error"]["message"]
    with _instance(profile, home) as instance:
        (said,) = [
            text for text in engine_messages(instance, run_id) if text.startswith("STATE_MISMATCH")
        ]
    assert "the catalog holds rasters/san_francisco_landsat7 as its item" in said
    assert give("ingest", SOURCE)["outcome"] == "unchanged"
