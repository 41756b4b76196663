"""A file-like reader of a stored object that fetches only the ranges that are read.

The caller gives the function that fetches a range, pinned to one etag. Random reads fetch little
more than what is requested. Sequential reads fetch twice as much each time, up to a limit, so that
a whole object takes few requests and memory stays flat.
"""

import io
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from geo_platform.errors import StoreUnavailable

MIN_FETCH_BYTES = 16 * 1024
# The largest fetch: up to this length Azure Blob Storage returns the MD5 of a range.
MAX_FETCH_BYTES = 4 * 1024**2

# The size of the cache of ranges: headers and directories, which drivers read again, and the last
# blocks.
KEPT_BYTES = 8 * 1024**2

# (offset, length) -> exactly these bytes.
Fetch = Callable[[int, int], bytes]


class RangeReader(io.RawIOBase):
    """A seekable reader. `read` returns all bytes requested, or those up to the end.

    Do not share it among threads. `fetched_bytes` counts the bytes that were fetched.
    """

    def __init__(self, size_bytes: int, fetch: Fetch, name: str) -> None:
        super().__init__()
        self.size_bytes = size_bytes
        self.fetched_bytes = 0
        self._fetch = fetch
        self._name = name
        self._position = 0
        self._fetch_bytes = MIN_FETCH_BYTES
        self._fetched_up_to = -1
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size_bytes}[whence]
        if base + offset < 0:
            raise ValueError("the position is before the beginning")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Read `size` bytes, or all that are left.

        Raises what the fetch raises. StoreUnavailable: it returned another number of bytes.
        """
        left = max(self.size_bytes - self._position, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        parts: list[bytes] = []
        while wanted > 0:
            part = self._read_cached(wanted) or self._fetch_range(wanted)
            parts.append(part)
            wanted -= len(part)
            self._position += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, buffer: Any) -> int:
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def _read_cached(self, wanted: int) -> bytes:
        for start, content in self._kept.items():
            if start <= self._position < start + len(content):
                self._kept.move_to_end(start)
                return content[self._position - start : self._position - start + wanted]
        return b""

    def _fetch_range(self, wanted: int) -> bytes:
        is_sequential = (
            0 <= self._fetched_up_to <= self._position <= self._fetched_up_to + MIN_FETCH_BYTES
        )
        self._fetch_bytes = (
            min(self._fetch_bytes * 2, MAX_FETCH_BYTES) if is_sequential else MIN_FETCH_BYTES
        )
        length = min(
            max(min(wanted, MAX_FETCH_BYTES), self._fetch_bytes), self.size_bytes - self._position
        )
        content = self._fetch(self._position, length)
        if len(content) != length:
            raise StoreUnavailable(
                f"{self._name} returned {len(content)} bytes instead of {length}."
            )
        self.fetched_bytes += length
        self._fetched_up_to = self._position + length
        self._keep(self._position, content)
        return content[:wanted]

    def _keep(self, start: int, content: bytes) -> None:
        self._kept[start] = content
        while sum(map(len, self._kept.values())) > KEPT_BYTES and len(self._kept) > 1:
            self._kept.popitem(last=False)
