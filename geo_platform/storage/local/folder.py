"""The object store on a local folder: containers are folders, keys are paths, a put is one rename.

What belongs here: the ObjectStore port. What stays out: how bytes become durable (`atomic.py`), which names are good
(`keys.py`), what an object's metadata is written like (`sidecar.py`), which files are objects (`folder_walk.py`).

    <root>/bronze/…  silver/…  quarantine/…  messages/…     objects, readable by any program
    <root>/.metadata/<container>/<key>.json                 their metadata, by etag
    <root>/.incoming/…                                      what is being written; never listed
    <root>/.locks/…                                         one of 256 locks a key

The etag is a hash of inode, mtime in nanoseconds and size: any rewrite changes it, a copy of the folder to another
disk changes all of them, a move within one disk none. A put gives the object the present time, so two rewrites within
one tick of the file system's clock differ too.

An object's metadata, in a file of its own that names the etag it belongs to.

What belongs here: where it lies, how it is written and read. What stays out: objects.

Object and metadata are two files, and a process may be killed between writing them. So the sidecar is written first
and holds both etags: of the object that is there and of the one about to replace it. Metadata whose etag is not the
object's is ignored, and the next write drops it.
"""

import hashlib
import json
import os
import shutil
import stat as file_modes
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from geo_platform.contracts.message import ObjectReference
from geo_platform.errors import Conflict, SourceNotFound, SourceUnreadable
from geo_platform.ports import ObjectPage, StoredObject
from geo_platform.storage.keys import check_container, check_other, path_inside
from geo_platform.storage.local.atomic import (
    clean_incoming,
    make_durable,
    new_incoming,
    os_errors,
    own_folder,
    process_lock,
    publish_file,
    write_atomically,
)
from geo_platform.storage.local.folder_walk import walk


def metadata_path(root: Path, container: str, key: str) -> Path:
    """`<root>/.metadata/<container>/<folder>/<name>.json`; a folder whose name could be a sidecar's gets an `@` at its end."""
    *folders, name = key.split("/")
    apart = [f"{folder}@" if folder.endswith((".json", "@")) else folder for folder in folders]
    return root.joinpath(".metadata", container, *apart) / f"{name}.json"


def read_metadata(root: Path, container: str, key: str, *, etag: str) -> dict[str, str]:
    """Metadata of the object at `etag`; empty where none was written, or for another one. Raises OSError."""
    return _records(metadata_path(root, container, key)).get(etag, {})


def write_metadata(
    root: Path, container: str, key: str, *, keep: str, etag: str, metadata: Mapping[str, str]
) -> None:
    """Record metadata of the object about to be published, and keep what `keep`, the present one, has. Raises OSError.

    Where there is nothing to say, and nothing was said before, nothing is written.
    """
    path = metadata_path(root, container, key)
    if not metadata and not path.exists():
        return
    records = {known: record for known, record in _records(path).items() if known == keep}
    records[etag] = dict(metadata)
    document = {"key": key, "metadata_by_etag": records}
    write_atomically(root, path, json.dumps(document, ensure_ascii=False, indent=1).encode())


