"""Undo by the real commands, on both profiles, and check what is published after each."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from geo_platform.ports import ITEM_RESTORED_BY, ITEM_RUN_ID
from geo_platform.settings import Profile
from tests.support.in_process import DAGSTER_S_WARNINGS, Give, commands
from tests.support.production import ProfileUnderTest

pytestmark = DAGSTER_S_WARNINGS
PLACE = "vectors/wells"


def wells(count: int, *, start: int = 0) -> str:
    features = [
        {
            "type": "Feature",
            "properties": {"number": n},
            "geometry": {"type": "Point", "coordinates": [4 + n / 100, 50]},
        }
        for n in range(start, start + count)
    ]
    return json.dumps({"type": "FeatureCollection", "features": features})


@dataclass
class Person:
    """Runs commands and reads what is published."""

    home: Path
    profile: ProfileUnderTest
    give: Give

    def __call__(self, *arguments: str | Path, exit_code: int = 0) -> Any:
        return self.give(*arguments, exit_code=exit_code)

    def published(self) -> tuple[str, int] | None:
        """Return run and rows of the published item, and check them against its table, if any."""
        item = self.profile.catalog(self.home).item("vectors", "wells")
        rows = self._rows_of_the_table()
        if item is None:
            assert rows is None
            return None
        assert rows in (None, item["properties"]["table:row_count"])
        assert self.profile.profile is Profile.embedded or rows is not None
        return item["properties"][ITEM_RUN_ID], item["properties"]["table:row_count"]

    def lose_a_file_of(self, run: str) -> str:
        """Remove a file of a kept version from the store, and return its key."""
        version = next(
            kept
            for kept in self.profile.catalog(self.home).versions("vectors", "wells")
            if kept.run_id == run
        )
        key = str(version.item["assets"]["thumbnail"]["geo_platform:key"])
        self.profile.objects(self.home).delete("silver", key)
        return key

    def _rows_of_the_table(self) -> int | None:
        if self.profile.logins is None:
            return None
        with self.profile.logins.reader.connect() as connection:
            found = connection.execute("SELECT to_regclass('geo.wells') IS NOT NULL").fetchone()
            if found != (True,):
                return None
            row = connection.execute("SELECT count(*) FROM geo.wells").fetchone()
        return int(row[0]) if row else None


@pytest.fixture
def person(profile: ProfileUnderTest, tmp_path: Path) -> Iterator[Person]:
    with commands(profile, tmp_path / "home") as give:
        yield Person(tmp_path / "home", profile, give)


@pytest.fixture
def source(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "wells.geojson"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_publication_can_be_undone_and_redone(
    person: Person, source: Callable[[str], Path]
) -> None:
    first = person("ingest", source(wells(3)))["run_id"]
    second = person("ingest", source(wells(5)))["run_id"]
    assert person.published() == (second, 5)
    assert [row["run_id"] for row in person("versions", "wells")] == [second, first]

    restored = person("rollback", "wells")
    assert (restored["outcome"], restored["item"], restored["published_by_run"]) == (
        "restored",
        PLACE,
        first,
    )
    assert person.published() == (first, 3)
    item = person("show", PLACE)
    assert item["properties"][ITEM_RESTORED_BY] == restored["run_id"] not in (first, second)
    assert person("status", restored["run_id"])["job"] == "rollback_item"
    assert [row["run_id"] for row in person("versions", PLACE)] == [second, first]
    nothing_earlier = person("rollback", "wells", exit_code=1)
    assert nothing_earlier["error"]["code"] == "SOURCE_NOT_FOUND"

    again = person("ingest", source(wells(5)))
    assert again["outcome"] == "published", "the newer source is published again"
    assert person.published() == (again["run_id"], 5)
    assert person("rollback", "wells", "--to", first)["published_by_run"] == first
    assert person.published() == (first, 3)

    refused = person("unpublish", "wells", "--run", second, exit_code=1)
    assert refused["error"]["code"] == "CONFLICT"
    assert person.published() == (first, 3)
    assert person("unpublish", "wells", "--run", first)["outcome"] == "unpublished"
    assert person.published() is None
    assert person("list") == []
    republished = person("ingest", source(wells(3)))
    assert (republished["outcome"], person.published()) == ("published", (republished["run_id"], 3))

    person("unpublish", "wells")
    assert person("rollback", "wells")["published_by_run"] == republished["run_id"]

    gone = person.lose_a_file_of(again["run_id"])
    refused = person("rollback", "wells", "--to", again["run_id"], exit_code=1)
    assert (refused["outcome"], refused["error"]["code"]) == ("refused", "SOURCE_NOT_FOUND")
    assert gone in refused["error"]["message"]
    assert person.published() == (republished["run_id"], 3)

    kept = {row["run_id"] for row in person("versions", "wells")} - {republished["run_id"]}
    planned = person("cleanup", "--older-than-days", "0", "--dry-run")
    removed = person("cleanup", "--older-than-days", "0")
    assert {line.rsplit(" ", 1)[1] for line in removed["versions"]} == kept
    assert sorted(planned["objects"]) == sorted(removed["objects"]) != []
    assert person.published() == (republished["run_id"], 3)
    assert [row["run_id"] for row in person("versions", "wells")] == [republished["run_id"]]
    unchanged = person("ingest", source(wells(3)))
    assert (unchanged["outcome"], unchanged["run_id"]) == ("unchanged", republished["run_id"])


def test_missing_items_are_refused(person: Person) -> None:
    for command in ("unpublish", "rollback", "versions"):
        assert "nowhere" in person(command, "nowhere", exit_code=1)
    assert (
        person("unpublish", "vectors/nowhere", exit_code=1)["error"]["code"] == "SOURCE_NOT_FOUND"
    )
