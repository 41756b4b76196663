"""Drop staged tables that ended runs left behind: a killed load cannot drop its own table.

A load writes into a staged table; publishing moves the table to its final name.

    incomplete table    dropped when the run that loaded it has ended: no other run can use it
    complete table      kept at first: a run on the same source, or one re-executed from its
                        failure, publishes it instead of loading again. Dropped when a later load
                        of the source is published and no run is under way that might use it

The age of a table and missing locks do not count: a run holds no lock on its table between stages.
The table of a run that this Dagster does not know is kept. `catalog/retention.py` removes tables by
age, `geo_platform/doctor` on request. Whether a run has ended for good is decided here too.

Used by `orchestrator` and `schedules`.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

import dagster as dg

from geo_platform.dagster_internals import RETRIED_BY_TAG, count_runs, report_event
from geo_platform.errors import PlatformError
from geo_platform.orchestrator.run_reports import warn_on_run
from geo_platform.ports import Inventory, StoredTable, TablePlace
from geo_platform.runs import WILL_RETRY_TAG
from geo_platform.settings import Settings
from geo_platform.storage.stores import open_inventory

_STATUS = dg.DagsterRunStatus
ACTIVE = [_STATUS.NOT_STARTED, _STATUS.STARTING, _STATUS.STARTED, _STATUS.CANCELING]
_UNDER_WAY = [*ACTIVE, _STATUS.QUEUED]
_PAGE = 500


def discard_left_staged(instance: dg.DagsterInstance, inventory: Inventory) -> tuple[str, ...]:
    """Drop staged tables as the header describes, and return their names.

    Each drop is reported in the event log of the run that had loaded the table.

    Raises StoreDenied, DatabaseUnavailable: the database refuses access or does not answer.
    """
    tables = list(inventory.tables())
    published = [table for table in tables if table.place is TablePlace.published]
    dropped = []
    for table in (
        table for table in tables if table.place is TablePlace.staged and table.run_id is not None
    ):
        run = instance.get_run_by_id(table.run_id or "")
        if (
            run is not None
            and _is_droppable(instance, run, table, published)
            and inventory.drop_staged(table.name, run.run_id)
        ):
            text = f"The staged table {table.name}, which this run left behind, was dropped."
            report_event(instance, run, text, {"table": table.name})
            dropped.append(table.name)
    return tuple(dropped)


def discard_after(instance: dg.DagsterInstance, run_id: str, settings: Settings) -> None:
    """Drop as `discard_left_staged`, but log an error of the database instead of raising it.

    The run has ended, so an error cannot change its result.
    """
    try:
        discard_left_staged(instance, open_inventory(settings, run_id=run_id))
    except PlatformError as error:
        warn_on_run(
            instance,
            run_id,
            f"Staged tables that runs left behind could not be checked: {error}",
            error.code,
        )


def _is_droppable(
    instance: dg.DagsterInstance,
    run: dg.DagsterRun,
    table: StoredTable,
    published: Iterable[StoredTable],
) -> bool:
    if not has_ended_for_good(run):
        return False
    return table.version is None or (
        _was_loaded_since(table, published) and not any_under_way(instance)
    )


def _was_loaded_since(table: StoredTable, published: Iterable[StoredTable]) -> bool:
    """Return whether the published table of its dataset is a later load of the same source."""
    started = table.began_at_utc
    return any(
        (other.dataset, other.source_uri) == (table.dataset, table.source_uri)
        and started is not None
        and other.began_at_utc is not None
        and other.began_at_utc > started
        for other in published
    )


def has_ended_for_good(run: dg.DagsterRun) -> bool:
    """Return whether the run has ended and will not be retried.

    The daemon retries only a failed run that was launched from a code location.
    """
    is_to_be_retried = run.tags.get(WILL_RETRY_TAG) == "true" and RETRIED_BY_TAG not in run.tags
    return run.is_finished and not (is_to_be_retried and run.remote_job_origin is not None)


def any_under_way(instance: dg.DagsterInstance) -> bool:
    """Return whether any run is queued, starting, running, or going to be retried."""
    if count_runs(instance, dg.RunsFilter(statuses=_UNDER_WAY)):
        return True
    to_retry = dg.RunsFilter(statuses=[_STATUS.FAILURE], tags={WILL_RETRY_TAG: "true"})
    return any(
        not has_ended_for_good(record.dagster_run) and _is_recent(record)
        for record in instance.get_run_records(to_retry, limit=_PAGE)
    )


def _is_recent(record: dg.RunRecord) -> bool:
    """Return whether the run may still be retried. After a day it will not be."""
    return (datetime.now(UTC) - as_utc(record.update_timestamp)).days < 1


def as_utc(when: datetime) -> datetime:
    """Return the time with a time zone: Dagster's times are UTC, with or without one."""
    return when if when.tzinfo else when.replace(tzinfo=UTC)
