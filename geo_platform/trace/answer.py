"""Trace an id: build a timeline for each of its runs, and name the stores that did not answer.

A timeline has the events of one run from Dagster, the object store, the catalog and the database.
`question.py` interprets the id and `find.py` finds its runs. `object_events.py` and
`catalog_events.py` turn the content of a store into events.

Called by `api/jobs/routes.py` and `cli/commands/trace.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from geo_platform.runs import (
    ASKED_BY_TAG,
    CORRELATION_TAG,
    JOB_TAG,
    PARENT_RUN_TAG,
    PARTITION_TAG,
    REQUEST_TAG,
    TRACEPARENT_TAG,
)
from geo_platform.telemetry.checkpoints import Checkpoint
from geo_platform.trace.catalog_events import catalog_events, table_events, writes_of_versions
from geo_platform.trace.find import TracedId, find, items_of_run
from geo_platform.trace.object_events import StoredMessage, object_events, read_messages
from geo_platform.trace.question import Subject, launched_by, readings, without_secrets
from geo_platform.trace.sources import CatalogWrite, RunFacts, TraceStores
from geo_platform.trace.timeline import (
    SINCE,
    Event,
    Kind,
    StageSummary,
    Store,
    as_text,
    ordered,
    stages_of,
)

_ITEM_TAG = "geo_platform/item"
_ITEM_CHECKPOINTS = {
    Checkpoint.SWAP_COMMITTED,
    Checkpoint.ITEM_PUBLISHED,
    Checkpoint.ITEM_UNPUBLISHED,
    Checkpoint.ITEM_UNCHANGED,
}
_FIRST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Timeline:
    """The events of one run from all stores, in order of time.

    `facts` is None if Dagster did not answer or does not have the run. `retried_by` are the ids of
    the runs that retried this run.
    """

    run_id: str
    facts: RunFacts | None
    retried_by: tuple[str, ...]
    stages: tuple[StageSummary, ...]
    events: tuple[Event, ...]

    @property
    def tags(self) -> Mapping[str, str]:
        return self.facts.tags if self.facts is not None else {}

    @property
    def error(self) -> Mapping[str, Any] | None:
        """The error of the stage that failed last, unless the run succeeded or is unfinished.

        If Dagster does not have the run, the last error counts. Errors before a successful retry
        are only in the events.
        """
        failed = [
            event for event in self.events if event.kind == Checkpoint.STAGE_FAILED and event.error
        ]
        ended_badly = self.facts is None or self.facts.status in ("failure", "canceled")
        return failed[-1].error if failed and ended_badly else None

    @property
    def replaced(self) -> tuple[Event, ...]:
        """The publications of this run that replaced another version."""
        return tuple(
            event
            for event in self.events
            if event.kind == Kind.CATALOG_PUBLISHED and event.details.get("replaced_fingerprint")
        )

    @property
    def since(self) -> tuple[Event, ...]:
        """Later events: another run replaced, restored or unpublished this run's items."""
        return tuple(event for event in self.events if event.kind in SINCE)

    def document(self) -> dict[str, Any]:
        """Return the timeline as JSON values. They do not depend on the id that was traced."""
        facts = self.facts
        return {
            "run_id": self.run_id,
            "trace_id": self.run_id.replace("-", ""),
            "job": facts.job if facts else None,
            "status": facts.status if facts else None,
            "partition": self.tags.get(PARTITION_TAG),
            "launched_by": launched_by(self.tags) if facts else None,
            "job_id": self.tags.get(JOB_TAG),
            "request_id": self.tags.get(REQUEST_TAG),
            "asked_by": self.tags.get(ASKED_BY_TAG),
            "correlation_id": self.tags.get(CORRELATION_TAG),
            "traceparent": self.tags.get(TRACEPARENT_TAG),
            "retry_of": self.tags.get(PARENT_RUN_TAG),
            "retried_by": list(self.retried_by),
            "requested_at_utc": _text(facts.requested_at_utc if facts else None),
            "started_at_utc": _text(facts.started_at_utc if facts else None),
            "ended_at_utc": _text(facts.ended_at_utc if facts else None),
            "tags": dict(sorted(self.tags.items())),
            "stages": [asdict(stage) for stage in self.stages],
            "error": dict(self.error) if self.error else None,
            "replaced": [
                {"run_id": event.details.get("replaced_run_id"), **_version(event)}
                for event in self.replaced
            ],
            "since": [
                {"kind": str(event.kind), "by_run": event.by_run, **_version(event)}
                for event in self.since
            ],
            "events": [event.document() for event in self.events],
        }


@dataclass(frozen=True)
class TraceResult:
    """The result for an id.

    `question` is the id without secrets. `looked_for` describes every interpretation of the id;
    `found` is the interpretation that was found in a store, with its runs, or None. `unreached` has
    each store that did not answer, with the reason.
    """

    question: str
    looked_for: tuple[str, ...]
    found: TracedId | None
    timelines: tuple[Timeline, ...]
    unreached: tuple[Mapping[str, Any], ...]

    def document(self) -> dict[str, Any]:
        return {
            "question": self.question,
            "understood_as": self.found.reading.description if self.found else None,
            "looked_for": list(self.looked_for),
            "timelines": [timeline.document() for timeline in self.timelines],
            "unreached": [dict(fault) for fault in self.unreached],
        }


