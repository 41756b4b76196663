"""Atomic writes, locks among processes, and OSError translation for stores in local folders.

A file is written as `<root>/.incoming/<machine>-<process>-<random>`, on the file system of its
destination, and then renamed. The name tells a write in progress from the leftover of a killed
process.
"""

import errno
import fcntl
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from geo_platform.errors import (
    Conflict,
    ParameterInvalid,
    SourceNotFound,
    StoreDenied,
    StoreUnavailable,
)
from geo_platform.storage.local.process import is_alive, this_machine, this_process

# The age at which a file counts as left over if its writer cannot be looked up: it belongs to
# another machine, or to an earlier boot of this one.
ABANDONED_AFTER_S = 24 * 3600

_INCOMING_NAME = re.compile(r"^(?P<machine>[0-9a-f]{8})-(?P<process>\d+\.\d+)-[0-9a-f]{32}$")
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP}
_IN_THE_WAY = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY}


@contextmanager
def os_errors(what: str, *, reading: bool = False) -> Iterator[None]:
    """Translate an OSError of the block. `what` is the subject of the message.

    Raises SourceNotFound: no such file, or with `reading` a folder. StoreDenied: no permission.
    Conflict: a file or folder is in the way. ParameterInvalid: the name is too long.
    StoreUnavailable: anything else.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise SourceNotFound(f"{what} was not found.") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in _DENIED:
            raise StoreDenied(f"{what} cannot be used: {reason}.") from error
        if error.errno in _IN_THE_WAY and reading:
            raise SourceNotFound(f"{what} was not found.") from error
        if error.errno in _IN_THE_WAY:
            raise Conflict(
                f"{what} is a folder, or a part of its path is a file.",
                remedy="Choose another name.",
            ) from error
        if error.errno == errno.ENAMETOOLONG:
            raise ParameterInvalid(
                f"{what} has too long a name for this file system.", remedy="Choose a shorter name."
            ) from error
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StoreUnavailable(
                f"{what} could not be written: {reason}.",
                remedy="Free space in the store's folder.",
            ) from error
        raise StoreUnavailable(f"{what} could not be read or written: {reason}.") from error


def own_folder(path: Path) -> Path:
    """Create a folder of the platform if it is missing, and return it.

    Unlike `os_errors`, its errors do not blame the source that is being worked on.
    Raises StoreDenied: a file has its name, or there is no permission. StoreUnavailable.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in _IN_THE_WAY:
            raise StoreDenied(
                f"The folder {path} cannot be created: a file is in its place.",
                remedy="Move that file away.",
            ) from error
        if error.errno in _DENIED:
            raise StoreDenied(f"The folder {path} cannot be used: {reason}.") from error
        raise StoreUnavailable(f"The folder {path} cannot be created: {reason}.") from error
    return path


def new_incoming(root: Path) -> Path:
    """Return an unused path in `<root>/.incoming`, and create that folder.

    Raises StoreDenied, StoreUnavailable.
    """
    return own_folder(root / ".incoming") / f"{this_machine()}-{this_process()}-{uuid.uuid4().hex}"


def make_durable(path: Path) -> None:
    """Flush a file's content, or a folder's entries, to disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish_file(incoming: Path, destination: Path) -> None:
    """Rename a durable incoming file over its destination, creating folders. Raises OSError."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    incoming.replace(destination)
    make_durable(destination.parent)


def write_atomically(
    root: Path, destination: Path, content: bytes, *, modified_ns: int | None = None
) -> None:
    """Write a small file: a message, metadata or a catalog document.

    Its mtime is now, or `modified_ns`. Raises OSError, StoreDenied, StoreUnavailable.
    """
    incoming = new_incoming(root)
    try:
        with incoming.open("wb") as file:
            file.write(content)
            file.flush()
            # Finer than the file system's clock, so that the order of writes is the order of
            # mtimes.
            written_ns = time.time_ns() if modified_ns is None else modified_ns
            os.utime(file.fileno(), ns=(written_ns, written_ns))
            os.fsync(file.fileno())
        publish_file(incoming, destination)
    finally:
        incoming.unlink(missing_ok=True)


@contextmanager
def process_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock among processes and threads. The system frees it if the holder dies.

    Raises OSError, StoreDenied, StoreUnavailable.
    """
    own_folder(path.parent)
    with path.open("ab") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        yield


def clean_incoming(root: Path) -> int:
    """Remove the incoming files of processes that no longer run, and return how many."""
    removed = 0
    for path in abandoned_incoming(root):
        with suppress(OSError):
            path.unlink()
            removed += 1
    return removed


def abandoned_incoming(root: Path) -> Iterator[Path]:
    """Yield the incoming files of processes that no longer run."""
    with suppress(FileNotFoundError), os.scandir(root / ".incoming") as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_file(follow_symlinks=False) and _is_abandoned(entry):
                    yield Path(entry.path)


def _is_abandoned(entry: os.DirEntry[str]) -> bool:
    match = _INCOMING_NAME.match(entry.name)
    if match and match["machine"] == this_machine():
        return not is_alive(match["process"])
    # ctime, since a file that was moved in keeps its mtime.
    return time.time() - entry.stat(follow_symlinks=False).st_ctime > ABANDONED_AFTER_S
