"""The object store on a local folder: containers are folders, keys are paths, a put is one rename.

    <root>/bronze/…  silver/…  quarantine/…  messages/…     objects, readable by any program
    <root>/.metadata/<container>/<key>.json                 metadata of objects, by etag
    <root>/.incoming/…                                      files being written; never listed
    <root>/.locks/…                                         256 lock files, chosen by a key's hash

The etag of an object is a hash of the file's inode, mtime in nanoseconds and size. So every rewrite
changes it. Copying the store to another disk changes all etags; moving the store within a disk
changes none. A put sets the mtime to the current time in nanoseconds: the file system's clock is
coarser and could give two rewrites the same mtime.

`folder_layout.py` has the listing and the metadata files, `atomic.py` the atomic writes.

Called by `resources/stores.py` and `storage/stores.py`.
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
    ensure_folder,
    make_durable,
    new_incoming,
    os_errors,
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

    Threads and processes of one machine may use it at the same time.
    Every method raises ParameterInvalid: the container or the key is not valid. StoreDenied: there
    is no permission, or a symbolic link leads out of the container. StoreUnavailable: any other
    error of the file system.
    """

    is_local = True

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._cleaned = False

    def stat(self, container: str, key: str) -> StoredObject:
        """Describe one object. Raises SourceNotFound: there is no such file, or it is a folder."""
        path = self._path(container, key)
        with os_errors(_label(container, key), reading=True):
            return self._stored_object(container, key, path, path.stat())

    def list(self, container: str, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every object whose key starts with `prefix`, in order of key (by code point).

        It skips hidden files, names that are not valid keys, symbolic links out of the container,
        and symbolic links to folders.
        """
        for file in walk(self._container_folder(container), prefix):
            yield self._stored_object(
                container, file.key, file.path, file.status, appeared_ns=file.appeared_ns
            )

    def page(
        self, container: str, prefix: str = "", *, after: str | None = None, limit: int = 5000
    ) -> ObjectPage:
        """Return at most `limit` of the objects that `list` yields, those after the key `after`.

        The object of the key `after` may have been deleted.
        """
        # The times of the files come from the same clock.
        listed_at = datetime.now(UTC)
        files = list(
            islice(walk(self._container_folder(container), prefix, after=after or ""), limit + 1)
        )
        objects = tuple(
            self._stored_object(
                container, file.key, file.path, file.status, appeared_ns=file.appeared_ns
            )
            for file in files[:limit]
        )
        next_after = objects[-1].reference.key if len(files) > limit else None
        return ObjectPage(objects, next_after, listed_at)

    @contextmanager
    def local_path(self, container: str, key: str, *, etag: str | None = None) -> Iterator[Path]:
        """Open a context that gives the path of the object's file in the store. Do not write to it.

        Objects of the same folder are beside it under their own names, as GDAL expects of sidecars.
        Raises SourceNotFound: there is no such object. Conflict: the object has another etag.
        """
        _check_etag(container, key, self.stat(container, key).reference.etag, etag)
        yield self._path(container, key)

    @contextmanager
    def open(self, container: str, key: str, *, etag: str | None = None) -> Iterator[BinaryIO]:
        """Open the object's file.

        Only opening can raise Conflict: a put replaces the file, and does not change the open one.
        Raises SourceNotFound: there is no such object. Conflict: the object has another etag.
        """
        path = self._path(container, key)
        with os_errors(_label(container, key), reading=True):
            stream = path.open("rb")
        with stream:
            _check_etag(container, key, _etag(os.fstat(stream.fileno())), etag)
            yield stream

    def read_bytes(self, container: str, key: str) -> bytes:
        """Return the content of an object. Raises SourceNotFound: there is no such object."""
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
        """Store a file under a key, atomically.

        With `move` the file is renamed into the store if both are on one file system; otherwise it
        is copied and deleted. `only_if_etag` is the etag that the object must have now: "" if there
        must be no object yet, None for any.
        Raises Conflict: the object has another etag, the file changed while it was copied, or a
        folder has the key's name. SourceNotFound: there is no file `path`. SourceUnreadable: it is
        not a regular file.
        """
        destination = self._path(container, key)
        with self._incoming(_label(container, key)) as incoming:
            with os_errors(f"The file {path.name!r}"):
                _check_regular(path)
                was_renamed = move and _try_rename(path, incoming)
            if not was_renamed:
                _copy(path, incoming)
            try:
                stored = self._publish_if_etag(
                    container,
                    key,
                    incoming,
                    destination,
                    metadata=metadata,
                    only_if_etag=only_if_etag,
                )
            except BaseException:
                # Put the file back, so that the caller can try again.
                if was_renamed and incoming.exists():
                    incoming.rename(path)
                raise
        if move and not was_renamed:
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
        """Store a small object, atomically. `only_if_etag` is as in `put_file`.

        Raises Conflict: the object has another etag, or a folder has the key's name.
        """
        destination = self._path(container, key)
        with self._incoming(_label(container, key)) as incoming:
            incoming.write_bytes(content)
            return self._publish_if_etag(
                container, key, incoming, destination, metadata=metadata, only_if_etag=only_if_etag
            )

    def delete(self, container: str, key: str) -> None:
        """Delete an object and its metadata. Do nothing if there is no such object."""
        path = self._path(container, key)
        with os_errors(_label(container, key)), self._lock(container, key):
            if path.is_file():
                path.unlink(missing_ok=True)
                metadata_path(self.root, container, key).unlink(missing_ok=True)

    def move(
        self, container: str, key: str, to_container: str, *, etag: str, metadata: Mapping[str, str]
    ) -> StoredObject:
        """Move an object to another container by one rename, and set its mtime to now.

        A symbolic link's target, and a file on another file system, are copied instead. A rename
        keeps the etag, and the new mtime changes it. So the metadata is written for the old etag
        before the rename, and for the new etag before the mtime is set.
        Raises SourceNotFound: there is no such object. Conflict: the object does not have the etag
        `etag`. ParameterInvalid: both containers are the same.
        """
        check_move(container, to_container)
        source, destination = self._path(container, key), self._path(to_container, key)
        with self._locks((container, key), (to_container, key)), os_errors(_label(container, key)):
            _check_etag(container, key, self.stat(container, key).reference.etag, etag)
            ensure_folder(self._container_folder(to_container))
            if (
                source.is_symlink()
                or source.stat().st_dev != self._container_folder(to_container).stat().st_dev
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
                self._prepare_file(container, incoming),
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

    def _publish_if_etag(
        self,
        container: str,
        key: str,
        incoming: Path,
        destination: Path,
        *,
        metadata: Mapping[str, str],
        only_if_etag: str | None,
    ) -> StoredObject:
        status = self._prepare_file(container, incoming)
        with self._lock(container, key):
            current = _file_etag_or_empty(destination)
            if only_if_etag is not None and current != only_if_etag:
                raise Conflict(
                    f"{_label(container, key)} is at etag {current or 'none'}, "
                    f"not at {only_if_etag or 'none'}.",
                    remedy="Another run wrote the object meanwhile. Submit the job again.",
                )
            return self._publish(container, key, incoming, status, destination, metadata)

    def _prepare_file(self, container: str, incoming: Path) -> os.stat_result:
        """Set the mtime to now, flush the file to disk, and create the container's folder."""
        now_ns = time.time_ns()
        os.utime(incoming, ns=(now_ns, now_ns))
        make_durable(incoming)
        ensure_folder(self._container_folder(container))
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
        """Rename an incoming file to its destination. The caller holds the lock of the key.

        The metadata file is written first, and keeps the current object's metadata. If the process
        is killed before the rename, the current object still finds its metadata.
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
        """Hold the locks of several objects. A fixed order of locking prevents deadlocks.

        If two objects share a lock file, it is locked once.
        """
        with ExitStack() as stack:
            for name in sorted({_lock_name(container, key) for container, key in objects}):
                stack.enter_context(process_lock(self.root / ".locks" / name))
            yield

    def _container_folder(self, container: str) -> Path:
        return self.root / check_container(container)

    def _path(self, container: str, key: str) -> Path:
        return path_inside(self._container_folder(container), key)

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


def _check_etag(container: str, key: str, current: str, expected: str | None) -> None:
    if expected not in (None, current):
        raise Conflict(
            f"{_label(container, key)} is at etag {current}, not at {expected}.",
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


def _try_rename(path: Path, incoming: Path) -> bool:
    """Rename the file to `incoming`, and return whether it was renamed.

    A symbolic link, and a file on another file system, are not renamed.
    """
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
            remedy="Wait until the file is complete, then submit it again.",
        )
