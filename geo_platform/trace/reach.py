"""Asking stores of which some may be out of reach: the others' answers count, and who did not answer is named.

What belongs here: which errors mean that a store was not reached. What stays out: what is asked.
"""

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

# The last one: a store that answers what cannot be used.
_OUT_OF_REACH = (StoreUnavailable, StoreDenied, DatabaseUnavailable, CatalogRejected)


@dataclass
class Reach:
    """Asks, and remembers who did not answer. Such a store is not asked again: each time would wait anew.

    One that answers what cannot be used is asked again: another item of it may be sound.
    """

    _faults: dict[Store, PlatformError] = field(default_factory=dict)

    def ask(self, store: Store, question: Callable[[], T], otherwise: U) -> T | U:
        """The answer, or `otherwise` where the store is out of reach, now or before."""
        if self._is_away(store):
            return otherwise
        try:
            return question()
        except _OUT_OF_REACH as fault:
            self._faults[store] = fault
            return otherwise

    def gather(self, store: Store, question: Callable[[], Iterable[T]]) -> list[T]:
        """What the store hands out one by one, as far as it does."""
        gathered: list[T] = []
        if self._is_away(store):
            return gathered
        try:
            for part in question():
                gathered.append(part)  # what came before a fault is kept
        except _OUT_OF_REACH as fault:
            self._faults[store] = fault
        return gathered

    def _is_away(self, store: Store) -> bool:
        return not isinstance(self._faults.get(store), CatalogRejected | None)

    def unreached(self) -> tuple[Mapping[str, Any], ...]:
        """Each store that did not answer, with code, message and remedy, in the order in which stores are named."""
        named = ("code", "message", "remedy")
        return tuple(
            {
                "store": store.value,
                **{name: self._faults[store].as_record()[name] for name in named},
            }
            for store in Store
            if store in self._faults
        )
