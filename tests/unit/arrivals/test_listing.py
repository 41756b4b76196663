"""Passes over a listing miss no object, whatever is written meanwhile, and keep a small cursor."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo_platform.arrivals.arrival import Arrival
from geo_platform.arrivals.listing import (
    MOST_WAITING,
    PAGE_OF_SERVICE,
    ListingCursor,
    ListingResult,
    look,
    look_at_page,
    read_cursor,
)
from geo_platform.arrivals.readiness import CLOCK_ERROR_S, appeared
from geo_platform.arrivals.watch import Watch
from geo_platform.contracts.message import ObjectReference
from geo_platform.source.arrival import combined_etag
from geo_platform.storage.local.folder import FolderStore
from tests.support.simulated_listing import SimulatedListing

WATCH = Watch(name="all", complete_within_s=60)
A_MILLION = 1_000_000


class Ticks:
    """Ticks of the sensor of one watch.

    The cursor is stored as text between ticks, and the machine has a clock of its own.
    """

    def __init__(self, store: SimulatedListing, watch: Watch = WATCH) -> None:
        self.store = store
        self.watch = watch
        self.cursor: str | None = None
        self.largest_cursor = 0
        self.found: list[Arrival] = []
        self.ticks = 0

    def tick(self, *, budget_s: float = 1e9, most_arrivals: int | None = None) -> ListingResult:
        seen = look(
            self.store,
            self.watch,
            read_cursor(self.cursor),
            budget_s=budget_s,
            clock=self._clock,
            most_arrivals=most_arrivals,
        )  # type: ignore[arg-type]
        self.cursor = seen.cursor.model_dump_json()
        self.largest_cursor = max(self.largest_cursor, len(self.cursor))
        self.found += seen.arrivals
        self.ticks += 1
        return seen

    def whole_pass(self, *, budget_s: float = 1e9) -> list[tuple[str, str]]:
        """Run ticks to the end of a pass and return (key, etag) of what it found."""
        before = len(self.found)
        while not self.tick(budget_s=budget_s).is_whole:
            pass
        return [(arrival.key, arrival.etag) for arrival in self.found[before:]]

    def _clock(self) -> float:
        """The machine's clock, unrelated to the store's. Each reading takes a second."""
        self.store.now_s += 1
        return 4_000_000_000 + self.store.now_s


def test_a_pass_over_a_million_objects_takes_several_ticks_and_misses_no_write() -> None:
    store = SimulatedListing(A_MILLION)
    ticks = Ticks(store, Watch(name="new", existing=False))
    meanwhile: list[tuple[str, str]] = []

    def write_meanwhile(page: int) -> None:
        position = page * PAGE_OF_SERVICE
        # Only the store's clocks tell the existing objects from later ones.
        store.now_s += 600 if page == 1 else 10
        if position % 100_000 == PAGE_OF_SERVICE:
            behind, ahead = position // 2, (position + A_MILLION) // 2
            meanwhile.append(store.write(behind, skew_s=-240))
            meanwhile.append(store.write(ahead, skew_s=240))
            meanwhile.append(store.write(f"t/{behind:07d}.added.tif"))
            meanwhile.append(store.write(f"t/{ahead:07d}.added.tif", skew_s=-240))

    store.before_page = write_meanwhile
    first = ticks.whole_pass(budget_s=20)
    assert ticks.ticks > 5
    store.before_page = lambda _: None
    second = ticks.whole_pass(budget_s=20)
    assert set(first) | set(second) == set(meanwhile)
    assert set(first) < set(meanwhile), (
        "only the next pass finds an object written behind the position"
    )
    assert len(meanwhile) == 40
    assert ticks.largest_cursor < 500


def test_the_first_pass_finds_existing_objects_unless_the_watch_excludes_them() -> None:
    store = SimulatedListing(12_000)
    everything = Ticks(store)
    assert dict(everything.whole_pass(budget_s=1)) == store.everything()
    assert (everything.ticks, everything.whole_pass()) == (12_000 // PAGE_OF_SERVICE, [])
    only_new = Ticks(store, Watch(name="new", existing=False))
    assert only_new.whole_pass() == []
    later = store.write(7)
    assert only_new.whole_pass() == [later]


def test_an_object_is_found_again_only_within_the_clock_error() -> None:
    store = SimulatedListing(10)
    ticks = Ticks(store)
    ticks.whole_pass()
    new = store.write("new.tif")
    assert ticks.whole_pass() == [new]
    assert ticks.whole_pass() == [new]
    store.now_s += CLOCK_ERROR_S + WATCH.complete_within_s + 10
    ticks.whole_pass()
    assert ticks.whole_pass() == []


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.one_of(
            st.integers(0, 29),
            st.builds(
                "t/{:07d}.{}".format,
                st.integers(0, 29),
                st.sampled_from(["a.tif", "geojson", "tfw"]),
            ),
        ),
        st.integers(-280, 280),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(
    events=EVENTS,
    page_objects=st.integers(1, 12),
    budget_s=st.integers(0, 8),
    page_s=st.integers(0, 200),
    gap_s=st.integers(0, 250),
)
def test_the_last_state_of_every_object_is_found_whenever_it_is_written(
    events: list[tuple[int, int | str, int]],
    page_objects: int,
    budget_s: int,
    page_s: int,
    gap_s: int,
) -> None:
    store = SimulatedListing(30, page_objects=page_objects)
    ticks = Ticks(store)

    def write_meanwhile(page: int) -> None:
        store.now_s += page_s
        for at_page, key, skew_s in events:
            if at_page == page:
                store.write(key, skew_s=skew_s)

    store.before_page = write_meanwhile
    while store.pages <= 41:
        ticks.whole_pass(budget_s=budget_s)
        store.now_s += gap_s
    ticks.whole_pass(budget_s=budget_s)
    last = {arrival.key: arrival for arrival in ticks.found}
    existing = store.everything()
    for key, etag in existing.items():
        beside = key.removesuffix("tif") + "tfw"
        if key.endswith(".tfw"):
            assert last[key.removesuffix("tfw") + "tif"].sidecars == (key,)
        elif beside in existing:
            assert last[key].etag == combined_etag(
                _reference(key, etag), (_reference(beside, existing[beside]),)
            )
        else:
            assert last[key].etag == etag


def _reference(key: str, etag: str) -> ObjectReference:
    return ObjectReference(container="bronze", key=key, uri="memory:///", etag=etag, size_bytes=5)


def test_an_object_dated_in_the_future_hides_no_other() -> None:
    store = SimulatedListing(10)
    ticks = Ticks(store)
    ticks.whole_pass()
    ahead = store.write("ahead.tif", skew_s=10 * 365 * 86_400)
    ticks.whole_pass()
    store.now_s += 3600
    ticks.whole_pass()
    later = store.write("later.tif")
    assert set(ticks.whole_pass()) == {ahead, later}


def test_a_clock_that_is_set_back_hides_no_object() -> None:
    store = SimulatedListing(10)
    ticks = Ticks(store)
    store.now_s += 365 * 86_400
    ticks.whole_pass()
    store.now_s -= 365 * 86_400
    between = store.write("between.tif")
    assert between in ticks.whole_pass()
    later = store.write("later.tif")
    assert later in ticks.whole_pass()


@pytest.mark.parametrize("page_objects", range(1, 9))
def test_a_source_that_spans_two_pages_is_whole(page_objects: int) -> None:
    store = SimulatedListing(0, page_objects=page_objects)
    ticks = Ticks(store)
    parts = [f"in/roads.{suffix}" for suffix in ("cpg", "dbf", "prj", "shp", "shx")]
    for name in ("in/a.tif", "in/b.tif", *parts, "in/roads.part.2.tif", "in/z.tif"):
        store.write(name)
    ticks.whole_pass()
    (roads,) = {
        (arrival.etag, arrival.sidecars) for arrival in ticks.found if arrival.key == "in/roads.shp"
    }
    assert sorted([*roads[1], "in/roads.shp"]) == parts
    store.now_s += 3600
    ticks.whole_pass()
    ticks.whole_pass()
    ticks.found.clear()
    store.write("in/roads.prj")
    ticks.whole_pass()
    assert {arrival.key for arrival in ticks.found} == {"in/roads.shp"}
    assert {arrival.etag for arrival in ticks.found} != {roads[0]}


def test_waiting_sources_are_kept_between_ticks_and_none_is_lost() -> None:
    store = SimulatedListing(0, page_objects=100)
    ticks = Ticks(store, Watch(name="pictures", complete_within_s=240))
    names = {f"p/{number:04d}.png" for number in range(3 * MOST_WAITING)}
    for name in sorted(names):
        store.write(name)
    assert ticks.whole_pass() == []
    assert len(read_cursor(ticks.cursor).waiting) == MOST_WAITING
    # A little longer, and their age alone would end their wait.
    store.now_s = CLOCK_ERROR_S + 5
    assert len(ticks.whole_pass()) == MOST_WAITING
    for _ in range(4):
        store.now_s += 70
        ticks.whole_pass()
    assert {arrival.key for arrival in ticks.found} == names
    assert read_cursor(ticks.cursor).waiting == {}


def test_a_pass_that_cannot_continue_starts_over_and_loses_nothing() -> None:
    store = SimulatedListing(50, page_objects=10)
    ticks = Ticks(store)
    ticks.tick(budget_s=0)
    ticks.tick(budget_s=0)
    store.refuses_to_go_on = True
    new = store.write(3)
    assert ticks.tick(budget_s=0).arrivals[3].etag == new[1]
    store.refuses_to_go_on = False
    assert set(ticks.whole_pass()) | {
        (arrival.key, arrival.etag) for arrival in ticks.found
    } >= set(store.everything().items())


def test_a_watch_over_other_objects_starts_over_but_other_parameters_do_not() -> None:
    store = SimulatedListing(10)
    ticks = Ticks(store)
    ticks.whole_pass()
    ticks.watch = WATCH.model_copy(update={"parameters": {"target_crs": "EPSG:3857"}})
    assert ticks.whole_pass() == []
    ticks.watch = Watch(name="all", include=("*5.tif",))
    assert [key for key, _ in ticks.whole_pass()] == ["t/0000005.tif"]


def test_a_look_ends_after_enough_arrivals_and_its_cursor_finds_them_again() -> None:
    store = SimulatedListing(50, page_objects=10)
    ticks = Ticks(store)
    before = ticks.cursor
    seen = ticks.tick(most_arrivals=15)
    assert (len(seen.arrivals), seen.objects, seen.is_whole) == (20, 20, False)
    ticks.cursor = before
    assert ticks.tick(most_arrivals=15).arrivals == seen.arrivals


def test_an_unreadable_cursor_starts_over() -> None:
    assert (
        read_cursor('{"version": 2}')
        == read_cursor("no JSON")
        == read_cursor(None)
        == ListingCursor()
    )


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "store" / "bronze"
    folder.mkdir(parents=True)
    return folder


def test_a_file_moved_into_the_folder_is_found_whatever_its_time(
    inbox: Path, tmp_path: Path
) -> None:
    """mv, cp -p and rsync keep the modification time of the file."""
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "scenes" / "north").mkdir(parents=True)
    for path in (
        inbox / "existing.tif",
        inbox / "south" / "s.tif",
        elsewhere / "moved.tif",
        elsewhere / "scenes" / "north" / "n.tif",
    ):
        _write_dated_last_year(path)
    before = _distinct_moment()
    (elsewhere / "moved.tif").rename(inbox / "moved.tif")
    (elsewhere / "scenes").rename(inbox / "scenes")
    _write_dated_last_year(inbox / "south" / "added.tif")
    page = FolderStore(inbox.parent).page("bronze")
    moved = {"moved.tif", "scenes/north/n.tif", "south/added.tif"}
    assert {stored.reference.key for stored in page.objects if appeared(stored) > before} == moved
    cursor = ListingCursor(watermark_utc=before, not_before_utc=before, pass_began_utc=before)
    seen = look_at_page(
        FolderStore(inbox.parent), Watch(name="all", settle_s=0), cursor, page, now_s=0
    )
    assert {arrival.key for arrival in seen.arrivals} == moved


def _distinct_moment() -> datetime:
    """Return a moment after the times of all earlier files and before those of all later ones.

    It waits because the clock of a file system may be coarse.
    """
    time.sleep(0.05)
    now = datetime.now(UTC)
    time.sleep(0.05)
    return now


def _write_dated_last_year(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"II*\0 pixels")
    os.utime(path, (1_700_000_000, 1_700_000_000))


def test_a_file_without_a_known_extension_is_recognised_by_content(inbox: Path) -> None:
    (inbox / "places").write_text('{"type": "FeatureCollection", "features": []}')
    (inbox / "letter.txt").write_text("Dear all,\n")
    (inbox / "empty").write_bytes(b"")
    watch = Watch(name="all", settle_s=0, complete_within_s=0)
    seen = look(FolderStore(inbox.parent), watch, ListingCursor(), budget_s=60)
    assert [arrival.key for arrival in seen.arrivals] == ["places"]
    assert {key: reason.split()[0] for key, reason in seen.skipped} == {
        "empty": "It",
        "letter.txt": "Neither",
    }
