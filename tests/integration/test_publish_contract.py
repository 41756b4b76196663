"""The contract of the Catalog port: the same tests on STAC files and on pgSTAC."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from geo_platform.errors import CatalogRejected, Conflict, ParameterInvalid, SourceNotFound
from geo_platform.ports import (
    ITEM_FINGERPRINT,
    ITEM_LOAD_MODE,
    ITEM_RESTORED_BY,
    ITEM_RUN_ID,
    ITEM_SOURCE,
    Catalog,
)
from geo_platform.settings import Profile
from tests.support.publications import (
    COLLECTION,
    CatalogUnderTest,
    files_under_test,
    item,
    pgstac_under_test,
)


@pytest.fixture(params=list(Profile), ids=str)
def under_test(request: pytest.FixtureRequest, tmp_path: Path) -> CatalogUnderTest:
    if request.param is Profile.embedded:
        return files_under_test(tmp_path / "geo")
    return pgstac_under_test(request.getfixturevalue("database"))


@pytest.fixture
def catalog(under_test: CatalogUnderTest) -> Catalog:
    return under_test.catalog


def publish(
    catalog: Catalog, document: dict[str, Any], replaces: str | None = None, **collection: Any
) -> str:
    return catalog.publish(
        {**COLLECTION, "id": document["collection"], **collection}, document, replaces=replaces
    )


def bring_back(
    catalog: Catalog, version: str, replaces: str | None, by: str = "a later run"
) -> None:
    (kept,) = (
        found for found in catalog.versions("rasters", "scene") if found.fingerprint == version
    )
    document = {**kept.item, "properties": {**kept.item["properties"], ITEM_RESTORED_BY: by}}
    publish(catalog, document, replaces)


def kept_versions(catalog: Catalog, *place: str) -> list[str]:
    return [version.fingerprint for version in catalog.versions(*place)]


def links(stac: dict[str, Any] | None, relation: str) -> list[str]:
    assert stac is not None
    return [link["href"] for link in stac["links"] if link["rel"] == relation]


def extent(catalog: Catalog) -> tuple[list[float], list[str | None]]:
    collection = catalog.collection("rasters")
    assert collection is not None
    (box,), (interval,) = (
        collection["extent"]["spatial"]["bbox"],
        collection["extent"]["temporal"]["interval"],
    )
    return box, interval


def test_a_new_catalog_is_empty(catalog: Catalog) -> None:
    assert catalog.item("rasters", "scene") is None
    assert catalog.collection("rasters") is None
    assert list(catalog.entries()) == []
    assert list(catalog.versions()) == []


def test_a_published_item_is_returned_unchanged_with_its_nulls(catalog: Catalog) -> None:
    odd = {
        "proj:code": None,
        "title": 'Näam 𝒳 "quoted" \\ 1e+20',
        "large": -3.4028234663852886e38,
        "small": 1e-300,
        "whole": 1.0,
        "int64": 9007199254740993,
        "list": [None, {"none": None}, [], {}, [[None]]],
        "nested": {"a": {"b": None}, "c": True, "d": ""},
    }
    document = item(**odd)
    document["geometry"] = {
        "type": "Polygon",
        "coordinates": [[[0.1, 0.2], [1.123456789012345, 0], [1, 1 / 3], [0.1, 0.2]]],
    }
    where = {"geo_platform:container": "silver", "geo_platform:key": "scene/data.tif"}
    document["assets"]["data"] |= {
        "bands": [{"nodata": 1.7976931348623157e308, "unit": None}],
        **where,
    }
    href = publish(catalog, document)
    found = catalog.item("rasters", "scene")
    assert found is not None
    assert {name: found[name] for name in found if name != "links"} == {
        name: document[name] for name in document if name != "links"
    }
    assert [type(found["properties"][name]) for name in ("large", "small", "whole", "int64")] == [
        float,
        float,
        float,
        int,
    ]
    assert links(found, "via") == links(document, "via")
    assert links(found, "self") == [href]
    assert [len(links(found, relation)) for relation in ("root", "parent", "collection")] == [
        1,
        1,
        1,
    ]
    (entry,) = catalog.entries()
    assert (
        entry.collection,
        entry.item_id,
        entry.run_id,
        entry.fingerprint,
        entry.source,
        entry.href,
    ) == (
        "rasters",
        "scene",
        "run of v1",
        "v1",
        "scene.tif",
        href,
    )
    assert entry.objects == (("silver", "scene/data.tif"),)
    assert entry.outputs == tuple(asset["href"] for asset in document["assets"].values())


def test_links_of_a_collection_and_its_items_have_the_same_targets(catalog: Catalog) -> None:
    publish(catalog, item())
    found, collection = catalog.item("rasters", "scene"), catalog.collection("rasters")
    assert links(found, "collection") == links(found, "parent") == links(collection, "self")
    assert links(found, "root") == links(collection, "root") == links(collection, "parent")


@pytest.mark.parametrize("replaces", [None, "v0"])
def test_replacing_an_unexpected_version_is_a_conflict(
    replaces: str | None, catalog: Catalog
) -> None:
    publish(catalog, item())
    with pytest.raises(Conflict, match="at version v1"):
        publish(catalog, item(version="v2"), replaces)
    with pytest.raises(Conflict, match="at version none"):
        publish(catalog, item("new", "v2"), "v1")
    assert [(entry.item_id, entry.fingerprint) for entry in catalog.entries()] == [("scene", "v1")]
    assert kept_versions(catalog) == []


@pytest.mark.parametrize(
    "other", [{ITEM_SOURCE: "another.tif"}, {"geo_platform:source_container": "quarantine"}]
)
def test_two_sources_cannot_hold_one_id_unless_rows_are_appended(
    other: dict[str, str], catalog: Catalog
) -> None:
    publish(catalog, item())
    with pytest.raises(Conflict, match=r"scene\.tif") as refused:
        publish(catalog, item(version="v2", **other), "v1")
    assert "item_id" in refused.value.remedy
    publish(catalog, item(version="v2", **{**other, ITEM_LOAD_MODE: "append"}), "v1")
    assert kept_versions(catalog) == ["v1"]


def test_ids_that_could_escape_the_folder_are_refused(catalog: Catalog) -> None:
    for name in ("..", ".hidden", "a/b", "", "collection.json", "a" * 201, "ä"):
        with pytest.raises(ParameterInvalid):
            publish(catalog, item(name))
        with pytest.raises(ParameterInvalid):
            catalog.item(name, "scene")
        with pytest.raises(ParameterInvalid):
            catalog.unpublish("rasters", name, published="v1")
        with pytest.raises(ParameterInvalid):
            list(catalog.versions("rasters", name))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", "\ud800"], ids=repr)
def test_a_document_without_json_is_refused_and_nothing_is_published(
    value: object, catalog: Catalog
) -> None:
    with pytest.raises(CatalogRejected, match="JSON"):
        publish(catalog, item(value=value))
    with pytest.raises(CatalogRejected, match="names collection"):
        catalog.publish({**COLLECTION, "id": "others"}, item(), replaces=None)
    assert (catalog.item("rasters", "scene"), catalog.collection("rasters")) == (None, None)


def test_replaced_versions_are_kept_unchanged_newest_first(catalog: Catalog) -> None:
    first = item(note=None)
    publish(catalog, first)
    publish(catalog, item(version="v2"), "v1")
    publish(catalog, item(version="v3"), "v2")
    publish(catalog, item("other"))
    publish(catalog, item("other", "v9"), "v1")
    versions = list(catalog.versions("rasters", "scene"))
    assert [(version.fingerprint, version.run_id) for version in versions] == [
        ("v2", "run of v2"),
        ("v1", "run of v1"),
    ]
    assert versions[0].withdrawn_at_utc > versions[1].withdrawn_at_utc
    assert versions[1].withdrawn_at_utc.utcoffset() is not None
    assert versions[1].item["properties"] == first["properties"]
    assert versions[1].item["assets"] == first["assets"]
    assert kept_versions(catalog, "rasters") == ["v1", "v2", "v1"]
    assert kept_versions(catalog, "elsewhere") == []
    found = catalog.item("rasters", "scene")
    assert found is not None
    assert "deprecated" not in found["properties"]


def test_publishing_the_same_version_again_keeps_nothing(catalog: Catalog) -> None:
    publish(catalog, item())
    publish(catalog, item(**{ITEM_RUN_ID: "forced"}), "v1")
    assert kept_versions(catalog) == []
    assert [entry.run_id for entry in catalog.entries()] == ["forced"]


def test_an_unpublished_item_is_not_found_and_is_kept(catalog: Catalog) -> None:
    publish(catalog, item(bbox=(0, 0, 10, 10)))
    publish(catalog, item("b", bbox=(20, -5, 30, 5), datetime="2019-05-05T00:00:00Z"))
    catalog.unpublish("rasters", "b", published="v1")
    assert catalog.item("rasters", "b") is None
    assert [entry.item_id for entry in catalog.entries()] == ["scene"]
    assert [(version.item_id, version.fingerprint) for version in catalog.versions()] == [
        ("b", "v1")
    ]
    assert extent(catalog) == ([0, 0, 10, 10], ["2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"])
    catalog.unpublish("rasters", "scene", published="v1")
    assert list(catalog.entries()) == []
    assert extent(catalog) == ([-180, -90, 180, 90], [None, None])


def test_unpublishing_an_unpublished_item_is_refused(catalog: Catalog) -> None:
    with pytest.raises(SourceNotFound, match="rasters/scene"):
        catalog.unpublish("rasters", "scene", published="v1")
    publish(catalog, item())
    with pytest.raises(Conflict, match="at version v1, not at v0"):
        catalog.unpublish("rasters", "scene", published="v0")
    catalog.unpublish("rasters", "scene", published="v1")
    with pytest.raises(SourceNotFound):
        catalog.unpublish("rasters", "scene", published="v1")


def test_any_source_may_publish_under_the_id_of_an_unpublished_item(catalog: Catalog) -> None:
    publish(catalog, item(bbox=(0, 0, 10, 10)))
    catalog.unpublish("rasters", "scene", published="v1")
    publish(catalog, item(version="v2", bbox=(1, 1, 2, 2), **{ITEM_SOURCE: "another.tif"}))
    assert [entry.fingerprint for entry in catalog.entries()] == ["v2"]
    assert kept_versions(catalog) == ["v1"]
    assert extent(catalog)[0] == [1, 1, 2, 2]


def test_a_restored_version_swaps_with_the_one_it_replaces(catalog: Catalog) -> None:
    publish(catalog, item())
    publish(
        catalog, item(version="v2", **{ITEM_SOURCE: "another.tif", ITEM_LOAD_MODE: "append"}), "v1"
    )
    for back, before in (("v1", "v2"), ("v2", "v1"), ("v1", "v2")):
        bring_back(catalog, back, before)
        found = catalog.item("rasters", "scene")
        assert found is not None
        assert (found["properties"][ITEM_FINGERPRINT], found["properties"][ITEM_RUN_ID]) == (
            back,
            f"run of {back}",
        )
        assert kept_versions(catalog) == [before]
    catalog.unpublish("rasters", "scene", published="v1")
    bring_back(catalog, "v2", None)
    assert kept_versions(catalog) == ["v1"]


def test_a_version_that_is_not_kept_cannot_be_restored(catalog: Catalog) -> None:
    publish(catalog, item())
    publish(catalog, item(version="v2"), "v1")
    (version,) = catalog.versions()
    catalog.forget(version)
    with pytest.raises(Conflict, match="not kept any more"):
        publish(catalog, item(**{ITEM_RESTORED_BY: "a later run"}), "v2")
    with pytest.raises(SourceNotFound):
        catalog.forget(version)
    assert [entry.fingerprint for entry in catalog.entries()] == ["v2"]


def test_a_version_that_is_published_again_cannot_be_forgotten(catalog: Catalog) -> None:
    publish(catalog, item())
    publish(catalog, item(version="v2"), "v1")
    (version,) = catalog.versions()
    bring_back(catalog, "v1", "v2")
    with pytest.raises(SourceNotFound, match="not kept any more"):
        catalog.forget(version)
    assert [entry.fingerprint for entry in catalog.entries()] == ["v1"]


def test_the_collection_grows_and_shrinks_with_its_items(catalog: Catalog) -> None:
    publish(catalog, item("a", bbox=(0, 0, 10, 10)))
    publish(catalog, item("b", bbox=(20, -5, 30, 5), datetime="2019-05-05T00:00:00Z"))
    assert extent(catalog) == ([0, -5, 30, 10], ["2019-05-05T00:00:00Z", "2020-01-01T00:00:00Z"])
    publish(catalog, item("b", "v2", bbox=(1, 1, 2, 2)), "v1")
    assert extent(catalog) == ([0, 0, 10, 10], ["2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"])
    publish(catalog, item("c", bbox=(170, 0, -170, 1)))
    assert extent(catalog)[0] == [0, 0, -170, 10]


def test_edits_of_a_collection_are_kept(catalog: Catalog, under_test: CatalogUnderTest) -> None:
    publish(catalog, item("a"))
    written = {
        "title": "Our rasters",
        "license": "CC-BY-4.0",
        "keywords": ["dem"],
        "sci:citation": "We, 2026",
        "summaries": {"gsd": None},
    }
    licence = {"rel": "license", "href": "https://example.com/licence"}
    under_test.edit_collection(written | {"links": [licence]})
    publish(catalog, item("b"), description="Not this.")
    catalog.unpublish("rasters", "a", published="v1")
    collection = catalog.collection("rasters")
    assert collection is not None
    assert {name: collection[name] for name in written} == written
    assert collection["description"] == "Rasters."
    assert links(collection, "license") == [licence["href"]]
    assert [len(links(collection, relation)) for relation in ("self", "root", "parent")] == [
        1,
        1,
        1,
    ]


def test_listings_are_newest_first_whatever_the_items_say(
    catalog: Catalog, under_test: CatalogUnderTest
) -> None:
    for name in ("old", "middle", "new"):
        publish(catalog, item(name))
    publish(under_test.open(), item("old", "v2"), "v1")
    assert [entry.item_id for entry in catalog.entries()] == ["old", "new", "middle"]
    entries = catalog.entries()
    assert next(entries).item_id == "old"
    entries.close()  # type: ignore[attr-defined]  # a generator may be left half read


def test_exactly_one_of_many_concurrent_publishes_wins(under_test: CatalogUnderTest) -> None:
    barrier = threading.Barrier(6)

    def attempt(number: int) -> bool:
        catalog = under_test.open()
        barrier.wait()
        try:
            publish(catalog, item(version=f"v{number}"))
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(attempt, range(6)))
    assert won.count(True) == 1
    assert [entry.fingerprint for entry in under_test.catalog.entries()] == [f"v{won.index(True)}"]


def test_items_of_new_collections_can_be_published_concurrently(
    under_test: CatalogUnderTest,
) -> None:
    barrier = threading.Barrier(6)

    def attempt(number: int) -> None:
        catalog = under_test.open()
        barrier.wait()
        publish(catalog, item(f"item{number}", collection=f"collection{number % 3}"))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(attempt, range(6)))
    assert {(entry.collection, entry.item_id) for entry in under_test.catalog.entries()} == {
        (f"collection{number % 3}", f"item{number}") for number in range(6)
    }
