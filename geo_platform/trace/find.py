"""Find the runs to which an id leads: from an object, item, table, job or client id.

The interpretations of the id (`question.py`) are tried in order. The first interpretation that is
found in a store counts.

Called by `answer.py`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from geo_platform.errors import ParameterInvalid, SourceNotFound
from geo_platform.ports import BRONZE, ITEM_RESTORED_BY, ITEM_RUN_ID, MESSAGES, StoredObject
from geo_platform.runs import CORRELATION_TAG, JOB_TAG, PARTITION_TAG, REQUEST_TAG, TRACEPARENT_TAG
from geo_platform.trace.object_events import RUN_ID, messages_of
from geo_platform.trace.question import Reading, Subject, is_run_id
from geo_platform.trace.sources import LocatedTable, TraceStores
from geo_platform.trace.timeline import Store


@dataclass(frozen=True)
class TracedId:
    """The interpretation of an id that was found in a store, and the ids of its runs.

    `run_ids` is empty if the thing exists but names no run.
    """

    reading: Reading
    run_ids: tuple[str, ...]


def find(readings: Iterable[Reading], stores: TraceStores) -> TracedId | None:
    """Return the first interpretation that is found in a store, with its runs, or None.

    Stores that do not answer are recorded in `stores.reach`; nothing is raised for them.
    """
    finders: Mapping[Subject, Callable[[Reading, TraceStores], Sequence[str] | None]] = {
        Subject.run: _run,
        Subject.blob: _blob,
        Subject.item: _item,
        Subject.table: _table,
        Subject.job: _job,
        Subject.client: _client,
    }
    for reading in readings:
        run_ids = finders[reading.subject](reading, stores)
        if run_ids is not None:
            return TracedId(reading, tuple(dict.fromkeys(run_id for run_id in run_ids if run_id)))
    return None


def _run(reading: Reading, stores: TraceStores) -> Sequence[str] | None:
    """Return the runs whose id is, or starts with, the name; None if no store has such a run.

    Every store is searched, since Dagster's record of a run may be deleted or unavailable.
    """
    ask, name = stores.reach.ask, reading.name
    if not is_run_id(name):
        return ask(Store.dagster, lambda: stores.history().beginning_with(name), ()) or None
    if ask(
        Store.dagster, lambda: stores.history().run(name), None
    ) is not None or _is_known_elsewhere(name, stores):
        return [name]
    return None


def _is_known_elsewhere(run_id: str, stores: TraceStores) -> bool:
    ask, provenance = stores.reach.ask, stores.provenance
    if provenance is not None:
        written = ask(Store.tables, lambda: provenance().writes_of(run_id), ())
        loaded = () if written else ask(Store.tables, lambda: provenance().tables_of(run_id), ())
        if written or loaded:
            return True
    elif items_of_run(run_id, stores):
        return True
    return bool(ask(Store.objects, lambda: messages_of(stores.objects(), run_id), ()))


def items_of_run(run_id: str, stores: TraceStores) -> list[tuple[str, str]]:
    """Return (collection, id) of the items that this run published or restored. Reads all items."""
    published = stores.reach.gather(Store.catalog, lambda: stores.catalog().entries())
    kept = stores.reach.gather(Store.catalog, lambda: stores.catalog().versions())
    from_published = [
        (entry.collection, entry.item_id) for entry in published if is_of_run(entry.item, run_id)
    ]
    return sorted(
        {
            *from_published,
            *(
                (version.collection, version.item_id)
                for version in kept
                if is_of_run(version.item, run_id)
            ),
        }
    )


def is_of_run(item: Mapping[str, Any], run_id: str) -> bool:
    """Return whether the run published or restored this version of an item."""
    return run_id in (item["properties"].get(ITEM_RUN_ID), item["properties"].get(ITEM_RESTORED_BY))


def _job(reading: Reading, stores: TraceStores) -> Sequence[str] | None:
    """Return the runs of every attempt at a job of the HTTP API."""
    return _tagged(stores, JOB_TAG, reading.name) or None


def _client(reading: Reading, stores: TraceStores) -> Sequence[str] | None:
    """Return the runs of a request, by the client's id, its traceparent or the API's request id."""
    for tag in (CORRELATION_TAG, TRACEPARENT_TAG, REQUEST_TAG):
        runs = _tagged(stores, tag, reading.name)
        if runs:
            return runs
    return None


def _blob(reading: Reading, stores: TraceStores) -> Sequence[str] | None:
    """Return the run that wrote the object, by the object's metadata or by a message's name.

    No run wrote a source object; it leads to the runs that read it.
    """
    stored = stores.reach.ask(Store.objects, lambda: _stat(reading, stores), None)
    run_id = reading.name.rpartition("/")[2].removesuffix(".json")
    if (
        reading.place == MESSAGES
        and is_run_id(run_id)
        and (stored is not None or not reading.address)
    ):
        return [run_id]
    if stored is None:
        return _readers(reading, stores) or None
    return [stored.metadata[RUN_ID]] if stored.metadata.get(RUN_ID) else _readers(reading, stores)


def _readers(reading: Reading, stores: TraceStores) -> Sequence[str]:
    return _tagged(stores, PARTITION_TAG, reading.name) if reading.place == BRONZE else ()


def _tagged(stores: TraceStores, tag: str, value: str) -> Sequence[str]:
    runs = stores.reach.ask(Store.dagster, lambda: stores.history().tagged(tag, value), ())
    return [run.run_id for run in runs]


def _stat(reading: Reading, stores: TraceStores) -> StoredObject | None:
    """Return the object, or None if it is missing or its URL differs (it is in another account)."""
    try:
        stored = stores.objects().stat(reading.place, reading.name)
    except (SourceNotFound, ParameterInvalid):
        return None
    is_same = not reading.address or unquote(reading.address) == unquote(stored.reference.uri)
    return stored if is_same else None


def _item(reading: Reading, stores: TraceStores) -> Sequence[str] | None:
    """Return the runs that published or restored the item's published version.

    If no version is published, the version that was withdrawn last counts.
    """
    places = [reading.place] if reading.place else _collections_of(reading.name, stores)
    by_collection = [_runs_of_item(collection, reading.name, stores) for collection in places]
    existing = [run_ids for run_ids in by_collection if run_ids is not None]
    return [run_id for run_ids in existing for run_id in run_ids] if existing else None


def _runs_of_item(collection: str, item_id: str, stores: TraceStores) -> Sequence[str] | None:
    item = stores.reach.ask(
        Store.catalog, lambda: _present_or_kept(collection, item_id, stores), None
    )
    if item is not None:
        properties = item["properties"]
        return [str(properties.get(name) or "") for name in (ITEM_RUN_ID, ITEM_RESTORED_BY)]
    provenance = stores.provenance
    if provenance is None:
        return None
    runs: Sequence[str] = stores.reach.ask(
        Store.tables, lambda: provenance().runs_of_item(collection, item_id), ()
    )
    return runs[:1] or None


def _present_or_kept(
    collection: str, item_id: str, stores: TraceStores
) -> Mapping[str, Any] | None:
    catalog = stores.catalog()
    try:
        present = catalog.item(collection, item_id)
        return present or next(
            (version.item for version in catalog.versions(collection, item_id)), None
        )
    except ParameterInvalid:  # no item can have this id
        return None


def _collections_of(item_id: str, stores: TraceStores) -> list[str]:
    """Return the collections that have an item of this id, published or kept."""
    entries = stores.reach.gather(Store.catalog, lambda: stores.catalog().entries())
    published = {entry.collection for entry in entries if entry.item_id == item_id}
    versions = stores.reach.gather(
        Store.catalog, lambda: () if published else stores.catalog().versions()
    )
    return sorted(
        published or {version.collection for version in versions if version.item_id == item_id}
    )


def _table(reading: Reading, stores: TraceStores) -> Sequence[str] | None:
    """Return the runs that loaded the table, by the comments of the tables of this name.

    If there is no such table now, return the runs that published a table version of this name.
    """
    provenance = stores.provenance
    if provenance is None:
        return None
    tables: Sequence[LocatedTable] = stores.reach.ask(
        Store.tables, lambda: provenance().tables_named(reading.place or None, reading.name), ()
    )
    if tables:
        return [str(table.comment.get("run_id", "")) for table in tables]
    return (
        stores.reach.ask(Store.tables, lambda: provenance().runs_of_version(reading.name), ())
        or None
    )
