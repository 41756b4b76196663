"""A bounded sample of geometries, spread over all rows, for the map.

What belongs here: the choice of rows. What stays out: drawing (`thumbnail.py`).
"""

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
        first = -self._seen % self._step
        for row in range(first, len(wkb), self._step):
            self._keep(wkb[row].as_py(), self._seen + row)
        self._seen += len(wkb)

    def _keep(self, geometry: bytes, row: int) -> None:
        if row % self._step:
            return
        self._kept.append(geometry)
        self._bytes += len(geometry)
        while len(self._kept) > _MOST_ROWS or (self._bytes > _MOST_BYTES and len(self._kept) > 1):
            self._kept = self._kept[::2]
            self._bytes = sum(map(len, self._kept))
            self._step *= 2

    @property
    def wkb(self) -> list[bytes]:
        return self._kept
