"""Write files atomically, lock among processes, and translate OSError, for stores in local folders.

An incoming file is a file that is being written: `<root>/.incoming/<machine>-<process>-<random>`.
It is on the file system of its destination, and complete when it is renamed to its destination. Its
name shows which process writes it, so that files of killed processes can be removed.

Used throughout the application.
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

# The age at which a temporary file counts as abandoned if its process cannot be looked up, because
# it ran on another machine or before this machine was booted.
ABANDONED_AFTER_S = 24 * 3600

_INCOMING_NAME = re.compile(r"^(?P<machine>[0-9a-f]{8})-(?P<process>\d+\.\d+)-[0-9a-f]{32}$")
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP}
_NAME_TAKEN = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY}


@contextmanager
def os_errors(what: str, *, reading: bool = False) -> Iterator[None]:
    """Translate an OSError of the block. `what` is the subject of the message.

    Raises SourceNotFound: there is no such file, or with `reading` a folder has its name.
    StoreDenied: there is no permission. Conflict: a folder has the file's name, or a file has the
    name of its folder. ParameterInvalid: the name is too long. StoreUnavailable: any other OSError.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise SourceNotFound(f"{what} was not found.") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in _DENIED:
            raise StoreDenied(f"{what} cannot be used: {reason}.") from error
        if error.errno in _NAME_TAKEN and reading:
            raise SourceNotFound(f"{what} was not found.") from error
        if error.errno in _NAME_TAKEN:
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


def ensure_folder(path: Path) -> Path:
    """Create a folder of the platform if it is missing, and return its path.

    A separate function from `os_errors`: an error of this folder is not an error of the source.
    Raises StoreDenied: a file has the folder's name, or there is no permission. StoreUnavailable:
    any other OSError.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in _NAME_TAKEN:
            raise StoreDenied(
                f"The folder {path} cannot be created: a file has that name.",
                remedy="Rename or remove that file.",
            ) from error
        if error.errno in _DENIED:
            raise StoreDenied(f"The folder {path} cannot be used: {reason}.") from error
        raise StoreUnavailable(f"The folder {path} cannot be created: {reason}.") from error
    return path


def new_incoming(root: Path) -> Path:
    """Return the path of a new incoming file, and create the folder `<root>/.incoming`.

    Raises StoreDenied, StoreUnavailable: the folder cannot be created.
    """
    return (
        ensure_folder(root / ".incoming") / f"{this_machine()}-{this_process()}-{uuid.uuid4().hex}"
    )


def make_durable(path: Path) -> None:
    """Flush a file's content, or a folder's entries, to disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish_file(incoming: Path, destination: Path) -> None:
    """Rename an incoming file to its destination, and create the destination's folders.

    The content must be durable already (`make_durable`). A file at the destination is replaced.
    Raises OSError.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    incoming.replace(destination)
    make_durable(destination.parent)


def write_atomically(
    root: Path, destination: Path, content: bytes, *, modified_ns: int | None = None
) -> None:
    """Write a small file, such as metadata or a catalog document, and replace an older one.

    The file's mtime is `modified_ns`, or now if None.
    Raises OSError: the file cannot be written. StoreDenied, StoreUnavailable: the folder for
    incoming files cannot be created.
    """
    incoming = new_incoming(root)
    try:
        with incoming.open("wb") as file:
            file.write(content)
            file.flush()
            # The file system's own clock is coarse: two writes could get the same mtime.
            written_ns = time.time_ns() if modified_ns is None else modified_ns
            os.utime(file.fileno(), ns=(written_ns, written_ns))
            os.fsync(file.fileno())
        publish_file(incoming, destination)
    finally:
        incoming.unlink(missing_ok=True)


@contextmanager
def process_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock among the processes and threads of this machine.

    Wait until the lock is free. The system releases it if the process is killed.
    Raises OSError: the file cannot be locked. StoreDenied, StoreUnavailable: its folder cannot be
    created.
    """
    ensure_folder(path.parent)
    with path.open("ab") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        yield


@contextmanager
def process_lock_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock of `process_lock` and yield True; yield False if another holds it.

    Raises as `process_lock` does.
    """
    ensure_folder(path.parent)
    with path.open("ab") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_held = False
        else:
            is_held = True
        yield is_held


def clean_incoming(root: Path) -> int:
    """Remove the abandoned incoming files, and return how many files were removed."""
    removed = 0
    for path in abandoned_incoming(root):
        with suppress(OSError):
            path.unlink()
            removed += 1
    return removed


def abandoned_incoming(root: Path) -> Iterator[Path]:
    """Yield the incoming files of processes that no longer run.

    Files of other machines count if they are older than a day. Raises OSError: the folder cannot be
    read.
    """
    with suppress(FileNotFoundError), os.scandir(root / ".incoming") as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_file(follow_symlinks=False) and _is_abandoned(entry):
                    yield Path(entry.path)


def _is_abandoned(entry: os.DirEntry[str]) -> bool:
    match = _INCOMING_NAME.match(entry.name)
    if match and match["machine"] == this_machine():
        return not is_alive(match["process"])
    # The age is that of the ctime: a file that was moved to this folder keeps its mtime.
    return time.time() - entry.stat(follow_symlinks=False).st_ctime > ABANDONED_AFTER_S
