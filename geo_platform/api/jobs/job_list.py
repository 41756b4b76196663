"""List jobs page by page: first the jobs without a run, by id, then the others, newest run first.

A job is listed once, with its last attempt. No job is missed or listed twice, even if jobs are
launched between two pages. A cursor has one of two forms:

    <job id>.<run id>     the last job of the page, and the newest run when the first page was read
    <run id>              the last run of the page

The first form is for the jobs without a run. A job that was launched after the first page was read
is still listed with the jobs without a run. The second form is for the others: their list starts at
the run that was the newest one then. `state.py` derives the state of a job.

Called by `routes.py`.
"""

from dataclasses import dataclass

from geo_platform.api.auth.principal import Principal
from geo_platform.api.dagster.graphql import RunFound
from geo_platform.api.dagster.run_events import error_of, refused_in
from geo_platform.api.jobs.responses import JobPage, JobStatus, status_of_job
from geo_platform.api.jobs.state import STATUSES, JobState, newest_of, snapshot_of
from geo_platform.api.services import Services
from geo_platform.runs import ATTEMPT_TAG, HTTP_ORIGIN, JOB_TAG, ORIGIN_TAG

CURSOR = r"^([0-9a-f]{64}\.)?([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?$"

# To fill a page of `limit` jobs, at most _PAGES * limit jobs are read. A page may therefore have
# fewer jobs than its limit. Only the last page has no cursor.
_PAGES = 10

_CLIENT_TAGS = {ORIGIN_TAG: HTTP_ORIGIN}
_RUNS_PER_QUERY = 100
Attempt = tuple[str, int]


@dataclass(frozen=True)
class JobQuery:
    """Which jobs to list, and how many at most. An empty `job_type` or no `state` means all."""

    job_type: str
    state: JobState | None
    limit: int


def jobs_page(
    services: Services, principal: Principal, query: JobQuery, *, cursor: str, base_url: str = ""
) -> JobPage:
    """Return the page after `cursor`; an empty cursor means the first page.

    `base_url` is the URL of the HTTP API, for the addresses of files.

    Raises StoreUnavailable, StoreDenied: Dagster or the store does not answer or refuses access.
    """
    reader = _PageReader(services, principal, query, base_url)
    job_id, separator, newest = cursor.rpartition(".")
    if (cursor and not separator) or query.state not in (None, JobState.queued):
        return reader.with_run(cursor)
    waiting = set(services.submissions.waiting())
    # Read after the waiting jobs: a job that is launched in between is among the newer runs.
    newer, before = reader.newer_than(newest) if cursor else (set(), "")
    runs = services.dagster.runs(tags=_CLIENT_TAGS, cursor=before, limit=_RUNS_PER_QUERY)
    newest = newest if cursor else next((run.run_id for run in runs), "")
    launched = set(map(_attempt_of, runs))  # may still be among the waiting ones
    return reader.without_run(
        (waiting - launched) | newer, after=job_id, newest=newest, before=before
    )


class _PageReader:
    """Reads one page of jobs."""

    def __init__(
        self, services: Services, principal: Principal, query: JobQuery, base_url: str
    ) -> None:
        self._base_url = base_url
        self._services = services
        self._principal = principal
        self._query = query

    def newer_than(self, newest: str) -> tuple[set[Attempt], str]:
        """Return the attempts of all runs newer than `newest`, and the id of the oldest one."""
        attempts: set[Attempt] = set()
        cursor = ""
        while runs := self._services.dagster.runs(
            tags=_CLIENT_TAGS, cursor=cursor, limit=_RUNS_PER_QUERY
        ):
            for run in runs:
                if run.run_id == newest:
                    return attempts, cursor
                attempts.add(_attempt_of(run))
                cursor = run.run_id
        return attempts, cursor

    def without_run(
        self, attempts: set[Attempt], *, after: str, newest: str, before: str
    ) -> JobPage:
        """Return the jobs of `attempts` with an id after `after`.

        If no such job is left, return the jobs whose runs are older than the run `before`.
        """
        jobs: list[JobStatus] = []
        max_read = self._query.limit * _PAGES
        for read, job_id in enumerate(sorted({job_id for job_id, _ in attempts if job_id > after})):
            if len(jobs) == self._query.limit or read == max_read:
                return JobPage(jobs=jobs, nextCursor=f"{after}.{newest}")
            after = job_id
            job = self._services.intake.visible(job_id, self._principal)
            if job is not None and self._query.job_type in ("", job.job_type):
                status = status_of_job(self._services.intake.snapshot(job), self._base_url)
                jobs += [status] if self._has_wanted_state(status) else []
        if not jobs:
            return self.with_run(before) if newest else JobPage(jobs=[], nextCursor=None)
        return JobPage(jobs=jobs, nextCursor=f"{after}.{newest}" if newest else None)

    def with_run(self, cursor: str) -> JobPage:
        """Return jobs whose runs are older than the run `cursor`; an empty cursor means all."""
        jobs: list[JobStatus] = []
        query = self._query
        statuses = STATUSES[query.state] if query.state is not None else ()
        for _ in range(_PAGES):
            runs = self._services.dagster.runs(
                tags=_CLIENT_TAGS,
                statuses=statuses,
                job=query.job_type,
                cursor=cursor,
                limit=query.limit,
                steps=True,
            )
            for run in runs:
                cursor = run.run_id
                status = self._status(run)
                jobs += [status] if status is not None and self._has_wanted_state(status) else []
                if len(jobs) == query.limit:
                    return JobPage(jobs=jobs, nextCursor=cursor)
            if len(runs) < query.limit:
                return JobPage(jobs=jobs, nextCursor=None)
        return JobPage(jobs=jobs, nextCursor=cursor)

    def _has_wanted_state(self, status: JobStatus) -> bool:
        return self._query.state in (None, status.status)

    def _status(self, run: RunFound) -> JobStatus | None:
        """Return the status of the job of a run.

        Return None if the run is of an earlier attempt or was retried, or if the principal may not
        see the job.
        """
        job = self._services.intake.visible(run.tags.get(JOB_TAG, ""), self._principal)
        if (
            job is None
            or newest_of(job, [run]) is None
            or run.tags.get("dagster/did_retry") == "true"
        ):
            return None
        log = self._services.dagster.all_events(run.run_id) if run.status == "FAILURE" else ()
        return status_of_job(snapshot_of(job, run, error_of(log), refused_in(log)), self._base_url)


def _attempt_of(run: RunFound) -> Attempt:
    number = run.tags.get(ATTEMPT_TAG, "")
    return run.tags.get(JOB_TAG, ""), int(number) if number.isdecimal() else 0
