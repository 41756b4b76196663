"""Local files outside of any store: their keys, a view of them as objects, and their upload.

`geo-platform plan` reads files in place, `geo-platform ingest` uploads them. The store that keeps
its objects in a folder is `FolderStore` in `folder.py`.

Called by `cli/commands/plan.py`, `cli/source_ingest.py` and `cli/sources.py`.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from geo_platform.contracts.message import ObjectReference
from geo_platform.errors import Conflict, SourceNotFound, StoreDenied
from geo_platform.ports import UPLOAD_ORIGIN, ObjectPage, ObjectStore, StoredObject, stat_or_none
from geo_platform.storage.keys import key_fault
from geo_platform.storage.local.atomic import os_errors

_CHUNK_BYTES = 4 * 2**20
# Attempts to put a file while others write the same object with other bytes.
_MAX_ATTEMPTS = 5
# Leaves room for the suffixes of sidecars within the limit of a key's part.
_NAME_MAX_BYTES = 200
_DIGITS = 12


def resolved_path(path: Path) -> Path:
    """Return the absolute path of a file without `..` and without symbolic links.

    A link into a hidden folder is the exception: only the folders before it are resolved. Behind it
    are stores of content, such as git-annex and DVC, whose files have hashes for names.
    """
    real, folder = Path(os.path.realpath(path)), Path(os.path.realpath(path.parent))
    return folder / path.name if _hidden(real) - _hidden(folder) else real


def _hidden(path: Path) -> set[str]:
    return {part for part in path.parent.parts if part.startswith(".")}


def local_key(path: Path) -> str:
    """Return the key of a local file: `local/`, 12 hex digits of a hash of its folder, its name.

    `path` is a result of `resolved_path`. The same file has the same key from every folder, files
    of one name in different folders have different keys, and the files of one folder stay together.
    If the name cannot be part of a key, it is changed and the hash is that of the whole path.
    """
    name = key_name(path.name)
    return keyed("local", os.fsencode(path.parent if name == path.name else path), name)


def keyed(area: str, place: bytes, name: str) -> str:
    """Return a key of three parts: `area`, the first digits of the hash of `place`, `name`."""
    return f"{area}/{hashlib.sha256(place).hexdigest()[:_DIGITS]}/{name}"


def key_name(name: str) -> str:
    """Return a file name as the last part of a key, changed only if a store would refuse it."""
    if len(os.fsencode(name)) <= _NAME_MAX_BYTES and not key_fault(name) and name[-1] != ".":
        return name
    valid = "".join(
        character
        if character.isprintable() and character != "\\" and not "\ud800" <= character <= "\udfff"
        else "_"
        for character in name
    ).strip(".")
    return valid.encode()[-_NAME_MAX_BYTES:].decode(errors="ignore").strip(".") or "file"


def key_of_sidecar(main: Path, key: str, sidecar: Path) -> str:
    """Return the key of a sidecar beside the key of its source, whose name may have been changed.

    The sidecar's name begins with the name of the source, or with that name without its extension.
    """
    folder, _, name = key.rpartition("/")
    for old, new in ((main.name, name), (main.stem, Path(name).stem)):
        if sidecar.name.casefold().startswith(old.casefold()):
            return f"{folder}/{new}{sidecar.name[len(old) :]}"
    return f"{folder}/{sidecar.name}"


class SourceFiles:
    """Implements the reading methods of `ports.ObjectStore`. The others raise StoreDenied.

    `files` has the absolute paths by key. The container is ignored. A read method raises
    SourceNotFound: there is no such file. Conflict: the file has another etag. StoreDenied: there
    is no permission. StoreUnavailable: any other error of the file system.
    """

    is_local = True

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    def stat(self, container: str, key: str) -> StoredObject:
        """Describe a file. Raises SourceNotFound: there is no such file, or it is not regular."""
        path = self._files.get(key)
        if path is None or not path.is_file():
            raise SourceNotFound(f"There is no file {(path or Path(key)).name!r}.")
        with os_errors(f"The file {path.name!r}"):
            status = path.stat()
        etag = f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"
        reference = ObjectReference(
            container=container, key=key, uri=path.as_uri(), etag=etag, size_bytes=status.st_size
        )
        return StoredObject(reference, datetime.fromtimestamp(status.st_mtime, UTC))

    def list(self, container: str, prefix: str = "") -> Iterator[StoredObject]:
        """Yield the files whose key starts with `prefix`."""
        keys = sorted(key for key in self._files if key.startswith(prefix))
        return (self.stat(container, key) for key in keys)

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
        yield self._files[key]

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
            return self._files[key].read_bytes()

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
