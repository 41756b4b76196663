"""A page of jobs: first those that have no run yet, by their ids, then those of clients' runs, newest first, each at its last attempt.

What belongs here: going through what waits and through Dagster's runs, so that no job is missed or told twice, whatever is launched
meanwhile. What stays out: how a job stands (`job_state.py`).

    <job id>.<run id>     a cursor among jobs without a run: the last of them, and the newest run that there was at the first page
    <run id>              a cursor among runs

Runs that are newer than that of the first page are of jobs that had none then: they stay where they were. The others are gone through
from that run on.
"""

from dataclasses import dataclass

from geo_platform.api.auth.principal import Principal
from geo_platform.api.dagster.graphql import RunFound
from geo_platform.api.dagster.run_events import error_of, refused_in
from geo_platform.api.jobs.responses import JobPage, JobStatus, status_of_job
from geo_platform.api.jobs.state import STATUSES, JobState, newest_of, standing_of
from geo_platform.api.services import Services
from geo_platform.runs import ATTEMPT_TAG, HTTP_ORIGIN, JOB_TAG, ORIGIN_TAG

CURSOR = r"^([0-9a-f]{64}\.)?([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?$"

# So many times as many as are wanted are looked at for a page: it may be short, and is not the last
# one while it has a cursor.
_PAGES = 10

_CLIENTS = {ORIGIN_TAG: HTTP_ORIGIN}
_AT_ONCE = 100
Attempt = tuple[str, int]


@dataclass(frozen=True)
class Wanted:
    """Which jobs, and how many at most. `job_type` is empty and `state` None where any will do."""

    job_type: str
    state: JobState | None
    limit: int


def jobs_page(services: Services, principal: Principal, wanted: Wanted, *, cursor: str) -> JobPage:
    """Jobs after what `cursor` names; empty for the first page. Raises StoreUnavailable."""
    look = _Look(services, principal, wanted)
    job_id, is_without_run, newest = cursor.rpartition(".")
    if (cursor and not is_without_run) or wanted.state not in (None, JobState.queued):
        return look.of_runs(cursor)
    waiting = set(services.submissions.waiting())
    # After what waits was read: what is launched in between is among the runs that are newer.
    newer, before = look.newer_than(newest) if cursor else (set(), "")
    runs = services.dagster.runs(tags=_CLIENTS, cursor=before, limit=_AT_ONCE)
    newest = newest if cursor else next((run.run_id for run in runs), "")
    launched = set(map(_attempt_of, runs))  # a moment ago, perhaps, and still among what waits
    return look.without_run(
        (waiting - launched) | newer, after=job_id, newest=newest, before=before
    )


class _Look:
    """One look through the jobs, for one page."""

    def __init__(self, services: Services, principal: Principal, wanted: Wanted) -> None:
        self._services = services
        self._principal = principal
        self._wanted = wanted

    def newer_than(self, newest: str) -> tuple[set[Attempt], str]:
        """What was launched since that run, and the oldest of those runs."""
        found: set[Attempt] = set()
        cursor = ""
        while runs := self._services.dagster.runs(tags=_CLIENTS, cursor=cursor, limit=_AT_ONCE):
            for run in runs:
                if run.run_id == newest:
                    return found, cursor
                found.add(_attempt_of(run))
                cursor = run.run_id
        return found, cursor

    def without_run(
        self, attempts: set[Attempt], *, after: str, newest: str, before: str
    ) -> JobPage:
        """Those of them after the job of that id; once there are none, those of the runs after the run `before`."""
        found: list[JobStatus] = []
        most = self._wanted.limit * _PAGES
        for looked_at, job_id in enumerate(
            sorted({job_id for job_id, _ in attempts if job_id > after})
        ):
            if len(found) == self._wanted.limit or looked_at == most:
                return JobPage(jobs=found, nextCursor=f"{after}.{newest}")
            after = job_id
            job = self._services.intake.visible(job_id, self._principal)
            if job is not None and self._wanted.job_type in ("", job.job_type):
                status = status_of_job(self._services.intake.standing(job))
                found += [status] if self._fits(status) else []
        if not found:
            return self.of_runs(before) if newest else JobPage(jobs=[], nextCursor=None)
        return JobPage(jobs=found, nextCursor=f"{after}.{newest}" if newest else None)

    def of_runs(self, cursor: str) -> JobPage:
        """Those of the runs after that one."""
        found: list[JobStatus] = []
        wanted, ask = self._wanted, self._services.dagster.runs
        statuses = STATUSES[wanted.state] if wanted.state is not None else ()
        for _ in range(_PAGES):
            runs = ask(
                tags=_CLIENTS,
                statuses=statuses,
                job=wanted.job_type,
                cursor=cursor,
                limit=wanted.limit,
                steps=True,
            )
            for run in runs:
                cursor = run.run_id
                status = self._status(run)
                found += [status] if status is not None and self._fits(status) else []
                if len(found) == wanted.limit:
                    return JobPage(jobs=found, nextCursor=cursor)
            if len(runs) < wanted.limit:
                return JobPage(jobs=found, nextCursor=None)
        return JobPage(jobs=found, nextCursor=cursor)

    def _fits(self, status: JobStatus) -> bool:
        return self._wanted.state in (None, status.status)

    def _status(self, run: RunFound) -> JobStatus | None:
        """None for an earlier attempt, a run that was executed again, and what the principal may not see."""
        job = self._services.intake.visible(run.tags.get(JOB_TAG, ""), self._principal)
        if (
            job is None
            or newest_of(job, [run]) is None
            or run.tags.get("dagster/did_retry") == "true"
        ):
            return None
        log = self._services.dagster.all_events(run.run_id) if run.status == "FAILURE" else ()
        return status_of_job(standing_of(job, run, error_of(log), refused_in(log)))


def _attempt_of(run: RunFound) -> Attempt:
    number = run.tags.get(ATTEMPT_TAG, "")
    return run.tags.get(JOB_TAG, ""), int(number) if number.isdecimal() else 0
