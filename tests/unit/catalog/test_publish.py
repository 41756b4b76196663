"""Publish into a real catalog on disk: find, replace, leave unchanged, refuse."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from geo_platform.catalog.publish import find_published, publish_raster, publish_vector
from geo_platform.catalog.validate import item_faults
from geo_platform.chains.raster import RASTER
from geo_platform.chains.vector import VECTOR
from geo_platform.contracts.raster import CogStored
from geo_platform.contracts.vector import FeaturesLoaded
from geo_platform.errors import CatalogRejected, Conflict
from geo_platform.options import ItemOptions
from geo_platform.storage.local.folder import FolderStore
from geo_platform.storage.local.stac_files import StacFiles

MakeCogs = Callable[..., CogStored]
MakeFeatures = Callable[..., FeaturesLoaded]


def test_the_answer_describes_the_published_item(
    make_cogs: MakeCogs, catalog: StacFiles, objects: FolderStore
) -> None:
    published = publish_raster(
        make_cogs(), ItemOptions(), catalog, objects, recipe=RASTER.last.recipe, run_id="run-1"
    )
    item = catalog.item("rasters", "scene")
    assert item is not None
    assert (published.collection, published.item_id, published.run_id) == (
        "rasters",
        "scene",
        "run-1",
    )
    assert published.replaced_version is None
    assert not published.was_unchanged
    assert published.outputs == tuple(asset["href"] for asset in item["assets"].values())
    assert all(href.startswith("file:///") for href in published.outputs)
    assert item["properties"]["geo_platform:fingerprint"] == published.fingerprint
    assert item_faults(item) == ()


def test_an_unchanged_version_returns_the_first_run_and_writes_nothing(
    make_cogs: MakeCogs, catalog: StacFiles, objects: FolderStore, tmp_path: Path
) -> None:
    stored = make_cogs()
    first = publish_raster(
        stored, ItemOptions(), catalog, objects, recipe=RASTER.last.recipe, run_id="run-1"
    )
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "catalog").rglob("*")}
    second = publish_raster(
        stored, ItemOptions(), catalog, objects, recipe=RASTER.last.recipe, run_id="run-2"
    )
    assert second == first.model_copy(update={"was_unchanged": True})
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "catalog").rglob("*")} == before


def test_force_publishes_again_under_the_new_run(
    make_cogs: MakeCogs, catalog: StacFiles, objects: FolderStore
) -> None:
    first = publish_raster(
        make_cogs(), ItemOptions(), catalog, objects, recipe=RASTER.last.recipe, run_id="run-1"
    )
    again = publish_raster(
        make_cogs(force=True),
        ItemOptions(),
        catalog,
        objects,
        recipe=RASTER.last.recipe,
        run_id="run-2",
    )
    assert (again.run_id, again.was_unchanged, again.replaced_version) == (
        "run-2",
        False,
        first.fingerprint,
    )


def test_another_recipe_replaces_and_keeps_when_the_item_was_created(
    make_cogs: MakeCogs, catalog: StacFiles, objects: FolderStore
) -> None:
    first = publish_raster(
        make_cogs(), ItemOptions(), catalog, objects, recipe=RASTER.last.recipe, run_id="run-1"
    )
    created = catalog.item("rasters", "scene")
    second = publish_raster(
        make_cogs(fingerprint="c" * 32),
        ItemOptions(),
        catalog,
        objects,
        recipe=RASTER.last.recipe,
        run_id="run-2",
    )
    item = catalog.item("rasters", "scene")
    assert item is not None
    assert created is not None
    assert second.replaced_version == first.fingerprint
    assert (
        item["properties"]["created"]
        == created["properties"]["created"]
        < item["properties"]["updated"]
    )
    assert [link["rel"] for link in item["links"]].count("predecessor-version") == 1


def test_an_option_of_the_item_is_part_of_its_version(
    make_cogs: MakeCogs, catalog: StacFiles, objects: FolderStore
) -> None:
    first = publish_raster(
        make_cogs(), ItemOptions(), catalog, objects, recipe=RASTER.last.recipe, run_id="run-1"
    )
    second = publish_raster(
        make_cogs(),
        ItemOptions(title="Hudson"),
        catalog,
        objects,
        recipe=RASTER.last.recipe,
        run_id="run-2",
    )
    item = catalog.item("rasters", "scene")
    assert item is not None
    assert second.replaced_version == first.fingerprint != second.fingerprint
    assert item["properties"]["title"] == "Hudson"


def test_a_version_is_unchanged_only_while_its_files_exist(
    make_cogs: MakeCogs, catalog: StacFiles, objects: FolderStore
) -> None:
    stored = make_cogs()
    first = publish_raster(
        stored, ItemOptions(), catalog, objects, recipe=RASTER.last.recipe, run_id="run-1"
    )
    objects.delete("silver", stored.preview.key)
    assert find_published(catalog, "rasters", "scene", first.fingerprint, objects) is None
    assert find_published(catalog, "rasters", "scene", first.fingerprint) is not None
    with pytest.raises(Conflict, match=stored.preview.key):
        publish_raster(
            stored, ItemOptions(), catalog, objects, recipe=RASTER.last.recipe, run_id="run-2"
        )
    objects.put_bytes(
        "silver", stored.preview.key, b"larger", metadata={"sha256": "of other bytes of that size"}
    )
    again = publish_raster(
        stored,
        ItemOptions(title="Made anew"),
        catalog,
        objects,
        recipe=RASTER.last.recipe,
        run_id="run-2",
    )
    assert (again.run_id, again.was_unchanged) == ("run-2", False)


def test_data_written_again_with_other_bytes_is_published_again(
    make_cogs: MakeCogs, catalog: StacFiles, objects: FolderStore
) -> None:
    publish_raster(
        make_cogs(), ItemOptions(), catalog, objects, recipe=RASTER.last.recipe, run_id="run-1"
    )
    stored = make_cogs()
    remade = stored.model_copy(
        update={"cogs": (stored.cogs[0].model_copy(update={"sha256": "e" * 64}),)}
    )
    again = publish_raster(
        remade, ItemOptions(), catalog, objects, recipe=RASTER.last.recipe, run_id="run-2"
    )
    item = catalog.item("rasters", "scene")
    assert item is not None
    assert (again.run_id, again.was_unchanged) == ("run-2", False)
    assert item["assets"]["data"]["file:checksum"] == "1220" + "e" * 64


def test_find_published_finds_the_exact_version(
    make_features: MakeFeatures, catalog: StacFiles, objects: FolderStore
) -> None:
    assert find_published(catalog, "vectors", "roads", "f" * 32, objects) is None
    published = publish_vector(
        make_features(), ItemOptions(), catalog, objects, recipe=VECTOR.last.recipe, run_id="run-1"
    )
    found = find_published(catalog, "vectors", "roads", published.fingerprint, objects)
    assert found == published.model_copy(update={"was_unchanged": True})
    assert find_published(catalog, "vectors", "roads", "f" * 32, objects) is None


def test_another_source_of_the_same_name_is_a_conflict_that_item_id_solves(
    make_cogs: MakeCogs, catalog: StacFiles, objects: FolderStore
) -> None:
    publish_raster(
        make_cogs("2019/scene.tif"),
        ItemOptions(),
        catalog,
        objects,
        recipe=RASTER.last.recipe,
        run_id="run-1",
    )
    other = make_cogs("2020/scene.tif", fingerprint="d" * 32)
    with pytest.raises(Conflict, match=r"2019/scene\.tif") as refused:
        publish_raster(
            other, ItemOptions(), catalog, objects, recipe=RASTER.last.recipe, run_id="run-2"
        )
    assert "item_id" in refused.value.remedy
    assert (
        publish_raster(
            other,
            ItemOptions(item_id="scene-2020"),
            catalog,
            objects,
            recipe=RASTER.last.recipe,
            run_id="run-3",
        ).item_id
        == "scene-2020"
    )


def test_a_run_overtaken_by_the_same_work_returns_its_answer(
    make_cogs: MakeCogs, catalog: StacFiles, objects: FolderStore, tmp_path: Path
) -> None:
    stored = make_cogs()

    class Overtaken(StacFiles):
        """Another run publishes after this one read the item and before it publishes."""

        looks = 0

        def item(self, collection: str, item_id: str) -> dict[str, object] | None:
            self.looks += 1
            if self.looks == 2:
                found = super().item(collection, item_id)
                publish_raster(
                    stored,
                    ItemOptions(),
                    catalog,
                    objects,
                    recipe=RASTER.last.recipe,
                    run_id="faster",
                )
                return found
            return super().item(collection, item_id)

    answer = publish_raster(
        stored,
        ItemOptions(),
        Overtaken(tmp_path),
        objects,
        recipe=RASTER.last.recipe,
        run_id="slower",
    )
    assert (answer.run_id, answer.was_unchanged) == ("faster", True)


def test_an_invalid_item_is_not_published(
    make_cogs: MakeCogs, catalog: StacFiles, objects: FolderStore
) -> None:
    bad = make_cogs(
        footprint_geojson='{"type":"Polygon","coordinates":[[[500000,0],[500000,1],[500001,1],[500000,0]]]}'
    )
    with pytest.raises(CatalogRejected, match="longitudes and latitudes"):
        publish_raster(
            bad, ItemOptions(), catalog, objects, recipe=RASTER.last.recipe, run_id="run-1"
        )
    assert list(catalog.entries()) == []


def test_both_kinds_are_listed_newest_first(
    make_cogs: MakeCogs, make_features: MakeFeatures, catalog: StacFiles, objects: FolderStore
) -> None:
    publish_raster(
        make_cogs(), ItemOptions(), catalog, objects, recipe=RASTER.last.recipe, run_id="run-1"
    )
    publish_vector(
        make_features(), ItemOptions(), catalog, objects, recipe=VECTOR.last.recipe, run_id="run-2"
    )
    assert [(entry.collection, entry.item_id, entry.run_id) for entry in catalog.entries()] == [
        ("vectors", "roads", "run-2"),
        ("rasters", "scene", "run-1"),
    ]


def test_output_of_older_bytes_never_replaces_that_of_newer_ones(
    make_cogs: MakeCogs, catalog: StacFiles, objects: FolderStore
) -> None:
    older = make_cogs()
    newer = make_cogs(fingerprint="c" * 32)  # its source is put anew
    with pytest.raises(Conflict, match="replaced while it was being processed"):
        publish_raster(
            older, ItemOptions(), catalog, objects, recipe=RASTER.last.recipe, run_id="run-1"
        )
    assert catalog.item("rasters", "scene") is None
    publish_raster(
        newer, ItemOptions(), catalog, objects, recipe=RASTER.last.recipe, run_id="run-2"
    )
    with pytest.raises(Conflict, match="replaced while it was being processed"):
        publish_raster(
            older, ItemOptions(), catalog, objects, recipe=RASTER.last.recipe, run_id="run-1"
        )


def test_an_item_is_published_though_its_source_was_deleted_meanwhile(
    make_cogs: MakeCogs, catalog: StacFiles, objects: FolderStore
) -> None:
    stored = make_cogs()
    objects.delete(stored.source.container, stored.source.key)
    assert (
        publish_raster(
            stored, ItemOptions(), catalog, objects, recipe=RASTER.last.recipe, run_id="run-1"
        ).run_id
        == "run-1"
    )


@pytest.mark.parametrize("module", ["publish", "undo", "versions", "retention", "naming"])
def test_pystac_is_imported_only_where_an_item_is_built(module: str) -> None:
    """Command line and code server import these modules when they start."""
    program = f"import sys, geo_platform.catalog.{module}; print('pystac' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("False\n", 0), done.stderr


def test_building_an_item_opens_no_connection() -> None:
    """No schema and no extension is fetched."""
    program = """
import json, pathlib, socket, sys
def refuse(*arguments, **options):
    raise AssertionError("a socket was opened")
socket.socket.connect = socket.getaddrinfo = refuse
sys.path.insert(0, sys.argv[1])
from test_published_documents import CASES, documents
from geo_platform.catalog.validate import collection_faults, item_faults
for path in CASES:
    item, collection = documents(json.loads(path.read_text(encoding="utf-8")))
    assert item_faults(item) == collection_faults(collection) == ()
print(len(CASES))
"""
    folder = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, folder], capture_output=True, text=True
    )
    assert (int(done.stdout or 0) > 5, done.returncode) == (True, 0), done.stderr
