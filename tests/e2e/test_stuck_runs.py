"""Make every cause of a stuck run: queues, daemons, killed code locations, held slots, failed
launches.

A waiting run gets its reason once, and no live run is touched.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from string import Template
from typing import Any

import dagster as dg
import pytest
import yaml

from geo_platform.cli.application import INSTANCE_TEMPLATES
from geo_platform.doctor.examine import DoctorStores, examine
from geo_platform.doctor.findings import DoctorFinding, FindingCode
from geo_platform.orchestrator.instance import HOST_TAG, PROCESS_TAG
from geo_platform.orchestrator.instance_state import opened
from geo_platform.orchestrator.stuck_runs import report_stuck_runs
from geo_platform.settings import Profile, Settings
from geo_platform.storage.local.process import this_process
from geo_platform.storage.local.scratch import AbandonedFiles
from geo_platform.storage.stores import open_catalog, open_inventory, open_objects
from tests.support.command import ROOT
from tests.support.deployment import ended, launch
from tests.support.in_process import DAGSTER_S_WARNINGS
from tests.support.own_dagster import CODE, DAEMON, WEBSERVER, OwnDagster, own_dagster
from tests.support.run_events import engine_messages
from tests.support.waiting_jobs import POOL, taking

pytestmark = [*DAGSTER_S_WARNINGS, pytest.mark.filterwarnings("ignore::dagster.BetaWarning")]
WAITING_JOBS = "tests/support/waiting_jobs.py"


@contextmanager
def _holder(instance: dg.DagsterInstance) -> Iterator[str]:
    """Yield the id of a run of this process that is active until the context ends."""
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
    run = threading.Thread(
        target=lambda: holding.execute_in_process(instance=instance, tags=tags), daemon=True
    )
    run.start()
    try:
        assert begun.wait(60)
        yield run_ids[0]
    finally:
        go_on.set()
        run.join(60)


def _wait_until(holds: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.5)


@pytest.mark.slow
def test_a_queued_run_gets_the_reason_why_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    log = home / "logs" / "platform.jsonl"
    log.parent.mkdir(parents=True)
    template = Template(
        (ROOT / INSTANCE_TEMPLATES[Profile.embedded]).read_text("utf-8")
    ).substitute(LOG_FILE=log)
    configuration = template.replace("max_concurrent_runs: 2", "max_concurrent_runs: 1")
    environment = {
        "GEO_PLATFORM_HOME": str(home),
        "GEO_PLATFORM_QUEUED_TOO_LONG_S": "1",
        "HOME": str(home),
    }
    with own_dagster(home / "dagster", configuration, environment) as own:
        monkeypatch.setenv("DAGSTER_HOME", str(own.folder))
        own.start(CODE, WEBSERVER)
        with dg.DagsterInstance.get() as instance:
            waiting = launch(own.address, "hello_world")
            time.sleep(1.1)
            assert report_stuck_runs(instance, queued_too_long_s=1).startswith(
                "1 waited too long, 1 of them reported now"
            )
            assert report_stuck_runs(instance, queued_too_long_s=1).startswith(
                "1 waited too long, 0 of them reported now"
            )
            assert [
                text
                for text in engine_messages(instance, waiting)
                if text.startswith("RUN_STUCK NO_QUEUE_DAEMON: ")
            ]
            with _holder(instance) as holder:
                own.start(DAEMON)
                _wait_until(
                    lambda: any(
                        text.startswith("RUN_STUCK NO_FREE_SLOT")
                        for text in engine_messages(instance, waiting)
                    )
                )
                (reason,) = [
                    text for text in engine_messages(instance, waiting) if "NO_FREE_SLOT" in text
                ]
                assert reason == (
                    "RUN_STUCK NO_FREE_SLOT: The limit of 1 runs at once is held by run "
                    f"{holder} (holding); it starts when one of them ends."
                )
                found = instance.get_run_by_id(holder)
                assert found is not None
                assert found.status is dg.DagsterRunStatus.STARTED, "a live run keeps its slot"
            assert ended(own.address, waiting) == "SUCCESS"
            sensors = {state.name for state in instance.all_instigator_state()}
            assert {
                "stuck_runs",
                "state_after_success",
                "state_after_failure",
                "state_after_canceled",
            } <= sensors
            assert not [
                text
                for text in engine_messages(instance, waiting)
                if text.startswith("STATE_MISMATCH")
            ]
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert [
        (line["run_id"], line["details"]["runs"])
        for line in lines
        if line.get("details", {}).get("cause") == "NO_FREE_SLOT"
    ] == [(waiting, holder)]


def _configured(home: Path, **parts: Any) -> str:
    """Return the embedded profile's dagster.yaml with some parts replaced; None removes a part."""
    log = home / "logs" / "platform.jsonl"
    log.parent.mkdir(parents=True, exist_ok=True)
    read = yaml.safe_load(
        Template((ROOT / INSTANCE_TEMPLATES[Profile.embedded]).read_text("utf-8")).substitute(
            LOG_FILE=log
        )
    )
    return yaml.safe_dump(
        {name: value for name, value in {**read, **parts}.items() if value is not None}
    )


