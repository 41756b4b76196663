"""Walk directories of classic TIFF and BigTIFF in both byte orders."""

import struct
from collections.abc import Callable

import pytest

from geo_platform.source.tiff_directories import TiffEntry, tiff_layout, walk_directories

SHORT, ASCII = 3, 2


def reader(content: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, count: content[offset : offset + count]


def tiff(order: str, *, is_big: bool) -> bytes:
    """Return a file of two directories: one with a width and a text of 20 bytes, one empty."""
    count, entry, offset = ("Q", "HHQQ", "Q") if is_big else ("H", "HHII", "I")
    width = struct.pack(order + "H", 7).ljust(8 if is_big else 4, b"\0")
    start = 16 if is_big else 8
    second = start + struct.calcsize(order + count) + 2 * struct.calcsize(order + entry)
    second += struct.calcsize(order + offset)
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if is_big else 42)
    if is_big:
        head += struct.pack(order + "HH", 8, 0)
    return (
        head
        + struct.pack(order + offset, start)
        + struct.pack(order + count, 2)
        + struct.pack(order + entry[:-1], 256, SHORT, 1)
        + width
        + struct.pack(order + entry, 42112, ASCII, 20, 1000)
        + struct.pack(order + offset, second)
        + struct.pack(order + count, 0)
        + struct.pack(order + offset, 0)
    )


@pytest.mark.parametrize("is_big", [False, True], ids=["classic", "BigTIFF"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_directories_and_entries(order: str, is_big: bool) -> None:
    content = tiff(order, is_big=is_big)
    layout = tiff_layout(content)
    assert layout is not None
    first, second = walk_directories(reader(content), layout, layout.first_offset(content))
    width, text = first.entries
    assert (width.tag, width.size_bytes, layout.is_inline(width)) == (256, 2, True)
    assert (text.tag, text.size_bytes, layout.is_inline(text)) == (42112, 20, False)
    assert layout.value_offset(text) == 1000
    assert (first.next_offset, second.next_offset, second.entries) == (second.offset, 0, ())


def test_entry_counts_are_checked_before_entries_are_read() -> None:
    content = tiff("<", is_big=False)
    layout = tiff_layout(content)
    assert layout is not None
    reads: list[int] = []

    def read(offset: int, count: int) -> bytes:
        reads.append(count)
        return content[offset : offset + count]

    def refuse(count: int) -> None:
        raise ValueError(f"{count} entries")

    with pytest.raises(ValueError, match="2 entries"):
        list(walk_directories(read, layout, 8, check_entry_count=refuse))
    assert reads == [2]


@pytest.mark.parametrize("kept", [8, 9, 20, 36])
def test_a_short_read_is_an_error(kept: int) -> None:
    content = tiff("<", is_big=False)
    layout = tiff_layout(content)
    assert layout is not None
    with pytest.raises(struct.error):
        list(walk_directories(reader(content[:kept]), layout, 8))


@pytest.mark.parametrize("head", [b"", b"II", b"GIF8", b"IM*\0"])
def test_other_files_have_no_layout(head: bytes) -> None:
    assert tiff_layout(head) is None


def test_a_type_that_tiff_does_not_define_has_no_size() -> None:
    with pytest.raises(KeyError):
        _ = TiffEntry(256, 99, 1, b"\0\0\0\0").size_bytes
