"""Move a refused arrival to the container `quarantine`, with a record of the reason, and back.

An arrival is a complete source: its main object and the sidecars. It is moved if its run would
refuse it again until a person acts. It is not moved after an error of a store or of the platform,
since another attempt may succeed; after a conflict, which passes or concerns newer bytes; or if it
is missing. FILES_REFUSED is the error of a whole run; each file of the run has its own code.

The order of the steps allows the process to be killed at any point:

    1  write the record: the reason, the etag of every part, and the record that it replaces
    2  move the main object: sidecars alone are no arrival, so no run is requested for them
    3  move the sidecars
    4  remove the sidecars of an earlier quarantined object of this key, unless step 3 replaced them

A second attempt finds the record of the same refused etag and continues. If the main object was
overwritten or deleted between steps 1 and 2, the record is removed, or the earlier record restored.

A release moves the sidecars back first, then the main object, and removes the record last. So the
main object is never visible without its sidecars, and a killed command can be run again. The main
object gets a new etag, so that its watch requests a run as for any new arrival. The metadata of a
released object has the run that had refused it; an object without that metadata was put there by
somebody else.

`geo_platform/orchestrator/refused_arrivals.py` finds refusals.

Called by `cli/commands/quarantine.py` and `orchestrator/refused_arrivals.py`.
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
    required_record,
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
from geo_platform.source.sidecars import (
    all_sidecars,
    group_prefixes,
    group_sources,
    guess_driver_sidecars,
)

_QUARANTINE_FOR = (InputRefused, LimitExceeded)
_EXCEPT_FOR = (Conflict, SourceNotFound, FilesRefused)


@dataclass(frozen=True)
class Refusal:
    """Why a run refused an arrival, the run, and the name of the watch that found the arrival."""

    code: str
    message: str
    remedy: str
    run_id: str
    watch: str


class QuarantineOutcome(StrEnum):
    """The outcome for a refused arrival. `gone`: it was deleted; `unmovable`: by its key."""

    quarantined = "quarantined"
    overwritten = "overwritten"
    gone = "gone"
    unmovable = "unmovable"


@dataclass(frozen=True)
class QuarantineResult:
    """The outcome, a message for people, and the record if the arrival is in quarantine now."""

    outcome: QuarantineOutcome
    message: str
    record: ObjectQuarantined | None = None


def is_quarantined(code: str) -> bool:
    """Return whether arrivals that are refused with this code (docs/errors.md) are quarantined."""
    return any(
        leaf.code == code and issubclass(leaf, _QUARANTINE_FOR) and leaf not in _EXCEPT_FOR
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
) -> QuarantineResult:
    """Move the refused arrival to quarantine, or return why it was not moved. Safe to repeat.

    `etag` is the combined etag of the main object and its sidecars. An object that was overwritten
    is another arrival and is not moved. A quarantined object of the same container and key is
    replaced.

    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    if key.endswith(QUARANTINE_RECORD):
        return QuarantineResult(
            QuarantineOutcome.unmovable,
            f"{container}/{key} was not moved: its name is reserved for the record of another "
            "object",
        )
    existing = _existing_record(objects, key)
    if existing is not None and (existing.container, existing.etag) == (container, etag):
        return _carry_out(objects, existing)
    present = present_arrival(objects, container, key)
    if present is None:
        return QuarantineResult(
            QuarantineOutcome.gone,
            f"{container}/{key} was deleted after it was refused: there is nothing to move",
        )
    if present[0].etag != etag:
        return QuarantineResult(
            QuarantineOutcome.overwritten,
            f"{container}/{key} was overwritten after it was refused: it is another arrival now",
        )
    if existing is not None and existing.container != container:
        return QuarantineResult(
            QuarantineOutcome.unmovable,
            f"{container}/{key} was not moved: {existing.container}/{key} is in quarantine under "
            "its key",
        )
    record = _new_record(present, refusal, existing, now_utc)
    try:
        write_record(objects, record)
    except ParameterInvalid as error:
        return QuarantineResult(
            QuarantineOutcome.unmovable, f"{container}/{key} was not moved: {error.message}"
        )
    return _carry_out(objects, record)


