"""Run every query of deploy/queries/ on a database filled by real runs, and check log lines against
docs/checkpoints.md.
"""

import csv
import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from deploy.local.packages import postgres_binaries
from geo_platform.cli.application import INSTANCE_TEMPLATES
from geo_platform.errors import error_leaves
from geo_platform.orchestrator.instance import open_instance
from geo_platform.orchestrator.state_check import check_state
from geo_platform.telemetry.checkpoints import Checkpoint
from tests.support.checkpoints_page import details_of, fields_of_a_line
from tests.support.command import ROOT, SAMPLES, environment
from tests.support.in_process import DAGSTER_S_WARNINGS, commands
from tests.support.production import ProfileUnderTest

pytestmark = [*DAGSTER_S_WARNINGS, pytest.mark.filterwarnings("ignore::dagster.BetaWarning")]

QUERIES = ROOT / "deploy" / "queries"
RASTER, VECTOR = SAMPLES / "san_francisco_landsat7.tif", SAMPLES / "natural_earth_countries.shp.zip"
ITEM = "rasters/san_francisco_landsat7"
RASTER_STAGES = ["raw_raster", "raster_profile", "raster_cog", "raster_item"]


@dataclass(frozen=True)
class Filled:
    """A database with a raster, its forced repetition, a vector, a refusal, a killed run and an
    edited run.
    """

    url: str
    home: Path
    first: str
    again: str
    vector: str
    refused: str
    killed: str


