"""What a search in memory compares of an item or a collection, and the evaluation of CQL2 on it.

Called by `collection_search.py` and `file_search.py`.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import cql2
import shapely

from geo_platform.errors import TimeExceeded
from geo_platform.serving.stac.cql2_filter import properties_of


@dataclass(frozen=True, slots=True)
class IndexedItem:
    """An item. `properties` are the numbers, texts and lists of these; `geometry` may be None."""

    collection: str
    item_id: str
    start: datetime
    end: datetime
    geometry: shapely.Geometry | None
    bbox: Any
    properties: Mapping[str, Any]


def json_type(value: Any) -> str:
    """Return the name of a value's type in JSON Schema."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    return "number" if isinstance(value, int | float) else "array"


def is_simple(value: Any) -> bool:
    """Return whether a filter can compare the value: a scalar or a list of scalars."""
    if isinstance(value, list):
        return all(isinstance(each, str | int | float) for each in value)
    return isinstance(value, str | int | float)


def matching(items: list[IndexedItem], expression: Any, deadline: float) -> list[IndexedItem]:
    """Return the items that the CQL2 expression matches.

    An expression over a property that the item does not have is neither true nor false: such an
    item does not match.
    Raises TimeExceeded: it takes until after the deadline.
    """
    condition, names = cql2.Expr(expression), set(properties_of(expression))
    found = []
    for item in items:
        if time.monotonic() > deadline:
            raise TimeExceeded(
                "The search takes too long.",
                remedy="Narrow it by collections, bbox or datetime, or simplify the filter.",
            )
        slim: dict[str, Any] = {
            "id": item.item_id,
            "collection": item.collection,
            "properties": {
                name: value for name in names if (value := item.properties.get(name)) is not None
            },
        }
        if "geometry" in names and item.geometry is not None:
            slim["geometry"] = json.loads(shapely.to_geojson(item.geometry))
        # What stays undecided is an expression still.
        if condition.reduce(slim).to_text() == "true":
            found.append(item)
    return found
