"""Read stored objects: by ranges, or as downloaded files.

`RangeReader` is a file-like reader that fetches only the ranges that its caller reads. A random
read fetches little more than its range. Sequential reads fetch twice as much each time, up to a
limit: so a whole object takes few requests, and memory stays bounded.

`Downloads` keeps downloaded files by etag, because the stages of a run open the same source several
times. If the files exceed a size limit, the least recently used files are removed. The files are in
a scratch folder (`local/scratch.py`), so that a sweep removes those of a killed process.

Called by `blob.py`.
"""

import io
import os
import shutil
import tempfile
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from geo_platform.errors import StoreUnavailable
from geo_platform.storage.local.atomic import os_errors
from geo_platform.storage.local.scratch import ScratchRoot

MIN_FETCH_BYTES = 16 * 1024
# The largest fetch: up to this length Azure Blob Storage returns the MD5 of a range.
MAX_FETCH_BYTES = 4 * 1024**2

# Size limit of the ranges that a reader keeps. It fits the headers and directories of a file, which
# drivers read repeatedly, and the last blocks.
CACHED_RANGE_BYTES = 8 * 1024**2

# Takes offset and length, and returns exactly `length` bytes.
Fetch = Callable[[int, int], bytes]


class RangeReader(io.RawIOBase):
    """A seekable reader of one object. `read` returns fewer bytes than requested only at the end.

    Do not share a reader among threads. `fetched_bytes` counts the bytes that `fetch` returned.
    """

    def __init__(self, size_bytes: int, fetch: Fetch, name: str) -> None:
        super().__init__()
        self.size_bytes = size_bytes
        self.fetched_bytes = 0
        self._fetch = fetch
        self._name = name
        self._position = 0
        self._fetch_bytes = MIN_FETCH_BYTES
        self._fetched_up_to = -1
        self._kept_ranges: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size_bytes}[whence]
        if base + offset < 0:
            raise ValueError("the position is before the beginning")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Read `size` bytes, or all bytes up to the end if `size` is None or negative.

        Raises what `fetch` raises. StoreUnavailable: `fetch` returned another number of bytes.
        """
        available = max(self.size_bytes - self._position, 0)
        remaining = available if size is None or size < 0 else min(size, available)
        parts: list[bytes] = []
        while remaining > 0:
            part = self._read_cached(remaining) or self._fetch_range(remaining)
            parts.append(part)
            remaining -= len(part)
            self._position += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, buffer: Any) -> int:
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def _read_cached(self, max_bytes: int) -> bytes:
        for start, content in self._kept_ranges.items():
            if start <= self._position < start + len(content):
                self._kept_ranges.move_to_end(start)
                return content[self._position - start : self._position - start + max_bytes]
        return b""

    def _fetch_range(self, max_bytes: int) -> bytes:
        is_sequential = (
            0 <= self._fetched_up_to <= self._position <= self._fetched_up_to + MIN_FETCH_BYTES
        )
        self._fetch_bytes = (
            min(self._fetch_bytes * 2, MAX_FETCH_BYTES) if is_sequential else MIN_FETCH_BYTES
        )
        length = min(
            max(min(max_bytes, MAX_FETCH_BYTES), self._fetch_bytes),
            self.size_bytes - self._position,
        )
        content = self._fetch(self._position, length)
        if len(content) != length:
            raise StoreUnavailable(
                f"{self._name} returned {len(content)} bytes instead of {length}."
            )
        self.fetched_bytes += length
        self._fetched_up_to = self._position + length
        self._keep(self._position, content)
        return content[:max_bytes]

    def _keep(self, start: int, content: bytes) -> None:
        self._kept_ranges[start] = content
        while (
            sum(map(len, self._kept_ranges.values())) > CACHED_RANGE_BYTES
            and len(self._kept_ranges) > 1
        ):
            self._kept_ranges.popitem(last=False)


# Size limit of the downloaded files.
CACHED_FILE_BYTES = 4 * 1024**3

# Container, key, etag.
ObjectVersion = tuple[str, str, str]


@dataclass
class _CachedFile:
    path: Path
    users: int = 0
    lock: Lock = field(default_factory=Lock)

    @property
    def size_bytes(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0


class Downloads:
    """The downloaded files of a process.

    Threads may share it: if several need the same object, one downloads it and the others wait.
    """

    def __init__(self, scratch: Path | None = None, *, kept_bytes: int = CACHED_FILE_BYTES) -> None:
        self._scratch = scratch or Path(tempfile.gettempdir())
        self._kept_bytes = kept_bytes
        self._files: OrderedDict[ObjectVersion, _CachedFile] = OrderedDict()
        self._lock = Lock()
        self._folder: Path | None = None

    @contextmanager
    def file(self, version: ObjectVersion, fetch: Callable[[Path], None]) -> Iterator[Path]:
        """Open a context that gives the path of the file of an object's version.

        If the file does not exist yet, `fetch` is called with the path to write to.
        Raises what `fetch` raises. StoreDenied, StoreUnavailable: the disk cannot be written.
        """
        cached = self._acquire(version)
        try:
            with cached.lock:
                if not cached.path.exists():
                    self._fetch_atomically(cached.path, fetch)
            yield cached.path
        finally:
            self._release(cached)

    def close(self) -> None:
        """Remove every file, also the files in use."""
        with self._lock:
            self._files.clear()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _acquire(self, version: ObjectVersion) -> _CachedFile:
        with self._lock:
            if version not in self._files:
                self._files[version] = _CachedFile(
                    self._download_folder() / f"{len(self._files)}-{os.urandom(8).hex()}"
                )
            cached = self._files[version]
            cached.users += 1
            self._files.move_to_end(version)
            return cached

    def _release(self, cached: _CachedFile) -> None:
        with self._lock:
            cached.users -= 1
            excess_bytes = sum(file.size_bytes for file in self._files.values()) - self._kept_bytes
            for version, file in list(self._files.items()):
                if excess_bytes > 0 and not file.users:
                    excess_bytes -= file.size_bytes
                    file.path.unlink(missing_ok=True)
                    del self._files[version]

    @staticmethod
    def _fetch_atomically(path: Path, fetch: Callable[[Path], None]) -> None:
        partial = path.with_suffix(".partial")
        try:
            with os_errors("A downloaded object"):
                fetch(partial)
                partial.chmod(0o444)
                partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)

    def _download_folder(self) -> Path:
        if self._folder is None:
            self._folder = ScratchRoot(self._scratch).of_process("downloads")
            weakref.finalize(self, _remove, self._folder, os.getpid())
        return self._folder


def _remove(folder: Path, owner: int) -> None:
    # A forked process runs this finalizer too, but the files belong to its parent.
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
