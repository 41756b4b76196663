"""What is asked of a run and what is said of it, in terms that need no orchestrator.

What belongs here: plain values that cross between the faces (CLI, API) and the launching of jobs (`schedules/`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CORRELATION_TAG = "geo_platform/correlation_id"
"""The run's tag that holds the id by which a client knows its request."""

TRACEPARENT_TAG = "geo_platform/traceparent"
"""The run's tag that holds the client's W3C trace context."""


@dataclass(frozen=True)
class RunRequest:
    """One job on one partition. `stage_options` maps a stage's name to its parameters as JSON values."""

    job: str
    partition: str | None
    partitions_name: str | None = None
    stage_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


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
