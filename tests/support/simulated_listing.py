"""A simulated container of a million objects that can only be listed.

It implements the part of the ObjectStore port that a listing needs, and the store's clock. Objects
are numbers in arrays, and are described when a page is requested. Objects and references are as
small as possible, because a pass makes a million of them.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from heapq import merge
from itertools import islice
from typing import Any

import numpy as np

from geo_platform.errors import ParameterInvalid
from geo_platform.ports import ObjectPage, StoredObject

BEGIN = datetime(2026, 6, 1, tzinfo=UTC)
CONTAINER = "bronze"


class _Reference:
    __slots__ = ("etag", "key")
    container = CONTAINER
    size_bytes = 5

    def __init__(self, key: str, etag: str) -> None:
        self.key = key
        self.etag = etag

    @property
    def uri(self) -> str:
        return f"memory:///{CONTAINER}/{self.key}"


class _Stored:
    __slots__ = ("last_modified_utc", "reference")
    metadata: dict[str, str] = {}  # noqa: RUF012 - never written to
    appeared_utc = None

    def __init__(self, reference: _Reference, last_modified_utc: datetime) -> None:
        self.reference = reference
        self.last_modified_utc = last_modified_utc


class SimulatedListing:
    """`count` day-old objects `t/0000000.tif` and so on, and others by name.

    `now_s` is the store's time in seconds since BEGIN. `before_page` is called with the number of
    each page, from 0.
    """

    is_local = False

    def __init__(self, count: int, *, page_objects: int | None = None) -> None:
        self.now_s = 0.0
        self.pages = 0
        self.page_objects = page_objects
        self.before_page: Callable[[int], object] = lambda _: None
        self.refuses_to_go_on = False
        self._times = np.full(count, -86_400, dtype=np.int32)
        self._versions = np.zeros(count, dtype=np.int32)
        self._named: dict[str, tuple[int, int]] = {}

    def write(self, key: str | int, *, skew_s: float = 0) -> tuple[str, str]:
        """Put an object, by a clock that is wrong by `skew_s`; return (key, etag)."""
        at_s = int(np.floor(self.now_s + skew_s))
        if isinstance(key, int):
            self._times[key] = at_s
            self._versions[key] += 1
            return _key(key), f"v{self._versions[key]}"
        version = self._named.get(key, (0, 0))[1] + 1
        self._named[key] = (at_s, version)
        return key, f"v{version}"

    def everything(self) -> dict[str, str]:
        """Return the etag of each object, by key."""
        return {stored.reference.key: stored.reference.etag for stored in self._from("")}

    def list(self, container: str, prefix: str = "") -> Iterator[Any]:
        for stored in self._from(prefix, inclusive=True):
            if not stored.reference.key.startswith(prefix):
                return
            yield stored

    def page(
        self, container: str, prefix: str = "", *, after: str | None = None, limit: int = 5000
    ) -> ObjectPage:
        if self.refuses_to_go_on and after is not None:
            raise ParameterInvalid("The listing cannot continue.")
        self.before_page(self.pages)
        self.pages += 1
        limit = min(limit, self.page_objects or limit)
        found: tuple[StoredObject, ...] = tuple(islice(self._from(after or ""), limit + 1))  # type: ignore[arg-type]
        at = BEGIN + timedelta(seconds=int(self.now_s))
        return ObjectPage(
            found[:limit], found[limit - 1].reference.key if len(found) > limit else None, at
        )

    def _from(self, key: str, *, inclusive: bool = False) -> Iterator[_Stored]:
        """Yield the objects after the key, in order."""
        first = bisect_right(range(len(self._times)), key, key=_key) if key else 0
        names = sorted(name for name in self._named if name > key or (inclusive and name == key))
        return merge(
            self._numbered(first, key if inclusive else None),
            map(self._one_named, names),
            key=lambda one: one.reference.key,
        )

    def _numbered(self, first: int, also: str | None) -> Iterator[_Stored]:
        if also is not None and first > 0 and _key(first - 1) == also:
            first -= 1
        for start in range(first, len(self._times), 10_000):
            part = slice(start, start + 10_000)
            for number, (at_s, version) in enumerate(
                zip(self._times[part].tolist(), self._versions[part].tolist(), strict=True), start
            ):
                yield _Stored(_Reference(f"t/{number:07d}.tif", f"v{version}"), _time(at_s))

    def _one_named(self, name: str) -> _Stored:
        at_s, version = self._named[name]
        return _Stored(_Reference(name, f"v{version}"), _time(at_s))


def _key(number: int) -> str:
    return f"t/{number:07d}.tif"


@lru_cache(100_000)
def _time(at_s: int) -> datetime:
    return BEGIN + timedelta(seconds=at_s)
