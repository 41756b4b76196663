"""A source that passed the door: what a driver may be given."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from threading import Lock
from typing import BinaryIO

from geo_platform.contracts.arrival import SourceFormat


@dataclass(frozen=True)
class RangedFile:
    """A file that lies in the store and is read there: its length, and a seekable stream that fetches what is read of it.

    All who read it share the stream, one at a time.
    """

    size_bytes: int
    stream: BinaryIO
    lock: AbstractContextManager[object] = field(default_factory=Lock)


@dataclass(frozen=True)
class OpenableSource:
    """`gdal_path` was composed by the platform (an absolute path or /vsizip/{…}/member), never taken from a user.

    `display_name` is the object's own name: data for messages. Where `ranged` holds files, `gdal_path` is no file of this
    machine: its folder is these files by name, and only a driver that is given them can open it (`raster/open.py`).
    """

    gdal_path: str
    format: SourceFormat
    display_name: str
    ranged: Mapping[str, RangedFile] = field(default_factory=dict)
