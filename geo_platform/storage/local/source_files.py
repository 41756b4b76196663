"""Read local files outside of any store as if they were objects, and upload a file to a store.

`geo-platform plan` reads files in place, `geo-platform ingest` uploads them. The store that keeps
its objects in a folder is `FolderStore` in `folder.py`.

Called by `cli/commands/plan.py` and `cli/source_ingest.py`.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from geo_platform.contracts.message import ObjectReference
from geo_platform.errors import Conflict, SourceNotFound, StoreDenied
from geo_platform.ports import UPLOAD_ORIGIN, ObjectPage, ObjectStore, StoredObject, stat_or_none
from geo_platform.storage.local.atomic import os_errors

_CHUNK_BYTES = 4 * 2**20
# Attempts to put a file while others write the same object with other bytes.
_MAX_ATTEMPTS = 5


class SourceFiles:
    """Implements the reading methods of `ports.ObjectStore`. The others raise StoreDenied.

    A key is an absolute path without its leading slash. The container is ignored. A read method
    raises SourceNotFound: there is no such file. Conflict: the file has another etag. StoreDenied:
    there is no permission. StoreUnavailable: any other error of the file system.
    """

    is_local = True

    def stat(self, container: str, key: str) -> StoredObject:
        """Describe a file. Raises SourceNotFound: there is no such file, or it is not regular."""
        path = Path("/", key)
        if not path.is_file():
            raise SourceNotFound(f"There is no file {path.name!r}.")
        with os_errors(f"The file {path.name!r}"):
            status = path.stat()
        etag = f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"
        reference = ObjectReference(
            container=container, key=key, uri=path.as_uri(), etag=etag, size_bytes=status.st_size
        )
        return StoredObject(reference, datetime.fromtimestamp(status.st_mtime, UTC))

    def list(self, container: str, prefix: str = "") -> Iterator[StoredObject]:
        """Yield the files whose key starts with `prefix`, in the folder of `prefix` only.

        Files of subfolders are not listed.
        """
        folder = Path("/", prefix).parent if not prefix.endswith("/") else Path("/", prefix)
        paths = (
            sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
        )
        keys = (path.as_posix().lstrip("/") for path in paths)
        return (self.stat(container, key) for key in keys if key.startswith(prefix))

    def page(
        self, container: str, prefix: str = "", *, after: str | None = None, limit: int = 5000
    ) -> ObjectPage:
        listed_at = datetime.now(UTC)
        files = [
            stored
            for stored in self.list(container, prefix)
            if after is None or stored.reference.key > after
        ]
        return ObjectPage(
            tuple(files[:limit]),
            files[limit - 1].reference.key if len(files) > limit else None,
            listed_at,
        )

    @contextmanager
    def local_path(self, container: str, key: str, *, etag: str | None = None) -> Iterator[Path]:
        if etag not in (None, self.stat(container, key).reference.etag):
            raise Conflict(f"The file {key!r} changed while it was read.", remedy="Try again.")
        yield Path("/", key)

    @contextmanager
    def open(self, container: str, key: str, *, etag: str | None = None) -> Iterator[BinaryIO]:
        with self.local_path(container, key, etag=etag) as path:
            with os_errors(f"The file {key!r}"):
                stream = path.open("rb")
            with stream:
                yield stream

    def read_bytes(self, container: str, key: str) -> bytes:
        self.stat(container, key)
        with os_errors(f"The file {key!r}"):
            return Path("/", key).read_bytes()

    def put_file(
        self,
        container: str,
        key: str,
        path: Path,
        *,
        metadata: Mapping[str, str],
        move: bool = False,
        only_if_etag: str | None = None,
    ) -> StoredObject:
        raise self._read_only(key)

    def put_bytes(
        self,
        container: str,
        key: str,
        content: bytes,
        *,
        metadata: Mapping[str, str],
        only_if_etag: str | None = None,
    ) -> StoredObject:
        raise self._read_only(key)

    def delete(self, container: str, key: str) -> None:
        raise self._read_only(key)

    def move(
        self, container: str, key: str, to_container: str, *, etag: str, metadata: Mapping[str, str]
    ) -> StoredObject:
        raise self._read_only(key)

    @staticmethod
    def _read_only(key: str) -> StoreDenied:
        return StoreDenied(f"Local files are read-only here; {key!r} cannot be written.")


def upload_file(store: ObjectStore, path: Path, container: str, key: str) -> StoredObject:
    """Put a local file into a store, and return the object that holds its bytes.

    If the object already holds the same bytes, nothing is written and the object keeps its etag. So
    the platform recognises the results that were made from this object.
    Raises SourceNotFound: there is no such file. SourceUnreadable: it is not a regular file.
    Conflict: the file changed while it was copied, or other clients keep writing the object.
    ParameterInvalid: the key is not valid. StoreDenied, StoreUnavailable: the store refuses access
    or does not answer.
    """
    with os_errors(f"The file {path.name!r}"):
        status = path.stat()
    # The ctime cannot be set: it shows a change even if the file's mtime was set back.
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
    current = stat_or_none(store, container, key)
    for _ in range(_MAX_ATTEMPTS):
        current_etag = current.reference.etag if current else ""
        try:
            if current and (
                current.metadata.get(UPLOAD_ORIGIN) == origin
                or _holds_same_bytes(store, current, path, status)
            ):
                return current
            # Replace only the object that was compared. If two clients upload the same file at the
            # same time, the second gets a Conflict, and then returns the object of the first.
            return store.put_file(
                container, key, path, metadata={UPLOAD_ORIGIN: origin}, only_if_etag=current_etag
            )
        except Conflict:
            current = stat_or_none(store, container, key)
            if (current.reference.etag if current else "") == current_etag:
                raise  # The object is unchanged, so the file changed.
    raise Conflict(
        f"Other clients keep writing {key!r}.",
        remedy="Wait until they have finished, then submit the file again.",
    )


def _holds_same_bytes(
    store: ObjectStore, stored: StoredObject, path: Path, status: os.stat_result
) -> bool:
    """Compare the file with the object in chunks, and stop at the first difference."""
    reference = stored.reference
    if reference.size_bytes != status.st_size:
        return False
    with (
        store.open(reference.container, reference.key, etag=reference.etag) as object_stream,
        os_errors(f"The file {path.name!r}"),
        path.open("rb") as file_stream,
    ):
        while chunk := file_stream.read(_CHUNK_BYTES):
            if chunk != object_stream.read(_CHUNK_BYTES):
                return False
        return not object_stream.read(1)
