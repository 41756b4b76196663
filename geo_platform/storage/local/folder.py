"""The object store on a local folder: containers are folders, keys are paths, a put is one rename.

    <root>/bronze/…  silver/…  quarantine/…  messages/…     objects, readable by any program
    <root>/.metadata/<container>/<key>.json                 their metadata, by etag
    <root>/.incoming/…                                      files being written; never listed
    <root>/.locks/…                                         256 lock files; a key hashes to one

The etag is a hash of inode, mtime in nanoseconds and size. Any rewrite changes it; copying the
folder to another disk changes all etags, moving it within a disk none. A put sets the mtime to the
current time, so that two rewrites within one tick of the file system's clock differ too.

Listing and metadata files are in `folder_layout.py`, atomic writes in `atomic.py`.
"""

import hashlib
import os
import shutil
import stat as file_modes
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from geo_platform.contracts.message import ObjectReference
from geo_platform.errors import Conflict, SourceNotFound, SourceUnreadable
from geo_platform.ports import ObjectPage, StoredObject
from geo_platform.storage.keys import check_container, check_move, path_inside
from geo_platform.storage.local.atomic import (
    clean_incoming,
    make_durable,
    new_incoming,
    os_errors,
    own_folder,
    process_lock,
    publish_file,
)
from geo_platform.storage.local.folder_layout import (
    metadata_path,
    read_metadata,
    walk,
    write_metadata,
)


