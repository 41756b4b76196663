"""Quarantine and release, also when killed at any call of the store or with other writers."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_platform.arrivals.quarantine import (
    QuarantineOutcome,
    QuarantineResult,
    Refusal,
    Released,
    is_quarantined,
    present_arrival,
    quarantine,
    release,
)
from geo_platform.arrivals.quarantine_records import list_quarantine, record_key, required_record
from geo_platform.arrivals.readiness import sort_out
from geo_platform.arrivals.watch import DEFAULT_WATCH
from geo_platform.errors import (
    AccessRefused,
    Conflict,
    MessageUnreadable,
    SourceNotFound,
    error_leaves,
)
from geo_platform.ports import BRONZE, QUARANTINE, SILVER
from tests.support.memory_objects import Killed, MemoryObjects, Mortal, When, contents

KEY = "in/a.tif"
SET = {KEY: b"pixels", "in/a.tfw": b"world", "in/a.prj": b"crs"}
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def put(store: Any, objects: dict[str, bytes], container: str = BRONZE) -> None:
    for key, content in objects.items():
        store.put_bytes(container, key, content, metadata={"owner": "somebody"})


def etag(store: Any, key: str = KEY, container: str = BRONZE) -> str:
    present = present_arrival(store, container, key)
    assert present is not None
    return present[0].etag


def refuse(
    store: Any, at: str, *, run_id: str = "run", key: str = KEY, container: str = BRONZE
) -> QuarantineResult:
    refusal = Refusal("CRS_MISSING", "It has none.", "Give one.", run_id, "scenes")
    return quarantine(store, container, key, at, refusal, now_utc=NOW)


def free(store: Any, *, replace: bool = False) -> Released:
    return release(store, KEY, replace=replace)


@pytest.fixture
def store() -> MemoryObjects:
    made = MemoryObjects()
    put(made, SET)
    return made


def stores_after_a_kill(
    prepare: Callable[[], MemoryObjects], act: Callable[[Any], Any]
) -> Iterator[MemoryObjects]:
    """Yield a store in the state after a kill, for each call and moment of `act`."""
    living = Mortal(prepare())
    act(living)
    for number, name in enumerate(living.calls):
        for when in When:
            if when is not When.within or name == "move":
                store = prepare()
                with pytest.raises(Killed):
                    act(Mortal(store, number, when))
                yield store


@pytest.mark.parametrize(
    ("code", "moved"),
    [
        ("CRS_MISSING", True),
        ("SOURCE_EMPTY", True),
        ("NO_FEATURES", True),
        ("PARAMETER_INVALID", True),
        ("TABLE_EXISTS", True),
        ("MEMORY_EXCEEDED", True),
        ("TIME_EXCEEDED", True),
        ("CONFLICT", False),
        ("SOURCE_NOT_FOUND", False),
        ("STORE_UNAVAILABLE", False),
        ("STORE_DENIED", False),
        ("DATABASE_UNAVAILABLE", False),
        ("UNEXPECTED_FAULT", False),
        ("COG_INVALID", False),
        ("CATALOG_REJECTED", False),
        ("MESSAGE_UNREADABLE", False),
        ("NO_CODE_OF_OURS", False),
        ("", False),
    ],
)
def test_only_a_refusal_because_of_the_object_moves_it(code: str, moved: bool) -> None:
    assert is_quarantined(code) is moved


def test_retryable_errors_and_errors_that_users_cannot_fix_move_nothing() -> None:
    moved = [leaf for leaf in error_leaves() if is_quarantined(leaf.code)]
    assert all(leaf.user_fixable and not leaf.retryable for leaf in moved)
    of_the_http_api = {leaf for leaf in error_leaves() if issubclass(leaf, AccessRefused)}
    kept = {
        leaf.code for leaf in {*error_leaves()} - {*moved} - of_the_http_api if leaf.user_fixable
    }
    assert kept == {"CONFLICT", "SOURCE_NOT_FOUND", "FILES_REFUSED"}


def test_an_arrival_is_moved_whole_with_a_record_of_the_reason(store: Any) -> None:
    put(store, {"in/ab.tif": b"another", "in/a.txt": b"a note"})
    at = etag(store)
    moved = refuse(store, at)
    assert moved.outcome is QuarantineOutcome.quarantined
    assert moved.message == (
        "bronze/in/a.tif was refused with CRS_MISSING and moved to quarantine/in/a.tif: "
        "geo-platform quarantine show in/a.tif"
    )
    assert contents(store, BRONZE) == {"in/ab.tif": b"another", "in/a.txt": b"a note"}
    assert {key: contents(store, QUARANTINE)[key] for key in SET} == SET
    record = required_record(store, KEY)
    assert (record.code, record.message, record.remedy, record.run_id, record.watch) == (
        "CRS_MISSING",
        "It has none.",
        "Give one.",
        "run",
        "scenes",
    )
    assert (record.uri, record.etag, record.container, record.key, record.replaced) == (
        f"memory:///bronze/{KEY}",
        at,
        BRONZE,
        KEY,
        None,
    )
    assert [part.key for part in record.parts] == ["in/a.tif", "in/a.prj", "in/a.tfw"]
    assert store.stat(QUARANTINE, KEY).metadata["run_id"] == "run", (
        "trace finds the run by this metadata"
    )


def test_a_second_quarantine_of_the_same_arrival_changes_nothing(store: Any) -> None:
    at = etag(store)
    assert refuse(store, at) == refuse(store, at)
    once = contents(store, QUARANTINE)
    refuse(store, at, run_id="a run executed again")
    assert contents(store, QUARANTINE) == once


def test_a_quarantine_killed_at_any_call_and_repeated_ends_the_same() -> None:
    at = ""

    def arrived() -> MemoryObjects:
        nonlocal at
        made = MemoryObjects()
        put(made, SET)
        at = etag(made)
        return made

    expected = arrived()
    refuse(expected, at)
    tried = 0
    for dead in stores_after_a_kill(arrived, lambda store: refuse(store, at)):
        seen = present_arrival(dead, BRONZE, KEY)
        assert seen is None or seen[0].etag == at, "no part of it looks like another arrival"
        assert refuse(dead, at).outcome is QuarantineOutcome.quarantined
        assert contents(dead, BRONZE) == {}
        assert contents(dead, QUARANTINE) == contents(expected, QUARANTINE)
        tried += 1
    assert tried > 10


def test_a_newer_object_is_another_arrival_and_stays(store: Any) -> None:
    at = etag(store)
    put(store, {"in/a.tfw": b"mended"})
    moved = refuse(store, at)
    assert (moved.outcome, moved.record) == (QuarantineOutcome.overwritten, None)
    assert contents(store, QUARANTINE) == {}
    assert contents(store, BRONZE) == {**SET, "in/a.tfw": b"mended"}


def test_a_deleted_object_leaves_nothing_to_move(store: Any) -> None:
    at = etag(store)
    store.delete(BRONZE, KEY)
    moved = refuse(store, at)
    assert (moved.outcome, "nothing to move" in moved.message) == (QuarantineOutcome.gone, True)
    assert contents(store, QUARANTINE) == {}


@pytest.mark.parametrize("overwritten", [True, False])
@pytest.mark.parametrize("has_earlier", [True, False])
def test_an_object_removed_between_record_and_move_leaves_no_record(
    overwritten: bool, has_earlier: bool
) -> None:
    store = MemoryObjects()
    if has_earlier:
        put(store, {KEY: b"earlier"})
        refuse(store, etag(store), run_id="earlier")
    before = contents(store, QUARANTINE)
    put(store, SET)
    at, writes = etag(store), store.put_bytes

    def put_bytes_meanwhile(container: str, key: str, content: bytes, **given: Any) -> Any:
        stored = writes(container, key, content, **given)
        if key == record_key(KEY) and contents(store, BRONZE).get(KEY) == b"pixels":
            put_now = writes if overwritten else None
            store.delete(BRONZE, KEY)
            if put_now:
                put_now(BRONZE, KEY, b"newer", metadata={})
        return stored

    store.put_bytes = put_bytes_meanwhile  # type: ignore[method-assign]
    moved = refuse(store, at)
    assert moved.outcome is (
        QuarantineOutcome.overwritten if overwritten else QuarantineOutcome.gone
    )
    assert contents(store, QUARANTINE) == before
    assert contents(store, BRONZE).get(KEY) == (b"newer" if overwritten else None)


def test_a_later_version_of_a_key_replaces_the_earlier_and_records_it(store: Any) -> None:
    refuse(store, etag(store))
    put(store, {KEY: b"worse", "in/a.tfw": b"world 2"})
    at = etag(store)
    refuse(store, at, run_id="later")
    record = required_record(store, KEY)
    assert (record.run_id, record.etag, [part.key for part in record.parts]) == (
        "later",
        at,
        ["in/a.tif", "in/a.tfw"],
    )
    assert record.replaced is not None
    assert (record.replaced.run_id, record.replaced.code, len(record.replaced.parts)) == (
        "run",
        "CRS_MISSING",
        3,
    )
    data = {
        key: content
        for key, content in contents(store, QUARANTINE).items()
        if not key.endswith(".json")
    }
    assert data == {KEY: b"worse", "in/a.tfw": b"world 2"}, "the earlier .prj was removed too"


def test_replacing_an_earlier_version_survives_a_kill_at_any_call() -> None:
    at = ""

    def refused_and_overwritten() -> MemoryObjects:
        nonlocal at
        made = MemoryObjects()
        put(made, SET)
        refuse(made, etag(made))
        put(made, {KEY: b"worse", "in/a.tfw": b"world 2"})
        at = etag(made)
        return made

    expected = refused_and_overwritten()
    refuse(expected, at, run_id="later")
    for dead in stores_after_a_kill(
        refused_and_overwritten, lambda store: refuse(store, at, run_id="later")
    ):
        assert refuse(dead, at, run_id="later").outcome is QuarantineOutcome.quarantined
        assert contents(dead, QUARANTINE) == contents(expected, QUARANTINE)
        assert contents(dead, BRONZE) == {}


def test_an_object_of_another_container_with_the_same_key_is_kept(store: Any) -> None:
    refuse(store, etag(store))
    put(store, {KEY: b"silver"}, SILVER)
    moved = refuse(store, etag(store, container=SILVER), container=SILVER)
    assert (moved.outcome, contents(store, SILVER)) == (
        QuarantineOutcome.unmovable,
        {KEY: b"silver"},
    )
    assert contents(store, QUARANTINE)[KEY] == b"pixels"


def test_an_object_named_like_a_record_stays(store: Any) -> None:
    put(store, {"in/b.quarantine.json": b"{}"})
    moved = refuse(store, etag(store, "in/b.quarantine.json"), key="in/b.quarantine.json")
    assert (moved.outcome, "in/b.quarantine.json" in contents(store, BRONZE)) == (
        QuarantineOutcome.unmovable,
        True,
    )


def test_a_sidecar_of_another_source_stays(store: Any) -> None:
    put(store, {"in/a.shp": b"shapes", "in/a.dbf": b"fields", "in/a.tif.ovr": b"smaller"})
    beside = etag(store, "in/a.shp")
    moved = refuse(store, etag(store))
    assert moved.record is not None
    assert [part.key for part in moved.record.parts] == ["in/a.tif", "in/a.tfw", "in/a.tif.ovr"]
    assert set(contents(store, BRONZE)) == {"in/a.shp", "in/a.dbf", "in/a.prj"}
    assert etag(store, "in/a.shp") == beside, "the arrival is unchanged"
    assert free(store).parts == ("in/a.tif", "in/a.tfw", "in/a.tif.ovr")


@given(
    st.sets(
        st.sampled_from(
            [
                "a.tif",
                "a.shp",
                "a.shx",
                "a.dbf",
                "a.prj",
                "a.tfw",
                "a.tif.aux.xml",
                "a.tif.ovr",
                "a.png",
                "a.json",
                "ab.tif",
            ]
        )
    )
)
def test_an_arrival_is_found_by_the_key_of_its_source(names: set[str]) -> None:
    store = MemoryObjects()
    for name in names:
        store.put_bytes(BRONZE, name, b"x", metadata={})
    asked = sort_out(
        list(store.list(BRONZE)),
        {},
        DEFAULT_WATCH,
        is_local=False,
        now_s=1e9,
        at_utc=NOW + timedelta(days=1),
    )
    for arrival in asked.ready:
        assert etag(store, arrival.key) == arrival.etag


def test_a_released_object_is_back_in_place_as_a_new_arrival(store: Any) -> None:
    at = etag(store)
    refuse(store, at)
    assert free(store) == Released(BRONZE, KEY, ("in/a.tif", "in/a.prj", "in/a.tfw"))
    assert (contents(store, BRONZE), contents(store, QUARANTINE)) == (SET, {})
    assert etag(store) != at
    assert store.stat(BRONZE, KEY).metadata == {"owner": "somebody", "released_of_run": "run"}
    assert refuse(store, at).outcome is QuarantineOutcome.overwritten, (
        "the old refusal does not move it again"
    )
    with pytest.raises(SourceNotFound, match="Quarantine has no object"):
        free(store)


def test_a_release_killed_at_any_call_and_repeated_succeeds() -> None:
    def refused() -> MemoryObjects:
        made = MemoryObjects()
        put(made, SET)
        refuse(made, etag(made))
        return made

    for dead in stores_after_a_kill(refused, free):
        if contents(dead, QUARANTINE) == {}:  # it was killed after the last call
            with pytest.raises(SourceNotFound):
                free(dead)
        else:
            came = etag(dead) if KEY in contents(dead, BRONZE) else None
            assert free(dead).parts == ("in/a.tif", "in/a.prj", "in/a.tfw")
            assert came in (None, etag(dead)), (
                "an object that a watch may have seen is not moved again"
            )
        assert (contents(dead, BRONZE), contents(dead, QUARANTINE)) == (SET, {})


def test_a_newer_object_is_replaced_only_on_request(store: Any) -> None:
    refuse(store, etag(store))
    put(store, {KEY: b"newer"})
    with pytest.raises(
        Conflict, match=r"A newer object exists at the original key: bronze/in/a\.tif"
    ):
        free(store)
    assert contents(store, BRONZE) == {KEY: b"newer"}
    assert len(contents(store, QUARANTINE)) == 4
    free(store, replace=True)
    assert (contents(store, BRONZE), contents(store, QUARANTINE)) == (SET, {})


def test_an_object_fixed_in_quarantine_is_released(store: Any) -> None:
    at = etag(store)
    refuse(store, at)
    put(store, {KEY: b"mended"}, QUARANTINE)
    assert refuse(store, at).outcome is QuarantineOutcome.quarantined, (
        "the old refusal does not move it again"
    )
    store.delete(QUARANTINE, "in/a.prj")
    assert free(store) == Released(BRONZE, KEY, ("in/a.tif", "in/a.tfw"), kept=("in/a.prj",))
    assert contents(store, BRONZE) == {KEY: b"mended", "in/a.tfw": b"world"}


def test_a_record_without_its_object_does_not_count_as_released(store: Any) -> None:
    refuse(store, etag(store))
    store.delete(QUARANTINE, KEY)
    with pytest.raises(SourceNotFound, match="only the record"):
        free(store)
    assert "in/a.prj" in contents(store, QUARANTINE)


def test_an_unreadable_record_is_listed_and_replaced_by_the_next(store: Any) -> None:
    refuse(store, etag(store))
    store.put_bytes(QUARANTINE, record_key(KEY), b"{", metadata={})
    (entry,) = list_quarantine(store)
    assert (entry.key, entry.record, "cannot be read" in entry.fault) == (KEY, None, True)
    with pytest.raises(MessageUnreadable):
        free(store)
    put(store, SET)
    assert refuse(store, etag(store)).outcome is QuarantineOutcome.quarantined
    (entry,) = list_quarantine(store)
    assert entry.record is not None
