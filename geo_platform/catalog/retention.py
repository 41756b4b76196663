"""What was replaced or unpublished is kept for a set time, then removed.

What belongs here: which versions and files are due, decided before anything is removed, and removing them. What stays out: how
a catalog keeps versions and tables, and how long.

Versions go before their files: a version that is offered has its files. A file goes only as one of its folder, named by the
fingerprint of what made it, and only where no published item and no kept version names anything in that folder. So what a
killed removal left, and what a run made that never published, is found by the next one: nobody names it, and it is old.
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

# What nobody names is left alone for so long at least: a run may be making it.
YOUNGEST_LEFTOVER = timedelta(days=1)

_IN_A_FINGERPRINT_FOLDER = re.compile(r"^(?P<folder>(?:.+/)?[0-9a-f]{32})/[^/]+$")


@dataclass(frozen=True)
class Removed:
    """What was removed, or, by a plan, would be. `left` says of each version that could not be removed why."""

    versions: tuple[ItemVersion, ...] = ()
    objects: tuple[str, ...] = ()
    size_bytes: int = 0
    tables: tuple[str, ...] = ()
    left: Mapping[str, str] = field(default_factory=dict)


def due_versions(versions: Iterable[ItemVersion], cutoff_utc: datetime) -> tuple[ItemVersion, ...]:
    """Those that were withdrawn at the cutoff or before it."""
    return tuple(version for version in versions if version.withdrawn_at_utc <= cutoff_utc)


def due_objects(
    listed: Iterable[StoredObject],
    *,
    named: AbstractSet[str],
    freed: AbstractSet[str],
    leftover_cutoff_utc: datetime,
) -> tuple[StoredObject, ...]:
    """Objects of folders in which nothing is named: those that a removed version freed, and leftovers that are old throughout.

    `named` and `freed` are folders; see `folders_of`.
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
    """The folders, named by fingerprints, in which these objects lie; each is (container, key)."""
    return {
        folder
        for container, key in named
        if container == SILVER and (folder := folder_of(key)) is not None
    }


def plan_removal(
    catalog: Catalog, objects: ObjectStore, *, older_than_days: float, now_utc: datetime
) -> Removed:
    """What `remove_replaced` would remove now, staged tables left out. Nothing is changed."""
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
    """Remove what was withdrawn so long ago, what loads left that were never published, and files that nobody names.

    Raises CatalogRejected, before a file is removed, where an item or a version cannot be read: what it names is not known.
    """
    cutoff = now_utc - timedelta(days=older_than_days)
    forgotten: list[ItemVersion] = []
    left: dict[str, str] = {}
    for version in due_versions(list(catalog.versions()), cutoff):
        try:
            catalog.forget(version)
        except SourceNotFound:
            continue  # brought back or removed meanwhile
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
    counts = f"{len(removed.versions)} versions, {len(removed.objects)} files, {len(removed.tables)} staged tables"
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
    """Read twice, one after the other: what is brought back or withdrawn in between is in one of them."""
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
    """The folder of a key that is named by a fingerprint; None for a key elsewhere."""
    match = _IN_A_FINGERPRINT_FOLDER.match(key)
    return match["folder"] if match else None
