"""A bounded sample of geometries, spread over all rows, for the map.

What belongs here: the choice of rows. What stays out: drawing (`thumbnail.py`).
"""

import numpy as np
import pyarrow as pa

_MOST_ROWS = 24_000
_MOST_BYTES = 48 * 2**20


class GeometrySample:
    """Every k-th row; k doubles when the sample has grown to its limit in rows or bytes."""

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._bytes = 0
        self._step = 1
        self._seen = 0

    def add(self, wkb: pa.Array) -> None:
        """Look at one more batch."""
        rows = np.arange(-self._seen % self._step, len(wkb), self._step)
        self._seen += len(wkb)
        added = wkb.take(pa.array(rows)).to_pylist()
        self._kept += added
        self._bytes += sum(map(len, added))
        while len(self._kept) > _MOST_ROWS or (self._bytes > _MOST_BYTES and len(self._kept) > 1):
            self._kept = self._kept[::2]
            self._bytes = sum(map(len, self._kept))
            self._step *= 2

    @property
    def wkb(self) -> list[bytes]:
        return self._kept
