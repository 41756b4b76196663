"""A checked source that a driver may open, as a path or as streams.

This is a separate module so that readers of rasters and vectors do not import detection and archive
code.

Used by `raster`, `source`, `vector/sources` and `vector`.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import BinaryIO
from zipfile import ZipFile

from geo_platform.contracts.arrival import SourceFormat


@dataclass(frozen=True)
class RangedFile:
    """A stored file that is read by ranges: its length and a seekable stream.

    All readers share the stream. A reader must hold `lock` while it seeks and reads.
    """

    size_bytes: int
    stream: BinaryIO
    lock: AbstractContextManager[object] = field(default_factory=Lock)


@dataclass(frozen=True)
class OpenableSource:
    """A checked source: the path to open, its format, and its original name for messages.

    `gdal_path` is composed by the platform (an absolute path, or /vsizip/{…}/member), never by a
    user. `driver_options` are options of the driver for this source. If `ranged` holds files,
    `gdal_path` is not a local file: `ranged` maps the names in the folder of `gdal_path` to remote
    files, which `raster/open.py` passes to the driver.
    """

    gdal_path: str
    format: SourceFormat
    display_name: str
    ranged: Mapping[str, RangedFile] = field(default_factory=dict)
    driver_options: Mapping[str, str] = field(default_factory=dict)

    def sidecar(self, suffix: str, max_bytes: int) -> bytes | None:
        """Return the first bytes of the sidecar whose suffix replaces the source's extension.

        Return None if there is none. Letter case of the suffix does not matter in an archive.
        """
        stem = self.gdal_path.rpartition(".")[0]
        if self.ranged:
            file = self.ranged.get(stem.rpartition("/")[2] + suffix)
            if file is None:
                return None
            with file.lock:
                file.stream.seek(0)
                return file.stream.read(max_bytes)
        archive, is_member, member_stem = stem.removeprefix("/vsizip/{").partition("}/")
        if not is_member:
            path = Path(stem + suffix)
            if not path.is_file():
                return None
            with path.open("rb") as sidecar:
                return sidecar.read(max_bytes)
        with ZipFile(archive) as zipped:
            wanted = (member_stem + suffix).casefold()
            name = next((name for name in zipped.namelist() if name.casefold() == wanted), None)
            if name is None:
                return None
            with zipped.open(name) as member:
                return member.read(max_bytes)
