"""A stored object as a file that fetches what is read of it, a range at a time.

What belongs here: which range is fetched when, and what of it is kept. What stays out: how a range is fetched; that is a
function given to the reader, pinned to one etag.

Reading here and there fetches little more than what is asked for. Reading on from where the last range ended fetches
twice as much each time, up to a bound, so that a whole object costs few requests and memory stays flat.
"""

import io
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from geo_platform.errors import StoreUnavailable

LEAST_BYTES = 16 * 1024
# Of one fetch, whatever is read: Azure Blob Storage says the MD5 of a range up to this length.
MOST_AHEAD_BYTES = 4 * 1024**2

# Ranges kept for reading again: headers and directories, which drivers come back to, and the last
# blocks.
KEPT_BYTES = 8 * 1024**2

# (offset, length) -> exactly these bytes.
Fetch = Callable[[int, int], bytes]


class RangeReader(io.RawIOBase):
    """Readable and seekable; `read` gives all that was asked for, or up to the end. Not to be shared among threads."""

    def __init__(self, size_bytes: int, fetch: Fetch, name: str) -> None:
        super().__init__()
        self.size_bytes = size_bytes
        self.fetched_bytes = 0
        self._fetch = fetch
        self._name = name
        self._position = 0
        self._ahead_bytes = LEAST_BYTES
        self._fetched_to = -1
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
            raise ValueError("a position before the beginning")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Raises what the fetching raises, and StoreUnavailable where it gives another number of bytes."""
        left = max(self.size_bytes - self._position, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        parts: list[bytes] = []
        while wanted > 0:
            part = self._from_kept(wanted) or self._from_store(wanted)
            parts.append(part)
            wanted -= len(part)
            self._position += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, buffer: Any) -> int:
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def _from_kept(self, wanted: int) -> bytes:
        for start, content in self._kept.items():
            if start <= self._position < start + len(content):
                self._kept.move_to_end(start)
                return content[self._position - start : self._position - start + wanted]
        return b""

    def _from_store(self, wanted: int) -> bytes:
        goes_on = 0 <= self._fetched_to <= self._position <= self._fetched_to + LEAST_BYTES
        self._ahead_bytes = min(self._ahead_bytes * 2, MOST_AHEAD_BYTES) if goes_on else LEAST_BYTES
        length = min(
            max(min(wanted, MOST_AHEAD_BYTES), self._ahead_bytes), self.size_bytes - self._position
        )
        content = self._fetch(self._position, length)
        if len(content) != length:
            raise StoreUnavailable(
                f"{self._name} gave {len(content)} bytes where {length} were asked for."
            )
        self.fetched_bytes += length
        self._fetched_to = self._position + length
        self._keep(self._position, content)
        return content[:wanted]

    def _keep(self, start: int, content: bytes) -> None:
        self._kept[start] = content
        while sum(map(len, self._kept.values())) > KEPT_BYTES and len(self._kept) > 1:
            self._kept.popitem(last=False)