@contextmanager
def _own(
    home: Path, monkeypatch: pytest.MonkeyPatch, **parts: Any
) -> Iterator[tuple[OwnDagster, dg.DagsterInstance]]:
    """Start nothing yet; the location's sensor checks runs that have waited for a second."""
    environment = {
        "GEO_PLATFORM_HOME": str(home),
        "GEO_PLATFORM_QUEUED_TOO_LONG_S": "1",
        "HOME": str(home),
    }
    with own_dagster(
        home / "dagster", _configured(home, **parts), environment, definitions=WAITING_JOBS
    ) as own:
        monkeypatch.setenv("DAGSTER_HOME", str(own.folder))
        with dg.DagsterInstance.get() as instance:
            yield own, instance


def _stuck(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    return [
        text.removeprefix("RUN_STUCK ")
        for text in engine_messages(instance, run_id)
        if text.startswith("RUN_STUCK ")
    ]


def _looked_at(instance: dg.DagsterInstance, run_id: str, causes: int) -> bool:
    """Check again; return whether the run has so many causes by then."""
    report_stuck_runs(instance, queued_too_long_s=1)
    return len(_stuck(instance, run_id)) >= causes


@contextmanager
def _keeping() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield a process that executes a run whose step keeps a slot, and the run's id."""
    command = [sys.executable, "-m", "tests.support.waiting_jobs"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def _doctor_finds(home: Path, *, minutes: float) -> list[DoctorFinding]:
    """Return what doctor would report about the daemon after so many minutes."""
    settings = Settings(home=home)
    with opened(settings, ROOT / INSTANCE_TEMPLATES[Profile.embedded]) as state:
        stores = DoctorStores(
            open_catalog(settings),
            open_objects(settings),
            open_inventory(settings),
            AbandonedFiles(settings),
            state,
        )
        found = examine(stores, now_utc=datetime.now(UTC) + timedelta(minutes=minutes)).findings
    return [finding for finding in found if finding.code is FindingCode.DAEMON_SILENT]


def _status(instance: dg.DagsterInstance, run_id: str) -> str:
    found = instance.get_run_by_id(run_id)
    assert found is not None
    return found.status.value


@pytest.mark.slow
def test_a_missing_daemon_and_a_killed_code_location_are_reported_and_the_run_starts_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = {
        "dequeue_interval_seconds": 1,
        "max_user_code_failure_retries": 5,
        "user_code_failure_retry_delay": 5,
    }
    coordinator = {
        "module": "dagster.core.run_coordinator",
        "class": "QueuedRunCoordinator",
        "config": queue,
    }
    home = tmp_path / "home"
    with _own(home, monkeypatch, run_coordinator=coordinator, concurrency=None) as (own, instance):
        own.start(CODE, WEBSERVER)
        waiting = launch(own.address, "taking")
        (finding,) = _doctor_finds(home, minutes=4)
        assert re.match(
            r"1 run is queued, the oldest since .*, "
            r"and the daemon that launches them never sent a heartbeat",
            finding.message,
        )
        assert not _doctor_finds(home, minutes=0), "queued a moment ago"
        _wait_until(lambda: _looked_at(instance, waiting, 1))
        assert _stuck(instance, waiting) == [
            "NO_QUEUE_DAEMON: The daemon that takes runs out of the queue has never reported; "
            "restart it."
        ]
        own.kill(CODE)
        own.start(DAEMON)
        _wait_until(
            lambda: len(instance.all_logs(waiting, of_type=dg.DagsterEventType.RUN_ENQUEUED)) > 1
        )
        _wait_until(lambda: _looked_at(instance, waiting, 2))
        report_stuck_runs(instance, queued_too_long_s=1)
        _, reason = _stuck(instance, waiting)
        assert reason.startswith(
            "CODE_LOCATION_UNREACHABLE: The code location was unreachable or did not load, "
            "and the run was queued again"
        )
        assert (
            "DagsterUserCodeUnreachableError" in reason or "DagsterCodeLocationLoadError" in reason
        )
        own.start(CODE)
        assert ended(own.address, waiting) == "SUCCESS"


@pytest.mark.slow
def test_a_slot_of_a_killed_run_is_freed_for_the_waiting_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _own(tmp_path / "home", monkeypatch, concurrency=None) as (own, instance):
        instance.event_log_storage.set_concurrency_slots(POOL, 1)
        own.start(CODE, WEBSERVER, DAEMON)
        with _keeping() as (keeping, holder):
            waiting = launch(own.address, "taking")
            _wait_until(lambda: _looked_at(instance, waiting, 1))
            (reason,) = _stuck(instance, waiting)
            (reason,) = _stuck(instance, waiting)
            assert reason == (
                f"NO_FREE_SLOT: The pool {POOL} is held by run {holder} (keeping); "
                "it starts when one of them ends."
            )
            assert _status(instance, holder) == "STARTED", "a live run keeps its slot"
            keeping.kill()
        _wait_until(lambda: _looked_at(instance, waiting, 2))
        assert _status(instance, holder) == "FAILURE"
        assert _stuck(instance, waiting)[1] == (
            f"SLOT_OF_ENDED_RUN: Slots of the pool {POOL} were held by run {holder}, "
            "which has ended; they are freed."
        )
        assert ended(own.address, waiting) == "SUCCESS"


class _Kubernetes(BaseHTTPRequestHandler):
    """An API that refuses jobs, or accepts them and has no room for their pods."""

    takes_jobs = False

    def do_POST(self) -> None:
        job = self.rfile.read(int(self.headers["Content-Length"]))
        refusal = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": "exceeded quota: jobs",
            "reason": "Forbidden",
            "code": 403,
        }
        self._answer(
            201 if self.takes_jobs else 403,
            job if self.takes_jobs else json.dumps(refusal).encode(),
        )

    def do_GET(self) -> None:
        self._answer(200, b'{"kind": "Job", "apiVersion": "batch/v1", "status": {"active": 1}}')

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the log off standard error."""


@contextmanager
def _kubernetes(kubeconfig: Path) -> Iterator[type[_Kubernetes]]:
    api = type("Api", (_Kubernetes,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), api) as server:
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        thread.start()
        cluster = {
            "name": "c",
            "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"},
        }
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        known = {
            "clusters": [cluster],
            "contexts": [context],
            "users": [{"name": "u", "user": {"token": "none"}}],
            "current-context": "c",
        }
        kubeconfig.write_text(
            json.dumps({"apiVersion": "v1", "kind": "Config", **known}), encoding="utf-8"
        )
        yield api
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_a_failed_launch_ends_the_run_and_a_launch_without_a_worker_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Use Kubernetes' launcher on a cluster that refuses the job, then on one that never starts its
    pod.
    """
    launcher = {
        "module": "dagster_k8s",
        "class": "K8sRunLauncher",
        "config": {
            "service_account_name": "geo-platform", "instance_config_map": "none",
            "dagster_home": "/opt/geo-platform/dagster",
            "job_image": "registry.invalid/geo-platform:1", "load_incluster_config": False,
            "kubeconfig_file": str(tmp_path / "kubeconfig"),
        },
    }  # fmt: skip
    monitoring = {"enabled": True, "poll_interval_seconds": 1, "start_timeout_seconds": 16}
    with (
        _kubernetes(tmp_path / "kubeconfig") as api,
        _own(tmp_path / "home", monkeypatch, run_launcher=launcher, run_monitoring=monitoring) as (
            own,
            instance,
        ),
    ):
        own.start(CODE, WEBSERVER, DAEMON)
        refused = launch(own.address, "taking")
        assert ended(own.address, refused) == "FAILURE"
        events = instance.all_logs(refused, of_type=dg.DagsterEventType.ENGINE_EVENT)
        errors = [
            entry.dagster_event.engine_event_data.error
            for entry in events
            if entry.dagster_event is not None
        ]
        assert any(
            error is not None and "exceeded quota: jobs" in error.to_string() for error in errors
        ), "its events say why"
        api.takes_jobs = True
        waiting = launch(own.address, "taking")
        _wait_until(lambda: _looked_at(instance, waiting, 1))
        assert _status(instance, waiting) == "STARTING", "reported before it is failed"
        (reason,) = _stuck(instance, waiting)
        assert reason == (
            "NO_WORKER: It was launched and no worker has started; "
            "run monitoring fails it 16 s after its launch."
        )
        assert ended(own.address, waiting) == "FAILURE"


def test_a_run_that_never_starts_is_failed_without_run_monitoring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / "dagster").mkdir(parents=True)
    (home / "dagster" / "dagster.yaml").write_text(
        _configured(home, run_monitoring={"enabled": False}), encoding="utf-8"
    )
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    monkeypatch.setenv("GEO_PLATFORM_HOME", str(home))
    with dg.DagsterInstance.get() as instance:
        starting = instance.create_run_for_job(taking, status=dg.DagsterRunStatus.STARTING)
        assert report_stuck_runs(instance, queued_too_long_s=0.01).startswith(
            "1 waited too long, 1 of them reported now"
        )
        assert _stuck(instance, starting.run_id) == [
            "NO_WORKER: It was launched, no worker has started, and run monitoring is off."
        ]
        assert _status(instance, starting.run_id) == "FAILURE"
