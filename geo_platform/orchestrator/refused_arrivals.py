"""Quarantine the objects that runs of a watch refused. The sensor `quarantine_refused` uses it.

Quarantine is a container for refused objects, each stored with the reason; a person releases them.
A watch is a configured container whose new sources get runs. `arrivals/quarantine.py` decides which
refusals count, and moves the objects. If a person launched the run, its objects are not moved.

Dagster's run status sensors do not fit: they skip a run if their function fails, so an unavailable
store would lose the refusal. This module reads the same events with a cursor of its own. The cursor
keeps the runs whose objects could not be moved. Each tick reads the last `OVERLAP` events again,
because PostgreSQL may show an event after an event with a higher number. A run is processed once.
A tick that was killed can safely be repeated.

Called by `schedules/sensors.py`.
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
from geo_platform.dagster_internals import failure_metadata, log_entries
from geo_platform.errors import PlatformError
from geo_platform.orchestrator.run_reports import has_report, report_on_run, warn_on_run
from geo_platform.ports import BRONZE, ObjectStore
from geo_platform.runs import ARRIVAL_TAG, PARTITION_TAG, WATCH_TAG
from geo_platform.telemetry.checkpoints import Checkpoint

# In event numbers, which count the events of all types and runs.
OVERLAP = 500

# Half of the time that Dagster gives a tick. The next tick continues.
TICK_S = 30.0

# Metadata of a shared run's failure: a table of key, code, message and remedy (`assets/report.py`).
NOT_PUBLISHED = "not_published"

_PAGE = 200
FAULTS_LOGGED = 5


class FailuresCursor(BaseModel):
    """The position up to which run failures were read.

    `after` is the number of the last event that was read. `seen` maps the runs of the last
    `OVERLAP` events to the numbers of their events. `again` are the ids of runs to process again.
    """

    model_config = ConfigDict(frozen=True)

    after: int = -1
    seen: dict[str, int] = {}
    again: tuple[str, ...] = ()


@dataclass(frozen=True)
class RefusedFile:
    """One object that a run refused. `etag` is the etag for which the run was requested."""

    container: str
    key: str
    etag: str
    refusal: Refusal


@dataclass
class QuarantineTick:
    """What one evaluation of the sensor did.

    `moved`, `not_moved` and `faults` are sentences about objects and errors. `later` and `failed`
    are ids of runs to process again: the tick had no time for the runs of `later`; the runs of
    `failed` raised an error.
    """

    ends: float
    moved: list[str] = field(default_factory=list)
    not_moved: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.ends

    @property
    def summary(self) -> str:
        counts = (
            f"{len(self.moved)} moved to quarantine, {len(self.not_moved)} left, "
            f"{len(self.later) + len(self.failed)} runs to repeat"
        )
        return " ".join([f"{counts}.", *self.faults[:FAULTS_LOGGED]])


def move_refused(
    instance: dg.DagsterInstance,
    objects: ObjectStore,
    cursor: FailuresCursor,
    *,
    within_s: float = TICK_S,
) -> tuple[FailuresCursor, QuarantineTick]:
    """Process the runs that the cursor keeps, then those that failed since.

    Return the next cursor and the result of the tick. If a store fails, the run is kept in the
    cursor for a later tick.
    """
    tick = QuarantineTick(time.monotonic() + within_s)
    for run_id in cursor.again:
        _process_run(instance, objects, run_id, tick)
    after, seen, position = cursor.after, dict(cursor.seen), max(cursor.after - OVERLAP, -1)
    while not tick.is_over:
        records = _failures_after(instance, position)
        for record in records:
            run_id = record.event_log_entry.run_id
            if run_id not in seen:
                _process_run(instance, objects, run_id, tick)
            seen[run_id] = record.storage_id
            position = record.storage_id
            after = max(after, position)
        if len(records) < _PAGE:
            break
    recent = {run_id: number for run_id, number in seen.items() if number > after - OVERLAP}
    return FailuresCursor(after=after, seen=recent, again=(*tick.later, *tick.failed)), tick


def _failures_after(instance: dg.DagsterInstance, position: int) -> Sequence[dg.EventLogRecord]:
    failures = dg.RunStatusChangeRecordsFilter(
        event_type=dg.DagsterEventType.RUN_FAILURE, after_storage_id=position
    )
    return instance.fetch_run_status_changes(failures, limit=_PAGE, ascending=True).records


def _process_run(
    instance: dg.DagsterInstance, objects: ObjectStore, run_id: str, tick: QuarantineTick
) -> None:
    run = instance.get_run_by_id(run_id)
    if run is None or WATCH_TAG not in run.tags:
        return
    if tick.is_over:
        tick.later.append(run_id)
        return
    try:
        _move_refused_files(instance, objects, run, tick)
    except (PlatformError, ContractError) as error:
        tick.failed.append(run_id)
        tick.faults.append(f"Run {run_id}: {error}")


def _move_refused_files(
    instance: dg.DagsterInstance, objects: ObjectStore, run: dg.DagsterRun, tick: QuarantineTick
) -> None:
    """Move the refused files of a run, except files that its events report as quarantined."""
    for refused in refused_files(instance, objects, run):
        place = {"container": refused.container, "key": refused.key}
        if has_report(instance, run.run_id, Checkpoint.QUARANTINED, place):
            continue
        if tick.is_over:
            tick.later.append(run.run_id)
            return
        refusal = refused.refusal
        moved = quarantine(
            objects,
            refused.container,
            refused.key,
            refused.etag,
            refusal,
            now_utc=datetime.now(UTC),
        )
        if moved.outcome is QuarantineOutcome.quarantined:
            report_on_run(
                instance,
                run,
                Checkpoint.QUARANTINED,
                moved.message,
                details=place,
                identified_by=["container", "key"],
                error={
                    "code": refusal.code,
                    "message": refusal.message,
                    "remedy": refusal.remedy,
                },
            )
            tick.moved.append(moved.message)
        else:
            warn_on_run(instance, run.run_id, f"{moved.message}.", refusal.code)
            tick.not_moved.append(moved.message)


def refused_files(
    instance: dg.DagsterInstance, objects: ObjectStore, run: dg.DagsterRun
) -> Iterator[RefusedFile]:
    """Yield the objects that the run refused for their content, with the requested etags.

    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    for entry in log_entries(instance, run.run_id, dg.DagsterEventType.STEP_FAILURE):
        metadata = failure_metadata(entry.dagster_event) if entry.dagster_event else {}
        record = {name: value.value for name, value in metadata.items()}
        if NOT_PUBLISHED in metadata:
            yield from _refused_by_shared_run(run, metadata[NOT_PUBLISHED])
        elif is_quarantined(str(record.get("code"))) and PARTITION_TAG in run.tags:
            yield from _refused_by_single_run(objects, run, record)


