"""Parse XML with the position of each element, and write a copy with pieces replaced.

Called by `gml_text.py` and `kml_text.py`.
"""

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
    """Map the source into memory. A source in an archive is unpacked into its private folder.

    Raises SourceTruncated, SourceUnreadable: the file cannot be read.
    """
    path = Path(source.gdal_path)
    if source.gdal_path.startswith("/vsi"):
        path = copy_beside(source, suffix=".unpacked")
        with open_bytes(source) as stream, path.open("wb") as target:
            while chunk := stream.read(CHUNK_BYTES):
                target.write(chunk)
    with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as text:
        yield text


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
