"""Recognise a TIFF or BigTIFF, and check every directory and its GDAL metadata within a budget.

The budget limits entries, metadata and seeks, because a hostile file can make directories
expensive to read. For the structure of a TIFF see `source/tiff_directories.py`.

Called by `content_format.py` and `source/sidecar_content.py`.
"""

from dataclasses import dataclass
from typing import BinaryIO

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.errors import SourceTruncated, SourceUnreadable
from geo_platform.source.content import Content
from geo_platform.source.recognise.metadata import refuse_references
from geo_platform.source.tiff_directories import (
    GDAL_METADATA_TAG,
    TiffDirectory,
    TiffEntry,
    TiffLayout,
    tiff_layout,
    walk_directories,
)

_IMAGE_WIDTH, _IMAGE_LENGTH = 256, 257
_MAX_DIRECTORIES = 1024
_MAX_TOTAL_ENTRIES = 100_000
# In an archive, every seek backwards unpacks the member from its beginning again.
_MAX_SEEKS_BACK = 8
_MAX_METADATA_BYTES = 16 * 1024 * 1024


def tiff(content: Content, head: bytes) -> SourceFormat | None:
    """Return the format if the content is a TIFF, else None. Check that GDAL may open the TIFF.

    Raises SourceTruncated: a directory is past the end of the file.
    Raises SourceUnreadable: a directory is malformed or exceeds the budget.
    Raises UnsupportedFormat: the metadata refers to another file.
    """
    layout = tiff_layout(head)
    if layout is None:
        return None
    if len(head) < layout.header_bytes:
        raise SourceTruncated(f"{content.name!r} begins like a TIFF but ends inside its header.")
    with content.open() as stream:
        _Directories(content, stream, layout).check(layout.first_offset(head))
    return SourceFormat.geotiff


@dataclass
class _Directories:
    """Checks the directories of a TIFF. The fields `..._left` hold the rest of the budget."""

    content: Content
    stream: BinaryIO
    layout: TiffLayout
    entries_left: int = _MAX_TOTAL_ENTRIES
    metadata_bytes_left: int = _MAX_METADATA_BYTES
    seeks_back_left: int = _MAX_SEEKS_BACK

    def check(self, first: int) -> None:
        if not first:
            raise SourceUnreadable(f"The TIFF {self.content.name!r} holds no image.")
        visited_offsets: set[int] = set()
        for directory in walk_directories(
            self._read, self.layout, first, check_entry_count=self._check_entry_count
        ):
            self._check_directory(directory, is_first=not visited_offsets)
            visited_offsets.add(directory.offset)
            if directory.next_offset in visited_offsets:
                raise SourceUnreadable(
                    f"The directories of the TIFF {self.content.name!r} form a loop."
                )
            if directory.next_offset and len(visited_offsets) >= _MAX_DIRECTORIES:
                raise SourceUnreadable(
                    f"The TIFF {self.content.name!r} holds more than {_MAX_DIRECTORIES} images."
                )

    def _check_entry_count(self, count: int) -> None:
        self.entries_left -= count
        if count == 0 or self.entries_left < 0:
            raise SourceUnreadable(
                f"A directory of the TIFF {self.content.name!r} claims {count} entries."
            )

    def _check_directory(self, directory: TiffDirectory, *, is_first: bool) -> None:
        by_tag: dict[int, TiffEntry] = {}
        for entry in directory.entries:
            by_tag.setdefault(entry.tag, entry)
        if is_first and not {_IMAGE_WIDTH, _IMAGE_LENGTH} <= by_tag.keys():
            raise SourceUnreadable(
                f"The first directory of the TIFF {self.content.name!r} does not give the width "
                "and height of its image."
            )
        metadata = by_tag.get(GDAL_METADATA_TAG)
        # GDAL reads it as text with one byte per character, whatever type the entry has.
        if metadata is not None and metadata.count > self.layout.offset.size:
            self._check_metadata(self.layout.value_offset(metadata), metadata.count)

    def _check_metadata(self, offset: int, count: int) -> None:
        self.metadata_bytes_left -= count
        if self.metadata_bytes_left < 0:
            raise SourceUnreadable(
                f"The GDAL metadata of the TIFF {self.content.name!r} is longer than "
                f"{_MAX_METADATA_BYTES} bytes."
            )
        refuse_references(self._read(offset, count).rstrip(b"\0"), self.content.name)

    def _read(self, offset: int, count: int) -> bytes:
        if offset + count <= self.content.size_bytes:
            if self.content.is_packed and offset < self.stream.tell():
                self.seeks_back_left -= 1
            if self.seeks_back_left < 0:
                raise SourceUnreadable(
                    f"The TIFF {self.content.name!r} is too fragmented to be "
                    "read inside an archive.",
                    remedy="Submit it unpacked.",
                )
            self.stream.seek(offset)
            raw = self.stream.read(count)
            if len(raw) == count:
                return raw
        raise SourceTruncated(
            f"The TIFF {self.content.name!r} is {self.content.size_bytes} bytes long and points "
            "past its end."
        )
