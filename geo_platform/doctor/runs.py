"""What the orchestrator says of runs, pools, sensors, its daemon and partitions, held against what is so. Pure.

What belongs here: facts in, findings out. What stays out: asking (`facts.Orchestrator`).
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

# How long a sensor may be without a tick at least.
SILENT_AFTER = timedelta(minutes=10)

# And how many of its own intervals.
SILENT_INTERVALS = 10

# A daemon gives a sign every 30 seconds, and a run may be queued for a moment before it is looked
# at.
DAEMON_SILENT_AFTER = timedelta(minutes=3)

_DEV = "Start the daemon (`geo-platform dev` on one machine)"


def compare_runs(runs: Iterable[RunFact]) -> Iterator[DoctorFinding]:
    """RUN_WITHOUT_PROCESS for those whose process is known to be gone."""
    for run in runs:
        if run.is_alive is False:
            yield DoctorFinding(
                FindingCode.RUN_WITHOUT_PROCESS,
                f"run {run.run_id}",
                f"The run of {run.job} is {run.status.lower()} since {_at(run.since_utc)}, and its process ({run.place}) is gone.",
                "--fix marks it as failed. What it had published by then, its checkpoints say; launch it again.",
                EndRun(run.run_id),
            )


def notes_on_runs(runs: Iterable[RunFact]) -> Iterator[str]:
    """Those of which it cannot be known here."""
    for run in runs:
        if run.is_alive is None:
            yield f"Whether the process of run {run.run_id} ({run.place}) lives cannot be known here; run monitoring watches it."


def compare_slots(slots: Iterable[SlotFact], *, dead: AbstractSet[str]) -> Iterator[DoctorFinding]:
    """POOL_HELD_BY_DEAD_RUN. `dead` are runs that are said to be at work and are not."""
    for slot in slots:
        if slot.has_ended or slot.run_id in dead:
            yield DoctorFinding(
                FindingCode.POOL_HELD_BY_DEAD_RUN,
                f"pool {slot.pool}",
                f"A slot of the pool {slot.pool} is taken for run {slot.run_id}, which {_state(slot, dead)}: others wait for it in vain.",
                "--fix frees what the run holds; the daemon does so too, some minutes after a run's end.",
                FreeSlots(slot.run_id),
            )


def _state(slot: SlotFact, dead: AbstractSet[str]) -> str:
    if slot.status is None:
        return "is not known any more"
    return "is gone" if slot.run_id in dead else f"ended ({slot.status.lower()})"


def compare_ticks(ticks: Iterable[TickFact], *, now_utc: datetime) -> Iterator[DoctorFinding]:
    """SENSOR_SILENT and SCHEDULE_SILENT."""
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
                f"The {kind} {tick.name} is switched on, and was last looked at by the daemon at {_at(tick.last_utc)}.",
                f"A person decides. {_DEV}, look into its log where it runs, or switch the {kind} off.",
            )


def compare_queue(queue: QueueFact | None, *, now_utc: datetime) -> Iterator[DoctorFinding]:
    """DAEMON_SILENT."""
    if queue is None or now_utc - queue.oldest_utc <= DAEMON_SILENT_AFTER:
        return
    if queue.heartbeat_utc is not None and now_utc - queue.heartbeat_utc <= DAEMON_SILENT_AFTER:
        return
    sign = (
        "never gave a sign"
        if queue.heartbeat_utc is None
        else f"gave its last sign at {_at(queue.heartbeat_utc)}"
    )
    runs = "1 run is" if queue.queued == 1 else f"{queue.queued} runs are"
    yield DoctorFinding(
        FindingCode.DAEMON_SILENT,
        "the daemon",
        f"{runs} queued, the oldest since {_at(queue.oldest_utc)}, and the daemon that launches them {sign}.",
        f"A person has to. {_DEV}; queued runs then start by themselves. A run that nobody wants is terminated in the UI.",
    )


def compare_partitions(
    partitions: Iterable[PartitionFact],
    *,
    accounted: AbstractSet[tuple[str, str]],
    sources: AbstractSet[str],
) -> Iterator[DoctorFinding]:
    """PARTITION_WITHOUT_RESULT among partitions of which no item tells.

    `accounted`: (collection, item id) that are published, kept or were withdrawn. `sources`: those keys whose object is there.
    """
    for partition in partitions:
        if partition.status is None:
            has_source = partition.key in sources
            yield DoctorFinding(
                FindingCode.PARTITION_WITHOUT_RESULT,
                f"partition {partition.key} of {partition.definition}",
                f"The partition {partition.key} has no run{'' if has_source else ', and there is no such object in bronze'}.",
                "A person decides: launch the job on it, or delete the partition in the UI."
                if has_source
                else "--fix removes the partition, which is a name and nothing else.",
                None if has_source else RemovePartition(partition.definition, partition.key),
            )
        elif partition.status == "SUCCESS" and partition.item not in accounted:
            named = (
                "said nothing of an item"
                if partition.item is None
                else f"said that it published {'/'.join(partition.item)}"
            )
            yield DoctorFinding(
                FindingCode.PARTITION_WITHOUT_RESULT,
                f"partition {partition.key} of {partition.definition}",
                f"Run {partition.run_id} succeeded and {named}, which is neither published nor kept nor withdrawn.",
                "A person has to: ingest the source again, with --force. Something else than the platform removed the item.",
            )


def _at(when: datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M:%S UTC")
