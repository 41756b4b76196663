"""The statuses of Dagster translated to the states of the API."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from geo_platform.api.dagster.graphql import Materialized, RunFound, Step
from geo_platform.api.jobs.dispatcher import launch_of
from geo_platform.api.jobs.responses import with_downloads
from geo_platform.api.jobs.state import JobState, newest_of, snapshot_of
from geo_platform.api.jobs.types import STAGES, job_request_of
from geo_platform.contracts.submission import JobSubmitted, WorkAsked
from geo_platform.runs import ATTEMPT_TAG, CORRELATION_TAG, JOB_TAG, MEMORY_TAG

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)


def job(job_type: str = "ingest_vector", **asked: Any) -> JobSubmitted:
    options = job_request_of(
        job_type, {"blob_name": "a.csv"} if job_type != "hello_world" else {}
    ).options
    work = {"attempt": 1, "asked_at_utc": NOW, "asked_by": "me", "request_id": "r", **asked}
    return JobSubmitted(
        job_id="a" * 64,
        job_type=job_type,
        key="a.csv" if job_type != "hello_world" else "",
        parameters_json="{}",
        options_json=json.dumps(options),
        first_asked_at_utc=NOW,
        asked=WorkAsked(**work),
    )


def run(status: str, *steps: str, made: tuple[Materialized, ...] = (), **tags: str) -> RunFound:
    """Return a run with the given steps, each as `stage=STATUS`."""
    begun = [
        Step(name, state, NOW, NOW) for name, _, state in (step.partition("=") for step in steps)
    ]
    return RunFound(
        "run",
        "job",
        status,
        {ATTEMPT_TAG: "1", **tags},
        NOW,
        NOW,
        NOW + timedelta(seconds=3),
        NOW,
        tuple(begun),
        made,
    )


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("QUEUED", "queued"),
        ("NOT_STARTED", "queued"),
        ("STARTING", "processing"),
        ("STARTED", "processing"),
        ("CANCELING", "processing"),
        ("SUCCESS", "completed"),
        ("FAILURE", "failed"),
        ("CANCELED", "failed"),
    ],
)
def test_each_status_of_dagster_is_a_state(status: str, state: str) -> None:
    assert snapshot_of(job(), run(status)).state == state


def test_a_record_without_a_run_is_queued() -> None:
    snapshot = snapshot_of(job(), None)
    assert (snapshot.state, snapshot.stage, len(snapshot.stages)) == (JobState.queued, 1, 4)


def test_a_run_that_the_daemon_retries_has_not_failed_yet() -> None:
    assert (
        snapshot_of(job(), run("FAILURE", **{"dagster/will_retry": "true"})).state
        is JobState.queued
    )


def test_the_stage_is_the_last_one_that_started_and_checks_do_not_count() -> None:
    snapshot = snapshot_of(
        job(),
        run(
            "STARTED",
            "raw_vector=SUCCESS",
            "raw_vector_check=SUCCESS",
            "vector_profile=IN_PROGRESS",
        ),
    )
    assert snapshot.stage == 2
    assert {number: result["status"] for number, result in snapshot.stage_results.items()} == {
        "1": "completed",
        "2": "processing",
    }


def test_rejected_rows_are_errors_of_a_completed_job() -> None:
    rows = [
        {"rows": "read", "count": 3},
        {"rows": "inserted", "count": 2},
        {"rows": "rejected", "count": 1},
    ]
    made = (
        Materialized("vector_features", NOW, {"rows": rows, "reject_reasons": {"no geometry": 1}}),
    )
    snapshot = snapshot_of(job(), run("SUCCESS", made=made))
    assert snapshot.state is JobState.completed_with_errors
    assert snapshot.result is not None
    assert snapshot.result["rows"] == {"read": 3, "inserted": 2, "rejected": 1}
    assert snapshot.completed_at_utc == NOW + timedelta(seconds=3)


def test_the_result_of_all_layers_lists_each_item() -> None:
    items = [
        {"collection": "vectors", "item_id": f"town-{layer}", "published_by_run": "run"}
        for layer in ("trees", "parks")
    ]
    metadata = {**items[0], "outputs": ["a", "b"], "was_unchanged": False}
    several = Materialized("vector_item", NOW, {**metadata, "items": items})
    snapshot = snapshot_of(job(), run("SUCCESS", made=(several,)))
    assert snapshot.result is not None
    assert snapshot.result["items"] == items
    assert snapshot.result["outputs"] == ["a", "b"]
    one = snapshot_of(job(), run("SUCCESS", made=(Materialized("vector_item", NOW, metadata),)))
    assert one.result is not None
    assert "items" not in one.result


def test_a_canceled_job_and_a_failed_one_have_their_errors() -> None:
    canceled = snapshot_of(job(), run("CANCELED"))
    assert canceled.error is not None
    assert canceled.error["code"] == "RUN_CANCELED"
    failed = snapshot_of(job(), run("FAILURE"), {"code": "CRS_MISSING"})
    assert failed.error == {"code": "CRS_MISSING"}


def test_the_run_of_an_earlier_attempt_does_not_count() -> None:
    first, second = run("FAILURE"), run("QUEUED", **{ATTEMPT_TAG: "2"})
    assert newest_of(job(attempt=2), [second, first]) is second
    assert newest_of(job(attempt=3), [second, first]) is None


@pytest.mark.parametrize("force", [True, False])
def test_a_launch_has_the_partition_the_options_and_the_ids(force: bool) -> None:
    launch = launch_of(
        job(
            attempt=2,
            force=force,
            correlation_id="mine",
            memory="small",
            retry_of_run="before",
            root_run="first",
        )
    )
    assert (launch.job, launch.partition, launch.partitions_name) == (
        "ingest_vector",
        "a.csv",
        "vector_objects",
    )
    assert launch.stage_options["raw_vector"]["force"] is force
    assert set(launch.stage_options) == set(STAGES["ingest_vector"])
    assert launch.tags[JOB_TAG] == "a" * 64
    assert (launch.tags[ATTEMPT_TAG], launch.tags[CORRELATION_TAG], launch.tags[MEMORY_TAG]) == (
        "2",
        "mine",
        "small",
    )
    assert (launch.tags["dagster/parent_run_id"], launch.tags["dagster/root_run_id"]) == (
        "before",
        "first",
    )


def test_a_greeting_has_no_partition() -> None:
    launch = launch_of(job("hello_world"))
    assert (launch.partition, launch.partitions_name, dict(launch.stage_options)) == (
        None,
        None,
        {"prepared_greeting": {"name": "world"}},
    )


def test_each_file_of_a_result_has_an_address_also_among_several_items_and_files() -> None:
    one = {"collection": "rasters", "item_id": "dem", "file_assets": ["data", "preview"]}
    base, paths = "https://geo.example.org", "/stac/collections/rasters/items/dem/assets/"
    named = {
        "collection": "rasters",
        "item_id": "dem",
        "downloads": {name: f"{base}{paths}{name}" for name in ("data", "preview")},
    }
    assert with_downloads(one, base) == named
    assert with_downloads({**one, "items": [one]}, base)["items"] == [named]
    assert "downloads" not in with_downloads({**one, "items": [one]}, base)
    assert with_downloads({"files": [one, {"status": "failed"}]}, base)["files"] == [
        named,
        {"status": "failed"},
    ]
    # A result from before files were named.
    assert with_downloads({"collection": "rasters", "item_id": "dem"}, base) == {
        "collection": "rasters",
        "item_id": "dem",
    }