def trace(text: str, stores: TraceStores, *, only: Subject | None = None) -> TraceResult:
    """Return the timelines of the runs to which the id leads, oldest first.

    `only` limits the interpretations of the id to one kind. A store that does not answer is listed
    in `unreached`; its error is not raised.
    """
    possible = readings(text, only)
    found = find(possible, stores)
    timelines = [timeline_of(run_id, stores) for run_id in (found.run_ids if found else ())]
    oldest_first = sorted(
        timelines,
        key=lambda timeline: (
            timeline.facts.requested_at_utc if timeline.facts else _FIRST,
            timeline.run_id,
        ),
    )
    looked_for = tuple(dict.fromkeys(reading.description for reading in possible))
    return TraceResult(
        without_secrets(text), looked_for, found, tuple(oldest_first), stores.reach.unreached()
    )


def timeline_of(run_id: str, stores: TraceStores) -> Timeline:
    """Return the events of one run from every store that answers, in order of time."""
    ask = stores.reach.ask
    facts = ask(Store.dagster, lambda: stores.history().run(run_id), None)
    logged = ask(Store.dagster, lambda: stores.history().events(run_id), ())
    retries = ask(Store.dagster, lambda: stores.history().tagged(PARENT_RUN_TAG, run_id), ())
    announced = {
        event.stage: event.at_utc
        for event in logged
        if event.kind == Checkpoint.MESSAGE_CREATED and event.stage
    }
    partition = facts.tags.get(PARTITION_TAG) if facts is not None else None
    stages = list(announced) if facts is not None else None
    messages = ask(
        Store.objects, lambda: read_messages(stores.objects(), run_id, stages, partition), ()
    )
    stored = ask(
        Store.objects, lambda: object_events(stores.objects(), run_id, messages, announced), ()
    )
    items = (
        _items(facts, logged, messages)
        if facts is not None or stores.provenance is not None
        else items_of_run(run_id, stores)
    )
    written = _catalog_events(run_id, items, stores)
    events = ordered([*_request_events(facts), *logged, *stored, *written])
    return Timeline(run_id, facts, tuple(run.run_id for run in retries), stages_of(events), events)


def _request_events(facts: RunFacts | None) -> list[Event]:
    if facts is None:
        return []
    text = f"{facts.job} by {launched_by(facts.tags)}"
    tags = {
        "partition": PARTITION_TAG,
        "correlation_id": CORRELATION_TAG,
        "job_id": JOB_TAG,
        "request_id": REQUEST_TAG,
        "asked_by": ASKED_BY_TAG,
    }
    details = {name: facts.tags.get(tag) for name, tag in tags.items()}
    return [Event(facts.requested_at_utc, Store.dagster, Kind.RUN_REQUESTED, text, details=details)]


def _items(
    facts: RunFacts | None, logged: Sequence[Event], messages: Sequence[StoredMessage]
) -> list[tuple[str, str]]:
    """Return (collection, id) of the items that the run published, unpublished or found unchanged.

    The names come from the run's checkpoints, tags and messages.
    """
    reported = [
        f"{event.details.get('collection')}/{event.details.get('item_id')}"
        for event in logged
        if event.kind in _ITEM_CHECKPOINTS
    ]
    tagged = [facts.tags[_ITEM_TAG]] if facts is not None and _ITEM_TAG in facts.tags else []
    stored = [
        f"{content['collection']}/{content['item_id']}"
        for message in messages
        if "item_id" in (content := message.content or {})
    ]
    names = dict.fromkeys(name.partition("/")[::2] for name in (*reported, *tagged, *stored))
    return [(collection, item_id) for collection, item_id in names if collection and item_id]


def _catalog_events(
    run_id: str, items: Sequence[tuple[str, str]], stores: TraceStores
) -> list[Event]:
    """Return events from the database's provenance (its record of writes), or from the items.

    A catalog of files has no such record; the writes are then inferred from the items.
    """
    ask, provenance = stores.reach.ask, stores.provenance
    if provenance is None:
        return catalog_events(
            run_id, [write for item in items for write in _writes_of(*item, stores)]
        )
    written = ask(Store.tables, lambda: catalog_events(run_id, provenance().writes_of(run_id)), ())
    return [*written, *ask(Store.tables, lambda: table_events(provenance().tables_of(run_id)), ())]


def _writes_of(collection: str, item_id: str, stores: TraceStores) -> Sequence[CatalogWrite]:
    ask = stores.reach.ask
    runs = ask(
        Store.dagster, lambda: stores.history().tagged(_ITEM_TAG, f"{collection}/{item_id}"), ()
    )
    unpublishing = [run for run in runs if run.job == "unpublish_item"]
    versions = stores.reach.gather(
        Store.catalog, lambda: stores.catalog().versions(collection, item_id)
    )
    return ask(
        Store.catalog,
        lambda: writes_of_versions(
            stores.catalog().item(collection, item_id), versions, unpublishing
        ),
        (),
    )


def _version(event: Event) -> dict[str, Any]:
    fields = (
        "collection",
        "item_id",
        "fingerprint",
        "table_version",
        "replaced_fingerprint",
        "replaced_table_version",
    )
    return {"at_utc": as_text(event.at_utc), **{name: event.details.get(name) for name in fields}}


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else as_text(moment)
