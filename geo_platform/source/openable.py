"""A checked source that a driver may open, as a path or as streams.

This is a separate module so that readers of rasters and vectors do not import detection and archive
code.

Used by `raster`, `source`, `vector/sources` and `vector`.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from threading import Lock
from typing import BinaryIO

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
