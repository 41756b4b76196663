"""Decide which unreferenced objects, tables and scratch files are leftovers.

Pure functions. The rules are those of the nightly cleanup (`catalog/retention.py`): the objects of
a folder are judged together, and a folder or table that is younger than a day may belong to a run
in progress. In addition, a younger one is a leftover if its runs are known to have ended.

Called by `examine.py` and `mend.py`.
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

# Run id -> whether the run has ended with no retry pending. Runs that the orchestrator does not
# know are missing.
Ended = Mapping[str, bool]


@dataclass
class Folder:
    """A folder in silver to whose objects no item refers, with counts of its objects.

    `is_ours`: the name of the folder is a fingerprint, so the platform wrote the folder.
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


class UnreferencedObjects:
    """Takes the objects of silver and collects the folders in which no object is referenced."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self.folders: dict[str, Folder] = {}

    def add(self, stored: StoredObject) -> None:
        """Add an object to its folder, unless an item refers to the object or its folder."""
        key = stored.reference.key
        our_folder = folder_of(key)
        if key in self._claims.objects or our_folder in self._claims.folders:
            return
        name = our_folder if our_folder is not None else key.rpartition("/")[0]
        folder = Folder(name, our_folder is not None, stored.last_modified_utc)
        self.folders.setdefault(name, folder).add(stored)


def is_leftover(folder: Folder, ended: Ended, *, now_utc: datetime) -> bool:
    """Return whether the folder is a leftover.

    A folder that is older than a day is one unless one of its runs is known to be running. A
    younger folder is one only if the platform wrote it and all its runs are known to have ended.
    """
    run_ended = [ended.get(run_id) for run_id in folder.run_ids]
    if now_utc - folder.newest_utc >= YOUNGEST_LEFTOVER:
        return False not in run_ended
    return folder.is_ours and bool(run_ended) and all(run_ended)


def compare_folders(
    folders: Iterable[Folder], ended: Ended, *, now_utc: datetime
) -> Iterator[DoctorFinding]:
    """Yield OBJECT_WITHOUT_ITEM for each folder that is a leftover."""
    for folder in folders:
        if not is_leftover(folder, ended, now_utc=now_utc):
            continue
        objects = "1 object" if folder.objects == 1 else f"{folder.objects} objects"
        place = f"{SILVER}/{folder.name}"
        runs = f", made by {_runs(folder.run_ids)}" if folder.run_ids else ""
        yield DoctorFinding(
            FindingCode.OBJECT_WITHOUT_ITEM,
            place,
            f"No item and no kept version refers to {objects} of {folder.size_bytes:,} bytes in "
            f"{place}{runs}.",
            "--fix removes these objects, as the nightly cleanup does after a day. While runs are "
            "under way, it removes only objects older than a day."
            if folder.is_ours
            else "A person has to decide: the platform neither writes nor removes objects there.",
            RemoveFolder(folder.name) if folder.is_ours else None,
        )


def compare_tables(
    tables: Iterable[StoredTable], claims: Claims, ended: Ended, *, now_utc: datetime
) -> Iterator[DoctorFinding]:
    """Yield a finding for each table to which no claim refers.

    TABLE_WITHOUT_ITEM for published and replaced tables; STAGING_LEFT for staged tables that are
    leftovers.
    """
    for table in tables:
        if table.version is not None and table.version in claims.tables:
            continue
        if table.place is TablePlace.staged:
            if is_staged_leftover(table, ended, now_utc=now_utc):
                yield _staged_finding(table)
        else:
            yield _unreferenced_finding(table)


def is_staged_leftover(table: StoredTable, ended: Ended, *, now_utc: datetime) -> bool:
    """Return whether a staged table is a leftover.

    It is one if its run has ended, if its run is unknown and the table is older than a day, or if
    it has no run.
    """
    has_ended = ended.get(table.run_id) if table.run_id is not None else None
    is_old = table.began_at_utc is not None and now_utc - table.began_at_utc >= YOUNGEST_LEFTOVER
    return has_ended if has_ended is not None else is_old or table.run_id is None


def _staged_finding(table: StoredTable) -> DoctorFinding:
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
        else "A person has to decide.",
        DropStaged(table.name, table.run_id) if table.run_id is not None else None,
    )


def _unreferenced_finding(table: StoredTable) -> DoctorFinding:
    origin = (
        f"version {table.version}, made by run {table.run_id}"
        if table.version is not None
        else "not made by the platform"
    )
    kind = "published" if table.place is TablePlace.published else "replaced"
    return DoctorFinding(
        FindingCode.TABLE_WITHOUT_ITEM,
        f"table {table.schema}.{table.name}",
        f"No item and no kept version refers to the {kind} table {table.schema}.{table.name} "
        f"({origin}).",
        "A person has to decide: the platform does not remove published data. Ingest the source "
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
    ids = sorted(run_ids)
    return (
        f"run {ids[0]}"
        if len(ids) == 1
        else f"runs {', '.join(ids[:3])}{', …' if len(ids) > 3 else ''}"
    )
