"""The JSON documents of OGC API Features: landing page, conformance, collections, queryables.

Sources: OGC 17-069r4 (part 1), 18-058r1 (part 2), 19-079r2 (part 3).

Used by `api/serving` and `serving/features`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from geo_platform.serving.features.collections import FeatureCollection
from geo_platform.serving.features.formats import CSV_TYPE, GEOJSON_TYPE, PARQUET_TYPE
from geo_platform.serving.features.opened import ColumnKind, OpenFeatures
from geo_platform.serving.features.positions import CRS84, crs_uris, storage_crs

JSON_TYPE = "application/json"
SCHEMA_TYPE = "application/schema+json"
FORMATS = {"geojson": GEOJSON_TYPE, "csv": CSV_TYPE, "parquet": PARQUET_TYPE}
CONFORMANCE = (
    "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-common-2/1.0/conf/collections",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/oas30",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
    "http://www.opengis.net/spec/ogcapi-features-2/1.0/conf/crs",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/queryables",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/queryables-query-parameters",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/filter",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/features-filter",
    "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/tileset",
    "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/tilesets-list",
    "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/geodata-tilesets",
    "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/mvt",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-text",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json",
    "http://www.opengis.net/spec/cql2/1.0/conf/basic-cql2",
    "http://www.opengis.net/spec/cql2/1.0/conf/advanced-comparison-operators",
    "http://www.opengis.net/spec/cql2/1.0/conf/case-insensitive-comparison",
    "http://www.opengis.net/spec/cql2/1.0/conf/accent-insensitive-comparison",
    "http://www.opengis.net/spec/cql2/1.0/conf/basic-spatial-functions",
    "http://www.opengis.net/spec/cql2/1.0/conf/basic-spatial-functions-plus",
    "http://www.opengis.net/spec/cql2/1.0/conf/spatial-functions",
    "http://www.opengis.net/spec/cql2/1.0/conf/temporal-functions",
    "http://www.opengis.net/spec/cql2/1.0/conf/property-property",
    "http://www.opengis.net/spec/cql2/1.0/conf/arithmetic",
)
_TYPES: Mapping[ColumnKind, Mapping[str, str]] = {
    ColumnKind.boolean: {"type": "boolean"},
    ColumnKind.integer: {"type": "integer", "format": "int64"},
    ColumnKind.single: {"type": "number", "format": "float"},
    ColumnKind.double: {"type": "number", "format": "double"},
    ColumnKind.text: {"type": "string"},
    ColumnKind.other: {"type": "string"},
    ColumnKind.date: {"type": "string", "format": "date"},
    ColumnKind.time: {"type": "string", "format": "time"},
    # RFC 3339 knows no time without a zone, so it has no format.
    ColumnKind.timestamp: {"type": "string"},
    ColumnKind.instant: {"type": "string", "format": "date-time"},
    ColumnKind.binary: {"type": "string", "contentEncoding": "base64"},
    ColumnKind.json: {},
}
_WITH_CONDITIONS = frozenset(ColumnKind) - {ColumnKind.binary, ColumnKind.json, ColumnKind.other}

# Makes an absolute address below /features: ("collections", id) -> https://HOST/features/...
Address = Callable[..., str]


def link(href: str, rel: str, media_type: str, title: str | None = None) -> dict[str, str]:
    """Return a link object."""
    made = {"href": href, "rel": rel, "type": media_type}
    return {**made, "title": title} if title else made


def landing_page(address: Address, service: str) -> dict[str, Any]:
    """Return the landing page. `service` is the address of the OpenAPI document."""
    return {
        "title": "Features",
        "description": "The rows of published vector items.",
        "links": [
            link(address(), "self", JSON_TYPE),
            link(service, "service-desc", "application/vnd.oai.openapi+json;version=3.1"),
            link(address("conformance"), "conformance", JSON_TYPE),
            link(address("collections"), "data", JSON_TYPE),
        ],
    }


def collection_list(
    collections: Iterable[FeatureCollection], address: Address, next_href: str | None
) -> dict[str, Any]:
    """Return a page of the list of collections."""
    links = [link(address("collections"), "self", JSON_TYPE)]
    if next_href is not None:
        links.append(link(next_href, "next", JSON_TYPE))
    return {
        "links": links,
        "collections": [collection_document(each, address) for each in collections],
    }


def collection_document(collection: FeatureCollection, address: Address) -> dict[str, Any]:
    """Return the description of a collection."""
    at = "collections", collection.id
    document: dict[str, Any] = {
        "id": collection.id,
        "title": collection.title,
        "itemType": "feature",
        "extent": {"spatial": {"bbox": [list(collection.lonlat_bounds)], "crs": CRS84}},
        "crs": list(crs_uris(collection)),
        "links": [
            link(address(*at), "self", JSON_TYPE),
            *(
                link(address(*at, "items", f=name), "items", media_type, f"Rows as {name}")
                for name, media_type in FORMATS.items()
            ),
            link(
                address(*at, "queryables"),
                "http://www.opengis.net/def/rel/ogc/1.0/queryables",
                SCHEMA_TYPE,
            ),
            link(
                address(*at, "tiles"),
                "http://www.opengis.net/def/rel/ogc/1.0/tilesets-vector",
                JSON_TYPE,
                "Vector tiles",
            ),
        ],
        "geo_platform:version": collection.item.version,
        "geo_platform:rows": collection.rows,
        "geo_platform:geometry_type": collection.geometry_type,
    }
    description = collection.item.properties.get("description")
    if description:
        document["description"] = description
    stored = storage_crs(collection)
    if stored is not None:
        document["storageCrs"] = stored
    return document


def queryables(collection: FeatureCollection, opened: OpenFeatures, href: str) -> dict[str, Any]:
    """Return the JSON Schema of the properties that a filter may name."""
    layout = opened.layout
    properties: dict[str, Any] = {
        layout.key.name: {**_TYPES[ColumnKind.integer], "x-ogc-role": "id"},
        **{
            column.name: dict(_TYPES[column.kind])
            for column in layout.columns
            if column.kind in _WITH_CONDITIONS
        },
        collection.geometry_column: {
            "format": "geometry-any",
            "x-ogc-role": "primary-geometry",
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": href,
        "type": "object",
        "title": collection.title,
        "properties": properties,
        "additionalProperties": False,
    }
