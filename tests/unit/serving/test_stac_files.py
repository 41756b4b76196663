"""The index of a catalog of files follows what changes in the files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geo_platform.errors import TimeExceeded
from geo_platform.serving.rights import Rights
from geo_platform.serving.stac import file_search
from geo_platform.serving.stac.file_search import FileSearch
from geo_platform.serving.stac.request import ItemSearch, SearchBody
from geo_platform.storage.local.stac_files import StacFiles
from tests.support.publications import COLLECTION, item

Find = Callable[..., list[str]]


@pytest.fixture
def catalog(tmp_path: Path) -> StacFiles:
    catalog = StacFiles(tmp_path)
    for name, gsd in (("a", 10), ("b", 20)):
        catalog.publish(COLLECTION, item(name, gsd=gsd), replaces=None)
    return catalog


@pytest.fixture
def find(tmp_path: Path, catalog: StacFiles) -> Find:
    search = FileSearch(tmp_path, catalog, seconds=60)

    def found(rights: Rights = Rights(), **body: Any) -> list[str]:  # noqa: B008  # frozen
        return [each["id"] for each in search.page(ItemSearch.of(SearchBody(**body)), rights).items]

    return found


def test_a_publication_is_found_by_the_next_search(catalog: StacFiles, find: Find) -> None:
    assert find() == ["b", "a"]
    catalog.publish(COLLECTION, item("c", gsd=30), replaces=None)
    assert find(filter="gsd > 15") == ["c", "b"]
    catalog.publish(COLLECTION, item("b", "v2", gsd=1), replaces="v1")
    assert find(filter="gsd > 15") == ["c"]
    catalog.unpublish("rasters", "c", published="v1")
    assert find() == ["b", "a"]


def test_a_file_that_was_edited_is_found_after_a_while(
    tmp_path: Path, find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_search, "_EXAMINED_EVERY_S", 0.0)
    assert find(filter="gsd = 5") == []
    path = tmp_path / "catalog" / "rasters" / "a" / "a.json"
    document = json.loads(path.read_text("utf-8"))
    document["properties"]["gsd"] = 5
    path.write_text(json.dumps(document), encoding="utf-8")
    assert find(filter="gsd = 5") == ["a"]


def test_a_damaged_file_does_not_prevent_a_search(
    tmp_path: Path, catalog: StacFiles, find: Find
) -> None:
    (tmp_path / "catalog" / "rasters" / "a" / "a.json").write_text("{", encoding="utf-8")
    assert find() == ["b"]
    catalog.publish(COLLECTION, item("c"), replaces=None)
    assert find() == ["c", "b"]


def test_a_filter_that_takes_too_long_is_ended(tmp_path: Path, catalog: StacFiles) -> None:
    search = FileSearch(tmp_path, catalog, seconds=-1)
    with pytest.raises(TimeExceeded, match="too long"):
        search.page(ItemSearch.of(SearchBody(filter="gsd = 10")), Rights())


def test_the_order_puts_texts_before_numbers_and_what_has_no_value_last(
    catalog: StacFiles, find: Find
) -> None:
    catalog.publish(COLLECTION, item("c", gsd="ten"), replaces=None)
    catalog.publish(COLLECTION, item("d"), replaces=None)
    assert find(sortby=[{"field": "gsd", "direction": "asc"}]) == ["c", "a", "b", "d"]
    assert find(sortby=[{"field": "gsd", "direction": "desc"}]) == ["b", "a", "c", "d"]
