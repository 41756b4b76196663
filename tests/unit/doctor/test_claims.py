"""Doctor compares items with the objects and tables that they name."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from geo_platform.contracts.message import ObjectReference
from geo_platform.doctor.claims import Claims, ObjectCheck, finding_of, missing_tables
from geo_platform.ports import StoredObject, StoredTable, TablePlace


def item(*keys: str, size: int | None = 1, table: str | None = None) -> dict[str, Any]:
    assets: dict[str, Any] = {
        key: {"geo_platform:container": "silver", "geo_platform:key": key}
        | ({"file:size": size} if size is not None else {})
        for key in keys
    }
    if table is not None:
        assets["table"] = {
            "geo_platform:schema": "geo",
            "geo_platform:table": "roads",
            "geo_platform:table_version": table,
        }
    return {"properties": {}, "assets": assets}


def stored(key: str) -> StoredObject:
    reference = ObjectReference(
        container="silver", key=key, uri=f"file:///{key}", etag="e", size_bytes=1
    )
    return StoredObject(reference, datetime(2026, 6, 1, tzinfo=UTC))


names = st.sampled_from("abcdef")


@given(st.dictionaries(names, st.lists(names, unique=True)), st.lists(names, unique=True))
def test_exactly_the_absent_objects_of_an_item_are_missing(
    items: dict[str, list[str]], stored_keys: list[str]
) -> None:
    claims = Claims()
    for item_id, keys in items.items():
        claims.add(("rasters", item_id), item(*keys))
    check = ObjectCheck(claims)
    for key in stored_keys:
        check.add(stored(key))
    missing = {
        found.place[1]: {fault.split()[0].removeprefix("silver/") for fault in found.objects}
        for found in check.missing()
    }
    expected = {item_id: set(keys) - set(stored_keys) for item_id, keys in items.items()}
    assert missing == {item_id: keys for item_id, keys in expected.items() if keys}


def test_a_wrong_size_is_a_fault_of_a_published_item_not_of_a_kept_one() -> None:
    for kept_of, expected in ((None, 1), ("a run", 0)):
        claims = Claims()
        claims.add(("rasters", "a"), item("x", size=2), kept_of=kept_of)
        check = ObjectCheck(claims)
        check.add(stored("x"))
        assert len(list(check.missing())) == expected


def test_a_long_list_of_faults_is_truncated() -> None:
    claims = Claims()
    claims.add(("rasters", "a"), item(*"abcdefgh"))
    (missing,) = ObjectCheck(claims).missing()
    (finding,) = finding_of(missing)
    assert finding.message.endswith("silver/e is gone; and 3 more.")


def test_tables_in_place_moved_of_another_version_or_gone() -> None:
    def stored_table(place: TablePlace, name: str, version: str) -> StoredTable:
        return StoredTable(
            place, "geo" if place is TablePlace.published else place, name, version, "run", None
        )

    def faults(kept_of: str | None, *tables: StoredTable) -> list[str]:
        claims = Claims()
        claims.add(("vectors", "roads"), item(table="v1"), kept_of=kept_of)
        return [fault for missing in missing_tables(claims, tables) for fault in missing.tables]

    live, replaced = (
        stored_table(TablePlace.published, "roads", "v1"),
        stored_table(TablePlace.replaced, "v1", "v1"),
    )
    assert faults(None, live) == faults("a run", live) == faults("a run", replaced) == []
    assert faults(None) == ["geo.roads is gone or not the platform's"]
    assert faults(None, replaced) == [
        "geo.roads is gone or not the platform's; version v1 is in another place"
    ]
    assert faults(None, stored_table(TablePlace.published, "roads", "v2")) == [
        "geo.roads has version v2, not v1"
    ]
    assert faults("a run", stored_table(TablePlace.published, "roads", "v2")) == [
        "version v1 of geo.roads is gone"
    ]
