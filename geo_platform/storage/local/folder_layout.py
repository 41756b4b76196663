"""List the files of a `FolderStore` that are objects, and read and write their metadata files.

    <root>/<container>/<key>                      the object
    <root>/.metadata/<container>/<key>.json       the metadata of the object, by etag

An object and its metadata are two files, and a process may be killed between the two writes. So the
metadata file is written first, and holds the metadata of two etags: that of the current object and
that of the object that is about to replace it. A reader uses the entry of the object's etag and
ignores the other one. The next write drops the ignored entry.

Called by `folder.py`.
"""

import json
import os
import stat as file_modes
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geo_platform.errors import SourceNotFound
from geo_platform.storage.keys import key_fault
from geo_platform.storage.local.atomic import os_errors, write_atomically


@dataclass(frozen=True)
class ObjectFile:
    """A file that is an object.

    `appeared_ns` is when it appeared under its key, in nanoseconds since 1970.
    """

    key: str
    path: Path
    status: os.stat_result
    appeared_ns: int


def walk(container_folder: Path, prefix: str, *, after: str = "") -> Iterator[ObjectFile]:
    """Yield the files whose key starts with `prefix` and is greater than `after`, in order of key.

    Skip folders that cannot hold such a key, hidden files, names that are not valid keys, symbolic
    links out of the container, and symbolic links to folders.
    Raises StoreDenied, StoreUnavailable: a folder cannot be read.
    """
    return _walk(container_folder, container_folder, "", prefix, after=after, folder_ns=0)


def _walk(
    container_folder: Path,
    folder: Path,
    folder_key: str,
    prefix: str,
    *,
    after: str,
    folder_ns: int,
) -> Iterator[ObjectFile]:
    for name, is_folder in _names_in_key_order(folder):
        key = folder_key + name
        inner = f"{key}/"
        is_before = inner < after and not after.startswith(inner) if is_folder else key <= after
        if is_before or key_fault(f"{key}/file" if is_folder else key) is not None:
            continue
        if is_folder:
            if inner.startswith(prefix) or prefix.startswith(inner):
                path = folder / name
                yield from _walk(
                    container_folder,
                    path,
                    inner,
                    prefix,
                    after=after,
                    folder_ns=max(folder_ns, _folder_moved_ns(path)),
                )
        elif key.startswith(prefix):
            status = _object_status(container_folder, folder / name)
            if status is not None:
                # A program cannot set the ctime. So the ctime shows when a file with an old mtime
                # was moved to this folder.
                appeared_ns = max(folder_ns, status.st_ctime_ns)
                yield ObjectFile(key, folder / name, status, appeared_ns)


def _names_in_key_order(folder: Path) -> list[tuple[str, bool]]:
    """Return (name, is folder) pairs, sorted by key. The key of a folder ends with a slash."""
    try:
        with os_errors(f"The folder {folder.name!r}"), os.scandir(folder) as entries:
            names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    except SourceNotFound:  # nothing was stored yet, or the folder was removed meanwhile
        return []
    return sorted(names, key=lambda item: item[0] + "/" if item[1] else item[0])


def _folder_moved_ns(folder: Path) -> int:
    """Return when a folder was moved to this place, in ns since 1970, or 0 if it was created here.

    Moving a folder does not change the times of its files, but makes the folder's ctime later than
    its mtime. A change of its permissions or its mtime has the same effect. So the result may be
    later than the move, but never earlier.
    """
    try:
        status = folder.stat()
    except FileNotFoundError:
        return 0
    return status.st_ctime_ns if status.st_ctime_ns > status.st_mtime_ns else 0


def _object_status(container_folder: Path, path: Path) -> os.stat_result | None:
    if path.is_symlink() and not path.resolve().is_relative_to(container_folder):
        return None
    try:
        status = path.stat()
    except FileNotFoundError:  # deleted meanwhile, or a dangling link
        return None
    return status if file_modes.S_ISREG(status.st_mode) else None


def metadata_path(root: Path, container: str, key: str) -> Path:
    """Return the path of an object's metadata file.

    A folder whose name ends with `.json` gets an `@` at its end there, since a metadata file could
    have the same name.
    """
    *folders, name = key.split("/")
    metadata_folders = [
        f"{folder}@" if folder.endswith((".json", "@")) else folder for folder in folders
    ]
    return root.joinpath(".metadata", container, *metadata_folders) / f"{name}.json"


def read_metadata(root: Path, container: str, key: str, *, etag: str) -> dict[str, str]:
    """Return the metadata of the object with this etag, or {} if it has none. Raises OSError."""
    return _metadata_by_etag(metadata_path(root, container, key)).get(etag, {})


def write_metadata(
    root: Path, container: str, key: str, *, keep: str, etag: str, metadata: Mapping[str, str]
) -> None:
    """Write the metadata of the object that is about to be published with `etag`.

    Keep the metadata of the current object, whose etag is `keep`. Write nothing if `metadata` is
    empty and there is no metadata file yet.
    Raises OSError: the file cannot be read or written. StoreDenied, StoreUnavailable: the folder
    for incoming files cannot be created.
    """
    path = metadata_path(root, container, key)
    if not metadata and not path.exists():
        return
    existing = _metadata_by_etag(path)
    by_etag = {keep: existing[keep]} if keep in existing else {}
    by_etag[etag] = dict(metadata)
    document = {"key": key, "metadata_by_etag": by_etag}
    write_atomically(root, path, json.dumps(document, ensure_ascii=False, indent=1).encode())


def _metadata_by_etag(path: Path) -> dict[str, dict[str, str]]:
    try:
        document: Any = json.loads(path.read_bytes())
        by_etag = document["metadata_by_etag"]
        return {
            etag: {name: str(value) for name, value in metadata.items()}
            for etag, metadata in by_etag.items()
        }
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # an object with a damaged metadata file is still an object
