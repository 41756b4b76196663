"""Whole or not at all: how the adapters on a local folder write, lock and translate what the system says.

What belongs here: incoming files, the rename that publishes them, locks among processes, OSError to the error tree.
What stays out: what is written and where, which each adapter decides.

Incoming files lie in `<root>/.incoming` on the same file system as their destination. Their name carries who writes
them, so that leftovers of a process that was killed are told from a write under way.
"""

import errno
import fcntl
import hashlib
import os
import re
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from geo_platform.errors import (
    Conflict,
    ParameterInvalid,
    SourceNotFound,
    StoreDenied,
    StoreUnavailable,
)
from geo_platform.storage.local.process import is_alive, this_process

# When a leftover is cleaned whose writer cannot be asked: of another machine, or of before a
# restart of this one.
ABANDONED_AFTER_S = 24 * 3600

_INCOMING_NAME = re.compile(r"^(?P<machine>[0-9a-f]{8})-(?P<process>\d+\.\d+)-[0-9a-f]{32}$")
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP}
_IN_THE_WAY = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY}


@contextmanager
def os_errors(what: str, *, reading: bool = False) -> Iterator[None]:
    """Translate an OSError met while working on `what`, which the message names. What is read and is no file is not there."""
    try:
        yield
    except FileNotFoundError as error:
        raise SourceNotFound(f"{what} was not found.") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in _DENIED:
            raise StoreDenied(f"{what} may not be used: {reason}.") from error
        if error.errno in _IN_THE_WAY and reading:
            raise SourceNotFound(f"{what} was not found.") from error
        if error.errno in _IN_THE_WAY:
            raise Conflict(
                f"{what} is a folder, or lies under a file.", remedy="Choose another name."
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
    """A folder that the platform itself needs, made where it is missing: what stands in its way is no matter of a source.

    Raises StoreDenied (a file is in its place, no right), StoreUnavailable.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in _IN_THE_WAY:
            raise StoreDenied(
                f"The folder {path} cannot be made: a file is in its place.",
                remedy="Put that file away.",
            ) from error
        if error.errno in _DENIED:
            raise StoreDenied(f"The folder {path} may not be used: {reason}.") from error
        raise StoreUnavailable(f"The folder {path} cannot be made: {reason}.") from error
    return path


def new_incoming(root: Path) -> Path:
    """A path in `<root>/.incoming` that nobody uses, its folder made."""
    return own_folder(root / ".incoming") / f"{this_machine()}-{this_process()}-{uuid.uuid4().hex}"


def make_durable(path: Path) -> None:
    """Bytes of a file, or names of a folder, on the disk before anything relies on them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish_file(incoming: Path, destination: Path) -> None:
    """Rename a durable incoming file over its destination; the folders are made."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    incoming.replace(destination)
    make_durable(destination.parent)


def write_atomically(
    root: Path, destination: Path, content: bytes, *, modified_ns: int | None = None
) -> None:
    """Small files: messages, metadata, catalog documents. Their time is the present one, or the one given."""
    incoming = new_incoming(root)
    try:
        with incoming.open("wb") as file:
            file.write(content)
            file.flush()
            # finer than the file system's clock, so that order of writing is order of mtime
            written_ns = time.time_ns() if modified_ns is None else modified_ns
            os.utime(file.fileno(), ns=(written_ns, written_ns))
            os.fsync(file.fileno())
        publish_file(incoming, destination)
    finally:
        incoming.unlink(missing_ok=True)


@contextmanager
def process_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock among processes and threads. The system frees it when its holder dies."""
    own_folder(path.parent)
    with path.open("ab") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        yield


def clean_incoming(root: Path) -> int:
    """Remove leftovers of dead writers and return how many. What a living process writes is never touched."""
    removed = 0
    for path in abandoned_incoming(root):
        with suppress(OSError):
            path.unlink()
            removed += 1
    return removed


def abandoned_incoming(root: Path) -> Iterator[Path]:
    """Leftovers of dead writers."""
    with suppress(FileNotFoundError), os.scandir(root / ".incoming") as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_file(follow_symlinks=False) and _is_abandoned(entry):
                    yield Path(entry.path)


def _is_abandoned(entry: os.DirEntry[str]) -> bool:
    match = _INCOMING_NAME.match(entry.name)
    if match and match["machine"] == this_machine():
        return not is_alive(match["process"])
    # ctime and not mtime: a file that was moved in keeps the mtime it was made with
    return time.time() - entry.stat(follow_symlinks=False).st_ctime > ABANDONED_AFTER_S


@cache
def this_machine() -> str:
    """8 hex digits for this boot of this machine and its process id namespace: inside them a process id can be asked after."""
    facts = [socket.gethostname()]
    with suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
    with suppress(OSError):
        facts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:8]
