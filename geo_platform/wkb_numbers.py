"""Numbers read out of the bytes of a WKB column, many rows at once, without parsing a geometry.

What belongs here: numbers at given places. What stays out: what they mean (`vector/geometry_kinds.py`, `vector/wkb_form.py`,
`storage/wkb_positions.py`).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]


def uint32_at(data: Bytes, at: Places) -> npt.NDArray[np.int64]:
    """The little-endian unsigned numbers of four bytes that begin at `at`, one for each."""
    return _numbers_at(data, at, "<u4").astype(np.int64)


def float64_at(data: Bytes, at: Places) -> npt.NDArray[np.float64]:
    """The little-endian numbers of eight bytes that begin at `at`, one for each."""
    return _numbers_at(data, at, "<f8")


def _numbers_at(data: Bytes, at: Places, kind: str) -> npt.NDArray[Any]:
    """Raises IndexError where one would end behind the data.

    Through a view of the numbers that begin at each single byte, since WKB is not aligned: gathering the bytes first takes
    eight times the memory of the numbers, and was a tenth of a load's time.
    """
    numbers: npt.NDArray[Any] = np.ndarray((max(len(data) - np.dtype(kind).itemsize + 1, 0),), kind, data, strides=(1,))
    return numbers[at]
