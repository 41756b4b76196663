"""Drop staged tables that ended runs left behind: a killed load cannot drop its own table.

    incomplete table    dropped when the run that loaded it has ended: no other run can use it
    complete table      kept at first: a run on the same source, or one re-executed from its
                        failure, publishes it instead of loading again. Dropped when a later load
                        of the source is published and no run is under way that might use it

Age and missing locks do not count: a run holds no lock on its table between stages. A table of a
run that this Dagster does not know is kept. `catalog/retention.py` removes tables by age,
`geo_platform/doctor` on request.
"""

from collections.abc import Iterable

import dagster as dg

from geo_platform.dagster_internals import report_event
from geo_platform.errors import PlatformError
from geo_platform.orchestrator.run_ends import any_under_way, has_ended_for_good
from geo_platform.orchestrator.run_reports import warn_on_run
from geo_platform.ports import Inventory, StoredTable, TablePlace
from geo_platform.settings import Settings
from geo_platform.storage.stores import open_inventory


def discard_left_staged(instance: dg.DagsterInstance, inventory: Inventory) -> tuple[str, ...]:
    """Drop the tables, report each on the run that left it behind, and return their names.

    Raises StoreDenied, DatabaseUnavailable.
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
            and _is_left(instance, run, table, published)
            and inventory.drop_staged(table.name, run.run_id)
        ):
            text = f"The staged table {table.name}, which this run left behind, was dropped."
            report_event(instance, run, text, {"table": table.name})
            dropped.append(table.name)
    return tuple(dropped)


def discard_after(instance: dg.DagsterInstance, run_id: str, settings: Settings) -> None:
    """Drop as `discard_left_staged`, but only log an error: the run's result is final."""
    try:
        discard_left_staged(instance, open_inventory(settings, run_id=run_id))
    except PlatformError as error:
        warn_on_run(
            instance,
            run_id,
            f"Staged tables that runs left behind could not be checked: {error}",
            error.code,
        )


def _is_left(
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
    began = table.began_at_utc
    return any(
        (other.dataset, other.source_uri) == (table.dataset, table.source_uri)
        and began is not None
        and other.began_at_utc is not None
        and other.began_at_utc > began
        for other in published
    )
