"""Write the run id into a finished COG, as an item of GDAL's metadata (TIFF tag 42112).

GDAL cannot do this: its COG driver copies tags from the source only, and updating a COG moves the
first directory to the end of the file, after which it is no longer a COG. This module instead
inserts a gap behind the first directory (or behind its metadata text), moves everything after the
gap by a few hundred bytes, and adjusts every offset behind the gap.
See docs/decisions/0014-the-run-id-is-written-into-the-finished-cog.md.

Called by `verify.py` and `write.py`.
"""

import html
import re
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from geo_platform.errors import CogInvalid, StoreUnavailable
from geo_platform.source.tiff_directories import (
    GDAL_METADATA_TAG,
    TiffDirectory,
    TiffEntry,
    TiffLayout,
    tiff_layout,
    walk_directories,
)

# `gdalinfo` lists the item and rasterio's `tags()` returns it under this name.
RUN_ID_ITEM = "GEO_PLATFORM_RUN_ID"

_ASCII = 2
# StripOffsets and TileOffsets: arrays of positions in the file.
_DATA_OFFSET_TAGS = (273, 324)
# NumPy types of those arrays, by the entry's field type.
_DATA_OFFSET_DTYPES = {3: "u2", 4: "u4", 16: "u8"}
# SubIFDs, Exif, GPS, Interoperability. GDAL's COG driver writes none of them.
_NESTED_DIRECTORY_TAGS = (330, 34665, 34853, 40965)

_EARLIER_ITEM = re.compile(rb'\s*<Item name="' + RUN_ID_ITEM.encode() + rb'">[^<]*</Item>')
_CLOSING_TAG = b"</GDALMetadata>"
_GAP_ALIGNMENT_BYTES = 8
_MOVE_CHUNK_BYTES = 8 * 1024**2


def write_run_id(path: Path, run_id: str) -> None:
    """Write the run id into the COG, replacing an earlier one; change no pixel and no other tag.

    Raises CogInvalid: if the file does not have the layout that GDAL's COG driver writes.
    Raises StoreUnavailable: if the file cannot be read or written.
    """
    try:
        with path.open("r+b") as file:
            _write_item(file, run_id)
    except OSError as error:
        raise StoreUnavailable(
            f"The scratch folder could not store the COG {path.name!r}."
        ) from error
    except (struct.error, LookupError, ValueError) as error:
        raise CogInvalid(
            f"The run id could not be written into the COG {path.name!r}: {error}."
        ) from error


@dataclass(frozen=True)
class _Gap:
    """A gap of `size_bytes` at offset `start`. The metadata text is written at `text_offset`."""

    start: int
    size_bytes: int
    text_offset: int

    def moved(self, offset: int) -> int:
        """Return the new offset of a byte that was at `offset` before the gap was inserted."""
        return offset + self.size_bytes if offset >= self.start else offset


def _write_item(file: BinaryIO, run_id: str) -> None:
    layout, directories = _read_directories(file)
    first = directories[0]
    old_entry = next((entry for entry in first.entries if entry.tag == GDAL_METADATA_TAG), None)
    text = _with_item(_read_values(file, layout, old_entry) if old_entry else b"", run_id)
    gap = _plan_gap(layout, first, old_entry, len(text))
    new_entry = TiffEntry(GDAL_METADATA_TAG, _ASCII, len(text), layout.offset.pack(gap.text_offset))
    other_entries = [entry for entry in first.entries if entry.tag != GDAL_METADATA_TAG]
    _insert_gap(file, gap)
    for directory in directories:
        kept = other_entries if directory is first else directory.entries
        entries = [_relocated(file, layout, gap, entry) for entry in kept]
        if directory is first:
            entries = sorted([*entries, new_entry], key=lambda entry: entry.tag)
        file.seek(gap.moved(directory.offset))
        file.write(_packed_directory(layout, entries, gap.moved(directory.next_offset)))
    file.seek(gap.text_offset)
    file.write(text)


def _read_directories(file: BinaryIO) -> tuple[TiffLayout, tuple[TiffDirectory, ...]]:
    def read(offset: int, size_bytes: int) -> bytes:
        return _read(file, offset, size_bytes)

    layout = tiff_layout(read(0, 4))
    if layout is None:
        raise ValueError("it is not a TIFF")
    first_offset = layout.first_offset(read(0, layout.header_bytes))
    directories = tuple(walk_directories(read, layout, first_offset))
    if any(
        entry.tag in _NESTED_DIRECTORY_TAGS
        for directory in directories
        for entry in directory.entries
    ):
        raise ValueError("it has directories within directories")
    return layout, directories


