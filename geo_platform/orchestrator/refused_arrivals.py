"""The sensor on refused arrivals: a run that a watch's sensor asked for ended with a refusal, and what it refused goes to quarantine.

What belongs here: reading refusals off ended runs, each once. What stays out: which refusals count, and moving
(`geo_platform/arrivals/quarantine.py`). A run that a person launched tells that person; nothing is moved then.

Not one of Dagster's run status sensors: those go on to the next run where the function fails, and a store that did not answer
would be the end of it. This one reads the same events, keeps runs whose objects could not be moved in its cursor, and looks at
the last `OVERLAP` events again, since PostgreSQL may show an event a moment after one with a higher number. Where the daemon
dies in a tick, the tick is done again, which changes nothing that is done.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic import BaseModel, ConfigDict

from geo_platform.arrivals.quarantine import QuarantineOutcome, Refusal, is_quarantined, quarantine
from geo_platform.arrivals.receipts import read_receipts
from geo_platform.contracts.fault import ContractError
from geo_platform.errors import PlatformError
from geo_platform.orchestrator.run_reports import report_of_run, said_of, warn_of_run
from geo_platform.ports import BRONZE, ObjectStore
from geo_platform.runs import ARRIVAL_TAG, PARTITION_TAG, WATCH_TAG
from geo_platform.telemetry.checkpoints import Checkpoint

# Numbers of events, of all kinds and runs.
OVERLAP = 500

# Half of what Dagster gives a tick; what is left over is the next one's.
TICK_S = 30.0

# Metadata of the failure of a run over several files: a table of key, code, message and remedy
# (`assets/report.py`).
NOT_PUBLISHED = "not_published"

_PAGE = 200
MOST_SAID = 5


class FailuresCursor(BaseModel):
    """How far failures were read. `seen`: runs of the last `OVERLAP` events -> number of their
    event. `again`: those that are not done yet."""

    model_config = ConfigDict(frozen=True)

    after: int = -1
    seen: dict[str, int] = {}
    again: tuple[str, ...] = ()


@dataclass(frozen=True)
class RefusedFile:
    """One object of a run. `etag` is that at which the run was asked for."""

    container: str
    key: str
    etag: str
    refusal: Refusal


@dataclass
class QuarantineTick:
    """What one evaluation did: sentences on what was moved and what was not, and on what failed. Run ids of what is to be done
    again: `later`, for which there was no time, and `failed`."""

    ends: float
    moved: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.ends

    @property
    def summary(self) -> str:
        counts = f"{len(self.moved)} moved to quarantine, {len(self.left)} left, {len(self.later) + len(self.failed)} runs to be done again"
        return " ".join([f"{counts}.", *self.faults[:MOST_SAID]])


def move_refused(
    instance: dg.DagsterInstance,
    objects: ObjectStore,
    cursor: FailuresCursor,
    *,
    within_s: float = TICK_S,
) -> tuple[FailuresCursor, QuarantineTick]:
    """Look at the runs that failed since the cursor, after those that are to be done again. A store's fault keeps its run for later."""
    tick = QuarantineTick(time.monotonic() + within_s)
    for run_id in cursor.again:
        _look_at(instance, objects, run_id, tick)
    after, seen, position = cursor.after, dict(cursor.seen), max(cursor.after - OVERLAP, -1)
    while not tick.is_over:
        records = _failures_after(instance, position)
        for record in records:
            run_id = record.event_log_entry.run_id
            if run_id not in seen:
                _look_at(instance, objects, run_id, tick)
            seen[run_id] = record.storage_id
            position = record.storage_id
            after = max(after, position)
        if len(records) < _PAGE:
            break
    recent = {run_id: number for run_id, number in seen.items() if number > after - OVERLAP}
    return FailuresCursor(after=after, seen=recent, again=(*tick.later, *tick.failed)), tick


def _failures_after(instance: dg.DagsterInstance, position: int) -> Sequence[dg.EventLogRecord]:
    wanted = dg.RunStatusChangeRecordsFilter(
        event_type=dg.DagsterEventType.RUN_FAILURE, after_storage_id=position
    )
    return instance.fetch_run_status_changes(wanted, limit=_PAGE, ascending=True).records


