"""An accepted job is launched exactly once, whichever process dies and whatever does not answer."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from geo_platform.api.dagster.graphql import DagsterUnavailable, LaunchRefused, RunFound
from geo_platform.api.jobs import dispatcher as module
from geo_platform.api.jobs.dispatcher import Dispatcher
from geo_platform.api.jobs.submissions import Submissions
from geo_platform.contracts.stored import dump_message, load_message
from geo_platform.contracts.submission import JobSubmitted, LaunchWaiting, WorkAsked
from geo_platform.errors import StoreUnavailable
from geo_platform.ports import MESSAGES
from geo_platform.runs import RunRequest
from geo_platform.storage.local.folder import FolderStore

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)


@dataclass
class FakeDagster:
    """A Dagster that stores runs and can fail before or after it stores one."""

    runs_of: list[RunFound] = field(default_factory=list)
    before: list[Exception] = field(default_factory=list)
    after: list[Exception] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    status: str = "QUEUED"
    asked_for: int = 0
    looked_for: int = 0

    def launch(self, asked: RunRequest) -> str:
        self.asked_for += 1
        if self.before:
            raise self.before.pop(0)
        run_id = f"run-{len(self.runs_of)}"
        now = datetime.now(UTC)
        self.runs_of.insert(
            0, RunFound(run_id, asked.job, self.status, dict(asked.tags), now, None, None, now)
        )
        if self.after:
            raise self.after.pop(0)
        return run_id

    def runs(self, *, tags: dict[str, str], limit: int) -> tuple[RunFound, ...]:
        self.looked_for += 1
        return tuple(run for run in self.runs_of if tags.items() <= run.tags.items())[:limit]

    def terminate(self, run_id: str, *, at_once: bool) -> None:
        self.ended.append(run_id)
        self.runs_of = [
            replace(run, status="CANCELED") if run.run_id == run_id else run for run in self.runs_of
        ]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEEP_EVERY_S", 0.05)
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(module, "_LONGEST_PAUSE_S", 0.05)
    monkeypatch.setattr(module, "_REFUSED_PAUSE_S", 0.05)


@pytest.fixture
def objects(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def dagster() -> FakeDagster:
    return FakeDagster()


@pytest.fixture
def dispatcher(objects: FolderStore, dagster: FakeDagster) -> Iterator[Dispatcher]:
    made: Any = dagster
    started = Dispatcher(Submissions(objects), made)
    started.start()
    yield started
    started.stop()


def written(objects: FolderStore, name: str = "a", *, attempt: int = 1) -> str:
    """Write the record of a job and return its id."""
    job_id = name * 64
    asked = WorkAsked(attempt=attempt, asked_at_utc=NOW, asked_by="me", request_id="r")
    options = json.dumps({"prepared_greeting": {"name": name}})
    job = JobSubmitted(
        job_id=job_id,
        job_type="hello_world",
        parameters_json="{}",
        options_json=options,
        first_asked_at_utc=NOW,
        asked=asked,
    )
    kept = Submissions(objects).job(job_id)
    assert Submissions(objects).put_job(job, only_if_etag=kept.etag if kept else "")
    return job_id


def wait(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def nothing_waits(objects: FolderStore, dispatcher: Dispatcher) -> bool:
    return dispatcher.waiting == 0 and not list(Submissions(objects).waiting())


def test_every_submitted_job_is_launched_and_none_waits(
    objects: FolderStore, dagster: FakeDagster, dispatcher: Dispatcher
) -> None:
    for name in "abcdef":
        dispatcher.hand_over(written(objects, name), 1, is_new=True)
    wait(lambda: nothing_waits(objects, dispatcher))
    assert sorted(run.tags["geo_platform/job_id"][0] for run in dagster.runs_of) == list("abcdef")


def test_an_unavailable_webserver_is_retried(
    objects: FolderStore, dagster: FakeDagster, dispatcher: Dispatcher
) -> None:
    dagster.before = [StoreUnavailable("away")] * 4 + [
        LaunchRefused("not yet"),
        ValueError("a bug"),
    ]
    dispatcher.hand_over(written(objects), 1, is_new=True)
    wait(lambda: nothing_waits(objects, dispatcher))
    assert len(dagster.runs_of) == 1


def test_an_unavailable_webserver_is_not_called_for_every_waiting_job(
    objects: FolderStore,
    dagster: FakeDagster,
    dispatcher: Dispatcher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 2)
    monkeypatch.setattr(module, "_LONGEST_PAUSE_S", 2)
    dagster.before = [DagsterUnavailable("refused", remedy="Wait.", was_reached=False)] * 10_000
    for name in "0123456789abcdef":
        dispatcher.hand_over(written(objects, name), 1, is_new=True)
    wait(lambda: dagster.asked_for)
    assert dagster.asked_for <= 2 * module.WORKERS
    dagster.before = []
    wait(lambda: nothing_waits(objects, dispatcher))
    assert len(dagster.runs_of) == 16
    assert dagster.looked_for == 0, "a webserver that was not reached created no run"


def test_accepted_jobs_are_launched_under_load(
    objects: FolderStore, dagster: FakeDagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_YIELD_S", 0.02)
    made: Any = dagster
    under_load = Dispatcher(Submissions(objects), made, is_pressed=lambda: True)
    under_load.start()
    for name in "abcdef":
        under_load.hand_over(written(objects, name), 1, is_new=True)
    wait(lambda: nothing_waits(objects, under_load))
    under_load.stop()
    assert len(dagster.runs_of) == 6


def test_a_run_that_the_webserver_may_have_created_is_looked_up(
    objects: FolderStore, dagster: FakeDagster, dispatcher: Dispatcher
) -> None:
    dagster.after = [
        DagsterUnavailable("it died while it answered", remedy="Wait.", was_reached=True)
    ]
    dispatcher.hand_over(written(objects), 1, is_new=True)
    wait(lambda: nothing_waits(objects, dispatcher))
    assert (len(dagster.runs_of), dagster.asked_for, dagster.looked_for) == (1, 1, 1)


def test_a_run_whose_response_was_lost_is_not_launched_again(
    objects: FolderStore, dagster: FakeDagster, dispatcher: Dispatcher
) -> None:
    dagster.after = [StoreUnavailable("it died while it answered")]
    dispatcher.hand_over(written(objects), 1, is_new=True)
    wait(lambda: nothing_waits(objects, dispatcher))
    assert len(dagster.runs_of) == 1


def test_a_run_that_is_never_queued_is_ended_and_replaced(
    objects: FolderStore,
    dagster: FakeDagster,
    dispatcher: Dispatcher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_UNQUEUED_LIMIT_S", 0.2)
    dagster.status, dagster.after = "NOT_STARTED", [StoreUnavailable("it died in between")]
    dispatcher.hand_over(written(objects), 1, is_new=True)
    wait(lambda: dagster.runs_of)
    dagster.status = "QUEUED"
    wait(lambda: nothing_waits(objects, dispatcher))
    assert [run.status for run in dagster.runs_of] == ["QUEUED", "CANCELED"]
    assert dagster.ended == ["run-0"]


def test_a_later_attempt_replaces_the_earlier_one(
    objects: FolderStore, dagster: FakeDagster, dispatcher: Dispatcher
) -> None:
    dagster.before = [StoreUnavailable("away")]
    job_id = written(objects)
    written(objects, attempt=2)
    dispatcher.hand_over(job_id, 1, is_new=True)
    dispatcher.hand_over(job_id, 2, is_new=True)
    wait(lambda: nothing_waits(objects, dispatcher))
    assert [run.tags["geo_platform/attempt"] for run in dagster.runs_of] == ["2"]


def test_jobs_of_a_dead_process_are_taken_over_and_of_a_living_one_not(
    objects: FolderStore, dagster: FakeDagster, dispatcher: Dispatcher
) -> None:
    claims = {
        "a": ("elsewhere/1.1", timedelta(hours=1)),
        "b": ("elsewhere/1.1", timedelta()),
        "c": ("", timedelta()),
    }
    for name, (by, age) in claims.items():
        job_id = written(objects, name)
        claim = LaunchWaiting(
            job_id=job_id, attempt=1, claimed_by=by, claimed_at_utc=datetime.now(UTC) - age
        )
        objects.put_bytes(
            MESSAGES, f"submissions-waiting/{job_id}.1.json", dump_message(claim), metadata={}
        )
    wait(lambda: len(dagster.runs_of) == 2)
    wait(lambda: dispatcher.waiting == 0)
    assert sorted(run.tags["geo_platform/job_id"][0] for run in dagster.runs_of) == ["a", "c"]
    assert [job_id[0] for job_id, _ in Submissions(objects).waiting()] == ["b"]


def test_a_stopped_dispatcher_leaves_waiting_jobs_to_the_next(
    objects: FolderStore, dagster: FakeDagster
) -> None:
    made: Any = dagster
    dagster.before = [StoreUnavailable("away")] * 10_000
    first = Dispatcher(Submissions(objects), made)
    first.start()
    job_id = written(objects)
    first.hand_over(job_id, 1, is_new=True)
    wait(lambda: len(dagster.before) < 10_000)
    first.stop()
    claim = load_message(
        objects.read_bytes(MESSAGES, f"submissions-waiting/{job_id}.1.json"), LaunchWaiting
    )
    assert claim.claimed_by == ""
    dagster.before = []
    second = Dispatcher(Submissions(objects), made)
    second.start()
    wait(lambda: dagster.runs_of)
    wait(lambda: nothing_waits(objects, second))
    second.stop()
