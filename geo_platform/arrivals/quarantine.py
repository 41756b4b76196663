"""What is refused goes out of the way: an arrival that nobody can process moves to quarantine, with the reason beside it.

What belongs here: which refusals do that, and moving. What stays out: the way back (`release.py`), finding out what was refused
(`geo_platform/orchestrator/refused_arrivals.py`).

Moved is what will be refused again as often as it is tried, until a person does something. A fault of a store or of the platform
is none of the object's doing; a conflict passes, or is about newer bytes; what is not there cannot be moved. That
some files of a run were refused says nothing of one: each has its own code.

The order, so that it can be killed anywhere and done again:

    1  the record: it is the plan, names every part at its etag, and what it replaces in quarantine
    2  the object itself: without it nothing that is left is an arrival, so nobody asks for a run in between
    3  its sidecars
    4  of what was replaced, sidecars that no part took the place of, are removed

Whoever does it again finds the record of the same refused etag and goes on. Where the object was overwritten or deleted between
1 and 2, the record goes, or becomes again what it was.
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
from geo_platform.ports import QUARANTINE, QUARANTINE_RECORD, ObjectStore, StoredObject
from geo_platform.source.sidecars import group_sources, seen_by_driver, set_prefix, sidecars_of

_BRANCHES = (InputRefused, LimitExceeded)
_NOT_THESE = (Conflict, SourceNotFound, FilesRefused)


@dataclass(frozen=True)
class Refusal:
    """Why, by which run, of which watch."""

    code: str
    message: str
    remedy: str
    run_id: str
    watch: str


class QuarantineOutcome(StrEnum):
    """What became of a refused object."""

    quarantined = "quarantined"
    overwritten = "overwritten"
    gone = "gone"
    unmovable = "unmovable"


@dataclass(frozen=True)
class Moved:
    """`said` is a sentence about the object; `record` is there where it lies in quarantine."""

    outcome: QuarantineOutcome
    said: str
    record: ObjectQuarantined | None = None


def is_quarantined(code: str) -> bool:
    """Whether what was refused with this code of docs/errors.md is moved. What is no code of ours is not."""
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
    """Move the arrival at that etag (of the object and its sidecars together), or say why not. Done twice it is done once.

    An object that was overwritten is another arrival and stays; one that was deleted leaves nothing to move. Under a key that
    lies in quarantine already, the later replaces the earlier. Raises the store's faults.
    """
    if key.endswith(QUARANTINE_RECORD):
        return Moved(
            QuarantineOutcome.unmovable,
            f"{container}/{key} stays where it is: it is called what the record of another would be called",
        )
    before = _record_before(objects, key)
    if before is not None and (before.container, before.etag) == (container, etag):
        return _carry_out(objects, before)
    present = present_arrival(objects, container, key)
    if present is None:
        return Moved(
            QuarantineOutcome.gone,
            f"{container}/{key} was deleted since it was refused: there is nothing to move",
        )
    if present[0].etag != etag:
        return Moved(
            QuarantineOutcome.overwritten,
            f"{container}/{key} was overwritten since it was refused: what lies there is another arrival",
        )
    if before is not None and before.container != container:
        return Moved(
            QuarantineOutcome.unmovable,
            f"{container}/{key} stays where it is: {before.container}/{key} lies in quarantine under its key",
        )
    record = _planned(present, refusal, before, now_utc)
    try:
        write_record(objects, record)
    except ParameterInvalid as error:
        return Moved(
            QuarantineOutcome.unmovable, f"{container}/{key} stays where it is: {error.message}"
        )
    return _carry_out(objects, record)


def present_arrival(
    objects: ObjectStore, container: str, key: str
) -> tuple[Arrival, tuple[StoredObject, ...]] | None:
    """The arrival as it lies there now, and what of it can be moved, the object first; None where there is no such object.

    Moved with it are all files that belong to it and to no other source beside it. One that it shares stays.
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
    """One that cannot be read is replaced: what it was about lies under the same key and goes with it."""
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
    if (
        moved != record.parts
    ):  # a sidecar was overwritten since: it is not what was refused, and stays
        record = record.model_copy(update={"parts": moved})
        write_record(objects, record)
    _remove_replaced(objects, record)
    said = f"{record.container}/{record.key} was refused with {record.code} and lies in {QUARANTINE}/{record.key}"
    return Moved(
        QuarantineOutcome.quarantined, f"{said}: geo-platform quarantine show {record.key}", record
    )


def _lies_in_quarantine(
    objects: ObjectStore, record: ObjectQuarantined, part: QuarantinedPart
) -> bool:
    """Moved now or before, or put there by a person since. False where it was deleted or overwritten before anybody moved it."""
    metadata = {REFUSED_BY: record.run_id, REFUSED_ETAG: part.etag}
    try:
        objects.move(record.container, part.key, QUARANTINE, etag=part.etag, metadata=metadata)
    except (SourceNotFound, Conflict):
        there = in_quarantine(objects, part)
        return there is not None and there.metadata.get(REFUSED_ETAG) in (None, part.etag)
    return True


def _give_up(objects: ObjectStore, record: ObjectQuarantined) -> Moved:
    """Between the record and the move somebody overwrote or deleted the object: nothing was moved."""
    if record.replaced is not None and in_quarantine(objects, record.replaced.parts[0]) is not None:
        write_record(objects, as_record(record.replaced))
    else:
        remove_record(objects, record)
    name = f"{record.container}/{record.key}"
    if present_arrival(objects, record.container, record.key) is None:
        return Moved(
            QuarantineOutcome.gone,
            f"{name} was deleted since it was refused: there is nothing to move",
        )
    return Moved(
        QuarantineOutcome.overwritten,
        f"{name} was overwritten since it was refused: what lies there is another arrival",
    )


def _remove_replaced(objects: ObjectStore, record: ObjectQuarantined) -> None:
    """Sidecars of what lay here before, unless somebody put another object in their place."""
    taken = {part.key for part in record.parts}
    for part in record.replaced.parts if record.replaced is not None else ():
        there = in_quarantine(objects, part) if part.key not in taken else None
        if there is not None and there.metadata.get(REFUSED_ETAG) == part.etag:
            objects.delete(QUARANTINE, part.key)
