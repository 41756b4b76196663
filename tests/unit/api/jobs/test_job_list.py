"""Pages of jobs while others are launched: each job is listed exactly once."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from geo_platform.api.auth.principal import Principal, Scope
from geo_platform.api.dagster.graphql import RunFound
from geo_platform.api.jobs.job_list import CURSOR, JobQuery, jobs_page
from geo_platform.api.jobs.state import JobState, snapshot_of
from geo_platform.contracts.submission import JobSubmitted, WorkAsked
from geo_platform.runs import ATTEMPT_TAG, JOB_TAG

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
WHO = Principal("key:me", Scope.reader)


@dataclass
class Deployment:
    """Jobs of a deployment by number: waiting ones, and runs with the newest first."""

    waiting: set[int] = field(default_factory=set)
    runs: list[RunFound] = field(default_factory=list)
    lags: bool = False

    def launch(self, number: int) -> None:
        """Launch a waiting job. With `lags`, it also stays in the list of waiting jobs."""
        if number in self.waiting:
            self.waiting -= set() if self.lags else {number}
            tags = {JOB_TAG: id_of(number), ATTEMPT_TAG: "1"}
            self.runs.insert(
                0,
                RunFound(
                    str(UUID(int=len(self.runs))),
                    "hello_world",
                    "QUEUED",
                    tags,
                    NOW,
                    None,
                    None,
                    NOW,
                ),
            )

    def services(self) -> Any:
        def runs(
            *, limit: int, cursor: str = "", statuses: Sequence[str] = (), **_: Any
        ) -> tuple[RunFound, ...]:
            ids = [run.run_id for run in self.runs]
            after = self.runs[ids.index(cursor) + 1 :] if cursor else self.runs
            return tuple([run for run in after if not statuses or run.status in statuses][:limit])

        def snapshot(job: JobSubmitted) -> Any:
            return snapshot_of(
                job, next((run for run in self.runs if run.tags[JOB_TAG] == job.job_id), None)
            )

        return SimpleNamespace(
            submissions=SimpleNamespace(
                waiting=lambda: [(id_of(number), 1) for number in self.waiting]
            ),
            dagster=SimpleNamespace(runs=runs),
            intake=SimpleNamespace(visible=lambda job_id, _: job_of(job_id), snapshot=snapshot),
        )


def id_of(number: int) -> str:
    return f"{number * 7919 % 1000:064x}"


def job_of(job_id: str) -> JobSubmitted:
    work = WorkAsked(attempt=1, asked_at_utc=NOW, asked_by="me", request_id="r")
    return JobSubmitted(
        job_id=job_id,
        job_type="hello_world",
        parameters_json="{}",
        options_json="{}",
        first_asked_at_utc=NOW,
        asked=work,
    )


def pages(
    deployment: Deployment, wanted: JobQuery, launched: Sequence[Sequence[int]] = ()
) -> list[str]:
    """Return the ids of all pages; before each next page, launch some jobs."""
    found: list[str] = []
    cursor, coming = "", list(launched)
    for _ in range(200):
        page = jobs_page(deployment.services(), WHO, wanted, cursor=cursor)
        assert len(page.jobs) <= wanted.limit
        found += [job.jobId for job in page.jobs]
        if page.nextCursor is None:
            return found
        cursor = page.nextCursor
        assert re.match(CURSOR, cursor)
        for number in coming.pop(0) if coming else ():
            deployment.launch(number)
    raise AssertionError("the list has no last page")


@given(
    waiting=st.sets(st.integers(0, 20), max_size=12),
    ran=st.sets(st.integers(21, 40), max_size=12),
    launched=st.lists(st.lists(st.integers(0, 20), max_size=4), max_size=8),
    limit=st.integers(1, 5),
)
def test_each_job_is_listed_once_whatever_is_launched_meanwhile(
    waiting: set[int], ran: set[int], launched: list[list[int]], limit: int
) -> None:
    deployment = Deployment(waiting={*ran})
    for number in sorted(ran):
        deployment.launch(number)
    deployment.waiting |= waiting
    found = pages(deployment, JobQuery("", None, limit), launched)
    assert sorted(found) == sorted(map(id_of, waiting | ran))


def test_waiting_jobs_come_first_and_then_the_newest_run() -> None:
    deployment = Deployment(waiting={1, 2, 3})
    deployment.launch(1)
    deployment.launch(2)
    assert pages(deployment, JobQuery("", None, 10)) == [id_of(3), id_of(2), id_of(1)]


def test_a_launched_job_that_still_counts_as_waiting_is_listed_once() -> None:
    deployment = Deployment(waiting={1, 2}, lags=True)
    deployment.launch(1)
    assert pages(deployment, JobQuery("", None, 1)) == [id_of(2), id_of(1)]


def test_jobs_without_a_run_are_queued_and_have_their_type() -> None:
    deployment = Deployment(waiting={1})
    assert pages(deployment, JobQuery("hello_world", JobState.queued, 5)) == [id_of(1)]
    assert pages(deployment, JobQuery("process_raster", JobState.queued, 5)) == []
    assert pages(deployment, JobQuery("", JobState.completed, 5)) == []
