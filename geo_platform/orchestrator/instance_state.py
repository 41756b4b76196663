"""What Dagster says of runs, pools, sensors, its daemon and partitions, for whoever compares stores; and the few things done about it.

What belongs here: Dagster's public API into plain facts, without definitions. What stays out: judging them (`geo_platform/doctor`).

Whether a run's process lives can be known of runs that a command executed on this host (their tags name the process), of runs
whose launcher can be asked (a container for each), and of runs that a code location on this host started (its socket is here,
or the run noted this host, and an event of the run names the process). Of others it cannot, and run monitoring is who watches them.
"""

import json
import logging
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from geo_platform.doctor.facts import PartitionFact, QueueFact, RunFact, SlotFact, TickFact
from geo_platform.orchestrator.launch import (
    HOST_TAG,
    KILLED,
    PROCESS_TAG,
    open_instance,
    runs_in_its_tagged_process,
)
from geo_platform.orchestrator.run_ends import AT_WORK, any_under_way, aware, has_ended_for_good
from geo_platform.orchestrator.shared_runs import files_of, newest_shared, published_item
from geo_platform.orchestrator.state_check import check_ended
from geo_platform.orchestrator.storage_errors import storage_errors
from geo_platform.runs import PARTITION_TAG, WORKER_TAG, worker_here
from geo_platform.settings import Settings
from geo_platform.storage.local.process import is_alive, is_alive_since

_STATUS = dg.DagsterRunStatus
_log = logging.getLogger("geo_platform.state")
_CODE_SERVER_TAG = ".dagster/grpc_info"
_QUEUE_DAEMON = "QUEUED_RUN_COORDINATOR"
_PAGE = 500
_RUNS_OF_A_PARTITION = 50
# Job and op that take an item away.
_UNPUBLISH = ("unpublish_item", "unpublish")

# Partitions' definition -> its job, and the stage with which a result is there.
STAGES = {
    "raster_objects": ("process_raster", dg.AssetKey("raster_item")),
    "vector_objects": ("ingest_vector", dg.AssetKey("vector_item")),
}


@contextmanager
def opened(settings: Settings, template: Path) -> Iterator["InstanceState"]:
    """The Dagster of this home, looked at: no run is marked by opening it. Raises StoreDenied, StoreUnavailable, DatabaseUnavailable."""
    with storage_errors(settings):
        instance = open_instance(settings, template, ends_killed_runs=False)
    try:
        yield InstanceState(instance, settings)
    finally:
        instance.dispose()


