"""A page of jobs: runs that clients asked for, newest first, each job at its last attempt.

What belongs here: going through Dagster's pages. What stays out: how a job stands (`job_state.py`).
"""

from geo_platform.api.answers import JobPage, JobStatus, status_of_job
from geo_platform.api.dagster_graphql import RunFound
from geo_platform.api.job_state import STATUSES, JobState, newest_of, standing_of
from geo_platform.api.principal import Principal
from geo_platform.api.run_events import error_of
from geo_platform.api.services import Services
from geo_platform.runs import JOB_TAG, ORIGIN_TAG

_PAGES = 10
"""Of Dagster's that are gone through for one of ours: a page may be short, and is not the last one while it has a cursor."""


def jobs_page(services: Services, principal: Principal, *, job_type: str, state: JobState | None, limit: int, cursor: str) -> JobPage:
    """Jobs after the run that `cursor` names. A job that has no run yet is in no page."""
    found: list[JobStatus] = []
    statuses = STATUSES[state] if state is not None else ()
    for _ in range(_PAGES):
        runs = services.dagster.runs(tags={ORIGIN_TAG: "api"}, statuses=statuses, job=job_type, cursor=cursor, limit=limit, steps=True)
        for run in runs:
            cursor = run.run_id
            status = _status(services, principal, run)
            if status is not None and (state is None or status.status == state):
                found.append(status)
            if len(found) == limit:
                return JobPage(jobs=found, nextCursor=cursor)
        if len(runs) < limit:
            return JobPage(jobs=found, nextCursor=None)
    return JobPage(jobs=found, nextCursor=cursor)


def _status(services: Services, principal: Principal, run: RunFound) -> JobStatus | None:
    """None for an earlier attempt, a run that was executed again, and what the principal may not see."""
    job = services.intake.visible(run.tags.get(JOB_TAG, ""), principal)
    if job is None or newest_of(job, [run]) is None or run.tags.get("dagster/did_retry") == "true":
        return None
    error = error_of(services.dagster.all_events(run.run_id)) if run.status == "FAILURE" else None
    return status_of_job(standing_of(job, run, error))
