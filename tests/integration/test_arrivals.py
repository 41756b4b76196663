"""From an object that lands to its run request: real ticks, a real Dagster instance and a real
store.

`Daemon` replaces the daemon, which executes what a tick requests; tests/e2e/test_arriving.py uses
the real one.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from geo_platform.arrivals.arrival import arrival_of
from geo_platform.arrivals.listing import ListingCursor
from geo_platform.arrivals.watch import Watch
from geo_platform.contracts.arrival import RunAsked
from geo_platform.contracts.stored import dump_message, load_message
from geo_platform.orchestrator.arrival_events import HIDDEN_S, EventIntake, EventsCursor, EventsTick
from geo_platform.orchestrator.arrival_listing import KnownArrivals, listing_tick
from geo_platform.orchestrator.run_requests import LaunchPlan, plan_launches
from geo_platform.ports import BRONZE, QueuedMessage
from geo_platform.runs import RUN_KEY_TAG, WATCH_TAG
from geo_platform.storage.local.folder import FolderStore
from tests.support.command import ROOT
from tests.support.queues import Created, MemoryQueue

SAMPLE = ROOT / "samples" / "sierra_nevada_srtm.tif"
ACCOUNT = "https://geoaccount.blob.core.windows.net"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


class Blobs(FolderStore):
    """A store whose objects are complete as soon as they are listed, as in a service."""

    is_local = False


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "store")


@dataclass
class Daemon:
    """Creates the runs that ticks request, as records with the request's tags."""

    instance: dg.DagsterInstance
    runs: list[dg.RunRequest] = field(default_factory=list)

    def launch(self, taken: LaunchPlan) -> None:
        for request in taken.requests:
            tags = {
                **request.tags,
                RUN_KEY_TAG: str(request.run_key),
                "dagster/partition": str(request.partition_key or ""),
            }
            self.instance.add_run(
                dg.DagsterRun(
                    job_name=str(request.job_name),
                    tags=tags,
                    status=dg.DagsterRunStatus.NOT_STARTED,
                )
            )
            self.runs.append(request)

    def end(self) -> None:
        for run in self.instance.get_runs():
            self.instance.delete_run(run.run_id)
            self.instance.add_run(run.with_status(dg.DagsterRunStatus.SUCCESS))

    @property
    def partitions(self) -> list[str | None]:
        return [request.partition_key for request in self.runs]


@dataclass
class Events:
    """A queue, and ticks that read it."""

    intake: EventIntake
    queue: MemoryQueue
    daemon: Daemon
    cursor: EventsCursor = field(default_factory=EventsCursor)

    def land(self, key: str, content: bytes | Path = SAMPLE) -> str:
        """Put an object and send its event."""
        path = content if isinstance(content, Path) else None
        objects = self.intake.objects
        if path is not None:
            objects.put_file(BRONZE, key, path, metadata={})
        elif isinstance(content, bytes):
            objects.put_bytes(BRONZE, key, content, metadata={})
        return self.tell(key)

    def tell(self, key: str, **changes: Any) -> str:
        return self.queue.send(
            Created(BRONZE, key, account_url=ACCOUNT, **changes).event("eventgrid")
        )

    def tick(self, *, crashes: bool = False) -> EventsTick:
        """Run one tick and the daemon's work; with `crashes`, the tick's result is lost."""
        tick = self.intake.tick(self.cursor, tick_s=0.3)
        if not crashes:
            self.cursor = EventsCursor.model_validate_json(tick.cursor.model_dump_json())
            self.daemon.launch(tick.plan)
        return tick


@pytest.fixture
def events(instance: dg.DagsterInstance, blobs: Blobs) -> Events:
    return _events(instance, blobs, [Watch(name="bronze")])


def _events(instance: dg.DagsterInstance, blobs: Blobs, watches: Sequence[Watch]) -> Events:
    queue = MemoryQueue()
    return Events(
        EventIntake(instance, queue, blobs, watches, account_url=ACCOUNT), queue, Daemon(instance)
    )


def test_an_event_becomes_a_run_and_its_message_is_deleted_after_the_run_exists(
    events: Events,
) -> None:
    events.land("dem/sierra.tif")
    tick = events.tick()
    (request,) = tick.plan.requests
    assert (request.job_name, request.partition_key) == ("process_raster", "dem/sierra.tif")
    assert request.tags[WATCH_TAG] == "bronze"
    assert request.run_config["ops"]["raw_raster"]["config"]["container_name"] == BRONZE
    assert events.queue.kept, "the message is kept until the run exists"
    events.tick()
    assert not events.queue.kept
    assert len(events.daemon.runs) == 1


def test_a_lost_tick_result_is_repaired_when_the_message_reappears(
    events: Events,
) -> None:
    events.land("sierra.tif")
    lost = events.tick(crashes=True)
    assert len(lost.plan.requests) == 1
    events.queue.now_s += HIDDEN_S + 1
    early = events.tick()  # the receipt is fresh: its run may be about to start
    assert not early.plan.requests
    _make_receipts_old(events)
    events.queue.now_s += 60
    again = events.tick()
    assert [request.run_key for request in again.plan.requests] == [
        request.run_key for request in lost.plan.requests
    ]
    events.tick()
    assert not events.queue.kept


