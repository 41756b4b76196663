"""Feature collections of no published item, for tests of what is done with their geometries."""

from geo_platform.serving.features.collections import FeatureCollection, FileSource
from geo_platform.serving.published import PublishedItem


def collection(
    crs: str = "EPSG:4326", lonlat: tuple[float, float, float, float] = (-180.0, -90.0, 180.0, 90.0)
) -> FeatureCollection:
    """Return a collection of rows in this CRS, in these bounds: west, south, east, north."""
    return FeatureCollection(
        item=PublishedItem("vectors", "roads", "0" * 16, {"properties": {}, "assets": {}}),
        family=None,
        source=FileSource("silver", "roads.parquet"),
        rows=1,
        crs_text=crs,
        geometry_column="geometry",
        geometry_type="Geometry",
        has_heights=False,
        lonlat_bounds=lonlat,
        native_bounds=None,
        json_columns=frozenset(),
    )
