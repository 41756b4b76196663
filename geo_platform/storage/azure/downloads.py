"""Objects as local files, each fetched once: the stages of a run open the same source several times.

What belongs here: which files are kept, and for how long. What stays out: fetching them.

A file stays under its etag until the process ends or the store is closed, least recently used going first beyond a bound.
What a killed process leaves lies in a folder of its own in scratch and is swept with the rest of it.
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
class _Kept:
    path: Path
    users: int = 0
    lock: Lock = field(default_factory=Lock)

    @property
    def size_bytes(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0


class Downloads:
    """Files of one process. Safe among threads: one of them fetches, the others wait for it."""

    def __init__(self, scratch: Path | None = None, *, kept_bytes: int = KEPT_BYTES) -> None:
        self._scratch = scratch or Path(tempfile.gettempdir())
        self._kept_bytes = kept_bytes
        self._files: OrderedDict[ObjectVersion, _Kept] = OrderedDict()
        self._lock = Lock()
        self._folder: Path | None = None

    @contextmanager
    def file(self, version: ObjectVersion, fetch: Callable[[Path], None]) -> Iterator[Path]:
        """The object's file while the context lasts, fetched where it is not there. Raises what `fetch` raises, and the disk's faults."""
        kept = self._taken(version)
        try:
            with kept.lock:
                if not kept.path.exists():
                    self._fetched(kept.path, fetch)
            yield kept.path
        finally:
            self._given_back(kept)

    def close(self) -> None:
        """Remove every file; those in use too."""
        with self._lock:
            self._files.clear()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _taken(self, version: ObjectVersion) -> _Kept:
        with self._lock:
            if version not in self._files:
                self._files[version] = _Kept(
                    self._own_folder() / f"{len(self._files)}-{os.urandom(8).hex()}"
                )
            kept = self._files[version]
            kept.users += 1
            self._files.move_to_end(version)
            return kept

    def _given_back(self, kept: _Kept) -> None:
        with self._lock:
            kept.users -= 1
            left_bytes = sum(one.size_bytes for one in self._files.values()) - self._kept_bytes
            for version, one in list(self._files.items()):
                if left_bytes > 0 and not one.users:
                    left_bytes -= one.size_bytes
                    one.path.unlink(missing_ok=True)
                    del self._files[version]

    @staticmethod
    def _fetched(path: Path, fetch: Callable[[Path], None]) -> None:
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
    """Not in a process that was forked off: the files are its parent's."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
