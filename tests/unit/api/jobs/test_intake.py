"""The state of a job while Dagster is unavailable or slow is returned at once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from geo_platform.api.auth.principal import Principal, Scope
from geo_platform.api.dagster import graphql as module
from geo_platform.api.dagster.graphql import DagsterGraphql, DagsterUnavailable
from geo_platform.api.jobs.dispatcher import Dispatcher
from geo_platform.api.jobs.intake import Caller, Intake
from geo_platform.api.jobs.state import JobState
from geo_platform.api.jobs.submissions import Submissions
from geo_platform.api.jobs.types import job_request_of
from geo_platform.errors import Forbidden, NotFound, StoreUnavailable
from geo_platform.storage.local.folder import FolderStore

ME = Principal("key:me", Scope.submitter)


def refused(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


def intake(objects: FolderStore, transport: httpx.MockTransport) -> tuple[Intake, Submissions]:
    """One process of the HTTP API, with a dispatcher that never starts."""
    catalog: Any = None
    submissions, dagster = (
        Submissions(objects),
        DagsterGraphql("http://dagster", transport=transport),
    )
    return Intake(
        objects, catalog, submissions, dagster, Dispatcher(submissions, dagster)
    ), submissions


def test_a_job_of_another_process_is_queued_while_dagster_is_unavailable(tmp_path: Path) -> None:
    one, submissions = intake(FolderStore(tmp_path), httpx.MockTransport(refused))
    other, _ = intake(FolderStore(tmp_path), httpx.MockTransport(refused))
    job = one.submit(job_request_of("hello_world", {}), {}, Caller(ME, "r")).job
    assert other.status(job.job_id, ME).state is JobState.queued
    again = other.submit(job_request_of("hello_world", {}), {}, Caller(ME, "r"))
    assert (again.job.job_id, again.is_new) == (job.job_id, False)
    submissions.launched(job.job_id, 1)
    with pytest.raises(StoreUnavailable):
        other.status(job.job_id, ME)


def test_requests_beyond_the_limit_are_refused_at_once_while_the_webserver_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_MAX_CONCURRENT_REQUESTS", 2)
    monkeypatch.setattr(module, "_WAIT_FOR_SLOT_S", 0.01)
    is_over, waiting = threading.Event(), threading.Semaphore(0)

    def hangs(_: httpx.Request) -> httpx.Response:
        waiting.release()
        is_over.wait(20)
        return httpx.Response(
            200, json={"data": {"runsOrError": {"__typename": "Runs", "results": []}}}
        )

    dagster = DagsterGraphql("http://dagster", transport=httpx.MockTransport(hangs))
    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(dagster.runs, tags={}) for _ in range(2)]
        for _ in range(2):
            waiting.acquire()
        began = time.monotonic()
        with pytest.raises(DagsterUnavailable) as refusal:
            dagster.runs(tags={})
        # Earlier requests still wait for the webserver.
        assert time.monotonic() - began < 10
        assert not refusal.value.was_reached
        is_over.set()
        assert [each.result() for each in asking] == [(), ()]
    assert dagster.runs(tags={}) == ()
    dagster.close()


def test_a_principal_limited_to_collections_neither_writes_others_nor_sees_their_jobs(
    tmp_path: Path,
) -> None:
    objects = FolderStore(tmp_path)
    objects.put_bytes("bronze", "a.csv", b"lat,lon\n1,2\n", metadata={})
    one, _ = intake(objects, httpx.MockTransport(refused))
    limited = Principal("key:limited", Scope.submitter, collections=("wells",))
    parameters = {"blob_name": "a.csv", "collection_id": "wells"}
    allowed = one.submit(
        job_request_of("ingest_vector", parameters), parameters, Caller(limited, "r")
    ).job
    assert one.status(allowed.job_id, limited).state is JobState.queued
    for other in ({"blob_name": "a.csv"}, {"blob_name": "a.csv", "collection_id": "roads"}):
        with pytest.raises(Forbidden, match="may not use the collection"):
            one.submit(job_request_of("ingest_vector", other), other, Caller(limited, "r"))
    roads = one.submit(job_request_of("ingest_vector", other), other, Caller(ME, "r")).job
    assert one.visible(roads.job_id, ME) is not None
    assert one.visible(roads.job_id, limited) is None
    with pytest.raises(NotFound):
        one.status(roads.job_id, limited)
