"""Remove old versions that were replaced or unpublished, and files that no item refers to.

Versions are removed before their files. Therefore a version in the catalog always has its files.
Files are removed as whole folders. The name of a folder is the fingerprint of the stage that wrote
it. A folder is removed only if no published item and no kept version refers to an object in it. A
run that was killed or never published leaves such files too: they are removed when they are old
enough.

Used by `assets`, `cli/commands`, `doctor` and `serving/features`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from geo_platform.errors import Conflict, SourceNotFound
from geo_platform.ports import (
    ASSET_CONTAINER,
    ASSET_KEY,
    SILVER,
    Catalog,
    FeatureStore,
    ItemVersion,
    ObjectStore,
    StoredObject,
)
from geo_platform.telemetry.checkpoints import Checkpoint, report

# Minimum age of the files of an unreferenced folder: a run may still be writing the folder.
YOUNGEST_LEFTOVER = timedelta(days=1)

_IN_A_FINGERPRINT_FOLDER = re.compile(r"^(?P<folder>(?:.+/)?[0-9a-f]{32})/[^/]+$")


@dataclass(frozen=True)
class Removed:
    """The versions, objects (keys) and tables that were removed, or would be removed.

    `left` maps the name of each version that could not be removed to the reason.
    """

    versions: tuple[ItemVersion, ...] = ()
    objects: tuple[str, ...] = ()
    size_bytes: int = 0
    tables: tuple[str, ...] = ()
    left: Mapping[str, str] = field(default_factory=dict)


def due_versions(versions: Iterable[ItemVersion], cutoff_utc: datetime) -> tuple[ItemVersion, ...]:
    """Return the versions that were withdrawn at or before the cutoff."""
    return tuple(version for version in versions if version.withdrawn_at_utc <= cutoff_utc)


def due_objects(
    listed: Iterable[StoredObject],
    *,
    named: AbstractSet[str],
    freed: AbstractSet[str],
    leftover_cutoff_utc: datetime,
) -> tuple[StoredObject, ...]:
    """Return the objects that may be removed now.

    `named` are the folders that items or kept versions refer to; their objects are never returned.
    `freed` are the folders of removed versions; all their objects are returned. The objects of
    another folder are returned if the newest of them was modified at or before
    `leftover_cutoff_utc`.
    """
    by_folder: dict[str, list[StoredObject]] = {}
    for stored in listed:
        folder = folder_of(stored.reference.key)
        if folder is not None and folder not in named:
            by_folder.setdefault(folder, []).append(stored)
    due = [
        stored
        for folder, inside in by_folder.items()
        if folder in freed
        or all(stored.last_modified_utc <= leftover_cutoff_utc for stored in inside)
        for stored in inside
    ]
    return tuple(due)


def folders_of(named: Iterable[tuple[str, str]]) -> set[str]:
    """Return the fingerprint folders of the objects. An object is (container, key)."""
    return {
        folder
        for container, key in named
        if container == SILVER and (folder := folder_of(key)) is not None
    }


def plan_removal(
    catalog: Catalog, objects: ObjectStore, *, older_than_days: float, now_utc: datetime
) -> Removed:
    """Return the versions and objects that `remove_replaced` would remove now. Remove nothing.

    The result does not include staged tables.
    Raises CatalogRejected: an item or a version cannot be read.
    """
    cutoff = now_utc - timedelta(days=older_than_days)
    versions = list(catalog.versions())
    removed_versions = due_versions(versions, cutoff)
    kept = folders_of(
        _objects_of(version for version in versions if version not in removed_versions)
    )
    published = folders_of(_published(catalog))
    removed_objects = _due_now(
        objects,
        named=kept | published,
        versions=removed_versions,
        cutoff_utc=cutoff,
        now_utc=now_utc,
    )
    return Removed(
        removed_versions,
        tuple(stored.reference.key for stored in removed_objects),
        sum(stored.reference.size_bytes for stored in removed_objects),
    )


def remove_replaced(
    catalog: Catalog,
    objects: ObjectStore,
    features: FeatureStore,
    *,
    older_than_days: float,
    now_utc: datetime,
) -> Removed:
    """Remove old versions, tables that were never published, and files that no item refers to.

    A version is old if it was replaced or unpublished at least `older_than_days` days ago.
    Raises CatalogRejected: an item or a version cannot be read, so its files are unknown. No file
    has been removed then.
    Raises StoreUnavailable, StoreDenied, DatabaseUnavailable: the store or database does not answer
    or refuses access.
    """
    cutoff = now_utc - timedelta(days=older_than_days)
    removed_versions: list[ItemVersion] = []
    left: dict[str, str] = {}
    for version in due_versions(list(catalog.versions()), cutoff):
        try:
            catalog.forget(version)
        except SourceNotFound:
            continue  # restored or removed meanwhile
        except Conflict as error:
            left[f"{version.collection}/{version.item_id} of run {version.run_id}"] = error.message
            continue
        removed_versions.append(version)
    due = _due_now(
        objects,
        named=_named(catalog),
        versions=removed_versions,
        cutoff_utc=cutoff,
        now_utc=now_utc,
    )
    for stored in due:
        objects.delete(SILVER, stored.reference.key)
    removed = Removed(
        versions=tuple(removed_versions),
        objects=tuple(stored.reference.key for stored in due),
        size_bytes=sum(stored.reference.size_bytes for stored in due),
        tables=features.sweep(min(cutoff, now_utc - YOUNGEST_LEFTOVER)),
        left=left,
    )
    counts = (
        f"{len(removed.versions)} versions, {len(removed.objects)} files, "
        f"{len(removed.tables)} staged tables"
    )
    report(Checkpoint.VERSIONS_REMOVED, counts, size_bytes=removed.size_bytes, left=len(left))
    return removed


def _due_now(
    objects: ObjectStore,
    *,
    named: AbstractSet[str],
    versions: Iterable[ItemVersion],
    cutoff_utc: datetime,
    now_utc: datetime,
) -> tuple[StoredObject, ...]:
    leftover_cutoff = min(cutoff_utc, now_utc - YOUNGEST_LEFTOVER)
    freed = folders_of(_objects_of(versions))
    return due_objects(
        objects.list(SILVER), named=named, freed=freed, leftover_cutoff_utc=leftover_cutoff
    )


def _named(catalog: Catalog) -> set[str]:
    """Return the folders that published items and kept versions refer to."""
    # Items and versions are read twice, because an item can become a version, or a version an item,
    # between two reads.
    named: set[str] = set()
    for _ in range(2):
        named |= folders_of(_objects_of(catalog.versions()))
        named |= folders_of(_published(catalog))
    return named


def _published(catalog: Catalog) -> Iterator[tuple[str, str]]:
    for entry in catalog.entries():
        yield from entry.objects


def _objects_of(versions: Iterable[ItemVersion]) -> Iterator[tuple[str, str]]:
    for version in versions:
        for asset in version.item["assets"].values():
            if ASSET_CONTAINER in asset and ASSET_KEY in asset:
                yield str(asset[ASSET_CONTAINER]), str(asset[ASSET_KEY])


def folder_of(key: str) -> str | None:
    """Return the folder of a key if the name of the folder is a fingerprint, else None."""
    match = _IN_A_FINGERPRINT_FOLDER.match(key)
    return match["folder"] if match else None
