"""Which version a rollback restores."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from geo_platform.catalog.versions import (
    is_of_run,
    restored_item,
    split_name,
    version_rows,
    version_to_restore,
)
from geo_platform.errors import Conflict, ParameterInvalid, SourceNotFound
from geo_platform.ports import (
    ITEM_FINGERPRINT,
    ITEM_FIRST_PUBLISHED,
    ITEM_RESTORED_BY,
    ITEM_RUN_ID,
    ItemVersion,
)

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def document(number: int, **more: Any) -> dict[str, Any]:
    """Return an item that the run `r<number>` published `number` minutes past noon."""
    moment = (NOON + timedelta(minutes=number)).isoformat()
    return {
        "id": "scene",
        "properties": {ITEM_RUN_ID: f"r{number}", ITEM_FINGERPRINT: f"v{number}", "updated": moment}
        | more,
        "assets": {},
    }


def kept(number: int, withdrawn: int, **more: Any) -> ItemVersion:
    return ItemVersion(
        "rasters",
        "scene",
        f"v{number}",
        f"r{number}",
        NOON + timedelta(hours=withdrawn),
        document(number, **more),
    )


def chosen(present: dict[str, Any] | None, *versions: ItemVersion, run: str | None = None) -> str:
    newest_first = sorted(versions, key=lambda version: version.withdrawn_at_utc, reverse=True)
    return version_to_restore("rasters/scene", present, newest_first, run).run_id


def test_a_rollback_restores_the_version_before_the_published_one() -> None:
    assert chosen(document(3), kept(1, 1), kept(2, 2)) == "r2"


def test_two_rollbacks_go_back_two_versions() -> None:
    version = kept(2, 2)
    restored = restored_item(version, run_id="r9", now_utc=NOON + timedelta(days=1))
    assert chosen(restored, kept(1, 1), kept(3, 3)) == "r1"
    with pytest.raises(SourceNotFound, match="before the published one"):
        chosen(
            restored_item(kept(1, 1), run_id="r10", now_utc=NOON + timedelta(days=2)),
            kept(2, 5),
            kept(3, 3),
        )


def test_the_version_withdrawn_last_is_restored_if_none_is_published() -> None:
    assert chosen(None, kept(1, 1), kept(2, 4), kept(3, 3)) == "r2"
    with pytest.raises(SourceNotFound, match="published or kept"):
        chosen(None)


def test_a_run_chooses_its_version() -> None:
    versions = (kept(1, 1), kept(2, 2, **{ITEM_RESTORED_BY: "r8"}))
    assert chosen(document(3), *versions, run="r1") == "r1"
    assert chosen(document(3), *versions, run="r8") == "r2"
    with pytest.raises(SourceNotFound, match="r7"):
        chosen(document(3), *versions, run="r7")
    for run in ("r3", "r9"):
        with pytest.raises(Conflict, match="published now"):
            chosen(document(3, **{ITEM_RESTORED_BY: "r9"}), *versions, run=run)


def test_a_restored_item_keeps_its_run_and_names_the_restoring_one() -> None:
    first = restored_item(kept(1, 1), run_id="r8", now_utc=NOON + timedelta(days=1))["properties"]
    again = restored_item(
        ItemVersion("c", "i", "v1", "r1", NOON, {"properties": first}),
        run_id="r9",
        now_utc=NOON + timedelta(days=2),
    )
    assert again["properties"] == {
        ITEM_RUN_ID: "r1",
        ITEM_FINGERPRINT: "v1",
        "updated": "2026-05-03T12:00:00Z",
        ITEM_RESTORED_BY: "r9",
        ITEM_FIRST_PUBLISHED: document(1)["properties"]["updated"],
    }
    assert is_of_run(again, "r1")
    assert is_of_run(again, "r9")
    assert not is_of_run(again, "r8")


def test_versions_are_sorted_by_when_they_were_first_published() -> None:
    foreign = ItemVersion(
        "rasters", "scene", "", "", NOON, {"properties": {"updated": "lately"}, "assets": {}}
    )
    rows = version_rows(document(2), [kept(3, 1), foreign, kept(1, 5)])
    assert [(row.run_id, row.withdrawn_at_utc is None) for row in rows] == [
        ("r3", False),
        ("r2", True),
        ("r1", False),
        ("", False),
    ]
    assert version_rows(None, []) == []


def test_an_item_is_named_by_its_id_or_with_its_collection() -> None:
    assert split_name("scene") == (None, "scene")
    assert split_name("rasters/scene") == ("rasters", "scene")
    for name in ("", "/", "a/", "/b", "a/b/c"):
        with pytest.raises(ParameterInvalid):
            split_name(name)
