"""What is asked of a run and what is said of it, in terms that need no orchestrator.

What belongs here: plain values that cross between the faces (CLI, API) and the launching of jobs (`schedules/`).
"""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# The run's tag that holds the id by which a client knows its request.
CORRELATION_TAG = "geo_platform/correlation_id"

# The run's tag that holds the client's W3C trace context.
TRACEPARENT_TAG = "geo_platform/traceparent"

# Of a run that a sensor asked for: the watch whose objects it takes.
WATCH_TAG = "geo_platform/watch"

# Of a run for one object: the key of its arrival, a digest of uri, etag and recipe.
ARRIVAL_TAG = "geo_platform/arrival"

# Of a run for several objects: how many.
ARRIVALS_TAG = "geo_platform/arrivals"

# Of a run that a sensor asked for: small, medium or large; dagster.yaml says how many of each run
# at once.
MEMORY_TAG = "geo_platform/memory"

# Of a run that a client of the HTTP face asked for: the job's id.
JOB_TAG = "geo_platform/job_id"

# Of such a run: which of the job's attempts it is.
ATTEMPT_TAG = "geo_platform/attempt"

# Of such a run: the id of the HTTP request that asked for it.
REQUEST_TAG = "geo_platform/request_id"

# Of such a run: the subject of the credential that asked for it.
ASKED_BY_TAG = "geo_platform/asked_by"

# Of such a run, with this value: all of them have it, so that they can be listed.
ORIGIN_TAG, OF_HTTP_FACE = "geo_platform/origin", "api"

# Dagster's own, as the next ones: of a run that a sensor asked for, the key by which it asks once.
RUN_KEY_TAG = "dagster/run_key"

# Of a run for one object: its key.
PARTITION_TAG = "dagster/partition"

# Of a run that does again what another one did not: that run, and the first of them.
PARENT_RUN_TAG, ROOT_RUN_TAG = "dagster/parent_run_id", "dagster/root_run_id"

# Of a run that ended: whether the daemon makes another one in its place.
WILL_RETRY_TAG = "dagster/will_retry"

# Of a run that was launched: which host executes it, as `worker_here` says it; noted by the run
# itself.
WORKER_TAG = "geo_platform/worker"


def worker_here(run_id: str) -> str:
    """`<host>/<run id>`. With the run's id, since a run that is executed again has the tags of the one before it."""
    return f"{socket.gethostname()}/{run_id}"


@dataclass(frozen=True)
class RunRequest:
    """One job on one partition. `stage_options` maps a stage's name to its parameters as JSON values."""

    job: str
    partition: str | None
    partitions_name: str | None = None
    stage_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RetryRequest:
    """What a run left to do. `files`: keys of the objects without a result; `request` is None where there are none.

    `is_under_way`: the run has not ended, so that what it leaves is not known yet.
    """

    files: tuple[str, ...]
    request: RunRequest | None
    is_under_way: bool = False


@dataclass(frozen=True)
class RunReport:
    """How a run stands or ended. `error` is `PlatformError.as_record()`; `result` is the last message as JSON values."""

    run_id: str
    job: str
    status: str
    stage_seconds: Mapping[str, float]
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    partition: str | None = None
    seconds: float = 0.0
    traceback: str | None = None


# So it can be a header, a tag and a field of a log line as it is.
_VISIBLE = re.compile(r"[\x21-\x7e]{1,128}")

_TRACE_CONTEXT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
# W3C lets versions after 00 say more behind what they have of it.
_LATER_VERSION = re.compile(r"(?!00).{55}-[\x21-\x7e]{0,200}")

FORM_OF_CLIENT_IDS = {
    CORRELATION_TAG: "1 to 128 visible ASCII characters, without spaces, are an id",
    TRACEPARENT_TAG: "00-TRACE-SPAN-FLAGS of 32, 16 and 2 hexadecimal digits in lower case, neither id all zeros, is a W3C trace context",
}


@dataclass(frozen=True)
class ClientIds:
    """What a client calls its request, empty where it calls it nothing; `ignored` are the tags that hold something else."""

    correlation_id: str = ""
    traceparent: str = ""
    ignored: tuple[str, ...] = ()


def is_client_id(tag: str, value: str) -> bool:
    """Whether the tag may have the value, as FORM_OF_CLIENT_IDS says it."""
    if tag == CORRELATION_TAG:
        return _VISIBLE.fullmatch(value) is not None
    return _TRACE_CONTEXT.match(value) is not None and (
        len(value) == 55 or _LATER_VERSION.fullmatch(value) is not None
    )


def client_ids_of(tags: Mapping[str, str]) -> ClientIds:
    """The ids that may go onto log lines and spans. Anybody who launches may set the tags: what is no id is ignored, as W3C asks."""
    given = {tag: tags[tag] for tag in FORM_OF_CLIENT_IDS if tags.get(tag)}
    known = {tag: value for tag, value in given.items() if is_client_id(tag, value)}
    ignored = tuple(tag for tag in given if tag not in known)
    return ClientIds(known.get(CORRELATION_TAG, ""), known.get(TRACEPARENT_TAG, ""), ignored)
