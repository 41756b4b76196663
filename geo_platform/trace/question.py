"""Interpret an id by its form. If several interpretations are possible, this is their order:

    run                a run's id, its 32 digits without hyphens (a trace id), or its first 8 or
                       more characters
    URL                file:, http(s):, pgstac:, postgresql: of an object, an item or a table
    container/key      an object
    collection/id      an item
    64 hex digits      a job of the HTTP API
    schema.table       a table, or the name of a table version, as in geo_staging and geo_replaced
    client's id        the tag geo_platform/correlation_id, a whole traceparent, or a request id
    item's id          an item of any collection

The module also describes who launched a run, from the run's tags. Pure functions; `find.py` reads
the stores.

Called by `answer.py`, `cli/commands/trace.py` and `find.py`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from geo_platform.ports import BRONZE, MESSAGES, QUARANTINE, SILVER
from geo_platform.runs import ASKED_BY_TAG, HTTP_ORIGIN, ORIGIN_TAG, PARENT_RUN_TAG, REQUEST_TAG

_NAMED = {
    "dagster/schedule_name": "the schedule {}",
    "dagster/sensor_name": "the sensor {}",
    "dagster/backfill": "the backfill {}",
}


def launched_by(tags: Mapping[str, str]) -> str:
    """Return a text for people: who launched the run (a sensor, an API client, a command ...)."""
    parent = tags.get(PARENT_RUN_TAG)
    return _launcher(tags) if parent is None else f"{_launcher(tags)}, as a retry of run {parent}"


def _launcher(tags: Mapping[str, str]) -> str:
    # A retried run also has the tags of the run before it, so the order of these checks matters.
    is_launched = ".dagster/repository" in tags
    if PARENT_RUN_TAG in tags and "dagster/retry_number" in tags:
        return "the daemon"
    if (tag := next((tag for tag in _NAMED if tag in tags), None)) is not None:
        return _NAMED[tag].format(tags[tag])
    if tags.get(ORIGIN_TAG) == HTTP_ORIGIN:
        client, request = tags.get(ASKED_BY_TAG, "unknown"), tags.get(REQUEST_TAG, "without an id")
        return f"the HTTP API for {client}, request {request}"
    if "geo_platform/process" in tags and not is_launched:
        return f"the command line on {tags.get('geo_platform/host', 'an unnamed host')}"
    if tags.get("dagster/from_ui") == "true":
        return "the Dagster UI"
    return "GraphQL" if is_launched else "a program in its own process"


_CONTAINERS = (BRONZE, SILVER, QUARANTINE, MESSAGES)
_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_RUN_PREFIX = re.compile(r"[0-9a-f]{8}(-[0-9a-f-]{0,27})?")
_JOB_ID = re.compile(r"[0-9a-f]{64}")
_TABLE = re.compile(r'"?([^."/\s]+)"?\."?([^"/]+)"?')
_VERSION = re.compile(r'"?(.+_[0-9a-f]{8}_[0-9a-f]{8})"?')
_ITEM_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_SCHEMES = {"file", "http", "https", "postgresql", "pgstac"}


class Subject(StrEnum):
    """Kinds of things that an id can name."""

    run = "run"
    blob = "blob"
    item = "item"
    table = "table"
    job = "job"
    client = "client"


@dataclass(frozen=True)
class Reading:
    """One interpretation of an id.

    `place` is a container, collection or schema; it is empty if the id names none. `address` is the
    URL if the id is the URL of an object; the stored object must have the same URL.
    """

    subject: Subject
    name: str
    place: str = ""
    address: str = ""

    @property
    def description(self) -> str:
        """A text for people: the kind and the name of the thing."""
        separator = "." if self.subject is Subject.table else "/"
        return f"{_LABELS[self.subject]} {self.place}{separator if self.place else ''}{self.name}"


_LABELS = {
    Subject.run: "run",
    Subject.blob: "object",
    Subject.item: "item",
    Subject.table: "table",
    Subject.job: "job",
    Subject.client: "client's id",
}


def readings(text: str, only: Subject | None = None) -> tuple[Reading, ...]:
    """Return the interpretations of `text` in order; with `only`, those of this kind."""
    unique = dict.fromkeys(_readings(text.strip()))
    return tuple(reading for reading in unique if only in (None, reading.subject))


def without_secrets(text: str) -> str:
    """Return the id without the secrets that a URL may contain: a password, a SAS token."""
    parts = _split(text.strip())
    if parts is None:
        return text.strip()
    query = f"?table={table}" if (table := _table_parameter(parts)) else ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{query}"


def is_run_id(text: str) -> bool:
    """Return whether `text` is a complete run id."""
    return _RUN_ID.fullmatch(text) is not None


def _readings(text: str) -> Iterator[Reading]:
    yield from _runs(text.lower())
    if _JOB_ID.fullmatch(text):
        yield Reading(Subject.job, text)
    parts = _split(text)
    if parts is not None:
        yield from _addresses(parts)
    else:
        yield from _names(text)
    if text:
        yield Reading(Subject.client, without_secrets(text))
    if _ITEM_ID.fullmatch(text):
        yield Reading(Subject.item, text)


def _runs(text: str) -> Iterator[Reading]:
    if _TRACE_ID.fullmatch(text):
        yield Reading(
            Subject.run, "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
        )
    elif _RUN_ID.fullmatch(text) or _RUN_PREFIX.fullmatch(text):
        yield Reading(Subject.run, text)


def _names(text: str) -> Iterator[Reading]:
    first, slash, rest = text.partition("/")
    if slash and rest and first in _CONTAINERS:
        yield Reading(Subject.blob, rest, first)
    if slash and _ITEM_ID.fullmatch(first) and _ITEM_ID.fullmatch(rest):
        yield Reading(Subject.item, rest, first)
    yield from _tables(text)


def _tables(text: str) -> Iterator[Reading]:
    version, table = _VERSION.fullmatch(text), _TABLE.fullmatch(text)
    if table is not None:
        yield Reading(Subject.table, table[2], table[1])
    elif version is not None:
        yield Reading(Subject.table, version[1])


def _addresses(parts: SplitResult) -> Iterator[Reading]:
    segments = [unquote(segment) for segment in parts.path.split("/") if segment]
    table = _table_parameter(parts)
    if parts.scheme == "postgresql":
        yield from _tables(table or "")
    elif (
        parts.scheme == "file"
        and len(segments) >= 4
        and segments[-4] == "catalog"
        and segments[-1] == f"{segments[-2]}.json"
    ):
        yield Reading(Subject.item, segments[-2], segments[-3])
    elif len(segments) >= 4 and segments[-4] == "collections" and segments[-2] == "items":
        yield Reading(Subject.item, segments[-1], segments[-3])
    else:
        yield from _objects(parts, segments)


def _objects(parts: SplitResult, segments: list[str]) -> Iterator[Reading]:
    """Yield the objects that the URL may name.

    In a URL of Azure, the container is the first segment, or the second if the account is in the
    path. The container may have the deployment's prefix.
    """
    places = (
        range(len(segments) - 1) if parts.scheme == "file" else range(min(2, len(segments) - 1))
    )
    for place in places:
        for container in _CONTAINERS:
            if segments[place] == container or (
                parts.scheme != "file" and segments[place].endswith(f"-{container}")
            ):
                key = "/".join(segments[place + 1 :])
                yield Reading(
                    Subject.blob,
                    key,
                    container,
                    f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}",
                )


def _table_parameter(parts: SplitResult) -> str | None:
    return next(iter(parse_qs(parts.query).get("table", [])), None)


def _split(text: str) -> SplitResult | None:
    """Return the parts of a URL of a known scheme, or None."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    return parts if parts.scheme in _SCHEMES and "://" in text else None
