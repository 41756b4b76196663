"""Published items are found for those who may read them, by the version that an address names."""

from pathlib import Path

import pytest

from geo_platform.errors import NotFound, VersionGone
from geo_platform.serving import published
from geo_platform.serving.published import PublishedItems
from geo_platform.serving.rights import Rights
from geo_platform.storage.local.stac_files import StacFiles
from tests.support.publications import COLLECTION, item

EVERYTHING = Rights()


@pytest.fixture
def catalog(tmp_path: Path) -> StacFiles:
    catalog = StacFiles(tmp_path)
    catalog.publish(COLLECTION, item("dem"), replaces=None)
    return catalog


@pytest.fixture
def items(catalog: StacFiles) -> PublishedItems:
    return PublishedItems(catalog)


def test_an_item_is_found_by_its_ids(items: PublishedItems) -> None:
    found = items.item("rasters", "dem", EVERYTHING)
    assert (found.collection, found.item_id, found.properties["updated"]) == (
        "rasters",
        "dem",
        "2026-01-01T00:00:00Z",
    )
    assert items.item("rasters", "dem", EVERYTHING, version=found.version) == found
    assert found.asset("data")["href"] == "https://store.example/silver/v1/dem.tif"


@pytest.mark.parametrize("item_id", ["none", "..", "a/b", "", "x" * 1000])
def test_an_item_that_is_not_there_is_not_found(items: PublishedItems, item_id: str) -> None:
    with pytest.raises(NotFound, match="There is no item"):
        items.item("rasters", item_id, EVERYTHING)


def test_an_item_of_others_is_refused_in_the_words_for_none(items: PublishedItems) -> None:
    version = items.item("rasters", "dem", EVERYTHING).version
    for named in (None, version, "0" * 16):
        with pytest.raises(NotFound) as refused:
            items.item("rasters", "dem", Rights(collections=("vectors",)), version=named)
        with pytest.raises(NotFound) as none:
            items.item("rasters", "none", EVERYTHING, version=named)
        assert str(refused.value) == str(none.value).replace("'none'", "'dem'")


def test_an_asset_that_is_not_there_names_those_that_are(items: PublishedItems) -> None:
    with pytest.raises(NotFound, match="has no asset 'table'") as refused:
        items.item("rasters", "dem", EVERYTHING).asset("table")
    assert refused.value.remedy == "Choose one of its assets: data."


def test_a_replaced_version_is_gone_and_never_answered_with_the_new_one(
    catalog: StacFiles, items: PublishedItems, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = items.item("rasters", "dem", EVERYTHING)
    catalog.publish(COLLECTION, item("dem", "v2"), replaces="v1")
    # Remembered for some seconds, but as what it was.
    assert items.item("rasters", "dem", EVERYTHING, version=old.version) == old
    new = items.item("rasters", "dem", EVERYTHING)
    assert new.version != old.version
    monkeypatch.setattr(published, "REMEMBERED_S", 0.0)
    with pytest.raises(VersionGone):
        PublishedItems(catalog).item("rasters", "dem", EVERYTHING, version=old.version)


def test_an_unpublished_item_is_not_found(catalog: StacFiles, items: PublishedItems) -> None:
    items.item("rasters", "dem", EVERYTHING)
    catalog.unpublish("rasters", "dem", published="v1")
    with pytest.raises(NotFound):
        items.item("rasters", "dem", EVERYTHING)