class InstanceState:
    """Implements `doctor.facts.Orchestrator` on one Dagster instance."""

    def __init__(self, instance: dg.DagsterInstance, settings: Settings) -> None:
        self._instance = instance
        self._settings = settings
        self._shared: Mapping[str, dg.RunRecord] | None = None

    def unfinished_runs(self) -> Iterator[RunFact]:
        for record in self._records(dg.RunsFilter(statuses=AT_WORK)):
            run = record.dagster_run
            place, lives = self._process_of(run)
            since = (
                datetime.fromtimestamp(record.start_time, UTC)
                if record.start_time
                else aware(record.create_timestamp)
            )
            yield RunFact(run.run_id, run.job_name, run.status.value, place, lives, since)

    def ended(self, run_ids: Iterable[str]) -> Mapping[str, bool]:
        wanted = sorted(run_ids)
        found: dict[str, bool] = {}
        for start in range(0, len(wanted), _PAGE):
            for record in self._records(dg.RunsFilter(run_ids=wanted[start : start + _PAGE])):
                found[record.dagster_run.run_id] = has_ended_for_good(record.dagster_run)
        return found

    def runs_under_way(self) -> bool:
        with storage_errors(self._settings):
            return any_under_way(self._instance)

    def slots(self) -> Iterator[SlotFact]:
        """Of pools that count steps. Pools that count runs (`granularity: run`) hold nothing when a run ends."""
        with storage_errors(self._settings):
            storage = self._instance.event_log_storage
            if not storage.supports_global_concurrency_limits:
                return
            for pool in sorted(storage.get_concurrency_keys()):
                info = storage.get_concurrency_info(pool)
                for run_id in sorted(
                    {
                        *(slot.run_id for slot in info.claimed_slots),
                        *(step.run_id for step in info.pending_steps),
                    }
                ):
                    run = self._instance.get_run_by_id(run_id)
                    yield SlotFact(
                        pool,
                        run_id,
                        run.status.value if run else None,
                        run is None or run.is_finished,
                    )

    def ticks(self) -> Iterator[TickFact]:
        with storage_errors(self._settings):
            states = self._instance.all_instigator_state()
        for state in states:
            data = state.instigator_data
            if not state.is_running or data is None:
                continue
            is_sensor = state.instigator_type.value == "SENSOR"
            marks = (
                "last_tick_timestamp",
                "last_tick_start_timestamp",
                "last_sensor_start_timestamp",
            )
            names = marks if is_sensor else ("last_iteration_timestamp", "start_timestamp")
            last = max((float(getattr(data, name) or 0) for name in names), default=0.0)
            if last:
                interval = float(getattr(data, "min_interval", None) or 30)
                yield TickFact(state.name, is_sensor, datetime.fromtimestamp(last, UTC), interval)

    def queue(self) -> QueueFact | None:
        with storage_errors(self._settings):
            queued = dg.RunsFilter(statuses=[_STATUS.QUEUED])
            oldest = self._instance.get_run_records(queued, limit=1, ascending=True)
            if not oldest:
                return None
            heartbeat = self._instance.get_daemon_heartbeats().get(_QUEUE_DAEMON)
            sign = (
                datetime.fromtimestamp(heartbeat.timestamp, UTC) if heartbeat is not None else None
            )
            return QueueFact(
                self._instance.get_runs_count(queued), aware(oldest[0].create_timestamp), sign
            )

    def partitions(self) -> Iterator[tuple[str, str]]:
        for definition in STAGES:
            with storage_errors(self._settings):
                keys = self._instance.get_dynamic_partitions(definition)
            for key in keys:
                yield definition, key

    def partition(self, definition: str, key: str) -> PartitionFact:
        record = self._latest_run(definition, key)
        if record is None:
            return PartitionFact(definition, key, None, None, None)
        run = record.dagster_run
        if files_of(run):  # a run that refused other files has published this one
            with storage_errors(self._settings):
                published = published_item(self._instance, run.run_id, key)
            status = _STATUS.SUCCESS if published else run.status
            return PartitionFact(
                definition, key, run.run_id, status.value, published, _heard_of(record)
            )
        published = (
            self._published_by(run, STAGES[definition][1])
            if run.status is _STATUS.SUCCESS
            else None
        )
        return PartitionFact(
            definition, key, run.run_id, run.status.value, published, _heard_of(record)
        )

    def withdrawn_items(self) -> Mapping[tuple[str, str], datetime]:
        job, op = _UNPUBLISH
        found: dict[tuple[str, str], datetime] = {}
        for record in self._records(dg.RunsFilter(job_name=job, statuses=[_STATUS.SUCCESS])):
            config: Mapping[str, Any] = record.dagster_run.run_config
            given = config.get("ops", {}).get(op, {}).get("config", {})
            found.setdefault(
                (str(given.get("collection")), str(given.get("item_id"))), _heard_of(record)
            )
        return found

    def end_run(self, run_id: str) -> bool:
        with storage_errors(self._settings):
            run = self._instance.get_run_by_id(run_id)
            if run is None or run.status not in AT_WORK or self._process_of(run)[1] is not False:
                return False
            self._instance.report_run_failed(run, KILLED)
            check_ended(self._instance, run_id, self._settings)
            after = self._instance.get_run_by_id(run_id)
            return after is not None and after.is_finished

    def free_slots(self, run_id: str) -> bool:
        with storage_errors(self._settings):
            run = self._instance.get_run_by_id(run_id)
            if run is not None and not run.is_finished:
                return False
            self._instance.event_log_storage.free_concurrency_slots_for_run(run_id)
            return True

    def remove_partition(self, definition: str, key: str) -> bool:
        self._shared = None  # a run may have been asked for meanwhile
        if self._latest_run(definition, key) is not None:
            return False
        with storage_errors(self._settings):
            self._instance.delete_dynamic_partition(definition, key)
            return not self._instance.has_dynamic_partition(definition, key)

    def _records(self, wanted: dg.RunsFilter) -> Iterator[dg.RunRecord]:
        """Newest first, a page at a time."""
        cursor: str | None = None
        while True:
            with storage_errors(self._settings):
                page = self._instance.get_run_records(wanted, limit=_PAGE, cursor=cursor)
            yield from page
            if len(page) < _PAGE:
                return
            cursor = page[-1].dagster_run.run_id

    def _latest_run(self, definition: str, key: str) -> dg.RunRecord | None:
        """The newest run of this partition that goes up to its item; one of single stages promises no result."""
        job, item = STAGES[definition]
        with storage_errors(self._settings):
            records = self._instance.get_run_records(
                dg.RunsFilter(tags={PARTITION_TAG: key}), limit=_RUNS_OF_A_PARTITION
            )
            shared = self._newest_shared().get(key)
        alone = next((record for record in records if _makes(record.dagster_run, job, item)), None)
        return max(
            filter(None, (alone, shared)),
            key=lambda record: aware(record.create_timestamp),
            default=None,
        )

    def _newest_shared(self) -> Mapping[str, dg.RunRecord]:
        """Read once for all partitions that are asked about."""
        if self._shared is None:
            self._shared = newest_shared(self._instance)
        return self._shared

    def _published_by(self, run: dg.DagsterRun, item: dg.AssetKey) -> tuple[str, str] | None:
        with storage_errors(self._settings):
            made = self._instance.get_records_for_run(
                run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
            ).records
        for record in made:
            materialization = record.asset_materialization
            if materialization is not None and materialization.asset_key == item:
                says = {name: value.value for name, value in materialization.metadata.items()}
                return str(says.get("collection")), str(says.get("item_id"))
        return None

    def _process_of(self, run: dg.DagsterRun) -> tuple[str, bool | None]:
        """Where it is, and whether it lives: None where that cannot be known here."""
        if runs_in_its_tagged_process(run):
            process, host = run.tags[PROCESS_TAG], run.tags.get(HOST_TAG, "")
            return f"process {process.partition('.')[0]} on {host}", is_alive(
                process
            ) if host == socket.gethostname() else None
        launcher = self._instance.run_launcher
        if launcher.supports_check_run_worker_health and run.status is _STATUS.STARTED:
            return "a worker of its own", _worker_lives(launcher, run)
        started = self._started_process(run)
        if started is None:
            return "a process that nothing names", None
        pid, seen_s = started
        return f"process {pid}", is_alive_since(pid, seen_s) if _is_of_this_host(run) else None

    def _started_process(self, run: dg.DagsterRun) -> tuple[int, float] | None:
        """Process id and time of the event by which the code location says that it started the run's process."""
        with storage_errors(self._settings):
            events = self._instance.get_records_for_run(
                run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT, limit=50
            ).records
        for record in events:
            event = record.event_log_entry.dagster_event
            said = event.engine_event_data.metadata.get("pid") if event is not None else None
            if said is not None and str(said.value).isdigit():
                return int(str(said.value)), record.event_log_entry.timestamp
        return None