class FolderStore:
    """Implements `ports.ObjectStore` in the folder `root`, which the first write creates.

    Safe among threads and among processes of one machine.
    """

    is_local = True

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._cleaned = False

    def stat(self, container: str, key: str) -> StoredObject:
        """Describe one object. Raises as `ports.ObjectStore`; a folder is SourceNotFound."""
        path = self._path(container, key)
        with os_errors(_label(container, key), reading=True):
            return self._stored_object(container, key, path, path.stat())

    def list(self, container: str, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every object whose key starts with `prefix`, in order of key (by code point).

        Skipped are hidden files, names that are not valid keys, links out of the container, and
        linked folders.
        """
        for found in walk(self._base(container), prefix):
            yield self._stored_object(
                container, found.key, found.path, found.status, appeared_ns=found.appeared_ns
            )

    def page(
        self, container: str, prefix: str = "", *, after: str | None = None, limit: int = 5000
    ) -> ObjectPage:
        """As `list`. `after` is the last key of the page before; its object may be gone by now."""
        at = datetime.now(UTC)  # the file system uses the same clock
        found = list(islice(walk(self._base(container), prefix, after=after or ""), limit + 1))
        objects = tuple(
            self._stored_object(
                container, one.key, one.path, one.status, appeared_ns=one.appeared_ns
            )
            for one in found[:limit]
        )
        return ObjectPage(objects, objects[-1].reference.key if len(found) > limit else None, at)

    @contextmanager
    def local_path(self, container: str, key: str, *, etag: str | None = None) -> Iterator[Path]:
        """Give the object's own file. Sidecar files are beside it, under their own names."""
        _check_etag(container, key, self.stat(container, key).reference.etag, etag)
        yield self._path(container, key)

    @contextmanager
    def open(self, container: str, key: str, *, etag: str | None = None) -> Iterator[BinaryIO]:
        """Open the object's file.

        A put is a rename, so that an open file never changes: only opening raises Conflict.
        """
        path = self._path(container, key)
        with os_errors(_label(container, key), reading=True):
            stream = path.open("rb")
        with stream:
            _check_etag(container, key, _etag(os.fstat(stream.fileno())), etag)
            yield stream

    def read_bytes(self, container: str, key: str) -> bytes:
        """Return the content of an object. Raises as `ports.ObjectStore`."""
        path = self._path(container, key)
        with os_errors(_label(container, key), reading=True):
            return path.read_bytes()

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
        """Store the content of a file under a key, atomically. Raises as `ports.ObjectStore`.

        `move` renames the file into the store if both are on one file system, else it copies the
        file and deletes it.
        """
        destination = self._path(container, key)
        with self._incoming(_label(container, key)) as incoming:
            with os_errors(f"The file {path.name!r}"):
                _check_regular(path)
                taken = move and _take_by_rename(path, incoming)
            if not taken:
                _copy(path, incoming)
            try:
                stored = self._publish_if(
                    container,
                    key,
                    incoming,
                    destination,
                    metadata=metadata,
                    only_if_etag=only_if_etag,
                )
            except BaseException:
                # Put the file back, so that the caller can try again.
                if taken and incoming.exists():
                    incoming.rename(path)
                raise
        if move and not taken:
            with os_errors(f"The file {path.name!r}"):
                path.unlink()
        return stored

    def put_bytes(
        self,
        container: str,
        key: str,
        content: bytes,
        *,
        metadata: Mapping[str, str],
        only_if_etag: str | None = None,
    ) -> StoredObject:
        """Store a small object, atomically. Raises as `ports.ObjectStore`."""
        destination = self._path(container, key)
        with self._incoming(_label(container, key)) as incoming:
            incoming.write_bytes(content)
            return self._publish_if(
                container, key, incoming, destination, metadata=metadata, only_if_etag=only_if_etag
            )

    def delete(self, container: str, key: str) -> None:
        """Delete an object and its metadata. Do nothing if there is none."""
        path = self._path(container, key)
        with os_errors(_label(container, key)), self._lock(container, key):
            if path.is_file():
                path.unlink(missing_ok=True)
                metadata_path(self.root, container, key).unlink(missing_ok=True)

    def move(
        self, container: str, key: str, to_container: str, *, etag: str, metadata: Mapping[str, str]
    ) -> StoredObject:
        """Move an object by one rename, and set its mtime to now. Raises as `ports.ObjectStore`.

        The target of a link, and a file on another file system, are copied instead. The metadata
        is written before the rename, for the old etag, and once more for the new one.
        """
        check_move(container, to_container)
        source, destination = self._path(container, key), self._path(to_container, key)
        with self._locks((container, key), (to_container, key)), os_errors(_label(container, key)):
            _check_etag(container, key, self.stat(container, key).reference.etag, etag)
            own_folder(self._base(to_container))
            if (
                source.is_symlink()
                or source.stat().st_dev != self._base(to_container).stat().st_dev
            ):
                self._move_by_copy(source, destination, to_container, key, metadata)
            else:
                write_metadata(
                    self.root,
                    to_container,
                    key,
                    keep=_file_etag_or_empty(destination),
                    etag=etag,
                    metadata=metadata,
                )
                publish_file(source, destination)
                self._set_time_to_now(destination, to_container, key, etag, metadata)
            make_durable(source.parent)
            metadata_path(self.root, container, key).unlink(missing_ok=True)
            return self.stat(to_container, key)

    def _move_by_copy(
        self, source: Path, destination: Path, container: str, key: str, metadata: Mapping[str, str]
    ) -> None:
        with self._incoming(_label(container, key)) as incoming:
            _copy(source, incoming)
            self._publish(
                container,
                key,
                incoming,
                self._make_ready(container, incoming),
                destination,
                metadata,
            )
        source.unlink()

    def _set_time_to_now(
        self, path: Path, container: str, key: str, etag: str, metadata: Mapping[str, str]
    ) -> None:
        """Set the mtime of a published file to now, which gives it a new etag."""
        status, now_ns = path.stat(), time.time_ns()
        new_etag = _etag_of(status.st_ino, now_ns, status.st_size)
        write_metadata(self.root, container, key, keep=etag, etag=new_etag, metadata=metadata)
        os.utime(path, ns=(now_ns, now_ns))
        make_durable(path)

    def _publish_if(
        self,
        container: str,
        key: str,
        incoming: Path,
        destination: Path,
        *,
        metadata: Mapping[str, str],
        only_if_etag: str | None,
    ) -> StoredObject:
        status = self._make_ready(container, incoming)
        with self._lock(container, key):
            current = _file_etag_or_empty(destination)
            if only_if_etag is not None and current != only_if_etag:
                raise Conflict(
                    f"{_label(container, key)} is at etag {current or 'none'}, "
                    f"not at {only_if_etag or 'none'}.",
                    remedy="Another run wrote it in the meantime; submit again.",
                )
            return self._publish(container, key, incoming, status, destination, metadata)

    def _make_ready(self, container: str, incoming: Path) -> os.stat_result:
        """Set the mtime to now, flush the file to disk, and create the container's folder."""
        now_ns = time.time_ns()
        os.utime(incoming, ns=(now_ns, now_ns))
        make_durable(incoming)
        own_folder(self._base(container))
        return incoming.stat()

    def _publish(
        self,
        container: str,
        key: str,
        incoming: Path,
        status: os.stat_result,
        destination: Path,
        metadata: Mapping[str, str],
    ) -> StoredObject:
        """Publish an incoming file. The caller holds the lock of the key.

        The metadata is written first and keeps that of the current object, so that a kill leaves an
        object with its own metadata.
        """
        write_metadata(
            self.root,
            container,
            key,
            keep=_file_etag_or_empty(destination),
            etag=_etag(status),
            metadata=metadata,
        )
        publish_file(incoming, destination)
        return self._stored_object(container, key, destination, status)

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
        with process_lock(self.root / ".locks" / _lock_name(container, key)):
            yield

    @contextmanager
    def _locks(self, *objects: tuple[str, str]) -> Iterator[None]:
        """Hold the locks of several objects, taken in one fixed order, so that nobody deadlocks.

        Objects may share a lock file, which is locked once.
        """
        with ExitStack() as held:
            for name in sorted({_lock_name(container, key) for container, key in objects}):
                held.enter_context(process_lock(self.root / ".locks" / name))
            yield

    def _base(self, container: str) -> Path:
        return self.root / check_container(container)

    def _path(self, container: str, key: str) -> Path:
        return path_inside(self._base(container), key)

    def _stored_object(
        self,
        container: str,
        key: str,
        path: Path,
        status: os.stat_result,
        *,
        appeared_ns: int | None = None,
    ) -> StoredObject:
        if not file_modes.S_ISREG(status.st_mode):
            raise SourceNotFound(f"{_label(container, key)} is not a file.")
        etag = _etag(status)
        reference = ObjectReference(
            container=container, key=key, uri=path.as_uri(), etag=etag, size_bytes=status.st_size
        )
        modified = datetime.fromtimestamp(status.st_mtime_ns / 1e9, UTC)
        appeared = datetime.fromtimestamp((appeared_ns or status.st_ctime_ns) / 1e9, UTC)
        return StoredObject(
            reference, modified, read_metadata(self.root, container, key, etag=etag), appeared
        )


def _label(container: str, key: str) -> str:
    return f"The object {container}/{key}"


def _check_etag(container: str, key: str, current: str, wanted: str | None) -> None:
    if wanted not in (None, current):
        raise Conflict(
            f"{_label(container, key)} is at etag {current}, not at {wanted}.",
            remedy="Submit it again.",
        )


def _etag(status: os.stat_result) -> str:
    return _etag_of(status.st_ino, status.st_mtime_ns, status.st_size)


def _etag_of(inode: int, modified_ns: int, size_bytes: int) -> str:
    return hashlib.sha256(f"{inode}-{modified_ns}-{size_bytes}".encode()).hexdigest()[:32]


def _lock_name(container: str, key: str) -> str:
    return hashlib.sha256(f"{container}/{key}".encode()).hexdigest()[:2]


def _file_etag_or_empty(path: Path) -> str:
    try:
        return _etag(path.stat())
    except FileNotFoundError:
        return ""


def _check_regular(path: Path) -> None:
    if not file_modes.S_ISREG(path.stat().st_mode):
        raise SourceUnreadable(
            f"{path.name!r} is not a regular file.",
            remedy="Give a file, not a folder, pipe or device.",
        )


def _take_by_rename(path: Path, incoming: Path) -> bool:
    """Rename the file into the store. Return False for a link or another file system."""
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
            f"The file {path.name!r} changed while it was copied.",
            remedy="Wait until it is written completely, then submit it.",
        )
