"""The findings of `geo-platform doctor`: stable codes, their meaning, and actions to mend them.

Comparisons make findings (`runs.py`, `leftovers.py`, `claims.py`, `records.py`);
`mend.py` executes the actions.

Used by `cli/commands` and `doctor`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class FindingCode(StrEnum):
    """Stable codes, in the order in which findings are shown. docs/doctor.md explains each."""

    STORE_UNREACHABLE = "STORE_UNREACHABLE"
    ITEM_UNREADABLE = "ITEM_UNREADABLE"
    RUN_WITHOUT_PROCESS = "RUN_WITHOUT_PROCESS"
    ITEM_WITHOUT_OBJECT = "ITEM_WITHOUT_OBJECT"
    ITEM_WITHOUT_TABLE = "ITEM_WITHOUT_TABLE"
    OBJECT_WITHOUT_ITEM = "OBJECT_WITHOUT_ITEM"
    TABLE_WITHOUT_ITEM = "TABLE_WITHOUT_ITEM"
    STAGING_LEFT = "STAGING_LEFT"
    PARTITION_WITHOUT_RESULT = "PARTITION_WITHOUT_RESULT"
    MESSAGE_UNREADABLE = "MESSAGE_UNREADABLE"
    QUARANTINE_INCOMPLETE = "QUARANTINE_INCOMPLETE"
    POOL_HELD_BY_DEAD_RUN = "POOL_HELD_BY_DEAD_RUN"
    DAEMON_SILENT = "DAEMON_SILENT"
    SENSOR_SILENT = "SENSOR_SILENT"
    SCHEDULE_SILENT = "SCHEDULE_SILENT"


MEANING: Mapping[FindingCode, str] = {
    FindingCode.STORE_UNREACHABLE: "A store cannot be read; its content was not compared.",
    FindingCode.ITEM_UNREADABLE: "An item or a kept version cannot be read; "
    "its objects and tables are unknown.",
    FindingCode.RUN_WITHOUT_PROCESS: "A run has not ended, but its process is gone.",
    FindingCode.ITEM_WITHOUT_OBJECT: "An item refers to an object that is missing, "
    "or differs from what the item states.",
    FindingCode.ITEM_WITHOUT_TABLE: "An item refers to a table version that is not in the "
    "database where the item states.",
    FindingCode.OBJECT_WITHOUT_ITEM: "Objects in silver are referred to by no item and no kept "
    "version.",
    FindingCode.TABLE_WITHOUT_ITEM: "A published or replaced table is referred to by no item and "
    "no kept version.",
    FindingCode.STAGING_LEFT: "An ended run or process left a staged table, a scratch folder or a "
    "half-written file.",
    FindingCode.PARTITION_WITHOUT_RESULT: "A partition has no run; or its run succeeded, and its "
    "item is neither published nor withdrawn.",
    FindingCode.MESSAGE_UNREADABLE: "A stored message has a type or version that this deployment "
    "cannot read.",
    FindingCode.QUARANTINE_INCOMPLETE: "A quarantined object has no record of the reason, or a "
    "record has no object.",
    FindingCode.POOL_HELD_BY_DEAD_RUN: "A run that has ended or is gone holds a slot of a pool.",
    FindingCode.DAEMON_SILENT: "Runs are queued, and the daemon that launches them sends no "
    "heartbeat.",
    FindingCode.SENSOR_SILENT: "A sensor is switched on and has stopped ticking.",
    FindingCode.SCHEDULE_SILENT: "A schedule is switched on, and no daemon evaluates it.",
}


@dataclass(frozen=True)
class EndRun:
    """Mark the run as failed."""

    run_id: str


@dataclass(frozen=True)
class FreeSlots:
    """Free the pool slots of the run."""

    run_id: str


@dataclass(frozen=True)
class DropStaged:
    """Drop the staged table of this version, which this run made."""

    version: str
    run_id: str


@dataclass(frozen=True)
class RemoveFolder:
    """Remove the objects in a fingerprint's folder in silver."""

    folder: str


@dataclass(frozen=True)
class SweepFiles:
    """Remove scratch folders and half-written files of dead processes of this machine."""


@dataclass(frozen=True)
class RemovePartition:
    """Remove the key from the partitions definition."""

    definition: str
    key: str


Mend = EndRun | FreeSlots | DropStaged | RemoveFolder | SweepFiles | RemovePartition


@dataclass(frozen=True)
class DoctorFinding:
    """One mismatch between stores.

    `concerns` names the affected thing. `message` explains the mismatch. `remedy` is what --fix
    does, or what a person has to do. `mend` is the action of --fix; None if a person has to act.
    """

    code: FindingCode
    concerns: str
    message: str
    remedy: str
    mend: Mend | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "code": self.code.value,
            "concerns": self.concerns,
            "says": self.message,
            "remedy": self.remedy,
            "fixable": self.mend is not None,
        }


@dataclass(frozen=True)
class Diagnosis:
    """The result of a comparison.

    `compared` has the number of compared things by kind. `notes` are sentences about runs whose
    process could not be checked.
    """

    findings: tuple[DoctorFinding, ...]
    notes: tuple[str, ...] = ()
    compared: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Return whether every store could be read."""
        return all(finding.code is not FindingCode.STORE_UNREACHABLE for finding in self.findings)


def in_order(findings: list[DoctorFinding]) -> tuple[DoctorFinding, ...]:
    """Sort findings by code, in the order of `FindingCode`, then by what they concern."""
    order = {code: place for place, code in enumerate(FindingCode)}
    return tuple(sorted(findings, key=lambda finding: (order[finding.code], finding.concerns)))
