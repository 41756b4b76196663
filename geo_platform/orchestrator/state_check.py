"""Compare the stores after a run has ended, and report each disagreement as STATE_MISMATCH.

Only Dagster's storage has the state of a run; the catalog has its result. The two must agree:

    status in run storage   equals the last terminal event in the run's event log
    a run that SUCCEEDED    the catalog has the item of the run's result, published by the run that
                            the result names, unless the item was replaced or unpublished since
    a run that FAILED       the catalog's item was not published by this run, unless the run's
                            events report that it published the item

`geo_platform/doctor` repairs a mismatch. `left_staged.py` drops staged tables of ended runs.

Used by `orchestrator` and `schedules`.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import dagster as dg

from geo_platform.chains.registry import chain_of_job
from geo_platform.contracts.fault import ContractError
from geo_platform.contracts.message import Message
from geo_platform.contracts.stored import load_message
from geo_platform.dagster_internals import checkpoint_of, log_entries
from geo_platform.errors import PlatformError, SourceNotFound
from geo_platform.options import ItemOptions
from geo_platform.orchestrator.run_reports import report_on_run, warn_on_run
from geo_platform.ports import ITEM_RUN_ID, MESSAGES, Catalog, ObjectStore, message_key
from geo_platform.runs import PARTITION_TAG
from geo_platform.settings import Settings
from geo_platform.storage.stores import open_catalog, open_objects
from geo_platform.telemetry.checkpoints import Checkpoint, Detail

M = TypeVar("M", bound=Message)

_STATUS = dg.DagsterRunStatus
TERMINAL_EVENTS = {
    dg.DagsterEventType.RUN_SUCCESS: _STATUS.SUCCESS,
    dg.DagsterEventType.RUN_FAILURE: _STATUS.FAILURE,
    dg.DagsterEventType.RUN_CANCELED: _STATUS.CANCELED,
}
_PUBLISHED = (Checkpoint.SWAP_COMMITTED, Checkpoint.ITEM_PUBLISHED)
# Dagster stores an event a moment before the run's status, so a mismatch is checked again after
# this time.
_RECHECK_AFTER_S = 1.0


@dataclass(frozen=True)
class FinishedRun:
    """A run in Dagster: `status` is from its run storage, the rest from its event log.

    `last_event` is the status of the last terminal event. `place` is (collection, item id) of the
    run's result, or None. `publisher` is the run that the result names as the publisher of the item
    (an earlier run if nothing changed), `published_at` the time of that publication.
    `has_published`: the run's events report that it published the item.
    """

    run_id: str
    status: dg.DagsterRunStatus
    last_event: dg.DagsterRunStatus | None
    place: tuple[str, str] | None = None
    publisher: str | None = None
    published_at: datetime | None = None
    has_published: bool = False


@dataclass(frozen=True)
class ItemFacts:
    """The item in the catalog.

    `publisher` is the run that published it, None if there is no item. `changed_since`: the item
    was replaced or unpublished after the run that is checked had published it.
    """

    publisher: str | None
    changed_since: bool = False


@dataclass(frozen=True)
class Mismatch:
    """Two values that should agree, as fields and in a sentence.

    `compared` names the pair: `status` or `item`.
    """

    compared: str
    expected: str | None
    found: str | None
    sentence: str

    @property
    def details(self) -> Mapping[str, Detail]:
        return {"compared": self.compared, "expected": self.expected, "found": self.found}


def mismatches(run: FinishedRun, item: ItemFacts | None) -> tuple[Mismatch, ...]:
    """Return the pairs of values that disagree. `item` is None if the run has none to compare."""
    found = []
    if run.status != run.last_event:
        last = (
            f"its last terminal event is {run.last_event.value}"
            if run.last_event
            else "its event log has no terminal event"
        )
        found.append(
            Mismatch(
                "status",
                run.status.value,
                run.last_event.value if run.last_event else None,
                f"Dagster's run storage says {run.status.value}, {last}.",
            )
        )
    if item is None or run.place is None:
        return tuple(found)
    name = "/".join(run.place)
    holds = f"the item of run {item.publisher}" if item.publisher else "no such item"
    has_succeeded = (run.last_event or run.status) is _STATUS.SUCCESS
    if (
        has_succeeded
        and run.publisher is not None
        and run.publisher != item.publisher
        and not item.changed_since
    ):
        sentence = (
            f"The run succeeded with {name} published by run {run.publisher}, "
            f"the catalog holds {holds}."
        )
        found.append(Mismatch("item", run.publisher, item.publisher, sentence))
    elif not has_succeeded and run.run_id == item.publisher and not run.has_published:
        sentence = (
            f"The run ended as {run.status.value} and no event says that it published, "
            f"the catalog holds {name} as its item."
        )
        found.append(Mismatch("item", None, item.publisher, sentence))
    return tuple(found)


def check_state(
    instance: dg.DagsterInstance, run_id: str, settings: Settings
) -> tuple[Mismatch, ...]:
    """Compare the stores, report each mismatch once on the run, and return the mismatches.

    Raises StoreUnavailable, StoreDenied, DatabaseUnavailable: the catalog or the object store
    does not answer or refuses access.
    """
    found = _compare(instance, run_id, settings)
    if found:
        time.sleep(_RECHECK_AFTER_S)
        found = _compare(instance, run_id, settings)
    run = instance.get_run_by_id(run_id)
    if run is not None:
        for mismatch in found:
            report_on_run(
                instance,
                run,
                Checkpoint.STATE_MISMATCH,
                mismatch.sentence,
                details=mismatch.details,
                identified_by=("compared", "expected", "found"),
            )
    return found


def check_ended(
    instance: dg.DagsterInstance, run_id: str, settings: Settings
) -> tuple[Mismatch, ...]:
    """Compare as `check_state`, but log an error of a store instead of raising it.

    The run has ended, so an error cannot change its result.
    """
    try:
        return check_state(instance, run_id, settings)
    except PlatformError as error:
        warn_on_run(
            instance, run_id, f"The catalog could not be compared with the run: {error}", error.code
        )
        return ()


def _compare(instance: dg.DagsterInstance, run_id: str, settings: Settings) -> tuple[Mismatch, ...]:
    run = instance.get_run_by_id(run_id)
    if run is None:
        return ()
    ended = _ended_run(instance, run, settings)
    item = None
    if ended.place is not None:
        item = _item_facts(open_catalog(settings, run_id=run_id), ended)
    return mismatches(ended, item)


def _ended_run(instance: dg.DagsterInstance, run: dg.DagsterRun, settings: Settings) -> FinishedRun:
    """Read the run with all of its events, or with the needed types only if it succeeded."""
    has_succeeded = run.status is _STATUS.SUCCESS
    types = {*TERMINAL_EVENTS, dg.DagsterEventType.ASSET_MATERIALIZATION}
    entries = log_entries(instance, run.run_id, types if has_succeeded else None)
    terminal = [
        TERMINAL_EVENTS[entry.dagster_event_type]
        for entry in entries
        if entry.dagster_event_type in TERMINAL_EVENTS
    ]
    result = _result_metadata(run.job_name, entries)
    place = (str(result["collection"]), str(result["item_id"])) if result else None
    if result is None and not has_succeeded and _began_to_publish(run.job_name, entries):
        place = _intended_place(run, open_objects(settings))
    return FinishedRun(
        run.run_id,
        run.status,
        terminal[-1] if terminal else None,
        place,
        publisher=str(result["published_by_run"]) if result else None,
        published_at=datetime.fromisoformat(str(result["published_at_utc"])) if result else None,
        has_published=_has_published(entries),
    )


def _has_published(entries: Sequence[dg.EventLogEntry]) -> bool:
    checkpoints = filter(None, map(checkpoint_of, entries))
    return any(fields.checkpoint in _PUBLISHED for fields in checkpoints)


def _result_metadata(job: str, entries: Iterable[dg.EventLogEntry]) -> Mapping[str, object] | None:
    """Return the metadata of the last stage's result, or None.

    It has collection, item_id, published_by_run, published_at_utc and more.
    """
    stage = _item_stage(job)
    for entry in entries:
        materialization = entry.asset_materialization
        if materialization is not None and materialization.asset_key.to_user_string() == stage:
            return {name: value.value for name, value in materialization.metadata.items()}
    return None


def _item_stage(job: str) -> str | None:
    """Return the stage that publishes the item, or None if the job publishes none."""
    chain = chain_of_job(job)
    return chain.last.name if chain is not None else None


def _began_to_publish(job: str, entries: Iterable[dg.EventLogEntry]) -> bool:
    stage = _item_stage(job)
    return any(
        entry.dagster_event_type is dg.DagsterEventType.STEP_START and entry.step_key == stage
        for entry in entries
    )


def _intended_place(run: dg.DagsterRun, objects: ObjectStore) -> tuple[str, str] | None:
    """Return the (collection, item id) that the run would have published, or None if unknown.

    It is computed from the run's last message between stages and from its config.
    """
    chain = chain_of_job(run.job_name)
    if chain is None:
        return None
    options = ItemOptions.model_validate_json(json.dumps(_config_of(run, chain.last.name)))
    before = chain.before_last
    try:
        return chain.place(_message_of(run, before.name, before.gives, objects), options)
    except (SourceNotFound, ContractError):
        # The run executed one stage alone, on the message of another run.
        return None


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
    """Read the run's item, and whether it changed after the run's publication.

    The change is looked up only if another run published the item. A forced run replaces an item
    without keeping a version, so the property `updated` of the item is compared too.
    """
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
