"""What was accepted is launched once, whoever dies and whatever does not answer meanwhile."""

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
class Launches:
    """A Dagster that keeps runs, and fails as told: before it has the run, or after."""

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
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEPT_EVERY_S", 0.05)
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(module, "_LONGEST_PAUSE_S", 0.05)
    monkeypatch.setattr(module, "_REFUSED_PAUSE_S", 0.05)


@pytest.fixture
def objects(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def dagster() -> Launches:
    return Launches()


@pytest.fixture
def dispatcher(objects: FolderStore, dagster: Launches) -> Iterator[Dispatcher]:
    made: Any = dagster
    started = Dispatcher(Submissions(objects), made)
    started.start()
    yield started
    started.stop()


def written(objects: FolderStore, name: str = "a", *, attempt: int = 1) -> str:
    """A job's record; returns the job's id."""
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
    assert Submissions(objects).put_job(job, over=kept.etag if kept else "")
    return job_id


def wait(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def nothing_waits(objects: FolderStore, dispatcher: Dispatcher) -> bool:
    return dispatcher.waiting == 0 and not list(Submissions(objects).waiting())


def test_what_is_handed_over_is_launched_and_nothing_of_it_waits(
    objects: FolderStore, dagster: Launches, dispatcher: Dispatcher
) -> None:
    for name in "abcdef":
        dispatcher.hand_over(written(objects, name), 1, is_new=True)
    wait(lambda: nothing_waits(objects, dispatcher))
    assert sorted(run.tags["geo_platform/job_id"][0] for run in dagster.runs_of) == list("abcdef")


def test_a_webserver_that_is_away_is_asked_again(
    objects: FolderStore, dagster: Launches, dispatcher: Dispatcher
) -> None:
    dagster.before = [StoreUnavailable("away")] * 4 + [
        LaunchRefused("not yet"),
        ValueError("a bug"),
    ]
    dispatcher.hand_over(written(objects), 1, is_new=True)
    wait(lambda: nothing_waits(objects, dispatcher))
    assert len(dagster.runs_of) == 1


def test_while_the_webserver_does_not_answer_it_is_not_asked_for_each_job_that_waits(
    objects: FolderStore, dagster: Launches, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
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
    assert dagster.looked_for == 0  # a webserver that was not reached made no run


def test_however_much_is_submitted_what_was_accepted_is_launched(
    objects: FolderStore, dagster: Launches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GIVES_WAY_S", 0.02)
    made: Any = dagster
    pressed = Dispatcher(Submissions(objects), made, is_pressed=lambda: True)
    pressed.start()
    for name in "abcdef":
        pressed.hand_over(written(objects, name), 1, is_new=True)
    wait(lambda: nothing_waits(objects, pressed))
    pressed.stop()
    assert len(dagster.runs_of) == 6


def test_a_run_that_a_webserver_made_before_it_went_silent_is_looked_for(
    objects: FolderStore, dagster: Launches, dispatcher: Dispatcher
) -> None:
    dagster.after = [
        DagsterUnavailable("it died while it answered", remedy="Wait.", was_reached=True)
    ]
    dispatcher.hand_over(written(objects), 1, is_new=True)
    wait(lambda: nothing_waits(objects, dispatcher))
    assert (len(dagster.runs_of), dagster.asked_for, dagster.looked_for) == (1, 1, 1)


def test_a_run_whose_answer_was_lost_is_not_launched_again(
    objects: FolderStore, dagster: Launches, dispatcher: Dispatcher
) -> None:
    dagster.after = [StoreUnavailable("it died while it answered")]
    dispatcher.hand_over(written(objects), 1, is_new=True)
    wait(lambda: nothing_waits(objects, dispatcher))
    assert len(dagster.runs_of) == 1


def test_a_run_that_was_made_and_never_queued_is_ended_and_another_one_launched(
    objects: FolderStore, dagster: Launches, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_NEVER_QUEUED_S", 0.2)
    dagster.status, dagster.after = "NOT_STARTED", [StoreUnavailable("it died in between")]
    dispatcher.hand_over(written(objects), 1, is_new=True)
    wait(lambda: dagster.runs_of)
    dagster.status = "QUEUED"
    wait(lambda: nothing_waits(objects, dispatcher))
    assert [run.status for run in dagster.runs_of] == ["QUEUED", "CANCELED"]
    assert dagster.ended == ["run-0"]


def test_a_later_attempt_makes_the_earlier_one_void(
    objects: FolderStore, dagster: Launches, dispatcher: Dispatcher
) -> None:
    dagster.before = [StoreUnavailable("away")]
    job_id = written(objects)
    written(objects, attempt=2)
    dispatcher.hand_over(job_id, 1, is_new=True)
    dispatcher.hand_over(job_id, 2, is_new=True)
    wait(lambda: nothing_waits(objects, dispatcher))
    assert [run.tags["geo_platform/attempt"] for run in dagster.runs_of] == ["2"]


def test_what_a_dead_process_left_is_taken_up_and_what_a_living_one_is_at_is_not(
    objects: FolderStore, dagster: Launches, dispatcher: Dispatcher
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


def test_who_ends_leaves_what_it_did_not_launch_to_the_next_one(
    objects: FolderStore, dagster: Launches
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
