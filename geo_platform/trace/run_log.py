"""Turn the entries of a run's Dagster log into events of a timeline. Pure.

`orchestrator/run_history.py` reads the entries from storage, `api/dagster/run_events.py` over
GraphQL. Only fields are read, never a sentence. An entry without fields is a plain log line, also
in runs recorded before checkpoints had fields.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from geo_platform.errors import UnexpectedFault
from geo_platform.telemetry.checkpoints import Checkpoint, CheckpointFields
from geo_platform.trace.timeline import Event, Kind, Store

_RECORD = ("code", "message", "remedy", "retryable", "user_fixable")
_STAGE_BOUNDS = {Checkpoint.STAGE_START, Checkpoint.STAGE_DONE, Checkpoint.STAGE_FAILED}


def checkpoint_event(
    at_utc: datetime, step: str | None, text: str, fields: CheckpointFields
) -> Event:
    """Return the event of a checkpoint; in a step of several files, of `<stage>/<partition>`."""
    shares_step = step is not None and fields.partition and fields.stage not in ("", step)
    return Event(
        at_utc,
        Store.dagster,
        fields.checkpoint,
        fields.sentence(text),
        f"{fields.stage}/{fields.partition}" if shares_step else step,
        duration_ms=fields.duration_ms,
        error=fields.error if fields.checkpoint is Checkpoint.STAGE_FAILED else None,
        details=fields.details,
    )


def step_error_record(metadata: Mapping[str, Any], text: str | None) -> Mapping[str, Any]:
    """Return the platform's error in a failure's metadata, or else an UnexpectedFault of `text`."""
    if "code" in metadata:
        return {name: metadata.get(name) for name in _RECORD}
    return UnexpectedFault(
        (text or "").strip() or "The stage failed without a message."
    ).as_record()


def in_attempts(entries: Iterable[tuple[str, bool, Event | None]]) -> Iterator[tuple[int, Event]]:
    """Number the attempts of each step.

    Takes entries of (step, whether it starts an attempt, event) and yields (index of the entry,
    event).

    A stage's checkpoint and Dagster's step event of the same attempt become one event at the index
    of the first, with the values of both. If a stage reported nothing (it was killed, or is not the
    platform's), there is only the step's event. A retry has the error of the attempt before it.
    """
    attempts: Counter[str] = Counter()
    errors: dict[tuple[str, int], Mapping[str, Any]] = {}
    events: dict[tuple[str, int, str] | int, tuple[int, Event]] = {}
    for index, (step, starts_attempt, event) in enumerate(entries):
        attempts[step] += starts_attempt
        if event is None:
            continue
        # A checkpoint of a file that shares the step is not the step's own.
        is_of_step = event.kind in _STAGE_BOUNDS and event.stage == step
        attempt = (step, attempts[step])
        if is_of_step and event.error:
            errors[attempt] = event.error
        if event.kind == Kind.STAGE_RETRIED:
            event = replace(event, error=errors.get(attempt))
        key = (*attempt, event.kind) if is_of_step else index
        first, before = events.get(key, (index, event))
        merged = replace(
            before,
            duration_ms=event.duration_ms or before.duration_ms,
            error=event.error or before.error,
        )
        events[key] = first, replace(merged, attempt=attempts[step] or None)
    yield from events.values()
