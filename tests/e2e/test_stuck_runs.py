"""A real queue and a real daemon: a run that waits is told why, once, and nothing is done to who holds its slot."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template

import dagster as dg
import pytest

from geo_platform.cli.application import INSTANCE_TEMPLATES
from geo_platform.settings import Profile
from geo_platform.storage.process import this_process
from schedules.launch import HOST_TAG, PROCESS_TAG
from schedules.run_reports import said_of
from schedules.stuck_runs import watch
from tests.support.command import ROOT
from tests.support.deployment import ended, launch
from tests.support.in_process import DAGSTER_S_WARNINGS
from tests.support.own_dagster import CODE, DAEMON, WEBSERVER, own_dagster

pytestmark = [pytest.mark.slow, *DAGSTER_S_WARNINGS, pytest.mark.filterwarnings("ignore::dagster.BetaWarning")]


@contextmanager
def _holder(instance: dg.DagsterInstance) -> Iterator[str]:
    """A run of this process that is at work until the context ends; its id."""
    begun, go_on = threading.Event(), threading.Event()
    run_ids = []

    @dg.op
    def hold(context: dg.OpExecutionContext) -> None:
        run_ids.append(context.run_id)
        begun.set()
        go_on.wait(300)

    @dg.job(executor_def=dg.in_process_executor)
    def holding() -> None:
        hold()

    tags = {PROCESS_TAG: this_process(), HOST_TAG: os.uname().nodename}
    run = threading.Thread(target=lambda: holding.execute_in_process(instance=instance, tags=tags), daemon=True)
    run.start()
    try:
        assert begun.wait(60)
        yield run_ids[0]
    finally:
        go_on.set()
        run.join(60)


def _wait_until(holds: Callable[[], bool], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.5)


def test_a_run_in_the_queue_is_told_what_it_waits_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    log = home / "logs" / "platform.jsonl"
    log.parent.mkdir(parents=True)
    template = Template((ROOT / INSTANCE_TEMPLATES[Profile.embedded]).read_text("utf-8")).substitute(LOG_FILE=log)
    configuration = template.replace("max_concurrent_runs: 2", "max_concurrent_runs: 1")
    environment = {"GEO_PLATFORM_HOME": str(home), "GEO_PLATFORM_QUEUED_TOO_LONG_S": "1", "HOME": str(home)}
    with own_dagster(home / "dagster", configuration, environment) as own:
        monkeypatch.setenv("DAGSTER_HOME", str(own.folder))
        own.start(CODE, WEBSERVER)
        with dg.DagsterInstance.get() as instance:
            waiting = launch(own.address, "hello_world")
            time.sleep(1.1)
            assert watch(instance, queued_too_long_s=1).startswith("1 waited too long, 1 of them told so now")
            assert watch(instance, queued_too_long_s=1).startswith("1 waited too long, 0 of them told so now")
            assert [text for text in said_of(instance, waiting) if text.startswith("RUN_STUCK NO_QUEUE_DAEMON: ")]
            with _holder(instance) as holder:
                own.start(DAEMON)
                _wait_until(lambda: any(text.startswith("RUN_STUCK NO_FREE_SLOT") for text in said_of(instance, waiting)))
                (said,) = [text for text in said_of(instance, waiting) if "NO_FREE_SLOT" in text]
                assert said == (
                    "RUN_STUCK NO_FREE_SLOT: The limit of 1 runs at once is held by run "
                    f"{holder} (holding); it starts when one of them ends."
                )
                found = instance.get_run_by_id(holder)
                assert found is not None
                assert found.status is dg.DagsterRunStatus.STARTED, "who holds a slot and lives is left alone"
            assert ended(own.address, waiting) == "SUCCESS"
            sensors = {state.name for state in instance.all_instigator_state()}
            assert {"stuck_runs", "state_after_success", "state_after_failure", "state_after_canceled"} <= sensors
            assert not [text for text in said_of(instance, waiting) if text.startswith("STATE_MISMATCH")]
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert [(line["run_id"], line["details"]["runs"]) for line in lines if line.get("details", {}).get("cause") == "NO_FREE_SLOT"] == [
        (waiting, holder)
    ]
