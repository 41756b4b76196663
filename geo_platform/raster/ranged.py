"""Files of the store as a folder that GDAL reads from, range by range.

What belongs here: the bridge to rasterio's virtual file systems. What stays out: fetching; that is the streams' matter.

GDAL calls back from C, where an exception cannot go up: what a stream raises is kept, GDAL is told that it read nothing,
and whoever opened the dataset raises what was kept. So a network's fault is never taken for a damaged file, nor for a
mask that is not there.
"""

import io
from collections.abc import Mapping
from typing import Any

from rasterio.abc import FileContainer

from geo_platform.source.openable import RangedFile

_TEXTS = (".wld", ".prj")


class RangedFolder(FileContainer):  # type: ignore[misc]
    """The files of one source by base name; whatever the folder is called, nothing else is in it, and nothing can be written."""

    def __init__(self, files: Mapping[str, RangedFile]) -> None:
        self._files = files
        self._faults: list[Exception] = []

    def raise_fault(self) -> None:
        """Raise what a stream raised first; nothing where all went well."""
        if self._faults:
            raise self._faults[0]

    def open(self, path: str, mode: str = "r", **_: Any) -> "_View":
        name = _base(path)
        if name not in self._files or mode.startswith(("w", "a")) or "+" in mode:
            raise FileNotFoundError(path)
        view = _TextView if name.endswith(_TEXTS) else _View
        return view(self._files[name], self._faults)

    def isfile(self, path: str) -> bool:
        return _base(path) in self._files

    def isdir(self, path: str) -> bool:
        return False

    def ls(self, path: str) -> list[str]:
        return sorted(self._files)

    def mtime(self, path: str) -> int:
        return 0

    def size(self, path: str) -> int:
        return self._files[_base(path)].size_bytes

    def rm(self, path: str) -> None:
        raise PermissionError(path)


class _View(io.RawIOBase):
    """One opening of a file: a position of its own over the stream that all openings share."""

    def __init__(self, file: RangedFile, faults: list[Exception]) -> None:
        super().__init__()
        self._file = file
        self._faults = faults
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size_bytes}[whence]
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        if self._faults:  # the rest of what GDAL tries would fail alike, each after its own time limit
            return b""
        try:
            with self._file.lock:
                self._file.stream.seek(self._position)
                content = self._file.stream.read(-1 if size is None else size)
        except Exception as fault:  # noqa: BLE001  # raised again by whoever opened the dataset
            self._faults.append(fault)
            return b""
        self._position += len(content)
        return content


class _TextView(_View):
    """A file that GDAL reads line by line, asking each time whether it is at its end.

    rasterio 1.4 answers that by reading one byte, and the wrong way round: a byte means the end. Nothing else reads one byte
    of such a file. See docs/decisions/0010-rasterio-end-of-file.md.
    """

    def read(self, size: int | None = -1) -> bytes:
        if size != 1:
            return super().read(size)
        if self._position < self._file.size_bytes:
            return b""
        self._position += 1  # rasterio goes back by the byte that it got
        return b"\n"


def _base(path: str) -> str:
    return path.rpartition("/")[2]
