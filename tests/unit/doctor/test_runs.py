"""Doctor compares the orchestrator's records of runs, slots, ticks and partitions with facts."""

from datetime import UTC, datetime, timedelta

import pytest

from geo_platform.doctor.facts import PartitionFact, QueueFact, RunFact, SlotFact, TickFact
from geo_platform.doctor.findings import EndRun, FreeSlots, RemovePartition
from geo_platform.doctor.runs import (
    compare_partitions,
    compare_queue,
    compare_runs,
    compare_slots,
    compare_ticks,
    notes_on_runs,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def test_a_run_is_reported_dead_only_where_that_is_known() -> None:
    runs = [
        RunFact(f"run-{lives}", "process_raster", "STARTED", "process 7 on here", lives, NOW)
        for lives in (True, False, None)
    ]
    (finding,) = compare_runs(runs)
    assert (finding.mend, "STARTED".lower() in finding.message) == (EndRun("run-False"), True)
    (note,) = notes_on_runs(runs)
    assert "run run-None " in note


def test_only_slots_of_ended_or_dead_runs_are_freed() -> None:
    slots = [
        SlotFact("coppers", run, status, ended)
        for run, status, ended in (
            ("a", "STARTED", False),
            ("b", "FAILURE", True),
            ("c", None, True),
            ("d", "STARTED", False),
        )
    ]
    found = list(compare_slots(slots, dead={"d"}))
    assert [finding.mend for finding in found] == [FreeSlots("b"), FreeSlots("c"), FreeSlots("d")]
    assert [
        "ended (failure)" in found[0].message,
        "not known" in found[1].message,
        "is gone" in found[2].message,
    ] == [True] * 3


@pytest.mark.parametrize(
    ("is_sensor", "interval", "ago", "is_silent"),
    [
        (True, 30, 9 * MINUTE, False),
        (True, 30, 11 * MINUTE, True),
        (True, 600, 99 * MINUTE, False),
        (True, 600, 101 * MINUTE, True),
        (False, 30, 119 * MINUTE, False),
        (False, 30, 121 * MINUTE, True),
    ],
)
def test_the_limit_of_silence_depends_on_the_interval_of_ticks(
    is_sensor: bool, interval: float, ago: timedelta, is_silent: bool
) -> None:
    found = list(compare_ticks([TickFact("looks", is_sensor, NOW - ago, interval)], now_utc=NOW))
    assert bool(found) == is_silent
    assert all(
        finding.concerns == f"{'sensor' if is_sensor else 'schedule'} looks" for finding in found
    )


def test_a_missing_daemon_is_reported_only_where_runs_wait_for_it() -> None:
    long_ago, now = NOW - 4 * MINUTE, NOW
    assert not list(compare_queue(None, now_utc=NOW))
    assert not list(compare_queue(QueueFact(1, NOW - MINUTE, None), now_utc=NOW)), (
        "queued a moment ago"
    )
    assert not list(compare_queue(QueueFact(1, long_ago, now), now_utc=NOW)), (
        "the daemon is alive: the run waits for something else"
    )
    for heartbeat in (None, long_ago):
        (finding,) = compare_queue(QueueFact(2, long_ago, heartbeat), now_utc=NOW)
        assert finding.message.startswith("2 runs are queued") and finding.mend is None  # noqa: PT018


def test_a_partition_is_removed_only_without_a_run_and_a_source() -> None:
    place = ("rasters", "a")
    facts = [
        PartitionFact("raster_objects", "no run.tif", None, None, None),
        PartitionFact("raster_objects", "waits.tif", None, None, None),
        PartitionFact("raster_objects", "refused.tif", "r1", "FAILURE", None),
        PartitionFact("raster_objects", "under way.tif", "r2", "STARTED", None),
        PartitionFact("raster_objects", "withdrawn.tif", "r3", "SUCCESS", place),
        PartitionFact("raster_objects", "lost.tif", "r4", "SUCCESS", ("rasters", "lost")),
        PartitionFact("raster_objects", "mute.tif", "r5", "SUCCESS", None),
    ]
    found = {
        finding.concerns.split(" of ")[0].removeprefix("partition "): finding
        for finding in compare_partitions(facts, accounted={place}, sources={"waits.tif"})
    }
    assert set(found) == {"no run.tif", "waits.tif", "lost.tif", "mute.tif"}
    assert {name for name, finding in found.items() if finding.mend} == {"no run.tif"}
    assert found["no run.tif"].mend == RemovePartition("raster_objects", "no run.tif")
