"""Append rows of several files to one table and one item, undo that, and append again."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.in_process import DAGSTER_S_WARNINGS, Give, commands
from tests.support.production import ProfileUnderTest

pytestmark = DAGSTER_S_WARNINGS
APPEND = ("--table-name", "wells", "--load-mode", "append", "--key-columns", "number")


@pytest.fixture
def give(production: ProfileUnderTest, tmp_path: Path) -> Iterator[Give]:
    with commands(production, tmp_path / "home") as given:
        yield given


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def file(name: str, numbers: range, depth: int) -> Path:
        features = [
            {
                "type": "Feature",
                "properties": {"number": n, "depth": depth},
                "geometry": {"type": "Point", "coordinates": [n, 50]},
            }
            for n in numbers
        ]
        path = tmp_path / name
        path.write_text(
            json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8"
        )
        return path

    return file


def rows(production: ProfileUnderTest) -> dict[int, int]:
    """Return the depth of each well by its number, as a reader sees them."""
    assert production.logins is not None
    with production.logins.reader.connect() as connection:
        found = connection.execute("SELECT number, depth FROM geo.wells").fetchall()
    assert len(dict(found)) == len(found)
    return dict(found)


def test_two_files_appended_share_one_table_and_item(
    give: Give, write: Callable[..., Path], production: ProfileUnderTest
) -> None:
    first, second = write("2019.geojson", range(0, 4), 1), write("2020.geojson", range(3, 6), 2)
    runs = [give("ingest", path, *APPEND)["run_id"] for path in (first, second)]
    assert rows(production) == {0: 1, 1: 1, 2: 1, 3: 2, 4: 2, 5: 2}
    (entry,) = give("list")
    assert (entry["id"], entry["run_id"]) == ("wells", runs[1])
    item = give("show", "wells")
    assert [
        (source["source"].rpartition("/")[2], source["run_id"])
        for source in item["properties"]["geo_platform:sources"]
    ] == [
        ("2019.geojson", runs[0]),
        ("2020.geojson", runs[1]),
    ]
    assert (item["bbox"], item["properties"]["table:row_count"]) == ([0.0, 50.0, 5.0, 50.0], 6)

    unchanged = give("ingest", second, *APPEND)
    assert (unchanged["outcome"], unchanged["run_id"]) == ("unchanged", runs[1])
    again = give("ingest", first, *APPEND)
    assert again["outcome"] == "published", "some of its rows are missing"
    assert rows(production) == {0: 1, 1: 1, 2: 1, 3: 1, 4: 2, 5: 2}

    give("rollback", "wells")
    assert rows(production) == {0: 1, 1: 1, 2: 1, 3: 2, 4: 2, 5: 2}
    give("rollback", "wells")
    assert rows(production) == {0: 1, 1: 1, 2: 1, 3: 1}
    assert give("ingest", second, *APPEND)["outcome"] == "published"
    assert rows(production) == {0: 1, 1: 1, 2: 1, 3: 2, 4: 2, 5: 2}
