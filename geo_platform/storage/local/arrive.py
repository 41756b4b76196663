"""A local file becomes an object, unless the very same bytes are there already.

What belongs here: deciding whether a copy is needed. What stays out: recognising what the file is (`source/`), and how
a store writes. Not copying keeps the etag, and so "the same source as before" stays true.
"""

import os
from pathlib import Path

from geo_platform.errors import Conflict
from geo_platform.ports import SUBMITTED, ObjectStore, StoredObject, present
from geo_platform.storage.local.atomic import os_errors

_CHUNK_BYTES = 4 * 2**20
# So often another may write the object in between; who brings other bytes each time is not waited
# for.
_TRIES = 5


def arrive(store: ObjectStore, path: Path, container: str, key: str) -> StoredObject:
    """The object that holds the file's bytes: the one that is there, or a new copy.

    Raises SourceNotFound, SourceUnreadable (no regular file), Conflict (it changed while it was copied, or others
    keep writing the object), ParameterInvalid (key), StoreDenied, StoreUnavailable.
    """
    with os_errors(f"The file {path.name!r}"):
        status = path.stat()
    # ctime cannot be set back, so that a file that was changed and given its old mtime is still seen.
    origin = "-".join(
        str(part)
        for part in (
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )
    )
    there = present(store, container, key)
    for _ in range(_TRIES):
        seen = there.reference.etag if there else ""
        try:
            if there and (
                there.metadata.get(SUBMITTED) == origin
                or _holds_same_bytes(store, there, path, status)
            ):
                return there
            # Only over what was looked at: of two who bring one file at once, the second finds the first one's object.
            return store.put_file(
                container, key, path, metadata={SUBMITTED: origin}, only_if_etag=seen
            )
        except Conflict:
            there = present(store, container, key)
            if (there.reference.etag if there else "") == seen:
                raise  # it is the file that changed
    raise Conflict(
        f"{key!r} is being written by others again and again.",
        remedy="Submit it again once they are done.",
    )


def _holds_same_bytes(
    store: ObjectStore, there: StoredObject, path: Path, status: os.stat_result
) -> bool:
    """Read side by side as far as they agree, so that another file of the same size costs a store little."""
    reference = there.reference
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
