"""Dagster as the HTTP face sees it: its webserver's GraphQL, asked by typed methods.

What belongs here: sending the documents (`dagster_documents.py`), what each answer means, and which fault each failure is. What stays
out: what a job is made of its runs (`job_state.py`), and what a run's events say (`run_events.py`).
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
from geo_platform.runs import PARTITION_TAG

LOCATION = "geo_platform"
# As workspace.yaml names the one, and Dagster the other.
REPOSITORY = "__repository__"

TIMEOUT_S = 20.0
# Launching waits for the code location; who gives up too early does not know whether there is a
# run.
LAUNCH_TIMEOUT_S = 60.0

_EVENTS_AT_ONCE = 1000
# Fewer than the threads that answer requests, so that some are left for those that do not need
# Dagster.
_QUESTIONS_AT_ONCE, _TURN_WITHIN_S = 24, 0.2

# So long nobody waits for a webserver that somebody waited for in vain.
_SILENT_S = 2.0
_AGAIN = "It is tried again by itself."
_AGAIN_SOON = "Ask again in a moment."
_AWAY = "The UI's webserver is started with `geo-platform dev`, or as deploy/ says; GEO_PLATFORM_DAGSTER_URL names its address."


class LaunchRefused(UnexpectedFault):
    """Dagster will not launch this, however often it is asked."""


class DagsterAway(StoreUnavailable):
    """The webserver did not answer, whatever it was asked. `was_reached`: it may have done what it was asked to."""

    def __init__(self, message: str, *, remedy: str, was_reached: bool) -> None:
        super().__init__(message, remedy=remedy, was_reached=was_reached)

    @property
    def was_reached(self) -> bool:
        return bool(self.details["was_reached"])


@dataclass(frozen=True)
class Launch:
    """A run to be launched. `options` are each stage's, by its name."""

    job: str
    options: Mapping[str, Mapping[str, Any]]
    tags: Mapping[str, str]
    partition: str | None = None
    partitions_name: str | None = None


@dataclass(frozen=True)
class Step:
    """`status` is Dagster's: IN_PROGRESS, SUCCESS, FAILURE, SKIPPED; None where it has not begun."""

    name: str
    status: str | None
    started_at_utc: datetime | None
    ended_at_utc: datetime | None


@dataclass(frozen=True)
class Materialized:
    """What a stage said of what it made."""

    stage: str
    at_utc: datetime
    metadata: Mapping[str, Any]
    partition: str = ""


@dataclass(frozen=True)
class RunFound:
    """A run as Dagster has it. `status` is Dagster's own word; steps and materializations where they were asked for."""

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
    """Entries of a run's log as GraphQL has them, and where the next page begins."""

    entries: tuple[Mapping[str, Any], ...]
    cursor: str
    has_more: bool


@dataclass(frozen=True)
class DagsterHealth:
    """What the webserver says of the rest. `daemons`: name -> healthy, of those that are needed."""

    version: str
    location_is_loaded: bool
    daemons: Mapping[str, bool]