def _worker_lives(launcher: Any, run: dg.DagsterRun) -> bool | None:
    try:
        health = launcher.check_run_worker_health(run).status.value
    except Exception as error:  # noqa: BLE001  # each launcher has the errors of its own service
        _log.warning(
            "The launcher could not say how the worker of run %s is: %s",
            run.run_id,
            type(error).__name__,
        )
        return None  # said as not known, never as dead
    return {"RUNNING": True, "SUCCESS": True, "NOT_FOUND": False, "FAILED": False}.get(health)


def _is_of_this_host(run: dg.DagsterRun) -> bool:
    """It noted this host when its first stage began; or the code location that started it listened on a socket whose file is
    here, whose name is random.
    """
    if run.tags.get(WORKER_TAG) == worker_here(run.run_id):
        return True
    said = run.tags.get(_CODE_SERVER_TAG)
    listens = json.loads(said).get("socket") if said else None
    return listens is not None and Path(listens).exists()


def _heard_of(record: dg.RunRecord) -> datetime:
    return (
        datetime.fromtimestamp(record.end_time, UTC)
        if record.end_time
        else aware(record.update_timestamp)
    )


def _makes(run: dg.DagsterRun, job: str, item: dg.AssetKey) -> bool:
    selection = run.asset_selection
    return item in selection if selection else run.job_name == job
