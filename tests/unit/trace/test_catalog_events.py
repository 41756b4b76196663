"""Trace derives the history of publications from items where the catalog keeps no log of writes."""

from datetime import UTC, datetime, timedelta
from typing import Any

from geo_platform.ports import (
    ITEM_FINGERPRINT,
    ITEM_FIRST_PUBLISHED,
    ITEM_RESTORED_BY,
    ITEM_RUN_ID,
    ItemVersion,
)
from geo_platform.trace.catalog_events import catalog_events, writes_of_versions
from geo_platform.trace.sources import CatalogWrite, RunFacts

ZERO = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)


def minute(count: float) -> datetime:
    return ZERO + timedelta(minutes=count)


def item(run: str, at: float, *, restored: tuple[str, float] | None = None) -> dict[str, Any]:
    properties = {ITEM_RUN_ID: run, ITEM_FINGERPRINT: f"f-{run}", "updated": minute(at).isoformat()}
    if restored is not None:
        again = {
            ITEM_FIRST_PUBLISHED: properties["updated"],
            ITEM_RESTORED_BY: restored[0],
            "updated": minute(restored[1]).isoformat(),
        }
        properties |= again
    return {"id": "wells", "collection": "vectors", "properties": properties, "assets": {}}


def kept(document: dict[str, Any], withdrawn: float) -> ItemVersion:
    properties = document["properties"]
    return ItemVersion(
        "vectors",
        "wells",
        properties[ITEM_FINGERPRINT],
        properties[ITEM_RUN_ID],
        minute(withdrawn),
        document,
    )


def unpublish_run(run: str, begun: float, ended: float, status: str = "success") -> RunFacts:
    return RunFacts(run, "unpublish_item", status, {}, minute(begun), minute(begun), minute(ended))


def brief(writes: list[CatalogWrite]) -> list[tuple[str, str | None, str, str | None]]:
    return [
        (write.action, write.run_id, write.fingerprint, write.replaced_run_id) for write in writes
    ]


def test_consecutive_versions_replace_each_other() -> None:
    writes = writes_of_versions(item("c", 3), [kept(item("b", 2), 3.1), kept(item("a", 1), 2.1)])
    assert brief(writes) == [
        ("publish", "a", "f-a", None),
        ("publish", "b", "f-b", "a"),
        ("publish", "c", "f-c", "b"),
    ]


def test_a_version_withdrawn_without_a_successor_was_unpublished() -> None:
    a, b = kept(item("a", 1), 2), item("b", 3)
    assert brief(writes_of_versions(b, [a])) == [
        ("publish", "a", "f-a", None),
        ("unpublish", None, "f-a", None),
        ("publish", "b", "f-b", None),
    ]
    by = writes_of_versions(
        b, [a], [unpublish_run("u", 1.9, 2.1), unpublish_run("failed", 1.5, 1.6, "failure")]
    )
    assert brief(by)[1] == ("unpublish", "u", "f-a", None)
    assert by[1].at_utc == minute(2), "the moment that the version names, not the run's end"


def test_a_restored_version_is_published_twice() -> None:
    writes = writes_of_versions(item("a", 1, restored=("r", 4)), [kept(item("b", 2), 4.1)])
    assert brief(writes) == [
        ("publish", "a", "f-a", None),
        ("publish", "b", "f-b", "a"),
        ("publish", "r", "f-a", "b"),
    ]


def test_an_unpublishing_without_a_kept_version_is_known_by_its_run() -> None:
    writes = writes_of_versions(item("a", 1, restored=("r", 4)), [], [unpublish_run("u", 2, 2.5)])
    assert brief(writes) == [
        ("publish", "a", "f-a", None),
        ("unpublish", "u", "f-a", None),
        ("publish", "r", "f-a", None),
    ]


def test_a_run_has_its_own_writes_and_the_later_ones_of_its_versions() -> None:
    writes = writes_of_versions(
        None,
        [kept(item("b", 2), 4.1), kept(item("a", 1, restored=("r", 4)), 6)],
        [unpublish_run("u", 5, 7)],
    )

    def events_of(run: str) -> list[tuple[str, str | None]]:
        return [(event.kind, event.by_run) for event in catalog_events(run, writes)]

    assert events_of("a") == [
        ("CATALOG_PUBLISHED", None),
        ("REPLACED", "b"),
        ("RESTORED", "r"),
        ("UNPUBLISHED", "u"),
    ]
    assert events_of("b") == [("CATALOG_PUBLISHED", None), ("REPLACED", "r")]
    assert events_of("r") == [("CATALOG_PUBLISHED", None), ("UNPUBLISHED", "u")]
    assert events_of("u") == [("CATALOG_UNPUBLISHED", None)]
    assert events_of("another") == []
