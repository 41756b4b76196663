"""A local file becomes an object, unless the very same bytes are there already.

What belongs here: deciding whether a copy is needed. What stays out: recognising what the file is (`source/`), and how
a store writes. Not copying keeps the etag, and so "the same source as before" stays true.
"""

import os
from pathlib import Path

from geo_platform.errors import Conflict, SourceNotFound
from geo_platform.ports import SUBMITTED, ObjectStore, StoredObject
from geo_platform.storage.atomic import os_errors

_CHUNK_BYTES = 4 * 2**20
_TRIES = 5
"""So often another may write the object in between; who brings other bytes each time is not waited for."""


def arrive(store: ObjectStore, path: Path, container: str, key: str) -> StoredObject:
    """The object that holds the file's bytes: the one that is there, or a new copy.

    Raises SourceNotFound, SourceUnreadable (no regular file), Conflict (it changed while it was copied, or others
    keep writing the object), ParameterInvalid (key), StoreDenied, StoreUnavailable.
    """
    with os_errors(f"The file {path.name!r}"):
        status = path.stat()
    # ctime cannot be set back, so that a file that was changed and given its old mtime is still seen.
    origin = "-".join(str(part) for part in (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    present = _present(store, container, key)
    for _ in range(_TRIES):
        seen = present.reference.etag if present else ""
        try:
            if present and (present.metadata.get(SUBMITTED) == origin or _holds_same_bytes(store, present, path, status)):
                return present
            # Only over what was looked at: of two who bring one file at once, the second finds the first one's object.
            return store.put_file(container, key, path, metadata={SUBMITTED: origin}, only_if_etag=seen)
        except Conflict:
            present = _present(store, container, key)
            if (present.reference.etag if present else "") == seen:
                raise  # it is the file that changed
    raise Conflict(f"{key!r} is being written by others again and again.", remedy="Submit it again once they are done.")


def _present(store: ObjectStore, container: str, key: str) -> StoredObject | None:
    try:
        return store.stat(container, key)
    except SourceNotFound:
        return None


def _holds_same_bytes(store: ObjectStore, present: StoredObject, path: Path, status: os.stat_result) -> bool:
    """Read side by side as far as they agree, so that another file of the same size costs a store little."""
    reference = present.reference
    if reference.size_bytes != status.st_size:
        return False
    with (
        store.open(reference.container, reference.key, etag=reference.etag) as other,
        os_errors(f"The file {path.name!r}"),
        path.open("rb") as one,
    ):
        while chunk := one.read(_CHUNK_BYTES):
            if chunk != other.read(_CHUNK_BYTES):
                return False
        return not other.read(1)
