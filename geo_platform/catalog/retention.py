"""Remove versions that were replaced or unpublished long enough ago, and files that nothing names.

Versions are removed before their files, so a listed version always has its files. Files are removed
as whole folders. A folder is named by the fingerprint of what wrote it, and is removed only if no
published item and no kept version names an object in it. Files of a removal that was killed, and of
a run that never published, are named by nothing either: the next removal finds them once they are
old enough.
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

# Folders that nothing names are kept for this long at least: a run may be writing them.
YOUNGEST_LEFTOVER = timedelta(days=1)

_IN_A_FINGERPRINT_FOLDER = re.compile(r"^(?P<folder>(?:.+/)?[0-9a-f]{32})/[^/]+$")


@dataclass(frozen=True)
class Removed:
    """What was removed, or would be. `left` maps each version that could not be removed to why."""

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
    """Return the objects of folders in which nothing is named and that may be removed now.

    These are the folders that a removed version freed, and those in which every object is as old as
    the cutoff. `named` and `freed` are folders, as `folders_of` returns them.
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
    """Return the folders, named by fingerprints, of these objects, each (container, key)."""
    return {
        folder
        for container, key in named
        if container == SILVER and (folder := folder_of(key)) is not None
    }


def plan_removal(
    catalog: Catalog, objects: ObjectStore, *, older_than_days: float, now_utc: datetime
) -> Removed:
    """Return what `remove_replaced` would remove now, without staged tables. Change nothing."""
    cutoff = now_utc - timedelta(days=older_than_days)
    versions = list(catalog.versions())
    due = due_versions(versions, cutoff)
    kept = folders_of(_objects_of(version for version in versions if version not in due))
    published = folders_of(_published(catalog))
    found = _due_now(
        objects, named=kept | published, versions=due, cutoff_utc=cutoff, now_utc=now_utc
    )
    return Removed(
        due,
        tuple(stored.reference.key for stored in found),
        sum(stored.reference.size_bytes for stored in found),
    )


def remove_replaced(
    catalog: Catalog,
    objects: ObjectStore,
    features: FeatureStore,
    *,
    older_than_days: float,
    now_utc: datetime,
) -> Removed:
    """Remove versions withdrawn that long ago, tables never published, and files nothing names.

    Raises CatalogRejected, before a file is removed: an item or a version cannot be read, so the
    files that it names are not known.
    """
    cutoff = now_utc - timedelta(days=older_than_days)
    forgotten: list[ItemVersion] = []
    left: dict[str, str] = {}
    for version in due_versions(list(catalog.versions()), cutoff):
        try:
            catalog.forget(version)
        except SourceNotFound:
            continue  # restored or removed meanwhile
        except Conflict as error:
            left[f"{version.collection}/{version.item_id} of run {version.run_id}"] = error.message
            continue
        forgotten.append(version)
    found = _due_now(
        objects, named=_named(catalog), versions=forgotten, cutoff_utc=cutoff, now_utc=now_utc
    )
    for stored in found:
        objects.delete(SILVER, stored.reference.key)
    removed = Removed(
        versions=tuple(forgotten),
        objects=tuple(stored.reference.key for stored in found),
        size_bytes=sum(stored.reference.size_bytes for stored in found),
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
    """Return the folders that published items and kept versions name."""
    # Both are read twice: an item that is restored or withdrawn meanwhile is then seen in one.
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
    """Return the folder of a key if it is named by a fingerprint, else None."""
    match = _IN_A_FINGERPRINT_FOLDER.match(key)
    return match["folder"] if match else None
