"""A cache of downloaded objects: the stages of a run open the same source several times.

A file is cached by etag until the process ends or the store is closed. Beyond a size limit the
least recently used file is removed. The folder of a killed process is swept with the rest of
scratch.
"""

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

from geo_platform.storage.local.atomic import os_errors
from geo_platform.storage.local.scratch import ScratchRoot

KEPT_BYTES = 4 * 1024**3

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
    """The cached files of one process. Safe among threads: one downloads, the others wait."""

    def __init__(self, scratch: Path | None = None, *, kept_bytes: int = KEPT_BYTES) -> None:
        self._scratch = scratch or Path(tempfile.gettempdir())
        self._kept_bytes = kept_bytes
        self._files: OrderedDict[ObjectVersion, _CachedFile] = OrderedDict()
        self._lock = Lock()
        self._folder: Path | None = None

    @contextmanager
    def file(self, version: ObjectVersion, fetch: Callable[[Path], None]) -> Iterator[Path]:
        """Open a context that gives the object's file. If it is not cached, `fetch` writes it.

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
        """Remove every file, also those in use."""
        with self._lock:
            self._files.clear()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _acquire(self, version: ObjectVersion) -> _CachedFile:
        with self._lock:
            if version not in self._files:
                self._files[version] = _CachedFile(
                    self._own_folder() / f"{len(self._files)}-{os.urandom(8).hex()}"
                )
            cached = self._files[version]
            cached.users += 1
            self._files.move_to_end(version)
            return cached

    def _release(self, cached: _CachedFile) -> None:
        with self._lock:
            cached.users -= 1
            excess_bytes = sum(each.size_bytes for each in self._files.values()) - self._kept_bytes
            for version, each in list(self._files.items()):
                if excess_bytes > 0 and not each.users:
                    excess_bytes -= each.size_bytes
                    each.path.unlink(missing_ok=True)
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

    def _own_folder(self) -> Path:
        if self._folder is None:
            self._folder = ScratchRoot(self._scratch).of_process("downloads")
            weakref.finalize(self, _remove, self._folder, os.getpid())
        return self._folder


def _remove(folder: Path, owner: int) -> None:
    # A forked process runs this too, but the files belong to its parent.
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
