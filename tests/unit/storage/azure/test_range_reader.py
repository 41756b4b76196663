"""The range reader returns the same bytes as a file, with few and small fetches."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo_platform.errors import StoreUnavailable
from geo_platform.storage.azure import reads as azure_ranges
from geo_platform.storage.azure.reads import (
    CACHED_RANGE_BYTES,
    MAX_FETCH_BYTES,
    MIN_FETCH_BYTES,
    RangeReader,
)

CONTENT = np.random.default_rng(1).bytes(300_000)


class Fetches(list[tuple[int, int]]):
    """A content, and the ranges of it that were fetched."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content = content

    def __call__(self, offset: int, length: int) -> bytes:
        self.append((offset, length))
        return self.content[offset : offset + length]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["seek", "skip", "end"]), st.integers(0, 310_000), st.integers(-1, 60_000)
    ),
    max_size=25,
)


@settings(deadline=None)
@given(steps=STEPS, size=st.sampled_from([0, 1, MIN_FETCH_BYTES, 100_000, 300_000]))
def test_whatever_is_read_is_what_a_file_gives(
    steps: list[tuple[str, int, int]], size: int
) -> None:
    content = CONTENT[:size]
    fetches, file = Fetches(content), io.BytesIO(content)
    with RangeReader(size, fetches, "the object") as reader:
        for kind, offset, length in steps:
            if kind == "seek":
                assert reader.seek(offset) == file.seek(offset)
            elif kind == "skip":
                assert reader.seek(offset % 1000, io.SEEK_CUR) == file.seek(
                    offset % 1000, io.SEEK_CUR
                )
            else:
                assert reader.seek(-min(offset, size), io.SEEK_END) == file.seek(
                    -min(offset, size), io.SEEK_END
                )
            assert (reader.read(length), reader.tell()) == (file.read(length), file.tell())
        assert reader.fetched_bytes == sum(length for _, length in fetches)
    assert all(length > 0 and offset + length <= size for offset, length in fetches)


def test_reading_here_and_there_fetches_little_more_than_what_is_read() -> None:
    fetches = Fetches(CONTENT)
    reader = RangeReader(len(CONTENT), fetches, "the object")
    for offset, length in ((250_000, 10), (100_000, 40_000), (0, 8), (250_000, 100)):
        reader.seek(offset)
        reader.read(length)
    assert fetches == [(250_000, MIN_FETCH_BYTES), (100_000, 40_000), (0, MIN_FETCH_BYTES)]


def test_reading_on_fetches_twice_as_much_each_time_up_to_a_bound_and_keeps_no_more_than_that() -> (
    None
):
    content = bytes(40_000_000)
    fetches = Fetches(content)
    reader = RangeReader(len(content), fetches, "the object")
    read = 0
    while piece := reader.read(10_000):
        read += len(piece)
        assert sum(map(len, reader._kept.values())) <= CACHED_RANGE_BYTES
    lengths = [length for _, length in fetches]
    assert (read, sum(lengths)) == (len(content), len(content))
    assert lengths[:4] == [
        MIN_FETCH_BYTES,
        2 * MIN_FETCH_BYTES,
        4 * MIN_FETCH_BYTES,
        8 * MIN_FETCH_BYTES,
    ]
    assert max(lengths) == MAX_FETCH_BYTES
    assert len(lengths) < 20


def test_reading_on_over_a_small_gap_is_reading_on() -> None:
    fetches = Fetches(CONTENT)
    reader = RangeReader(len(CONTENT), fetches, "the object")
    for offset in range(0, len(CONTENT), 8_000):
        reader.seek(offset)
        reader.read(8)
    assert len(fetches) <= 5


def test_a_store_that_gives_less_than_it_was_asked_for_is_a_fault_to_try_again() -> None:
    reader = RangeReader(1000, lambda offset, length: b"short", "The object bronze/a")
    with pytest.raises(
        StoreUnavailable, match="The object bronze/a returned 5 bytes instead of 1000"
    ) as short:
        reader.read(10)
    assert short.value.retryable


def test_a_buffer_is_filled_and_positions_before_the_beginning_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(azure_ranges, "MIN_FETCH_BYTES", 4)
    reader, buffer = RangeReader(10, Fetches(CONTENT[:10]), "the object"), bytearray(20)
    assert (reader.readinto(buffer), bytes(buffer[:10])) == (10, CONTENT[:10])
    with pytest.raises(ValueError, match="before the beginning"):
        reader.seek(-1)
