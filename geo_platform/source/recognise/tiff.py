"""TIFF and BigTIFF: header, every directory, and the metadata that could lead GDAL to another file.

Rules from TIFF 6.0 (section 2) and the BigTIFF design. What stays out: reading pixels or georeferencing.
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.errors import SourceTruncated, SourceUnreadable
from geo_platform.source.content import Content
from geo_platform.source.recognise.metadata import refuse_references

_IMAGE_WIDTH, _IMAGE_LENGTH, _GDAL_METADATA = 256, 257, 42112
_MAX_DIRECTORIES = 1024
_MAX_ENTRIES_ALTOGETHER = 100_000
# In an archive each turn back unpacks from the member's beginning again.
_MAX_TURNS_BACK = 8
_MAX_METADATA_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class _Layout:
    """How numbers are written: byte order, and the widths of classic TIFF or BigTIFF."""

    order: str
    is_big: bool

    @property
    def count(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.is_big else "H"))

    @property
    def entry(self) -> struct.Struct:
        return struct.Struct(self.order + ("HHQQ" if self.is_big else "HHII"))

    @property
    def offset(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.is_big else "I"))


def tiff(content: Content, head: bytes) -> SourceFormat | None:
    """Raises SourceTruncated where a directory lies past the end, SourceUnreadable where one makes no sense."""
    layout = _layout_of(head)
    if layout is None:
        return None
    header_bytes = 16 if layout.is_big else 8
    if len(head) < header_bytes:
        raise SourceTruncated(f"{content.name!r} begins like a TIFF and ends inside its header.")
    first = layout.offset.unpack_from(head, header_bytes - layout.offset.size)[0]
    with content.open() as stream:
        _Directories(content, stream, layout).check(first)
    return SourceFormat.geotiff


def _layout_of(head: bytes) -> _Layout | None:
    layouts = {
        b"II*\0": ("<", False),
        b"MM\0*": (">", False),
        b"II+\0": ("<", True),
        b"MM\0+": (">", True),
    }
    found = layouts.get(head[:4])
    return _Layout(*found) if found else None


@dataclass
class _Directories:
    """A walk through the image file directories, with a budget: a hostile file may make each of them expensive."""

    content: Content
    stream: BinaryIO
    layout: _Layout
    entries_left: int = _MAX_ENTRIES_ALTOGETHER
    metadata_bytes_left: int = _MAX_METADATA_BYTES
    turns_back_left: int = _MAX_TURNS_BACK

    def check(self, first: int) -> None:
        seen: set[int] = set()
        offset = first
        while offset:
            if offset in seen:
                raise SourceUnreadable(
                    f"The directories of the TIFF {self.content.name!r} go round in a circle."
                )
            if len(seen) >= _MAX_DIRECTORIES:
                raise SourceUnreadable(
                    f"The TIFF {self.content.name!r} holds more than {_MAX_DIRECTORIES} images."
                )
            seen.add(offset)
            offset = self._check_one(offset, is_first=len(seen) == 1)
        if not seen:
            raise SourceUnreadable(f"The TIFF {self.content.name!r} holds no image.")

    def _check_one(self, offset: int, *, is_first: bool) -> int:
        """The offset of the next directory, 0 where this is the last."""
        layout = self.layout
        entries = layout.count.unpack(self._read(offset, layout.count.size))[0]
        self.entries_left -= entries
        if entries == 0 or self.entries_left < 0:
            raise SourceUnreadable(
                f"A directory of the TIFF {self.content.name!r} claims {entries} entries."
            )
        table = self._read(
            offset + layout.count.size, entries * layout.entry.size + layout.offset.size
        )
        found: dict[int, tuple[int, int]] = {}
        for index in range(entries):
            tag, _, count, value = layout.entry.unpack_from(table, index * layout.entry.size)
            found.setdefault(tag, (count, value))
        if is_first and not {_IMAGE_WIDTH, _IMAGE_LENGTH} <= found.keys():
            raise SourceUnreadable(
                f"The first directory of the TIFF {self.content.name!r} does not say how wide and high the image is."
            )
        count, value = found.get(_GDAL_METADATA, (0, 0))
        if count > layout.offset.size:
            self._check_metadata(value, count)
        return int(layout.offset.unpack_from(table, entries * layout.entry.size)[0])

    def _check_metadata(self, offset: int, count: int) -> None:
        self.metadata_bytes_left -= count
        if self.metadata_bytes_left < 0:
            raise SourceUnreadable(
                f"The GDAL metadata of the TIFF {self.content.name!r} is longer than {_MAX_METADATA_BYTES} bytes."
            )
        refuse_references(self._read(offset, count).rstrip(b"\0"), self.content.name)

    def _read(self, offset: int, count: int) -> bytes:
        if offset + count <= self.content.size_bytes:
            if self.content.is_packed and offset < self.stream.tell():
                self.turns_back_left -= 1
            if self.turns_back_left < 0:
                raise SourceUnreadable(
                    f"The TIFF {self.content.name!r} is too scattered to be read in place.",
                    remedy="Send it unpacked.",
                )
            self.stream.seek(offset)
            raw = self.stream.read(count)
            if len(raw) == count:
                return raw
        raise SourceTruncated(
            f"The TIFF {self.content.name!r} is {self.content.size_bytes} bytes long and points past its end."
        )
