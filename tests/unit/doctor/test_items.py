"""Items held against the objects and tables that they name."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from geo_platform.contracts.message import ObjectReference
from geo_platform.doctor.claims import Claims
from geo_platform.doctor.items import ObjectCheck, finding_of, missing_tables
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
def test_an_item_misses_what_is_not_there_and_nothing_else(
    items: dict[str, list[str]], lying: list[str]
) -> None:
    claims = Claims()
    for item_id, keys in items.items():
        claims.add(("rasters", item_id), item(*keys))
    check = ObjectCheck(claims)
    for key in lying:
        check.see(stored(key))
    missing = {
        found.place[1]: {said.split()[0].removeprefix("silver/") for said in found.objects}
        for found in check.missing()
    }
    expected = {item_id: set(keys) - set(lying) for item_id, keys in items.items()}
    assert missing == {item_id: keys for item_id, keys in expected.items() if keys}


def test_another_size_counts_for_what_is_published_and_not_for_what_is_kept() -> None:
    for kept_of, expected in ((None, 1), ("a run", 0)):
        claims = Claims()
        claims.add(("rasters", "a"), item("x", size=2), kept_of=kept_of)
        check = ObjectCheck(claims)
        check.see(stored("x"))
        assert len(list(check.missing())) == expected


def test_a_long_list_is_cut() -> None:
    claims = Claims()
    claims.add(("rasters", "a"), item(*"abcdefgh"))
    (missing,) = ObjectCheck(claims).missing()
    (finding,) = finding_of(missing)
    assert finding.says.endswith("silver/e is gone; and 3 more.")


def test_tables_at_their_place_at_another_version_or_nowhere() -> None:
    def lies(place: TablePlace, name: str, version: str) -> StoredTable:
        return StoredTable(
            place, "geo" if place is TablePlace.published else place, name, version, "run", None
        )

    def faults(kept_of: str | None, *tables: StoredTable) -> list[str]:
        claims = Claims()
        claims.add(("vectors", "roads"), item(table="v1"), kept_of=kept_of)
        return [fault for missing in missing_tables(claims, tables) for fault in missing.tables]

    live, replaced = (
        lies(TablePlace.published, "roads", "v1"),
        lies(TablePlace.replaced, "v1", "v1"),
    )
    assert faults(None, live) == faults("a run", live) == faults("a run", replaced) == []
    assert faults(None) == ["geo.roads is gone or not the platform's"]
    assert faults(None, replaced) == [
        "geo.roads is gone or not the platform's; version v1 is in another place"
    ]
    assert faults(None, lies(TablePlace.published, "roads", "v2")) == [
        "geo.roads has version v2, not v1"
    ]
    assert faults("a run", lies(TablePlace.published, "roads", "v2")) == [
        "version v1 of geo.roads is gone"
    ]