def _with_item(text: bytes, run_id: str) -> bytes:
    """Return GDAL's metadata (XML that ends with NUL) with the run id as its last item."""
    if _CLOSING_TAG not in text and b"<Item" in text:
        raise ValueError("its GDAL metadata has no closing tag")
    inner = _EARLIER_ITEM.sub(b"", text.rpartition(_CLOSING_TAG)[0]) or b"<GDALMetadata>"
    # Escaped twice, as GDAL itself does.
    escaped = html.escape(html.escape(run_id, quote=False), quote=False)
    item = f'  <Item name="{RUN_ID_ITEM}">{escaped}</Item>\n'.encode()
    return inner.rstrip() + b"\n" + item + _CLOSING_TAG + b"\n\0"


def _plan_gap(
    layout: TiffLayout, first: TiffDirectory, old_entry: TiffEntry | None, text_bytes: int
) -> _Gap:
    """Place the gap behind the old metadata text, or behind the directory if there is no such text.

    Behind the directory, the gap also holds the new directory entry if the tag is new.
    """
    if old_entry is not None and not layout.is_inline(old_entry):
        text_offset = layout.value_offset(old_entry)
        added = _aligned(max(text_bytes - old_entry.size_bytes, 0))
        return _Gap(text_offset + old_entry.size_bytes, added, text_offset)
    added = 0 if old_entry is not None else layout.entry.size
    directory_end = (
        first.offset
        + layout.count.size
        + len(first.entries) * layout.entry.size
        + layout.offset.size
    )
    return _Gap(directory_end, _aligned(added + text_bytes), directory_end + added)


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // _GAP_ALIGNMENT_BYTES) * _GAP_ALIGNMENT_BYTES


def _insert_gap(file: BinaryIO, gap: _Gap) -> None:
    # Move from the end backwards, so that no byte is overwritten before it is read.
    end = file.seek(0, 2)
    while gap.size_bytes and end > gap.start:
        start = max(end - _MOVE_CHUNK_BYTES, gap.start)
        chunk = _read(file, start, end - start)
        file.seek(start + gap.size_bytes)
        file.write(chunk)
        end = start
    file.seek(gap.start)
    file.write(bytes(gap.size_bytes))


def _relocated(file: BinaryIO, layout: TiffLayout, gap: _Gap, entry: TiffEntry) -> TiffEntry:
    """Return the entry with adjusted offsets, and adjust its array of offsets in the file."""
    is_inline = layout.is_inline(entry)
    values_offset = 0 if is_inline else gap.moved(layout.value_offset(entry))
    value = entry.value if is_inline else layout.offset.pack(values_offset)
    if entry.tag not in _DATA_OFFSET_TAGS:
        return replace(entry, value=value)
    dtype = np.dtype(layout.order + _DATA_OFFSET_DTYPES[entry.type])
    stored = (
        value[: entry.size_bytes] if is_inline else _read(file, values_offset, entry.size_bytes)
    )
    offsets = np.frombuffer(stored, dtype).astype(np.uint64)
    offsets[offsets >= gap.start] += np.uint64(gap.size_bytes)
    if offsets.max(initial=0) > np.iinfo(dtype).max:
        raise ValueError("its last tiles would move past what its offsets can hold")
    adjusted = offsets.astype(dtype).tobytes()
    if is_inline:
        return replace(entry, value=adjusted.ljust(layout.offset.size, b"\0"))
    file.seek(values_offset)
    file.write(adjusted)
    return replace(entry, value=value)


def _packed_directory(layout: TiffLayout, entries: list[TiffEntry], next_offset: int) -> bytes:
    return (
        layout.count.pack(len(entries))
        + b"".join(
            layout.entry.pack(entry.tag, entry.type, entry.count, entry.value) for entry in entries
        )
        + layout.offset.pack(next_offset)
    )


def _read_values(file: BinaryIO, layout: TiffLayout, entry: TiffEntry) -> bytes:
    if layout.is_inline(entry):
        return entry.value[: entry.size_bytes]
    return _read(file, layout.value_offset(entry), entry.size_bytes)


def _read(file: BinaryIO, offset: int, size_bytes: int) -> bytes:
    file.seek(offset)
    return file.read(size_bytes)
