"""Decide which unreferenced objects, tables and scratch files are left over.

Pure functions. The rules are those of `catalog/retention.py`: the objects of a folder are judged
together, and what is younger than a day may belong to a run in progress. Here it counts as left
over earlier if that run has ended.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from geo_platform.catalog.retention import YOUNGEST_LEFTOVER, folder_of
from geo_platform.doctor.claims import Claims
from geo_platform.doctor.findings import (
    DoctorFinding,
    DropStaged,
    FindingCode,
    RemoveFolder,
    SweepFiles,
)
from geo_platform.ports import SILVER, StoredObject, StoredTable, TablePlace

# Run id -> whether it has ended with no retry pending. Unknown runs are left out.
Ended = Mapping[str, bool]


@dataclass
class Folder:
    """The objects of a folder in silver in which nothing is referenced.

    `is_ours`: the folder's name is a fingerprint, so that the platform wrote it.
    """

    name: str
    is_ours: bool
    newest_utc: datetime
    objects: int = 0
    size_bytes: int = 0
    run_ids: set[str] = field(default_factory=set)

    def add(self, stored: StoredObject) -> None:
        """Count an object of the folder."""
        self.newest_utc = max(self.newest_utc, stored.last_modified_utc)
        self.objects += 1
        self.size_bytes += stored.reference.size_bytes
        if stored.metadata.get("run_id"):
            self.run_ids.add(stored.metadata["run_id"])


class UnnamedObjects:
    """Collects the objects of silver and keeps the folders in which nothing is referenced."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self.folders: dict[str, Folder] = {}

    def see(self, stored: StoredObject) -> None:
        """Take one object."""
        key = stored.reference.key
        own = folder_of(key)
        if key in self._claims.objects or (own is not None and own in self._claims.folders):
            return
        name = own if own is not None else key.rpartition("/")[0]
        self.folders.setdefault(name, Folder(name, own is not None, stored.last_modified_utc)).add(
            stored
        )


def is_left(folder: Folder, ended: Ended, *, now_utc: datetime) -> bool:
    """Return whether the folder is left over.

    It is if it is older than a day and none of its runs is known to be running, or if all its runs
    are known to have ended.
    """
    known = [ended.get(run_id) for run_id in folder.run_ids]
    if now_utc - folder.newest_utc >= YOUNGEST_LEFTOVER:
        return False not in known
    return folder.is_ours and bool(known) and all(known)


def compare_folders(
    folders: Iterable[Folder], ended: Ended, *, now_utc: datetime
) -> Iterator[DoctorFinding]:
    """Yield OBJECT_WITHOUT_ITEM for each folder that is left over."""
    for folder in folders:
        if not is_left(folder, ended, now_utc=now_utc):
            continue
        objects = "1 object" if folder.objects == 1 else f"{folder.objects} objects"
        place = f"{SILVER}/{folder.name}"
        runs = f", made by {_runs(folder.run_ids)}" if folder.run_ids else ""
        yield DoctorFinding(
            FindingCode.OBJECT_WITHOUT_ITEM,
            place,
            f"No item and no kept version refers to {objects} of {folder.size_bytes:,} bytes in "
            f"{place}{runs}.",
            "--fix removes them, as the nightly cleanup does after a day. While runs are under "
            "way, it removes only those older than a day."
            if folder.is_ours
            else "A person decides: the platform does not write there and removes nothing there.",
            RemoveFolder(folder.name) if folder.is_ours else None,
        )


def compare_tables(
    tables: Iterable[StoredTable], claims: Claims, ended: Ended, *, now_utc: datetime
) -> Iterator[DoctorFinding]:
    """Yield TABLE_WITHOUT_ITEM for published and replaced tables, STAGING_LEFT for staged ones."""
    for table in tables:
        if table.version is not None and table.version in claims.tables:
            continue
        if table.place is TablePlace.staged:
            if is_staging_left(table, ended, now_utc=now_utc):
                yield _staged(table)
        else:
            yield _unnamed(table)


def is_staging_left(table: StoredTable, ended: Ended, *, now_utc: datetime) -> bool:
    """Return whether the table's run has ended, or is unknown and the table older than a day."""
    known = ended.get(table.run_id) if table.run_id is not None else None
    is_old = table.began_at_utc is not None and now_utc - table.began_at_utc >= YOUNGEST_LEFTOVER
    return known if known is not None else is_old or table.run_id is None


def _staged(table: StoredTable) -> DoctorFinding:
    is_ours = table.run_id is not None
    state = (
        "was verified but not published" if table.version is not None else "was not loaded fully"
    )
    return DoctorFinding(
        FindingCode.STAGING_LEFT,
        f"table {table.schema}.{table.name}",
        f"The staged table {table.name} {state}, and run {table.run_id}, which made it, has ended."
        if is_ours
        else f"The table {table.name} in the staging schema was not made by the platform.",
        "--fix drops it; the next run loads the source again. While runs are under way, it drops "
        "only tables older than a day."
        if is_ours
        else "A person decides.",
        DropStaged(table.name, table.run_id) if table.run_id is not None else None,
    )


def _unnamed(table: StoredTable) -> DoctorFinding:
    ours = (
        f"version {table.version}, made by run {table.run_id}"
        if table.version is not None
        else "not made by the platform"
    )
    kind = "published" if table.place is TablePlace.published else "replaced"
    return DoctorFinding(
        FindingCode.TABLE_WITHOUT_ITEM,
        f"table {table.schema}.{table.name}",
        f"No item and no kept version refers to the {kind} table {table.schema}.{table.name} "
        f"({ours}).",
        "A person decides: the platform does not remove what was published. Ingest the source "
        "again to get its item, or drop the table.",
    )


def compare_files(names: Iterable[str]) -> Iterator[DoctorFinding]:
    """Yield STAGING_LEFT for each file or folder that a dead process left."""
    for name in names:
        yield DoctorFinding(
            FindingCode.STAGING_LEFT,
            name,
            f"A process that is gone was writing {name}.",
            "--fix removes it, as the next ingest on this machine does.",
            SweepFiles(),
        )


def _runs(run_ids: Iterable[str]) -> str:
    named = sorted(run_ids)
    return (
        f"run {named[0]}"
        if len(named) == 1
        else f"runs {', '.join(named[:3])}{', …' if len(named) > 3 else ''}"
    )
