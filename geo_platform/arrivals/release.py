"""Move a quarantined arrival back to where it came from.

It gets a new etag, so that its watch requests a run for it like for any arrival. Sidecars are moved
first, then the object, and the record is removed last: the object is never seen without its
sidecars, and a command that was killed can be run again. A moved object is marked in its metadata,
which tells it from one that somebody else put there meanwhile.
"""

from dataclasses import dataclass

from geo_platform.arrivals.quarantine_records import (
    REFUSED_BY,
    in_quarantine,
    remove_record,
    wanted_record,
)
from geo_platform.contracts.arrival import ObjectQuarantined, QuarantinedPart
from geo_platform.errors import Conflict, SourceNotFound
from geo_platform.ports import (
    QUARANTINE,
    QUARANTINE_RECORD,
    ObjectStore,
    StoredObject,
    stat_or_none,
)

# Metadata of a released object: the run that had refused it.
RELEASED = "released_of_run"


@dataclass(frozen=True)
class Released:
    """A released object and the parts that were moved.

    `kept` are parts that are gone, or that another object's parts have replaced.
    """

    container: str
    key: str
    parts: tuple[str, ...]
    kept: tuple[str, ...] = ()


def release(objects: ObjectStore, key: str, *, replace: bool = False) -> Released:
    """Move the arrival back, with `replace` over what is there now.

    An object that a person put under its key in quarantine is moved back instead.

    Raises SourceNotFound: quarantine has no such object, or only its record. Conflict: a newer
    object is in its place. MessageUnreadable: the record cannot be read. Raises the store's errors.
    """
    record = wanted_record(objects, key)
    main, *sidecars = record.parts
    lying = {part.key: _stored(objects, record, part) for part in record.parts}
    back = {part.key for part in record.parts if _came_back(objects, record, part)}
    if lying[main.key] is None and main.key not in back:
        raise SourceNotFound(
            f"{QUARANTINE}/{key} is gone; only the record of its refusal is left.",
            remedy=f"Put the object there; or put it into {record.container} and remove "
            f"{QUARANTINE}/{key}{QUARANTINE_RECORD}.",
        )
    if not replace:
        _refuse_over_newer(
            objects,
            record,
            [
                part.key
                for part in record.parts
                if lying[part.key] is not None and part.key not in back
            ],
        )
    for part in (*sidecars, main):
        _move_back(objects, record, part, lying[part.key], is_back=part.key in back)
    remove_record(objects, record)
    came = tuple(
        part.key for part in record.parts if lying[part.key] is not None or part.key in back
    )
    return Released(
        record.container,
        key,
        came,
        tuple(part.key for part in record.parts if part.key not in came),
    )


def _stored(
    objects: ObjectStore, record: ObjectQuarantined, part: QuarantinedPart
) -> StoredObject | None:
    """Return the quarantined object of a part; None if another refused object replaced it."""
    found = in_quarantine(objects, part)
    is_its_own = found is not None and found.metadata.get(REFUSED_BY) in (None, record.run_id)
    return found if is_its_own else None


def _came_back(objects: ObjectStore, record: ObjectQuarantined, part: QuarantinedPart) -> bool:
    """Return whether an earlier, killed release has moved the part back."""
    found = _at_origin(objects, record, part.key)
    return found is not None and found.metadata.get(RELEASED) == record.run_id


def _at_origin(objects: ObjectStore, record: ObjectQuarantined, key: str) -> StoredObject | None:
    return stat_or_none(objects, record.container, key)


def _refuse_over_newer(objects: ObjectStore, record: ObjectQuarantined, keys: list[str]) -> None:
    newer = [
        f"{record.container}/{key}" for key in keys if _at_origin(objects, record, key) is not None
    ]
    if newer:
        raise Conflict(
            f"A newer object is in its place: {', '.join(newer)}.",
            remedy="Use --replace to overwrite it with the quarantined object, or remove one of "
            "them.",
        )


def _move_back(
    objects: ObjectStore,
    record: ObjectQuarantined,
    part: QuarantinedPart,
    lying: StoredObject | None,
    *,
    is_back: bool,
) -> None:
    if lying is None:
        return
    if is_back:
        objects.delete(QUARANTINE, part.key)
        return
    metadata = {**part.metadata, RELEASED: record.run_id}
    objects.move(
        QUARANTINE, part.key, record.container, etag=lying.reference.etag, metadata=metadata
    )
