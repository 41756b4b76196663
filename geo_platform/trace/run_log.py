"""Turn the entries of a run's Dagster log into events of a timeline. Pure.

`orchestrator/run_history.py` reads the entries from Dagster's storage, `api/dagster/run_events.py`
over GraphQL. Events are made from the fields of an entry; its sentence is never parsed. An entry
without fields becomes a plain log line.

Called by `api/dagster/run_events.py` and `orchestrator/run_history.py`.
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
    """Return the event of a checkpoint.

    In a step that processes several files, the event's stage is `<stage>/<partition>`.
    """
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
    """Return the record of the PlatformError in a failure's metadata.

    If the metadata has none, return the record of an UnexpectedFault with the message `text`.
    """
    if "code" in metadata:
        return {name: metadata.get(name) for name in _RECORD}
    return UnexpectedFault(
        (text or "").strip() or "The stage failed without a message."
    ).as_record()


def in_attempts(entries: Iterable[tuple[str, bool, Event | None]]) -> Iterator[tuple[int, Event]]:
    """Number the attempts of each step, and join the two events of an attempt.

    Takes entries of (step, whether the entry starts an attempt, event) and yields (index of the
    entry, event).

    A stage's checkpoint and Dagster's step event of the same attempt become one event with the
    values of both, at the index of the first of them. If the stage reported nothing (it was killed,
    or is not a stage of the platform), only the step event remains. A STAGE_RETRIED event gets the
    error of the failed attempt.
    """
    attempts: Counter[str] = Counter()
    errors: dict[tuple[str, int], Mapping[str, Any]] = {}
    events: dict[tuple[str, int, str] | int, tuple[int, Event]] = {}
    for index, (step, starts_attempt, event) in enumerate(entries):
        attempts[step] += starts_attempt
        if event is None:
            continue
        # A checkpoint of one file in a step of several files is not about the whole step.
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
