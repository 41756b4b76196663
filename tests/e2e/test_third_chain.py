"""Add a third chain by one core module and one assets module, and use it everywhere a chain is
used.

The example is `tests/support/table_chain`: tables without geometry. Commands, watches and the HTTP
API use it in a copy of the project.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.table_chain.project import copy_project, run_in

DRIVE = "tests.support.table_chain.drive"
STAGES = ["raw_table", "table_profile", "table_rows", "table_item"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The copy with the chain; its messages are locked by the command for that."""
    copy = copy_project(tmp_path_factory.mktemp("project"))
    lock_output = json.loads(run_in(copy, DRIVE, "lock", copy / "home"))
    assert lock_output["output"] == "contracts.lock.json: TableProfiled, TableStored\n"
    return copy


@pytest.fixture(scope="module")
def used(project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The commands' output."""
    answers: dict[str, Any] = json.loads(
        run_in(project, DRIVE, "commands", tmp_path_factory.mktemp("commands"))
    )
    return answers


def test_it_is_in_the_definitions_with_its_checks(used: dict[str, Any]) -> None:
    assert used["contracts"]["output"] == "The contracts hold.\n"
    checks = ["table_item_table_item_valid", "table_rows_rows_stored"]
    assert used["definitions"] == {
        "job": sorted(STAGES + checks),
        "checks": ["rows_stored", "table_item_valid"],
    }


def test_ingest_and_plan_take_it_with_its_parameters(used: dict[str, Any]) -> None:
    (plan,) = used["plan"]["answers"]
    assert (plan["kind"], plan["found"]["item"]) == ("table", "tables/stations")
    (published,) = used["ingest"]["answers"]
    assert (published["kind"], published["outcome"], published["item"]) == (
        "table",
        "published",
        "stations",
    )
    assert published["outputs"][0].endswith("/rows.parquet")
    (again,) = used["again"]["answers"]
    assert (again["outcome"], again["run_id"]) == ("unchanged", published["run_id"])


def test_a_job_requested_by_name_takes_precedence_over_the_content(used: dict[str, Any]) -> None:
    (answer,) = used["by job"]["answers"]
    assert (answer["kind"], answer["error"]["code"]) == ("vector", "NO_GEOMETRY")


def test_trace_shows_its_stages(used: dict[str, Any]) -> None:
    ((timeline,),) = (answer["timelines"] for answer in used["trace"]["answers"])
    assert (timeline["job"], timeline["status"]) == ("ingest_table", "success")
    text = json.dumps(timeline)
    assert [stage for stage in STAGES if f'"{stage}"' in text] == STAGES
    assert "ITEM_PUBLISHED" in text


def test_retry_runs_a_refused_table_again(used: dict[str, Any]) -> None:
    (refused,) = used["retry"]["refused"]["answers"]
    assert (refused["outcome"], refused["error"]["code"]) == ("refused", "NO_FEATURES")
    (retried,) = used["retry"]["retry"]["answers"]
    assert (len(retried["files"]), retried["error"]) == (1, None)
    assert retried["result"]["collection"] == "tables"


def test_a_watch_requests_single_and_shared_runs(used: dict[str, Any]) -> None:
    watch = used["watch"]
    assert watch["jobs"] == ["ingest_files", "ingest_table"]
    assert watch["partitions"] == {"table_objects": ["in/large.csv"]}
    assert watch["rows config"] == {"table_compression": "snappy"}
    assert watch["alone"] == ["success", None]
    status, message = watch["shared"]
    assert status == "failure"
    assert "Of 3 files 0 failed and 1 were refused; 'in/two.csv'" in message
    assert {"tables/large", "tables/one", "vectors/points"} <= set(watch["items"])


def test_doctor_compares_its_partitions_and_reads_its_messages(used: dict[str, Any]) -> None:
    (answer,) = used["doctor"]["answers"]
    assert [(found["code"], found["concerns"]) for found in answer["findings"]] == [
        ("PARTITION_WITHOUT_RESULT", "partition ghost.csv of table_objects")
    ]
    assert answer["compared"]["messages"] > len(STAGES)


def test_the_http_api_submits_it_and_returns_its_status(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    answers = json.loads(run_in(project, DRIVE, "api", tmp_path_factory.mktemp("api")))
    assert "/api/jobs/submit/ingest_table" in answers["routes"]
    assert {"blob_name", "table_delimiter", "table_compression", "item_id"} <= set(answers["body"])
    status_code, problem = answers["refused"]
    assert (status_code, problem["error"]) == (422, "PARAMETER_INVALID")
    status = answers["status"]
    assert (status["status"], status["jobType"]) == ("completed", "ingest_table")
    assert [result["stage"] for result in status["stageResults"].values()] == STAGES
    assert answers["listed"] == 1