def _make_receipts_old(events: Events) -> None:
    objects = events.intake.objects
    for stored in list(objects.list("messages", "arrivals/")):
        asked = load_message(objects.read_bytes("messages", stored.reference.key), RunAsked)
        older = asked.model_copy(update={"asked_at_utc": asked.asked_at_utc - timedelta(hours=1)})
        objects.put_bytes("messages", stored.reference.key, dump_message(older), metadata={})


def test_the_same_event_twice_and_the_same_object_by_listing_make_one_run(
    events: Events, instance: dg.DagsterInstance
) -> None:
    events.land("sierra.tif")
    events.tell("sierra.tif")
    events.tick()
    events.tell("sierra.tif")
    events.tick()
    events.tick()
    listed = listing_tick(
        instance, events.intake.objects, Watch(name="bronze"), ListingCursor(), KnownArrivals()
    )
    assert not listed.plan.requests
    assert len(listed.plan.with_run) == 1
    assert len(events.daemon.runs) == 1
    assert not events.queue.kept


class SteadyQueue(MemoryQueue):
    """Adds another object's message at every receive."""

    def receive(self, max_messages: int, *, hidden_s: int) -> list[QueuedMessage]:
        self.send(Created(BRONZE, f"{len(self.kept)}.tif", account_url=ACCOUNT).event("eventgrid"))
        return super().receive(max_messages, hidden_s=hidden_s)


def test_the_first_events_of_a_steady_stream_do_not_wait_for_its_end(
    instance: dg.DagsterInstance, blobs: Blobs
) -> None:
    intake = EventIntake(
        instance, SteadyQueue(), blobs, [Watch(name="bronze")], account_url=ACCOUNT
    )
    assert 1 < intake.tick(EventsCursor(), tick_s=15).received < 40


def test_a_new_version_is_a_new_arrival_and_is_found_by_the_older_event(events: Events) -> None:
    events.land("sierra.tif")
    events.tick()
    events.land("sierra.tif")
    events.tick()
    first, second = events.daemon.runs
    assert first.run_key != second.run_key
    assert events.daemon.partitions == ["sierra.tif", "sierra.tif"]


def test_a_deleted_object_has_no_run_and_its_message_is_deleted(events: Events) -> None:
    events.land("sierra.tif")
    events.intake.objects.delete(BRONZE, "sierra.tif")
    tick = events.tick()
    assert not tick.plan.requests
    assert tick.log_lines == ["bronze/sierra.tif: it was deleted before its run"]
    assert not events.queue.kept


def test_small_objects_that_land_together_share_a_run_and_large_ones_have_their_own(
    events: Events,
) -> None:
    for number in range(50):
        events.land(f"points/{number}.geojson", b'{"type": "Point", "coordinates": [1, 2]}')
    events.land("large.tif", b"II*\0" + bytes(9 * 2**20))
    tick = events.tick()
    shared, large = sorted(
        tick.plan.requests, key=lambda request: request.job_name != "ingest_files"
    )
    assert len(shared.run_config["ops"]["files"]["config"]["files"]) == 50
    assert shared.tags["geo_platform/arrivals"] == "50"
    assert large.partition_key == "large.tif"
    events.tick()
    assert not events.queue.kept


def test_a_full_queue_gets_no_more_runs_and_the_oldest_start_first(
    instance: dg.DagsterInstance, blobs: Blobs
) -> None:
    events = _events(instance, blobs, [Watch(name="bronze", most_waiting_runs=2, small_bytes=0)])
    for name in ("c", "a", "b"):
        events.land(f"{name}.tif")
    events.tick()
    assert events.daemon.partitions == ["c.tif", "a.tif"]
    events.queue.now_s += 10
    assert not events.tick().plan.requests
    events.daemon.end()
    events.queue.now_s += 10
    events.tick()
    assert events.daemon.partitions == ["c.tif", "a.tif", "b.tif"]
    events.tick()
    assert not events.queue.kept


def test_a_shapefile_waits_until_all_its_parts_exist(events: Events, tmp_path: Path) -> None:
    shutil.unpack_archive(ROOT / "samples" / "natural_earth_countries.shp.zip", tmp_path / "parts")
    parts = sorted(
        path
        for path in (tmp_path / "parts").rglob("*")
        if path.suffix in (".shp", ".shx", ".dbf", ".prj")
    )
    assert len(parts) == 4
    for path in parts:
        events.queue.now_s += 10
        assert not events.tick().plan.requests
        events.land(f"world/countries{path.suffix}", path)
    events.queue.now_s += 10
    tick = events.tick()
    (request,) = tick.plan.requests
    assert (request.job_name, request.partition_key) == ("ingest_vector", "world/countries.shp")
    events.tick()
    events.queue.now_s += HIDDEN_S + 1
    events.tick()
    assert not events.queue.kept
    assert len(events.daemon.runs) == 1


