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
_MAX_DIRECTORIES_PACKED = 64
_MAX_ENTRIES = 4096
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
        _check_directories(content, stream, layout, first)
    return SourceFormat.geotiff


def _layout_of(head: bytes) -> _Layout | None:
    layouts = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True), b"MM\0+": (">", True)}
    found = layouts.get(head[:4])
    return _Layout(*found) if found else None


def _check_directories(content: Content, stream: BinaryIO, layout: _Layout, first: int) -> None:
    limit = _MAX_DIRECTORIES_PACKED if content.is_packed else _MAX_DIRECTORIES
    seen: set[int] = set()
    offset = first
    while offset:
        if offset in seen:
            raise SourceUnreadable(f"The directories of the TIFF {content.name!r} go round in a circle.")
        if len(seen) >= limit:
            raise SourceUnreadable(f"The TIFF {content.name!r} holds more than {limit} images.")
        seen.add(offset)
        offset = _check_directory(content, stream, layout, offset, is_first=len(seen) == 1)
    if not seen:
        raise SourceUnreadable(f"The TIFF {content.name!r} holds no image.")


def _check_directory(content: Content, stream: BinaryIO, layout: _Layout, offset: int, *, is_first: bool) -> int:
    """The offset of the next directory, 0 where this is the last."""
    raw = _read(content, stream, offset, layout.count.size)
    entries = layout.count.unpack(raw)[0]
    if not 0 < entries <= _MAX_ENTRIES:
        raise SourceUnreadable(f"A directory of the TIFF {content.name!r} claims {entries} entries.")
    table = stream.read(entries * layout.entry.size + layout.offset.size)
    if len(table) < entries * layout.entry.size + layout.offset.size:
        raise _ends_early(content)
    found = [layout.entry.unpack_from(table, index * layout.entry.size) for index in range(entries)]
    if is_first and not {_IMAGE_WIDTH, _IMAGE_LENGTH} <= {tag for tag, *_ in found}:
        raise SourceUnreadable(f"The first directory of the TIFF {content.name!r} does not say how wide and high the image is.")
    for tag, _, count, value in found:
        if tag == _GDAL_METADATA and count > layout.offset.size:
            _check_metadata(content, stream, value, count)
    return int(layout.offset.unpack_from(table, entries * layout.entry.size)[0])


def _check_metadata(content: Content, stream: BinaryIO, offset: int, count: int) -> None:
    if count > _MAX_METADATA_BYTES:
        raise SourceUnreadable(f"The GDAL metadata of the TIFF {content.name!r} is {count} bytes long.")
    refuse_references(_read(content, stream, offset, count).rstrip(b"\0"), content.name)


def _read(content: Content, stream: BinaryIO, offset: int, count: int) -> bytes:
    if offset + count > content.size_bytes:
        raise _ends_early(content)
    stream.seek(offset)
    raw = stream.read(count)
    if len(raw) < count:
        raise _ends_early(content)
    return raw


def _ends_early(content: Content) -> SourceTruncated:
    return SourceTruncated(f"The TIFF {content.name!r} is {content.size_bytes} bytes long and points past its end.")
