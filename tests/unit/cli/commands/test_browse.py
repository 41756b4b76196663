"""`list` and `show` on a real catalog: what they print, and errors that name a remedy."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from geo_platform.cli.main import main
from geo_platform.ports import (
    ASSET_CONTAINER,
    ASSET_KEY,
    ASSET_TABLE,
    ITEM_FINGERPRINT,
    ITEM_RUN_ID,
    ITEM_SOURCE,
)
from geo_platform.serving.downloads import ALTERNATE_ASSETS
from geo_platform.storage.local.stac_files import StacFiles

LONG = "a-name-as-long-as-those-of-satellite-scenes-are-" * 3
RUN = "c2552afc-9bf3-44e8-a10f-eb78d7aa8fc7"


def _item(collection: str, item_id: str) -> dict[str, Any]:
    named = {ITEM_RUN_ID: RUN, ITEM_FINGERPRINT: "v1", ITEM_SOURCE: f"in/{item_id}.tif"}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": item_id,
        "collection": collection,
        "geometry": {"type": "Point", "coordinates": [1, 2]},
        "bbox": [1, 2, 1, 2],
        "properties": {"datetime": "2020-01-01T00:00:00Z", "title": "\x1b[31mred", **named},
        "links": [],
        "assets": {"data": {"href": "file:///data.tif", "roles": ["data"]}},
    }


def _collection(name: str) -> dict[str, Any]:
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": name,
        "description": name,
        "license": "other",
        "links": [],
    }


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for collection, item_id in (("rasters", "scene"), ("others", "scene"), ("rasters", LONG)):
        StacFiles(tmp_path / "home").publish(
            _collection(collection), _item(collection, item_id), replaces=None
        )
    return tmp_path / "home"


def _run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), *arguments])


def test_a_listing_in_json_is_one_list_newest_first(home: Path) -> None:
    listed = json.loads(_run(home, "list", "--json").stdout)
    assert [(entry["collection"], entry["id"]) for entry in listed] == [
        ("rasters", LONG),
        ("others", "scene"),
        ("rasters", "scene"),
    ]
    assert {entry["run_id"] for entry in listed} == {RUN}


def test_in_a_pipe_every_item_is_one_line_of_any_length(home: Path) -> None:
    lines = _run(home, "list").stdout.splitlines()
    assert len(lines) == 4
    assert all(RUN in line for line in lines[1:])
    assert LONG in lines[1]


def test_an_id_in_two_collections_needs_its_collection(home: Path) -> None:
    asked = _run(home, "show", "scene")
    assert asked.exit_code == 2
    assert "others/scene" in asked.stderr
    assert json.loads(_run(home, "show", "others/scene", "--json").stdout)["collection"] == "others"


def test_text_of_an_item_cannot_move_the_cursor(home: Path) -> None:
    assert "\x1b" not in _run(home, "show", "rasters/scene").stdout


def test_the_address_of_a_file_is_shown_beside_the_store_s_if_the_api_has_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = _item("rasters", "stored")
    item["assets"]["data"] |= {ASSET_CONTAINER: "silver", ASSET_KEY: "data.tif"}
    item["assets"]["table"] = {"href": "postgresql://host/db", ASSET_TABLE: "roads"}
    StacFiles(home).publish(_collection("rasters"), item, replaces=None)
    assert "download" not in _run(home, "show", "stored").stdout
    monkeypatch.setenv("GEO_PLATFORM_API_URL", "https://geo.example.org/")
    shown = _run(home, "show", "stored").stdout.splitlines()
    assert shown[-3:] == [
        "  data: file:///data.tif",
        "    download: https://geo.example.org/stac/collections/rasters/items/stored/assets/data",
        "  table: postgresql://host/db",
    ]
    document = json.loads(_run(home, "show", "stored", "--json").stdout)
    assert document["assets"]["data"]["href"] == "file:///data.tif"
    alternate = document["assets"]["data"]["alternate"]["download"]
    assert alternate["href"] == shown[-2].partition("download: ")[2]
    assert "alternate" not in document["assets"]["table"]
    assert ALTERNATE_ASSETS in document["stac_extensions"]


def test_a_missing_item_is_reported_with_the_command_that_helps(home: Path) -> None:
    asked = _run(home, "show", "nope")
    assert asked.exit_code == 1
    assert "geo-platform list" in asked.stderr


def test_an_unreadable_item_does_not_hide_the_others(home: Path) -> None:
    (home / "catalog" / "others" / "scene" / "scene.json").write_text("{")
    listed = _run(home, "list", "--json")
    assert listed.exit_code == 3
    assert len(json.loads(listed.stdout)) == 2
    assert "scene.json" in listed.stderr


def test_a_command_that_needs_the_jobs_says_where_to_find_them(home: Path, tmp_path: Path) -> None:
    asked = _run(home, "--application-root", str(tmp_path), "status", RUN)
    assert asked.exit_code == 2
    assert "--application-root" in asked.stderr
