"""Who asked for a run: read off its tags. Pure.

What belongs here: which tag means whom. What stays out: setting any of them (`schedules/launch.py`, Dagster).
"""

from collections.abc import Mapping

from geo_platform.runs import ASKED_BY_TAG, OF_HTTP_FACE, ORIGIN_TAG, PARENT_RUN_TAG, REQUEST_TAG

_NAMED = {
    "dagster/schedule_name": "the schedule {}",
    "dagster/sensor_name": "the sensor {}",
    "dagster/backfill": "the backfill {}",
}


def launched_by(tags: Mapping[str, str]) -> str:
    """For a person: a schedule, a sensor, a client of the HTTP face, a command, the UI, the daemon's retries, or whoever spoke GraphQL.

    A run that is executed again has the tags of the run before it.
    """
    before = tags.get(PARENT_RUN_TAG)
    return _who(tags) if before is None else f"{_who(tags)}, as another attempt at run {before}"


def _who(tags: Mapping[str, str]) -> str:
    is_launched = ".dagster/repository" in tags
    if PARENT_RUN_TAG in tags and "dagster/retry_number" in tags:
        return "the daemon"
    if (tag := next((tag for tag in _NAMED if tag in tags), None)) is not None:
        return _NAMED[tag].format(tags[tag])
    if tags.get(ORIGIN_TAG) == OF_HTTP_FACE:
        return f"the HTTP face for {tags.get(ASKED_BY_TAG, 'somebody')}, request {tags.get(REQUEST_TAG, 'without an id')}"
    if "geo_platform/process" in tags and not is_launched:
        return f"the command line on {tags.get('geo_platform/host', 'an unnamed host')}"
    if tags.get("dagster/from_ui") == "true":
        return "the Dagster UI"
    return "GraphQL" if is_launched else "a program in its own process"
