"""Receive an object from the store, and open it again in later stages.

A chain is the stages of one job. `receive` is the first stage of the raster and the vector chain:
it detects the format of the object and finds its sidecars. `open_source` gives a driver the same
bytes in a later stage, or raises Conflict if they have changed.

Used throughout the application.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from geo_platform.contracts.arrival import ObjectArrived, SourceFormat
from geo_platform.contracts.message import ObjectReference
from geo_platform.errors import Conflict, SourceNotFound, SourceUnreadable
from geo_platform.fingerprint import Recipe
from geo_platform.options import ArrivalOptions
from geo_platform.ports import ObjectStore, StoredObject
from geo_platform.source.content import StoredContent
from geo_platform.source.driver_files import linked_source, ranged_source
from geo_platform.source.openable import OpenableSource, RangedFile
from geo_platform.source.sidecars import (
    all_sidecars,
    driver_sidecars,
    group_prefixes,
)
from geo_platform.source.sniff import DetectedSource, detect_content

# A TIFF up to this size is downloaded once for all stages. A larger TIFF is profiled by ranges,
# which reads at most a quarter of it.
MAX_DOWNLOADED_BYTES = 32 * 1024**2


@dataclass(frozen=True)
class FoundSource:
    """An object in the store, the sidecars that a driver will read, and the detected format.

    `etag` covers the object and the sidecars: a new world file makes a new source.
    """

    stored: StoredObject
    sidecars: tuple[ObjectReference, ...]
    detected: DetectedSource

    @property
    def etag(self) -> str:
        return combined_etag(self.stored.reference, self.sidecars)


def find_source(
    objects: ObjectStore, container: str, key: str, *, member: str | None = None
) -> FoundSource:
    """Find the object with its sidecars and detect its format by content.

    No driver opens the object, and only the bytes that are needed are downloaded. `member` is the
    path of a dataset in an archive; an archive that holds several datasets needs it.

    Raises SourceNotFound: there is no such object.
    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    Raises SourceUnreadable: the content is damaged, or SQLite has not yet written all changes into
    a GeoPackage.
    Raises also the other errors listed in `sniff.detect_content`.
    """
    stored = objects.stat(container, key)
    siblings = _siblings(objects, container, key)
    _refuse_unwritten_changes(key, siblings)
    with _content(objects, stored.reference) as content:
        detected = detect_content(content, sidecars=tuple(siblings), member=member)
    sidecar_keys = (
        ()
        if detected.archive_member
        else tuple(driver_sidecars(detected.format, key, siblings).values())
    )
    return FoundSource(stored, tuple(siblings[name] for name in sorted(sidecar_keys)), detected)


def arrival_message(found: FoundSource, *, force: bool, recipe: Recipe) -> ObjectArrived:
    """Return the first message of the chain, which describes the found source."""
    reference, detected = found.stored.reference, found.detected
    return ObjectArrived(
        uri=reference.uri,
        container=reference.container,
        key=reference.key,
        etag=found.etag,
        size_bytes=reference.size_bytes,
        last_modified_utc=found.stored.last_modified_utc,
        media_type=detected.media_type,
        kind=detected.kind,
        format=detected.format,
        archive_member=detected.archive_member,
        sidecars=found.sidecars,
        force=force,
        fingerprint=recipe.extend(found.etag, _hashed_options(detected)),
    )


def receive(
    objects: ObjectStore, container: str, key: str, options: ArrivalOptions, *, recipe: Recipe
) -> ObjectArrived:
    """Find the object and return its message. Raises the errors listed in `find_source`."""
    found = find_source(objects, container, key, member=options.archive_member)
    return arrival_message(found, force=options.force, recipe=recipe)


@contextmanager
def open_source(
    objects: ObjectStore, arrived: ObjectArrived, *, scratch: Path, by_ranges: bool = False
) -> Iterator[OpenableSource]:
    """Open the received source for a driver, until the context ends.

    Set `by_ranges` to read headers and a sample only. A remote source for which `reads_ranges` is
    true is then read by ranges, without downloading it.

    Raises Conflict: the object or a sidecar was replaced or deleted since it arrived.
    Raises UnsupportedFormat, SourceUnreadable: a sidecar is not what its name indicates, or refers
    to another file.
    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    main = _current_reference(objects, arrived.container, arrived.key)
    sidecars = tuple(
        _current_reference(objects, sidecar.container, sidecar.key) for sidecar in arrived.sidecars
    )
    if combined_etag(main, sidecars) != arrived.etag:
        raise _replaced_error(arrived.key)
    with ExitStack() as stack:
        if by_ranges and not objects.is_local and reads_ranges(arrived):
            files = {
                part.key: RangedFile(
                    part.size_bytes, stack.enter_context(_open_reference(objects, part))
                )
                for part in (main, *sidecars)
            }
            yield ranged_source(files.pop(arrived.key), arrived.format, files, name=arrived.key)
            return
        detected = DetectedSource(
            arrived.format, arrived.kind, arrived.media_type, arrived.archive_member
        )
        paths = {
            part.key: stack.enter_context(_local_path(objects, part)) for part in (main, *sidecars)
        }
        yield stack.enter_context(
            linked_source(
                paths.pop(arrived.key), detected, paths, name=arrived.key, scratch=scratch
            )
        )


