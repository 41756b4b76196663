"""Decide from Dagster's storage whether a run has ended for good, or any is under way.

A module of its own because `instance_state.py` and `left_staged.py` both need it.
"""

from datetime import UTC, datetime

import dagster as dg

from geo_platform.dagster_internals import RETRIED_BY_TAG, count_runs
from geo_platform.runs import WILL_RETRY_TAG

_STATUS = dg.DagsterRunStatus
ACTIVE = [_STATUS.NOT_STARTED, _STATUS.STARTING, _STATUS.STARTED, _STATUS.CANCELING]
_UNDER_WAY = [*ACTIVE, _STATUS.QUEUED]
_PAGE = 500


def has_ended_for_good(run: dg.DagsterRun) -> bool:
    """Return whether the run has ended and will not be retried.

    The daemon retries only a failed run that was launched from a code location.
    """
    to_retry = run.tags.get(WILL_RETRY_TAG) == "true" and RETRIED_BY_TAG not in run.tags
    return run.is_finished and not (to_retry and run.remote_job_origin is not None)


def any_under_way(instance: dg.DagsterInstance) -> bool:
    """Return whether any run is queued, starting, running, or going to be retried."""
    if count_runs(instance, dg.RunsFilter(statuses=_UNDER_WAY)):
        return True
    wanted = dg.RunsFilter(statuses=[_STATUS.FAILURE], tags={WILL_RETRY_TAG: "true"})
    return any(
        not has_ended_for_good(record.dagster_run) and _is_recent(record)
        for record in instance.get_run_records(wanted, limit=_PAGE)
    )


def aware(when: datetime) -> datetime:
    """Return the time with a time zone: Dagster's times are UTC, with or without one."""
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _is_recent(record: dg.RunRecord) -> bool:
    """Return whether a retry may still come. After a day it will not."""
    return (datetime.now(UTC) - aware(record.update_timestamp)).days < 1
