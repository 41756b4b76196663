"""What every item says of how it came about, whatever it holds.

What belongs here: identifiers of the run, versions of software, links to the source. What stays out: bands and columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from geo_platform.catalog.acquired import Acquired, rfc3339
from geo_platform.catalog.naming import default_collection, default_item_id, default_title
from geo_platform.contracts.arrival import ObjectArrived, SourceKind
from geo_platform.contracts.message import Finding, ObjectReference
from geo_platform.options import ItemOptions
from geo_platform.ports import (
    ASSET_CONTAINER,
    ASSET_KEY,
    ITEM_FINGERPRINT,
    ITEM_RUN_ID,
    ITEM_SOURCE,
    ITEM_SOURCE_CONTAINER,
)

STAC_VERSION = "1.1.0"
FILE_EXTENSION = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
PROCESSING_EXTENSION = "https://stac-extensions.github.io/processing/v1.1.0/schema.json"
PROJECTION_EXTENSION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
RASTER_EXTENSION = "https://stac-extensions.github.io/raster/v2.0.0/schema.json"
TABLE_EXTENSION = "https://stac-extensions.github.io/table/v1.2.0/schema.json"
VERSION_EXTENSION = "https://stac-extensions.github.io/version/v1.2.0/schema.json"

# Multihash prefix: function 0x12 (sha2-256), digest length 0x20.
_SHA2_256_MULTIHASH = "1220"

_RECORDED = {
    SourceKind.raster: ("geo-platform", "rasterio", "rio-cogeo", "numpy"),
    SourceKind.vector: ("geo-platform", "pyogrio", "shapely", "pyarrow"),
}


@dataclass(frozen=True)
class Provenance:
    """Who publishes what, when, over which. `created_utc` is when the item id was first published; `before`, what it replaces."""

    run_id: str
    fingerprint: str
    published_at_utc: datetime
    created_utc: datetime
    software: Mapping[str, str]
    before: Mapping[str, Any] | None = None


def item_place(
    source: ObjectArrived, options: ItemOptions, *, dataset: str | None = None
) -> tuple[str, str]:
    """(collection id, item id) that the options and the object's name come to.

    With `dataset`, rows of several objects are in one dataset, and its name is what their item is called after.
    """
    return options.collection_id or default_collection(
        source.kind
    ), options.item_id or dataset or default_item_id(source.key)


def software_versions(kind: SourceKind) -> dict[str, str]:
    """Versions of what made the bytes; a package that is not installed is left out."""
    found: dict[str, str] = {}
    for name in _RECORDED[kind]:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    found["gdal"] = _gdal_version(kind)
    return found


def item_skeleton(
    source: ObjectArrived,
    options: ItemOptions,
    provenance: Provenance,
    when: Acquired,
    *,
    dataset: str | None = None,
) -> dict[str, Any]:
    """The item without geometry, assets and what is particular to its kind. `dataset` as in `item_place`."""
    collection, item_id = item_place(source, options, dataset=dataset)
    properties: dict[str, Any] = {
        **when.properties(),
        "title": options.title or dataset or default_title(source.key),
        **({"description": options.description} if options.description else {}),
        **({"keywords": options.keywords} if options.keywords else {}),
        "created": rfc3339(provenance.created_utc),
        "updated": rfc3339(provenance.published_at_utc),
        "version": provenance.fingerprint,
        "processing:software": dict(provenance.software),
        ITEM_RUN_ID: provenance.run_id,
        ITEM_FINGERPRINT: provenance.fingerprint,
        ITEM_SOURCE: source.key,
        ITEM_SOURCE_CONTAINER: source.container,
        "geo_platform:source_etag": source.etag,
        "geo_platform:source_format": source.format.value,
        "geo_platform:kind": source.kind.value,
        "geo_platform:datetime_source": when.source,
    }
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [],
        "id": item_id,
        "collection": collection,
        "geometry": None,
        "bbox": None,
        "properties": properties,
        "links": [
            {"rel": "root", "href": "../../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../collection.json", "type": "application/json"},
            {"rel": "collection", "href": "../collection.json", "type": "application/json"},
            {
                "rel": "via",
                "href": source.uri,
                "type": source.media_type,
                "title": f"{source.container}/{source.key}",
            },
        ],
        "assets": {},
    }


def stored_asset(
    stored: ObjectReference,
    media_type: str,
    roles: list[str],
    *,
    title: str,
    sha256: str | None = None,
) -> dict[str, Any]:
    """An asset that is an object of the store, with where it lies there."""
    asset: dict[str, Any] = {
        "href": stored.uri,
        "type": media_type,
        "title": title,
        "roles": roles,
        "file:size": stored.size_bytes,
    }
    if sha256 is not None:
        asset["file:checksum"] = _SHA2_256_MULTIHASH + sha256
    return asset | {ASSET_CONTAINER: stored.container, ASSET_KEY: stored.key}


def findings(found: tuple[Finding, ...]) -> list[dict[str, str]]:
    """Warnings as JSON values."""
    return [{"code": finding.code, "message": finding.message} for finding in found]


def projection(authority_code: str | None, wkt: str) -> dict[str, Any]:
    """proj:code, and the WKT2 where no authority knows the CRS (projection extension 2.0.0)."""
    return (
        {"proj:code": authority_code} if authority_code else {"proj:code": None, "proj:wkt2": wkt}
    )


def _gdal_version(kind: SourceKind) -> str:
    """The two chains carry a GDAL each, so each says its own."""
    if kind is SourceKind.raster:
        import rasterio

        return str(rasterio.__gdal_version__)
    import pyogrio

    return str(pyogrio.__gdal_version_string__)
