"""Objects that arrive during faults are published once in their last version, or refused.

The stores, the daemon and the code location are real and are killed; the tests enqueue messages as
Event Grid would.
"""

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from deploy.local.contents import CONTAINERS, make_containers
from geo_platform.ports import BRONZE
from geo_platform.runs import WATCH_TAG
from geo_platform.settings import Profile
from tests.support.arriving import Arriving, arriving_on, keys_of, point
from tests.support.command import SAMPLES, geo_platform
from tests.support.faults import Faults
from tests.support.in_process import DAGSTER_S_WARNINGS
from tests.support.own_dagster import CODE, DAEMON
from tests.support.production import ProfileUnderTest
from tests.support.queues import Created, buried, message_text
from tests.support.servers import Blobs, OwnAzurite
from tests.support.ui import dagster_dev

pytestmark = [*DAGSTER_S_WARNINGS, pytest.mark.filterwarnings("ignore::dagster.BetaWarning")]

CLOCK_AHEAD = Path(__file__).parents[1] / "support" / "clock_ahead.cjs"
_STATUS = dg.DagsterRunStatus
BOTH: tuple[str, ...] = ("eventgrid", "cloudevents")


def test_files_copied_into_the_inbox_are_published_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    inbox = home / "store" / BRONZE / "in"
    inbox.mkdir(parents=True)
    shutil.unpack_archive(SAMPLES / "natural_earth_countries.shp.zip", tmp_path / "parts")
    (inbox / "notes.txt").write_text("Nothing of ours.")
    (inbox / ".hidden.tif").write_bytes((SAMPLES / "sierra_nevada_srtm.tif").read_bytes())
    with dagster_dev(home, takes_in=True):
        for part in sorted((tmp_path / "parts").rglob("*.*")):
            shutil.copyfile(part, inbox / f"countries{part.suffix}")
        shutil.copyfile(SAMPLES / "sierra_nevada_srtm.tif", inbox / "sierra.tif")
        catalog, deadline = (
            ProfileUnderTest(Profile.embedded, {}).catalog(home),
            time.monotonic() + 120,
        )
        while len(list(catalog.entries())) < 2:
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.2)
        asked = _requested_files(home)
    (listed,) = geo_platform("list", "--json", home=home).lines
    assert {entry["source"] for entry in listed} == {"in/countries.shp", "in/sierra.tif"}  # type: ignore[index]
    assert (sorted(asked), list(catalog.versions())) == (["in/countries.shp", "in/sierra.tif"], [])


def _requested_files(home: Path) -> list[str]:
    """Return every file of every run that a sensor requested."""
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        return [
            key
            for run in instance.get_runs(dg.RunsFilter(tags={WATCH_TAG: BRONZE}))
            for key in keys_of(run)
        ]


@pytest.fixture(scope="module")
def arriving(
    module_production: ProfileUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Arriving]:
    with arriving_on(module_production, tmp_path_factory.mktemp("arriving")) as deployment:
        yield deployment


@pytest.mark.slow
def test_a_file_uploaded_twice_is_published_in_its_last_version(
    arriving: Arriving, faults: Faults
) -> None:
    faults.tried("the same file uploaded twice")
    for _ in range(2):
        arriving.put("twice.geojson", point("the same"), "eventgrid")
        arriving.published("twice.geojson")
    arriving.settled()
    assert _published_text(arriving, "twice.geojson") == "the same"
    assert len(arriving.records("twice.geojson")) == 2
    faults.survived("the same file uploaded twice")


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["QUEUED", "STARTED", "its second stage begins"])
def test_an_object_overwritten_during_its_run_is_published_in_its_last_version(
    arriving: Arriving, faults: Faults, moment: str
) -> None:
    fault = f"overwritten when its run has reached:  {moment}"
    faults.tried(fault)
    key = f"overwritten_{moment.replace(' ', '_').lower()}.geojson"
    arriving.put(key, point("the first", others=20_000), "eventgrid")
    arriving.wait(lambda: _has_reached(arriving, key, moment))
    arriving.put(key, point("the last"), "cloudevents")
    arriving.published(key)
    arriving.settled()
    assert _published_text(arriving, key) == "the last"
    newest, *older = arriving.records(key)
    assert newest.dagster_run.status is _STATUS.SUCCESS
    for record in older:
        if record.dagster_run.status is not _STATUS.SUCCESS:
            assert arriving.error_of(record.dagster_run.run_id)["code"] == "CONFLICT"
    faults.survived(fault)