def present_arrival(
    objects: ObjectStore, container: str, key: str
) -> tuple[Arrival, tuple[StoredObject, ...]] | None:
    """Return the arrival as it is stored now, and the objects to move, the main object first.

    Return None if the main object is gone. All files of the source are moved, except those that
    another source uses too.

    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    listed = {
        stored.reference.key: stored
        for prefix in group_prefixes(key)
        for stored in objects.list(container, prefix)
    }
    if key not in listed:
        return None
    others = [group.main for group in group_sources(listed).sources if group.main != key]
    shared = {name for other in others for name in (other, *all_sidecars(other, listed))}
    unshared = [name for name in all_sidecars(key, listed) if name not in shared]
    arrival = arrival_of(
        listed[key], tuple(listed[name] for name in guess_driver_sidecars(key, listed))
    )
    return arrival, (listed[key], *(listed[name] for name in unshared))


def _existing_record(objects: ObjectStore, key: str) -> ObjectQuarantined | None:
    """Return the existing record, or None if there is none or it cannot be read.

    An unreadable record is replaced, and so is the quarantined object.
    """
    try:
        return read_record(objects, key)
    except MessageUnreadable:
        return None


def _new_record(
    present: tuple[Arrival, tuple[StoredObject, ...]],
    refusal: Refusal,
    existing: ObjectQuarantined | None,
    now_utc: datetime,
) -> ObjectQuarantined:
    arrival, stored_objects = present
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
        parts=tuple(_part(stored) for stored in stored_objects),
        replaced=as_earlier(existing) if existing is not None else None,
    )


def _part(stored: StoredObject) -> QuarantinedPart:
    reference = stored.reference
    return QuarantinedPart(
        key=reference.key,
        etag=reference.etag,
        size_bytes=reference.size_bytes,
        metadata=dict(stored.metadata),
    )


def _carry_out(objects: ObjectStore, record: ObjectQuarantined) -> QuarantineResult:
    main, *sidecars = record.parts
    if not _move_to_quarantine(objects, record, main):
        return _give_up(objects, record)
    moved = (main, *(part for part in sidecars if _move_to_quarantine(objects, record, part)))
    # A sidecar that was overwritten since is not the refused one, and was not moved.
    if moved != record.parts:
        record = record.model_copy(update={"parts": moved})
        write_record(objects, record)
    _remove_replaced(objects, record)
    message = (
        f"{record.container}/{record.key} was refused with {record.code} and moved to "
        f"{QUARANTINE}/{record.key}: geo-platform quarantine show {record.key}"
    )
    return QuarantineResult(QuarantineOutcome.quarantined, message, record)


def _move_to_quarantine(
    objects: ObjectStore, record: ObjectQuarantined, part: QuarantinedPart
) -> bool:
    """Move a part to quarantine. Return whether it is there now.

    It may have been moved by an earlier attempt, or put there by a person. Return False if the part
    was deleted or overwritten before it could be moved.
    """
    metadata = {REFUSED_BY: record.run_id, REFUSED_ETAG: part.etag}
    try:
        objects.move(record.container, part.key, QUARANTINE, etag=part.etag, metadata=metadata)
    except (SourceNotFound, Conflict):
        stored = in_quarantine(objects, part)
        return stored is not None and stored.metadata.get(REFUSED_ETAG) in (None, part.etag)
    return True


def _give_up(objects: ObjectStore, record: ObjectQuarantined) -> QuarantineResult:
    """Undo the record: the object was overwritten or deleted before it could be moved."""
    if record.replaced is not None and in_quarantine(objects, record.replaced.parts[0]) is not None:
        write_record(objects, as_record(record.replaced))
    else:
        remove_record(objects, record)
    name = f"{record.container}/{record.key}"
    if present_arrival(objects, record.container, record.key) is None:
        return QuarantineResult(
            QuarantineOutcome.gone,
            f"{name} was deleted after it was refused: there is nothing to move",
        )
    return QuarantineResult(
        QuarantineOutcome.overwritten,
        f"{name} was overwritten after it was refused: it is another arrival now",
    )


def _remove_replaced(objects: ObjectStore, record: ObjectQuarantined) -> None:
    """Remove the sidecars of the replaced object, unless another object has replaced them."""
    new_keys = {part.key for part in record.parts}
    for part in record.replaced.parts if record.replaced is not None else ():
        stored = in_quarantine(objects, part) if part.key not in new_keys else None
        if stored is not None and stored.metadata.get(REFUSED_ETAG) == part.etag:
            objects.delete(QUARANTINE, part.key)


# Metadata of a released object: the run that had refused it.
RELEASED = "released_of_run"


@dataclass(frozen=True)
class Released:
    """A released arrival and the keys of its moved parts.

    `kept` are the keys of parts that were not moved: they are gone from quarantine, or a part of
    another object has replaced them.
    """

    container: str
    key: str
    parts: tuple[str, ...]
    kept: tuple[str, ...] = ()


def release(objects: ObjectStore, key: str, *, replace: bool = False) -> Released:
    """Move a quarantined arrival back to its container.

    `replace` allows it to overwrite a newer object there. If a person has replaced the object in
    quarantine under the same key, that person's object is moved.

    Raises SourceNotFound: quarantine has no such object, or only its record. Raises Conflict: a
    newer object exists at the original key. Raises MessageUnreadable: the record cannot be read.
    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    record = required_record(objects, key)
    main, *sidecars = record.parts
    quarantined = {part.key: _stored(objects, record, part) for part in record.parts}
    moved_before = {part.key for part in record.parts if _was_moved_back(objects, record, part)}
    if quarantined[main.key] is None and main.key not in moved_before:
        raise SourceNotFound(
            f"{QUARANTINE}/{key} is gone; only the record of its refusal exists.",
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
                if quarantined[part.key] is not None and part.key not in moved_before
            ],
        )
    for part in (*sidecars, main):
        _move_back(objects, record, part, quarantined[part.key], is_back=part.key in moved_before)
    remove_record(objects, record)
    moved = tuple(
        part.key
        for part in record.parts
        if quarantined[part.key] is not None or part.key in moved_before
    )
    return Released(
        record.container,
        key,
        moved,
        tuple(part.key for part in record.parts if part.key not in moved),
    )


