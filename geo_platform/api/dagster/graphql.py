"""A typed client of the Dagster webserver's GraphQL API.

The client sends the documents of `documents.py` and translates responses and failures.
`run_events.py` turns the entries of a run's log into events.

Used by `api/dagster`, `api/jobs` and `api`.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import BoundedSemaphore
from typing import Any

import httpx

from geo_platform.api.dagster import documents
from geo_platform.errors import Conflict, NotFound, StoreDenied, StoreUnavailable, UnexpectedFault
from geo_platform.runs import PARTITION_TAG, RunRequest

# The name in workspace.yaml.
LOCATION = "geo_platform"
# The name that Dagster gives the repository of `Definitions`.
REPOSITORY = "__repository__"

TIMEOUT_S = 20.0
# A launch waits for the code location. After a timeout it is unknown whether the run exists.
LAUNCH_TIMEOUT_S = 60.0

_EVENTS_PER_PAGE = 1000
# Fewer than the threads that serve requests: some must remain for requests without Dagster.
_MAX_CONCURRENT_REQUESTS, _WAIT_FOR_SLOT_S = 24, 0.2

# After a read timeout, requests fail at once for this long.
_BACK_OFF_S = 2.0
_PLATFORM_RETRIES = "The platform retries it."
_RETRY_SOON = "Send the request again in a moment."
_START_DAGSTER = (
    "Start the webserver with `geo-platform dev`, or as deploy/ describes. "
    "GEO_PLATFORM_DAGSTER_URL is its address."
)


class LaunchRefused(UnexpectedFault):
    """Dagster refuses to launch this run. A retry does not help."""


class DagsterUnavailable(StoreUnavailable):
    """The webserver did not respond.

    `was_reached`: the request was sent, so Dagster may have executed it.
    """

    def __init__(self, message: str, *, remedy: str, was_reached: bool) -> None:
        super().__init__(message, remedy=remedy, was_reached=was_reached)

    @property
    def was_reached(self) -> bool:
        return bool(self.details["was_reached"])


@dataclass(frozen=True)
class Step:
    """A step of a run.

    `status` is Dagster's: IN_PROGRESS, SUCCESS, FAILURE, SKIPPED; None before the step starts.
    """

    name: str
    status: str | None
    started_at_utc: datetime | None
    ended_at_utc: datetime | None


@dataclass(frozen=True)
class Materialized:
    """A materialization with its metadata as JSON values."""

    stage: str
    at_utc: datetime
    metadata: Mapping[str, Any]
    partition: str = ""


@dataclass(frozen=True)
class RunFound:
    """A run in Dagster, as the client found it.

    `status` is Dagster's own, in upper case. `steps`, `made` (materializations) and `config` are
    filled only by the methods that request them.
    """

    run_id: str
    job: str
    status: str
    tags: Mapping[str, str]
    created_at_utc: datetime
    started_at_utc: datetime | None
    ended_at_utc: datetime | None
    updated_at_utc: datetime | None
    steps: tuple[Step, ...] = ()
    made: tuple[Materialized, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EventPage:
    """Entries of a run's event log as GraphQL returns them, and the cursor of the next page."""

    entries: tuple[Mapping[str, Any], ...]
    cursor: str
    has_more: bool


@dataclass(frozen=True)
class DagsterHealth:
    """Health of Dagster's parts. `daemons` maps each required daemon to whether it is healthy."""

    version: str
    location_is_loaded: bool
    daemons: Mapping[str, bool]


