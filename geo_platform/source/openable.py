"""A source that was checked and may be opened by a driver: its path or its streams.

A module of its own because readers of rasters and vectors need it without detection and archives.
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

    All readers share the stream; they hold `lock` while they read.
    """

    size_bytes: int
    stream: BinaryIO
    lock: AbstractContextManager[object] = field(default_factory=Lock)


@dataclass(frozen=True)
class OpenableSource:
    """A checked source: the path to open, its format, and its original name for messages.

    `gdal_path` is composed by the platform (an absolute path, or /vsizip/{…}/member), never by a
    user. If `ranged` holds files, `gdal_path` is not a local file: its folder consists of these
    files by name, and a driver opens it through them (`raster/open.py`).
    """

    gdal_path: str
    format: SourceFormat
    display_name: str
    ranged: Mapping[str, RangedFile] = field(default_factory=dict)
