"""The named moments of a run. Their names are stable: queries, alerts and tests are written on them (docs/checkpoints.md).

What belongs here: the names, what each means, and the one way to say one. What stays out: the schema of a line (`logs.py`).
"""

import logging
from enum import StrEnum
from typing import Any

from geo_platform.telemetry.context import named_in_step

_log = logging.getLogger("geo_platform.checkpoint")

Detail = str | int | float | bool | None


class Checkpoint(StrEnum):
    """In the order in which a run meets them; those of trouble last."""

    STAGE_START = "STAGE_START"
    STAGE_PROGRESS = "STAGE_PROGRESS"
    STAGE_DONE = "STAGE_DONE"
    STAGE_FAILED = "STAGE_FAILED"
    MESSAGE_CREATED = "MESSAGE_CREATED"
    COG_VERIFIED = "COG_VERIFIED"
    FEATURES_LOADED = "FEATURES_LOADED"
    SWAP_COMMITTED = "SWAP_COMMITTED"
    ITEM_PUBLISHED = "ITEM_PUBLISHED"
    ITEM_UNCHANGED = "ITEM_UNCHANGED"
    ITEM_UNPUBLISHED = "ITEM_UNPUBLISHED"
    VERSIONS_REMOVED = "VERSIONS_REMOVED"
    QUARANTINED = "QUARANTINED"
    STATE_MISMATCH = "STATE_MISMATCH"
    RUN_STUCK = "RUN_STUCK"
    TELEMETRY_LOST = "TELEMETRY_LOST"


MEANING = {
    Checkpoint.STAGE_START: "A stage begins an attempt.",
    Checkpoint.STAGE_PROGRESS: "A stage says how far it is.",
    Checkpoint.STAGE_DONE: "A stage ended well; its message is stored next.",
    Checkpoint.STAGE_FAILED: "An attempt of a stage ended with an error; error.code says which.",
    Checkpoint.MESSAGE_CREATED: "The message of a stage is stored: the next stage can read it.",
    Checkpoint.COG_VERIFIED: "A COG was written, opened again and compared with the source; it is not in the store yet.",
    Checkpoint.FEATURES_LOADED: "A dataset was read back from the store as it was sent; a table is staged, not published.",
    Checkpoint.SWAP_COMMITTED: "Item and tables were committed in one transaction: readers see the new ones.",
    Checkpoint.ITEM_PUBLISHED: "The catalog holds the item, read back; what it replaced is kept.",
    Checkpoint.ITEM_UNCHANGED: "The catalog held just this item already; nothing was written.",
    Checkpoint.ITEM_UNPUBLISHED: "The item cannot be found any more; it is kept as a version.",
    Checkpoint.VERSIONS_REMOVED: "What was kept long enough is gone for good.",
    Checkpoint.QUARANTINED: "What the run refused lies in quarantine, with the reason beside it; a person releases it.",
    Checkpoint.STATE_MISMATCH: "Two stores say different things of one run; both values are named.",
    Checkpoint.RUN_STUCK: "A run waits or starts for longer than it should; the cause is named.",
    Checkpoint.TELEMETRY_LOST: "Spans cannot be delivered; said once for a process, and no run fails by it.",
}


def report(
    checkpoint: Checkpoint,
    said: str,
    *,
    level: int = logging.INFO,
    duration_ms: float | None = None,
    error_code: str | None = None,
    traceback: BaseException | None = None,
    **details: Detail,
) -> None:
    """Say that `checkpoint` was reached, on the log, which Dagster keeps in the run's events too.

    `said` is a sentence without the name; the text begins with the name, since Dagster's events keep nothing but text, and
    names the file where several share a step.
    Details are figures and names for programs, never secrets.
    """
    fields: dict[str, Any] = {
        "checkpoint": str(checkpoint),
        "said": said,
        "details": {k: v for k, v in details.items() if v is not None},
    }
    if duration_ms is not None:
        fields["duration_ms"] = round(duration_ms, 1)
    if error_code is not None:
        fields["error_code"] = error_code
    _log.log(level, "%s %s%s", checkpoint, named_in_step(), said, extra=fields, exc_info=traceback)
