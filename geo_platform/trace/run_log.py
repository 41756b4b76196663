"""A run's log in Dagster, told as events of a timeline: what is the same whether it is read off the storage or over GraphQL. Pure.

What belongs here: the platform's own words in it, and which entries are one event. What stays out: what each kind of entry means, which
each way of reading says in its own terms (`geo_platform/orchestrator/run_history.py`, `geo_platform/api/dagster/run_events.py`).
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from geo_platform.telemetry.checkpoints import Checkpoint
from geo_platform.trace.timeline import Event, Store

# Its name, whose it is where several files share a step (`<stage>/<partition>`), and what it says.
_CHECKPOINT = re.compile(rf"({'|'.join(Checkpoint)}) (?:\[(\w+/.+?)\] )?(.*)", re.DOTALL)

_ERROR = re.compile(r"([A-Z][A-Z0-9_]+): ")
_STAGE_BOUNDS = {Checkpoint.STAGE_START, Checkpoint.STAGE_DONE, Checkpoint.STAGE_FAILED}


def checkpoint_event(at_utc: datetime, step: str | None, text: str) -> Event | None:
    """What a run says of itself is a log entry, what others say of it an engine event, both with the same text; None for another."""
    found = _CHECKPOINT.fullmatch(text)
    if found is None:
        return None
    error = error_in(found[3]) if found[1] == Checkpoint.STAGE_FAILED else None
    return Event(at_utc, Store.dagster, found[1], found[3], found[2] or step, error=error)


def error_in(text: str) -> Mapping[str, Any] | None:
    """As much of an error as a text `CODE: message` has."""
    found = _ERROR.match(text)
    return {"code": found[1], "message": text[found.end() :]} if found is not None else None


def in_attempts(entries: Iterable[tuple[str, bool, Event | None]]) -> Iterator[tuple[int, Event]]:
    """Of entries as (step, whether it begins an attempt, event): each event with its place among them, and its attempt.

    A stage's checkpoint and Dagster's step event of the same attempt are one event: at the time and place of the first, with the
    figures of both. A stage that said nothing (it was killed, or is none of ours) has the step's.
    """
    attempts: Counter[str] = Counter()
    events: dict[tuple[str, int, str] | int, tuple[int, Event]] = {}
    for place, (step, begins, event) in enumerate(entries):
        attempts[step] += begins
        if event is None:
            continue
        is_the_step_s = (
            event.kind in _STAGE_BOUNDS and event.stage == step
        )  # and not of a file that shares it
        key = (step, attempts[step], event.kind) if is_the_step_s else place
        first, before = events.get(key, (place, event))
        merged = replace(
            before,
            duration_ms=event.duration_ms or before.duration_ms,
            error=event.error or before.error,
        )
        events[key] = first, replace(merged, attempt=attempts[step] or None)
    yield from events.values()
