"""An object store in memory, and one that kills its caller before, after or within a call.

They implement as much of the port as moving needs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import count
from typing import Any

from geo_platform.contracts.message import ObjectReference
from geo_platform.errors import Conflict, SourceNotFound
from geo_platform.ports import StoredObject


@dataclass(frozen=True)
class _Object:
    content: bytes
    etag: str
    metadata: Mapping[str, str]


class MemoryObjects:
    """Other methods of ObjectStore raise AttributeError."""

    is_local = True

    def __init__(self) -> None:
        self._lying: dict[tuple[str, str], _Object] = {}
        self._etags = count(1)

    def stat(self, container: str, key: str) -> StoredObject:
        return self._described(container, key)

    def list(self, container: str, prefix: str = "") -> Iterator[StoredObject]:
        for place, key in sorted(self._lying):
            if place == container and key.startswith(prefix):
                yield self._described(place, key)

    def read_bytes(self, container: str, key: str) -> bytes:
        return self._at(container, key).content

    def put_bytes(
        self,
        container: str,
        key: str,
        content: bytes,
        *,
        metadata: Mapping[str, str],
        only_if_etag: str | None = None,
    ) -> StoredObject:
        lying = self._lying.get((container, key))
        if only_if_etag is not None and only_if_etag != (lying.etag if lying is not None else ""):
            raise Conflict(f"{container}/{key} is at another etag.")
        self._lying[container, key] = _Object(content, f"e{next(self._etags)}", dict(metadata))
        return self._described(container, key)

    def delete(self, container: str, key: str) -> None:
        self._lying.pop((container, key), None)

    def move(
        self, container: str, key: str, to_container: str, *, etag: str, metadata: Mapping[str, str]
    ) -> StoredObject:
        found = self._at(container, key)
        if found.etag != etag:
            raise Conflict(f"{container}/{key} is at etag {found.etag}, not at {etag}.")
        moved = self.put_bytes(to_container, key, found.content, metadata=metadata)
        self.delete(container, key)
        return moved

    def _at(self, container: str, key: str) -> _Object:
        try:
            return self._lying[container, key]
        except KeyError:
            raise SourceNotFound(f"{container}/{key} is not there.") from None

    def _described(self, container: str, key: str) -> StoredObject:
        lying = self._at(container, key)
        uri = f"memory:///{container}/{key}"
        reference = ObjectReference(
            container=container, key=key, uri=uri, etag=lying.etag, size_bytes=len(lying.content)
        )
        return StoredObject(reference, datetime(2026, 6, 1, tzinfo=UTC), lying.metadata)


def contents(store: Any, container: str) -> dict[str, bytes]:
    """Return everything in a container."""
    keys = [stored.reference.key for stored in store.list(container)]
    return {key: store.read_bytes(container, key) for key in keys}


class When(StrEnum):
    before = "before"
    within = "within"
    after = "after"


class Killed(BaseException):
    """Not caught by `except Exception`."""


class Mortal:
    """A store whose caller dies at the call of this number, from 0. `calls` names all calls.

    In the middle of a move the object is in both containers, as the port allows.
    """

    def __init__(self, store: Any, number: int = -1, when: When = When.before) -> None:
        self._store = store
        self._death = (number, when)
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(*given: Any, **named: Any) -> Any:
            number = len(self.calls)
            self.calls.append(name)
            self._die(number, When.before)
            if name == "move":
                self._stop_within(number, *given, **named)
            try:
                answer = method(*given, **named)
                return iter(list(answer)) if name == "list" else answer
            finally:
                self._die(number, When.after)

        return call

    def _stop_within(
        self,
        number: int,
        container: str,
        key: str,
        to_container: str,
        *,
        etag: str,
        metadata: Mapping[str, str],
    ) -> None:
        if (
            self._death == (number, When.within)
            and self._store.stat(container, key).reference.etag == etag
        ):
            self._store.put_bytes(
                to_container, key, self._store.read_bytes(container, key), metadata=metadata
            )
            self._die(number, When.within)

    def _die(self, number: int, when: When) -> None:
        if self._death == (number, when):
            raise Killed
