"""Sort indexed items as PostgreSQL sorts JSON values, and find the place of a page token.

Items without the value come last in both directions. Of several types, texts come before numbers,
then booleans and lists (the order of PostgreSQL's jsonb, ascending).

Called by `collection_search.py` and `file_search.py`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

from geo_platform.serving.stac.request import SortKey


class Sortable(Protocol):
    """What items and collections have in common."""

    @property
    def collection(self) -> str: ...

    @property
    def item_id(self) -> str: ...

    @property
    def start(self) -> datetime: ...

    @property
    def properties(self) -> Mapping[str, Any]: ...


S = TypeVar("S", bound=Sortable)


def sort_values(item: Sortable, keys: Sequence[SortKey]) -> tuple[Any, ...]:
    """Return the values of the sort keys, as they stand in a page token."""
    return tuple(_value(item, key.field) for key in keys)


def in_order(items: list[S], keys: Sequence[SortKey]) -> list[S]:
    """Return the items sorted by the keys. They come in the order newest first."""
    if [(key.field, key.is_descending) for key in keys] == [
        ("datetime", True),
        ("collection", True),
        ("id", True),
    ]:
        return items
    for key in reversed(keys):
        present = [item for item in items if _value(item, key.field) is not None]
        absent = [item for item in items if _value(item, key.field) is None]
        present.sort(
            key=lambda item, name=key.field: _rank(_value(item, name)),  # type: ignore[misc]
            reverse=key.is_descending,
        )
        items = present + absent
    return items


def after(items: list[S], keys: Sequence[SortKey], values: Sequence[Any]) -> list[S]:
    """Return the items that come after the place with these values."""

    def compare(item: S) -> int:
        for key, value in zip(keys, values, strict=True):
            own = _value(item, key.field)
            if own is None or value is None:
                order = (own is None) - (value is None)
            else:
                left, right = _rank(own), _rank(value)
                order = (left > right) - (left < right)
                order = -order if key.is_descending else order
            if order:
                return order
        return 0

    low, high = 0, len(items)
    while low < high:
        middle = (low + high) // 2
        if compare(items[middle]) > 0:
            high = middle
        else:
            low = middle + 1
    return items[low:]


def _value(item: Sortable, name: str) -> Any:
    if name == "datetime":
        return item.start.isoformat()
    if name == "id":
        return item.item_id
    if name == "collection":
        return item.collection
    return item.properties.get(name)


def _rank(value: Any) -> tuple[Any, ...]:
    if isinstance(value, bool):
        return (2, value)
    if isinstance(value, str):
        return (0, value)
    if isinstance(value, int | float):
        return (1, value)
    if isinstance(value, list):
        return (3, len(value), tuple(_rank(each) for each in value))
    return (4, str(value))
