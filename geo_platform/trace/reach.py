"""Ask several stores when some may not answer, and remember which did not."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from geo_platform.errors import (
    CatalogRejected,
    DatabaseUnavailable,
    PlatformError,
    StoreDenied,
    StoreUnavailable,
)
from geo_platform.trace.timeline import Store

T = TypeVar("T")
U = TypeVar("U")

# CatalogRejected: the store answers, but with a document that cannot be used.
_OUT_OF_REACH = (StoreUnavailable, StoreDenied, DatabaseUnavailable, CatalogRejected)


@dataclass
class Reach:
    """Asks stores, and remembers those that did not answer.

    A store that did not answer is not asked again, since each call would wait again. One that
    returned an unusable document is: its other documents may be sound.
    """

    _faults: dict[Store, PlatformError] = field(default_factory=dict)

    def ask(self, store: Store, question: Callable[[], T], otherwise: U) -> T | U:
        """Return the answer, or `otherwise` if the store does not answer now or did not before."""
        if self._is_unreachable(store):
            return otherwise
        try:
            return question()
        except _OUT_OF_REACH as fault:
            self._faults[store] = fault
            return otherwise

    def gather(self, store: Store, question: Callable[[], Iterable[T]]) -> list[T]:
        """Return what the store yields, up to the first error."""
        gathered: list[T] = []
        if self._is_unreachable(store):
            return gathered
        try:
            for part in question():
                # Not list(): what comes before an error is kept.
                gathered.append(part)
        except _OUT_OF_REACH as fault:
            self._faults[store] = fault
        return gathered

    def _is_unreachable(self, store: Store) -> bool:
        return not isinstance(self._faults.get(store), CatalogRejected | None)

    def unreached(self) -> tuple[Mapping[str, Any], ...]:
        """Return each store that did not answer, with code, message and remedy."""
        named = ("code", "message", "remedy")
        return tuple(
            {
                "store": store.value,
                **{name: self._faults[store].as_record()[name] for name in named},
            }
            for store in Store
            if store in self._faults
        )
