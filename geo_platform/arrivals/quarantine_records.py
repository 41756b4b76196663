"""The records of what lies in quarantine: a JSON beside each object that says why it was refused, and what of it was moved.

What belongs here: where they lie, reading, writing, listing them. What stays out: moving (`quarantine.py`, `release.py`).

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

# Metadata of an object in quarantine: the run that refused it. Where it is missing, a person put
# the object there.
REFUSED_BY = "run_id"

# Metadata of an object in quarantine: its etag before it was moved.
REFUSED_ETAG = "refused_etag"

_SHOWN = "geo-platform quarantine list shows what is there."


@dataclass(frozen=True)
class Quarantined:
    """One entry of the list. `record` is None where it cannot be read; `fault` says why then."""

    key: str
    record: ObjectQuarantined | None
    fault: str = ""


def record_key(key: str) -> str:
    """Where the record of the object lies in the container of quarantine."""
    return key + QUARANTINE_RECORD


def list_quarantine(objects: ObjectStore) -> Iterator[Quarantined]:
    """Every record, in order of key. Raises the store's faults."""
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
    """None where there is none. Raises MessageUnreadable where it is no record that this deployment reads, and the store's faults."""
    try:
        return load_message(objects.read_bytes(QUARANTINE, record_key(key)), ObjectQuarantined)
    except SourceNotFound:
        return None
    except ContractError as error:
        why = "; ".join(fault.note or str(fault) for fault in error.faults)
        raise MessageUnreadable(
            f"{QUARANTINE}/{record_key(key)} cannot be read: {why}.",
            remedy="Move the object to where it came from with the store's own means, and remove that JSON.",
        ) from error


def wanted_record(objects: ObjectStore, key: str) -> ObjectQuarantined:
    """As `read_record`. Raises SourceNotFound where there is none."""
    record = read_record(objects, key)
    if record is None:
        raise SourceNotFound(f"Nothing lies in quarantine under the key {key!r}.", remedy=_SHOWN)
    return record


def write_record(objects: ObjectStore, record: ObjectQuarantined) -> None:
    """Over any that is there. Raises ParameterInvalid where the key is too long to have one, and the store's faults."""
    objects.put_bytes(
        QUARANTINE,
        record_key(record.key),
        dump_message(record),
        metadata={REFUSED_BY: record.run_id},
    )


def remove_record(objects: ObjectStore, record: ObjectQuarantined) -> None:
    """One that is not there is no error."""
    objects.delete(QUARANTINE, record_key(record.key))


def as_earlier(record: ObjectQuarantined) -> EarlierRefusal:
    """As the record that replaces it tells of it: without what it had replaced itself."""
    return EarlierRefusal.model_validate(record.model_dump(exclude={"replaced"}))


def as_record(earlier: EarlierRefusal) -> ObjectQuarantined:
    """As it was, but for what it had replaced itself."""
    return ObjectQuarantined.model_validate({**earlier.model_dump(), "replaced": None})


def in_quarantine(objects: ObjectStore, part: QuarantinedPart) -> StoredObject | None:
    """What lies in quarantine under the part's key, whoever put it there."""
    return stat_or_none(objects, QUARANTINE, part.key)
