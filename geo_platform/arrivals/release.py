"""The way back from quarantine: a released arrival lies where it came from, at a new etag, so that its watch asks for it again.

What belongs here: moving back. What stays out: asking for the run, which the watch's sensor does as for any arrival.

Sidecars go first, the object next, the record last: whoever finds the object finds it with what belongs to it, and as long as the
record is there the same command goes on. What was moved back says so in its metadata, so that it is known from what somebody
else put there since, and is not moved a second time.
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

# Metadata of an object that came back from quarantine: the run that had refused it.
RELEASED = "released_of_run"


@dataclass(frozen=True)
class Released:
    """Where it lies now, and which other objects came with it. `kept` are parts that are not there any more, or are another's now."""

    container: str
    key: str
    parts: tuple[str, ...]
    kept: tuple[str, ...] = ()


def release(objects: ObjectStore, key: str, *, replace: bool = False) -> Released:
    """Move the arrival back. With `replace` it takes the place of what lies there now.

    What a person put under its key in quarantine goes back in its place. Raises SourceNotFound where nothing of that key is in
    quarantine, or only its record; Conflict where something newer lies where it came from; MessageUnreadable; the store's faults.
    """
    record = wanted_record(objects, key)
    main, *sidecars = record.parts
    lying = {part.key: _stored(objects, record, part) for part in record.parts}
    back = {part.key for part in record.parts if _came_back(objects, record, part)}
    if lying[main.key] is None and main.key not in back:
        raise SourceNotFound(
            f"{QUARANTINE}/{key} is not there, only the record of why it was refused.",
            remedy=f"Put the object there, or into {record.container} and remove {QUARANTINE}/{key}{QUARANTINE_RECORD}.",
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
    """What lies in quarantine for the part; not where the sidecar of another refused object took its place since."""
    there = in_quarantine(objects, part)
    return (
        there
        if there is not None and there.metadata.get(REFUSED_BY) in (None, record.run_id)
        else None
    )


def _came_back(objects: ObjectStore, record: ObjectQuarantined, part: QuarantinedPart) -> bool:
    """Moved by this command before it was killed."""
    there = _at_home(objects, record, part.key)
    return there is not None and there.metadata.get(RELEASED) == record.run_id


def _at_home(objects: ObjectStore, record: ObjectQuarantined, key: str) -> StoredObject | None:
    return stat_or_none(objects, record.container, key)


def _refuse_over_newer(objects: ObjectStore, record: ObjectQuarantined, keys: list[str]) -> None:
    newer = [
        f"{record.container}/{key}" for key in keys if _at_home(objects, record, key) is not None
    ]
    if newer:
        raise Conflict(
            f"Something newer lies where it came from: {', '.join(newer)}.",
            remedy="Give --replace to put what is in quarantine in its place, or remove the one or the other.",
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