class DagsterGraphql:
    """A client of one webserver. Safe among threads.

    Every method raises DagsterUnavailable: the webserver does not respond. StoreUnavailable: the
    code location or Dagster's storage is unavailable. StoreDenied: the webserver is read-only.
    UnexpectedFault: any other error.
    """

    def __init__(self, url: str, *, transport: httpx.BaseTransport | None = None) -> None:
        self._url = url.rstrip("/")
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=32)
        self._slots = BoundedSemaphore(_MAX_CONCURRENT_REQUESTS)
        self._back_off_until = 0.0
        self._client = httpx.Client(
            timeout=TIMEOUT_S, limits=limits, transport=transport, trust_env=False
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def launch(self, request: RunRequest) -> str:
        """Launch the run and return its id. Raises LaunchRefused: a retry would be refused too."""
        if request.partition is not None and request.partitions_name is not None:
            self._add_partition(request.partitions_name, request.partition)
        tags = {
            **request.tags,
            **({PARTITION_TAG: request.partition} if request.partition is not None else {}),
        }
        metadata = {"tags": [{"key": key, "value": value} for key, value in tags.items()]}
        params = {
            "selector": {
                "jobName": request.job,
                "repositoryName": REPOSITORY,
                "repositoryLocationName": LOCATION,
            },
            "runConfigData": json.dumps(
                {
                    "ops": {
                        stage: {"config": dict(config)}
                        for stage, config in request.stage_options.items()
                    }
                }
            ),
            "mode": "default",
            "executionMetadata": metadata,
        }
        answer = self._ask(documents.LAUNCH, "launchRun", timeout_s=LAUNCH_TIMEOUT_S, params=params)
        if answer["__typename"] == "LaunchRunSuccess":
            return str(answer["run"]["runId"])
        raise _launch_fault(answer)

    def runs(
        self,
        *,
        tags: Mapping[str, str],
        statuses: Sequence[str] = (),
        job: str = "",
        cursor: str = "",
        limit: int = 50,
        steps: bool = False,
        timeout_s: float = TIMEOUT_S,
    ) -> tuple[RunFound, ...]:
        """Return runs that have all these tags, newest first, after the run `cursor`.

        With `steps`, each run has its steps and materializations.
        """
        run_filter: dict[str, Any] = {
            "tags": [{"key": key, "value": value} for key, value in tags.items()]
        }
        if statuses:
            run_filter["statuses"] = list(statuses)
        if job:
            run_filter["pipelineName"] = job
        return self._runs(run_filter, cursor=cursor, limit=limit, steps=steps, timeout_s=timeout_s)

    def run(self, run_id: str, *, timeout_s: float = TIMEOUT_S) -> RunFound | None:
        """Return the run with its steps and materializations, or None if it does not exist."""
        return next(
            iter(self._runs({"runIds": [run_id]}, limit=1, steps=True, timeout_s=timeout_s)), None
        )

    def run_with_config(self, run_id: str) -> RunFound | None:
        """Return the run with its config, or None if there is no such run."""
        answer = self._ask(documents.RUN_CONFIG, "runOrError", runId=run_id)
        return _run(answer) if answer["__typename"] == "Run" else None

    def run_ids(self) -> Iterator[str]:
        """Yield the ids of all runs, newest first."""
        cursor: str | None = None
        while page := self._ask(documents.RUN_IDS, "runIdsOrError", cursor=cursor, limit=500).get(
            "results", []
        ):
            yield from map(str, page)
            cursor = page[-1]

    def events(
        self, run_id: str, cursor: str = "", *, timeout_s: float = TIMEOUT_S
    ) -> EventPage | None:
        """Return the next page of a run's event log, or None if there is no such run."""
        answer = self._ask(
            documents.EVENTS,
            "logsForRun",
            timeout_s=timeout_s,
            runId=run_id,
            cursor=cursor or None,
            limit=_EVENTS_PER_PAGE,
        )
        if answer["__typename"] == "RunNotFoundError":
            return None
        return EventPage(tuple(answer["events"]), str(answer["cursor"]), bool(answer["hasMore"]))

    def all_events(
        self, run_id: str, *, timeout_s: float = TIMEOUT_S
    ) -> tuple[Mapping[str, Any], ...]:
        """Return the whole event log of a run; empty if there is no such run."""
        entries: list[Mapping[str, Any]] = []
        page = self.events(run_id, timeout_s=timeout_s)
        while page is not None:
            entries += page.entries
            page = self.events(run_id, page.cursor, timeout_s=timeout_s) if page.has_more else None
        return tuple(entries)

    def terminate(self, run_id: str, *, at_once: bool = False) -> None:
        """Ask the run to end.

        With `at_once`, mark it as cancelled: for a run that no process executes.

        Raises NotFound: there is no such run. Conflict: the run cannot be ended, for example
        because it has ended already.
        """
        policy = "MARK_AS_CANCELED_IMMEDIATELY" if at_once else "SAFE_TERMINATE"
        answer = self._ask(documents.TERMINATE, "terminateRun", runId=run_id, policy=policy)
        if answer["__typename"] == "RunNotFoundError":
            raise NotFound(f"There is no run {run_id!r}.")
        if answer["__typename"] == "TerminateRunFailure":
            remedy = "Check its status: it may have ended already."
            raise Conflict(
                f"Cannot terminate the run {run_id}: {_first_line(answer)}", remedy=remedy
            )

    def health(self) -> DagsterHealth:
        """Return the state of the daemons and the code location."""
        response = self._send(documents.HEALTH, {})
        entries = response["workspaceOrError"].get("locationEntries", [])
        loaded = [
            each for each in entries if each["name"] == LOCATION and each["loadStatus"] == "LOADED"
        ]
        is_loaded = any(
            (each["locationOrLoadError"] or {}).get("__typename") == "RepositoryLocation"
            for each in loaded
        )
        statuses = response["instance"]["daemonHealth"]["allDaemonStatuses"]
        daemons = {
            each["daemonType"]: bool(each["healthy"]) for each in statuses if each["required"]
        }
        return DagsterHealth(str(response["version"]), is_loaded, daemons)

    @contextmanager
    def _slot(self, document: str) -> Iterator[None]:
        """Hold one of the request slots. Raises DagsterUnavailable: the webserver is slow."""
        # Launches come from the dispatcher's few threads and need no slot.
        if document in (documents.LAUNCH, documents.ADD_PARTITION):
            yield
            return
        backs_off = time.monotonic() < self._back_off_until
        if backs_off or not self._slots.acquire(timeout=_WAIT_FOR_SLOT_S):
            raise DagsterUnavailable(
                "Dagster's webserver is slow: earlier requests still wait for it.",
                remedy=_RETRY_SOON,
                was_reached=False,
            )
        try:
            yield
        except httpx.ReadTimeout:
            self._back_off_until = time.monotonic() + _BACK_OFF_S
            raise
        finally:
            self._slots.release()

    def _add_partition(self, name: str, key: str) -> None:
        """Add the partition. An existing partition is not changed."""
        repository = {"repositoryName": REPOSITORY, "repositoryLocationName": LOCATION}
        self._ask(
            documents.ADD_PARTITION,
            "addDynamicPartition",
            timeout_s=LAUNCH_TIMEOUT_S,
            name=name,
            key=key,
            repository=repository,
        )

    def _runs(
        self,
        run_filter: Mapping[str, Any],
        *,
        cursor: str = "",
        limit: int,
        steps: bool,
        timeout_s: float,
    ) -> tuple[RunFound, ...]:
        document = documents.RUNS_WITH_STEPS if steps else documents.RUNS
        answer = self._ask(
            document,
            "runsOrError",
            timeout_s=timeout_s,
            filter=run_filter,
            cursor=cursor or None,
            limit=limit,
        )
        return tuple(map(_run, answer.get("results", ())))

    def _ask(
        self, document: str, answer_name: str, /, *, timeout_s: float = TIMEOUT_S, **variables: Any
    ) -> Mapping[str, Any]:
        """Send a document and return the value of its field `answer_name`.

        Raises StoreDenied, StoreUnavailable, UnexpectedFault: the value is an error of Dagster.
        """
        answer: Mapping[str, Any] = self._send(document, variables, timeout_s=timeout_s)[
            answer_name
        ]
        if answer["__typename"] == "UnauthorizedError":
            remedy = "Set GEO_PLATFORM_DAGSTER_URL to a webserver that is not read-only."
            raise StoreDenied("Dagster's webserver is read-only.", remedy=remedy)
        if answer["__typename"] == "PythonError":
            raise _python_fault(answer)
        return answer

    def _send(
        self, document: str, variables: Mapping[str, Any], *, timeout_s: float = TIMEOUT_S
    ) -> Mapping[str, Any]:
        try:
            with self._slot(document):
                response = self._client.post(
                    f"{self._url}/graphql",
                    json={"query": document, "variables": variables},
                    timeout=timeout_s,
                )
        except httpx.HTTPError as error:
            was_reached = not isinstance(
                error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
            )
            message = f"Dagster's webserver did not answer: {type(error).__name__}."
            raise DagsterUnavailable(
                message, remedy=_START_DAGSTER, was_reached=was_reached
            ) from error
        try:
            content = response.json()
        except ValueError as error:
            message = f"Dagster's webserver answered with status {response.status_code}."
            raise DagsterUnavailable(message, remedy=_START_DAGSTER, was_reached=True) from error
        if content.get("errors"):
            raise UnexpectedFault(
                f"Dagster refused a query: {content['errors'][0].get('message', '')}"
            )
        data: Mapping[str, Any] = content["data"]
        return data


# Dagster's errors that mean that its code location or its storage is unavailable.
_TRANSIENT_ERRORS = (
    "DagsterUserCodeUnreachableError",
    "DagsterUserCodeProcessError",
    "DagsterCodeLocationLoadError",
    "OperationalError",
    "StorageError",
)


def _python_fault(answer: Mapping[str, Any]) -> StoreUnavailable | UnexpectedFault:
    cause = f"{answer.get('className') or 'Error'}: {_first_line(answer)}"
    if any(name in cause for name in _TRANSIENT_ERRORS):
        return StoreUnavailable(
            "Dagster's code location or storage is unavailable.",
            remedy=_PLATFORM_RETRIES,
            cause=cause,
        )
    return UnexpectedFault(f"Dagster failed: {cause}")


def _launch_fault(answer: Mapping[str, Any]) -> StoreUnavailable | LaunchRefused:
    """Return the error of a refused launch.

    A job that is not found is transient: the code location is still loading, or is unavailable.
    """
    if answer["__typename"] == "PipelineNotFoundError":
        return StoreUnavailable(
            "Dagster's code location does not serve this job now.", remedy=_PLATFORM_RETRIES
        )
    faults = "; ".join(
        str(each.get("message", "")).strip() for each in answer.get("errors", ())
    ) or _first_line(answer)
    return LaunchRefused(f"Dagster refuses to launch the run: {answer['__typename']}: {faults}")


def _first_line(answer: Mapping[str, Any]) -> str:
    """Return the message without the traceback that follows it."""
    return str(answer.get("message", "")).strip().split("\n")[0]


def _run(found: Mapping[str, Any]) -> RunFound:
    return RunFound(
        run_id=found["runId"],
        job=found["jobName"],
        status=found["status"],
        tags={tag["key"]: tag["value"] for tag in found["tags"]},
        created_at_utc=datetime.fromtimestamp(found["creationTime"], UTC),
        started_at_utc=_moment(found["startTime"]),
        ended_at_utc=_moment(found["endTime"]),
        updated_at_utc=_moment(found["updateTime"]),
        steps=tuple(map(_step, found.get("stepStats", ()))),
        made=tuple(map(_made, found.get("assetMaterializations", ()))),
        config=found.get("runConfig") or {},
    )


def _step(found: Mapping[str, Any]) -> Step:
    return Step(
        found["stepKey"], found["status"], _moment(found["startTime"]), _moment(found["endTime"])
    )


def _made(found: Mapping[str, Any]) -> Materialized:
    # Dagster gives an event's time as text, in milliseconds.
    moment = datetime.fromtimestamp(float(found["timestamp"]) / 1000, UTC)
    stage = "/".join((found["assetKey"] or {}).get("path", ())) or str(found["stepKey"])
    return Materialized(
        stage, moment, metadata_of(found["metadataEntries"]), found["partition"] or ""
    )


def metadata_of(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return metadata as JSON values by label, without Markdown and Dagster's own kinds."""
    return {entry["label"]: _value(entry) for entry in entries if entry["__typename"] in _VALUES}


_VALUES: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "TextMetadataEntry": lambda entry: entry["text"],
    "UrlMetadataEntry": lambda entry: entry["url"],
    "PathMetadataEntry": lambda entry: entry["path"],
    "JsonMetadataEntry": lambda entry: json.loads(entry["jsonString"]),
    "IntMetadataEntry": lambda entry: int(entry["intRepr"]),
    "FloatMetadataEntry": lambda entry: float(entry["floatRepr"]),
    "BoolMetadataEntry": lambda entry: entry["boolValue"],
    "TimestampMetadataEntry": lambda entry: entry["timestamp"],
    "PipelineRunMetadataEntry": lambda entry: entry["runId"],
    "TableMetadataEntry": lambda entry: [
        json.loads(record) for record in entry["table"]["records"]
    ],
}


def _value(entry: Mapping[str, Any]) -> Any:
    return _VALUES[entry["__typename"]](entry)


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
