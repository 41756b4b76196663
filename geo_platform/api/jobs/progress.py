"""A job's progress as server-sent events: each event of its run once, in order, then how it ended.

What belongs here: following a run's log, and the lines of the stream. What stays out: what the log's entries mean (`run_events.py`).

    id: <run id>/<place in the log>      Last-Event-ID goes on after it, in any process
    event: STAGE_START                   a checkpoint (docs/checkpoints.md), or RUN_QUEUED, RUN_STARTED, ...
    data: {"at_utc": ..., "stage": ..., "said": ..., "run_id": ...}

Another attempt of the job is told from its beginning. The last event is `end`; its data is the job's status.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from anyio.to_thread import run_sync

from geo_platform.api.dagster.run_events import placed_events
from geo_platform.api.jobs.responses import status_of_job
from geo_platform.api.jobs.state import Standing
from geo_platform.api.services import Services
from geo_platform.contracts.submission import JobSubmitted
from geo_platform.errors import StoreUnavailable

ENDED_ID = "/end"
POLL_S = 0.5
_SIGN_OF_LIFE_S = 15.0


async def progress(services: Services, job: JobSubmitted, last_event_id: str) -> AsyncIterator[str]:
    """Lines until the job has ended. While Dagster is away nothing is told, and nothing is missed."""
    run_id, _, place = last_event_id.partition("/")
    told = int(place) if place.isdecimal() else -1
    entries: list[Mapping[str, Any]] = []
    cursor, spoken = "", time.monotonic()
    yield ": following\n\n"
    while True:
        try:
            standing = await run_sync(services.intake.standing, job)
            new, cursor = await run_sync(_new_entries, services, standing, run_id, cursor)
        except StoreUnavailable:
            yield ": Dagster does not answer\n\n"
            await asyncio.sleep(POLL_S * 4)
            continue
        if standing.run is not None and standing.run.run_id != run_id:
            run_id, told, entries = standing.run.run_id, -1, []
        entries += new
        for at, event in placed_events(entries):
            if at > told:
                told, spoken = at, time.monotonic()
                yield _lines(f"{run_id}/{at}", event.kind, {**event.document(), "run_id": run_id})
        if not standing.state.is_under_way:
            yield _lines(
                f"{run_id}{ENDED_ID}", "end", status_of_job(standing).model_dump(mode="json")
            )
            return
        if time.monotonic() - spoken > _SIGN_OF_LIFE_S:
            spoken = time.monotonic()
            yield ": still\n\n"
        await asyncio.sleep(POLL_S)


def _new_entries(
    services: Services, standing: Standing, run_id: str, cursor: str
) -> tuple[list[Mapping[str, Any]], str]:
    """Those after the cursor; of another run than that of the cursor, from its beginning."""
    if standing.run is None:
        return [], ""
    found: list[Mapping[str, Any]] = []
    after = cursor if standing.run.run_id == run_id else ""
    while (page := services.dagster.events(standing.run.run_id, after)) is not None:
        found += page.entries
        after = page.cursor
        if not page.has_more:
            break
    return found, after


def _lines(event_id: str, name: str, data: Mapping[str, Any]) -> str:
    return f"id: {event_id}\nevent: {name}\ndata: {json.dumps(data, default=str)}\n\n"
