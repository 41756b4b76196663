"""Build the parts that raster and vector STAC items share, and the collection of an item.

`raster_item.py` and `vector_item.py` add the parts of their kind. Importing pystac takes about
0.2 s. Therefore import this module only in the function that builds an item.

Used by `catalog`.
"""

import json
from collections.abc import Iterable
from typing import Any

import pystac
import shapely
from pystac import MediaType, RelType
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.version import ItemVersionExtension
from shapely.geometry import shape

from geo_platform.catalog.acquisition_time import AcquisitionTime
from geo_platform.catalog.naming import default_title, item_place
from geo_platform.catalog.provenance import Provenance
from geo_platform.contracts.arrival import ObjectArrived, SourceKind
from geo_platform.contracts.message import Finding, ObjectReference
from geo_platform.errors import CatalogRejected
from geo_platform.grid import LonLatBounds
from geo_platform.options import ItemOptions
from geo_platform.ports import (
    ASSET_CONTAINER,
    ASSET_KEY,
    ITEM_FINGERPRINT,
    ITEM_RUN_ID,
    ITEM_SOURCE,
    ITEM_SOURCE_CONTAINER,
)

# pystac has no class for the processing extension: its fields are written as plain properties.
PROCESSING_EXTENSION = "https://stac-extensions.github.io/processing/v1.1.0/schema.json"

# Multihash prefix: function 0x12 (sha2-256), digest length 0x20.
_SHA2_256_MULTIHASH = "1220"

_DESCRIPTIONS = {
    SourceKind.raster: (
        "Rasters",
        "Rasters as Cloud Optimized GeoTIFFs, each opened again and compared with its source.",
    ),
    SourceKind.vector: (
        "Vector datasets",
        "Vector datasets as sorted GeoParquet; every row of the source is published or listed.",
    ),
}


def new_item(
    source: ObjectArrived,
    options: ItemOptions,
    provenance: Provenance,
    acquired: AcquisitionTime,
    geometry: shapely.Geometry,
    *,
    within: LonLatBounds,
    place: tuple[str, str] | None = None,
    dataset: str | None = None,
    layer: str | None = None,
    extensions: Iterable[str] = (),
) -> pystac.Item:
    """Return an item with collection, id, time, provenance and links, without assets.

    `within` are the bounds of the data; their west is greater than their east if the data crosses
    the antimeridian. `place` is the (collection id, item id) if the source has several items.
    `dataset` is the title of the item if several sources share it (see `naming.dataset_of`);
    `layer` is added to the title. `extensions` are schema URIs that are added to those of every
    item: file, processing, projection and version.
    """
    collection, item_id = place or item_place(source, options)
    item = pystac.Item(
        id=item_id,
        collection=collection,
        geometry=json.loads(shapely.to_geojson(geometry), parse_float=_rounded),
        bbox=list(bounding_box(geometry, within).wsen),
        datetime=acquired.start_utc,
        properties=acquired.properties(),
        stac_extensions=sorted(
            {
                FileExtension.get_schema_uri(),
                PROCESSING_EXTENSION,
                ProjectionExtension.get_schema_uri(),
                ItemVersionExtension.get_schema_uri(),
                *extensions,
            }
        ),
    )
    common = item.common_metadata
    title = options.title or dataset or default_title(source.key)
    common.title = title if layer is None else f"{title}, {layer}"
    common.description = options.description or None
    common.keywords = options.keywords or None
    common.created = provenance.created_utc
    common.updated = provenance.published_at_utc
    ItemVersionExtension.ext(item).version = provenance.fingerprint
    item.properties |= {
        "processing:software": dict(provenance.software),
        ITEM_RUN_ID: provenance.run_id,
        ITEM_FINGERPRINT: provenance.fingerprint,
        ITEM_SOURCE: source.key,
        ITEM_SOURCE_CONTAINER: source.container,
        "geo_platform:source_etag": source.etag,
        "geo_platform:source_format": source.format.value,
        "geo_platform:kind": source.kind.value,
        "geo_platform:datetime_source": acquired.source,
    }
    item.add_links(
        [
            pystac.Link(RelType.ROOT, "../../catalog.json", MediaType.JSON),
            pystac.Link(RelType.PARENT, "../collection.json", MediaType.JSON),
            pystac.Link(RelType.COLLECTION, "../collection.json", MediaType.JSON),
            pystac.Link(
                RelType.VIA, source.uri, source.media_type, f"{source.container}/{source.key}"
            ),
        ]
    )
    return item


def to_document(document: pystac.Item | pystac.Collection) -> dict[str, Any]:
    """Return the item or collection as JSON values for `Catalog.publish`, with unchanged hrefs."""
    return document.to_dict(include_self_link=False, transform_hrefs=False)


def add_stored_asset(
    item: pystac.Item,
    name: str,
    stored: ObjectReference,
    media_type: str,
    roles: list[str],
    *,
    title: str,
    sha256: str | None = None,
) -> pystac.Asset:
    """Add an object of the store to the item as an asset, and return the asset."""
    asset = pystac.Asset(stored.uri, title=title, media_type=media_type, roles=roles)
    item.add_asset(name, asset)
    FileExtension.ext(asset).apply(
        size=stored.size_bytes,
        checksum=_SHA2_256_MULTIHASH + sha256 if sha256 is not None else None,
    )
    asset.extra_fields |= {ASSET_CONTAINER: stored.container, ASSET_KEY: stored.key}
    return asset


