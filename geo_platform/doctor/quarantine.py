"""Quarantine held against its own records: every object there has one that says why, every record has its object.

What belongs here: the comparison. What stays out: what is refused, moving it there and back (`geo_platform/arrivals`).
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from geo_platform.contracts.arrival import ObjectQuarantined
from geo_platform.contracts.fault import ContractError
from geo_platform.contracts.stored import load_message
from geo_platform.doctor.findings import DoctorFinding, FindingCode
from geo_platform.errors import ParameterInvalid, SourceNotFound
from geo_platform.ports import QUARANTINE, QUARANTINE_RECORD, ObjectStore, StoredObject

# A record is written right before its object is moved.
_MOVED_WITHIN = timedelta(minutes=10)


def compare_quarantine(
    objects: ObjectStore, seen: Callable[[], None], *, now_utc: datetime
) -> Iterator[DoctorFinding]:
    """QUARANTINE_INCOMPLETE for each. Keys are held in memory, records are read one by one; `seen` is called for each object."""
    lying: dict[str, StoredObject] = {}
    for stored in objects.list(QUARANTINE):
        seen()
        lying[stored.reference.key] = stored
    unnamed = {key for key in lying if not key.endswith(QUARANTINE_RECORD)}
    for name in [key for key in lying if key.endswith(QUARANTINE_RECORD)]:
        key = name.removesuffix(QUARANTINE_RECORD)
        try:
            record = load_message(objects.read_bytes(QUARANTINE, name), ObjectQuarantined)
        except SourceNotFound:  # released since it was listed, with its object
            continue
        except ContractError as error:
            unnamed.discard(key)
            yield _unreadable(name, "; ".join(fault.note or str(fault) for fault in error.faults))
            continue
        unnamed -= {part.key for part in record.parts}
        is_old = now_utc - lying[name].last_modified_utc >= _MOVED_WITHIN
        if key not in lying and is_old and not _lies(objects, key) and _lies(objects, name):
            yield _without_object(name, record)
    for key in sorted(unnamed):
        if _lies(objects, key) and not _lies(objects, key + QUARANTINE_RECORD):
            yield _without_record(key)


def _lies(objects: ObjectStore, key: str) -> bool:
    try:
        objects.stat(QUARANTINE, key)
    except (SourceNotFound, ParameterInvalid):  # no name that an object can have
        return False
    return True


def _unreadable(name: str, why: str) -> DoctorFinding:
    return DoctorFinding(
        FindingCode.QUARANTINE_INCOMPLETE,
        f"{QUARANTINE}/{name}",
        f"The record {QUARANTINE}/{name} cannot be read, so its object cannot be released: {why}.",
        "A person has to: move the object to where it came from with the store's own means, and remove the record.",
    )


def _without_object(name: str, record: ObjectQuarantined) -> DoctorFinding:
    return DoctorFinding(
        FindingCode.QUARANTINE_INCOMPLETE,
        f"{QUARANTINE}/{name}",
        f"The record says that {record.container}/{record.key} was refused by run {record.run_id} ({record.code}), and its object is gone.",
        f"A person has to: remove {QUARANTINE}/{name} where the object is not wanted any more, or put the object beside it.",
    )


def _without_record(key: str) -> DoctorFinding:
    return DoctorFinding(
        FindingCode.QUARANTINE_INCOMPLETE,
        f"{QUARANTINE}/{key}",
        f"{QUARANTINE}/{key} lies in quarantine, and no record says why, or where it came from.",
        "A person has to: nothing but the platform writes there. Move it to where it belongs with the store's own means, or remove it.",
    )
