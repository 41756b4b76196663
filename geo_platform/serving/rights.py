"""Decide which published items a caller may read.

Used by `api/serving`, `serving/features`, `serving/stac` and `serving`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from geo_platform.ports import ITEM_SOURCE_CONTAINER

# The property of a vector item that names its dataset. The dataset of any other item is its id.
ITEM_DATASET = "geo_platform:dataset"


@dataclass(frozen=True)
class Rights:
    """The items that a caller may read, as shell-style name patterns.

    An item is readable if the container of its source, its dataset and its collection each match
    one of the patterns. An empty tuple allows every name.
    """

    containers: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()

    @property
    def is_limited(self) -> bool:
        """Return whether there may be items that the caller must not see."""
        return bool(self.containers or self.datasets or self.collections)

    def allows(self, item: Mapping[str, Any]) -> bool:
        """Return whether the caller may read this item, a STAC document with its collection."""
        properties = item["properties"]
        return (
            _matches(properties.get(ITEM_SOURCE_CONTAINER, ""), self.containers)
            and _matches(properties.get(ITEM_DATASET) or item["id"], self.datasets)
            and _matches(item["collection"], self.collections)
        )


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