def _records(path: Path) -> dict[str, dict[str, str]]:
    try:
        document: Any = json.loads(path.read_bytes())
        by_etag = document["metadata_by_etag"]
        return {
            etag: {name: str(value) for name, value in record.items()}
            for etag, record in by_etag.items()
        }
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # metadata is a convenience: an object whose sidecar is damaged is still an object


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
        for found in walk(self._base(container), prefix):
            yield self._described(
                container, found.key, found.path, found.status, appeared_ns=found.appeared_ns
            )

    def page(
        self, container: str, prefix: str = "", *, after: str | None = None, most: int = 5000
    ) -> ObjectPage:
        """As `list`; `after` is the last key of the page before, whether or not that object is still there."""
        at = datetime.now(UTC)  # the clock of this machine is that of its disks
        found = list(islice(walk(self._base(container), prefix, after=after or ""), most + 1))
        objects = tuple(
            self._described(container, one.key, one.path, one.status, appeared_ns=one.appeared_ns)
            for one in found[:most]
        )
        return ObjectPage(objects, objects[-1].reference.key if len(found) > most else None, at)

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
        self,
        container: str,
        key: str,
        path: Path,
        *,
        metadata: Mapping[str, str],
        move: bool = False,
        only_if_etag: str | None = None,
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
                stored = self._commit(
                    container,
                    key,
                    incoming,
                    destination,
                    metadata=metadata,
                    only_if_etag=only_if_etag,
                )
            except BaseException:
                if (
                    taken and incoming.exists()
                ):  # a put that failed may be tried again, so its file must be there again
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
        """Publish a small object, atomically."""
        destination = self._path(container, key)
        with self._incoming(_named(container, key)) as incoming:
            incoming.write_bytes(content)
            return self._commit(
                container, key, incoming, destination, metadata=metadata, only_if_etag=only_if_etag
            )

    def delete(self, container: str, key: str) -> None:
        """Remove an object and its metadata; one that is not there is no error."""
        path = self._path(container, key)
        with os_errors(_named(container, key)), self._lock(container, key):
            if path.is_file():  # under a file or on a folder there is no object
                path.unlink(missing_ok=True)
                metadata_path(self.root, container, key).unlink(missing_ok=True)

    def move(
        self, container: str, key: str, to_container: str, *, etag: str, metadata: Mapping[str, str]
    ) -> StoredObject:
        """One rename, and the present time: nothing is copied but what a link leads to, or what lies on another file system.

        Its metadata are there before the object is, for the etag that it brings and for the one that it gets.
        """
        check_other(container, to_container)
        source, destination = self._path(container, key), self._path(to_container, key)
        with self._locks((container, key), (to_container, key)), os_errors(_named(container, key)):
            _check_etag(container, key, self.stat(container, key).reference.etag, etag)
            own_folder(self._base(to_container))
            if (
                source.is_symlink()
                or source.stat().st_dev != self._base(to_container).stat().st_dev
            ):
                self._copy_over(source, destination, to_container, key, metadata)
            else:
                write_metadata(
                    self.root,
                    to_container,
                    key,
                    keep=_etag_or_empty(destination),
                    etag=etag,
                    metadata=metadata,
                )
                publish_file(source, destination)
                self._renew(destination, to_container, key, etag, metadata)
            make_durable(source.parent)
            metadata_path(self.root, container, key).unlink(missing_ok=True)
            return self.stat(to_container, key)

    def _copy_over(
        self, source: Path, destination: Path, container: str, key: str, metadata: Mapping[str, str]
    ) -> None:
        with self._incoming(_named(container, key)) as incoming:
            _copy(source, incoming)
            self._publish(
                container, key, incoming, self._finished(container, incoming), destination, metadata
            )
        source.unlink()

    def _renew(
        self, path: Path, container: str, key: str, etag: str, metadata: Mapping[str, str]
    ) -> None:
        """The present time, and with it a new etag, for a file that lies in its place."""
        status, now_ns = path.stat(), time.time_ns()
        renewed = _etag_of(status.st_ino, now_ns, status.st_size)
        write_metadata(self.root, container, key, keep=etag, etag=renewed, metadata=metadata)
        os.utime(path, ns=(now_ns, now_ns))
        make_durable(path)

    def _commit(
        self,
        container: str,
        key: str,
        incoming: Path,
        destination: Path,
        *,
        metadata: Mapping[str, str],
        only_if_etag: str | None,
    ) -> StoredObject:
        finished = self._finished(container, incoming)
        with self._lock(container, key):
            present = _etag_or_empty(destination)
            if only_if_etag is not None and present != only_if_etag:
                raise Conflict(
                    f"{_named(container, key)} is at etag {present or 'none'}, not at {only_if_etag or 'none'}.",
                    remedy="Another run wrote it in the meantime; submit again.",
                )
            return self._publish(container, key, incoming, finished, destination, metadata)

    def _finished(self, container: str, incoming: Path) -> os.stat_result:
        """On the disk, at the present time, with a container to go to."""
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
        finished: os.stat_result,
        destination: Path,
        metadata: Mapping[str, str],
    ) -> StoredObject:
        """By whoever holds the key's lock. Metadata first, for both etags: whichever object a kill leaves there, its own is found."""
        write_metadata(
            self.root,
            container,
            key,
            keep=_etag_or_empty(destination),
            etag=_etag(finished),
            metadata=metadata,
        )
        publish_file(incoming, destination)
        return self._described(container, key, destination, finished)

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
        """Of several objects, in one order for everybody, each once: two objects may share a lock."""
        with ExitStack() as held:
            for name in sorted({_lock_name(container, key) for container, key in objects}):
                held.enter_context(process_lock(self.root / ".locks" / name))
            yield

    def _base(self, container: str) -> Path:
        return self.root / check_container(container)

    def _path(self, container: str, key: str) -> Path:
        return path_inside(self._base(container), key)

    def _described(
        self,
        container: str,
        key: str,
        path: Path,
        status: os.stat_result,
        *,
        appeared_ns: int | None = None,
    ) -> StoredObject:
        if not file_modes.S_ISREG(status.st_mode):
            raise SourceNotFound(f"{_named(container, key)} is not a file.")
        etag = _etag(status)
        reference = ObjectReference(
            container=container, key=key, uri=path.as_uri(), etag=etag, size_bytes=status.st_size
        )
        modified = datetime.fromtimestamp(status.st_mtime_ns / 1e9, UTC)
        appeared = datetime.fromtimestamp((appeared_ns or status.st_ctime_ns) / 1e9, UTC)
        return StoredObject(
            reference, modified, read_metadata(self.root, container, key, etag=etag), appeared
        )


def _named(container: str, key: str) -> str:
    return f"The object {container}/{key}"


def _check_etag(container: str, key: str, present: str, wanted: str | None) -> None:
    if wanted not in (None, present):
        raise Conflict(
            f"{_named(container, key)} is at etag {present}, not at {wanted}.",
            remedy="Submit it again.",
        )


def _etag(status: os.stat_result) -> str:
    return _etag_of(status.st_ino, status.st_mtime_ns, status.st_size)


def _etag_of(inode: int, modified_ns: int, size_bytes: int) -> str:
    return hashlib.sha256(f"{inode}-{modified_ns}-{size_bytes}".encode()).hexdigest()[:32]


def _lock_name(container: str, key: str) -> str:
    return hashlib.sha256(f"{container}/{key}".encode()).hexdigest()[:2]


def _etag_or_empty(path: Path) -> str:
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
            f"The file {path.name!r} changed while it was copied.",
            remedy="Wait until it is written completely, then submit it.",
        )
