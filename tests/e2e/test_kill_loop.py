"""SIGKILL at every checkpoint of a run, on each profile.

Nothing partial is published and no run keeps a wrong status. The same command then completes, with
the result of an undisturbed run.
"""

import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from geopandas.testing import assert_geodataframe_equal

from geo_platform.settings import Profile
from geo_platform.telemetry.checkpoints import Checkpoint
from tests.support.command import ROOT, SAMPLES, environment
from tests.support.faults import Faults
from tests.support.in_process import DAGSTER_S_WARNINGS, Give, commands
from tests.support.production import ProfileUnderTest
from tests.support.published import published_bytes, published_rows

pytestmark = [pytest.mark.slow, *DAGSTER_S_WARNINGS]

COLLECTIONS = {"raster": "rasters", "vector": "vectors"}
SOURCES = {
    "raster": SAMPLES / "sierra_nevada_srtm.tif",
    "vector": SAMPLES / "natural_earth_countries.shp.zip",
}
# Where it matters most whether the log already has the checkpoint: the run is killed just before
# and just after.
PUBLISHING = {Checkpoint.SWAP_COMMITTED, Checkpoint.ITEM_PUBLISHED}


@dataclass(frozen=True)
class Bench:
    """A home on which one source is ingested under several names, one by one."""

    kind: str
    profile: ProfileUnderTest
    folder: Path
    give: Give

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def source(self, name: str) -> Path:
        path = self.folder / f"{name}{''.join(SOURCES[self.kind].suffixes)}"
        if not path.exists():
            shutil.copyfile(SOURCES[self.kind], path)
        return path

    def killed(self, name: str, *, number: int, when: str) -> tuple[int, list[tuple[str, str]]]:
        """Run `ingest --force` and kill it at a checkpoint.

        Returns its exit code, and each checkpoint that it reached with the run id.
        """
        reached = self.folder / f"{name}-{when}.reached"
        reached.unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.support.killed_at", str(number), when, str(reached)]
        done = subprocess.run(
            [*command, "ingest", "--json", "--force", str(self.source(name))],
            cwd=ROOT,
            env=environment(self.home, self.profile.environment),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        lines = reached.read_text("utf-8").splitlines()
        return done.returncode, [(line.split()[0], line.split()[1]) for line in lines]

    def item(self, name: str) -> dict[str, Any] | None:
        return self.profile.catalog(self.home).item(COLLECTIONS[self.kind], name)

    def statuses(self) -> list[str]:
        """Return every run's status, as stored by Dagster."""
        query = "SELECT status FROM runs"
        if self.profile.profile is Profile.production:
            with psycopg.connect(
                self.profile.environment["GEO_PLATFORM_DAGSTER_POSTGRES_URL"]
            ) as connection:
                return [status for (status,) in connection.execute(query)]
        with closing(sqlite3.connect(self.home / "dagster" / "history" / "runs.db")) as database:
            return [status for (status,) in database.execute(query)]


@pytest.mark.parametrize("kind", ["raster", "vector"])
def test_a_run_killed_at_any_checkpoint_is_completed_by_the_next(
    kind: str, tmp_path: Path, profile: ProfileUnderTest, faults: Faults
) -> None:
    with commands(profile, tmp_path / "home") as give:
        bench = Bench(kind, profile, tmp_path, give)
        exit_code, checkpoints = bench.killed("scene_00", number=0, when="after")
        assert exit_code == 0
        undisturbed = bench.item("scene_00")
        assert undisturbed is not None
        expected = (
            published_bytes(profile, bench.home, undisturbed),
            published_rows(profile, bench.home, undisturbed),
        )
        todo = [
            (number, checkpoint, "before") for number, (checkpoint, _) in enumerate(checkpoints, 1)
        ]
        todo += [
            (number, checkpoint, "after")
            for number, checkpoint, _ in todo
            if checkpoint in PUBLISHING
        ]
        for turn, (number, checkpoint, when) in enumerate(todo, 1):
            fault = (
                f"SIGKILL of a {kind} run on the {profile.profile} profile "
                f"{when} {checkpoint} is logged"
            )
            faults.tried(fault)
            _killed_and_completed(bench, f"scene_{turn:02}", number, when, expected)
            faults.survived(fault)
        _replaced_by_a_killed_run(bench, checkpoints, expected, faults)
        _no_run_has_a_wrong_status(bench)


def _killed_and_completed(
    bench: Bench, name: str, number: int, when: str, expected: tuple[Any, Any]
) -> None:
    exit_code, reached = bench.killed(name, number=number, when=when)
    assert (exit_code, len(reached)) == (-signal.SIGKILL, number), reached
    status = bench.give("status", reached[-1][1])
    assert (status["status"], "was killed" in status["error"]["message"]) == ("failure", True), (
        status
    )
    between = bench.item(name)
    if between is not None:
        _equals_the_undisturbed_result(bench, between, expected)
    (answer,) = _lines(bench.give("ingest", bench.source(name)))
    assert answer["outcome"] in ("published", "unchanged"), answer
    _equals_the_undisturbed_result(bench, bench.item(name), expected)
    assert set(bench.statuses()) <= {"SUCCESS", "FAILURE"}, "a killed run seems to go on"
    assert bench.give("doctor")["findings"] == [], "the next attempt removes what a killed run left"


def _replaced_by_a_killed_run(
    bench: Bench, checkpoints: list[tuple[str, str]], expected: tuple[Any, Any], faults: Faults
) -> None:
    """Kill a run around its publication; readers still see the whole earlier version."""
    for number, (checkpoint, _) in enumerate(checkpoints, 1):
        if checkpoint not in PUBLISHING:
            continue
        fault = (
            f"SIGKILL of a {bench.kind} run on the {bench.profile.profile} profile "
            f"that replaces, before {checkpoint} is logged"
        )
        faults.tried(fault)
        exit_code, _ = bench.killed("scene_00", number=number, when="before")
        assert exit_code == -signal.SIGKILL
        _equals_the_undisturbed_result(bench, bench.item("scene_00"), expected)
        (answer,) = _lines(bench.give("ingest", bench.source("scene_00"), "--force"))
        assert answer["outcome"] == "published", answer
        _equals_the_undisturbed_result(bench, bench.item("scene_00"), expected)
        assert bench.give("doctor")["findings"] == []
        faults.survived(fault)


def _equals_the_undisturbed_result(
    bench: Bench, item: dict[str, Any] | None, expected: tuple[Any, Any]
) -> None:
    assert item is not None, "nothing is published"
    expected_bytes, expected_rows = expected
    found = published_bytes(bench.profile, bench.home, item)
    assert found.keys() == expected_bytes.keys()
    for name, content in found.items():
        assert content == expected_bytes[name], f"{name} differs from the undisturbed one"
    rows = published_rows(bench.profile, bench.home, item)
    if expected_rows is not None:
        assert_geodataframe_equal(rows, expected_rows)


def _no_run_has_a_wrong_status(bench: Bench) -> None:
    assert set(bench.statuses()) == {"SUCCESS", "FAILURE"}
    assert not list((bench.home / "scratch").iterdir())
    assert bench.give("doctor")["findings"] == []


def _lines(printed: Any) -> list[Any]:
    return printed if isinstance(printed, list) else [printed]
