"""Find the runs that an id leads to: from an object, item, table, job or client id.

Each interpretation of the id (`question.py`) is tried in turn; the first one under which a store
knows something counts.
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
from geo_platform.trace.sources import TableFound, TraceStores
from geo_platform.trace.timeline import Store


@dataclass(frozen=True)
class Found:
    """The interpretation of an id, and its runs. No runs: the thing exists but names no run."""

    reading: Reading
    run_ids: tuple[str, ...]


def find(readings: Iterable[Reading], stores: TraceStores) -> Found | None:
    """Return the first interpretation under which a store knows something, or None.

    Stores that do not answer are recorded in `stores.reach`.
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
            return Found(reading, tuple(dict.fromkeys(run_id for run_id in run_ids if run_id)))
    return None


def _run(reading: Reading, stores: TraceStores) -> Sequence[str] | None:
    """Ask every store: Dagster's record of the run may be deleted, or Dagster may not answer."""
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
    found = [
        (entry.collection, entry.item_id) for entry in published if is_of_run(entry.item, run_id)
    ]
    return sorted(
        {
            *found,
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
    """Find runs by the object's metadata, or by a message's name.

    A source, which no run wrote, leads to the runs that read it.
    """
    stored = stores.reach.ask(Store.objects, lambda: _stat(reading, stores), None)
    named = reading.name.rpartition("/")[2].removesuffix(".json")
    if (
        reading.place == MESSAGES
        and is_run_id(named)
        and (stored is not None or not reading.address)
    ):
        return [named]
    if stored is None:
        return _readers(reading, stores) or None
    return [stored.metadata[RUN_ID]] if stored.metadata.get(RUN_ID) else _readers(reading, stores)


def _readers(reading: Reading, stores: TraceStores) -> Sequence[str]:
    return _tagged(stores, PARTITION_TAG, reading.name) if reading.place == BRONZE else ()


def _tagged(stores: TraceStores, tag: str, value: str) -> Sequence[str]:
    runs = stores.reach.ask(Store.dagster, lambda: stores.history().tagged(tag, value), ())
    return [run.run_id for run in runs]


def _stat(reading: Reading, stores: TraceStores) -> StoredObject | None:
    """Return the object, or None if there is none or its URL differs (another account's object)."""
    try:
        stored = stores.objects().stat(reading.place, reading.name)
    except (SourceNotFound, ParameterInvalid):
        return None
    is_it = not reading.address or unquote(reading.address) == unquote(stored.reference.uri)
    return stored if is_it else None


def _item(reading: Reading, stores: TraceStores) -> Sequence[str] | None:
    """Return the runs of the published version, or of the version that was withdrawn last."""
    places = [reading.place] if reading.place else _collections_of(reading.name, stores)
    found = [_runs_of_item(collection, reading.name, stores) for collection in places]
    known = [run_ids for run_ids in found if run_ids is not None]
    return [run_id for run_ids in known for run_id in run_ids] if known else None


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
    """Find runs by the table's comment, or, for a version without one, by who published it."""
    provenance = stores.provenance
    if provenance is None:
        return None
    found: Sequence[TableFound] = stores.reach.ask(
        Store.tables, lambda: provenance().tables_named(reading.place or None, reading.name), ()
    )
    if found:
        return [str(table.says.get("run_id", "")) for table in found]
    return (
        stores.reach.ask(Store.tables, lambda: provenance().runs_of_version(reading.name), ())
        or None
    )
