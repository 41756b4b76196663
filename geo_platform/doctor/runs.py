"""Check the orchestrator's runs, pools, sensors, daemon and partitions.

Pure functions that turn facts into findings. `facts.Orchestrator` reads the facts.

Called by `examine.py`.
"""

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta

from geo_platform.doctor.facts import PartitionFact, QueueFact, RunFact, SlotFact, TickFact
from geo_platform.doctor.findings import (
    DoctorFinding,
    EndRun,
    FindingCode,
    FreeSlots,
    RemovePartition,
)

# A sensor counts as silent after this time, or after this many of its own intervals if longer.
SILENT_AFTER = timedelta(minutes=10)
SILENT_INTERVALS = 10

# A daemon sends a heartbeat every 30 seconds, and a run may be queued for a moment.
DAEMON_SILENT_AFTER = timedelta(minutes=3)

_DEV = "Start the daemon (`geo-platform dev` on one machine)"


def compare_runs(runs: Iterable[RunFact]) -> Iterator[DoctorFinding]:
    """Yield RUN_WITHOUT_PROCESS for each run whose process is known to be gone."""
    for run in runs:
        if run.is_alive is False:
            yield DoctorFinding(
                FindingCode.RUN_WITHOUT_PROCESS,
                f"run {run.run_id}",
                f"The run of {run.job} is {run.status.lower()} since {_at(run.since_utc)}, and its "
                f"process ({run.place}) is gone.",
                "--fix marks it as failed. Its checkpoints show what it published. Then launch it "
                "again.",
                EndRun(run.run_id),
            )


def notes_on_runs(runs: Iterable[RunFact]) -> Iterator[str]:
    """Yield a note for each run whose process this host cannot check."""
    for run in runs:
        if run.is_alive is None:
            yield (
                f"This host cannot tell whether the process of run {run.run_id} ({run.place}) is "
                "alive; run monitoring watches it."
            )


def compare_slots(slots: Iterable[SlotFact], *, dead: AbstractSet[str]) -> Iterator[DoctorFinding]:
    """Yield POOL_HELD_BY_DEAD_RUN for each slot of a run that has ended or whose process is gone.

    `dead` are the unfinished runs whose process is gone.
    """
    for slot in slots:
        if slot.has_ended or slot.run_id in dead:
            yield DoctorFinding(
                FindingCode.POOL_HELD_BY_DEAD_RUN,
                f"pool {slot.pool}",
                f"Run {slot.run_id}, which {_state(slot, dead)}, holds a slot of the pool "
                f"{slot.pool} that other runs wait for.",
                "--fix frees its slots; the daemon does so too, some minutes after a run's end.",
                FreeSlots(slot.run_id),
            )


def _state(slot: SlotFact, dead: AbstractSet[str]) -> str:
    if slot.status is None:
        return "is not known"
    return "is gone" if slot.run_id in dead else f"ended ({slot.status.lower()})"


def compare_ticks(ticks: Iterable[TickFact], *, now_utc: datetime) -> Iterator[DoctorFinding]:
    """Yield SENSOR_SILENT and SCHEDULE_SILENT for those not evaluated for too long."""
    for tick in ticks:
        allowed = (
            max(SILENT_AFTER, timedelta(seconds=tick.interval_seconds * SILENT_INTERVALS))
            if tick.is_sensor
            else timedelta(hours=2)
        )
        if now_utc - tick.last_utc > allowed:
            kind = "sensor" if tick.is_sensor else "schedule"
            yield DoctorFinding(
                FindingCode.SENSOR_SILENT if tick.is_sensor else FindingCode.SCHEDULE_SILENT,
                f"{kind} {tick.name}",
                f"The {kind} {tick.name} is switched on, and the daemon last evaluated it at "
                f"{_at(tick.last_utc)}.",
                f"A person has to decide. {_DEV}, read its log if it runs, or switch off the "
                f"{kind}.",
            )


def compare_queue(queue: QueueFact | None, *, now_utc: datetime) -> Iterator[DoctorFinding]:
    """Yield DAEMON_SILENT if runs are queued and the daemon sends no heartbeat."""
    if queue is None or now_utc - queue.oldest_utc <= DAEMON_SILENT_AFTER:
        return
    if queue.heartbeat_utc is not None and now_utc - queue.heartbeat_utc <= DAEMON_SILENT_AFTER:
        return
    heartbeat = (
        "never sent a heartbeat"
        if queue.heartbeat_utc is None
        else f"sent its last heartbeat at {_at(queue.heartbeat_utc)}"
    )
    runs = "1 run is" if queue.queued == 1 else f"{queue.queued} runs are"
    yield DoctorFinding(
        FindingCode.DAEMON_SILENT,
        "the daemon",
        f"{runs} queued, the oldest since {_at(queue.oldest_utc)}, and the daemon that launches "
        f"them {heartbeat}.",
        f"Needs a person. {_DEV}; queued runs then start by themselves. Terminate unwanted runs in "
        "the UI.",
    )


def compare_partitions(
    partitions: Iterable[PartitionFact],
    *,
    accounted: AbstractSet[tuple[str, str]],
    sources: AbstractSet[str],
) -> Iterator[DoctorFinding]:
    """Yield PARTITION_WITHOUT_RESULT for partitions without a run, and for partitions whose run
    succeeded but whose item is missing.

    `partitions` are those whose object is not the source of any item. `accounted` are the
    (collection, item id) of items that are published, kept or withdrawn. `sources` are the keys
    whose object exists.
    """
    for partition in partitions:
        if partition.status is None:
            has_source = partition.key in sources
            yield DoctorFinding(
                FindingCode.PARTITION_WITHOUT_RESULT,
                f"partition {partition.key} of {partition.definition}",
                f"The partition {partition.key} has no run"
                f"{'' if has_source else ', and bronze has no such object'}.",
                "A person has to decide: launch the job on it, or delete the partition in the UI."
                if has_source
                else "--fix removes the partition. It is only a name.",
                None if has_source else RemovePartition(partition.definition, partition.key),
            )
        elif partition.status == "SUCCESS" and partition.item not in accounted:
            named = (
                "reported no item"
                if partition.item is None
                else f"reported the item {'/'.join(partition.item)} as published"
            )
            yield DoctorFinding(
                FindingCode.PARTITION_WITHOUT_RESULT,
                f"partition {partition.key} of {partition.definition}",
                f"Run {partition.run_id} succeeded and {named}; no such item is published, kept or "
                "withdrawn.",
                "Needs a person: ingest the source again with --force. Something other than the "
                "platform removed the item.",
            )


def _at(when: datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M:%S UTC")
