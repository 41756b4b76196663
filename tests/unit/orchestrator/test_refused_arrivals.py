"""Refusals of real Dagster runs are moved once each, also after a kill or a store error."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from assets.batch import files_metadata
from geo_platform.arrivals.arrival import Arrival
from geo_platform.arrivals.quarantine import present_arrival
from geo_platform.arrivals.quarantine_records import list_quarantine
from geo_platform.arrivals.receipts import write_receipts
from geo_platform.dagster_internals import as_failure
from geo_platform.errors import (
    Conflict,
    CrsMissing,
    FilesRefused,
    NoFeatures,
    PlatformError,
    StoreUnavailable,
    UnexpectedFault,
)
from geo_platform.orchestrator.refused_arrivals import FailuresCursor, move_refused
from geo_platform.ports import BRONZE, MESSAGES, QUARANTINE, StoredObject
from geo_platform.runs import ARRIVAL_TAG, WATCH_TAG
from tests.support.in_process import DAGSTER_S_WARNINGS
from tests.support.memory_objects import Killed, MemoryObjects, Mortal, When, contents
from tests.support.run_events import engine_messages

pytestmark = DAGSTER_S_WARNINGS
BEGINNING = FailuresCursor()
ERRORS: dict[str, PlatformError] = {
    "crs": CrsMissing("It has none."),
    "features": NoFeatures("It is empty."),
    "conflict": Conflict("Another run."),
    "bug": UnexpectedFault("Nobody foresaw it."),
}


@dataclass(frozen=True)
class Ended:
    """The outcome of a file, in the form that `files_metadata` takes."""

    key: str
    error: PlatformError | None
    etag: str | None = None
    was_unchanged: bool = False


@dg.op(config_schema=dict)
def refuse_one(context: dg.OpExecutionContext) -> None:
    raise as_failure(ERRORS[context.op_config["error"]])


@dg.op(config_schema=dict)
def refuse_several(context: dg.OpExecutionContext) -> None:
    """Fail as `ingest_files` does: one failure that names the files."""
    outcomes = [Ended(key, ERRORS[error]) for key, error in context.op_config["errors"].items()]
    shown = {
        **files_metadata(outcomes, {ended.key: "" for ended in outcomes}),
        **FilesRefused("Some were.").as_record(),
    }
    raise dg.Failure("Some were refused.", metadata=shown, allow_retries=False)


@dg.job
def one() -> None:
    refuse_one()


@dg.job
def several() -> None:
    refuse_several()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def put_arrival(store: Any, key: str) -> Arrival:
    store.put_bytes(BRONZE, key, b"broken", metadata={})
    present = present_arrival(store, BRONZE, key)
    assert present is not None
    return present[0]


def run_one(
    instance: dg.DagsterInstance,
    store: Any,
    key: str,
    error: str = "crs",
    tags: Mapping[str, str] | None = None,
) -> str:
    """Execute a run as the sensor of a watch requests it, and write its receipt first."""
    arrival = put_arrival(store, key)
    write_receipts(
        store, {key: arrival}, {}, watch="scenes", run_key="run key", now_utc=datetime.now(UTC)
    )
    asked = {WATCH_TAG: "scenes", ARRIVAL_TAG: key} if tags is None else dict(tags)
    config = {"ops": {"refuse_one": {"config": {"container_name": BRONZE, "error": error}}}}
    ended = one.execute_in_process(
        config, instance=instance, raise_on_error=False, tags={**asked, "dagster/partition": key}
    )
    return ended.run_id


def run_several(instance: dg.DagsterInstance, store: Any, errors: Mapping[str, str]) -> str:
    files = [{"key": key, "etag": put_arrival(store, key).etag} for key in errors]
    config = {
        "ops": {
            "refuse_several": {
                "config": {"container_name": BRONZE, "files": files, "errors": dict(errors)}
            }
        }
    }
    return several.execute_in_process(
        config, instance=instance, raise_on_error=False, tags={WATCH_TAG: "scenes"}
    ).run_id


def quarantine_events(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    return [text for text in engine_messages(instance, run_id) if text.startswith("QUARANTINED ")]


def tick(
    instance: dg.DagsterInstance, store: Any, cursor: FailuresCursor, **given: float
) -> FailuresCursor:
    return move_refused(instance, store, cursor, **given)[0]


@pytest.fixture
def store() -> MemoryObjects:
    return MemoryObjects()


def test_a_refused_arrival_is_moved_once_and_reported_once_in_its_run(
    instance: dg.DagsterInstance, store: Any
) -> None:
    run_id = run_one(instance, store, "a.tif")
    cursor = tick(instance, store, BEGINNING)
    (entry,) = list_quarantine(store)
    assert entry.record is not None
    assert (
        entry.record.code,
        entry.record.run_id,
        entry.record.watch,
        contents(store, BRONZE),
    ) == ("CRS_MISSING", run_id, "scenes", {})
    (event,) = quarantine_events(instance, run_id)
    assert "bronze/a.tif was refused with CRS_MISSING and moved to quarantine/a.tif" in event
    watched = Mortal(store)
    assert tick(instance, watched, cursor) == cursor
    assert watched.calls == [], "a run is examined once"
    tick(instance, store, BEGINNING)
    assert quarantine_events(instance, run_id) == [event]


@pytest.mark.parametrize(
    ("error", "tags"),
    [("crs", {}), ("conflict", None), ("bug", None), ("crs", {WATCH_TAG: "scenes"})],
    ids=["a person's run", "a conflict", "a fault of ours", "no arrival named"],
)
def test_other_failures_move_nothing(
    error: str, tags: Mapping[str, str] | None, instance: dg.DagsterInstance, store: Any
) -> None:
    run_id = run_one(instance, store, "a.tif", error, tags)
    cursor = tick(instance, store, BEGINNING)
    assert (
        set(contents(store, BRONZE)),
        contents(store, QUARANTINE),
        quarantine_events(instance, run_id),
    ) == (
        {"a.tif"},
        {},
        [],
    )
    assert cursor.again == ()


def test_a_newer_object_stays(instance: dg.DagsterInstance, store: Any) -> None:
    run_id = run_one(instance, store, "a.tif")
    store.put_bytes(BRONZE, "a.tif", b"mended", metadata={})
    _, done = move_refused(instance, store, BEGINNING)
    assert (contents(store, BRONZE), done.moved, quarantine_events(instance, run_id)) == (
        {"a.tif": b"mended"},
        [],
        [],
    )
    assert "overwritten after" in done.not_moved[0]


def test_each_refused_file_of_a_shared_run_is_moved_by_itself(
    instance: dg.DagsterInstance, store: Any
) -> None:
    put_arrival(store, "fine.json")
    run_id = run_several(
        instance,
        store,
        {"a.tif": "crs", "b.json": "features", "c.json": "conflict", "d.json": "bug"},
    )
    tick(instance, store, BEGINNING)
    found = {entry.key: entry.record.code for entry in list_quarantine(store) if entry.record}
    assert found == {"a.tif": "CRS_MISSING", "b.json": "NO_FEATURES"}
    assert set(contents(store, BRONZE)) == {"fine.json", "c.json", "d.json"}
    assert len(quarantine_events(instance, run_id)) == 2


def test_a_tick_that_is_killed_loses_nothing_and_repeats_nothing(
    instance: dg.DagsterInstance,
) -> None:
    """A tick that was killed keeps no new cursor, so the next tick starts where it started."""
    for number in range(100):
        store = MemoryObjects()
        run_id = run_several(instance, store, {"a.tif": "crs", "b.json": "features"})
        last = (
            instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=1)
            .records[0]
            .storage_id
        )
        since = FailuresCursor(
            after=last - 1,
            seen={run.run_id: last - 1 for run in instance.get_runs() if run.run_id != run_id},
        )
        try:
            tick(instance, Mortal(store, number, When.after), since)
            was_killed = False
        except Killed:
            was_killed = True
        tick(instance, store, since)
        assert contents(store, BRONZE) == {}
        assert set(contents(store, QUARANTINE)) == {
            "a.tif",
            "a.tif.quarantine.json",
            "b.json",
            "b.json.quarantine.json",
        }
        assert len(quarantine_events(instance, run_id)) == 2
        if not was_killed:
            assert number >= 8
            return
    raise AssertionError("every tick was killed")


class Unreachable(MemoryObjects):
    """A store that is unavailable for one object."""

    is_down = True

    def move(
        self, container: str, key: str, to_container: str, *, etag: str, metadata: Mapping[str, str]
    ) -> StoredObject:
        if self.is_down and key == "a.tif":
            raise StoreUnavailable("No answer.")
        return super().move(container, key, to_container, etag=etag, metadata=metadata)


def test_a_store_error_for_one_object_delays_no_other_and_is_retried(
    instance: dg.DagsterInstance,
) -> None:
    store = Unreachable()
    first, second = run_one(instance, store, "a.tif"), run_one(instance, store, "b.tif")
    cursor, done = move_refused(instance, store, BEGINNING)
    assert cursor.again == (first,)
    assert (quarantine_events(instance, first), len(quarantine_events(instance, second))) == ([], 1)
    assert "STORE_UNAVAILABLE" in done.summary
    store.is_down = False
    assert tick(instance, store, cursor).again == ()
    assert (contents(store, BRONZE), len(quarantine_events(instance, first))) == ({}, 1)


def test_the_next_tick_continues_when_time_runs_out(
    instance: dg.DagsterInstance, store: Any
) -> None:
    run_ids = [run_one(instance, store, f"{name}.tif") for name in "ab"]
    cursor = tick(instance, store, FailuresCursor(again=(run_ids[0],)), within_s=0)
    assert (cursor.again, contents(store, QUARANTINE)) == ((run_ids[0],), {})
    tick(instance, store, cursor)
    assert contents(store, BRONZE) == {}


def test_an_event_that_appears_after_one_with_a_higher_number_is_found(
    instance: dg.DagsterInstance, store: Any
) -> None:
    run_id = run_one(instance, store, "a.tif")
    last = (
        instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=1)
        .records[0]
        .storage_id
    )
    tick(instance, store, FailuresCursor(after=last + 20))
    assert len(quarantine_events(instance, run_id)) == 1


def test_every_page_of_failures_is_read(
    instance: dg.DagsterInstance, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geo_platform.orchestrator.refused_arrivals._PAGE", 2)
    for name in "abcde":
        run_one(instance, store, f"{name}.tif")
    cursor = tick(instance, store, BEGINNING)
    assert (contents(store, BRONZE), len(cursor.seen)) == ({}, 5)


def test_an_unreadable_receipt_is_reported_and_retried(
    instance: dg.DagsterInstance, store: Any
) -> None:
    run_id = run_one(instance, store, "a.tif")
    (receipt,) = contents(store, MESSAGES)
    store.put_bytes(MESSAGES, receipt, b"{", metadata={})
    cursor, done = move_refused(instance, store, BEGINNING)
    assert (cursor.again, len(done.faults)) == ((run_id,), 1)