def _has_reached(arriving: Arriving, key: str, moment: str) -> bool:
    records = arriving.records(key)
    if not records or moment == "QUEUED":
        return bool(records)
    run = records[0].dagster_run
    if moment == "STARTED":
        return run.status in (_STATUS.STARTED, _STATUS.SUCCESS)
    stages = arriving.instance.get_records_for_run(
        run.run_id, of_type=dg.DagsterEventType.STEP_START
    ).records
    return len(stages) >= 2


@pytest.mark.slow
def test_an_object_deleted_before_its_run_is_refused_or_not_requested(
    arriving: Arriving, faults: Faults
) -> None:
    faults.tried("deleted before its run was requested")
    arriving.put("gone_at_once.geojson", point("gone"), "eventgrid")
    arriving.delete("gone_at_once.geojson")
    faults.tried("deleted before its run began")
    arriving.put("gone.geojson", point("gone"), "eventgrid")
    (record,) = arriving.wait(lambda: arriving.records("gone.geojson"))
    arriving.delete("gone.geojson")
    arriving.settled()
    for key in ("gone_at_once.geojson", "gone.geojson"):
        assert arriving.items(key) == []
        for found in arriving.records(key):
            assert arriving.error_of(found.dagster_run.run_id)["code"] == "SOURCE_NOT_FOUND"
    assert arriving.instance.get_run_record_by_id(record.dagster_run.run_id) is not None
    faults.survived("deleted before its run was requested")
    faults.survived("deleted before its run began")


@pytest.mark.slow
def test_fifty_files_at_once_are_published_once_each(arriving: Arriving, faults: Faults) -> None:
    faults.tried("50 files at the same instant")
    keys = [f"at_once/file_{number:02}.geojson" for number in range(50)]
    _at_once(lambda number: arriving.put(keys[number], point(keys[number]), "eventgrid"), 50)
    arriving.published(*keys)
    arriving.settled()
    results = arriving.results()
    assert {results[key] for key in keys} == {1}
    assert [_published_text(arriving, key) for key in keys[::10]] == keys[::10]
    faults.survived("50 files at the same instant")


@pytest.mark.slow
def test_one_key_uploaded_fifty_times_at_once_is_published_in_its_last_version(
    arriving: Arriving, faults: Faults
) -> None:
    faults.tried("one key 50 times at the same instant")
    key = "fifty_times.geojson"
    _at_once(lambda number: arriving.put(key, point(f"version {number}"), "eventgrid"), 50)
    arriving.published(key)
    arriving.settled()
    current = (
        arriving.blobs.get_blob_client(f"{arriving.prefix}{BRONZE}", key).download_blob().readall()
    )
    assert current == point(_published_text(arriving, key))
    assert len(arriving.items(key)) == 1
    faults.survived("one key 50 times at the same instant")


@pytest.mark.slow
def test_repeated_events_make_one_run_and_unusable_messages_are_set_aside(
    arriving: Arriving, faults: Faults
) -> None:
    faults.tried("each event six times, in both shapes")
    faults.tried("unusable messages")
    arriving.put("again.geojson", point("once"), *BOTH * 3)  # type: ignore[arg-type]
    foreign = Created(
        f"{arriving.prefix}{BRONZE}",
        "again.geojson",
        account_url="https://another.blob.core.windows.net",
    )
    for text in ("not an event", "[]", message_text(foreign.event("cloudevents"))):
        arriving.queue.send_message(text)
    arriving.published("again.geojson")
    arriving.put("again.geojson", point("once more"), *BOTH)  # type: ignore[arg-type]
    arriving.published("again.geojson")
    arriving.settled()
    assert _published_text(arriving, "again.geojson") == "once more"
    assert (len(arriving.records("again.geojson")), arriving.results()["again.geojson"]) == (2, 2)
    poison = buried(
        arriving.profile.environment["GEO_PLATFORM_BLOB_CONNECTION_STRING"],
        arriving.queue.queue_name,
    )
    assert {one["reason"][:20] for one in poison} == {
        "It is neither JSON n",
        "It is an empty list.",
        "It is of the account",
    }
    faults.survived("each event six times, in both shapes")
    faults.survived("unusable messages")


