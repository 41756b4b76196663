"""Local files seen as a store that can only be read: what `plan` looks through, so that nothing is copied or written.

What belongs here: reading. What stays out: writing; that is `folder.py`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from geo_platform.contracts.message import ObjectReference
from geo_platform.errors import Conflict, SourceNotFound, StoreDenied
from geo_platform.ports import ObjectPage, StoredObject
from geo_platform.storage.local.atomic import os_errors


class LocalView:
    """Implements `ports.ObjectStore` for reading; keys are absolute paths without their leading slash, whatever the container."""

    is_local = True

    def stat(self, container: str, key: str) -> StoredObject:
        path = Path("/", key)
        if not path.is_file():
            raise SourceNotFound(f"There is no file {path.name!r}.")
        with os_errors(f"The file {path.name!r}"):
            status = path.stat()
        etag = f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"
        reference = ObjectReference(
            container=container, key=key, uri=path.as_uri(), etag=etag, size_bytes=status.st_size
        )
        return StoredObject(reference, datetime.fromtimestamp(status.st_mtime, UTC))

    def list(self, container: str, prefix: str = "") -> Iterator[StoredObject]:
        folder = Path("/", prefix).parent if not prefix.endswith("/") else Path("/", prefix)
        names = (
            sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
        )
        keys = (path.as_posix().lstrip("/") for path in names)
        return (self.stat(container, key) for key in keys if key.startswith(prefix))

    def page(
        self, container: str, prefix: str = "", *, after: str | None = None, most: int = 5000
    ) -> ObjectPage:
        at = datetime.now(UTC)
        found = [
            stored
            for stored in self.list(container, prefix)
            if after is None or stored.reference.key > after
        ]
        return ObjectPage(
            tuple(found[:most]), found[most - 1].reference.key if len(found) > most else None, at
        )

    @contextmanager
    def local_path(self, container: str, key: str, *, etag: str | None = None) -> Iterator[Path]:
        if etag not in (None, self.stat(container, key).reference.etag):
            raise Conflict(f"The file {key!r} changed while it was looked at.", remedy="Try again.")
        yield Path("/", key)

    @contextmanager
    def open(self, container: str, key: str, *, etag: str | None = None) -> Iterator[BinaryIO]:
        with self.local_path(container, key, etag=etag) as path:
            with os_errors(f"The file {key!r}"):
                stream = path.open("rb")
            with stream:
                yield stream

    def read_bytes(self, container: str, key: str) -> bytes:
        self.stat(container, key)
        with os_errors(f"The file {key!r}"):
            return Path("/", key).read_bytes()

    def put_file(
        self,
        container: str,
        key: str,
        path: Path,
        *,
        metadata: Mapping[str, str],
        move: bool = False,
        only_if_etag: str | None = None,
    ) -> StoredObject:
        raise self._read_only(key)

    def put_bytes(
        self,
        container: str,
        key: str,
        content: bytes,
        *,
        metadata: Mapping[str, str],
        only_if_etag: str | None = None,
    ) -> StoredObject:
        raise self._read_only(key)

    def delete(self, container: str, key: str) -> None:
        raise self._read_only(key)

    def move(
        self, container: str, key: str, to_container: str, *, etag: str, metadata: Mapping[str, str]
    ) -> StoredObject:
        raise self._read_only(key)

    @staticmethod
    def _read_only(key: str) -> StoreDenied:
        return StoreDenied(f"Local files are only looked at here; {key!r} was to be written.")
