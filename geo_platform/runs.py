"""Requests for runs, reports on runs, and the tags of runs, without any import of Dagster.

A run is one execution of a job. `orchestrator/` launches runs from these requests.

Used throughout the application.
"""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Tags of runs. The id that the client gave to its request, and the W3C trace context.
CORRELATION_TAG = "geo_platform/correlation_id"
TRACEPARENT_TAG = "geo_platform/traceparent"

# Runs requested by a sensor for an arrival, which is a complete source in a watched container: the
# name of the watch; for one object, the arrival key (a digest of uri, etag and recipe); for several
# objects, their number.
WATCH_TAG = "geo_platform/watch"
ARRIVAL_TAG = "geo_platform/arrival"
ARRIVALS_TAG = "geo_platform/arrivals"

# Memory class of a run: small, medium or large. dagster.yaml limits how many runs of each class run
# at the same time.
MEMORY_TAG = "geo_platform/memory"

# Runs requested by a client of the HTTP API: the id of the job, the number of the attempt, the id
# of the HTTP request, the subject of the credential.
JOB_TAG = "geo_platform/job_id"
ATTEMPT_TAG = "geo_platform/attempt"
REQUEST_TAG = "geo_platform/request_id"
ASKED_BY_TAG = "geo_platform/asked_by"

# Every run requested by a client of the HTTP API has this tag and value, so that these runs can be
# listed.
ORIGIN_TAG, HTTP_ORIGIN = "geo_platform/origin", "api"

# Dagster's own tags. Runs requested by a sensor: the key that makes the request unique.
RUN_KEY_TAG = "dagster/run_key"

# Runs for one object: the key of the object.
PARTITION_TAG = "dagster/partition"

# Retries: the run that is retried, and the first run of the series of retries.
PARENT_RUN_TAG, ROOT_RUN_TAG = "dagster/parent_run_id", "dagster/root_run_id"

# Ended runs: whether the Dagster daemon launches a retry of this run.
WILL_RETRY_TAG = "dagster/will_retry"

# Launched runs: the host that executes the run, in the form of `local_worker`. The run sets it.
WORKER_TAG = "geo_platform/worker"


def local_worker(run_id: str) -> str:
    """Return `<host>/<run id>`.

    A retry inherits the tags of the run that it retries. The run id shows that an inherited tag is
    that of the earlier run.
    """
    return f"{socket.gethostname()}/{run_id}"


@dataclass(frozen=True)
class RunRequest:
    """A request to run a job, on one partition (the key of the source) or on none.

    `stage_options` maps the name of a stage to its options as JSON values.
    """

    job: str
    partition: str | None
    partitions_name: str | None = None
    stage_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RetryRequest:
    """The request that repeats the part of a run that has no result.

    `files` are the keys of the objects without a result. `request` is None if there are no such
    objects. `is_under_way` is True if the run has not ended, so that these objects are not known
    yet.
    """

    files: tuple[str, ...]
    request: RunRequest | None
    is_under_way: bool = False


@dataclass(frozen=True)
class RunReport:
    """The status of a run.

    `error` is `PlatformError.as_record()`. `result` is the message of the last stage, as JSON
    values. `seconds` and `stage_seconds` (by stage name) are durations.
    """

    run_id: str
    job: str
    status: str
    stage_seconds: Mapping[str, float]
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    partition: str | None = None
    seconds: float = 0.0
    traceback: str | None = None


# An id of this form needs no escaping in a header, a tag or a log line.
_VISIBLE = re.compile(r"[\x21-\x7e]{1,128}")

_TRACE_CONTEXT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
# W3C allows versions after 00 to append more fields.
_LATER_VERSION = re.compile(r"(?!00).{55}-[\x21-\x7e]{0,200}")

CLIENT_ID_FORMATS = {
    CORRELATION_TAG: "1 to 128 visible ASCII characters, without spaces, are an id",
    TRACEPARENT_TAG: "00-TRACE-SPAN-FLAGS of 32, 16 and 2 hexadecimal digits in lower case, "
    "neither id all zeros, is a W3C trace context",
}


@dataclass(frozen=True)
class ClientIds:
    """The ids that a client gave to its request. `ignored` names the tags with invalid values."""

    correlation_id: str = ""
    traceparent: str = ""
    ignored: tuple[str, ...] = ()


def is_client_id(tag: str, value: str) -> bool:
    """Return whether the value has the format that CLIENT_ID_FORMATS describes for the tag."""
    if tag == CORRELATION_TAG:
        return _VISIBLE.fullmatch(value) is not None
    return _TRACE_CONTEXT.match(value) is not None and (
        len(value) == 55 or _LATER_VERSION.fullmatch(value) is not None
    )


def client_ids_of(tags: Mapping[str, str]) -> ClientIds:
    """Return the valid client ids among the tags, for log lines and spans.

    Anyone who launches a run can set its tags. Invalid values are ignored, as W3C Trace Context
    requires.
    """
    client_tags = {tag: tags[tag] for tag in CLIENT_ID_FORMATS if tags.get(tag)}
    valid = {tag: value for tag, value in client_tags.items() if is_client_id(tag, value)}
    ignored = tuple(tag for tag in client_tags if tag not in valid)
    return ClientIds(valid.get(CORRELATION_TAG, ""), valid.get(TRACEPARENT_TAG, ""), ignored)