def _refused_by_shared_run(
    run: dg.DagsterRun, files: dg.MetadataValue[Any]
) -> Iterator[RefusedFile]:
    """Yield the refused files of a shared run (a run of several files).

    The config of the run has the etags for which it was requested.
    """
    etags = {
        file["key"]: file.get("etag")
        for config in _configs(run)
        for file in config.get("files", ())
    }
    for row in files.records if isinstance(files, dg.TableMetadataValue) else ():
        record = {name: str(value) for name, value in row.data.items()}
        key, etag = record["key"], etags.get(record["key"])
        if is_quarantined(record["code"]) and etag:
            yield RefusedFile(_container(run), key, etag, _refusal(run, record))


def _refused_by_single_run(
    objects: ObjectStore, run: dg.DagsterRun, record: Mapping[str, Any]
) -> Iterator[RefusedFile]:
    """Yield the refused file of a run of one file.

    The receipt, the record of the request, has the etag for which the run was requested.
    """
    arrival = run.tags.get(ARRIVAL_TAG, "")
    receipt = read_receipts(objects, [arrival]).get(arrival) if arrival else None
    if receipt is not None:
        yield RefusedFile(
            _container(run), run.tags[PARTITION_TAG], receipt.request.etag, _refusal(run, record)
        )


def _refusal(run: dg.DagsterRun, record: Mapping[str, Any]) -> Refusal:
    return Refusal(
        record["code"], record["message"], record["remedy"], run.run_id, run.tags[WATCH_TAG]
    )


def _container(run: dg.DagsterRun) -> str:
    """Return the container that the run reads from."""
    return next(
        (config["container_name"] for config in _configs(run) if "container_name" in config), BRONZE
    )


def _configs(run: dg.DagsterRun) -> list[Mapping[str, Any]]:
    """Return the config of each stage or op."""
    run_config: Mapping[str, Any] = run.run_config
    return [op.get("config") or {} for op in run_config.get("ops", {}).values()]
