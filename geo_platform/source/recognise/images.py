"""Recognise JPEG 2000, Erdas Imagine, PNG and JPEG by magic number, SRTM HGT by size and name.

Called by `content_format.py` and `source/driver_files.py`.
"""

import re
import struct
from typing import BinaryIO

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.errors import SourceTruncated, SourceUnreadable, UnsupportedFormat
from geo_platform.source.content import Content
from geo_platform.source.recognise.metadata import refuse_references

_JP2_SIGNATURE = bytes.fromhex("0000000c6a5020200d0a870a")
_J2K_SIGNATURE = bytes.fromhex("ff4fff51")
_PNG_SIGNATURE = bytes.fromhex("89504e470d0a1a0a0000000d49484452")
_PNG_SIGNATURE_BYTES = 8
# Enough for 4 GB: writers put 8 KiB and more into a chunk.
_MAX_PNG_CHUNKS = 500_000

_MAX_BOXES = 256
_MAX_XML_BYTES = 16 * 1024 * 1024

# N47E008.hgt, N47E008.SRTMGL1.hgt: the name of a tile is its georeference.
HGT_TILE = re.compile(r"([NS]\d{2}[EW]\d{3})(?:\.[^/]*)?\.hgt", re.IGNORECASE)

# 3", 1" and 1" x 2" tiles of big-endian int16: the sizes that GDAL's SRTMHGT driver accepts.
HGT_SIZES_BYTES = frozenset({1201 * 1201 * 2, 3601 * 3601 * 2, 1801 * 3601 * 2})


def jpeg2000(content: Content, head: bytes) -> SourceFormat | None:
    """Recognise JPEG 2000, and check its XML boxes.

    Raises SourceTruncated: the file ends before the codestream.
    Raises UnsupportedFormat: the XML is too long or refers to another file.
    Raises SourceUnreadable: the GDAL metadata is not well-formed XML.
    """
    if head.startswith(_J2K_SIGNATURE):
        return SourceFormat.jpeg2000
    if not head.startswith(_JP2_SIGNATURE):
        return None
    with content.open() as stream:
        xml_bytes_left = _MAX_XML_BYTES
        for kind, offset, length in _boxes(content, stream):
            if kind == b"xml ":
                xml_bytes_left -= length
                _check_xml_box(content, stream, offset, length if xml_bytes_left >= 0 else None)
            if kind == b"jp2c":
                break
        else:
            raise SourceTruncated(
                f"The JPEG 2000 {content.name!r} ends before its codestream begins."
            )
    return SourceFormat.jpeg2000


def _boxes(content: Content, stream: BinaryIO) -> list[tuple[bytes, int, int]]:
    """Return (type, offset of payload, length) of the top boxes (ISO/IEC 15444-1, annex I)."""
    boxes: list[tuple[bytes, int, int]] = []
    offset = 0
    while offset < content.size_bytes and len(boxes) < _MAX_BOXES:
        stream.seek(offset)
        header = stream.read(16)
        if len(header) < 8:
            break
        length, kind = struct.unpack(">I4s", header[:8])
        header_bytes = 8
        if length == 1 and len(header) == 16:
            length, header_bytes = struct.unpack(">Q", header[8:])[0], 16
        elif length == 0:
            length = content.size_bytes - offset
        if length < header_bytes:
            break
        boxes.append((kind, offset + header_bytes, length - header_bytes))
        offset += length
        if kind == b"jp2c" and content.is_packed:
            break
    return boxes


def _check_xml_box(content: Content, stream: BinaryIO, offset: int, length: int | None) -> None:
    if length is None:
        raise UnsupportedFormat(
            f"The JPEG 2000 {content.name!r} holds more than {_MAX_XML_BYTES} bytes of XML."
        )
    stream.seek(offset)
    xml = stream.read(length).rstrip(b"\0")
    if b"GDALMultiDomainMetadata" in xml:
        refuse_references(xml, content.name)


def erdas_imagine(content: Content, head: bytes) -> SourceFormat | None:
    return SourceFormat.erdas_imagine if head.startswith(b"EHFA_HEADER_TAG") else None


def png(content: Content, head: bytes) -> SourceFormat | None:
    """Recognise a PNG whose chunks (PNG 3rd edition, 5.2) are complete.

    GDAL 3.10 reports no error if chunks are missing.
    Raises SourceTruncated: the chunks end before the chunk IEND.
    Raises SourceUnreadable: the file holds too many chunks.
    """
    if not head.startswith(_PNG_SIGNATURE):
        return None
    offset = _PNG_SIGNATURE_BYTES
    with content.open() as stream:
        for _ in range(_MAX_PNG_CHUNKS):
            stream.seek(offset)
            header = stream.read(8)
            if len(header) < 8:
                break
            length, kind = struct.unpack(">I4s", header)
            offset += 12 + length
            if kind == b"IEND" and offset <= content.size_bytes:
                return SourceFormat.png
            if offset >= content.size_bytes:
                break
        else:
            raise SourceUnreadable(
                f"The PNG {content.name!r} holds more than {_MAX_PNG_CHUNKS} chunks."
            )
    raise SourceTruncated(f"The PNG {content.name!r} ends before its last chunk.")


def jpeg(content: Content, head: bytes) -> SourceFormat | None:
    return SourceFormat.jpeg if head.startswith(b"\xff\xd8\xff") and len(head) > 4 else None


def srtm_hgt(content: Content, head: bytes) -> SourceFormat | None:
    """Recognise an SRTM tile by its name and size.

    Raises SourceTruncated: the name is that of a tile, but the file is too short.
    """
    tile = HGT_TILE.fullmatch(content.name.rpartition("/")[2])
    if tile is None:
        return None
    if content.size_bytes in HGT_SIZES_BYTES:
        return SourceFormat.srtm_hgt
    if content.size_bytes < max(HGT_SIZES_BYTES):
        raise SourceTruncated(
            f"{content.name!r} has the name of an SRTM tile but is {content.size_bytes} bytes "
            f"long; a tile has one of {sorted(HGT_SIZES_BYTES)} bytes."
        )
    return None
