"""Move a refused arrival to quarantine, with a record of the reason, and back.

An arrival is moved if it will be refused again until a person acts. Errors of a store or of the
platform are not the object's fault; a conflict passes, or concerns newer bytes; a missing object
cannot be moved. FILES_REFUSED is about a whole run, in which each file has its own code.

The steps, in an order that survives a kill at any point:

    1  write the record: the plan, with the etag of every part and what it replaces in quarantine
    2  move the object: what is left is no arrival, so that nothing requests a run meanwhile
    3  move its sidecars
    4  remove sidecars of a replaced object that no new part replaced

A second attempt finds the record of the same refused etag and continues. If the object was
overwritten or deleted between 1 and 2, the record is removed, or restored to the earlier one.

A released arrival gets a new etag, so that its watch requests a run for it like for any arrival.
Sidecars are moved back first, then the object, and the record is removed last: the object is never
seen without its sidecars, and a command that was killed can be run again. A released object is
marked in its metadata, which tells it from one that somebody else put there meanwhile.

`geo_platform/orchestrator/refused_arrivals.py` finds refusals.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from geo_platform.arrivals.arrival import Arrival, arrival_of
from geo_platform.arrivals.quarantine_records import (
    REFUSED_BY,
    REFUSED_ETAG,
    as_earlier,
    as_record,
    in_quarantine,
    read_record,
    remove_record,
    wanted_record,
    write_record,
)
from geo_platform.contracts.arrival import ObjectQuarantined, QuarantinedPart
from geo_platform.errors import (
    Conflict,
    FilesRefused,
    InputRefused,
    LimitExceeded,
    MessageUnreadable,
    ParameterInvalid,
    SourceNotFound,
    error_leaves,
)
from geo_platform.ports import (
    QUARANTINE,
    QUARANTINE_RECORD,
    ObjectStore,
    StoredObject,
    stat_or_none,
)
from geo_platform.source.sidecars import group_sources, seen_by_driver, set_prefix, sidecars_of

_BRANCHES = (InputRefused, LimitExceeded)
_NOT_THESE = (Conflict, SourceNotFound, FilesRefused)


@dataclass(frozen=True)
class Refusal:
    """The reason of a refusal, with its run and watch."""

    code: str
    message: str
    remedy: str
    run_id: str
    watch: str


class QuarantineOutcome(StrEnum):
    """The outcome for a refused object."""

    quarantined = "quarantined"
    overwritten = "overwritten"
    gone = "gone"
    unmovable = "unmovable"


@dataclass(frozen=True)
class Moved:
    """An outcome, a sentence for people, and the record if the object is in quarantine."""

    outcome: QuarantineOutcome
    message: str
    record: ObjectQuarantined | None = None


def is_quarantined(code: str) -> bool:
    """Return whether objects refused with this code (docs/errors.md) are moved to quarantine."""
    return any(
        leaf.code == code and issubclass(leaf, _BRANCHES) and leaf not in _NOT_THESE
        for leaf in error_leaves()
    )


def quarantine(
    objects: ObjectStore,
    container: str,
    key: str,
    etag: str,
    refusal: Refusal,
    *,
    now_utc: datetime,
) -> Moved:
    """Move the arrival at `etag` (of the object and its sidecars), or return why not. Idempotent.

    An overwritten object is another arrival and stays. If quarantine has an object of this key, the
    later one replaces it. Raises the store's errors.
    """
    if key.endswith(QUARANTINE_RECORD):
        return Moved(
            QuarantineOutcome.unmovable,
            f"{container}/{key} stays: its name is reserved for the record of another object",
        )
    before = _record_before(objects, key)
    if before is not None and (before.container, before.etag) == (container, etag):
        return _carry_out(objects, before)
    present = present_arrival(objects, container, key)
    if present is None:
        return Moved(
            QuarantineOutcome.gone,
            f"{container}/{key} was deleted after it was refused: there is nothing to move",
        )
    if present[0].etag != etag:
        return Moved(
            QuarantineOutcome.overwritten,
            f"{container}/{key} was overwritten after it was refused: it is another arrival now",
        )
    if before is not None and before.container != container:
        return Moved(
            QuarantineOutcome.unmovable,
            f"{container}/{key} stays: {before.container}/{key} is in quarantine under its key",
        )
    record = _planned(present, refusal, before, now_utc)
    try:
        write_record(objects, record)
    except ParameterInvalid as error:
        return Moved(QuarantineOutcome.unmovable, f"{container}/{key} stays: {error.message}")
    return _carry_out(objects, record)


def present_arrival(
    objects: ObjectStore, container: str, key: str
) -> tuple[Arrival, tuple[StoredObject, ...]] | None:
    """Return the present arrival and the objects to move, the main one first; None if it is gone.

    All files that belong to the source are moved, except those that it shares with another source.
    """
    listed = {stored.reference.key: stored for stored in objects.list(container, set_prefix(key))}
    if key not in listed:
        return None
    others = [group.main for group in group_sources(listed).sources if group.main != key]
    shared = {name for other in others for name in (other, *sidecars_of(other, listed))}
    own = [name for name in sidecars_of(key, listed) if name not in shared]
    arrival = arrival_of(listed[key], tuple(listed[name] for name in seen_by_driver(key, listed)))
    return arrival, (listed[key], *(listed[name] for name in own))


def _record_before(objects: ObjectStore, key: str) -> ObjectQuarantined | None:
    """Return the existing record, or None. One that cannot be read is replaced, with its object."""
    try:
        return read_record(objects, key)
    except MessageUnreadable:
        return None


def _planned(
    present: tuple[Arrival, tuple[StoredObject, ...]],
    refusal: Refusal,
    before: ObjectQuarantined | None,
    now_utc: datetime,
) -> ObjectQuarantined:
    arrival, stored = present
    return ObjectQuarantined(
        code=refusal.code,
        message=refusal.message,
        remedy=refusal.remedy,
        run_id=refusal.run_id,
        watch=refusal.watch,
        uri=arrival.uri,
        container=arrival.container,
        key=arrival.key,
        etag=arrival.etag,
        quarantined_at_utc=now_utc,
        parts=tuple(_part(each) for each in stored),
        replaced=as_earlier(before) if before is not None else None,
    )


def _part(stored: StoredObject) -> QuarantinedPart:
    reference = stored.reference
    return QuarantinedPart(
        key=reference.key,
        etag=reference.etag,
        size_bytes=reference.size_bytes,
        metadata=dict(stored.metadata),
    )


def _carry_out(objects: ObjectStore, record: ObjectQuarantined) -> Moved:
    main, *sidecars = record.parts
    if not _lies_in_quarantine(objects, record, main):
        return _give_up(objects, record)
    moved = (main, *(part for part in sidecars if _lies_in_quarantine(objects, record, part)))
    # A sidecar that was overwritten meanwhile is not what was refused, and stays.
    if moved != record.parts:
        record = record.model_copy(update={"parts": moved})
        write_record(objects, record)
    _remove_replaced(objects, record)
    message = (
        f"{record.container}/{record.key} was refused with {record.code} and moved to "
        f"{QUARANTINE}/{record.key}: geo-platform quarantine show {record.key}"
    )
    return Moved(QuarantineOutcome.quarantined, message, record)


def _lies_in_quarantine(
    objects: ObjectStore, record: ObjectQuarantined, part: QuarantinedPart
) -> bool:
    """Move a part. Return whether quarantine has it: moved now or before, or put there by a person.

    False if it was deleted or overwritten before it was moved.
    """
    metadata = {REFUSED_BY: record.run_id, REFUSED_ETAG: part.etag}
    try:
        objects.move(record.container, part.key, QUARANTINE, etag=part.etag, metadata=metadata)
    except (SourceNotFound, Conflict):
        found = in_quarantine(objects, part)
        return found is not None and found.metadata.get(REFUSED_ETAG) in (None, part.etag)
    return True


def _give_up(objects: ObjectStore, record: ObjectQuarantined) -> Moved:
    """Undo the record: the object was overwritten or deleted before it could be moved."""
    if record.replaced is not None and in_quarantine(objects, record.replaced.parts[0]) is not None:
        write_record(objects, as_record(record.replaced))
    else:
        remove_record(objects, record)
    name = f"{record.container}/{record.key}"
    if present_arrival(objects, record.container, record.key) is None:
        return Moved(
            QuarantineOutcome.gone,
            f"{name} was deleted after it was refused: there is nothing to move",
        )
    return Moved(
        QuarantineOutcome.overwritten,
        f"{name} was overwritten after it was refused: it is another arrival now",
    )


def _remove_replaced(objects: ObjectStore, record: ObjectQuarantined) -> None:
    """Remove the sidecars of the replaced object, unless another object took their place."""
    taken = {part.key for part in record.parts}
    for part in record.replaced.parts if record.replaced is not None else ():
        found = in_quarantine(objects, part) if part.key not in taken else None
        if found is not None and found.metadata.get(REFUSED_ETAG) == part.etag:
            objects.delete(QUARANTINE, part.key)


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
