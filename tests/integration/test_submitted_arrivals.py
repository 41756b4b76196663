"""An object that a client submits and a watch finds belongs to whichever is first.

On files and on Azurite.
"""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import dagster as dg
import httpx
import pytest

from geo_platform.api.auth.principal import Principal, Scope
from geo_platform.api.dagster.graphql import DagsterGraphql
from geo_platform.api.jobs.dispatcher import Dispatcher, tags_of
from geo_platform.api.jobs.intake import Caller, Intake, source_of, take_from_watch
from geo_platform.api.jobs.submissions import Submissions, waiting_key
from geo_platform.api.jobs.types import job_request_of
from geo_platform.arrivals.arrival import Arrival, arrival_key, arrival_of
from geo_platform.arrivals.readiness import sort_out
from geo_platform.arrivals.receipts import read_receipt_contents
from geo_platform.arrivals.watch import Watch
from geo_platform.contracts.submission import JobSubmitted
from geo_platform.orchestrator.arrival_listing import arrivals_with_runs
from geo_platform.orchestrator.run_requests import LaunchPlan, plan_launches
from geo_platform.ports import BRONZE, ObjectStore
from geo_platform.runs import RUN_KEY_TAG
from tests.support.command import ROOT
from tests.support.production import ProfileUnderTest

SAMPLE = ROOT / "samples" / "sierra_nevada_srtm.tif"
WATCH = Watch(name="bronze", small_bytes=0, parameters={"output_tier": "analysis"})
ME = Principal("key:me", Scope.submitter)
AT_ONCE = 24


