"""A folder that behaves like a remote store: range reads, counted bytes, failures.

For tests of readers; the integration tests use Azure Blob Storage.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from geo_platform.storage.azure.reads import RangeReader
from geo_platform.storage.local.folder import FolderStore


class FarFolder(FolderStore):
    """`fetches` holds the lengths of all ranges.

    From fetch number `fails_at` on, every fetch raises `fault`.
    """

    is_local = False

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.fetches: list[int] = []
        self.whole: list[str] = []
        self.fails_at: int | None = None
        self.fault: Exception = Exception()

    @contextmanager
    def open(self, container: str, key: str, *, etag: str | None = None) -> Iterator[BinaryIO]:
        with super().open(container, key, etag=etag) as file:

            def fetch(offset: int, length: int) -> bytes:
                if self.fails_at is not None and len(self.fetches) >= self.fails_at:
                    raise self.fault
                self.fetches.append(length)
                file.seek(offset)
                return file.read(length)

            with RangeReader(
                self.stat(container, key).reference.size_bytes,
                fetch,
                f"The object {container}/{key}",
            ) as reader:
                yield cast(BinaryIO, reader)

    @contextmanager
    def local_path(self, container: str, key: str, *, etag: str | None = None) -> Iterator[Path]:
        self.whole.append(key)
        with super().local_path(container, key, etag=etag) as path:
            yield path
