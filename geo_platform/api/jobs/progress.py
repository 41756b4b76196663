"""Stream the progress of a job as server-sent events: the events of its run in order, then `end`.

    id: <run id>/<position in the log>   Last-Event-ID resumes after this event
    event: STAGE_START                   a checkpoint (docs/checkpoints.md), RUN_QUEUED, ...
    data: {"at_utc": ..., "stage": ..., "said": ..., "run_id": ...}

When a new attempt of the job starts, its events are sent from the first one. The data of `end` is
the job's status. `api/dagster/run_events.py` makes events from log entries.

Called by `routes.py`.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from anyio.to_thread import run_sync

from geo_platform.api.dagster.run_events import placed_events
from geo_platform.api.jobs.responses import status_of_job
from geo_platform.api.jobs.state import JobSnapshot
from geo_platform.api.services import Services
from geo_platform.contracts.submission import JobSubmitted
from geo_platform.errors import StoreUnavailable

ENDED_ID = "/end"
POLL_S = 0.5
# A comment after this time keeps proxies from closing a silent connection.
_KEEPALIVE_S = 15.0


async def progress(
    services: Services, job: JobSubmitted, last_event_id: str, base_url: str = ""
) -> AsyncIterator[str]:
    """Yield the events of a job after the event `last_event_id`, until the job has ended.

    `base_url` is the URL of the HTTP API, for the addresses of files.

    While Dagster is unavailable, only comments are sent; no event is lost.
    """
    run_id, _, position = last_event_id.partition("/")
    sent = int(position) if position.isdecimal() else -1
    entries: list[Mapping[str, Any]] = []
    cursor, last_sent_at = "", time.monotonic()
    yield ": following\n\n"
    while True:
        try:
            snapshot = await run_sync(services.intake.snapshot, job)
            new, cursor = await run_sync(_new_entries, services, snapshot, run_id, cursor)
        except StoreUnavailable:
            yield ": Dagster is unavailable\n\n"
            await asyncio.sleep(POLL_S * 4)
            continue
        if snapshot.run is not None and snapshot.run.run_id != run_id:
            run_id, sent, entries = snapshot.run.run_id, -1, []
        entries += new
        for position_in_log, event in placed_events(entries):
            if position_in_log > sent:
                sent, last_sent_at = position_in_log, time.monotonic()
                yield _event(
                    f"{run_id}/{position_in_log}",
                    event.kind,
                    {**event.document(), "run_id": run_id},
                )
        if not snapshot.state.is_active:
            status = status_of_job(snapshot, base_url)
            yield _event(f"{run_id}{ENDED_ID}", "end", status.model_dump(mode="json"))
            return
        if time.monotonic() - last_sent_at > _KEEPALIVE_S:
            last_sent_at = time.monotonic()
            yield ": keep-alive\n\n"
        await asyncio.sleep(POLL_S)


def _new_entries(
    services: Services, snapshot: JobSnapshot, run_id: str, cursor: str
) -> tuple[list[Mapping[str, Any]], str]:
    """Return the log entries of the job's newest run after the cursor, and the next cursor.

    `run_id` is the run of the cursor. If the job has a newer run, read its log from the beginning.
    """
    if snapshot.run is None:
        return [], ""
    entries: list[Mapping[str, Any]] = []
    after = cursor if snapshot.run.run_id == run_id else ""
    while (page := services.dagster.events(snapshot.run.run_id, after)) is not None:
        entries += page.entries
        after = page.cursor
        if not page.has_more:
            break
    return entries, after


def _event(event_id: str, name: str, data: Mapping[str, Any]) -> str:
    return f"id: {event_id}\nevent: {name}\ndata: {json.dumps(data, default=str)}\n\n"
