"""Describe the properties that a filter or an order may name, as JSON Schema.

Source: https://github.com/stac-api-extensions/filter#queryables

Called by `stac_reader.py`.
"""

from collections.abc import Iterable
from typing import Any

from geo_platform.errors import QueryInvalid
from geo_platform.serving.stac.item_source import PropertyTypes

_FIELDS: dict[str, dict[str, Any]] = {
    "id": {"title": "Item ID", "type": "string"},
    "collection": {"title": "Collection ID", "type": "string"},
    "geometry": {"title": "Footprint", "$ref": "https://geojson.org/schema/Geometry.json"},
    "datetime": {"title": "Time", "type": "string", "format": "date-time"},
}
_TIMES = {"created", "updated", "start_datetime", "end_datetime", "expires", "published"}


def queryables(found: PropertyTypes, href: str, *, title: str) -> dict[str, Any]:
    """Return the queryables document with this address.

    `additionalProperties` is false if these are all properties: any other is refused.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": href,
        "type": "object",
        "title": title,
        "properties": {**_FIELDS, **_described(found)},
        "additionalProperties": not found.is_complete,
    }


def sortables(found: PropertyTypes, href: str, *, title: str) -> dict[str, Any]:
    """Return the sortables document with this address."""
    document = queryables(found, href, title=title)
    document["properties"].pop("geometry")
    return document


def check_known(names: Iterable[str], found: PropertyTypes) -> None:
    """Raise QueryInvalid if one of the names is not among the properties."""
    known = {*found.types, *_FIELDS}
    for name in sorted(names):
        if found.is_complete and name not in known and name.split(".")[0] not in known:
            raise QueryInvalid(
                f"No item has the property {name!r}.",
                remedy="GET /stac/queryables lists the properties of the items that you may read.",
            )


def _described(found: PropertyTypes) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for name in sorted(found.types.keys() - _FIELDS.keys()):
        types = sorted(found.types[name])
        described[name] = {"title": name, "type": types[0] if len(types) == 1 else types}
        if name in _TIMES and types == ["string"]:
            described[name]["format"] = "date-time"
    return described
