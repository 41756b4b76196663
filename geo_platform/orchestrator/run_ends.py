"""Whether runs are over: one of them, and all.

What belongs here: what Dagster's storage says of it, without definitions. What stays out: processes (`instance_state.py`), and
what is done about a run that is over.
"""

from datetime import UTC, datetime

import dagster as dg

from geo_platform.runs import WILL_RETRY_TAG

_STATUS = dg.DagsterRunStatus
AT_WORK = [_STATUS.NOT_STARTED, _STATUS.STARTING, _STATUS.STARTED, _STATUS.CANCELING]
_UNDER_WAY = [*AT_WORK, _STATUS.QUEUED]
_RETRIED_BY_TAG = "dagster/auto_retry_run_id"
_LOOKED_AT = 500


def has_ended_for_good(run: dg.DagsterRun) -> bool:
    """With no retry to come: the daemon makes one of a run that it launched and that died, and of no other."""
    to_retry = run.tags.get(WILL_RETRY_TAG) == "true" and _RETRIED_BY_TAG not in run.tags
    return run.is_finished and not (to_retry and run.remote_job_origin is not None)


def any_under_way(instance: dg.DagsterInstance) -> bool:
    """Whether any run is queued, starting or at work, or is going to be retried."""
    if instance.get_runs_count(dg.RunsFilter(statuses=_UNDER_WAY)):
        return True
    to_retry = instance.get_runs(
        dg.RunsFilter(statuses=[_STATUS.FAILURE], tags={WILL_RETRY_TAG: "true"}), limit=_LOOKED_AT
    )
    return any(not has_ended_for_good(run) and _is_recent(instance, run) for run in to_retry)


def aware(when: datetime) -> datetime:
    """Dagster's times are UTC, with a zone or without."""
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _is_recent(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """A retry that did not come within a day does not come."""
    record = instance.get_run_record_by_id(run.run_id)
    return record is not None and (datetime.now(UTC) - aware(record.update_timestamp)).days < 1
