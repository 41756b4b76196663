"""What can be found wrong between the stores: stable codes, and a finding as one value.

What belongs here: the codes, what each means, what mending one would do. What stays out: finding any (`runs.py`, `leftovers.py`,
`items.py`, `messages.py`, `quarantine.py`), and mending (`mend.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class FindingCode(StrEnum):
    """In the order in which findings are shown. docs/doctor.md says what to do about each."""

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
    FindingCode.STORE_UNREACHABLE: "A store could not be looked at; what it holds was not compared.",
    FindingCode.ITEM_UNREADABLE: "An item or a kept version cannot be read, so what it names is not known.",
    FindingCode.RUN_WITHOUT_PROCESS: "A run is said to be at work, and its process is gone.",
    FindingCode.ITEM_WITHOUT_OBJECT: "An item names an object that is not in the store as the item describes it.",
    FindingCode.ITEM_WITHOUT_TABLE: "An item names a version of a table that is not in the database where the item says.",
    FindingCode.OBJECT_WITHOUT_ITEM: "Objects lie in silver that no item and no kept version names.",
    FindingCode.TABLE_WITHOUT_ITEM: "A table lies among the published or the replaced ones that no item and no kept version names.",
    FindingCode.STAGING_LEFT: "A staged table, a scratch folder or a half-written file was left by what has ended.",
    FindingCode.PARTITION_WITHOUT_RESULT: "A partition has no run, or its run succeeded and its item is neither published nor withdrawn.",
    FindingCode.MESSAGE_UNREADABLE: "A stored message is of a kind or a version that this deployment cannot read.",
    FindingCode.QUARANTINE_INCOMPLETE: "An object lies in quarantine without a record of why, or a record without its object.",
    FindingCode.POOL_HELD_BY_DEAD_RUN: "A slot of a pool is held by a run that has ended or is gone.",
    FindingCode.DAEMON_SILENT: "Runs are queued, and the daemon that would launch them gives no sign.",
    FindingCode.SENSOR_SILENT: "A sensor is switched on and has stopped ticking.",
    FindingCode.SCHEDULE_SILENT: "A schedule is switched on and nothing looks after it any more.",
}


@dataclass(frozen=True)
class EndRun:
    """Mark the run as failed."""

    run_id: str


@dataclass(frozen=True)
class FreeSlots:
    """Free what the run holds of pools."""

    run_id: str


@dataclass(frozen=True)
class DropStaged:
    """Drop a staged table of this version, made by this run."""

    version: str
    run_id: str


@dataclass(frozen=True)
class RemoveFolder:
    """Remove the objects of a fingerprint's folder in silver."""

    folder: str


@dataclass(frozen=True)
class SweepFiles:
    """Remove what dead processes of this machine left: scratch folders and half-written files."""


@dataclass(frozen=True)
class RemovePartition:
    """Take the key out of the partitions' definition."""

    definition: str
    key: str


Mend = EndRun | FreeSlots | DropStaged | RemoveFolder | SweepFiles | RemovePartition


@dataclass(frozen=True)
class DoctorFinding:
    """One thing that does not fit. `says` explains it in a sentence; `remedy` is what --fix does, or what a person has to.

    `mend` is None where a person has to.
    """

    code: FindingCode
    concerns: str
    says: str
    remedy: str
    mend: Mend | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "code": self.code.value,
            "concerns": self.concerns,
            "says": self.says,
            "remedy": self.remedy,
            "fixable": self.mend is not None,
        }


@dataclass(frozen=True)
class Diagnosis:
    """What was found. `compared` counts what was looked at; `notes` say what could not be known, which is no finding."""

    findings: tuple[DoctorFinding, ...]
    notes: tuple[str, ...] = ()
    compared: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether every store was reached."""
        return all(finding.code is not FindingCode.STORE_UNREACHABLE for finding in self.findings)


def in_order(findings: list[DoctorFinding]) -> tuple[DoctorFinding, ...]:
    """By code in the order of `FindingCode`, then by what they concern."""
    order = {code: place for place, code in enumerate(FindingCode)}
    return tuple(sorted(findings, key=lambda finding: (order[finding.code], finding.concerns)))
