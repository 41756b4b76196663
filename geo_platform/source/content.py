"""One interface to the bytes of a local file, a stored object or an archive member.

The modules of `recognise/` detect the format of the bytes.

Used by `arrivals`, `source/recognise` and `source`.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast
from zipfile import ZipFile, ZipInfo

# Enough for the first members of a GeoJSON, the first rows of a CSV and the prolog of any XML.
# GDAL's drivers need fewer bytes to identify a file.
HEAD_BYTES = 256 * 1024

_COPY_BYTES = 1024 * 1024


class Content(Protocol):
    """The bytes of a file, an object or an archive member.

    `name` is the original name. It appears in messages, and is needed to detect CSV and SRTM HGT.
    """

    @property
    def name(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...

    @property
    def is_packed(self) -> bool:
        """Return whether the bytes are compressed, so that a seek must decompress them."""

    def open(self) -> AbstractContextManager[BinaryIO]:
        """Return a readable, seekable stream."""

    def as_file(self) -> AbstractContextManager[Path]:
        """Return a context with a local file of these bytes; an archive member is extracted."""


def head_of(content: Content) -> bytes:
    """Return the first HEAD_BYTES bytes, or all if the content is shorter."""
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
    """A stored object, read through one shared stream that downloads only what is read.

    Only one reader may use the content at a time. `download` returns the object as a local file,
    for libraries that need a file.
    """

    stream: BinaryIO
    size_bytes: int
    name: str
    download: Callable[[], AbstractContextManager[Path]]
    is_packed: bool = False

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        self.stream.seek(0)
        yield self.stream

    def as_file(self) -> AbstractContextManager[Path]:
        return self.download()


@dataclass(frozen=True)
class MemberContent:
    """A member of an open archive. The archive has been checked by `archive.py`."""

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
