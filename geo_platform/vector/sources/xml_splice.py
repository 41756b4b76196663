"""Parse XML with the position of each element, and write a copy with pieces replaced.

Called by `gml_text.py` and `kml_text.py`.
"""

import codecs
import mmap
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from geo_platform.source.openable import OpenableSource
from geo_platform.vector.sources.source_file import copy_beside, open_bytes

CHUNK_BYTES = 2**20
TAG = re.compile(rb"""<(?:[^<>"']|"[^"]*"|'[^']*')*>""")
_UTF_16 = re.compile(rb"(?<=encoding=[\"'])UTF-16(?:LE|BE)?", re.IGNORECASE)
_PREFIX = re.compile(rb"<([\w.\-]+:)?")

Mapped = mmap.mmap


@dataclass(frozen=True)
class Edit:
    """Bytes from `start` to before `end` are replaced by `text`."""

    start: int
    end: int
    text: bytes


@contextmanager
def mapped_source(source: OpenableSource) -> Iterator[Mapped]:
    """Map the source into memory, UTF-16 as UTF-8.

    A source in an archive or in UTF-16 is written into its private folder first.
    Raises SourceTruncated, SourceUnreadable: the file cannot be read.
    """
    path = Path(source.gdal_path)
    with open_bytes(source) as stream:
        chunk = stream.read(CHUNK_BYTES)
        is_utf_16 = chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        if is_utf_16 or source.gdal_path.startswith("/vsi"):
            path = copy_beside(source, suffix=".plain")
            decode = codecs.getincrementaldecoder("utf-16")("replace").decode
            with path.open("wb") as target:
                while chunk:
                    text = decode(chunk).encode() if is_utf_16 else chunk
                    target.write(_UTF_16.sub(b"UTF-8", text, count=1) if is_utf_16 else text)
                    chunk = stream.read(CHUNK_BYTES)
    with (
        path.open("rb") as opened,
        mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        yield mapped


def parse(stream: IO[bytes] | Mapped, target: Any) -> bool:
    """Send the elements to `target`, which gets the parser of expat as `target.parser`.

    Return whether the text is well-formed. GDAL reports errors when it reads the file.
    """
    parser = DefusedXMLParser(target=target, forbid_dtd=True)
    target.parser = parser.parser
    try:
        while chunk := stream.read(CHUNK_BYTES):
            parser.feed(chunk)
        parser.close()
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        return False
    return True


def closing_end(text: Mapped, tag_at: int) -> int:
    """Return the offset behind the tag that begins at `tag_at`."""
    tag = TAG.match(text, tag_at)
    return tag.end() if tag else tag_at


def element_end(text: Mapped, start: int, closing_at: int) -> int:
    """Return the offset behind an element that begins at `start`.

    `closing_at` is the position of the parser at the element's end: its closing tag, or for an
    element without content the offset behind it.
    """
    opening = TAG.match(text, start)
    if opening is not None and opening.group().endswith(b"/>"):
        return opening.end()
    return closing_end(text, closing_at)


def prefix_of(text: Mapped, tag_at: int) -> bytes:
    """Return the namespace prefix of a tag with its colon, or nothing."""
    match = _PREFIX.match(text, tag_at)
    return (match.group(1) or b"") if match else b""


def write_spliced(text: Mapped, edits: Sequence[Edit], path: Path) -> None:
    """Write the text with the edits, which are in order and do not overlap."""
    at = 0
    with path.open("wb") as target:
        for edit in edits:
            target.write(text[at : edit.start])
            target.write(edit.text)
            at = edit.end
        target.write(text[at:])
