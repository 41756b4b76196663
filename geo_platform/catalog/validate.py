"""Validate STAC documents without a network.

pystac includes the JSON Schemas of the STAC core; `schemas/` has those of the extensions. Rules
that the schemas cannot express are checked in code. The validator is imported when the first
document is checked, because an item that is published already needs no check.

Called by `chains/shared.py`, `publish.py` and `raster_item.py`.
"""

import json
import math
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

# No package carries this extension's schema, so `_raster_faults` checks its fields.
RASTER_EXTENSION = "https://stac-extensions.github.io/raster/v2.0.0/schema.json"

_CORE = "https://schemas.stacspec.org/v1.1.0/{0}-spec/json-schema/{0}.json"
_RASTER_NUMBERS = {
    "raster:scale",
    "raster:offset",
    "raster:spatial_resolution",
    "raster:bits_per_sample",
}
_CHECKED_BY_HAND = frozenset({RASTER_EXTENSION})


def item_faults(item: dict[str, Any]) -> tuple[str, ...]:
    """Return the faults of an item as texts, empty if it is valid. Relative hrefs are valid."""
    document = json.loads(json.dumps(item))
    faults = [
        *_schema_faults(document, "item"),
        *_raster_faults(document),
        *_bbox_faults(document),
    ]
    return tuple(faults)


def collection_faults(collection: dict[str, Any]) -> tuple[str, ...]:
    """Return the faults of a collection as texts, empty if it is valid."""
    return tuple(_schema_faults(json.loads(json.dumps(collection)), "collection"))


def _schema_faults(document: dict[str, Any], kind: str) -> Iterator[str]:
    extensions = document.get("stac_extensions", [])
    known = _schemas()
    for uri in [_CORE.format(kind), *(uri for uri in extensions if uri not in _CHECKED_BY_HAND)]:
        if uri not in known:
            yield f"extension {uri}: its schema is not known"
            continue
        errors = [_deepest(error) for error in _validator(uri).iter_errors(document)]
        for path, message in sorted(
            {(error.json_path, str(error.message)[:300]) for error in errors}
        ):
            yield f"{uri.split('/')[-3]}: {path}: {message}"


def _deepest(error: Any) -> Any:
    # If all alternatives of a schema fail, report the error deepest in the document. The other
    # alternatives are for another kind of document.
    while error.context:
        error = max(error.context, key=lambda inner: len(inner.absolute_path))
    return error


def _raster_faults(document: dict[str, Any]) -> Iterator[str]:
    """Check names and types of the fields of the raster extension 2.0.0.

    At least one field is required, and `raster:bands` of version 1 is not allowed. Source: README
    and changelog of the extension.
    """
    if RASTER_EXTENSION not in document.get("stac_extensions", []):
        return
    field_count = 0
    for key, asset in document.get("assets", {}).items():
        for place in [asset, *asset.get("bands", [])]:
            for name, value in place.items():
                if name.startswith("raster:"):
                    field_count += 1
                    if not _raster_field_is_valid(name, value):
                        yield f"raster: assets.{key}: {name} is {value!r}"
    if not field_count:
        yield "raster: no asset has a field of the raster extension"


def _raster_field_is_valid(name: str, value: object) -> bool:
    if name in _RASTER_NUMBERS:
        return (
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        )
    return name == "raster:sampling" and value in {"area", "point"}


def _bbox_faults(document: dict[str, Any]) -> Iterator[str]:
    bbox = document.get("bbox")
    if isinstance(bbox, list) and len(bbox) == 4:
        west, south, east, north = bbox
        if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
            yield f"bbox is not in longitudes and latitudes: {bbox}"


@cache
def _schemas() -> dict[str, dict[str, Any]]:
    """Return the schemas of the STAC core and the extensions, by URI."""
    from pystac.validation.local_validator import get_local_schema_cache

    schemas = dict(get_local_schema_cache())
    for entry in files("geo_platform.catalog").joinpath("schemas").iterdir():
        if entry.name.endswith(".json"):
            schema = json.loads(entry.read_text(encoding="utf-8"))
            schemas[schema["$id"].rstrip("#")] = schema
    return schemas


@cache
def _validator(uri: str) -> Any:
    from jsonschema import Draft7Validator  # type: ignore[import-untyped]
    from referencing import Registry, Resource

    registry = Registry().with_resources(
        (known, Resource.from_contents(schema)) for known, schema in _schemas().items()
    )
    return Draft7Validator(_schemas()[uri], registry=registry)
