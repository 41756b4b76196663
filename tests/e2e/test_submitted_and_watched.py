"""Watched objects that clients also submit: upload, event and submission within milliseconds."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from geo_platform.contracts.arrival import RunAsked
from geo_platform.runs import JOB_TAG
from tests.support.api_stack import ApiStack, http_api
from tests.support.arriving import Arriving, arriving_on, point
from tests.support.own_dagster import WEBSERVER
from tests.support.production import ProfileUnderTest
from tests.support.queues import announce

OBJECTS = 12

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")]


def test_a_watched_and_submitted_object_is_published_once_by_one_run_if_submitted_first(
    production: ProfileUnderTest, tmp_path: Path
) -> None:
    with arriving_on(production, tmp_path) as arriving:
        arriving.own.start(WEBSERVER)
        with (
            http_api(arriving.home, arriving.own, production) as stack,
            ThreadPoolExecutor(4) as pool,
        ):
            keys = [f"both/{number}.geojson" for number in range(OBJECTS)]
            late = pool.map(lambda key: _submitted_late(arriving, stack, key), keys[::4])
            at_once = pool.map(
                lambda key: _submitted_at_once(arriving, stack, key),
                [key for key in keys if key not in keys[::4]],
            )
            jobs = {
                key: (job_id, stack.legacy().wait(job_id, patience_s=300))
                for key, job_id in [*late, *at_once]
            }
            arriving.wait(
                lambda: (
                    not arriving.messages()
                    and all(run.is_finished for run in arriving.instance.get_runs())
                )
            )
            receipts = _receipts(arriving)
            for key, (job_id, ended) in jobs.items():
                assert ended["status"] == "completed", ended
                assert len(stack.runs(**{JOB_TAG: job_id})) == 1
                if receipts[key].waits_at:
                    assert receipts[key].run_key == job_id
                    assert not arriving.records(key), (
                        "the watch requested a run that the client already has"
                    )
                else:
                    assert len(arriving.records(key)) == 1
            assert {key: arriving.results()[key] for key in jobs} == dict.fromkeys(keys, 1)
            first = Counter(
                "client" if receipt.waits_at else "watch" for receipt in receipts.values()
            )
            assert set(first) == {"client", "watch"}


def _submitted_at_once(arriving: Arriving, stack: ApiStack, key: str) -> tuple[str, str]:
    """Send the object's event and its submission at once; return (key, job id)."""
    start = Barrier(2)
    arriving.put(key, point(key))

    def send_event() -> None:
        start.wait()
        announce(arriving.queue, arriving.blobs.get_blob_client(f"{arriving.prefix}bronze", key))

    with ThreadPoolExecutor(1) as other:
        sending = other.submit(send_event)
        start.wait()
        job_id = stack.legacy().submit("ingest_vector", blob_name=key)["job_id"]
        sending.result()
    return key, job_id


def _submitted_late(arriving: Arriving, stack: ApiStack, key: str) -> tuple[str, str]:
    """Submit after the watch requested a run, which may be active; return (key, job id)."""
    arriving.put(key, point(key), "eventgrid")
    arriving.wait(lambda: key in _receipts(arriving))
    return key, stack.legacy().submit("ingest_vector", blob_name=key)["job_id"]


def _receipts(arriving: Arriving) -> dict[str, RunAsked]:
    """Return the receipts by the object's key."""
    return {
        receipt.uri.partition("bronze/")[2]: receipt for receipt in arriving.receipts().values()
    }
