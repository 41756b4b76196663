"""The records of quarantined objects: why each was refused, and which of its files were moved.

`quarantine.py` moves objects.

    quarantine/<key>                       the object, under the key that it had
    quarantine/<key>.quarantine.json       its record, an `ObjectQuarantined`
    quarantine/<key of a sidecar>          what belongs to it
"""

from collections.abc import Iterator
from dataclasses import dataclass

from geo_platform.contracts.arrival import EarlierRefusal, ObjectQuarantined, QuarantinedPart
from geo_platform.contracts.fault import ContractError
from geo_platform.contracts.stored import dump_message, load_message
from geo_platform.errors import MessageUnreadable, SourceNotFound
from geo_platform.ports import (
    QUARANTINE,
    QUARANTINE_RECORD,
    ObjectStore,
    StoredObject,
    stat_or_none,
)

# Metadata of a quarantined object: the run that refused it. Missing if a person put it there.
REFUSED_BY = "run_id"

# Metadata of a quarantined object: its etag before it was moved.
REFUSED_ETAG = "refused_etag"

_LIST_THEM = "geo-platform quarantine list shows all quarantined objects."


@dataclass(frozen=True)
class Quarantined:
    """One quarantined object. `record` is None if it cannot be read; `fault` says why."""

    key: str
    record: ObjectQuarantined | None
    fault: str = ""


def record_key(key: str) -> str:
    """Return the key of an object's record in the container `quarantine`."""
    return key + QUARANTINE_RECORD


def list_quarantine(objects: ObjectStore) -> Iterator[Quarantined]:
    """Yield every record in order of key. Raises the store's errors."""
    for stored in objects.list(QUARANTINE):
        if stored.reference.key.endswith(QUARANTINE_RECORD):
            key = stored.reference.key.removesuffix(QUARANTINE_RECORD)
            try:
                record = read_record(objects, key)
            except MessageUnreadable as error:
                yield Quarantined(key, None, error.message)
                continue
            if record is not None:  # else it was released since it was listed
                yield Quarantined(key, record)


def read_record(objects: ObjectStore, key: str) -> ObjectQuarantined | None:
    """Return the record, or None if there is none.

    Raises MessageUnreadable: this deployment cannot read it. Raises the store's errors.
    """
    try:
        return load_message(objects.read_bytes(QUARANTINE, record_key(key)), ObjectQuarantined)
    except SourceNotFound:
        return None
    except ContractError as error:
        why = "; ".join(fault.note or str(fault) for fault in error.faults)
        raise MessageUnreadable(
            f"{QUARANTINE}/{record_key(key)} cannot be read: {why}.",
            remedy="Move the object back with the store's own tools, and remove that record.",
        ) from error


def wanted_record(objects: ObjectStore, key: str) -> ObjectQuarantined:
    """Return the record. Raises SourceNotFound: there is none. Otherwise as `read_record`."""
    record = read_record(objects, key)
    if record is None:
        raise SourceNotFound(f"Quarantine has no object {key!r}.", remedy=_LIST_THEM)
    return record


def write_record(objects: ObjectStore, record: ObjectQuarantined) -> None:
    """Write the record, over an existing one.

    Raises ParameterInvalid: the key is too long for a record. Raises the store's errors.
    """
    objects.put_bytes(
        QUARANTINE,
        record_key(record.key),
        dump_message(record),
        metadata={REFUSED_BY: record.run_id},
    )


def remove_record(objects: ObjectStore, record: ObjectQuarantined) -> None:
    """Remove the record, if it exists."""
    objects.delete(QUARANTINE, record_key(record.key))


def as_earlier(record: ObjectQuarantined) -> EarlierRefusal:
    """Return the record as the one that replaces it stores it: without what it replaced itself."""
    return EarlierRefusal.model_validate(record.model_dump(exclude={"replaced"}))


def as_record(earlier: EarlierRefusal) -> ObjectQuarantined:
    """Return the record of an earlier refusal, without what it replaced itself."""
    return ObjectQuarantined.model_validate({**earlier.model_dump(), "replaced": None})


def in_quarantine(objects: ObjectStore, part: QuarantinedPart) -> StoredObject | None:
    """Return the quarantined object under the part's key, whoever put it there, or None."""
    return stat_or_none(objects, QUARANTINE, part.key)
