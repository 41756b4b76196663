"""Build what the STAC items of both chains share, and the collection around an item.

`raster_item.py` and `vector_item.py` add what is particular to their kind. This module imports
pystac, which takes about 0.2 s: import it only where an item is about to be built.
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
    when: AcquisitionTime,
    geometry: shapely.Geometry,
    *,
    within: LonLatBounds,
    dataset: str | None = None,
    extensions: Iterable[str] = (),
) -> pystac.Item:
    """Return an item with its place, time, provenance and links, without assets.

    `within` are the bounds of the data, which say whether it crosses the antimeridian. `dataset` is
    as in `item_place`. `extensions` are schema URIs beside those of file, processing, projection
    and version, which every item has.
    """
    collection, item_id = item_place(source, options, dataset=dataset)
    item = pystac.Item(
        id=item_id,
        collection=collection,
        geometry=json.loads(shapely.to_geojson(geometry)),
        bbox=list(bounding_box(geometry, within).wsen),
        datetime=when.start_utc,
        properties=when.properties(),
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
    common.title = options.title or dataset or default_title(source.key)
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
        "geo_platform:datetime_source": when.source,
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
    """Return the STAC JSON object that the Catalog port takes, hrefs as they are."""
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


def findings(found: Iterable[Finding]) -> list[dict[str, str]]:
    """Return warnings as JSON values."""
    return [{"code": finding.code, "message": finding.message} for finding in found]


def build_collection(item: pystac.Item) -> pystac.Collection:
    """Return the collection that the item names, with the item's extent.

    The catalog extends the extent over all items, sets the links, and keeps titles and descriptions
    that people wrote. The license is `other`: the sources do not state one.
    """
    collection_id = item.collection_id
    if collection_id is None:
        raise CatalogRejected(f"The item {item.id} has no collection.")
    # STAC wants an extent in each collection. An item without geometry does not narrow it.
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
        # pystac leaves an empty list out; collections are published with it.
        extra_fields={"stac_extensions": []},
    )
    collection.clear_links()  # pystac adds a root link to itself
    return collection


def outline(bounds: LonLatBounds) -> shapely.Geometry:
    """Return the box of the bounds: in two parts where it crosses the antimeridian.

    Bounds without width or height give a line or a point.
    """
    if not bounds.crosses_antimeridian:
        return _box(bounds.west, bounds.south, bounds.east, bounds.north)
    # A side without width is only the meridian itself, which the other side touches.
    sides = [side for side in ((bounds.west, 180.0), (-180.0, bounds.east)) if side[0] < side[1]]
    boxes = [
        _box(west, bounds.south, east, bounds.north) for west, east in sides or [(180.0, 180.0)]
    ]
    return boxes[0] if len(boxes) == 1 else _oriented(shapely.union_all(boxes))


def footprint(geojson: str) -> shapely.Geometry:
    """Read the footprint of valid data.

    Raises CatalogRejected: it is not a valid, non-empty geometry in longitudes and latitudes.
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
    """Return the bounds of a geometry that lies within other bounds.

    They cross the antimeridian if those do and the geometry has parts on both sides of it
    (RFC 7946, section 5.2).
    """
    boxes = [part.bounds for part in shapely.get_parts(geometry)]
    south, north = min(box[1] for box in boxes), max(box[3] for box in boxes)
    if within.crosses_antimeridian:
        # Bounds that cross leave a gap from their east to their west. The middle of the gap tells
        # the parts on one side of the antimeridian from those on the other.
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


def _oriented(geometry: shapely.Geometry) -> shapely.Geometry:
    """Wind exterior rings counterclockwise, as RFC 7946 wants them (section 3.1.6)."""
    return shapely.orient_polygons(geometry)
