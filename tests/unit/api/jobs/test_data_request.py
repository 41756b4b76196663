"""Requests of the platform API: the names of their results, and one job for several files."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from geo_platform.api.jobs.data_request import DataRequest, names_of, suffixes
from geo_platform.api.jobs.dispatcher import launch_of, tags_of
from geo_platform.api.jobs.state import JobState, snapshot_of
from geo_platform.api.jobs.types import FILES, etag_of, job_id_of, job_of_files, job_request_of
from geo_platform.chains.vector import VECTOR
from geo_platform.contracts.submission import JobSubmitted, WorkAsked
from geo_platform.options import ItemOptions
from geo_platform.orchestrator.shared_runs import SHARED_JOB, SHARED_OP
from geo_platform.runs import RUN_KEY_TAG
from geo_platform.vector.field_names import dataset_name
from tests.unit.api.jobs.test_state import NOW, run

IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}", fullmatch=True)
KEYS = st.lists(
    st.text(st.sampled_from("aA._-é/0 "), min_size=1, max_size=12),
    min_size=2,
    max_size=6,
    unique=True,
)


def request(**rest: Any) -> DataRequest:
    return DataRequest(
        **{
            "dataset_id": "d",
            "resource_id": "r",
            "version_id": "v",
            "operation": "CREATE",
            "file_name": "a.tif",
            **rest,
        }
    )


def job_of(force: bool = False) -> JobSubmitted:
    given = {"container_name": "bronze", "force": force}
    each = {
        "a.tif": job_request_of(
            "process_raster", {"blob_name": "a.tif", "jpeg_quality": 50, **given}
        ),
        "b.csv": job_request_of(
            "ingest_vector",
            {"blob_name": "b.csv", "schema": "hydro", "load_mode": "append", **given},
        ),
    }
    asked = job_of_files("bronze", each, dataset="d")
    return JobSubmitted(
        job_id=job_id_of(asked, "e"),
        job_type=asked.job_type,
        container="bronze",
        parameters_json="{}",
        options_json=json.dumps(asked.options),
        first_asked_at_utc=NOW,
        asked=WorkAsked(
            attempt=1, asked_at_utc=NOW, asked_by="me", request_id="r", force=asked.force
        ),
    )


def test_several_files_use_the_job_of_shared_runs() -> None:
    assert (FILES, ["files"]) == (SHARED_JOB, [SHARED_OP])


def test_each_file_has_the_options_that_differ_from_the_defaults() -> None:
    launch = launch_of(job_of())
    assert (launch.job, launch.partition) == (SHARED_JOB, None)
    assert launch.stage_options == {
        SHARED_OP: {
            "container_name": "bronze",
            "files": [
                {"key": "a.tif", "parameters": {"jpeg_quality": 50}},
                {"key": "b.csv", "parameters": {"schema_name": "hydro", "load_mode": "append"}},
            ],
            "parameters": {"force": False},
        }
    }
    assert tags_of(job_of())[RUN_KEY_TAG] == job_of().job_id, (
        "a watch recognises the run of the files"
    )


def test_force_does_not_change_the_id_of_the_work() -> None:
    assert job_of(force=True).job_id == job_of().job_id
    assert launch_of(job_of(force=True)).stage_options[SHARED_OP]["parameters"] == {"force": True}
    assert etag_of(["a", "b"]) not in (etag_of(["a", "c"]), etag_of(["ab"]))
    assert (etag_of([]), etag_of(["a"])) == ("", "a")


def test_files_have_the_state_of_their_run_until_it_ends() -> None:
    assert [file["status"] for file in snapshot_of(job_of(), None).files] == ["queued", "queued"]
    assert [file["status"] for file in snapshot_of(job_of(), run("STARTED")).files] == [
        "processing",
        "processing",
    ]
    refused = {"key": "a.tif", "code": "CRS_MISSING", "message": "m", "remedy": "r"}
    failed = snapshot_of(
        job_of(),
        run("FAILURE"),
        {"code": "FILES_REFUSED", "message": "f", "remedy": "g"},
        [refused],
    )
    assert (failed.state, failed.result) == (JobState.failed, None)
    assert [file["error"]["code"] for file in failed.files] == ["CRS_MISSING", "FILES_REFUSED"]


@given(keys=KEYS)
def test_files_of_one_request_have_different_names(keys: list[str]) -> None:
    found = suffixes(keys)
    assert len({suffix.lower() for suffix in found.values()}) == len(keys)


@given(ids=st.tuples(IDS, IDS, IDS), keys=KEYS, service_name=st.none() | st.text(max_size=200))
def test_results_have_valid_names_whatever_the_ids(
    ids: tuple[str, str, str], keys: list[str], service_name: str | None
) -> None:
    body = request(
        dataset_id=ids[0], resource_id=ids[1], version_id=ids[2], service_name=service_name
    )
    for suffix in ("", *suffixes(keys).values()):
        named = names_of(body, VECTOR, suffix)
        assert dataset_name(named["table_name"], "x") == named["table_name"]
        assert ItemOptions(item_id=named["item_id"], title=named.get("title")).item_id


@pytest.mark.parametrize(
    "files", [[], ["a.tif", "a.tif"], [f"{number}.tif" for number in range(101)], [1], 1, None]
)
def test_an_invalid_list_of_files_is_refused(files: Any) -> None:
    with pytest.raises(ValidationError):
        request(file_name=files)


def test_a_list_of_one_is_one_file_and_order_does_not_matter() -> None:
    assert request(file_name=["a.tif"]).keys == request(file_name="a.tif").keys
    assert request(file_name=["b.tif", "a.tif"]).keys == request(file_name=["a.tif", "b.tif"]).keys
