"""Mend the findings that are safe to mend. Each finding is checked again just before.

Published items and kept versions, with their objects and tables, are never changed. Unreferenced
objects and staged tables are removed by the rules of the nightly cleanup. Those that are younger
than a day are removed only while no run is under way, since a run could still use them.

Called by `cli/commands/doctor.py`.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from geo_platform.catalog.retention import YOUNGEST_LEFTOVER, folder_of
from geo_platform.doctor.claims import Claims, read_claims_twice
from geo_platform.doctor.examine import DoctorStores, arrived_at_utc
from geo_platform.doctor.facts import Orchestrator
from geo_platform.doctor.findings import (
    DoctorFinding,
    DropStaged,
    EndRun,
    FreeSlots,
    RemoveFolder,
    RemovePartition,
    SweepFiles,
)
from geo_platform.doctor.leftovers import Folder, is_leftover, is_staged_leftover
from geo_platform.errors import PlatformError
from geo_platform.ports import SILVER, TablePlace

_CLAIMS_VALID_S = 5
_BUSY = "runs are under way; run the command again when they have ended"


@dataclass(frozen=True)
class Mended:
    """The outcome for one finding: whether it is mended, and what was done or why not."""

    finding: DoctorFinding
    is_done: bool
    detail: str


def mend(
    findings: Iterable[DoctorFinding], stores: DoctorStores, *, now_utc: datetime
) -> Iterator[Mended]:
    """Mend the findings that have an action, in their order, and yield the outcome of each.

    In the order of `FindingCode`, runs are ended before their leftovers are removed. A
    PlatformError becomes the reason why a finding is not mended.
    """
    work = _Work(stores, now_utc)
    for finding in findings:
        if finding.mend is None:
            continue
        try:
            is_done, detail = work.do(finding)
        except PlatformError as error:
            is_done, detail = False, error.message
        yield Mended(finding, is_done, detail)


@dataclass
class _Work:
    stores: DoctorStores
    now_utc: datetime
    _read: tuple[float, Claims] | None = None

    def do(self, finding: DoctorFinding) -> tuple[bool, str]:
        match finding.mend:
            case EndRun(run_id):
                return self._with_orchestrator(
                    lambda runs: runs.end_run(run_id),
                    "marked as failed",
                    "the run has ended, or its process is alive",
                )
            case FreeSlots(run_id):
                return self._with_orchestrator(
                    lambda runs: runs.free_slots(run_id),
                    "its slots are free",
                    "the run is under way",
                )
            case RemovePartition(definition, key):
                return self._remove_partition(definition, key)
            case DropStaged(name, run_id):
                return self._drop_staged(name, run_id)
            case RemoveFolder(folder):
                return self._remove_folder(folder)
            case SweepFiles():
                self.stores.files.sweep()
                return True, "removed"
            case _:
                return False, "a person has to act"

    def _with_orchestrator(
        self, act: Callable[[Orchestrator], bool], done: str, reason: str
    ) -> tuple[bool, str]:
        orchestrator = self.stores.orchestrator
        if orchestrator is None:
            return False, "the orchestrator cannot be reached"
        return (True, done) if act(orchestrator) else (False, reason)

    def _remove_partition(self, definition: str, key: str) -> tuple[bool, str]:
        if arrived_at_utc(self.stores.objects, key) is not None:
            return False, "the object of the partition exists now"
        return self._with_orchestrator(
            lambda runs: runs.remove_partition(definition, key),
            "removed",
            "the partition has a run now",
        )

    def _drop_staged(self, name: str, run_id: str) -> tuple[bool, str]:
        found = [
            table
            for table in self.stores.inventory.tables()
            if table.place is TablePlace.staged and table.name == name
        ]
        if not found:
            return True, "is gone already"
        table = found[0]
        claims = self._claims()
        if claims.unreadable or (table.version is not None and table.version in claims.tables):
            return False, "an item or a kept version refers to the table"
        if not is_staged_leftover(table, self._ended({run_id}), now_utc=self.now_utc):
            return False, "the run of the table has not ended"
        is_old = (
            table.began_at_utc is not None
            and self.now_utc - table.began_at_utc >= YOUNGEST_LEFTOVER
        )
        if not is_old and self._is_busy():
            return False, _BUSY
        dropped = self.stores.inventory.drop_staged(name, run_id)
        return (True, "dropped") if dropped else (False, "the table is locked")

    def _remove_folder(self, name: str) -> tuple[bool, str]:
        objects = [
            stored
            for stored in self.stores.objects.list(SILVER, f"{name}/")
            if folder_of(stored.reference.key) == name
        ]
        if not objects:
            return True, "is gone already"
        folder = Folder(name, True, objects[0].last_modified_utc)
        for stored in objects:
            folder.add(stored)
        claims = self._claims()
        if claims.unreadable or name in claims.folders:
            return False, "an item or a kept version refers to an object in the folder"
        if not is_leftover(folder, self._ended(folder.run_ids), now_utc=self.now_utc):
            return False, "a run of the folder has not ended"
        if self.now_utc - folder.newest_utc < YOUNGEST_LEFTOVER and self._is_busy():
            return False, _BUSY
        for stored in objects:
            self.stores.objects.delete(SILVER, stored.reference.key)
        return True, f"removed {folder.objects} objects of {folder.size_bytes:,} bytes"

    def _claims(self) -> Claims:
        """Return claims that are at most `_CLAIMS_VALID_S` old. Many leftovers share one read."""
        if self._read is None or time.monotonic() - self._read[0] > _CLAIMS_VALID_S:
            self._read = time.monotonic(), read_claims_twice(self.stores.catalog)
        return self._read[1]

    def _ended(self, run_ids: set[str]) -> dict[str, bool]:
        orchestrator = self.stores.orchestrator
        return dict(orchestrator.ended(run_ids)) if orchestrator is not None else {}

    def _is_busy(self) -> bool:
        orchestrator = self.stores.orchestrator
        return orchestrator is None or orchestrator.runs_under_way()
