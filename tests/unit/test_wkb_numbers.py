"""Numbers at places that no processor would choose."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_platform.wkb import float64_at, uint32_at


@given(st.binary(min_size=8, max_size=64), st.data())
def test_a_number_is_read_at_any_byte(data: bytes, choices: st.DataObject) -> None:
    at = choices.draw(st.lists(st.integers(0, len(data) - 8), max_size=5))
    places, array = np.array(at, dtype=np.int64), np.frombuffer(data, dtype=np.uint8)
    assert uint32_at(array, places).tolist() == [
        struct.unpack_from("<I", data, place)[0] for place in at
    ]
    assert float64_at(array, places).tobytes() == b"".join(data[place : place + 8] for place in at)


@pytest.mark.parametrize("size", [0, 3, 7])
def test_a_number_that_would_end_behind_the_data_is_refused(size: int) -> None:
    with pytest.raises(IndexError):
        float64_at(np.zeros(size, dtype=np.uint8), np.array([0]))


def test_no_places_are_no_numbers_even_in_no_data() -> None:
    assert uint32_at(np.zeros(0, dtype=np.uint8), np.zeros(0, dtype=np.int64)).size == 0
