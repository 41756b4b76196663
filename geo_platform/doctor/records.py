"""Check stored messages, and check quarantined objects against their records.

This deployment must be able to read every stored message. Every quarantined object (a refused
source) must have a record of the reason, and every record must have its object.

Called by `examine.py`.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import islice

from geo_platform.chains.registry import message_types
from geo_platform.contracts.arrival import ObjectQuarantined
from geo_platform.contracts.fault import ContractError
from geo_platform.contracts.message import Message
from geo_platform.contracts.stored import load_message
from geo_platform.doctor.findings import DoctorFinding, FindingCode
from geo_platform.errors import ParameterInvalid, SourceNotFound
from geo_platform.ports import MESSAGES, QUARANTINE, QUARANTINE_RECORD, ObjectStore, StoredObject

_THREADS = 8
_BATCH = 64


def known_messages() -> Mapping[str, type[Message]]:
    """Return every message class by name."""
    return {message.__name__: message for message in message_types()}


def fault_of(content: bytes, known: Mapping[str, type[Message]]) -> str | None:
    """Return why these bytes cannot be read as a message, or None if they can."""
    try:
        envelope = json.loads(content)
        name, version = envelope["message"], envelope["schema_version"]
    except (ValueError, KeyError, TypeError):
        return "it is not JSON with message and schema_version"
    kind = known.get(name) if isinstance(name, str) else None
    if kind is None:
        return f"{name!r} version {version} is not a message that this deployment knows"
    try:
        load_message(content, kind)
    except ContractError as error:
        return (
            "; ".join(fault.note or str(fault) for fault in error.faults)
            + f" ({name} version {version}; this deployment reads version {kind.schema_version})"
        )
    return None


def unreadable_messages(objects: ObjectStore, count: Callable[[], None]) -> Iterator[DoctorFinding]:
    """Read all messages and yield MESSAGE_UNREADABLE for each message that cannot be read.

    `count` is called once for each message.
    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    known = known_messages()

    def read(key: str) -> tuple[str, str | None]:
        try:
            return key, fault_of(objects.read_bytes(MESSAGES, key), known)
        except SourceNotFound:  # the message was removed after it was listed
            return key, None

    keys = (stored.reference.key for stored in objects.list(MESSAGES))
    with ThreadPoolExecutor(_THREADS) as readers:
        while batch := list(islice(keys, _BATCH)):
            for key, fault in readers.map(read, batch):
                count()
                if fault is not None:
                    yield _finding(key, fault)


def _finding(key: str, fault: str) -> DoctorFinding:
    return DoctorFinding(
        FindingCode.MESSAGE_UNREADABLE,
        f"message {key}",
        f"The message {key} cannot be read: {fault}.",
        "Needs a person: launch the job again from its first stage, or deploy a version that can "
        "read it.",
    )


# A record is written just before its object is moved, so a younger record may lack its object.
_MOVED_WITHIN = timedelta(minutes=10)


def compare_quarantine(
    objects: ObjectStore, count: Callable[[], None], *, now_utc: datetime
) -> Iterator[DoctorFinding]:
    """Yield QUARANTINE_INCOMPLETE for objects without a record and records without an object.

    All keys are held in memory; records are read one by one. `count` is called for each object.
    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    stored_by_key: dict[str, StoredObject] = {}
    for stored in objects.list(QUARANTINE):
        count()
        stored_by_key[stored.reference.key] = stored
    without_record = {key for key in stored_by_key if not key.endswith(QUARANTINE_RECORD)}
    for name in [key for key in stored_by_key if key.endswith(QUARANTINE_RECORD)]:
        key = name.removesuffix(QUARANTINE_RECORD)
        try:
            record = load_message(objects.read_bytes(QUARANTINE, name), ObjectQuarantined)
        except SourceNotFound:  # the object was released after the record was listed
            continue
        except ContractError as error:
            without_record.discard(key)
            yield _unreadable(name, "; ".join(fault.note or str(fault) for fault in error.faults))
            continue
        without_record -= {part.key for part in record.parts}
        is_old = now_utc - stored_by_key[name].last_modified_utc >= _MOVED_WITHIN
        is_missing = key not in stored_by_key and not _exists(objects, key)
        if is_missing and is_old and _exists(objects, name):
            yield _without_object(name, record)
    for key in sorted(without_record):
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
        f"Needs a person: remove {QUARANTINE}/{name} if the object is no longer needed, or put "
        f"the object back at {QUARANTINE}/{record.key}.",
    )


def _without_record(key: str) -> DoctorFinding:
    return DoctorFinding(
        FindingCode.QUARANTINE_INCOMPLETE,
        f"{QUARANTINE}/{key}",
        f"No record says why {QUARANTINE}/{key} is in quarantine, or where it came from.",
        "Needs a person: only the platform should write to quarantine. Move the object to its "
        "container with the store's own tools, or remove it.",
    )
