"""The catalog on disk: read, replace, archive, move, and walk it with pystac."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pystac
import pytest

from geo_platform.errors import CatalogRejected, Conflict, ParameterInvalid
from geo_platform.ports import ITEM_FINGERPRINT, ITEM_SOURCE
from geo_platform.storage.local.atomic import process_lock
from geo_platform.storage.local.stac_files import StacFiles

COLLECTION = {
    "type": "Collection",
    "stac_version": "1.1.0",
    "stac_extensions": [],
    "id": "rasters",
    "title": "Rasters",
    "description": "Rasters.",
    "license": "other",
    "extent": {"spatial": {"bbox": [[0, 0, 1, 1]]}, "temporal": {"interval": [[None, None]]}},
    "links": [],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "geo"


@pytest.fixture
def catalog(root: Path) -> StacFiles:
    return StacFiles(root)


def item(
    root: Path,
    item_id: str = "scene",
    version: str = "v1",
    *,
    bbox: tuple[float, float, float, float] = (0, 0, 1, 1),
    **more: Any,
) -> dict[str, Any]:
    properties = {
        "datetime": "2020-01-01T00:00:00Z",
        "updated": "2026-01-01T00:00:00Z",
        ITEM_SOURCE: f"{item_id}.tif",
        ITEM_FINGERPRINT: version,
        "geo_platform:run_id": f"run of {version}",
    }
    west, south, east, north = bbox
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": item_id,
        "collection": "rasters",
        "geometry": {"type": "MultiPoint", "coordinates": [[west, south], [east, north]]},
        "bbox": list(bbox),
        "properties": properties | more,
        "links": [{"rel": "via", "href": (root / "store" / "bronze" / "a b.tif").as_uri()}],
        "assets": {
            "data": {"href": (root / "store" / "silver" / "a b%.tif").as_uri(), "roles": ["data"]}
        },
    }


def document(root: Path, *parts: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(root.joinpath("catalog", *parts).read_text())
    return loaded


def links(stac: dict[str, Any], relation: str) -> list[str]:
    return [link["href"] for link in stac["links"] if link["rel"] == relation]


def test_a_new_catalog_is_empty(catalog: StacFiles) -> None:
    assert catalog.item("rasters", "scene") is None
    assert list(catalog.entries()) == []


def test_hrefs_are_relative_on_disk_and_absolute_for_readers(
    catalog: StacFiles, root: Path
) -> None:
    href = catalog.publish(COLLECTION, item(root), replaces=None)
    stored, found = (
        document(root, "rasters", "scene", "scene.json"),
        catalog.item("rasters", "scene"),
    )
    assert found is not None
    assert stored["assets"]["data"]["href"] == "../../../store/silver/a%20b%25.tif"
    assert links(stored, "via") == ["../../../store/bronze/a%20b.tif"]
    assert links(stored, "self") == []
    assert str(root) not in json.dumps(stored)
    assert found["assets"] == item(root)["assets"]
    assert links(found, "via") == links(item(root), "via")
    assert links(found, "self") == [href] == [(root / "catalog/rasters/scene/scene.json").as_uri()]


def test_a_moved_folder_is_still_a_complete_catalog(
    catalog: StacFiles, root: Path, tmp_path: Path
) -> None:
    catalog.publish(COLLECTION, item(root), replaces=None)
    moved = tmp_path / "else where"
    shutil.move(root, moved)
    found = StacFiles(moved).item("rasters", "scene")
    assert found is not None
    assert found["assets"]["data"]["href"] == (moved / "store/silver/a b%.tif").as_uri()
    assert (
        StacFiles(moved)
        .publish(COLLECTION, item(moved, version="v2"), replaces="v1")
        .startswith(moved.as_uri())
    )


def test_hrefs_outside_the_root_are_not_changed(catalog: StacFiles, root: Path) -> None:
    far = item(root)
    far["assets"]["data"]["href"] = "https://example.com/a.tif?x=1"
    far["assets"]["beside"] = {"href": root.as_uri() + "-beside/a.tif"}
    catalog.publish(COLLECTION, far, replaces=None)
    found = catalog.item("rasters", "scene")
    assert found is not None
    assert found["assets"] == far["assets"]


def test_pystac_walks_the_whole_catalog(catalog: StacFiles, root: Path) -> None:
    for name in ("one", "two"):
        catalog.publish(COLLECTION, item(root, name), replaces=None)
    catalog.publish(
        COLLECTION | {"id": "others"}, item(root, "three") | {"collection": "others"}, replaces=None
    )
    read = pystac.Catalog.from_file(str(root / "catalog" / "catalog.json"))
    assert {
        child.id: [found.id for found in child.get_items()] for child in read.get_children()
    } == {
        "others": ["three"],
        "rasters": ["one", "two"],
    }
    for found in read.get_items(recursive=True):
        assert found.get_root() is read
        assert found.get_collection() is found.get_parent()


def test_replacing_archives_the_predecessor_and_links_both_ways(
    catalog: StacFiles, root: Path
) -> None:
    catalog.publish(COLLECTION, item(root, version="v1"), replaces=None)
    catalog.publish(COLLECTION, item(root, version="v2"), replaces="v1")
    archived, stored = (
        document(root, "rasters", "scene", "versions", "v1.json"),
        document(root, "rasters", "scene", "scene.json"),
    )
    assert archived["properties"].pop("geo_platform:withdrawn") > "2026"
    assert archived["properties"] == item(root)["properties"] | {"deprecated": True}
    assert archived["assets"]["data"]["href"] == "../../../../store/silver/a%20b%25.tif"
    assert (
        links(archived, "latest-version")
        == links(archived, "successor-version")
        == ["../scene.json"]
    )
    assert links(archived, "collection") == ["../../collection.json"]
    assert links(stored, "predecessor-version") == ["./versions/v1.json"]
    assert "deprecated" not in stored["properties"]
    assert [entry.fingerprint for entry in catalog.entries()] == ["v2"]


def test_publishing_an_old_recipe_again_keeps_the_whole_history(
    catalog: StacFiles, root: Path
) -> None:
    for number, (version, before) in enumerate(
        [("v1", None), ("v2", "v1"), ("v1", "v2"), ("v3", "v1")]
    ):
        catalog.publish(
            COLLECTION,
            item(root, version=version, **{"geo_platform:run_id": f"run {number}"}),
            replaces=before,
        )
    history, place = [], root / "catalog/rasters/scene/scene.json"
    while True:
        stored = json.loads(place.read_text())
        history.append(stored["properties"]["geo_platform:run_id"])
        if not (before_it := links(stored, "predecessor-version")):
            break
        place = (place.parent / before_it[0]).resolve()
    assert history == ["run 3", "run 2", "run 1", "run 0"]


def test_publishing_the_same_version_again_keeps_its_predecessor_and_archives_nothing(
    catalog: StacFiles, root: Path
) -> None:
    for version, before in (("v1", None), ("v2", "v1"), ("v2", "v2")):
        catalog.publish(COLLECTION, item(root, version=version), replaces=before)
    assert links(document(root, "rasters", "scene", "scene.json"), "predecessor-version") == [
        "./versions/v1.json"
    ]
    assert [path.name for path in (root / "catalog/rasters/scene/versions").iterdir()] == [
        "v1.json"
    ]


@pytest.mark.parametrize("replaces", [None, "v0"])
def test_replacing_an_unexpected_version_is_a_conflict(
    replaces: str | None, catalog: StacFiles, root: Path
) -> None:
    catalog.publish(COLLECTION, item(root, version="v1"), replaces=None)
    with pytest.raises(Conflict, match="at version v1"):
        catalog.publish(COLLECTION, item(root, version="v2"), replaces=replaces)
    with pytest.raises(Conflict, match="at version none"):
        catalog.publish(COLLECTION, item(root, "new", version="v2"), replaces="v1")
    assert [(entry.item_id, entry.fingerprint) for entry in catalog.entries()] == [("scene", "v1")]


@pytest.mark.parametrize(
    "other", [{ITEM_SOURCE: "another.tif"}, {"geo_platform:source_container": "quarantine"}]
)
def test_two_sources_cannot_hold_one_id(
    other: dict[str, str], catalog: StacFiles, root: Path
) -> None:
    catalog.publish(COLLECTION, item(root), replaces=None)
    with pytest.raises(Conflict, match=r"scene\.tif") as refused:
        catalog.publish(COLLECTION, item(root, version="v2", **other), replaces="v1")
    assert "item_id" in refused.value.remedy


def test_exactly_one_of_many_concurrent_publishes_wins(root: Path) -> None:
    barrier = threading.Barrier(6)

    def publish(number: int) -> bool:
        barrier.wait()
        try:
            StacFiles(root).publish(COLLECTION, item(root, version=f"v{number}"), replaces=None)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(publish, range(6)))
    assert won.count(True) == 1
    assert [entry.fingerprint for entry in StacFiles(root).entries()] == [f"v{won.index(True)}"]


def test_the_collection_grows_and_shrinks_with_its_items(catalog: StacFiles, root: Path) -> None:
    catalog.publish(COLLECTION, item(root, "a", bbox=(0, 0, 10, 10)), replaces=None)
    catalog.publish(
        COLLECTION,
        item(root, "b", bbox=(20, -5, 30, 5), datetime="2019-05-05T00:00:00Z"),
        replaces=None,
    )
    grown = document(root, "rasters", "collection.json")
    assert grown["extent"] == {
        "spatial": {"bbox": [[0, -5, 30, 10]]},
        "temporal": {"interval": [["2019-05-05T00:00:00Z", "2020-01-01T00:00:00Z"]]},
    }
    assert links(grown, "item") == ["./a/a.json", "./b/b.json"]
    catalog.publish(COLLECTION, item(root, "b", "v2", bbox=(1, 1, 2, 2)), replaces="v1")
    assert document(root, "rasters", "collection.json")["extent"] == {
        "spatial": {"bbox": [[0, 0, 10, 10]]},
        "temporal": {"interval": [["2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"]]},
    }


def test_a_reader_does_not_wait_for_a_publication_of_another_process(
    catalog: StacFiles, root: Path
) -> None:
    catalog.publish(COLLECTION, item(root), replaces=None)
    folder = root / "catalog" / "rasters"
    marker = folder / ".unfinished"
    marker.write_text(json.dumps(COLLECTION))
    (folder / "collection.json").write_text(json.dumps(COLLECTION | {"title": "Mine"}))
    with process_lock(root / ".locks" / "catalog"), ThreadPoolExecutor(1) as pool:
        reading = pool.submit(
            lambda: (catalog.item("rasters", "scene"), catalog.collection("rasters"))
        )
        published, collection = reading.result(timeout=10)
        assert published is not None
        assert published["id"] == "scene"
        assert collection is not None
        assert links(collection, "item") == []
        assert marker.exists()
    # The publisher was killed: its lock is free.
    assert catalog.item("rasters", "scene") == published
    assert not marker.exists()
    finished = document(root, "rasters", "collection.json")
    assert (finished["title"], links(finished, "item")) == ("Mine", ["./scene/scene.json"])


def test_an_item_removed_by_hand_leaves_the_links_at_the_next_publish(
    catalog: StacFiles, root: Path
) -> None:
    for name, west in (("a", 0.0), ("b", 50.0)):
        catalog.publish(COLLECTION, item(root, name, bbox=(west, 0, west + 1, 1)), replaces=None)
    shutil.rmtree(root / "catalog/rasters/b")
    catalog.publish(COLLECTION, item(root, "c", bbox=(2, 0, 3, 1)), replaces=None)
    collection = document(root, "rasters", "collection.json")
    assert (links(collection, "item"), collection["extent"]["spatial"]["bbox"]) == (
        ["./a/a.json", "./c/c.json"],
        [[0, 0, 3, 1]],
    )


def test_edits_of_a_collection_are_kept(catalog: StacFiles, root: Path) -> None:
    catalog.publish(COLLECTION, item(root, "a"), replaces=None)
    path = root / "catalog/rasters/collection.json"
    written = json.loads(path.read_text())
    written |= {"title": "Our rasters", "license": "CC-BY-4.0", "keywords": ["dem"]}
    written["links"].append({"rel": "license", "href": "https://example.com/licence"})
    path.write_text(json.dumps(written))
    catalog.publish(COLLECTION, item(root, "b"), replaces=None)
    collection = document(root, "rasters", "collection.json")
    assert (collection["title"], collection["license"], collection["keywords"]) == (
        "Our rasters",
        "CC-BY-4.0",
        ["dem"],
    )
    assert links(collection, "license") == ["https://example.com/licence"]
    assert links(document(root, "catalog.json"), "child") == ["./rasters/collection.json"]


def test_one_damaged_item_is_named_and_the_others_are_listed(
    catalog: StacFiles, root: Path
) -> None:
    for name in ("a", "b", "c"):
        catalog.publish(COLLECTION, item(root, name), replaces=None)
    (root / "catalog/rasters/b/b.json").write_text('{"type": "Feature", "id"')
    entries = catalog.entries()
    assert [next(entries).item_id, next(entries).item_id] == ["c", "a"]
    with pytest.raises(CatalogRejected, match=r"rasters/b/b\.json"):
        next(entries)
    with pytest.raises(CatalogRejected, match=r"rasters/b/b\.json") as refused:
        catalog.item("rasters", "b")
    assert "delete it" in refused.value.remedy
    catalog.publish(COLLECTION, item(root, "d"), replaces=None)
    assert catalog.item("rasters", "d") is not None


@pytest.mark.parametrize(
    "change",
    [
        {"assets": {"data": {}}},
        {"assets": []},
        {"links": [{"rel": "self"}]},
        {"links": {}},
        {"properties": 3},
        {"id": 3},
        {"type": "Elephant"},
    ],
)
def test_faults_in_items_of_other_programs_are_named(
    change: dict[str, Any], catalog: StacFiles, root: Path
) -> None:
    catalog.publish(COLLECTION, item(root), replaces=None)
    (root / "catalog/rasters/scene/scene.json").write_text(json.dumps(item(root) | change))
    with pytest.raises(CatalogRejected, match=r"scene\.json"):
        list(catalog.entries())


def test_an_item_of_another_program_is_listed_with_its_own_fields(
    catalog: StacFiles, root: Path
) -> None:
    catalog.publish(COLLECTION, item(root), replaces=None)
    foreign = item(root, "foreign") | {
        "properties": {"datetime": None, "updated": "lately"},
        "bbox": "wide",
    }
    place = root / "catalog/rasters/foreign/foreign.json"
    place.parent.mkdir()
    place.write_text(json.dumps(foreign))
    (first, _) = catalog.entries()
    assert (first.item_id, first.run_id, first.source) == ("foreign", "", "")
    catalog.publish(COLLECTION, item(root, version="v2"), replaces="v1")
    assert document(root, "rasters", "collection.json")["extent"]["spatial"]["bbox"] == [
        [0, 0, 1, 1]
    ]


@pytest.mark.parametrize(
    "text", ["[]", "3", '"x"', "{}", '{"type": "Feature", "links": []}', "\xff", "[" * 100_000]
)
def test_no_content_of_an_item_file_causes_a_traceback(
    text: str, catalog: StacFiles, root: Path
) -> None:
    catalog.publish(COLLECTION, item(root), replaces=None)
    (root / "catalog/rasters/scene/scene.json").write_text(text, encoding="latin-1")
    with pytest.raises(CatalogRejected):
        list(catalog.entries())


def test_entries_are_read_lazily_newest_first(catalog: StacFiles, root: Path) -> None:
    for name in ("old", "middle", "new"):
        catalog.publish(COLLECTION, item(root, name), replaces=None)
    catalog.publish(COLLECTION, item(root, "old", "v2"), replaces="v1")
    entries = catalog.entries()
    assert next(entries).item_id == "old"
    (root / "catalog/rasters/middle/middle.json").unlink()
    assert [entry.item_id for entry in entries] == ["new"]


def test_ids_that_could_escape_the_folder_are_refused(catalog: StacFiles, root: Path) -> None:
    for name in ("..", ".hidden", "a/b", "", "collection.json", "a" * 201, "ä"):
        with pytest.raises(ParameterInvalid):
            catalog.publish(COLLECTION, item(root, name), replaces=None)
        with pytest.raises(ParameterInvalid):
            catalog.item(name, "scene")


def test_a_document_without_json_is_refused_and_nothing_is_published(
    catalog: StacFiles, root: Path
) -> None:
    with pytest.raises(CatalogRejected, match="JSON"):
        catalog.publish(COLLECTION, item(root, value=float("nan")), replaces=None)
    assert catalog.item("rasters", "scene") is None
    with pytest.raises(CatalogRejected, match="names collection"):
        catalog.publish(COLLECTION | {"id": "others"}, item(root), replaces=None)