@pytest.mark.slow
def test_two_thousand_files_arrive_while_daemon_and_code_location_are_killed(
    arriving: Arriving, faults: Faults
) -> None:
    keys = [f"killed/file_{number:04}.geojson" for number in range(2000)]

    def arrive() -> None:
        for key in keys:
            arriving.put(key, point(key), "eventgrid")

    uploads = threading.Thread(target=arrive)
    uploads.start()
    began = arriving.asked()
    faults.tried("SIGKILL of the daemon while runs are requested")
    arriving.wait(lambda: arriving.asked() > began)
    _killed_and_started(arriving, DAEMON)
    faults.tried("SIGKILL of the code location while a run is active")
    arriving.wait(lambda: arriving.instance.get_runs(dg.RunsFilter(statuses=[_STATUS.STARTED])))
    _killed_and_started(arriving, CODE)
    faults.tried("SIGKILL of the daemon while a run is active")
    arriving.wait(
        lambda: (
            sum(
                entry.source in set(keys)
                for entry in arriving.profile.catalog(arriving.home).entries()
            )
            >= 20
        )
    )
    _killed_and_started(arriving, DAEMON)
    uploads.join()
    arriving.published(*keys, patience_s=1800)
    arriving.settled(patience_s=1800)
    results = arriving.results()
    assert {results[key] for key in keys} == {1}, "published twice"
    assert [_published_text(arriving, key) for key in keys[::400]] == keys[::400]
    for fault in (
        "daemon while runs are requested",
        "code location while a run is active",
        "daemon while a run is active",
    ):
        faults.survived(f"SIGKILL of the {fault}")


@pytest.mark.slow
def test_listing_finds_objects_without_events_although_its_tick_is_killed(
    arriving: Arriving, faults: Faults
) -> None:
    faults.tried("200 events lost")
    faults.tried("SIGKILL of the code location within a tick that lists")
    keys = [f"untold/file_{number:03}.geojson" for number in range(200)]
    for key in keys:
        arriving.put(key, point(key))
    began = arriving.asked()
    arriving.restart(GEO_PLATFORM_LISTED_EVERY_S="1")
    arriving.wait(lambda: arriving.asked() >= began + 20)
    _killed_and_started(arriving, CODE)
    arriving.published(*keys, patience_s=1800)
    arriving.settled(patience_s=1800)
    results = arriving.results()
    assert {results[key] for key in keys} == {1}, "published twice"
    faults.survived("200 events lost")
    faults.survived("SIGKILL of the code location within a tick that lists")


@pytest.mark.slow
def test_no_object_is_lost_when_the_store_clock_is_minutes_wrong(
    production: ProfileUnderTest,
    own_azurite: OwnAzurite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    faults: Faults,
) -> None:
    """Set the store's clock nine minutes ahead, then nine minutes behind.

    Events, and the listing that follows them, have one key in common and others of their own.
    """
    monkeypatch.setenv("NODE_OPTIONS", f"--require={CLOCK_AHEAD}")
    _set_clock(own_azurite, monkeypatch, 540)
    blobs = Blobs(own_azurite.connection_string, "clock-")
    make_containers(blobs.connection_string, tuple(f"{blobs.prefix}{name}" for name in CONTAINERS))
    own = {
        "GEO_PLATFORM_BLOB_CONNECTION_STRING": blobs.connection_string,
        "GEO_PLATFORM_BLOB_CONTAINER_PREFIX": blobs.prefix,
    }
    profile = ProfileUnderTest(
        Profile.production, {**production.environment, **own}, production.logins, blobs
    )
    with arriving_on(profile, tmp_path, GEO_PLATFORM_LISTED_EVERY_S="1") as arriving:
        for word, ahead_s in (("ahead", 540), ("behind", -540)):
            fault = f"the store's clock is off by {ahead_s} s"
            faults.tried(fault)
            if ahead_s < 0:
                _set_clock(own_azurite, monkeypatch, ahead_s)
            without_event, with_event = f"untold_{word}.geojson", f"told_{word}.geojson"
            arriving.put(without_event, point("untold"))
            arriving.put(with_event, point("told"), "eventgrid")
            arriving.put("both.geojson", point(word), "cloudevents")
            arriving.published(without_event, with_event, "both.geojson")
            arriving.settled()
            assert _published_text(arriving, "both.geojson") == word
            assert [arriving.results()[key] for key in (without_event, with_event)] == [1, 1]
            faults.survived(fault)


def _set_clock(azurite: OwnAzurite, monkeypatch: pytest.MonkeyPatch, ahead_s: int) -> None:
    monkeypatch.setenv("CLOCK_AHEAD_S", str(ahead_s))
    azurite.stop()
    azurite.start()


def _killed_and_started(arriving: Arriving, name: str) -> None:
    arriving.own.kill(name)
    time.sleep(1)
    arriving.own.start(name)


def _published_text(arriving: Arriving, key: str) -> str:
    return str(arriving.rows(key).sort_values("said")["said"].iloc[-1])


def _at_once(work, count: int) -> None:  # type: ignore[no-untyped-def]
    """Run `work` in as many threads, all released at the same moment."""
    barrier = threading.Barrier(count)

    def one(number: int) -> None:
        barrier.wait()
        work(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
