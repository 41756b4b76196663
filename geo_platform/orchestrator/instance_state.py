"""Read Dagster's runs, pools, sensors, daemon and partitions as plain facts, and change them.

`geo_platform/doctor` judges the facts. No definitions are loaded.

Whether a run's process is alive is known for three kinds of runs:

- A command executed the run on this host: a tag of the run names the process.
- The launcher can report on the run's worker: each run has its own container.
- A code location of this host started the run: its socket exists here, or a tag of the run names
  this host, and an event of the run names the process.

Dagster's run monitoring watches the other runs.

Called by `cli/commands/doctor.py` and `stuck_runs.py`.
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

from geo_platform.chains.chain import Chain
from geo_platform.chains.registry import chains_by_partitions
from geo_platform.dagster_internals import (
    CODE_SERVER_TAG,
    QUEUE_DAEMON,
    count_runs,
    engine_value,
    fail_run,
    free_pool_slots,
    has_worker_health,
    heartbeat_s,
    instigators,
    pools,
    run_events,
    worker_health,
)
from geo_platform.doctor.facts import PartitionFact, QueueFact, RunFact, SlotFact, TickFact
from geo_platform.orchestrator.instance import (
    HOST_TAG,
    KILLED,
    PROCESS_TAG,
    open_instance,
    runs_in_its_tagged_process,
    storage_errors,
)
from geo_platform.orchestrator.left_staged import ACTIVE, any_under_way, as_utc, has_ended_for_good
from geo_platform.orchestrator.shared_runs import (
    newest_shared_runs,
    published_item,
    requested_files,
)
from geo_platform.orchestrator.state_check import check_ended
from geo_platform.runs import PARTITION_TAG, WORKER_TAG, local_worker
from geo_platform.settings import Settings
from geo_platform.storage.local.process import is_alive, is_alive_since

_STATUS = dg.DagsterRunStatus
_log = logging.getLogger("geo_platform.state")
_PAGE = 500
_RUNS_OF_A_PARTITION = 50
# Job and op that unpublish an item.
_UNPUBLISH = ("unpublish_item", "unpublish")


@contextmanager
def opened(settings: Settings, template: Path) -> Iterator["DagsterState"]:
    """Open this home's Dagster without changing any run.

    Raises StoreDenied, StoreUnavailable, DatabaseUnavailable: Dagster's storage cannot be used.
    """
    with storage_errors(settings):
        instance = open_instance(settings, template, ends_killed_runs=False)
    with instance:
        yield DagsterState(instance, settings)


class DagsterState:
    """Implement `doctor.facts.Orchestrator` on one Dagster instance.

    Every method raises StoreDenied, StoreUnavailable, DatabaseUnavailable: Dagster's storage cannot
    be used.
    """

    def __init__(self, instance: dg.DagsterInstance, settings: Settings) -> None:
        self._instance = instance
        self._settings = settings
        self._shared: Mapping[str, dg.RunRecord] | None = None

    def unfinished_runs(self) -> Iterator[RunFact]:
        for record in self._records(dg.RunsFilter(statuses=ACTIVE)):
            run = record.dagster_run
            place, is_running = self._process_of(run)
            since = (
                datetime.fromtimestamp(record.start_time, UTC)
                if record.start_time
                else as_utc(record.create_timestamp)
            )
            yield RunFact(run.run_id, run.job_name, run.status.value, place, is_running, since)

    def ended(self, run_ids: Iterable[str]) -> Mapping[str, bool]:
        ids = sorted(run_ids)
        found: dict[str, bool] = {}
        for start in range(0, len(ids), _PAGE):
            for record in self._records(dg.RunsFilter(run_ids=ids[start : start + _PAGE])):
                found[record.dagster_run.run_id] = has_ended_for_good(record.dagster_run)
        return found

    def runs_under_way(self) -> bool:
        with storage_errors(self._settings):
            return any_under_way(self._instance)

    def slots(self) -> Iterator[SlotFact]:
        """Yield the slots of pools that count steps.

        Pools that count runs hold nothing after a run has ended.
        """
        with storage_errors(self._settings):
            for pool, info in sorted(pools(self._instance).items()):
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
            states = instigators(self._instance)
        for state in states:
            data = state.instigator_data
            if not state.is_running or data is None:
                continue
            is_sensor = state.instigator_type.value == "SENSOR"
            sensor_times = (
                "last_tick_timestamp",
                "last_tick_start_timestamp",
                "last_sensor_start_timestamp",
            )
            names = sensor_times if is_sensor else ("last_iteration_timestamp", "start_timestamp")
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
            reported_s = heartbeat_s(self._instance, QUEUE_DAEMON)
            seen = datetime.fromtimestamp(reported_s, UTC) if reported_s is not None else None
            waiting = count_runs(self._instance, queued)
            return QueueFact(waiting, as_utc(oldest[0].create_timestamp), seen)

    def partitions(self) -> Iterator[tuple[str, str]]:
        for definition in chains_by_partitions():
            with storage_errors(self._settings):
                keys = self._instance.get_dynamic_partitions(definition)
            for key in keys:
                yield definition, key

    def partition(self, definition: str, key: str) -> PartitionFact:
        record = self._latest_run(definition, key)
        if record is None:
            return PartitionFact(definition, key, None, None, None)
        run = record.dagster_run
        if requested_files(run):  # a shared run that failed may have published this file
            with storage_errors(self._settings):
                published = published_item(self._instance, run.run_id, key)
            status = _STATUS.SUCCESS if published else run.status
            return PartitionFact(
                definition, key, run.run_id, status.value, published, _ended_at(record)
            )
        published = (
            self._published_by(run, _item_of(chains_by_partitions()[definition]))
            if run.status is _STATUS.SUCCESS
            else None
        )
        return PartitionFact(
            definition, key, run.run_id, run.status.value, published, _ended_at(record)
        )

    def withdrawn_items(self) -> Mapping[tuple[str, str], datetime]:
        job, op = _UNPUBLISH
        found: dict[tuple[str, str], datetime] = {}
        for record in self._records(dg.RunsFilter(job_name=job, statuses=[_STATUS.SUCCESS])):
            config: Mapping[str, Any] = record.dagster_run.run_config
            config_values = config.get("ops", {}).get(op, {}).get("config", {})
            found.setdefault(
                (str(config_values.get("collection")), str(config_values.get("item_id"))),
                _ended_at(record),
            )
        return found

    def end_run(self, run_id: str) -> bool:
        with storage_errors(self._settings):
            run = self._instance.get_run_by_id(run_id)
            if run is None or run.status not in ACTIVE or self._process_of(run)[1] is not False:
                return False
            fail_run(self._instance, run, KILLED)
            check_ended(self._instance, run_id, self._settings)
            after = self._instance.get_run_by_id(run_id)
            return after is not None and after.is_finished

    def free_slots(self, run_id: str) -> bool:
        with storage_errors(self._settings):
            run = self._instance.get_run_by_id(run_id)
            if run is not None and not run.is_finished:
                return False
            free_pool_slots(self._instance, run_id)
            return True

    def remove_partition(self, definition: str, key: str) -> bool:
        self._shared = None  # a run may have been requested meanwhile
        if self._latest_run(definition, key) is not None:
            return False
        with storage_errors(self._settings):
            self._instance.delete_dynamic_partition(definition, key)
            return not self._instance.has_dynamic_partition(definition, key)

    def _records(self, records_filter: dg.RunsFilter) -> Iterator[dg.RunRecord]:
        """Yield runs, newest first, reading a page at a time."""
        cursor: str | None = None
        while True:
            with storage_errors(self._settings):
                page = self._instance.get_run_records(records_filter, limit=_PAGE, cursor=cursor)
            yield from page
            if len(page) < _PAGE:
                return
            cursor = page[-1].dagster_run.run_id

    def _latest_run(self, definition: str, key: str) -> dg.RunRecord | None:
        """Return the newest run that was launched to publish this partition's item, or None.

        A run of earlier stages alone does not count, because it publishes nothing.
        """
        chain = chains_by_partitions()[definition]
        job, item = chain.job, _item_of(chain)
        with storage_errors(self._settings):
            records = self._instance.get_run_records(
                dg.RunsFilter(tags={PARTITION_TAG: key}), limit=_RUNS_OF_A_PARTITION
            )
            shared = self._newest_shared().get(key)
        single = next(
            (record for record in records if _publishes(record.dagster_run, job, item)), None
        )
        return max(
            filter(None, (single, shared)),
            key=lambda record: as_utc(record.create_timestamp),
            default=None,
        )

    def _newest_shared(self) -> Mapping[str, dg.RunRecord]:
        """Return the newest shared run of each file, read once for all partitions."""
        if self._shared is None:
            self._shared = newest_shared_runs(self._instance)
        return self._shared

    def _published_by(self, run: dg.DagsterRun, item: dg.AssetKey) -> tuple[str, str] | None:
        with storage_errors(self._settings):
            made = list(
                run_events(self._instance, run.run_id, dg.DagsterEventType.ASSET_MATERIALIZATION)
            )
        for record in made:
            materialization = record.asset_materialization
            if materialization is not None and materialization.asset_key == item:
                found = {name: value.value for name, value in materialization.metadata.items()}
                return str(found.get("collection")), str(found.get("item_id"))
        return None

    def _process_of(self, run: dg.DagsterRun) -> tuple[str, bool | None]:
        """Return where the run executes, and whether its process is alive (None if unknown)."""
        if runs_in_its_tagged_process(run):
            process, host = run.tags[PROCESS_TAG], run.tags.get(HOST_TAG, "")
            return f"process {process.partition('.')[0]} on {host}", is_alive(
                process
            ) if host == socket.gethostname() else None
        if run.status is _STATUS.STARTED and has_worker_health(self._instance):
            return "a worker of its own", _is_worker_alive(self._instance, run)
        started = self._started_process(run)
        if started is None:
            return "an unknown process", None
        pid, reported_s = started
        return f"process {pid}", is_alive_since(pid, reported_s) if _is_of_this_host(run) else None

    def _started_process(self, run: dg.DagsterRun) -> tuple[int, float] | None:
        """Return the process id that the code location reported for the run, and when."""
        with storage_errors(self._settings):
            events = run_events(self._instance, run.run_id, dg.DagsterEventType.ENGINE_EVENT)
            for record in events:
                pid = engine_value(record.event_log_entry, "pid")
                if pid is not None and pid.isdigit():
                    return int(pid), record.event_log_entry.timestamp
        return None


def _item_of(chain: Chain) -> dg.AssetKey:
    """Return the asset of the chain's last stage, which publishes the item."""
    return dg.AssetKey(chain.last.name)


