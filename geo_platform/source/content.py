"""Bytes to look at, of a file, of an object in the store or of an archive member, without caring which.

What belongs here: bounded access to bytes. What stays out: what the bytes mean (`recognise/`).
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast
from zipfile import ZipFile, ZipInfo

# Enough for a GeoJSON's leading members, a CSV's first rows and the prolog of any XML; GDAL's
# drivers look at less.
HEAD_BYTES = 256 * 1024

_COPY_BYTES = 1024 * 1024


class Content(Protocol):
    """What a recogniser may read. `name` is the object's own: data for messages and, for a few formats, evidence."""

    @property
    def name(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...

    @property
    def is_packed(self) -> bool:
        """Whether going back or far ahead costs unpacking."""

    def open(self) -> AbstractContextManager[BinaryIO]:
        """A readable, seekable stream."""

    def as_file(self) -> AbstractContextManager[Path]:
        """A real file with these bytes while the context lasts; a member is unpacked into a temporary one."""


def head_of(content: Content) -> bytes:
    """The first HEAD_BYTES, or all of it where it is shorter."""
    with content.open() as stream:
        return stream.read(HEAD_BYTES)


@dataclass(frozen=True)
class FileContent:
    """A file of the local file system."""

    path: Path
    name: str
    is_packed: bool = False

    @property
    def size_bytes(self) -> int:
        return self.path.stat().st_size

    def open(self) -> AbstractContextManager[BinaryIO]:
        return self.path.open("rb")

    @contextmanager
    def as_file(self) -> Iterator[Path]:
        yield self.path


@dataclass(frozen=True)
class StoredContent:
    """An object of the store, read through one stream that fetches what is looked at: one reading at a time.

    `fetched` gives the object as a file, for what can only be read as one.
    """

    stream: BinaryIO
    size_bytes: int
    name: str
    fetched: Callable[[], AbstractContextManager[Path]]
    is_packed: bool = False

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        self.stream.seek(0)
        yield self.stream

    def as_file(self) -> AbstractContextManager[Path]:
        return self.fetched()


@dataclass(frozen=True)
class MemberContent:
    """A member of an open archive, already held to the limits of `archive.py`."""

    archive: ZipFile
    info: ZipInfo
    name: str
    is_packed: bool = True

    @property
    def size_bytes(self) -> int:
        return self.info.file_size

    def open(self) -> AbstractContextManager[BinaryIO]:
        return cast(AbstractContextManager[BinaryIO], self.archive.open(self.info))

    @contextmanager
    def as_file(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="geo-member-") as folder:
            path = Path(folder) / "member"
            with self.open() as member, path.open("wb") as file:
                while chunk := member.read(_COPY_BYTES):
                    file.write(chunk)
            yield path
