"""The run id in a COG: an item of GDAL's metadata (TIFF tag 42112), which every reader of GDAL's shows.

What belongs here: putting the item into a finished COG. What stays out: the tags of the source (`stage.py`), writing (`write.py`).

GDAL itself can not do it: its COG driver takes tags from the source alone, and updating a COG moves the first directory to the
file's end, which makes it none. So room is made behind the first directory: what follows moves on by a few hundred bytes, in
its order, and every offset is raised by as much. Source: TIFF 6.0, section 2; BigTIFF by Adobe and the libtiff project.
"""

import html
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from geo_platform.errors import CogInvalid, StoreUnavailable

# As `gdalinfo` lists it and `rasterio`'s `tags()` names it.
RUN_ID_ITEM = "GEO_PLATFORM_RUN_ID"

_GDAL_METADATA = 42112
_ASCII = 2
# StripOffsets, TileOffsets: arrays of places in the file.
_DATA_OFFSETS = (273, 324)

# SubIFDs, Exif, GPS, Interoperability: GDAL's COG driver writes none of them.
_DIRECTORY_OFFSETS = (330, 34665, 34853, 40965)

_BYTES_OF_TYPE = {
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
_OFFSET_TYPES = {3: "u2", 4: "u4", 16: "u8"}
_EARLIER_ITEM = re.compile(rb'\s*<Item name="' + RUN_ID_ITEM.encode() + rb'">[^<]*</Item>')
_END = b"</GDALMetadata>"
_ALIGNED_BYTES = 8
_MOVED_AT_ONCE = 8 * 1024**2


@dataclass(frozen=True)
class _Form:
    """How this file writes its numbers: struct formats of a count of entries, of an entry and of an offset."""

    order: str
    count: str
    entry: str
    offset: str
    first_at: int

    def size(self, name: str) -> int:
        return struct.calcsize(self.order + name)

    @property
    def inline_bytes(self) -> int:
        """Values of up to so many bytes stand in the entry itself."""
        return self.size(self.offset)


_CLASSIC, _BIG = ("H", "HHI4s", "I", 4), ("Q", "HHQ8s", "Q", 8)


@dataclass(frozen=True)
class _Entry:
    tag: int
    type: int
    count: int
    value: bytes

    @property
    def size_bytes(self) -> int:
        return _BYTES_OF_TYPE[self.type] * self.count


@dataclass(frozen=True)
class _Directory:
    """One image of the file, and where the next one is; 0: there is none."""

    offset: int
    entries: tuple[_Entry, ...]
    following: int


@dataclass(frozen=True)
class _Room:
    """`size_bytes` more from `at` on. `text_at` is where the metadata come to stand."""

    at: int
    size_bytes: int
    text_at: int

    def moved(self, offset: int) -> int:
        return offset + self.size_bytes if offset >= self.at else offset


def put_run_id(path: Path, run_id: str) -> None:
    """Put the item into the COG, in place of one that was there. Pixels, their order and all other tags stay as they are.

    Raises CogInvalid where the file is not as GDAL's COG driver writes it, StoreUnavailable where the disk does not take it.
    """
    try:
        with path.open("r+b") as file:
            _put(file, run_id)
    except OSError as error:
        raise StoreUnavailable(
            f"The scratch folder could not take the COG {path.name!r}."
        ) from error
    except (struct.error, LookupError, ValueError) as error:
        raise CogInvalid(f"The COG {path.name!r} has no place for the run id: {error}.") from error


def _put(file: BinaryIO, run_id: str) -> None:
    form = _form(file)
    directories = tuple(_directories(file, form))
    before = next((entry for entry in directories[0].entries if entry.tag == _GDAL_METADATA), None)
    text = _with_item(_data(file, form, before) if before else b"", run_id)
    room = _room(form, directories[0], before, len(text))
    offset = struct.pack(form.order + form.offset, room.text_at)
    others = [entry for entry in directories[0].entries if entry.tag != _GDAL_METADATA]
    entries = sorted(
        [*others, _Entry(_GDAL_METADATA, _ASCII, len(text), b"")], key=lambda entry: entry.tag
    )
    _move_on(file, room)
    for directory in (replace(directories[0], entries=tuple(entries)), *directories[1:]):
        relocated = [
            _relocated(file, form, room, entry) if entry.value else replace(entry, value=offset)
            for entry in directory.entries
        ]
        file.seek(room.moved(directory.offset))
        file.write(_table(form, relocated, room.moved(directory.following)))
    file.seek(room.text_at)
    file.write(text)


def _with_item(text: bytes, run_id: str) -> bytes:
    """GDAL's metadata, as XML that ends with NUL, with the item as its last."""
    if _END not in text and b"<Item" in text:
        raise ValueError("its metadata have no end")
    inner = _EARLIER_ITEM.sub(b"", text.rpartition(_END)[0]) or b"<GDALMetadata>"
    said = html.escape(html.escape(run_id, quote=False), quote=False)  # twice, as GDAL itself does
    item = f'  <Item name="{RUN_ID_ITEM}">{said}</Item>\n'.encode()
    return inner.rstrip() + b"\n" + item + _END + b"\n\0"


def _room(form: _Form, first: _Directory, before: _Entry | None, text_bytes: int) -> _Room:
    """At the end of the text that is there, or behind the directory, which gets one entry more. Pure."""
    if before is not None and before.size_bytes > form.inline_bytes:
        (text_at,) = struct.unpack(form.order + form.offset, before.value)
        return _Room(
            text_at + before.size_bytes, _aligned(max(text_bytes - before.size_bytes, 0)), text_at
        )
    added = 0 if before is not None else form.size(form.entry)
    end = (
        first.offset
        + form.size(form.count)
        + len(first.entries) * form.size(form.entry)
        + form.inline_bytes
    )
    return _Room(end, _aligned(added + text_bytes), end + added)


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // _ALIGNED_BYTES) * _ALIGNED_BYTES


def _form(file: BinaryIO) -> _Form:
    file.seek(0)
    mark = file.read(4)
    order = {b"II": "<", b"MM": ">"}[mark[:2]]
    return _Form(order, *{42: _CLASSIC, 43: _BIG}[struct.unpack(f"{order}H", mark[2:])[0]])


def _directories(file: BinaryIO, form: _Form) -> Iterator[_Directory]:
    following = _number(file, form, form.first_at, form.offset)
    while following:
        offset, size = following, form.size(form.entry)
        table = _read(
            file, offset + form.size(form.count), _number(file, form, offset, form.count) * size
        )
        entries = tuple(
            _Entry(*found) for found in struct.iter_unpack(form.order + form.entry, table)
        )
        if any(entry.tag in _DIRECTORY_OFFSETS for entry in entries):
            raise ValueError("it has directories within directories")
        following = _number(file, form, offset + form.size(form.count) + len(table), form.offset)
        yield _Directory(offset, entries, following)


def _table(form: _Form, entries: list[_Entry], following: int) -> bytes:
    packed = (
        struct.pack(form.order + form.entry, entry.tag, entry.type, entry.count, entry.value)
        for entry in entries
    )
    return (
        struct.pack(form.order + form.count, len(entries))
        + b"".join(packed)
        + struct.pack(form.order + form.offset, following)
    )


def _move_on(file: BinaryIO, room: _Room) -> None:
    """From the end backwards, so that no byte is written over before it was read."""
    end = file.seek(0, 2)
    while room.size_bytes and end > room.at:
        start = max(end - _MOVED_AT_ONCE, room.at)
        piece = _read(file, start, end - start)
        file.seek(start + room.size_bytes)
        file.write(piece)
        end = start
    file.seek(room.at)
    file.write(bytes(room.size_bytes))


def _relocated(file: BinaryIO, form: _Form, room: _Room, entry: _Entry) -> _Entry:
    """The entry after the move; the places that its values name are written where they lie by then."""
    lies_apart = entry.size_bytes > form.inline_bytes
    at = room.moved(struct.unpack(form.order + form.offset, entry.value)[0]) if lies_apart else 0
    value = struct.pack(form.order + form.offset, at) if lies_apart else entry.value
    if entry.tag not in _DATA_OFFSETS:
        return replace(entry, value=value)
    dtype = np.dtype(form.order + _OFFSET_TYPES[entry.type])
    stored = _read(file, at, entry.size_bytes) if lies_apart else value[: entry.size_bytes]
    places = np.frombuffer(stored, dtype).astype(np.uint64)
    places[places >= room.at] += np.uint64(room.size_bytes)
    if places.max(initial=0) > np.iinfo(dtype).max:
        raise ValueError("its last tiles would lie beyond what its offsets can say")
    raised = places.astype(dtype).tobytes()
    if not lies_apart:
        return replace(entry, value=raised.ljust(form.inline_bytes, b"\0"))
    file.seek(at)
    file.write(raised)
    return replace(entry, value=value)


def _data(file: BinaryIO, form: _Form, entry: _Entry) -> bytes:
    if entry.size_bytes <= form.inline_bytes:
        return entry.value[: entry.size_bytes]
    return _read(file, struct.unpack(form.order + form.offset, entry.value)[0], entry.size_bytes)


def _number(file: BinaryIO, form: _Form, offset: int, name: str) -> int:
    (number,) = struct.unpack(form.order + name, _read(file, offset, form.size(name)))
    return int(number)


def _read(file: BinaryIO, offset: int, size_bytes: int) -> bytes:
    file.seek(offset)
    return file.read(size_bytes)
