"""The object store on a local folder: containers are folders, keys are paths, a put is one rename.

What belongs here: the ObjectStore port. What stays out: how bytes become durable (`atomic.py`), which names are good
(`keys.py`), what an object's metadata is written like (`sidecar.py`).

    <root>/bronze/…  silver/…  quarantine/…  messages/…     objects, readable by any program
    <root>/.metadata/<container>/<key>.json                 their metadata, by etag
    <root>/.incoming/…                                      what is being written; never listed
    <root>/.locks/…                                         one of 256 locks a key

The etag is a hash of inode, mtime in nanoseconds and size: any rewrite changes it, a copy of the folder to another
disk changes all of them, a move within one disk none. A put gives the object the present time, so two rewrites within
one tick of the file system's clock differ too.
"""

import hashlib
import os
import shutil
import stat as file_modes
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from geo_platform.contracts.message import ObjectReference
from geo_platform.errors import Conflict, SourceNotFound, SourceUnreadable
from geo_platform.ports import StoredObject
from geo_platform.storage import sidecar
from geo_platform.storage.atomic import clean_incoming, make_durable, new_incoming, os_errors, own_folder, process_lock, publish_file
from geo_platform.storage.keys import check_container, key_fault, path_inside


class FolderStore:
    """ObjectStore over `root`, which is made when first written to. Safe among threads and processes of one machine."""

    is_local = True

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._cleaned = False

    def stat(self, container: str, key: str) -> StoredObject:
        """Describe one object. Raises SourceNotFound, StoreDenied, ParameterInvalid."""
        path = self._path(container, key)
        with os_errors(_named(container, key), reading=True):
            return self._described(container, key, path, path.stat())

    def list(self, container: str, prefix: str = "") -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, in order of key (by code point).

        Left out: hidden files, names that are no valid key, links that lead outside, linked folders.
        """
        yield from self._walk(container, self._base(container), "", prefix)

    @contextmanager
    def local_path(self, container: str, key: str, *, etag: str | None = None) -> Iterator[Path]:
        """The object's own file; its folder holds its neighbours, so sidecars are found by name."""
        _check_etag(container, key, self.stat(container, key).reference.etag, etag)
        yield self._path(container, key)

    @contextmanager
    def open(self, container: str, key: str, *, etag: str | None = None) -> Iterator[BinaryIO]:
        """The object's file. A put is a rename, so what is open stays what it was; only opening can meet another etag."""
        path = self._path(container, key)
        with os_errors(_named(container, key), reading=True):
            stream = path.open("rb")
        with stream:
            _check_etag(container, key, _etag(os.fstat(stream.fileno())), etag)
            yield stream

    def read_bytes(self, container: str, key: str) -> bytes:
        """The whole object. Raises SourceNotFound, StoreDenied, StoreUnavailable."""
        path = self._path(container, key)
        with os_errors(_named(container, key), reading=True):
            return path.read_bytes()

    def put_file(
        self, container: str, key: str, path: Path, *, metadata: Mapping[str, str], move: bool = False, only_if_etag: str | None = None
    ) -> StoredObject:
        """Publish a file under a key, atomically. Nothing of it is kept but its content.

        `move` renames it into the store where both are on one file system. Raises SourceNotFound, SourceUnreadable
        (no regular file), Conflict (`only_if_etag` does not hold, or the file changed while it was copied),
        StoreDenied, StoreUnavailable.
        """
        destination = self._path(container, key)
        with self._incoming(_named(container, key)) as incoming:
            with os_errors(f"The file {path.name!r}"):
                _check_regular(path)
                taken = move and _renamed(path, incoming)
            if not taken:
                _copy(path, incoming)
            try:
                stored = self._commit(container, key, incoming, destination, metadata=metadata, only_if_etag=only_if_etag)
            except BaseException:
                if taken and incoming.exists():  # a put that failed may be tried again, so its file must be there again
                    incoming.rename(path)
                raise
        if move and not taken:
            with os_errors(f"The file {path.name!r}"):
                path.unlink()
        return stored

    def put_bytes(self, container: str, key: str, content: bytes, *, metadata: Mapping[str, str]) -> StoredObject:
        """Publish a small object, atomically."""
        destination = self._path(container, key)
        with self._incoming(_named(container, key)) as incoming:
            incoming.write_bytes(content)
            return self._commit(container, key, incoming, destination, metadata=metadata, only_if_etag=None)

    def delete(self, container: str, key: str) -> None:
        """Remove an object and its metadata; one that is not there is no error."""
        path = self._path(container, key)
        with os_errors(_named(container, key)), self._lock(container, key):
            if path.is_file():  # under a file or on a folder there is no object
                path.unlink(missing_ok=True)
                sidecar.path_of(self.root, container, key).unlink(missing_ok=True)

    def _commit(
        self, container: str, key: str, incoming: Path, destination: Path, *, metadata: Mapping[str, str], only_if_etag: str | None
    ) -> StoredObject:
        now_ns = time.time_ns()
        os.utime(incoming, ns=(now_ns, now_ns))
        make_durable(incoming)
        own_folder(self._base(container))
        described = incoming.stat()
        with self._lock(container, key):
            present = _etag_or_empty(destination)
            if only_if_etag is not None and present != only_if_etag:
                raise Conflict(
                    f"{_named(container, key)} is at etag {present or 'none'}, not at {only_if_etag or 'none'}.",
                    remedy="Another run wrote it in the meantime; submit again.",
                )
            # metadata first, for both etags: whichever object a kill leaves there, its own is found
            sidecar.write(self.root, container, key, keep=present, etag=_etag(described), metadata=metadata)
            publish_file(incoming, destination)
        return self._described(container, key, destination, described)

    @contextmanager
    def _incoming(self, what: str) -> Iterator[Path]:
        with os_errors(what):
            incoming = new_incoming(self.root)
            if not self._cleaned:
                clean_incoming(self.root)
                self._cleaned = True
            try:
                yield incoming
            finally:
                incoming.unlink(missing_ok=True)

    @contextmanager
    def _lock(self, container: str, key: str) -> Iterator[None]:
        name = hashlib.sha256(f"{container}/{key}".encode()).hexdigest()[:2]
        with process_lock(self.root / ".locks" / name):
            yield

    def _base(self, container: str) -> Path:
        return self.root / check_container(container)

    def _path(self, container: str, key: str) -> Path:
        return path_inside(self._base(container), key)

    def _described(self, container: str, key: str, path: Path, status: os.stat_result) -> StoredObject:
        if not file_modes.S_ISREG(status.st_mode):
            raise SourceNotFound(f"{_named(container, key)} is not a file.")
        etag = _etag(status)
        reference = ObjectReference(container=container, key=key, uri=path.as_uri(), etag=etag, size_bytes=status.st_size)
        modified = datetime.fromtimestamp(status.st_mtime_ns / 1e9, UTC)
        return StoredObject(reference, modified, sidecar.read(self.root, container, key, etag=etag))

    def _walk(self, container: str, folder: Path, folder_key: str, prefix: str) -> Iterator[StoredObject]:
        for name, is_folder in _ordered(folder):
            key = folder_key + name
            if key_fault(f"{key}/file" if is_folder else key) is not None:
                continue
            if is_folder:
                inner = f"{key}/"
                if inner.startswith(prefix) or prefix.startswith(inner):
                    yield from self._walk(container, folder / name, inner, prefix)
            elif key.startswith(prefix):
                path = folder / name
                if path.is_symlink() and not path.resolve().is_relative_to(self._base(container)):
                    continue
                try:
                    status = path.stat()
                except FileNotFoundError:  # deleted, or a dangling link
                    continue
                if file_modes.S_ISREG(status.st_mode):
                    yield self._described(container, key, path, status)


