"""After a run ended, what is said of it is read back and compared; stores that disagree are an event of their own, STATE_MISMATCH.

What belongs here: the comparisons (plain facts in, sentences out), reading the facts, and the sensors that do it for launched
runs. What stays out: mending, and what an ended run left staged (`left_staged.py`). Dagster's storage is the only state of a
job; what the catalog holds is its result.

    run storage's status        is what the last terminal event of its event log says
    a run that SUCCEEDED        the item that it answered with is in the catalog, by the run that it named, or was replaced or
                                unpublished since
    a run that FAILED           is not whose item the catalog holds, unless its own events say that it had published by then
"""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import dagster as dg

from geo_platform.catalog.naming import dataset_of, item_place
from geo_platform.contracts.fault import ContractError
from geo_platform.contracts.message import Message
from geo_platform.contracts.raster import CogStored
from geo_platform.contracts.stored import load_message
from geo_platform.contracts.vector import FeaturesLoaded
from geo_platform.errors import PlatformError, SourceNotFound
from geo_platform.options import ItemOptions
from geo_platform.orchestrator.run_reports import report_of_run, warn_of_run
from geo_platform.ports import ITEM_RUN_ID, MESSAGES, Catalog, ObjectStore, message_key
from geo_platform.runs import PARTITION_TAG
from geo_platform.settings import Settings
from geo_platform.storage.stores import open_catalog, open_objects
from geo_platform.telemetry.checkpoints import Checkpoint

M = TypeVar("M", bound=Message)

_STATUS = dg.DagsterRunStatus
TERMINAL_EVENTS = {
    dg.DagsterEventType.RUN_SUCCESS: _STATUS.SUCCESS,
    dg.DagsterEventType.RUN_FAILURE: _STATUS.FAILURE,
    dg.DagsterEventType.RUN_CANCELED: _STATUS.CANCELED,
}
# Of each job that makes an item: the stage that publishes it.
_ITEM_STAGES = {"process_raster": "raster_item", "ingest_vector": "vector_item"}
_PUBLISHED = (Checkpoint.SWAP_COMMITTED, Checkpoint.ITEM_PUBLISHED)
# An event is stored a moment before the run's status: what disagrees is looked at once more.
_SETTLES_S = 1.0


@dataclass(frozen=True)
class FinishedRun:
    """One run as Dagster has it: in its run storage (`status`), and in its event log (the rest).

    `place` is (collection, item id) where it ends in an item; `publisher` and `published_at`, the run that it answered was
    the item's, and since when; `says_published`, whether its events say that it published.
    """

    run_id: str
    status: dg.DagsterRunStatus
    last_word: dg.DagsterRunStatus | None
    place: tuple[str, str] | None = None
    publisher: str | None = None
    published_at: datetime | None = None
    says_published: bool = False


@dataclass(frozen=True)
class ItemFacts:
    """The item at that place as the catalog has it: whose it is, and whether one was published or taken away there after the run's."""

    publisher: str | None
    changed_since: bool = False


def mismatches(run: FinishedRun, item: ItemFacts | None) -> tuple[str, ...]:
    """A sentence with both values for each pair that disagrees. `item` is None where there is nothing to compare."""
    found = []
    if run.status != run.last_word:
        last = (
            f"its last terminal event is {run.last_word.value}"
            if run.last_word
            else "its event log has no terminal event"
        )
        found.append(f"Dagster's run storage says {run.status.value}, {last}.")
    if item is not None and run.place is not None:
        name, holds = (
            "/".join(run.place),
            f"the item of run {item.publisher}" if item.publisher else "no such item",
        )
        succeeded = (run.last_word or run.status) is _STATUS.SUCCESS
        if (
            succeeded
            and run.publisher is not None
            and run.publisher != item.publisher
            and not item.changed_since
        ):
            found.append(
                f"The run succeeded with {name} published by run {run.publisher}, the catalog holds {holds}."
            )
        elif not succeeded and run.run_id == item.publisher and not run.says_published:
            found.append(
                f"The run ended as {run.status.value} without saying that it published, the catalog holds {name} as its item."
            )
    return tuple(found)


def check_state(instance: dg.DagsterInstance, run_id: str, settings: Settings) -> tuple[str, ...]:
    """Compare, say each mismatch on the run, and hand back what disagrees. Raises what the catalog and the object store raise."""
    found = _compared(instance, run_id, settings)
    if found:
        time.sleep(_SETTLES_S)
        found = _compared(instance, run_id, settings)
    run = instance.get_run_by_id(run_id)
    if run is not None:
        for said in found:
            report_of_run(instance, run, Checkpoint.STATE_MISMATCH, said)
    return found


