"""Compare quarantined objects with their records.

Every object has a record of the reason, and every record has its object. `geo_platform/arrivals`
moves objects into quarantine and back.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from geo_platform.contracts.arrival import ObjectQuarantined
from geo_platform.contracts.fault import ContractError
from geo_platform.contracts.stored import load_message
from geo_platform.doctor.findings import DoctorFinding, FindingCode
from geo_platform.errors import ParameterInvalid, SourceNotFound
from geo_platform.ports import QUARANTINE, QUARANTINE_RECORD, ObjectStore, StoredObject

# A record is written just before its object is moved.
_MOVED_WITHIN = timedelta(minutes=10)


def compare_quarantine(
    objects: ObjectStore, seen: Callable[[], None], *, now_utc: datetime
) -> Iterator[DoctorFinding]:
    """Yield QUARANTINE_INCOMPLETE for objects without a record and records without an object.

    All keys are held in memory; records are read one by one. `seen` is called for each object.
    """
    stored_by_key: dict[str, StoredObject] = {}
    for stored in objects.list(QUARANTINE):
        seen()
        stored_by_key[stored.reference.key] = stored
    unnamed = {key for key in stored_by_key if not key.endswith(QUARANTINE_RECORD)}
    for name in [key for key in stored_by_key if key.endswith(QUARANTINE_RECORD)]:
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
        is_old = now_utc - stored_by_key[name].last_modified_utc >= _MOVED_WITHIN
        is_missing = key not in stored_by_key and not _exists(objects, key)
        if is_missing and is_old and _exists(objects, name):
            yield _without_object(name, record)
    for key in sorted(unnamed):
        if _exists(objects, key) and not _exists(objects, key + QUARANTINE_RECORD):
            yield _without_record(key)


def _exists(objects: ObjectStore, key: str) -> bool:
    try:
        objects.stat(QUARANTINE, key)
    except (SourceNotFound, ParameterInvalid):  # ParameterInvalid: no object can have this name
        return False
    return True


def _unreadable(name: str, why: str) -> DoctorFinding:
    return DoctorFinding(
        FindingCode.QUARANTINE_INCOMPLETE,
        f"{QUARANTINE}/{name}",
        f"The record {QUARANTINE}/{name} cannot be read, so its object cannot be released: {why}.",
        "Needs a person: move the object back with the store's own tools, and remove the record.",
    )


def _without_object(name: str, record: ObjectQuarantined) -> DoctorFinding:
    return DoctorFinding(
        FindingCode.QUARANTINE_INCOMPLETE,
        f"{QUARANTINE}/{name}",
        f"Run {record.run_id} refused {record.container}/{record.key} ({record.code}), and its "
        "quarantined object is gone.",
        f"Needs a person: remove {QUARANTINE}/{name} if the object is no longer wanted, or put "
        "the object beside it.",
    )


def _without_record(key: str) -> DoctorFinding:
    return DoctorFinding(
        FindingCode.QUARANTINE_INCOMPLETE,
        f"{QUARANTINE}/{key}",
        f"No record says why {QUARANTINE}/{key} is in quarantine, or where it came from.",
        "Needs a person: only the platform writes there. Move the object to where it belongs with "
        "the store's own tools, or remove it.",
    )
