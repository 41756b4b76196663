"""Staged tables that runs left which are over: a load that was killed can drop nothing itself.

What belongs here: which of them nobody will publish any more, and dropping those; whether a run is over, Dagster's storage says.
What stays out: what is old, whoever left it (`catalog/retention.py`), and what a person asks for (`geo_platform/doctor`).

    not whole                   goes with the run that was loading it: no other run can use it
    whole, never published      may still be published: a run on the same source takes it over instead of loading again, and so
                                does one that is executed again from where it failed. It goes once a later load of the
                                source is published, and no run is under way that might have found it before

A table is never dropped for its age, nor for being unlocked: a run that lives holds no lock on it between its stages. One whose
run is not known to this Dagster is left alone.
"""

from collections.abc import Iterable

import dagster as dg

from geo_platform.errors import PlatformError
from geo_platform.orchestrator.run_ends import any_under_way, has_ended_for_good
from geo_platform.orchestrator.run_reports import warn_of_run
from geo_platform.ports import Inventory, StoredTable, TablePlace
from geo_platform.settings import Settings
from geo_platform.storage.stores import open_inventory


def discard_left_staged(instance: dg.DagsterInstance, inventory: Inventory) -> tuple[str, ...]:
    """Drop them, say so on the run that left each, and hand back their names. Raises StoreDenied, DatabaseUnavailable."""
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
            instance.report_engine_event(
                f"The staged table {table.name}, which this run left behind, was dropped.", run
            )
            dropped.append(table.name)
    return tuple(dropped)


def discard_after(instance: dg.DagsterInstance, run_id: str, settings: Settings) -> None:
    """As `discard_left_staged`, after this run, whose answer stands: a database that does not answer is a line of the log."""
    try:
        discard_left_staged(instance, open_inventory(settings, run_id=run_id))
    except PlatformError as error:
        warn_of_run(
            instance,
            run_id,
            f"Staged tables that runs left behind were not looked for: {error}",
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
    """Whether what is published under its name came from the same source, by a load that began later."""
    began = table.began_at_utc
    return any(
        (other.dataset, other.source_uri) == (table.dataset, table.source_uri)
        and began is not None
        and other.began_at_utc is not None
        and other.began_at_utc > began
        for other in published
    )
