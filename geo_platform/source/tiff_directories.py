"""Walk the image file directories of a TIFF or BigTIFF: header, entries and links, no pixels.

Source: TIFF 6.0, section 2, and the BigTIFF design. For checks against hostile files see
`recognise/tiff.py`; for writing entries see `raster/run_tag.py`.

Called by `raster/run_tag.py` and `source/recognise/tiff.py`.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

GDAL_METADATA_TAG = 42112

# The bytes of one value, by the field type of the entry.
_TYPE_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}

# A function (offset, count) that returns `count` bytes from `offset` on.
ReadBytes = Callable[[int, int], bytes]


@dataclass(frozen=True)
class TiffLayout:
    """How a file writes its numbers: byte order, and the widths of classic TIFF or BigTIFF."""

    order: str
    is_big: bool

    @property
    def count(self) -> struct.Struct:
        """The format of the number of entries of a directory."""
        return struct.Struct(self.order + ("Q" if self.is_big else "H"))

    @property
    def entry(self) -> struct.Struct:
        """The format of a `TiffEntry`."""
        return struct.Struct(self.order + ("HHQ8s" if self.is_big else "HHI4s"))

    @property
    def offset(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.is_big else "I"))

    @property
    def header_bytes(self) -> int:
        return 16 if self.is_big else 8

    def first_offset(self, header: bytes) -> int:
        """Return the offset of the first directory. `header` holds at least `header_bytes`."""
        return int(self.offset.unpack_from(header, self.header_bytes - self.offset.size)[0])

    def is_inline(self, entry: "TiffEntry") -> bool:
        """Return whether the entry holds the values themselves instead of their offset."""
        return entry.size_bytes <= self.offset.size

    def value_offset(self, entry: "TiffEntry") -> int:
        """Return the offset of the values of an entry that is not inline."""
        return int(self.offset.unpack(entry.value)[0])


@dataclass(frozen=True, slots=True)
class TiffEntry:
    """One tag. `value` is the raw field: the values if they are short, else their offset."""

    tag: int
    type: int
    count: int
    value: bytes

    @property
    def size_bytes(self) -> int:
        """Bytes of all values. Raises KeyError: for a type that TIFF does not define."""
        return _TYPE_BYTES[self.type] * self.count


@dataclass(frozen=True)
class TiffDirectory:
    """One image of the file. `next_offset` is 0 in the last directory."""

    offset: int
    entries: tuple[TiffEntry, ...]
    next_offset: int


def tiff_layout(head: bytes) -> TiffLayout | None:
    """Return the layout of a TIFF from its first four bytes, or None if the file is not a TIFF."""
    layouts = {
        b"II*\0": TiffLayout("<", is_big=False),
        b"MM\0*": TiffLayout(">", is_big=False),
        b"II+\0": TiffLayout("<", is_big=True),
        b"MM\0+": TiffLayout(">", is_big=True),
    }
    return layouts.get(head[:4])


def walk_directories(
    read: ReadBytes,
    layout: TiffLayout,
    first_offset: int,
    check_entry_count: Callable[[int], None] = lambda count: None,
) -> Iterator[TiffDirectory]:
    """Yield each directory, following the links until a link is 0. Loops are not detected.

    `check_entry_count` gets the number of entries before they are read, and may raise an error to
    stop.
    Raises struct.error: `read` returns fewer bytes than requested.
    """
    offset = first_offset
    while offset:
        (count,) = layout.count.unpack(read(offset, layout.count.size))
        check_entry_count(count)
        entries_bytes = count * layout.entry.size
        table = read(offset + layout.count.size, entries_bytes + layout.offset.size)
        entries = tuple(TiffEntry(*row) for row in layout.entry.iter_unpack(table[:entries_bytes]))
        (next_offset,) = layout.offset.unpack_from(table, entries_bytes)
        yield TiffDirectory(offset, entries, next_offset)
        offset = next_offset