def check_current(objects: ObjectStore, arrived: ObjectArrived) -> None:
    """Check that the object and its sidecars were not replaced since they arrived.

    If the object or a sidecar was deleted, nothing is checked.
    Raises Conflict: the object or a sidecar was replaced.
    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    locations = [
        (arrived.container, arrived.key),
        *((sidecar.container, sidecar.key) for sidecar in arrived.sidecars),
    ]
    try:
        main, *sidecars = (objects.stat(container, key).reference for container, key in locations)
    except SourceNotFound:
        return
    if combined_etag(main, tuple(sidecars)) != arrived.etag:
        raise _replaced_error(arrived.key)


def reads_ranges(arrived: ObjectArrived) -> bool:
    """Return whether to read headers and sample by ranges: for a large TIFF outside an archive.

    Drivers of other formats decode from the beginning or scan the whole file. A small object is
    downloaded, because a later stage needs the whole object anyway.
    """
    return (
        arrived.format is SourceFormat.geotiff
        and arrived.archive_member is None
        and arrived.size_bytes > MAX_DOWNLOADED_BYTES
    )


@contextmanager
def _content(objects: ObjectStore, reference: ObjectReference) -> Iterator[StoredContent]:
    with _open_reference(objects, reference) as stream:
        yield StoredContent(
            stream, reference.size_bytes, reference.key, lambda: _local_path(objects, reference)
        )


def _open_reference(
    objects: ObjectStore, reference: ObjectReference
) -> AbstractContextManager[BinaryIO]:
    return objects.open(reference.container, reference.key, etag=reference.etag)


def _local_path(objects: ObjectStore, reference: ObjectReference) -> AbstractContextManager[Path]:
    return objects.local_path(reference.container, reference.key, etag=reference.etag)


def _hashed_options(detected: DetectedSource) -> dict[str, str]:
    """Return the options in the fingerprint: the dataset of an archive, which selects the bytes."""
    return {"archive_member": detected.archive_member.path} if detected.archive_member else {}


def combined_etag(main: ObjectReference, sidecars: tuple[ObjectReference, ...]) -> str:
    """Return the etag of the object, or a hash (32 hex digits) over object and sidecars."""
    if not sidecars:
        return main.etag
    parts = [
        main.etag,
        *([sidecar.key, sidecar.etag] for sidecar in sorted(sidecars, key=lambda part: part.key)),
    ]
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()[:32]


def _siblings(objects: ObjectStore, container: str, key: str) -> dict[str, ObjectReference]:
    """Return the sidecars of the object by key; list only keys that begin with its stem."""
    listed = {
        stored.reference.key: stored.reference
        for prefix in group_prefixes(key)
        for stored in objects.list(container, prefix)
    }
    return {name: listed[name] for name in all_sidecars(key, listed.keys())}


def _refuse_unwritten_changes(key: str, siblings: dict[str, ObjectReference]) -> None:
    # SQLite keeps recent changes in a file beside the database. Reading without it would lose rows.
    for name, reference in siblings.items():
        if name.lower().endswith((".gpkg-wal", ".gpkg-journal")) and reference.size_bytes > 0:
            raise SourceUnreadable(
                f"{key!r} has changes that are not written into it yet: {name!r} is not empty.",
                remedy="Close the GeoPackage in every program, QGIS included, so that SQLite "
                "writes the changes into it. Then upload it again.",
            )


def _current_reference(objects: ObjectStore, container: str, key: str) -> ObjectReference:
    try:
        return objects.stat(container, key).reference
    except SourceNotFound as error:
        raise _replaced_error(key) from error


def _replaced_error(key: str) -> Conflict:
    return Conflict(
        f"{key!r} or one of its sidecars was replaced while it was being processed.",
        remedy="Submit it again.",
    )