class DagsterGraphql:
    """One webserver. Safe among threads.

    Errors: StoreUnavailable where it does not answer, StoreDenied where it refuses to change anything, UnexpectedFault for an
    answer that nobody foresaw.
    """

    def __init__(self, url: str, *, transport: httpx.BaseTransport | None = None) -> None:
        self._url = url.rstrip("/")
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=32)
        self._turns = BoundedSemaphore(_QUESTIONS_AT_ONCE)
        self._silent_until = 0.0
        self._client = httpx.Client(
            timeout=TIMEOUT_S, limits=limits, transport=transport, trust_env=False
        )

    def close(self) -> None:
        self._client.close()

    def launch(self, asked: Launch) -> str:
        """Ask for the run; returns its id. Raises LaunchRefused where asking again would not help."""
        if asked.partition is not None and asked.partitions_name is not None:
            self._add_partition(asked.partitions_name, asked.partition)
        tags = {
            **asked.tags,
            **({PARTITION_TAG: asked.partition} if asked.partition is not None else {}),
        }
        metadata = {"tags": [{"key": key, "value": value} for key, value in tags.items()]}
        params = {
            "selector": {
                "jobName": asked.job,
                "repositoryName": REPOSITORY,
                "repositoryLocationName": LOCATION,
            },
            "runConfigData": json.dumps(
                {
                    "ops": {
                        stage: {"config": dict(config)} for stage, config in asked.options.items()
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
        """Runs that have all these tags, newest first; after the run that `cursor` names. With `steps`, what each stage did."""
        wanted: dict[str, Any] = {
            "tags": [{"key": key, "value": value} for key, value in tags.items()]
        }
        if statuses:
            wanted["statuses"] = list(statuses)
        if job:
            wanted["pipelineName"] = job
        return self._runs(wanted, cursor=cursor, limit=limit, steps=steps, timeout_s=timeout_s)

    def run(self, run_id: str, *, timeout_s: float = TIMEOUT_S) -> RunFound | None:
        """The run with its steps, or None."""
        return next(
            iter(self._runs({"runIds": [run_id]}, limit=1, steps=True, timeout_s=timeout_s)), None
        )

    def run_with_config(self, run_id: str) -> RunFound | None:
        """The run with the config that it was launched with."""
        answer = self._ask(documents.RUN_CONFIG, "runOrError", runId=run_id)
        return _run(answer) if answer["__typename"] == "Run" else None

    def run_ids(self) -> Iterator[str]:
        """Of all runs, newest first, some hundred at a time."""
        cursor: str | None = None
        while page := self._ask(documents.RUN_IDS, "runIdsOrError", cursor=cursor, limit=500).get(
            "results", []
        ):
            yield from map(str, page)
            cursor = page[-1]

    def events(
        self, run_id: str, cursor: str = "", *, timeout_s: float = TIMEOUT_S
    ) -> EventPage | None:
        """The entries after the cursor, some hundred at a time; None where there is no such run."""
        answer = self._ask(
            documents.EVENTS,
            "logsForRun",
            timeout_s=timeout_s,
            runId=run_id,
            cursor=cursor or None,
            limit=_EVENTS_AT_ONCE,
        )
        if answer["__typename"] == "RunNotFoundError":
            return None
        return EventPage(tuple(answer["events"]), str(answer["cursor"]), bool(answer["hasMore"]))

    def all_events(
        self, run_id: str, *, timeout_s: float = TIMEOUT_S
    ) -> tuple[Mapping[str, Any], ...]:
        """Every entry of the run's log; none where there is no such run."""
        entries: list[Mapping[str, Any]] = []
        page = self.events(run_id, timeout_s=timeout_s)
        while page is not None:
            entries += page.entries
            page = self.events(run_id, page.cursor, timeout_s=timeout_s) if page.has_more else None
        return tuple(entries)

    def terminate(self, run_id: str, *, at_once: bool = False) -> None:
        """Ask the run to end; `at_once` says that it has, where nothing of it runs. Raises NotFound, Conflict (it has ended already)."""
        policy = "MARK_AS_CANCELED_IMMEDIATELY" if at_once else "SAFE_TERMINATE"
        answer = self._ask(documents.TERMINATE, "terminateRun", runId=run_id, policy=policy)
        if answer["__typename"] == "RunNotFoundError":
            raise NotFound(f"There is no run {run_id!r}.")
        if answer["__typename"] == "TerminateRunFailure":
            remedy = "Ask for its status: it may have ended by itself."
            raise Conflict(f"The run {run_id} cannot be ended: {_sentence(answer)}", remedy=remedy)

    def health(self) -> DagsterHealth:
        """Of the daemon and the code location, as the webserver knows them."""
        found = self._send(documents.HEALTH, {})
        entries = found["workspaceOrError"].get("locationEntries", [])
        loaded = [
            each for each in entries if each["name"] == LOCATION and each["loadStatus"] == "LOADED"
        ]
        is_loaded = any(
            (each["locationOrLoadError"] or {}).get("__typename") == "RepositoryLocation"
            for each in loaded
        )
        statuses = found["instance"]["daemonHealth"]["allDaemonStatuses"]
        daemons = {
            each["daemonType"]: bool(each["healthy"]) for each in statuses if each["required"]
        }
        return DagsterHealth(str(found["version"]), is_loaded, daemons)

    @contextmanager
    def _in_turn(self, document: str) -> Iterator[None]:
        """So many at once, and not everybody who asks, wait for a webserver that is slow: the others are told so."""
        if document in (
            documents.LAUNCH,
            documents.ADD_PARTITION,
        ):  # by the dispatcher's threads, which are few
            yield
            return
        is_silent = time.monotonic() < self._silent_until
        if is_silent or not self._turns.acquire(timeout=_TURN_WITHIN_S):
            raise DagsterAway(
                "Dagster's webserver is slow to answer those who asked before.",
                remedy=_AGAIN_SOON,
                was_reached=False,
            )
        try:
            yield
        except httpx.ReadTimeout:
            self._silent_until = time.monotonic() + _SILENT_S
            raise
        finally:
            self._turns.release()

    def _add_partition(self, name: str, key: str) -> None:
        """One that is there already is none the worse."""
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
        wanted: Mapping[str, Any],
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
            filter=wanted,
            cursor=cursor or None,
            limit=limit,
        )
        return tuple(map(_run, answer.get("results", ())))

    def _ask(
        self, document: str, answer_name: str, /, *, timeout_s: float = TIMEOUT_S, **variables: Any
    ) -> Mapping[str, Any]:
        """The one answer of a document, where it is none that refuses everybody."""
        answer: Mapping[str, Any] = self._send(document, variables, timeout_s=timeout_s)[
            answer_name
        ]
        if answer["__typename"] == "UnauthorizedError":
            remedy = "Name one that is not with GEO_PLATFORM_DAGSTER_URL."
            raise StoreDenied(
                "Dagster's webserver changes nothing: it is read-only.", remedy=remedy
            )
        if answer["__typename"] == "PythonError":
            raise _python_fault(answer)
        return answer

    def _send(
        self, document: str, variables: Mapping[str, Any], *, timeout_s: float = TIMEOUT_S
    ) -> Mapping[str, Any]:
        try:
            with self._in_turn(document):
                response = self._client.post(
                    f"{self._url}/graphql",
                    json={"query": document, "variables": variables},
                    timeout=timeout_s,
                )
        except httpx.HTTPError as error:
            was_reached = not isinstance(
                error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
            )
            said = f"Dagster's webserver did not answer: {type(error).__name__}."
            raise DagsterAway(said, remedy=_AWAY, was_reached=was_reached) from error
        try:
            content = response.json()
        except ValueError as error:
            said = f"Dagster's webserver answered with status {response.status_code}."
            raise DagsterAway(said, remedy=_AWAY, was_reached=True) from error
        if content.get("errors"):
            raise UnexpectedFault(
                f"Dagster refused a question: {content['errors'][0].get('message', '')}"
            )
        data: Mapping[str, Any] = content["data"]
        return data


# Errors within Dagster that say that something of it is away: its code location, its storage.
_PASSING = (
    "DagsterUserCodeUnreachableError",
    "DagsterUserCodeProcessError",
    "DagsterCodeLocationLoadError",
    "OperationalError",
    "StorageError",
)


def _python_fault(answer: Mapping[str, Any]) -> StoreUnavailable | UnexpectedFault:
    said = f"{answer.get('className') or 'Error'}: {_sentence(answer)}"
    if any(name in said for name in _PASSING):
        return StoreUnavailable(
            "A part of Dagster is away: its code location or its storage.", remedy=_AGAIN, said=said
        )
    return UnexpectedFault(f"Dagster failed within: {said}")


def _launch_fault(answer: Mapping[str, Any]) -> StoreUnavailable | LaunchRefused:
    """A job that is not found is one that the webserver does not know yet, or not at the moment."""
    if answer["__typename"] == "PipelineNotFoundError":
        return StoreUnavailable(
            "Dagster's code location does not serve this job now.", remedy=_AGAIN
        )
    faults = "; ".join(
        str(each.get("message", "")).strip() for each in answer.get("errors", ())
    ) or _sentence(answer)
    return LaunchRefused(f"Dagster refuses to launch the run: {answer['__typename']}: {faults}")


def _sentence(answer: Mapping[str, Any]) -> str:
    """Its first line: what follows is a traceback."""
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
    """Dagster writes the time of an event as text, in milliseconds."""
    moment = datetime.fromtimestamp(float(found["timestamp"]) / 1000, UTC)
    stage = "/".join((found["assetKey"] or {}).get("path", ())) or str(found["stepKey"])
    return Materialized(
        stage, moment, metadata_of(found["metadataEntries"]), found["partition"] or ""
    )


def metadata_of(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Metadata as JSON values, by label. Pictures, and Dagster's own kinds, are left out."""
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