def test_a_later_sidecar_is_a_new_arrival_whatever_the_patterns(
    instance: dg.DagsterInstance, blobs: Blobs
) -> None:
    events = _events(instance, blobs, [Watch(name="scenes", prefix="in/", include=("*.tif",))])
    events.land("in/scene.tif")
    events.tick()
    events.land("in/scene.tfw", b"1\n0\n0\n-1\n0\n0\n")
    events.tick()
    assert events.daemon.partitions == ["in/scene.tif", "in/scene.tif"]
    events.land("in/readme.md", b"# hello")
    events.land("elsewhere/scene.tif")
    assert not events.tick().plan.requests
    events.tick()
    assert not events.queue.kept


def test_an_invalid_message_is_buried_with_the_reason(events: Events) -> None:
    events.queue.send("not an event")
    events.tell("a.tif", type="Microsoft.Storage.BlobDeleted")
    events.queue.send(
        Created(BRONZE, "a.tif", account_url="https://other.blob.core.windows.net").event(
            "cloudevents"
        )
    )
    tick = events.tick()
    assert not events.queue.kept
    assert [reason for _, reason in events.queue.buried] == [
        "It is neither JSON nor JSON as Base64 text.",
        "It is of the account 'other.blob.core.windows.net'; "
        "this deployment uses 'geoaccount.blob.core.windows.net'.",
    ]
    assert not tick.plan.requests


def test_an_object_submitted_by_a_person_is_not_requested_again(events: Events) -> None:
    events.intake.objects.put_file(BRONZE, "mine.tif", SAMPLE, metadata={"origin": "1-2-3"})
    events.tell("mine.tif")
    tick = events.tick()
    assert not tick.plan.requests
    assert "submitted" in tick.log_lines[0]
    assert not events.queue.kept


def test_listing_requests_the_files_of_a_folder_after_they_stop_changing(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    folder, watch, known, daemon = (
        FolderStore(tmp_path / "store"),
        Watch(name="bronze", settle_s=1),
        KnownArrivals(),
        Daemon(instance),
    )
    inbox = tmp_path / "store" / "bronze" / "in"
    inbox.mkdir(parents=True)
    shutil.copyfile(SAMPLE, inbox / "sierra.tif")
    (inbox / "empty.tif").touch()
    tick = listing_tick(instance, folder, watch, ListingCursor(), known, tick_s=10)
    daemon.launch(tick.plan)
    assert daemon.partitions == ["in/sierra.tif"]
    again = listing_tick(instance, folder, watch, tick.cursor, known, tick_s=0)
    assert not again.plan.requests
    shutil.copyfile(ROOT / "samples" / "san_francisco_landsat7.tif", inbox / "sierra.tif")
    later = listing_tick(instance, folder, watch, again.cursor, known, tick_s=10)
    daemon.launch(later.plan)
    assert daemon.partitions == ["in/sierra.tif", "in/sierra.tif"]


def test_two_sensors_that_find_an_object_at_once_request_one_run(
    instance: dg.DagsterInstance, blobs: Blobs
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    arrivals = [
        arrival_of(blobs.put_file(BRONZE, f"{number}.tif", SAMPLE, metadata={}))
        for number in range(20)
    ]
    watch = Watch(name="bronze", small_bytes=0)
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda _: plan_launches(instance, blobs, watch, arrivals), range(4)))
    asked = [request.partition_key for one in taken for request in one.requests]
    assert sorted(asked) == sorted(arrival.key for arrival in arrivals)


def test_many_known_objects_are_compared_over_several_ticks_with_a_slow_store(
    instance: dg.DagsterInstance, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new process finds the receipts of all objects over several ticks and requests nothing; then
    it requests new objects.
    """
    watch = Watch(name="bronze", files_per_run=1000)
    arrivals = [
        arrival_of(blobs.put_bytes(BRONZE, f"old/{number:04}.tif", b"II*\0", metadata={}))
        for number in range(1100)
    ]
    daemon = Daemon(instance)
    for part in (arrivals[:600], arrivals[600:]):
        daemon.launch(plan_launches(instance, blobs, watch, part))
    blobs.put_bytes(BRONZE, "new.tif", b"II*\0", metadata={})
    known, cursor = KnownArrivals(), ListingCursor()
    asked: list[dg.RunRequest] = []
    monkeypatch.setattr("geo_platform.orchestrator.arrival_listing._OVERTIME_S", -1000)
    late = listing_tick(instance, blobs, watch, cursor, known)
    assert (late.plan.requests, late.cursor.watermark_utc) == ([], None), (
        "time is up before anything was compared"
    )
    monkeypatch.undo()
    while cursor.watermark_utc is None:
        tick = listing_tick(instance, blobs, watch, cursor, known)
        cursor = tick.cursor
        asked += tick.plan.requests
    assert [request.partition_key for request in asked] == ["new.tif"]
