"""The STAC item of a vector dataset: columns, rows, extent, made how.

What belongs here: FeaturesLoaded to STAC 1.1 JSON, pure. What stays out: publishing it.
"""

from typing import Any

from geo_platform.catalog import provenance as origin
from geo_platform.catalog.acquired import acquired
from geo_platform.catalog.extent import bounding_box, outline
from geo_platform.contracts.vector import FeaturesLoaded, FieldMapping
from geo_platform.options import ItemOptions

GEOMETRY_COLUMN = "geometry"
PARQUET_MEDIA_TYPE = "application/vnd.apache.parquet"
_EXTENSIONS = [
    origin.FILE_EXTENSION,
    origin.PROCESSING_EXTENSION,
    origin.PROJECTION_EXTENSION,
    origin.TABLE_EXTENSION,
    origin.VERSION_EXTENSION,
]


def build_vector_item(loaded: FeaturesLoaded, options: ItemOptions, provenance: origin.Provenance) -> dict[str, Any]:
    """STAC 1.1 with the table, projection, file, processing and version extensions. Geometry is the box of the features."""
    source = loaded.source
    names = [source.key.rpartition("/")[2], *([source.archive_member.path] if source.archive_member else [])]
    when = acquired(options.acquired_at, (None, None), names, last_modified_utc=source.last_modified_utc)
    item = origin.item_skeleton(source, options, provenance, when)
    item["stac_extensions"] = list(_EXTENSIONS)
    item["geometry"] = outline(loaded.lonlat_bounds)
    item["bbox"] = bounding_box(item["geometry"], loaded.lonlat_bounds)
    item["properties"] |= {
        **origin.projection(loaded.crs.authority_code, loaded.crs.wkt),
        "proj:bbox": list(loaded.bounds.xyxy),
        "table:columns": [*map(_column, loaded.fields), _geometry_column(loaded)],
        "table:row_count": loaded.inserted,
        "table:primary_geometry": GEOMETRY_COLUMN,
        "processing:lineage": _lineage(loaded),
        "geo_platform:destination": loaded.destination,
        "geo_platform:dataset": loaded.dataset,
        "geo_platform:geometry_type": loaded.geometry_type,
        "geo_platform:dimension": loaded.dimension,
        "geo_platform:crs_source": loaded.crs.came_from,
        "geo_platform:rows_read": loaded.read,
        "geo_platform:rows_inserted": loaded.inserted,
        "geo_platform:rows_rejected": loaded.rejected,
        "geo_platform:rows_repaired": loaded.repaired,
        "geo_platform:reject_reasons": [{"reason": found.reason, "rows": found.rows} for found in loaded.reject_reasons],
        "geo_platform:warnings": origin.findings(loaded.warnings),
    }
    item["assets"] = _assets(loaded)
    return item


def _assets(loaded: FeaturesLoaded) -> dict[str, Any]:
    assets: dict[str, Any] = {}
    if loaded.dataset_object is not None:
        assets["data"] = origin.stored_asset(
            loaded.dataset_object, PARQUET_MEDIA_TYPE, ["data"], title="GeoParquet, sorted along a Hilbert curve", sha256=loaded.sha256
        )
    if loaded.rejected_object is not None:
        assets["rejected"] = origin.stored_asset(
            loaded.rejected_object, PARQUET_MEDIA_TYPE, ["metadata"], title=f"Rejected rows and their reasons ({loaded.rejected})"
        )
    assets["thumbnail"] = origin.stored_asset(loaded.thumbnail, loaded.thumbnail_media_type, ["thumbnail"], title="Map")
    return assets


def _column(field: FieldMapping) -> dict[str, str]:
    column = {"name": field.published, "type": field.type.value}
    if field.source != field.published:
        reason = f": {field.renamed_because}" if field.renamed_because else ""
        column["description"] = f"{field.source} in the source{reason}"
    return column


def _geometry_column(loaded: FeaturesLoaded) -> dict[str, str]:
    crs = loaded.crs.authority_code or "a CRS that no authority knows"
    return {"name": GEOMETRY_COLUMN, "type": "geometry", "description": f"{loaded.geometry_type}, {loaded.dimension}, in {crs}"}


def _lineage(loaded: FeaturesLoaded) -> str:
    moved = f", reprojected to {loaded.crs.authority_code or 'another CRS'}" if loaded.was_reprojected else ""
    straightened = ", curves made straight" if loaded.linearised else ""
    return (
        f"Read from {loaded.source.format.value} {loaded.source.container}/{loaded.source.key}{moved}{straightened}: "
        f"{loaded.read} rows read, {loaded.inserted} published, {loaded.rejected} rejected, {loaded.repaired} repaired."
    )