def _stored(
    objects: ObjectStore, record: ObjectQuarantined, part: QuarantinedPart
) -> StoredObject | None:
    """Return the quarantined object of a part; None if another refused object replaced it."""
    stored = in_quarantine(objects, part)
    is_of_record = stored is not None and stored.metadata.get(REFUSED_BY) in (None, record.run_id)
    return stored if is_of_record else None


def _was_moved_back(objects: ObjectStore, record: ObjectQuarantined, part: QuarantinedPart) -> bool:
    """Return whether an earlier, killed release has moved the part back."""
    stored = _at_origin(objects, record, part.key)
    return stored is not None and stored.metadata.get(RELEASED) == record.run_id


def _at_origin(objects: ObjectStore, record: ObjectQuarantined, key: str) -> StoredObject | None:
    return stat_or_none(objects, record.container, key)


def _refuse_over_newer(objects: ObjectStore, record: ObjectQuarantined, keys: list[str]) -> None:
    newer = [
        f"{record.container}/{key}" for key in keys if _at_origin(objects, record, key) is not None
    ]
    if newer:
        raise Conflict(
            f"A newer object exists at the original key: {', '.join(newer)}.",
            remedy="Use --replace to overwrite the newer object with the quarantined one, or "
            "remove one of them.",
        )


def _move_back(
    objects: ObjectStore,
    record: ObjectQuarantined,
    part: QuarantinedPart,
    quarantined: StoredObject | None,
    *,
    is_back: bool,
) -> None:
    if quarantined is None:
        return
    if is_back:
        objects.delete(QUARANTINE, part.key)
        return
    metadata = {**part.metadata, RELEASED: record.run_id}
    objects.move(
        QUARANTINE, part.key, record.container, etag=quarantined.reference.etag, metadata=metadata
    )
