"""Which versions and files are removed after a time, and which never."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_platform.catalog.publish import publish_raster
from geo_platform.catalog.retention import (
    YOUNGEST_LEFTOVER,
    due_objects,
    due_versions,
    folders_of,
    plan_removal,
    remove_replaced,
)
from geo_platform.chains.raster import RASTER
from geo_platform.contracts.message import ObjectReference
from geo_platform.contracts.raster import CogStored
from geo_platform.errors import CatalogRejected, Conflict
from geo_platform.options import ItemOptions
from geo_platform.ports import ASSET_CONTAINER, ASSET_KEY, ItemVersion, StoredObject
from geo_platform.storage.local.folder import FolderStore
from geo_platform.storage.local.geoparquet import GeoParquetLake
from geo_platform.storage.local.stac_files import StacFiles

NOW = datetime(2026, 6, 1, tzinfo=UTC)
FOLDERS = [f"cogs/{digit * 32}" for digit in "abcd"] + [
    "vectors/geo/roads/" + "e" * 32,
    "not-ours",
    "cogs/short/abc",
]


def stored(key: str, age_days: float) -> StoredObject:
    reference = ObjectReference(
        container="silver", key=key, uri=f"file:///{key}", etag="e", size_bytes=1
    )
    return StoredObject(reference, NOW - timedelta(days=age_days))


def item(*keys: str) -> dict[str, Any]:
    return {
        "assets": {
            str(number): {ASSET_CONTAINER: "silver", ASSET_KEY: key}
            for number, key in enumerate(keys)
        }
    }


def objects_of(*items: Any) -> list[tuple[str, str]]:
    return [
        (asset[ASSET_CONTAINER], asset[ASSET_KEY])
        for named in items
        for asset in named["assets"].values()
    ]


def version(withdrawn_days: float, *keys: str) -> ItemVersion:
    return ItemVersion("c", "i", "v", "r", NOW - timedelta(days=withdrawn_days), item(*keys))


_KEYS = st.builds(
    "{}/{}".format,
    st.sampled_from(FOLDERS),
    st.sampled_from(["data.tif", "thumbnail.png", "features.json"]),
)
_AGES = st.floats(0, 100)
_OBJECTS = st.lists(
    st.builds(stored, _KEYS, _AGES), max_size=12, unique_by=lambda found: found.reference.key
)
_ITEMS = st.lists(st.builds(lambda keys: item(*keys), st.lists(_KEYS, max_size=3)), max_size=4)
_VERSIONS = st.lists(
    st.builds(lambda age, keys: version(age, *keys), _AGES, st.lists(_KEYS, max_size=3)), max_size=5
)


@given(_OBJECTS, _ITEMS, _VERSIONS, st.floats(0, 60))
def test_published_and_kept_versions_are_never_removed(
    listed: list[StoredObject],
    published: list[dict[str, Any]],
    versions: list[ItemVersion],
    keep_days: float,
) -> None:
    cutoff = NOW - timedelta(days=keep_days)
    due = due_versions(versions, cutoff)
    staying = [kept for kept in versions if kept not in due]
    named = folders_of(objects_of(*published, *(kept.item for kept in staying)))
    leftover_cutoff = min(cutoff, NOW - YOUNGEST_LEFTOVER)
    freed = folders_of(objects_of(*(gone.item for gone in due)))
    removed = {
        found.reference.key
        for found in due_objects(
            listed, named=named, freed=freed, leftover_cutoff_utc=leftover_cutoff
        )
    }
    assert all(kept.withdrawn_at_utc > cutoff for kept in staying)
    for alive in [*published, *(kept.item for kept in staying)]:
        assert not removed & {asset[ASSET_KEY] for asset in alive["assets"].values()}
    assert not any(key.startswith(("not-ours", "cogs/short")) for key in removed)
    for folder in {key.rpartition("/")[0] for key in removed}:
        inside = [found for found in listed if found.reference.key.startswith(f"{folder}/")]
        assert {found.reference.key for found in inside} <= removed, "a folder goes as a whole"
        assert folder in freed or all(
            found.last_modified_utc <= leftover_cutoff for found in inside
        )


def test_a_folder_is_removed_with_the_last_version_that_names_it() -> None:
    folder = FOLDERS[0]
    listed = [stored(f"{folder}/data.tif", 40), stored(f"{folder}/features.json", 40)]
    old, young = version(31, f"{folder}/data.tif"), version(1, f"{folder}/data.tif")
    cutoff = NOW - timedelta(days=30)
    assert due_versions([young, old], cutoff) == (old,)
    freed = folders_of(objects_of(old.item))
    assert (
        due_objects(
            listed,
            named=folders_of(objects_of(young.item)),
            freed=freed,
            leftover_cutoff_utc=cutoff,
        )
        == ()
    )
    assert due_objects(listed, named=set(), freed=freed, leftover_cutoff_utc=cutoff) == tuple(
        listed
    )


def test_files_that_a_run_is_writing_are_kept() -> None:
    listed = [stored(f"{FOLDERS[0]}/data.tif", 90), stored(f"{FOLDERS[0]}/thumbnail.png", 0.5)]
    assert (
        due_objects(listed, named=set(), freed=set(), leftover_cutoff_utc=NOW - YOUNGEST_LEFTOVER)
        == ()
    )


@pytest.fixture
def published(
    make_cogs: Callable[..., CogStored], catalog: StacFiles, objects: FolderStore
) -> dict[str, str]:
    """Publish three versions of an item; return the key of the data of each by its run."""
    keys = {}
    for number, digit in enumerate("abc", start=1):
        made = make_cogs(fingerprint=digit * 32)
        moved = {}
        for name in ("thumbnail", "preview"):
            reference = getattr(made, name)
            moved[name] = objects.put_bytes(
                "silver",
                f"cogs/{digit * 32}/{name}",
                objects.read_bytes("silver", reference.key),
                metadata={},
            ).reference
        cog = made.cogs[0]
        data = objects.put_bytes(
            "silver",
            f"cogs/{digit * 32}/data.tif",
            objects.read_bytes("silver", cog.stored.key),
            metadata={},
        )
        stored_cogs = (cog.model_copy(update={"stored": data.reference}),)
        run = f"run-{number}"
        publish_raster(
            made.model_copy(update={**moved, "cogs": stored_cogs}),
            ItemOptions(),
            catalog,
            objects,
            recipe=RASTER.last.recipe,
            run_id=run,
        )
        keys[run] = data.reference.key
    return keys


def silver(objects: FolderStore) -> set[str]:
    return {
        found.reference.key
        for found in objects.list("silver", "cogs/")
        if "&" not in found.reference.key
    }


def test_due_versions_are_removed_with_their_files_only(
    published: dict[str, str], catalog: StacFiles, objects: FolderStore
) -> None:
    later = datetime.now(UTC) + timedelta(days=31)
    assert plan_removal(catalog, objects, older_than_days=32, now_utc=later).objects == ()
    planned = plan_removal(catalog, objects, older_than_days=30, now_utc=later)
    removed = remove_replaced(
        catalog, objects, GeoParquetLake(objects), older_than_days=30, now_utc=later
    )
    assert (
        {gone.run_id for gone in removed.versions}
        == {gone.run_id for gone in planned.versions}
        == {"run-1", "run-2"}
    )
    assert sorted(removed.objects) == sorted(planned.objects)
    assert removed.size_bytes == planned.size_bytes > 0
    assert {key.rpartition("/")[0] for key in removed.objects} == {
        f"cogs/{'a' * 32}",
        f"cogs/{'b' * 32}",
    }
    assert silver(objects) == {
        f"cogs/{'c' * 32}/{name}" for name in ("data.tif", "preview", "thumbnail")
    }
    assert [entry.run_id for entry in catalog.entries()] == ["run-3"]
    assert list(catalog.versions()) == []
    assert (
        remove_replaced(
            catalog, objects, GeoParquetLake(objects), older_than_days=30, now_utc=later
        ).objects
        == ()
    )


def test_a_version_that_cannot_be_removed_is_named_and_keeps_its_files(
    published: dict[str, str], objects: FolderStore, tmp_path: Path
) -> None:
    class Held(StacFiles):
        """A catalog that cannot forget the version of run-1, as if a view used its table."""

        def forget(self, version: ItemVersion) -> None:
            if version.run_id == "run-1":
                raise Conflict("A view is built on it.")
            super().forget(version)

    later = datetime.now(UTC) + timedelta(days=31)
    removed = remove_replaced(
        Held(tmp_path), objects, GeoParquetLake(objects), older_than_days=30, now_utc=later
    )
    assert removed.left == {"rasters/scene of run run-1": "A view is built on it."}
    assert [gone.run_id for gone in removed.versions] == ["run-2"]
    assert published["run-1"] in silver(objects)
    assert published["run-2"] not in silver(objects)


def test_no_file_is_removed_if_an_item_cannot_be_read(
    published: dict[str, str], catalog: StacFiles, objects: FolderStore, tmp_path: Path
) -> None:
    before = silver(objects)
    (tmp_path / "catalog" / "rasters" / "scene" / "scene.json").write_text("damaged")
    with pytest.raises(CatalogRejected, match=r"scene\.json"):
        remove_replaced(
            catalog,
            objects,
            GeoParquetLake(objects),
            older_than_days=0,
            now_utc=datetime.now(UTC) + timedelta(days=1),
        )
    assert silver(objects) == before


def test_the_next_removal_finds_what_a_killed_one_left(
    published: dict[str, str], catalog: StacFiles, objects: FolderStore
) -> None:
    later = datetime.now(UTC) + timedelta(days=31)
    for kept in list(catalog.versions()):
        catalog.forget(kept)  # and there it was killed
    assert published["run-1"] in silver(objects)
    removed = remove_replaced(
        catalog, objects, GeoParquetLake(objects), older_than_days=30, now_utc=later
    )
    assert removed.versions == ()
    assert silver(objects) == {
        f"cogs/{'c' * 32}/{name}" for name in ("data.tif", "preview", "thumbnail")
    }
