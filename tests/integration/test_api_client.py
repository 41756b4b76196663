"""Call the API with a client generated from the served document."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from geo_platform.api.app import create_app
from geo_platform.api.auth.keys import KeyFile
from geo_platform.api.auth.principal import Scope
from geo_platform.settings import Settings
from tests.support.api_stack import ApiStack, api_stack
from tests.support.command import SAMPLES
from tests.support.generated_client import GeneratedClient, generated_client
from tests.support.serving import served

NOBODY = "http://127.0.0.1:9"


def on_whole_stack(test: Callable[..., None]) -> Any:
    """Mark a test that starts the whole stack, which takes half a minute."""
    return pytest.mark.slow(
        pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")(test)
    )


def test_a_generated_client_submits_and_gets_errors_in_its_own_types(
    tmp_path: Path,
) -> None:
    """Dagster is unavailable: accepted jobs wait."""
    settings = Settings(home=tmp_path / "home", dagster_url=NOBODY)
    key = KeyFile(settings.api_keys_file).create("generated", Scope.operator)
    with (
        served(create_app(settings)) as address,
        generated_client(address, key, tmp_path) as client,
    ):
        models = client.models
        created = client.call(
            "jobs", "submit_hello_world", body=models.GreetingParameters(name="Ada")
        )
        assert isinstance(created, models.JobCreated)
        assert (
            client.call("jobs", "get_job_status", created.job_id).status
            == models.JobStatusStatus.QUEUED
        )
        assert isinstance(
            client.call("jobs", "submit_hello_world", body=models.GreetingParameters(name="Ada")),
            models.JobUnderWay,
        )

        refused = client.call(
            "jobs",
            "submit_process_raster",
            body=models.RasterParameters(blob_name="dem.tif", jpeg_quality=101),
        )
        assert isinstance(refused, models.Problem)
        assert (refused.status, refused.code, [fault.name for fault in refused.faults]) == (
            422,
            "PARAMETER_INVALID",
            ["jpeg_quality"],
        )
        missing = client.call(
            "jobs", "submit_ingest_vector", body=models.VectorParameters(blob_name="none.csv")
        )
        assert (missing.status, missing.code, missing.retryable) == (404, "SOURCE_NOT_FOUND", False)
        assert client.call("health", "livez").status == "alive"
        assert {each.name for each in client.call("health", "readyz").dependencies} >= {
            "webserver",
            "object_store",
        }


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ApiStack, GeneratedClient]]:
    """The whole stack and a generated client, with files."""
    folder = tmp_path_factory.mktemp("driven")
    with (
        api_stack(folder) as stack,
        generated_client(stack.address, stack.keys["submitter"], folder) as client,
    ):
        for key in ("dem.tif", "north/dem.tif", "south.tif"):
            stack.put(key, SAMPLES / "sierra_nevada_srtm.tif")
        stack.put("wells.csv", b"name,lat,lon\na,47.0,8.0\nb,,\n")
        stack.put("garbage.tif", b"II*\0 none")
        yield stack, client


@on_whole_stack
def test_a_generated_client_drives_jobs_to_completion(
    driven: tuple[ApiStack, GeneratedClient],
) -> None:
    _, client = driven
    models = client.models
    greeting = client.call("jobs", "submit_hello_world", body=models.GreetingParameters(name="Ada"))
    details = {
        "service_name": "Elevation",
        "description": "Heights in metres.",
        "tags": ["elevation"],
        "access_level": "public",
    }
    request = models.DataRequest(
        "flood-2026", "elevation", "v1.0", operation="CREATE", file_name="dem.tif", **details
    )
    asked = client.call("platform", "submit_data", body=request)
    assert isinstance(asked, models.DataAccepted)

    done = ended(client, greeting.job_id)
    assert (done.status, done.result_data["text"]) == (
        models.JobStatusStatus.COMPLETED,
        "hello Ada",
    )
    assert ended(client, asked.job_id).status == models.JobStatusStatus.COMPLETED
    found = client.call("platform", "get_data_status", asked.request_id)
    assert (found.success, found.data_access.item_id) == (True, "flood-2026_elevation_v1.0")
    assert [(file.file_name, file.data_access) for file in found.files] == [
        ("dem.tif", found.data_access)
    ]
    item = driven[0].services.catalog.item("rasters", "flood-2026_elevation_v1.0")
    assert item is not None
    described = [item["properties"][name] for name in ("title", "description", "keywords")]
    assert described == ["Elevation", "Heights in metres.", ["elevation"]]
    page = client.call("jobs", "list_jobs", state=models.JobState.COMPLETED)
    assert {greeting.job_id, asked.job_id} <= {job.job_id for job in page.jobs}


@on_whole_stack
def test_several_files_in_one_request_are_one_job_with_a_result_each(
    driven: tuple[ApiStack, GeneratedClient],
) -> None:
    stack, client = driven
    keys = ["north/dem.tif", "garbage.tif", "wells.csv", "south.tif"]
    asked = submit_files(client, keys)
    assert asked.job_type == "ingest_files"
    assert submit_files(client, keys[::-1]).request_id == asked.request_id, (
        "the same files are the same job"
    )
    job = ended(client, asked.job_id)
    assert (job.status, job.error_details.code) == (
        client.models.JobStatusStatus.FAILED,
        "FILES_REFUSED",
    )

    found = client.call("platform", "get_data_status", asked.request_id).to_dict()
    assert (found["success"], found["data_type"], found["job_status"]) == (False, "mixed", "failed")
    files = {file["file_name"]: file for file in found["files"]}
    assert {key: file["status"] for key, file in files.items()} == {
        "north/dem.tif": "completed",
        "south.tif": "completed",
        "wells.csv": "completed_with_errors",
        "garbage.tif": "failed",
    }
    assert files["garbage.tif"]["error"]["code"].startswith(("SOURCE_", "UNSUPPORTED_"))
    access = {key: file["data_access"] for key, file in files.items() if file["data_access"]}
    places = {key: (details["collection"], details["item_id"]) for key, details in access.items()}
    assert places == {
        "north/dem.tif": ("rasters", "alps_tiles_v2_dem"),
        "south.tif": ("rasters", "alps_tiles_v2_south"),
        "wells.csv": ("vectors", "alps_tiles_v2_wells"),
    }
    for place in places.values():
        item = stack.services.catalog.item(*place)
        assert item is not None
        assert item["properties"]["keywords"] == ["alps"]
    assert sorted(found["data_access"]["outputs"]) == sorted(
        href for details in access.values() for href in details["outputs"]
    )

    good = submit_files(client, ["north/dem.tif", "south.tif"])
    assert ended(client, good.job_id).status == client.models.JobStatusStatus.COMPLETED
    again = submit_files(client, ["north/dem.tif", "south.tif"])
    assert (again.request_id, "its job is completed" in again.message) == (good.request_id, True)


@on_whole_stack
def test_a_request_for_several_files_is_refused_if_one_of_them_is_invalid(
    driven: tuple[ApiStack, GeneratedClient],
) -> None:
    _, client = driven
    for keys, status in (
        (["south.tif", "none.tif"], 404),
        (["south.tif", "../south.tif"], 422),
        (["south.tif"] * 2, 422),
        ([], 422),
    ):
        refused = submit_files(client, keys)
        assert (refused.status, refused.retryable) == (status, False), keys
    wrong = submit_files(client, ["south.tif", "wells.csv"], jpeg_quality=101, colour="red")
    assert {fault.name for fault in wrong.faults} == {"jpeg_quality", "colour"}


@on_whole_stack
def test_jobs_waiting_for_launch_are_listed_as_queued_before_ended_jobs(
    driven: tuple[ApiStack, GeneratedClient],
) -> None:
    """Another process has claimed the job and is slow."""
    stack, client = driven
    ran = client.call(
        "jobs", "submit_hello_world", body=client.models.GreetingParameters(name="Grace")
    )
    ended(client, ran.job_id)
    kept = stack.services.submissions.job(ran.job_id)
    assert kept is not None
    waiting = kept.job.model_copy(update={"job_id": "0" * 64})
    assert stack.services.submissions.put_job(waiting, only_if_etag="")
    assert stack.services.submissions.put_waiting(waiting.job_id, 1)
    try:
        first = client.call("jobs", "list_jobs", limit=1)
        assert [(job.job_id, job.status) for job in first.jobs] == [
            (waiting.job_id, client.models.JobStatusStatus.QUEUED)
        ]
        second = client.call("jobs", "list_jobs", limit=1, cursor=first.next_cursor)
        assert [job.job_id for job in second.jobs] == [ran.job_id]
        queued = client.call(
            "jobs", "list_jobs", state=client.models.JobState.QUEUED, type_="hello_world"
        )
        assert [job.job_id for job in queued.jobs] == [waiting.job_id]
        assert not client.call(
            "jobs", "list_jobs", state=client.models.JobState.QUEUED, type_="process_raster"
        ).jobs
    finally:
        stack.services.submissions.launched(waiting.job_id, 1)


def submit_files(client: GeneratedClient, keys: list[str], **options: object) -> Any:
    models = client.models
    chosen = {"lat_name": "lat", "lon_name": "lon"} if "wells.csv" in keys else {}
    chosen = models.DataRequestProcessingOptionsType0.from_dict({**chosen, **options})
    request = models.DataRequest(
        "alps",
        "tiles",
        "v2",
        operation="CREATE",
        file_name=keys,
        tags=["alps"],
        processing_options=chosen,
    )
    return client.call("platform", "submit_data", body=request)


def ended(client: GeneratedClient, job_id: str) -> Any:
    """Wait for the job's end and return its status."""
    deadline = time.monotonic() + 120
    under_way = (client.models.JobStatusStatus.QUEUED, client.models.JobStatusStatus.PROCESSING)
    while (found := client.call("jobs", "get_job_status", job_id)).status in under_way:
        assert time.monotonic() < deadline, found
        time.sleep(0.3)
    return found