def _is_worker_alive(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool | None:
    """Return whether the run's worker is alive, by its launcher. Return None if that is unknown."""
    try:
        health = worker_health(instance, run)
    except Exception as error:  # noqa: BLE001  # each launcher raises the errors of its own service
        _log.warning(
            "The launcher could not check the worker of run %s: %s",
            run.run_id,
            type(error).__name__,
        )
        return None
    return {"RUNNING": True, "SUCCESS": True, "NOT_FOUND": False, "FAILED": False}.get(health)


def _is_of_this_host(run: dg.DagsterRun) -> bool:
    """Return whether the run executes on this host.

    It does if its first stage tagged it with this host, or if the socket of the code location that
    started it exists here.
    """
    if run.tags.get(WORKER_TAG) == local_worker(run.run_id):
        return True
    server = run.tags.get(CODE_SERVER_TAG)
    socket_path = json.loads(server).get("socket") if server else None
    return socket_path is not None and Path(socket_path).exists()


def _ended_at(record: dg.RunRecord) -> datetime:
    return (
        datetime.fromtimestamp(record.end_time, UTC)
        if record.end_time
        else as_utc(record.update_timestamp)
    )


def _publishes(run: dg.DagsterRun, job: str, item: dg.AssetKey) -> bool:
    selection = run.asset_selection
    return item in selection if selection else run.job_name == job
