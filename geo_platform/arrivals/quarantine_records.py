"""The records of quarantined objects: why an object was refused, and which files were moved.

`quarantine.py` moves the objects. The container `quarantine` has these keys:

    <key>                       the main object, under its original key
    <key>.quarantine.json       the record of the main object, an `ObjectQuarantined`
    <key of a sidecar>          a sidecar of the main object, under its original key

Called by `cli/commands/quarantine.py` and `quarantine.py`.
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

# Metadata of a quarantined object: the run that refused it. An object that a person put into
# quarantine does not have it.
REFUSED_BY = "run_id"

# Metadata of a quarantined object: its etag before it was moved.
REFUSED_ETAG = "refused_etag"

_LIST_HINT = "geo-platform quarantine list shows all quarantined objects."


@dataclass(frozen=True)
class Quarantined:
    """A quarantined object. `record` is None if it cannot be read; `fault` is then the reason."""

    key: str
    record: ObjectQuarantined | None
    fault: str = ""


def record_key(key: str) -> str:
    """Return the key of an object's record in the container `quarantine`."""
    return key + QUARANTINE_RECORD


def list_quarantine(objects: ObjectStore) -> Iterator[Quarantined]:
    """Yield every record in order of key; one that cannot be read with its fault.

    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    for stored in objects.list(QUARANTINE):
        if stored.reference.key.endswith(QUARANTINE_RECORD):
            key = stored.reference.key.removesuffix(QUARANTINE_RECORD)
            try:
                record = read_record(objects, key)
            except MessageUnreadable as error:
                yield Quarantined(key, None, error.message)
                continue
            if record is not None:  # None: the object was released after it was listed
                yield Quarantined(key, record)


def read_record(objects: ObjectStore, key: str) -> ObjectQuarantined | None:
    """Return the record, or None if there is none.

    Raises MessageUnreadable: this deployment cannot read the record.
    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
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


def required_record(objects: ObjectStore, key: str) -> ObjectQuarantined:
    """Return the record of a quarantined object.

    Raises SourceNotFound: there is no record. Raises MessageUnreadable: this deployment cannot read
    the record.
    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    record = read_record(objects, key)
    if record is None:
        raise SourceNotFound(f"Quarantine has no object {key!r}.", remedy=_LIST_HINT)
    return record


def write_record(objects: ObjectStore, record: ObjectQuarantined) -> None:
    """Write the record; overwrite an existing record of the same key.

    Raises ParameterInvalid: the key is too long for a record.
    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    objects.put_bytes(
        QUARANTINE,
        record_key(record.key),
        dump_message(record),
        metadata={REFUSED_BY: record.run_id},
    )


def remove_record(objects: ObjectStore, record: ObjectQuarantined) -> None:
    """Remove the record, if it exists.

    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    objects.delete(QUARANTINE, record_key(record.key))


def as_earlier(record: ObjectQuarantined) -> EarlierRefusal:
    """Return the record in the form in which a newer record keeps it in `replaced`.

    Its own `replaced` is dropped, so that records do not grow.
    """
    return EarlierRefusal.model_validate(record.model_dump(exclude={"replaced"}))


def as_record(earlier: EarlierRefusal) -> ObjectQuarantined:
    """Return an earlier refusal as a record again. Its `replaced` is None."""
    return ObjectQuarantined.model_validate({**earlier.model_dump(), "replaced": None})


def in_quarantine(objects: ObjectStore, part: QuarantinedPart) -> StoredObject | None:
    """Return the object that quarantine has under the part's key, or None.

    A person may have put it there.
    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    return stat_or_none(objects, QUARANTINE, part.key)