def check_ended(instance: dg.DagsterInstance, run_id: str, settings: Settings) -> tuple[str, ...]:
    """As `check_state`, where the run is over and its answer stands: a store that does not answer is a line of the log."""
    try:
        return check_state(instance, run_id, settings)
    except PlatformError as error:
        warn_of_run(
            instance,
            run_id,
            f"What the catalog says of the run could not be read back: {error}",
            error.code,
        )
        return ()


def _compared(instance: dg.DagsterInstance, run_id: str, settings: Settings) -> tuple[str, ...]:
    run = instance.get_run_by_id(run_id)
    if run is None:
        return ()
    facts = _run_facts(instance, run, settings)
    item = None
    if facts.place is not None:
        item = _item_facts(open_catalog(settings, run_id=run_id), facts)
    return mismatches(facts, item)


def _run_facts(instance: dg.DagsterInstance, run: dg.DagsterRun, settings: Settings) -> FinishedRun:
    """Of a run that succeeded two kinds of events are read, of one that did not, all."""
    succeeded = run.status is _STATUS.SUCCESS
    wanted = {*TERMINAL_EVENTS, dg.DagsterEventType.ASSET_MATERIALIZATION}
    entries = list(
        instance.all_logs(run.run_id, of_type=wanted)
        if succeeded
        else instance.all_logs(run.run_id)
    )
    words = [
        TERMINAL_EVENTS[entry.dagster_event_type]
        for entry in entries
        if entry.dagster_event_type in TERMINAL_EVENTS
    ]
    last = words[-1] if words else None
    answered = _answered(run.job_name, entries)
    place = (str(answered["collection"]), str(answered["item_id"])) if answered else None
    if answered is None and not succeeded and _began_to_publish(run.job_name, entries):
        place = _place_meant(run, open_objects(settings))
    says_published = any(entry.user_message.startswith(_PUBLISHED) for entry in entries)
    return FinishedRun(
        run.run_id,
        run.status,
        last,
        place,
        publisher=str(answered["published_by_run"]) if answered else None,
        published_at=datetime.fromisoformat(str(answered["published_at_utc"]))
        if answered
        else None,
        says_published=says_published,
    )


def _answered(job: str, entries: Iterable[dg.EventLogEntry]) -> Mapping[str, object] | None:
    """What the run's last stage answered of its item: collection, item_id, published_by_run, published_at_utc."""
    stage = _ITEM_STAGES.get(job)
    for entry in entries:
        made = entry.asset_materialization
        if made is not None and made.asset_key.to_user_string() == stage:
            return {name: value.value for name, value in made.metadata.items()}
    return None


def _began_to_publish(job: str, entries: Iterable[dg.EventLogEntry]) -> bool:
    stage = _ITEM_STAGES.get(job)
    return any(
        entry.dagster_event_type is dg.DagsterEventType.STEP_START and entry.step_key == stage
        for entry in entries
    )


def _place_meant(run: dg.DagsterRun, objects: ObjectStore) -> tuple[str, str] | None:
    """Where the run would have published, as its own message and config say; None where it has no such message."""
    stage = _ITEM_STAGES[run.job_name]
    options = ItemOptions.model_validate_json(json.dumps(_config_of(run, stage)))
    try:
        if stage == "raster_item":
            return item_place(_message_of(run, "raster_cog", CogStored, objects).source, options)
        loaded = _message_of(run, "vector_features", FeaturesLoaded, objects)
        return item_place(loaded.source, options, dataset=dataset_of(loaded))
    except (SourceNotFound, ContractError):
        return None  # one stage alone, on another run's message: whose item it is cannot be told from the run


def _message_of(run: dg.DagsterRun, stage: str, message: type[M], objects: ObjectStore) -> M:
    return load_message(
        objects.read_bytes(MESSAGES, message_key(stage, run.tags.get(PARTITION_TAG), run.run_id)),
        message,
    )


def _config_of(run: dg.DagsterRun, stage: str) -> Mapping[str, Any]:
    run_config: Mapping[str, Any] = run.run_config
    config: Mapping[str, Any] = run_config.get("ops", {}).get(stage, {}).get("config", {})
    return config


def _item_facts(catalog: Catalog, run: FinishedRun) -> ItemFacts:
    """What came after is asked for only where the item is another run's. A run that is forced replaces without keeping a version."""
    assert run.place is not None  # noqa: S101  # narrows the type
    item = catalog.item(*run.place)
    properties = item["properties"] if item is not None else {}
    publisher = str(properties[ITEM_RUN_ID]) if ITEM_RUN_ID in properties else None
    if publisher == run.publisher or run.published_at is None:
        return ItemFacts(publisher)
    if "updated" in properties and datetime.fromisoformat(properties["updated"]) > run.published_at:
        return ItemFacts(publisher, changed_since=True)
    return ItemFacts(
        publisher,
        any(
            version.withdrawn_at_utc >= run.published_at for version in catalog.versions(*run.place)
        ),
    )