def _look_at(
    instance: dg.DagsterInstance, objects: ObjectStore, run_id: str, tick: QuarantineTick
) -> None:
    run = instance.get_run_by_id(run_id)
    if run is None or WATCH_TAG not in run.tags:
        return
    if tick.is_over:
        tick.later.append(run_id)
        return
    try:
        _move_refused_of(instance, objects, run, tick)
    except (PlatformError, ContractError) as error:
        tick.failed.append(run_id)
        tick.faults.append(f"Run {run_id}: {error}")


def _move_refused_of(
    instance: dg.DagsterInstance, objects: ObjectStore, run: dg.DagsterRun, tick: QuarantineTick
) -> None:
    """Each file by itself. Those that the run's events tell of were moved before."""
    told: list[str] | None = None
    for refused in refused_files(instance, objects, run):
        if told is None:
            told = said_of(instance, run.run_id)
        if any(
            text.startswith(
                f"{Checkpoint.QUARANTINED} {refused.container}/{refused.key} was refused "
            )
            for text in told
        ):
            continue
        if tick.is_over:
            tick.later.append(run.run_id)
            return
        moved = quarantine(
            objects,
            refused.container,
            refused.key,
            refused.etag,
            refused.refusal,
            now_utc=datetime.now(UTC),
        )
        if moved.outcome is QuarantineOutcome.quarantined:
            details = {
                "error_code": refused.refusal.code,
                "container": refused.container,
                "key": refused.key,
            }
            report_of_run(instance, run, Checkpoint.QUARANTINED, moved.said, details=details)
            tick.moved.append(moved.said)
        else:
            warn_of_run(instance, run.run_id, f"{moved.said}.", refused.refusal.code)
            tick.left.append(moved.said)


def refused_files(
    instance: dg.DagsterInstance, objects: ObjectStore, run: dg.DagsterRun
) -> Iterator[RefusedFile]:
    """What this run refused for the object's own sake, at the etags at which it was asked for. Raises the store's faults."""
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        failure = (
            entry.dagster_event.step_failure_data.user_failure_data if entry.dagster_event else None
        )
        metadata: Mapping[str, dg.MetadataValue[Any]] = (
            failure.metadata if failure is not None else {}
        )
        said = {name: value.value for name, value in metadata.items()}
        if NOT_PUBLISHED in metadata:
            yield from _of_several(run, metadata[NOT_PUBLISHED])
        elif is_quarantined(str(said.get("code"))) and PARTITION_TAG in run.tags:
            yield from _of_one(objects, run, said)


def _of_several(run: dg.DagsterRun, files: dg.MetadataValue[Any]) -> Iterator[RefusedFile]:
    """At which etag each was asked for, the run's config says."""
    etags = {
        file["key"]: file.get("etag")
        for config in _configs(run)
        for file in config.get("files", ())
    }
    for record in files.records if isinstance(files, dg.TableMetadataValue) else ():
        said = {name: str(value) for name, value in record.data.items()}
        if is_quarantined(said["code"]) and etags.get(said["key"]):
            yield RefusedFile(_container(run), said["key"], etags[said["key"]], _refusal(run, said))


def _of_one(
    objects: ObjectStore, run: dg.DagsterRun, said: Mapping[str, Any]
) -> Iterator[RefusedFile]:
    """At which etag, the receipt of its arrival says."""
    arrival = run.tags.get(ARRIVAL_TAG, "")
    receipt = read_receipts(objects, [arrival]).get(arrival) if arrival else None
    if receipt is not None:
        yield RefusedFile(
            _container(run), run.tags[PARTITION_TAG], receipt.asked.etag, _refusal(run, said)
        )


def _refusal(run: dg.DagsterRun, said: Mapping[str, Any]) -> Refusal:
    return Refusal(said["code"], said["message"], said["remedy"], run.run_id, run.tags[WATCH_TAG])


def _container(run: dg.DagsterRun) -> str:
    """What the run was told to read from."""
    return next(
        (config["container_name"] for config in _configs(run) if "container_name" in config), BRONZE
    )


def _configs(run: dg.DagsterRun) -> list[Mapping[str, Any]]:
    """Of each stage or op."""
    run_config: Mapping[str, Any] = run.run_config
    return [op.get("config") or {} for op in run_config.get("ops", {}).values()]
