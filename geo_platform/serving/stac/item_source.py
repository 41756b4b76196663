"""The port of the STAC search: what it needs from a catalog, under the rights of a caller.

`file_search.py` and `database_search.py` implement it, `stac_reader.py` uses it.

Used by `api/serving` and `serving/stac`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from geo_platform.serving.rights import Rights
from geo_platform.serving.stac.request import ItemSearch

# At most so many items are counted. Above, `numberMatched` is left out.
MAX_COUNTED = 10_000


@dataclass(frozen=True)
class ItemPage:
    """A page of items with the stores' hrefs. `next_token` is None on the last page.

    `matched` is how many items the search finds in all, or None if they were not counted.
    """

    items: tuple[dict[str, Any], ...]
    next_token: str | None
    matched: int | None


@dataclass(frozen=True)
class PropertyTypes:
    """The properties of items: the JSON types of each.

    `is_complete`: they are those of all items, not of a sample.
    """

    types: Mapping[str, frozenset[str]] = field(default_factory=dict)
    is_complete: bool = True


class ItemSource(Protocol):
    """Every method answers for the items that the rights allow, as if there were no others.

    Raises StoreUnavailable or DatabaseUnavailable: the catalog does not answer. StoreDenied: it
    refuses access.
    """

    def page(self, search: ItemSearch, rights: Rights) -> ItemPage:
        """Return a page of the items that the search finds.

        Raises QueryInvalid: the token is not one of this search, or a value cannot be compared.
        TimeExceeded: the search takes too long.
        """

    def collections(self, rights: Rights) -> list[dict[str, Any]]:
        """Return the collections that hold an item, sorted by id, with the extent of the items."""

    def property_types(self, rights: Rights, collections: Sequence[str] | None) -> PropertyTypes:
        """Return the properties of the items in these collections, or in all if None."""

    def close(self) -> None:
        """Close connections."""
