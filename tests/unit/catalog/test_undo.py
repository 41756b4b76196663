"""Unpublish and roll back, on a real catalog and a real store on disk."""

from collections.abc import Callable

import pytest

from geo_platform.catalog.publish import publish_raster
from geo_platform.catalog.undo import rollback_item, unpublish_item
from geo_platform.catalog.validate import item_faults
from geo_platform.chains.raster import RASTER
from geo_platform.contracts.raster import CogStored
from geo_platform.errors import Conflict, DatabaseUnavailable, SourceNotFound
from geo_platform.options import ItemOptions
from geo_platform.ports import ITEM_FIRST_PUBLISHED, ITEM_RESTORED_BY
from geo_platform.storage.local.folder import FolderStore
from geo_platform.storage.local.stac_files import StacFiles

PLACE = ("rasters", "scene")


@pytest.fixture
def twice(make_cogs: Callable[..., CogStored], catalog: StacFiles, objects: FolderStore) -> None:
    """Publish an item by run-1, then another version of it by run-2."""
    publish_raster(
        make_cogs(), ItemOptions(), catalog, objects, recipe=RASTER.last.recipe, run_id="run-1"
    )
    publish_raster(
        make_cogs(),
        ItemOptions(title="Anew"),
        catalog,
        objects,
        recipe=RASTER.last.recipe,
        run_id="run-2",
    )


@pytest.mark.usefixtures("twice")
def test_the_version_before_is_published_again_with_the_restoring_run(
    catalog: StacFiles, objects: FolderStore
) -> None:
    before = catalog.item(*PLACE)
    restored = rollback_item(catalog, objects, *PLACE, to_run=None, run_id="run-3")
    item = catalog.item(*PLACE)
    assert item is not None
    assert before is not None
    assert (restored.run_id, restored.replaced_version) == (
        "run-1",
        before["properties"]["geo_platform:fingerprint"],
    )
    assert (item["properties"]["title"], item["properties"][ITEM_RESTORED_BY]) == ("scene", "run-3")
    assert (
        item["properties"][ITEM_FIRST_PUBLISHED]
        < before["properties"]["updated"]
        < item["properties"]["updated"]
    )
    assert item_faults(item) == ()
    assert restored.outputs == tuple(asset["href"] for asset in item["assets"].values())


@pytest.mark.usefixtures("twice")
def test_a_retried_rollback_is_not_done_twice(catalog: StacFiles, objects: FolderStore) -> None:
    publish_raster_again = catalog.publish

    def lost(*arguments: object, **named: object) -> str:
        publish_raster_again(*arguments, **named)  # type: ignore[arg-type]
        raise DatabaseUnavailable("The connection was cut before the answer came.")

    catalog.publish = lost  # type: ignore[method-assign]
    with pytest.raises(DatabaseUnavailable):
        rollback_item(catalog, objects, *PLACE, to_run=None, run_id="run-3")
    assert rollback_item(catalog, objects, *PLACE, to_run=None, run_id="run-3").run_id == "run-1"
    assert [version.run_id for version in catalog.versions()] == ["run-2"]


@pytest.mark.usefixtures("twice")
def test_a_version_with_missing_or_changed_files_is_refused(
    make_cogs: Callable[..., CogStored], catalog: StacFiles, objects: FolderStore
) -> None:
    key = make_cogs().cogs[0].stored.key
    content = objects.read_bytes("silver", key)
    for change in (
        lambda: objects.put_bytes("silver", key, content, metadata={"sha256": "0" * 64}),
        lambda: objects.delete("silver", key),
    ):
        change()
        with pytest.raises(SourceNotFound, match="not in the store") as refused:
            rollback_item(catalog, objects, *PLACE, to_run="run-1", run_id="run-3")
        assert key in refused.value.message
    assert [version.run_id for version in catalog.versions()] == ["run-1"]


@pytest.mark.usefixtures("twice")
def test_unpublish_checks_the_given_run(catalog: StacFiles, objects: FolderStore) -> None:
    with pytest.raises(Conflict, match="run-2 published, not run run-1"):
        unpublish_item(catalog, *PLACE, run="run-1")
    rollback_item(catalog, objects, *PLACE, to_run="run-1", run_id="run-3")
    assert unpublish_item(catalog, *PLACE, run="run-3").run_id == "run-1"
    assert list(catalog.entries()) == []
    with pytest.raises(SourceNotFound):
        unpublish_item(catalog, *PLACE, run=None)


def test_the_same_work_publishes_an_unpublished_item_again(
    make_cogs: Callable[..., CogStored], catalog: StacFiles, objects: FolderStore
) -> None:
    publish_raster(
        make_cogs(), ItemOptions(), catalog, objects, recipe=RASTER.last.recipe, run_id="run-1"
    )
    unpublish_item(catalog, *PLACE, run=None)
    again = publish_raster(
        make_cogs(), ItemOptions(), catalog, objects, recipe=RASTER.last.recipe, run_id="run-2"
    )
    assert (again.run_id, again.was_unchanged) == ("run-2", False)
    assert [version.run_id for version in catalog.versions()] == ["run-1"]