def _ordered(folder: Path) -> list[tuple[str, bool]]:
    """(name, is folder) of one folder. A folder sorts with its slash, which makes the walk's order that of whole keys."""
    try:
        with os_errors(f"The folder {folder.name!r}"), os.scandir(folder) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    except SourceNotFound:  # nothing was put there yet, or it was removed while listing
        return []
    return sorted(found, key=lambda item: item[0] + "/" if item[1] else item[0])


def _named(container: str, key: str) -> str:
    return f"The object {container}/{key}"


def _check_etag(container: str, key: str, present: str, wanted: str | None) -> None:
    if wanted not in (None, present):
        raise Conflict(f"{_named(container, key)} is at etag {present}, not at {wanted}.", remedy="Submit it again.")


def _etag(status: os.stat_result) -> str:
    text = f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _etag_or_empty(path: Path) -> str:
    try:
        return _etag(path.stat())
    except FileNotFoundError:
        return ""


def _check_regular(path: Path) -> None:
    if not file_modes.S_ISREG(path.stat().st_mode):
        raise SourceUnreadable(f"{path.name!r} is not a regular file.", remedy="Give a file, not a folder, pipe or device.")


def _renamed(path: Path, incoming: Path) -> bool:
    """True where the file itself could be taken; a link or another file system wants a copy."""
    if path.is_symlink() or path.stat().st_dev != incoming.parent.stat().st_dev:
        return False
    path.rename(incoming)
    return True


def _copy(path: Path, incoming: Path) -> None:
    with os_errors(f"The file {path.name!r}"):
        before = path.stat()
        shutil.copyfile(path, incoming)
        after = path.stat()
    if _etag(before) != _etag(after) or incoming.stat().st_size != after.st_size:
        raise Conflict(
            f"The file {path.name!r} changed while it was copied.", remedy="Wait until it is written completely, then submit it."
        )
