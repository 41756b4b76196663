"""The files behind `FolderStore`: which files are objects, and where their metadata is.

    <root>/<container>/<key>                      the object
    <root>/.metadata/<container>/<key>.json       its metadata, by etag

An object and its metadata are two files, and a process may be killed between the two writes. So the
metadata file is written first, and holds both etags: of the current object and of the one that is
about to replace it. Metadata of another etag than the object's is ignored, and the next write drops
it.
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
class FoundFile:
    """A file that is an object. `appeared_ns` is when it appeared under its key, since 1970."""

    key: str
    path: Path
    status: os.stat_result
    appeared_ns: int


def walk(base: Path, prefix: str, *, after: str = "") -> Iterator[FoundFile]:
    """Yield the files whose key starts with `prefix` and is greater than `after`, in order of key.

    Folders that hold no such key are not entered. Skipped are hidden files, names that are not
    valid keys, links out of the container, and linked folders.
    Raises StoreDenied, StoreUnavailable: a folder cannot be read.
    """
    return _walk(base, base, "", prefix, after=after, folder_ns=0)


def _walk(
    base: Path, folder: Path, folder_key: str, prefix: str, *, after: str, folder_ns: int
) -> Iterator[FoundFile]:
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
                    base,
                    path,
                    inner,
                    prefix,
                    after=after,
                    folder_ns=max(folder_ns, _folder_moved_ns(path)),
                )
        elif key.startswith(prefix):
            status = _object_status(base, folder / name)
            if status is not None:
                # Nobody can set ctime, so it also shows when a file with an old mtime was moved in.
                appeared_ns = max(folder_ns, status.st_ctime_ns)
                yield FoundFile(key, folder / name, status, appeared_ns)


def _names_in_key_order(folder: Path) -> list[tuple[str, bool]]:
    """Return (name, is folder). A folder sorts as "name/", so that the walk is in order of key."""
    try:
        with os_errors(f"The folder {folder.name!r}"), os.scandir(folder) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    except SourceNotFound:  # nothing was stored yet, or the folder was removed meanwhile
        return []
    return sorted(found, key=lambda item: item[0] + "/" if item[1] else item[0])


def _folder_moved_ns(folder: Path) -> int:
    """Return when a folder was moved in, or 0 if it was not.

    Moving a folder leaves the times of its files as they are, but makes its own ctime later than
    its mtime. A change of permissions or of the mtime looks the same, so the result may be too
    late; it is never too early.
    """
    try:
        status = folder.stat()
    except FileNotFoundError:
        return 0
    return status.st_ctime_ns if status.st_ctime_ns > status.st_mtime_ns else 0


def _object_status(base: Path, path: Path) -> os.stat_result | None:
    if path.is_symlink() and not path.resolve().is_relative_to(base):
        return None
    try:
        status = path.stat()
    except FileNotFoundError:  # deleted meanwhile, or a dangling link
        return None
    return status if file_modes.S_ISREG(status.st_mode) else None


def metadata_path(root: Path, container: str, key: str) -> Path:
    """Return the path of an object's metadata file.

    A folder whose name could be that of a metadata file gets an `@` at its end.
    """
    *folders, name = key.split("/")
    unique = [f"{folder}@" if folder.endswith((".json", "@")) else folder for folder in folders]
    return root.joinpath(".metadata", container, *unique) / f"{name}.json"


def read_metadata(root: Path, container: str, key: str, *, etag: str) -> dict[str, str]:
    """Return the metadata of the object at `etag`, empty if none was written. Raises OSError."""
    return _metadata_by_etag(metadata_path(root, container, key)).get(etag, {})


def write_metadata(
    root: Path, container: str, key: str, *, keep: str, etag: str, metadata: Mapping[str, str]
) -> None:
    """Write the metadata of the object that is about to be published with `etag`.

    The metadata of the current object, at the etag `keep`, stays. Nothing is written if there is no
    metadata and no metadata file yet.
    Raises OSError.
    """
    path = metadata_path(root, container, key)
    if not metadata and not path.exists():
        return
    by_etag = {known: each for known, each in _metadata_by_etag(path).items() if known == keep}
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
