"""Walking a container that is a folder, in the order of whole keys, from any key on.

What belongs here: which files are objects, their order, and since when they lie there. What stays out: objects (`folder.py`).

A file that is moved in keeps the time of its content, but not the time of its inode (ctime), which nobody can set. A folder that
is moved in leaves the files in it as they are; its own ctime is then later than its mtime, and counts for all that lies in it.
A change of rights or of a folder's mtime looks the same: that says too late a time, never too early a one.
"""

import os
import stat as file_modes
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from geo_platform.errors import SourceNotFound
from geo_platform.storage.keys import key_fault
from geo_platform.storage.local.atomic import os_errors


@dataclass(frozen=True)
class FoundFile:
    """A file that is an object. `appeared_ns` is since when it has lain there as it is, since 1970."""

    key: str
    path: Path
    status: os.stat_result
    appeared_ns: int


def walk(base: Path, prefix: str, *, after: str = "") -> Iterator[FoundFile]:
    """Files whose key starts with `prefix` and comes after `after`; folders that lie before it are not entered.

    Left out: hidden files, names that are no valid key, links that lead outside, linked folders.
    """
    return _walk(base, base, "", prefix, after=after, folder_ns=0)


def _walk(
    base: Path, folder: Path, folder_key: str, prefix: str, *, after: str, folder_ns: int
) -> Iterator[FoundFile]:
    for name, is_folder in _ordered(folder):
        key = folder_key + name
        inner = f"{key}/"
        lies_before = inner < after and not after.startswith(inner) if is_folder else key <= after
        if lies_before or key_fault(f"{key}/file" if is_folder else key) is not None:
            continue
        if is_folder:
            if inner.startswith(prefix) or prefix.startswith(inner):
                path = folder / name
                yield from _walk(
                    base,
                    path,
                    inner,
                    prefix,
                    after=after,
                    folder_ns=max(folder_ns, _moved_ns(path)),
                )
        elif key.startswith(prefix):
            status = _status(base, folder / name)
            if status is not None:
                yield FoundFile(key, folder / name, status, max(folder_ns, status.st_ctime_ns))


def _status(base: Path, path: Path) -> os.stat_result | None:
    if path.is_symlink() and not path.resolve().is_relative_to(base):
        return None
    try:
        status = path.stat()
    except FileNotFoundError:  # deleted, or a dangling link
        return None
    return status if file_modes.S_ISREG(status.st_mode) else None


def _moved_ns(folder: Path) -> int:
    try:
        status = folder.stat()
    except FileNotFoundError:
        return 0
    return status.st_ctime_ns if status.st_ctime_ns > status.st_mtime_ns else 0


def _ordered(folder: Path) -> list[tuple[str, bool]]:
    """(name, is folder) of one folder. A folder sorts with its slash, which makes the walk's order that of whole keys."""
    try:
        with os_errors(f"The folder {folder.name!r}"), os.scandir(folder) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    except SourceNotFound:  # nothing was put there yet, or it was removed while listing
        return []
    return sorted(found, key=lambda item: item[0] + "/" if item[1] else item[0])