@pytest.fixture(scope="module")
def filled(
    module_production: ProfileUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Filled]:
    folder = tmp_path_factory.mktemp("queries")
    home, reached = folder / "home", folder / "reached"
    url = module_production.environment["GEO_PLATFORM_DAGSTER_POSTGRES_URL"]
    with pytest.MonkeyPatch.context() as patched, commands(module_production, home) as give:
        patched.setenv("DAGSTER_HOME", "unset")
        first, again, vector = (
            give("ingest", source, *force)["run_id"]
            for source, *force in ((RASTER,), (RASTER, "--force"), (VECTOR,))
        )
        refused = give(
            "ingest",
            SAMPLES / "sierra_nevada_srtm.tif",
            "--item-id",
            ITEM.partition("/")[2],
            exit_code=1,
        )["run_id"]
        command = [
            sys.executable,
            "-m",
            "tests.support.killed_at",
            "COG_VERIFIED",
            "after",
            str(reached),
        ]
        killed = subprocess.run(
            [*command, "ingest", "--force", str(RASTER)],
            cwd=ROOT,
            env=environment(home, module_production.environment),
            capture_output=True,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        dead = reached.read_text("utf-8").split()[-1]
        assert give("status", dead)["status"] == "failure"
        settings = module_production.settings(home)
        with open_instance(
            settings, ROOT / INSTANCE_TEMPLATES[module_production.profile]
        ) as instance:
            _set_status(url, vector, "CANCELED")
            assert len(check_state(instance, vector, settings)) == 1
            _set_status(url, vector, "SUCCESS")
        yield Filled(url, home, first, again, vector, refused, dead)


def _set_status(url: str, run_id: str, status: str) -> None:
    """Edit Dagster's own table, as no program does."""
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE runs SET status = %s WHERE run_id = %s", (status, run_id))


def _psql(url: str, *arguments: str) -> str:
    psql = [
        str(postgres_binaries() / "psql"),
        url,
        "--no-psqlrc",
        "--csv",
        "-v",
        "ON_ERROR_STOP=1",
        *arguments,
    ]
    done = subprocess.run(psql, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _asked(filled: Filled, query: str, **variables: str | int) -> list[dict[str, str]]:
    """Run the query as its second line describes."""
    given = [
        argument for name, value in variables.items() for argument in ("-v", f"{name}={value}")
    ]
    usage = (QUERIES / f"{query}.sql").read_text("utf-8").splitlines()[1]
    assert usage.startswith('-- psql "$GEO_PLATFORM_DAGSTER_POSTGRES_URL"')
    assert re.findall(r"-v (\w+)=", usage) == list(variables)
    assert usage.endswith(f"-f deploy/queries/{query}.sql")
    return list(
        csv.DictReader(io.StringIO(_psql(filled.url, *given, "-f", str(QUERIES / f"{query}.sql"))))
    )


def test_the_timeline_of_a_run(filled: Filled) -> None:
    found = _asked(filled, "timeline", run_id=filled.first)
    said = [
        row["checkpoint"]
        for row in found
        if row["checkpoint"] in set(Checkpoint) - {Checkpoint.STAGE_PROGRESS}
    ]
    each = ["STAGE_START", "STAGE_DONE", "MESSAGE_CREATED"]
    verified, published = (
        ["STAGE_START", "COG_VERIFIED", *each[1:]],
        ["STAGE_START", "SWAP_COMMITTED", "ITEM_PUBLISHED", *each[1:]],
    )
    assert said == [*each, *each, *verified, *published]
    assert (
        list(dict.fromkeys(row["stage"] for row in found if row["checkpoint"] == "STAGE_DONE"))
        == RASTER_STAGES
    )
    assert (found[0]["checkpoint"], found[0]["ms"], found[-1]["checkpoint"]) == (
        "RUN_START",
        "0",
        "RUN_SUCCESS",
    )
    assert next(row["said"] for row in found if row["checkpoint"] == "ITEM_PUBLISHED") == ITEM
    mismatch = [
        row["said"]
        for row in _asked(filled, "timeline", run_id=filled.vector)
        if row["checkpoint"] == "STATE_MISMATCH"
    ]
    assert mismatch == ["Dagster's run storage says CANCELED, its last terminal event is SUCCESS."]


def test_the_slowest_stages(filled: Filled) -> None:
    found = {row["stage"]: row for row in _asked(filled, "slowest_stages", days=7)}
    vector_stages = ["raw_vector", "vector_profile", "vector_features", "vector_item"]
    assert found.keys() == {*RASTER_STAGES, *vector_stages}
    assert {stage: int(row["attempts"]) for stage, row in found.items()} == {
        **dict.fromkeys(vector_stages, 1),
        "raw_raster": 4,
        "raster_profile": 4,
        "raster_cog": 3,
        "raster_item": 2,
    }
    slowest = [float(row["slowest_s"]) for row in found.values()]
    assert slowest == sorted(slowest, reverse=True)
    assert all(
        0 <= float(row["median_s"]) <= float(row["p95_s"]) <= float(row["slowest_s"])
        for row in found.values()
    )


def test_failures_by_their_code(filled: Filled) -> None:
    (found,) = _asked(filled, "failures_by_code", days=7)
    assert (found["error_code"], found["stage"], found["runs"], found["last_run"]) == (
        "CONFLICT",
        "raster_item",
        "1",
        filled.refused,
    )


def test_stages_without_an_end(filled: Filled) -> None:
    (found,) = _asked(filled, "unfinished_stages")
    assert (found["run_id"], found["job"], found["status"], found["stage"]) == (
        filled.killed,
        "process_raster",
        "FAILURE",
        "raster_cog",
    )


def test_which_runs_published_an_item(filled: Filled) -> None:
    found = [
        (row["run_id"], row["checkpoint"], row["status"])
        for row in _asked(filled, "published_item", item=ITEM)
    ]
    each = ("ITEM_PUBLISHED", "SWAP_COMMITTED")
    assert found == [
        (run, checkpoint, "SUCCESS") for run in (filled.again, filled.first) for checkpoint in each
    ]


def test_the_list_of_problems(filled: Filled) -> None:
    (found,) = _asked(filled, "trouble", days=7)
    assert (found["run_id"], found["job"], found["checkpoint"]) == (
        filled.vector,
        "ingest_vector",
        "STATE_MISMATCH",
    )


def test_every_sql_query_has_a_test_here() -> None:
    asked = set(re.findall(r'_asked\(filled, "(\w+)"', Path(__file__).read_text("utf-8")))
    assert asked == {path.stem for path in QUERIES.glob("*.sql")}


def test_every_log_line_has_exactly_the_fields_of_the_docs_page(filled: Filled) -> None:
    lines = [
        json.loads(line)
        for line in (filled.home / "logs" / "platform.jsonl").read_text("utf-8").splitlines()
    ]
    runs = {filled.first, filled.again, filled.vector, filled.refused, filled.killed}
    assert {line["run_id"] for line in lines} == runs
    order = fields_of_a_line()
    for line in lines:
        assert set(line) <= set(order), line
        assert list(line) == [name for name in order if name in line], "the order is the page's"
        assert set(line) == _expected_fields(line), line
        assert "checkpoint" not in line or line.get("details", {}).keys() <= details_of(
            line["checkpoint"]
        ), line
    codes = {line["error"]["code"] for line in lines if "error" in line and "checkpoint" in line}
    assert codes == {"CONFLICT"} <= {leaf.code for leaf in error_leaves()}
    reached = {line["checkpoint"] for line in lines if "checkpoint" in line}
    unreached = {
        Checkpoint.ITEM_UNPUBLISHED,
        Checkpoint.ITEM_UNCHANGED,
        Checkpoint.VERSIONS_REMOVED,
        Checkpoint.RUN_STUCK,
        Checkpoint.QUARANTINED,
    }
    assert reached == set(Checkpoint) - unreached - {Checkpoint.TELEMETRY_LOST}


def _expected_fields(line: Mapping[str, Any]) -> set[str]:
    """Return the fields of a line; Dagster's own lines are errors without a checkpoint."""
    fields = {"timestamp", "level", "logger", "run_id", "job", "message"}
    if line["logger"] == "dagster":
        assert line["level"] == "ERROR"
        return fields | ({"stage"} & set(line))
    checkpoint = line["checkpoint"]
    fields |= {"partition", "checkpoint"}
    if checkpoint != "STATE_MISMATCH":
        fields.add("stage")
        if checkpoint != "MESSAGE_CREATED":
            fields.add("attempt")
    if checkpoint in ("STAGE_DONE", "STAGE_FAILED"):
        fields.add("duration_ms")
    if checkpoint == "STAGE_FAILED":
        fields.add("error")
    return fields | ({"details"} if details_of(checkpoint) else set())