def findings(warnings: Iterable[Finding]) -> list[dict[str, str]]:
    """Return the warnings as JSON values, for a property of an item."""
    return [{"code": finding.code, "message": finding.message} for finding in warnings]


def build_collection(item: pystac.Item) -> pystac.Collection:
    """Return the collection of the item, with the extent of this item only.

    The catalog extends the extent to all items, sets the links, and keeps titles and descriptions
    that people wrote. The license is `other`, because the sources do not state a license.
    Raises CatalogRejected: the item has no collection.
    """
    collection_id = item.collection_id
    if collection_id is None:
        raise CatalogRejected(f"The item {item.id} has no collection.")
    # STAC requires an extent in each collection. For an item without geometry it is the whole
    # Earth.
    bbox = item.bbox or [-180.0, -90.0, 180.0, 90.0]
    title, description = _DESCRIPTIONS[SourceKind(item.properties["geo_platform:kind"])]
    common = item.common_metadata
    start, end = common.start_datetime or item.datetime, common.end_datetime or item.datetime
    collection = pystac.Collection(
        id=collection_id,
        title=title if collection_id in {"rasters", "vectors"} else collection_id,
        description=description,
        extent=pystac.Extent(
            pystac.SpatialExtent([list(bbox)]), pystac.TemporalExtent([[start, end]])
        ),
        license="other",
        # pystac omits an empty list, but collections are published with the list.
        extra_fields={"stac_extensions": []},
    )
    collection.clear_links()  # pystac adds a root link to the collection itself
    return collection


def outline(bounds: LonLatBounds) -> shapely.Geometry:
    """Return the box of the bounds, in two parts if the bounds cross the antimeridian.

    The result is a line or a point if the bounds have no width or no height.
    """
    if not bounds.crosses_antimeridian:
        return _box(bounds.west, bounds.south, bounds.east, bounds.north)
    # A part without width is the meridian itself, which the other part touches. Omit it.
    sides = [side for side in ((bounds.west, 180.0), (-180.0, bounds.east)) if side[0] < side[1]]
    boxes = [
        _box(west, bounds.south, east, bounds.north) for west, east in sides or [(180.0, 180.0)]
    ]
    return boxes[0] if len(boxes) == 1 else _oriented(shapely.union_all(boxes))


def footprint(geojson: str) -> shapely.Geometry:
    """Parse the footprint of the valid pixels.

    Raises CatalogRejected: the footprint is not a valid, non-empty geometry in longitudes and
    latitudes.
    """
    try:
        geometry = shape(json.loads(geojson))
    except (ValueError, KeyError, TypeError, AttributeError, shapely.errors.ShapelyError) as error:
        raise CatalogRejected(f"The footprint is not a GeoJSON geometry: {error}.") from error
    if geometry.is_empty or not geometry.is_valid:
        raise CatalogRejected(
            f"The footprint is not a valid geometry: {shapely.is_valid_reason(geometry)}."
        )
    west, south, east, north = geometry.bounds
    if west < -180 or east > 180 or south < -90 or north > 90:
        raise CatalogRejected(
            f"The footprint is not in longitudes and latitudes: {geometry.bounds}."
        )
    return _oriented(geometry)


def bounding_box(geometry: shapely.Geometry, within: LonLatBounds) -> LonLatBounds:
    """Return the bounds of a geometry. `within` are bounds that contain the geometry.

    The result crosses the antimeridian if `within` does and the geometry has parts on both sides of
    the antimeridian (RFC 7946, section 5.2).
    """
    boxes = [part.bounds for part in shapely.get_parts(geometry)]
    south, north = min(box[1] for box in boxes), max(box[3] for box in boxes)
    if within.crosses_antimeridian:
        # Bounds that cross the antimeridian leave a gap from their east to their west. Parts at
        # longitudes above the middle of the gap are west of the antimeridian (up to 180), the other
        # parts are east of it (from -180).
        middle = (within.east + within.west) / 2
        eastern = [box for box in boxes if (box[0] + box[2]) / 2 > middle]
        western = [box for box in boxes if (box[0] + box[2]) / 2 <= middle]
        if eastern and western:
            west, east = min(box[0] for box in eastern), max(box[2] for box in western)
            return LonLatBounds(west=west, south=south, east=east, north=north)
    west, east = min(box[0] for box in boxes), max(box[2] for box in boxes)
    return LonLatBounds(west=west, south=south, east=east, north=north)


def _box(west: float, south: float, east: float, north: float) -> shapely.Geometry:
    if west == east and south == north:
        return shapely.Point(west, south)
    if west == east or south == north:
        return shapely.LineString([(west, south), (east, north)])
    return _oriented(shapely.box(west, south, east, north))


def _rounded(number: str) -> float:
    # PostGIS writes at most 15 decimals, so coordinates near 0 would read back differently.
    return round(float(number), 15)


def _oriented(geometry: shapely.Geometry) -> shapely.Geometry:
    """Wind exterior rings counterclockwise, as RFC 7946 requires (section 3.1.6)."""
    return shapely.orient_polygons(geometry)
