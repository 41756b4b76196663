"""Name the feature collections of a published item, and find one for a reader.

    {collection}:{item}            the table or the GeoParquet file of an item
    {collection}:{item}:{family}   one of several, if the source was split by geometry

A collection is read from the item's PostGIS table if it has one, else from its GeoParquet file.

Used by `api/serving` and `serving/features`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pyproj import CRS

from geo_platform.contracts.vector import FieldType
from geo_platform.errors import NotFound
from geo_platform.ports import (
    ASSET_CONTAINER,
    ASSET_KEY,
    ASSET_SCHEMA,
    ASSET_TABLE,
    ASSET_TABLE_VERSION,
)
from geo_platform.serving.published import PublishedItem, PublishedItems
from geo_platform.serving.rights import Rights

SEPARATOR = ":"
_GEOPARQUET = "application/vnd.apache.parquet"
# Names of assets, by the family of geometries that they hold: None for all rows of the item.
_FAMILIES = (None, "points", "lines", "polygons", "collections")


@dataclass(frozen=True)
class TableSource:
    """A version of a published PostGIS table."""

    schema: str
    table: str
    version: str


@dataclass(frozen=True)
class FileSource:
    """A GeoParquet file in the object store."""

    container: str
    key: str


@dataclass(frozen=True)
class FeatureCollection:
    """The rows of one asset of a published item.

    `lonlat_bounds` are (west, south, east, north) in degrees, with west > east across the
    antimeridian; `native_bounds` are (xmin, ymin, xmax, ymax) in `crs`. Both may cover more than
    the rows of this asset. `json_columns` are columns whose text is JSON.
    """

    item: PublishedItem
    family: str | None
    source: TableSource | FileSource
    rows: int
    crs_text: str
    geometry_column: str
    geometry_type: str
    has_heights: bool
    lonlat_bounds: tuple[float, float, float, float]
    native_bounds: tuple[float, float, float, float] | None
    json_columns: frozenset[str]

    @property
    def id(self) -> str:
        """Return the id: collection and item, and the family if there are several."""
        parts = [self.item.collection, self.item.item_id, *([self.family] if self.family else [])]
        return SEPARATOR.join(parts)

    @property
    def title(self) -> str:
        title = str(self.item.properties.get("title") or self.item.item_id)
        return f"{title}, {self.family}" if self.family else title

    @property
    def crs(self) -> CRS:
        return CRS.from_user_input(self.crs_text)


def collections_of(item: PublishedItem) -> Iterator[FeatureCollection]:
    """Yield the feature collections of an item; none for a raster."""
    for family in _FAMILIES:
        suffix = f"_{family}" if family else ""
        for name in (f"table{suffix}", f"data{suffix}"):
            asset = item.document["assets"].get(name)
            source = _source_of(asset) if asset is not None else None
            if source is not None:
                yield _collection(item, family, asset, source)
                break


def find_collection(
    items: PublishedItems, collection_id: str, rights: Rights, *, version: str | None = None
) -> FeatureCollection:
    """Return a feature collection that the caller may read.

    Raises NotFound: there is none of this id, or the caller may not read it. VersionGone: the item
    has another version now. What `PublishedItems.item` raises.
    """
    collection, _, rest = collection_id.partition(SEPARATOR)
    item_id, _, family = rest.partition(SEPARATOR)
    try:
        item = items.item(collection, item_id, rights, version=version)
    except NotFound as error:
        raise _none(collection_id) from error
    for found in collections_of(item):
        if (found.family or "") == family:
            return found
    raise _none(collection_id)


def _none(collection_id: str) -> NotFound:
    return NotFound(
        f"There is no feature collection {collection_id!r}.",
        remedy="GET /features/collections lists the collections that you may read.",
    )


def _source_of(asset: Mapping[str, Any]) -> TableSource | FileSource | None:
    if ASSET_TABLE_VERSION in asset:
        return TableSource(asset[ASSET_SCHEMA], asset[ASSET_TABLE], asset[ASSET_TABLE_VERSION])
    if ASSET_KEY in asset and asset.get("type") == _GEOPARQUET:
        return FileSource(asset[ASSET_CONTAINER], asset[ASSET_KEY])
    return None


def _collection(
    item: PublishedItem,
    family: str | None,
    asset: Mapping[str, Any],
    source: TableSource | FileSource,
) -> FeatureCollection:
    properties = item.properties
    native = asset.get("proj:bbox") or properties.get("proj:bbox")
    bbox = item.document.get("bbox") or [-180.0, -90.0, 180.0, 90.0]
    return FeatureCollection(
        item=item,
        family=family,
        source=source,
        rows=int(asset.get("table:row_count") or properties.get("table:row_count") or 0),
        crs_text=properties.get("proj:code") or properties.get("proj:wkt2") or "OGC:CRS84",
        geometry_column=properties.get("table:primary_geometry") or "geometry",
        geometry_type=asset.get("geo_platform:geometry_type")
        or properties.get("geo_platform:geometry_type")
        or "Geometry",
        has_heights=properties.get("geo_platform:dimension") == "xyz",
        lonlat_bounds=_four(bbox),
        native_bounds=_four(native) if native else None,
        json_columns=frozenset(
            column["name"]
            for column in properties.get("table:columns", ())
            if column.get("type") == FieldType.json.value
        ),
    )


def _four(bbox: list[float]) -> tuple[float, float, float, float]:
    half = len(bbox) // 2
    return float(bbox[0]), float(bbox[1]), float(bbox[half]), float(bbox[half + 1])