def _unavailable(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


@dataclass
class Both:
    """An API whose Dagster is unavailable, so that it launches nothing itself, and a watch on its
    objects.
    """

    objects: ObjectStore
    instance: dg.DagsterInstance
    intake: Intake
    submissions: Submissions

    def submit(self, key: str) -> JobSubmitted:
        parameters = {"blob_name": key}
        return self.intake.submit(
            job_request_of("process_raster", parameters), parameters, Caller(ME, "request")
        ).job

    def watch(self, *arrivals: Arrival) -> LaunchPlan:
        return plan_launches(self.instance, self.objects, WATCH, arrivals)

    def land(self, key: str) -> Arrival:
        return arrival_of(self.objects.put_file(BRONZE, key, SAMPLE, metadata={}))

    def launch(self, job: JobSubmitted) -> None:
        """Launch the job, as the dispatcher does when Dagster answers."""
        self.instance.add_run(
            dg.DagsterRun(
                job_name=job.job_type, tags=tags_of(job), status=dg.DagsterRunStatus.NOT_STARTED
            )
        )
        self.submissions.launched(job.job_id, job.asked.attempt)


@pytest.fixture
def both(profile: ProfileUnderTest, tmp_path: Path) -> Iterator[Both]:
    objects = profile.objects(tmp_path / "home")
    submissions, dagster = (
        Submissions(objects),
        DagsterGraphql("http://dagster", transport=httpx.MockTransport(_unavailable)),
    )
    catalog: Any = None
    intake = Intake(
        objects, catalog, submissions, dagster, Dispatcher(submissions, dagster), watches=[WATCH]
    )
    with dg.DagsterInstance.ephemeral() as instance:
        yield Both(objects, instance, intake, submissions)
    dagster.close()


def test_the_watch_ignores_a_submitted_object_before_and_after_launch(
    both: Both,
) -> None:
    arrival = both.land("dem.tif")
    key = arrival_key(arrival, WATCH.parameters)
    job = both.submit("dem.tif")
    assert both.watch(arrival) == LaunchPlan(with_run={key}), "accepted, and not launched yet"
    assert arrivals_with_runs(both.instance, both.objects, [key]) == {key}
    both.launch(job)
    assert both.watch(arrival) == LaunchPlan(with_run={key}), "launched"
    assert tags_of(job)[RUN_KEY_TAG] == job.job_id


def test_a_new_version_is_a_new_arrival(both: Both) -> None:
    both.land("dem.tif")
    both.submit("dem.tif")
    both.objects.put_bytes(BRONZE, "dem.tif", b"II*\0 other", metadata={})
    (request,) = both.watch(source_of(both.objects, BRONZE, "dem.tif")).requests
    assert request.partition_key == "dem.tif"


def test_if_the_watch_is_first_the_job_has_its_own_run_too(
    both: Both,
) -> None:
    arrival = both.land("dem.tif")
    assert len(both.watch(arrival).requests) == 1
    job = both.submit("dem.tif")
    assert job.asked.attempt == 1
    assert both.watch(arrival).undecided == {arrival_key(arrival, WATCH.parameters)}
    (asked,) = read_receipt_contents(
        both.objects, [arrival_key(arrival, WATCH.parameters)]
    ).values()
    assert (asked.watch, asked.waits_at) == ("bronze", "")


def test_an_api_that_died_before_its_receipt_leaves_the_object_to_the_watch(
    both: Both,
) -> None:
    arrival = both.land("dem.tif")
    job = both.submit("dem.tif")
    both.land("died.tif")
    died = source_of(both.objects, BRONZE, "died.tif")
    record = job.model_copy(
        update={"job_id": "f" * 64, "first_asked_at_utc": datetime.now(UTC) - timedelta(hours=1)}
    )
    assert take_from_watch(
        both.objects, [WATCH], died, record, waits_at=waiting_key(record.job_id, 1)
    )
    taken = both.watch(arrival, died)
    assert [request.partition_key for request in taken.requests] == ["died.tif"]
    assert taken.with_run == {arrival_key(arrival, WATCH.parameters)}


def test_objects_submitted_and_found_at_once_have_one_owner_each(
    both: Both,
) -> None:
    """Upload, event and submission happen within milliseconds, with two sensors; each object has
    one owner.
    """
    arrivals = [both.land(f"{number}.tif") for number in range(AT_ONCE)]
    keys = {arrival_key(arrival, WATCH.parameters): arrival.key for arrival in arrivals}
    start = Barrier(3)

    def submitted() -> list[JobSubmitted]:
        start.wait()
        return [both.submit(arrival.key) for arrival in arrivals]

    def watched() -> list[str | None]:
        start.wait()
        found = [both.watch(arrival) for arrival in reversed(arrivals)]
        return [request.partition_key for taken in found for request in taken.requests]

    with ThreadPoolExecutor(3) as pool:
        jobs, *sensors = [pool.submit(submitted), pool.submit(watched), pool.submit(watched)]
        jobs_of = {job.key: job for job in jobs.result()}
        of_watch = [key for sensor in sensors for key in sensor.result()]
    asked = {keys[key]: one for key, one in read_receipt_contents(both.objects, keys).items()}
    of_client = {key for key, one in asked.items() if one.run_key == jobs_of[key].job_id}
    assert len(of_watch) == len(set(of_watch)), "asked for twice"
    assert set(of_watch) | of_client == set(keys.values())
    assert not set(of_watch) & of_client
    assert of_client, "nothing was raced for"
    again = both.watch(*arrivals)
    assert not again.requests
    assert {keys[key] for key in again.with_run} == of_client


@pytest.mark.parametrize("name", ["countries.shp", "scene.tif", "wells.csv"])
def test_the_api_and_a_watch_identify_an_arrival_alike(
    both: Both, tmp_path: Path, name: str
) -> None:
    if name == "countries.shp":
        shutil.unpack_archive(
            ROOT / "samples" / "natural_earth_countries.shp.zip", tmp_path / "parts"
        )
        for path in (tmp_path / "parts").rglob("*.*"):
            both.objects.put_file(BRONZE, f"in/countries{path.suffix}", path, metadata={})
    else:
        both.objects.put_bytes(
            BRONZE, f"in/{name}", b"II*\0" if name == "scene.tif" else b"lat,lon\n", metadata={}
        )
        for beside in (
            "scene.tfw",
            "scene.tif.aux.xml",
            "scene.ovr",
            "scene_2.tif",
            "wells.csvt",
            "wells.prj",
            "wells.csv.prj",
        ):
            both.objects.put_bytes(BRONZE, f"in/{beside}", b"1", metadata={})
    lying = list(both.objects.list(BRONZE, "in/"))
    ready = sort_out(lying, {}, WATCH, is_local=False, now_s=0).ready
    found = next(arrival for arrival in ready if arrival.key == f"in/{name}")
    asked = source_of(both.objects, BRONZE, f"in/{name}")
    assert (asked.uri, asked.etag, asked.sidecars) == (found.uri, found.etag, found.sidecars)
    assert asked.sidecars


def test_an_object_outside_all_watches_has_no_receipt(both: Both) -> None:
    both.objects.put_file("silver", "dem.tif", SAMPLE, metadata={})
    parameters = {"blob_name": "dem.tif", "container_name": "silver"}
    both.intake.submit(
        job_request_of("process_raster", parameters), parameters, Caller(ME, "request")
    )
    assert not list(both.objects.list("messages", "arrivals/"))
