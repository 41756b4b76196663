"""The HTTP API in front of a real Dagster, on both profiles, with jobs that clients of the old
system submit.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas
import httpx
import pyogrio
import pytest
import shapely
from graphql import build_client_schema, get_introspection_query, parse, validate

from geo_platform.api.dagster.documents import ALL
from geo_platform.ports import UPLOAD_ORIGIN
from geo_platform.runs import ATTEMPT_TAG, CORRELATION_TAG, JOB_TAG, REQUEST_TAG, TRACEPARENT_TAG
from tests.support.api_stack import ApiStack, api_stack, http_api
from tests.support.command import SAMPLES, geo_platform
from tests.support.legacy_client import LegacyError
from tests.support.own_dagster import DAEMON, WEBSERVER
from tests.support.production import ProfileUnderTest
from tests.support.ui import graphql

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
WELLS = "name,lat,lon\na,47.0,8.0\nb,47.1,8.1\nc,,\n"
LARGE = "n,lat,lon\n" + "".join(f"{n},{47 + n % 97 / 1e3},{8 + n / 1e5}\n" for n in range(10_000))
DATA = {
    "dataset_id": "swiss",
    "resource_id": "wells",
    "version_id": "v1",
    "container_name": "bronze",
    "service_name": "W",
    "access_level": "open",
}

# A whole Dagster and twenty runs, twice: this takes over two minutes.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")]


DRAWN = json.dumps(
    {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "properties": {"n": number},
                "geometry": {"type": kind, "coordinates": coordinates},
            }
            for number, (kind, coordinates) in enumerate(
                {"Point": [4, 50], "LineString": [[4, 50], [5, 51]]}.items()
            )
        ],
    }
)


def _town(path: Path) -> Path:
    trees = geopandas.GeoDataFrame({"n": [1, 2]}, geometry=[shapely.Point(4, 50)] * 2, crs=4326)
    parks = geopandas.GeoDataFrame({"n": [3]}, geometry=[shapely.box(4, 50, 5, 51)], crs=4326)
    pyogrio.write_dataframe(trees, path, layer="trees")
    pyogrio.write_dataframe(parks, path, layer="Parks", append=True)
    return path


@dataclass
class Worked:
    """`ended` holds the result of each job, by its name in this module."""

    stack: ApiStack
    job_ids: dict[str, str]
    request_id: str
    ended: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def worked(
    module_profile: ProfileUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worked]:
    """Submit all jobs at once with a client that knows only the old routes; the tests check the
    results.
    """
    with api_stack(tmp_path_factory.mktemp("api"), module_profile) as stack:
        for key, content in {
            "dem.tif": SAMPLES / "sierra_nevada_srtm.tif",
            "wells.csv": WELLS.encode(),
            "garbage.tif": b"II*\0 none",
            "town.gpkg": _town(tmp_path_factory.mktemp("town") / "town.gpkg"),
            "drawn.geojson": DRAWN.encode(),
            "large.csv": LARGE.encode(),
        }.items():
            stack.put(key, content)
        client = stack.legacy()
        named = {**client.headers, "X-Correlation-Id": "req-2026-0017", "traceparent": TRACEPARENT}
        client.headers = named
        jobs = {
            "hello": client.submit("hello_world", name="Ada"),
            "raster": client.submit(
                "process_raster",
                blob_name="dem.tif",
                container_name="bronze",
                output_tier="analysis",
                jpeg_quality=85,
            ),
            "vector": client.submit(
                "ingest_vector",
                blob_name="wells.csv",
                file_extension="csv",
                table_name="wells",
                container_name="bronze",
                schema="geo",
                chunk_size=1000,
                converter_params={"lat_name": "lat", "lon_name": "lon"},
                indexes={"spatial": True, "attributes": ["name"], "temporal": []},
                overwrite=False,
            ),
            "garbage": client.submit("process_raster", blob_name="garbage.tif"),
            "layers": client.submit("ingest_vector", blob_name="town.gpkg", layer_name="*"),
            "drawn": client.submit("ingest_vector", blob_name="drawn.geojson"),
            "large": client.submit(
                "ingest_vector", blob_name="large.csv", lat_name="lat", lon_name="lon"
            ),
        }
        options = {"lat_name": "lat", "lon_name": "lon"}
        asked = client.submit_data(
            **DATA, file_name="wells.csv", processing_options={"converter_params": options}
        )
        worked = Worked(
            stack,
            {**{name: job["job_id"] for name, job in jobs.items()}, "data": asked["job_id"]},
            asked["request_id"],
        )
        worked.ended = {name: client.wait(job_id) for name, job_id in worked.job_ids.items()}
        yield worked


def test_a_client_of_the_old_system_drives_a_hello_job_to_completion(worked: Worked) -> None:
    hello = worked.ended["hello"]
    assert (hello["status"], hello["stage"], hello["totalStages"]) == ("completed", 2, 2)
    assert hello["resultData"]["text"] == "hello Ada"
    assert [hello["stageResults"][number]["stage"] for number in ("1", "2")] == [
        "prepared_greeting",
        "spoken_greeting",
    ]


def test_a_client_of_the_old_system_drives_a_raster_job_to_completion(worked: Worked) -> None:
    raster = worked.ended["raster"]
    assert (raster["status"], raster["stage"], raster["totalStages"]) == ("completed", 4, 4)
    assert raster["parameters"]["output_tier"] == "analysis"
    assert raster["resultData"]["collection"] == "rasters"
    assert raster["resultData"]["item_id"] == "dem"
    assert raster["resultData"]["published_by_run"] == raster["runId"]
    assert any(href.endswith("dem.tif") for href in raster["resultData"]["outputs"])
    downloads = raster["resultData"]["downloads"]
    assert set(downloads) == {"data", "thumbnail", "preview"}
    assert downloads["data"].startswith(f"{worked.stack.address}/stac/collections/rasters/items/")
    path = downloads["data"].removeprefix(worked.stack.address)
    sent = worked.stack.ask("GET", path, "reader")
    assert (sent.status_code, sent.headers["content-type"].partition(";")[0]) == (200, "image/tiff")
    assert worked.stack.services.catalog.item("rasters", "dem") is not None


def test_rows_without_geometry_are_counted_and_the_job_is_completed_with_errors(
    worked: Worked,
) -> None:
    vector = worked.ended["vector"]
    assert vector["status"] == "completed_with_errors"
    assert vector["resultData"]["rows"] == {"read": 3, "inserted": 2, "rejected": 1, "repaired": 0}


def test_a_run_of_its_own_draws_the_tiles_of_a_large_item(worked: Worked) -> None:
    large = worked.ended["large"]
    assert (large["status"], large["stage"], large["totalStages"]) == ("completed", 4, 4)
    stack = worked.stack
    (run,) = stack.wait(
        lambda: [
            run
            for run in stack.runs(**{"dagster/partition": "vectors/large"})
            if run.status == "SUCCESS"
        ]
    )
    assert run.tags[CORRELATION_TAG] == "req-2026-0017"
    assert JOB_TAG not in run.tags
    assert run.run_id != large["runId"]


def test_all_layers_are_one_job_with_an_item_each(worked: Worked) -> None:
    layers = worked.ended["layers"]
    assert layers["status"] == "completed", layers
    result = layers["resultData"]
    assert [item["item_id"] for item in result["items"]] == ["town-trees", "town-parks"]
    assert result["rows"] == {"read": 3, "inserted": 3, "rejected": 0, "repaired": 0}
    catalog = worked.stack.services.catalog
    for item in result["items"]:
        assert set(item["outputs"]) < set(result["outputs"])
        assert catalog.item("vectors", item["item_id"]) is not None


def test_a_mixed_layer_is_one_job_with_a_dataset_for_each_family(worked: Worked) -> None:
    drawn = worked.ended["drawn"]
    assert drawn["status"] == "completed", drawn
    item = worked.stack.services.catalog.item("vectors", "drawn")
    assert item is not None
    assert {name.partition("_")[2] for name in item["assets"]} >= {"points", "lines"}
    assert drawn["resultData"]["rows"]["inserted"] == 2


def test_an_unreadable_file_fails_with_code_and_remedy_and_without_traceback(
    worked: Worked,
) -> None:
    garbage = worked.ended["garbage"]
    assert garbage["status"] == "failed"
    assert garbage["stage"] == 1
    assert garbage["errorDetails"]["code"].startswith(("SOURCE_", "UNSUPPORTED_"))
    assert garbage["errorDetails"]["remedy"].endswith(".")
    assert "Traceback" not in json.dumps(garbage)


def test_a_platform_api_request_ends_with_the_location_of_its_data(worked: Worked) -> None:
    client = worked.stack.legacy("reader")
    status = client.data_status(worked.request_id)
    assert (status["success"], status["data_type"], status["job_type"]) == (
        True,
        "vector",
        "ingest_vector",
    )
    assert (status["job_id"], status["job_status"]) == (
        worked.job_ids["data"],
        "completed_with_errors",
    )
    assert (status["dataset_id"], status["resource_id"], status["version_id"]) == (
        "swiss",
        "wells",
        "v1",
    )
    assert (status["data_access"]["collection"], status["data_access"]["item_id"]) == (
        "vectors",
        "swiss_wells_v1",
    )
    assert status["data_access"]["outputs"]
    assert status["data_access"]["downloads"] == list(status["job_result"]["downloads"].values())
    assert client.follow(f"/api/platform/status/{worked.request_id}") == status


def test_a_repeated_job_is_recognised_in_every_form_of_request(
    worked: Worked,
) -> None:
    again = worked.stack.legacy().submit(
        "ingest_vector",
        blob_name="wells.csv",
        file_extension="csv",
        table_name="wells",
        lat_name="lat",
        lon_name="lon",
        indexes={"attributes": ["name"]},
        chunk_size=1000,
    )
    assert (again["status"], again["job_id"]) == ("already_completed", worked.job_ids["vector"])
    assert again["result_data"] == worked.ended["vector"]["resultData"]
    assert len(worked.stack.runs(**{JOB_TAG: worked.job_ids["vector"]})) == 1


def test_client_ids_are_tags_of_the_run_and_echoed(worked: Worked) -> None:
    tags = {
        name: worked.stack.runs(**{JOB_TAG: worked.job_ids[name]})[0].tags
        for name in ("hello", "raster", "vector")
    }
    for found in tags.values():
        assert (found[CORRELATION_TAG], found[TRACEPARENT_TAG], found[ATTEMPT_TAG]) == (
            "req-2026-0017",
            TRACEPARENT,
            "1",
        )
    assert tags["hello"][REQUEST_TAG] == worked.ended["hello"]["requestId"]
    answer = worked.stack.ask(
        "GET", "/api/jobs", headers={"X-Correlation-Id": "mine", "traceparent": "no context"}
    )
    assert answer.headers["X-Correlation-Id"] == "mine"
    assert "traceparent" not in answer.headers
    assert len(answer.headers["X-Request-Id"]) == 32


def test_a_failed_job_can_be_submitted_again_canceled_and_retried(worked: Worked) -> None:
    stack, job_id = worked.stack, worked.job_ids["garbage"]
    # A run of a broken file fails in a moment, maybe before it is canceled: none is launched here.
    with stack.dagster.paused(DAEMON):
        submitted = stack.legacy().submit("process_raster", blob_name="garbage.tif")
        assert submitted["status"] == "created"
        assert _canceled(stack, job_id)["errorDetails"]["code"] == "RUN_CANCELED"
        retried = stack.ask("POST", f"/api/jobs/{job_id}/retry", "submitter")
        assert (retried.status_code, retried.json()["status"], retried.json()["job_id"]) == (
            200,
            "created",
            job_id,
        )
        assert _canceled(stack, job_id)["attempt"] == 3
    runs = stack.runs(**{JOB_TAG: job_id})
    assert [run.tags[ATTEMPT_TAG] for run in runs] == ["3", "2", "1"]
    assert (runs[0].tags["dagster/parent_run_id"], runs[0].tags["dagster/root_run_id"]) == (
        runs[1].run_id,
        runs[2].run_id,
    )


def test_a_completed_job_is_neither_retried_nor_canceled(worked: Worked) -> None:
    for action in ("retry", "cancel"):
        answer = worked.stack.ask("POST", f"/api/jobs/{worked.job_ids['hello']}/{action}")
        assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")


def test_a_forced_job_runs_again_under_the_same_id(worked: Worked) -> None:
    stack = worked.stack
    forced = stack.legacy().submit("process_raster", blob_name="dem.tif", force=True)
    assert (forced["status"], forced["job_id"]) == ("created", worked.job_ids["raster"])
    running = stack.legacy().submit("process_raster", blob_name="dem.tif", force=True)
    assert (running["idempotent"], running["total_stages"]) == (True, 4)
    assert _canceled(stack, worked.job_ids["raster"])["attempt"] == 2


def test_a_replaced_source_is_another_job(worked: Worked) -> None:
    stack = worked.stack
    stack.put("twice.csv", b"lat,lon\n47,8\n")
    first = stack.legacy().submit(
        "ingest_vector", blob_name="twice.csv", lat_name="lat", lon_name="lon"
    )
    stack.put("twice.csv.prj", b"not its sidecar")
    assert (
        stack.legacy().submit(
            "ingest_vector", blob_name="twice.csv", lat_name="lat", lon_name="lon"
        )["job_id"]
        == first["job_id"]
    )
    stack.put("twice.csvt", b'"Real","Real"')
    second = stack.legacy().submit(
        "ingest_vector", blob_name="twice.csv", lat_name="lat", lon_name="lon"
    )
    stack.put("twice.csv", b"lat,lon\n48,8\n")
    third = stack.legacy().submit(
        "ingest_vector", blob_name="twice.csv", lat_name="lat", lon_name="lon"
    )
    assert [answer["status"] for answer in (first, second, third)] == ["created"] * 3
    assert len({answer["job_id"] for answer in (first, second, third)}) == 3
    for answer in (first, second, third):
        _canceled(stack, answer["job_id"])


def test_every_invalid_parameter_is_named(worked: Worked) -> None:
    with pytest.raises(LegacyError) as refused:
        worked.stack.legacy().submit(
            "process_raster",
            blob_name="dem.tif",
            jpeg_quality=True,
            strict_mode=1,
            colour="red",
            output_tier="best",
        )
    assert refused.value.status == 422
    assert {fault["name"] for fault in refused.value.body["faults"]} == {
        "jpeg_quality",
        "strict_mode",
        "colour",
        "output_tier",
    }
    assert (refused.value.body["code"], refused.value.body["status"]) == ("PARAMETER_INVALID", 422)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        (
            "POST",
            "/api/jobs/submit/process_raster",
            {"blob_name": "nowhere.tif"},
            404,
            "SOURCE_NOT_FOUND",
        ),
        (
            "POST",
            "/api/jobs/submit/process_raster",
            {"blob_name": "../../etc/passwd"},
            422,
            "PARAMETER_INVALID",
        ),
        (
            "POST",
            "/api/jobs/submit/process_raster",
            {"blob_name": "x.json", "container_name": "messages"},
            422,
            "PARAMETER_INVALID",
        ),
        ("POST", "/api/jobs/submit/render_tiles", {}, 422, "PARAMETER_INVALID"),
        ("GET", f"/api/jobs/status/{'0' * 64}", None, 404, "NOT_FOUND"),
        ("GET", "/api/jobs/status/1", None, 422, "PARAMETER_INVALID"),
        ("POST", f"/api/jobs/{'0' * 64}/retry", None, 404, "NOT_FOUND"),
        ("POST", f"/api/jobs/{'0' * 64}/cancel", None, 404, "NOT_FOUND"),
        ("GET", f"/api/platform/status/{'0' * 32}", None, 404, "NOT_FOUND"),
        ("GET", "/api/nothing", None, 404, "NOT_FOUND"),
        ("DELETE", "/api/jobs", None, 405, "PARAMETER_INVALID"),
    ],
)
def test_errors_are_problem_documents_with_the_old_fields(
    worked: Worked, method: str, path: str, body: Any, status: int, code: str
) -> None:
    answer = worked.stack.ask(method, path, json=body)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["error"]) == (status, code, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert problem["instance"] == path
    assert {"type", "title", "detail", "remedy", "message", "timestamp"} <= problem.keys()


def test_a_reader_may_read_and_not_submit(worked: Worked) -> None:
    assert (
        worked.stack.ask("GET", f"/api/jobs/status/{worked.job_ids['hello']}", "reader").status_code
        == 200
    )
    assert (
        worked.stack.ask("POST", "/api/jobs/submit/hello_world", "reader", json={}).status_code
        == 403
    )
    assert (
        worked.stack.ask(
            "POST", f"/api/jobs/{worked.job_ids['garbage']}/retry", "reader"
        ).status_code
        == 403
    )


def test_an_idempotency_key_returns_the_same_response_and_refuses_another_request(
    worked: Worked,
) -> None:
    def ask(body: dict[str, Any], key: str = "submitter") -> httpx.Response:
        return worked.stack.ask(
            "POST",
            "/api/jobs/submit/hello_world",
            key,
            json=body,
            headers={"Idempotency-Key": "one"},
        )

    first, second = ask({"name": "Grace"}), ask({"name": "Grace"})
    assert first.json()["status"] == "created"
    assert second.json() == first.json()
    other = ask({"name": "Mary"})
    assert (other.status_code, other.json()["code"]) == (422, "PARAMETER_INVALID")
    assert (
        ask({"name": "Mary"}, key="operator").json()["status"] == "created"
    )  # each sender has its own keys
    for job_id in (first.json()["job_id"],):
        assert (
            len(worked.stack.wait(lambda job_id=job_id: worked.stack.runs(**{JOB_TAG: job_id})))
            == 1
        )


def test_progress_is_streamed_and_continues_after_the_last_event_id(
    worked: Worked,
) -> None:
    stack, path = worked.stack, f"/api/jobs/{worked.job_ids['vector']}/events"
    events = _sse_events(stack.ask("GET", path, "reader"))
    stages = [event["data"]["stage"] for event in events if event["event"] == "STAGE_DONE"]
    assert stages == ["raw_vector", "vector_profile", "vector_features", "vector_item"]
    assert {
        "RUN_QUEUED",
        "RUN_STARTED",
        "MESSAGE_CREATED",
        "FEATURES_LOADED",
        "ITEM_PUBLISHED",
        "RUN_ENDED",
    } <= {event["event"] for event in events}
    assert events[-1]["event"] == "end"
    assert events[-1]["data"] == worked.ended["vector"]
    rest = _sse_events(stack.ask("GET", path, "reader", headers={"Last-Event-ID": events[4]["id"]}))
    assert rest == events[5:]
    assert (
        stack.ask("GET", path, "reader", headers={"Last-Event-ID": events[-1]["id"]}).status_code
        == 204
    )


def test_progress_is_streamed_while_the_run_is_active(worked: Worked) -> None:
    stack = worked.stack
    job_id = stack.legacy().submit("hello_world", name="Emmy")["job_id"]
    seen: list[str] = []
    with stack.client.stream(
        "GET",
        f"{stack.address}/api/jobs/{job_id}/events",
        headers={"X-Api-Key": stack.keys["reader"]},
    ) as stream:
        deadline = time.monotonic() + 120
        for line in stream.iter_lines():
            assert time.monotonic() < deadline, f"the stream does not end: {seen}"
            if line == "event: RUN_QUEUED":
                seen.append(stack.legacy().status(job_id)["status"])
            if line.startswith("event: "):
                seen.append(line.removeprefix("event: "))
    assert seen.index("RUN_QUEUED") < seen.index("STAGE_START") < seen.index("RUN_ENDED")
    assert seen[seen.index("RUN_QUEUED") - 1] in ("queued", "processing")
    assert seen[-1] == "end"


def test_the_trace_equals_that_of_the_command_line(worked: Worked) -> None:
    stack = worked.stack
    for name in ("vector", "hello"):
        answer = stack.ask("GET", f"/api/jobs/{worked.job_ids[name]}/trace", "reader").json()
        printed = geo_platform(
            "trace",
            worked.ended[name]["runId"],
            "--json",
            home=stack.settings.home_dir,
            extra=stack.profile.environment,
        ).lines[0]
        assert _as_in_graphql(answer) == _as_in_graphql(printed)
        assert answer["timelines"][0]["correlation_id"] == "req-2026-0017"
        caller, request_id = answer["timelines"][0]["asked_by"], worked.ended[name]["requestId"]
        asked_by = f"the HTTP API for {caller}, request {request_id}"
        assert answer["timelines"][0]["launched_by"] == asked_by
        assert asked_by.startswith("the HTTP API for key:submitter")


def test_the_command_line_finds_runs_by_job_id_and_request_id(worked: Worked) -> None:
    stack, ended = worked.stack, worked.ended["hello"]
    for known in (worked.job_ids["hello"], ended["requestId"]):
        printed = geo_platform(
            "trace", known, "--json", home=stack.settings.home_dir, extra=stack.profile.environment
        ).lines[0]
        assert [timeline["run_id"] for timeline in printed["timelines"]] == [ended["runId"]], (
            printed["looked_for"]
        )


def test_an_uploaded_file_is_processed_after_it_is_submitted(
    worked: Worked,
) -> None:
    stack = worked.stack
    offer = stack.ask("POST", "/api/uploads", "submitter", json={"file_name": "sent.tif"}).json()
    credential = {"X-Api-Key": stack.keys["submitter"]} if offer["needs_credential"] else {}
    url = stack.address + offer["url"] if offer["url"].startswith("/") else offer["url"]
    content = (SAMPLES / "sierra_nevada_srtm.tif").read_bytes()
    sent = stack.client.request(
        offer["method"], url, content=content, headers={**offer["headers"], **credential}
    )
    assert sent.status_code == 201, sent.text
    job = stack.legacy().submit("process_raster", **offer["submit"])
    ended = stack.legacy().wait(job["job_id"])
    assert (ended["status"], ended["resultData"]["item_id"]) == ("completed", "sent")
    uploaded = stack.services.objects.stat("bronze", offer["submit"]["blob_name"])
    assert UPLOAD_ORIGIN in uploaded.metadata, "no watch requests a run for it too"


def test_jobs_are_listed_by_type_and_state_page_by_page(worked: Worked) -> None:
    def page(**query: Any) -> Any:
        return worked.stack.ask("GET", "/api/jobs", "reader", params=query).json()

    assert {
        job["jobId"] for job in page(type="ingest_vector", state="completed_with_errors")["jobs"]
    } == {
        worked.job_ids["vector"],
        worked.job_ids["data"],
    }
    assert worked.job_ids["garbage"] in [job["jobId"] for job in page(state="failed")["jobs"]]
    whole = [job["jobId"] for job in page(limit=100)["jobs"]]
    assert len(whole) == len(set(whole)) >= 5
    paged, cursor = [], None
    while cursor or not paged:
        found = page(limit=2, **({"cursor": cursor} if cursor else {}))
        paged += [job["jobId"] for job in found["jobs"]]
        cursor = found["nextCursor"]
    assert paged == whole


def test_every_dependency_is_ready_by_name(worked: Worked) -> None:
    found = worked.stack.wait(
        lambda: (answer := worked.stack.ask("GET", "/readyz", "")).status_code == 200 and answer
    )
    assert [(each["name"], each["is_ready"]) for each in found.json()["dependencies"]] == [
        (name, True) for name in ("webserver", "daemon", "code_location", "object_store", "catalog")
    ]
    text = worked.stack.ask("GET", "/metrics", "reader").text
    assert 'geo_platform_submissions_total{job_type="hello_world",outcome="created"}' in text
    assert "geo_platform_submissions_waiting " in text


@pytest.mark.parametrize("name", ALL)
def test_each_graphql_document_is_valid_in_the_webserver_schema(worked: Worked, name: str) -> None:
    schema = build_client_schema(graphql(worked.stack.dagster.address, get_introspection_query()))  # type: ignore[arg-type]
    assert validate(schema, parse(ALL[name])) == []


def test_jobs_accepted_while_the_webserver_is_down_run_later(worked: Worked) -> None:
    stack = worked.stack
    stack.dagster.kill(WEBSERVER)
    with http_api(stack.settings.home_dir, stack.dagster, stack.profile) as dying:
        left = dying.legacy().submit("hello_world", name="left by an API process that ended")
        assert dying.legacy().status(left["job_id"])["status"] == "queued"
    accepted = stack.legacy().submit("hello_world", name="while it was down")
    assert accepted["status"] == "created"
    assert stack.legacy().status(accepted["job_id"])["status"] == "queued"
    assert stack.legacy().submit("hello_world", name="while it was down")["status"] == "queued"
    with pytest.raises(LegacyError) as unknown:
        stack.legacy().status(worked.job_ids["hello"])
    assert (unknown.value.status, unknown.value.body["code"], unknown.value.body["retryable"]) == (
        503,
        "STORE_UNAVAILABLE",
        True,
    )
    ready = stack.ask("GET", "/readyz", "")
    assert (ready.status_code, ready.json()["dependencies"][0]["is_ready"]) == (503, False)
    stack.dagster.start(WEBSERVER)
    for job_id in (accepted["job_id"], left["job_id"]):
        runs = stack.wait(lambda job_id=job_id: stack.runs(**{JOB_TAG: job_id}))
        assert len(runs) == 1
    stack.wait(lambda: not list(stack.services.submissions.waiting()))


def _canceled(stack: ApiStack, job_id: str) -> dict[str, Any]:
    """Cancel the job and return its status. A run that is being launched must exist first."""
    stack.wait(
        lambda: stack.ask("POST", f"/api/jobs/{job_id}/cancel", "submitter").status_code == 202
    )
    return dict(stack.legacy().wait(job_id))


def _sse_events(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = []
    for block in answer.text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            events.append(
                {"id": lines["id"], "event": lines["event"], "data": json.loads(lines["data"])}
            )
    return events


def _as_in_graphql(document: Any) -> Any:
    """Convert the document to what GraphQL can return.

    GraphQL returns durations only in Dagster's own rounded text, and no tags that begin with a dot.
    """
    if isinstance(document, dict):
        return {
            key: _as_in_graphql(value)
            for key, value in document.items()
            if key != "duration_ms" and not key.startswith(".")
        }
    return [_as_in_graphql(value) for value in document] if isinstance(document, list) else document
