"""Doctor finds objects and tables that no item names by the rules of the nightly removal."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from geo_platform.catalog.retention import due_objects
from geo_platform.contracts.message import ObjectReference
from geo_platform.doctor.claims import Claims
from geo_platform.doctor.findings import DropStaged, FindingCode, RemoveFolder
from geo_platform.doctor.leftovers import (
    Folder,
    UnreferencedObjects,
    compare_folders,
    compare_tables,
    is_leftover,
)
from geo_platform.ports import StoredObject, StoredTable, TablePlace

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
PRINTS = [f"{n:x}" * 32 for n in range(3)]

keys = st.sampled_from(
    [
        f"{place}{name}"
        for place in ("", *(f"rasters/a/{p}/" for p in PRINTS), "by hand/")
        for name in ("x.tif", "y.png")
    ]
)
objects = st.lists(
    st.tuples(keys, st.floats(0, 3), st.sampled_from(["ended", "at work", "unknown", ""])),
    unique_by=lambda each: each[0],
)
ENDED = {"ended": True, "at work": False}


def stored(key: str, age_days: float, run_id: str) -> StoredObject:
    reference = ObjectReference(
        container="silver", key=key, uri=f"file:///{key}", etag="e", size_bytes=1
    )
    return StoredObject(
        reference, NOW - timedelta(days=age_days), {"run_id": run_id} if run_id else {}
    )


def claiming(*keys: str) -> Claims:
    claims = Claims()
    for key in keys:
        claims.add(
            ("rasters", "a"),
            {
                "properties": {},
                "assets": {"data": {"geo_platform:container": "silver", "geo_platform:key": key}},
            },
        )
    return claims


@given(objects, st.lists(keys))
def test_a_folder_with_a_named_object_is_never_a_finding(
    contents: list[tuple[str, float, str]], named: list[str]
) -> None:
    unnamed = UnreferencedObjects(claiming(*named))
    for each in contents:
        unnamed.add(stored(*each))
    found = list(compare_folders(unnamed.folders.values(), ENDED, now_utc=NOW))
    removed = {finding.mend.folder for finding in found if isinstance(finding.mend, RemoveFolder)}
    assert removed.isdisjoint(key.rpartition("/")[0] for key in named)
    assert not any(finding.concerns == f"silver/{key}" for finding in found for key in named)


@given(objects)
def test_the_nightly_removal_also_removes_what_doctor_removes_after_a_day(
    contents: list[tuple[str, float, str]],
) -> None:
    unnamed = UnreferencedObjects(Claims())
    everything = [stored(*each) for each in contents]
    for each in everything:
        unnamed.add(each)
    old = [folder for folder in unnamed.folders.values() if NOW - folder.newest_utc >= DAY]
    mended = {
        f.mend.folder
        for f in compare_folders(old, ENDED, now_utc=NOW)
        if isinstance(f.mend, RemoveFolder)
    }
    nightly = due_objects(everything, named=set(), freed=set(), leftover_cutoff_utc=NOW - DAY)
    assert mended <= {each.reference.key.rpartition("/")[0] for each in nightly}


def test_a_folder_is_a_leftover_when_it_is_old_or_its_runs_have_ended() -> None:
    def folder(age: timedelta, *runs: str, is_ours: bool = True) -> bool:
        return is_leftover(
            Folder("rasters/a/1", is_ours, NOW - age, run_ids=set(runs)), ENDED, now_utc=NOW
        )

    assert folder(DAY)
    assert folder(DAY, "unknown")
    assert not folder(DAY, "at work"), "a run of more than a day may use it"
    assert folder(timedelta(0), "ended")
    assert not folder(timedelta(0), "ended", "unknown")
    assert not folder(timedelta(0), "at work")
    assert not folder(timedelta(0)), "it has no record of its run"
    assert not folder(timedelta(0), "ended", is_ours=False)


def test_staged_tables_are_dropped_and_published_ones_only_reported() -> None:
    def table(
        place: TablePlace,
        name: str,
        run_id: str | None,
        *,
        age: timedelta = timedelta(0),
        whole: bool = True,
    ) -> StoredTable:
        return StoredTable(
            place, place, name, name if whole else None, run_id, NOW - age if run_id else None
        )

    tables = [
        table(TablePlace.staged, "of_an_ended_run", "ended"),
        table(TablePlace.staged, "half_of_an_ended_run", "ended", whole=False),
        table(TablePlace.staged, "in_the_making", "at work", age=2 * DAY),
        table(TablePlace.staged, "of_an_unknown_run", "unknown"),
        table(TablePlace.staged, "old_of_an_unknown_run", "unknown", age=DAY),
        table(TablePlace.staged, "by_hand", None, whole=False),
        table(TablePlace.published, "nobody_s", "ended"),
        table(TablePlace.replaced, "nobody_s_any_more", "ended", age=30 * DAY),
        table(TablePlace.published, "named", "ended"),
    ]
    claims = Claims(tables={"named": []})
    found = {
        finding.concerns.partition(".")[2]: finding
        for finding in compare_tables(tables, claims, ENDED, now_utc=NOW)
    }
    mended = {name for name, finding in found.items() if isinstance(finding.mend, DropStaged)}
    assert mended == {"of_an_ended_run", "half_of_an_ended_run", "old_of_an_unknown_run"}
    assert {name for name, f in found.items() if f.code is FindingCode.TABLE_WITHOUT_ITEM} == {
        "nobody_s",
        "nobody_s_any_more",
    }
    assert set(found) == mended | {"nobody_s", "nobody_s_any_more", "by_hand"}
