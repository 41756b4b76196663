"""Name an object in the UI, fill in the form and see the result's picture, with a real browser."""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from playwright.sync_api import Page, sync_playwright

from geo_platform.runs import CORRELATION_TAG, TRACEPARENT_TAG
from tests.support.command import SAMPLES, geo_platform
from tests.support.spans import Collector, attributes, collector
from tests.support.ui import ADD_PARTITION, CHROMIUM_ARGUMENTS, LAUNCH, STATUS, dagster_dev, graphql

KEY = "uploads/sierra_nevada_srtm.tif"
BY_HAND = "uploads/by_hand.tif"
FIND = """
query Find($filter: RunsFilter!) {
  runsOrError(filter: $filter) { ... on Runs { results { runId } } }
}
"""
CLIENT_TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENT_S = {
    CORRELATION_TAG: "order-4711",
    TRACEPARENT_TAG: f"00-{CLIENT_TRACE}-b7ad6b7169203331-01",
}


def _launch(address: str, run_config: dict[str, object]) -> str:
    selector = {
        "repositoryName": "__repository__",
        "repositoryLocationName": "geo_platform",
        "jobName": "process_raster",
    }
    tags = [
        {"key": key, "value": value}
        for key, value in {"dagster/partition": KEY, **CLIENT_S}.items()
    ]
    answer = graphql(
        address,
        LAUNCH,
        params={
            "selector": selector,
            "runConfigData": run_config,
            "mode": "default",
            "executionMetadata": {"tags": tags},
        },
    )
    assert answer["launchRun"]["__typename"] == "LaunchRunSuccess", answer
    return str(answer["launchRun"]["run"]["runId"])


def _ended(address: str, run_id: str, timeout_s: float = 120) -> str:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        status = str(graphql(address, STATUS, id=run_id)["runOrError"]["status"])
        if status in ("SUCCESS", "FAILURE", "CANCELED"):
            return status
        time.sleep(0.5)
    raise TimeoutError(f"run {run_id} is still {status}")


def _launch_by_hand(page: Page, address: str, key: str) -> None:
    """Launch as a user does: open the job's page, Materialize, name the object, launch."""
    page.goto(f"{address}/locations/geo_platform/jobs/process_raster")
    page.get_by_text("Materialize all").first.click()
    page.get_by_text("Add a partition").first.click()
    page.locator("input[type=text]").last.fill(key)
    page.get_by_role("button", name="Save", exact=True).click()
    launch = page.get_by_role("button", name="Launch 1 run")
    deadline = time.monotonic() + 5
    while not launch.is_visible() and time.monotonic() < deadline:
        page.wait_for_timeout(100)
    if not launch.is_visible():  # a list that arrives late resets the choice
        _choose(page, key)
    launch.click()


def _choose(page: Page, key: str) -> None:
    page.get_by_text("Select a partition or create one").click()
    page.get_by_role("menuitem").filter(has_text=key).click()


def _expect_picture(page: Page, address: str, key: str) -> None:
    page.goto(f"{address}/assets/raster_cog?view=partitions&partition={key.replace('/', '%2F')}")
    page.get_by_text("[Show Markdown]").first.click(timeout=60_000)
    picture = page.locator("img[src^='data:image/']").first
    picture.wait_for(timeout=30_000)
    assert picture.evaluate("image => image.naturalWidth") > 50


def test_runs_launched_by_graphql_and_by_hand_show_their_picture(
    chromium: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    bronze = home / "store" / "bronze"
    for key in (KEY, BY_HAND):
        (bronze / key).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(SAMPLES / "sierra_nevada_srtm.tif", bronze / key)
    with (
        collector() as taken,
        dagster_dev(home, extra=taken.environment("token")) as address,
        sync_playwright() as playwright,
    ):
        assert (
            graphql(address, ADD_PARTITION, key=KEY)["addDynamicPartition"]["__typename"]
            == "AddDynamicPartitionSuccess"
        )
        run_id = _launch(address, {"ops": {"raster_cog": {"config": {"compression": "deflate"}}}})
        assert _ended(address, run_id) == "SUCCESS"
        assert _runs_with_the_clients_id(address) == [run_id]
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        _expect_picture(page, address, KEY)
        _launch_by_hand(page, address, BY_HAND)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and len(_listed(home)) < 2:
            time.sleep(1)
        browser.close()
    listed = _listed(home)
    assert {entry["source"]: entry["id"] for entry in listed} == {
        KEY: "sierra_nevada_srtm",
        BY_HAND: "by_hand",
    }
    assert run_id in {entry["run_id"] for entry in listed}
    _expect_all_spans(taken, run_id)


def _runs_with_the_clients_id(address: str) -> list[str]:
    wanted = {"tags": [{"key": CORRELATION_TAG, "value": CLIENT_S[CORRELATION_TAG]}]}
    return [
        str(run["runId"]) for run in graphql(address, FIND, filter=wanted)["runsOrError"]["results"]
    ]


def _expect_all_spans(taken: Collector, run_id: str) -> None:
    """Check that the run's process delivered all spans, the last stage's included.

    Dagster starts a process for the run, which ends with it.
    """
    spans = [span for span in taken.spans if span.trace_id.hex() == UUID(run_id).hex]
    stages = {
        span.name: span
        for span in spans
        if not span.parent_span_id and "attempt" in attributes(span)
    }
    assert stages.keys() == {"raw_raster", "raster_profile", "raster_cog", "raster_item"}
    assert {attributes(span)["correlation_id"] for span in stages.values()} == {"order-4711"}
    assert {link.trace_id.hex() for span in stages.values() for link in span.links} == {
        CLIENT_TRACE
    }


def _listed(home: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(geo_platform("list", "--json", home=home).stdout)
    return found


@pytest.mark.parametrize("config", [{"nope": 1}, {"jpeg_quality": "high"}, {"output_tier": "gold"}])
def test_an_invalid_form_is_refused_at_launch(config: dict[str, object]) -> None:
    import dagster as dg

    from geo_platform.definitions import defs

    with pytest.raises(dg.DagsterInvalidConfigError):
        dg.validate_run_config(
            defs.resolve_job_def("process_raster"), {"ops": {"raster_cog": {"config": config}}}
        )


@pytest.mark.skipif(sys.platform != "linux", reason="forked on Linux alone")
def test_runs_are_forked_off_a_loaded_process_also_after_it_is_killed(
    tmp_path: Path,
) -> None:
    """Detect a change in how Dagster's code server starts runs; see docs/decisions/0025."""
    with dagster_dev(tmp_path / "home") as address:
        first = _fork_server_after_a_run(address)
        assert _fork_server_after_a_run(address) == first
        os.kill(first, signal.SIGKILL)
        assert _fork_server_after_a_run(address) != first


def _fork_server_after_a_run(address: str) -> int:
    _run_hello(address)
    (fork_server,) = _fork_servers()
    return fork_server


def _run_hello(address: str) -> None:
    selector = {
        "repositoryName": "__repository__",
        "repositoryLocationName": "geo_platform",
        "jobName": "hello_world",
    }
    answer = graphql(
        address, LAUNCH, params={"selector": selector, "runConfigData": {}, "mode": "default"}
    )
    assert _ended(address, str(answer["launchRun"]["run"]["runId"])) == "SUCCESS"


def _fork_servers() -> list[int]:
    """Return the fork servers among the processes that this test has started."""
    return [
        child.pid
        for child in psutil.Process().children(recursive=True)
        if "multiprocessing.forkserver" in _command_line(child)
    ]


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # it has ended, or is a zombie
        return ""
