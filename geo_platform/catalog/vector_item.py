"""The STAC item of a vector dataset: columns, rows, extent, made how.

What belongs here: FeaturesLoaded to STAC 1.1 JSON, pure. What stays out: publishing it.
"""

from typing import Any

from geo_platform.catalog import provenance as origin
from geo_platform.catalog.acquired import acquired
from geo_platform.catalog.appended import (
    ITEM_SOURCES,
    added_to,
    is_appended,
    joined_bounds,
    joined_box,
    joined_links,
    joined_sources,
)
from geo_platform.catalog.extent import bounding_box, outline
from geo_platform.contracts.message import TableReference
from geo_platform.contracts.vector import FeaturesLoaded, FieldMapping
from geo_platform.options import ItemOptions
from geo_platform.ports import ASSET_SCHEMA, ASSET_TABLE, ASSET_TABLE_VERSION, ITEM_LOAD_MODE

GEOMETRY_COLUMN = "geometry"
PARQUET_MEDIA_TYPE = "application/vnd.apache.parquet"
TABLE_MEDIA_TYPE = "application/vnd.postgresql"
_EXTENSIONS = [
    origin.FILE_EXTENSION,
    origin.PROCESSING_EXTENSION,
    origin.PROJECTION_EXTENSION,
    origin.TABLE_EXTENSION,
    origin.VERSION_EXTENSION,
]


def build_vector_item(
    loaded: FeaturesLoaded, options: ItemOptions, provenance: origin.Provenance
) -> dict[str, Any]:
    """STAC 1.1 with the table, projection, file, processing and version extensions. Geometry is the box of the features."""
    source = loaded.source
    names = [
        source.key.rpartition("/")[2],
        *([source.archive_member.path] if source.archive_member else []),
    ]
    when = acquired(
        options.acquired_at, (None, None), names, last_modified_utc=source.last_modified_utc
    )
    before = added_to(provenance.before, loaded)
    item = origin.item_skeleton(source, options, provenance, when, dataset=dataset_of(loaded))
    item["stac_extensions"] = list(_EXTENSIONS)
    bounds = joined_bounds(before, loaded.lonlat_bounds)
    item["geometry"] = outline(bounds)
    item["bbox"] = bounding_box(item["geometry"], bounds)
    item["links"] = joined_links(before, item["links"])
    item["properties"] |= {
        **origin.projection(loaded.crs.authority_code, loaded.crs.wkt),
        "proj:bbox": joined_box(before, loaded.bounds.xyxy),
        "table:columns": [*map(_column, loaded.fields), _geometry_column(loaded)],
        "table:row_count": rows_of(loaded),
        "table:primary_geometry": GEOMETRY_COLUMN,
        "processing:lineage": _lineage(loaded),
        "geo_platform:destination": loaded.destination,
        ITEM_LOAD_MODE: loaded.load_mode,
        "geo_platform:dataset": loaded.dataset,
        "geo_platform:geometry_type": loaded.geometry_type,
        "geo_platform:dimension": loaded.dimension,
        "geo_platform:crs_source": loaded.crs.came_from,
        "geo_platform:rows_read": loaded.read,
        "geo_platform:rows_inserted": loaded.inserted,
        "geo_platform:rows_rejected": loaded.rejected,
        "geo_platform:rows_repaired": loaded.repaired,
        "geo_platform:reject_reasons": [
            {"reason": found.reason, "rows": found.rows} for found in loaded.reject_reasons
        ],
        "geo_platform:warnings": origin.findings(loaded.warnings),
    }
    if is_appended(loaded):
        sources = joined_sources(
            before, loaded, fingerprint=provenance.fingerprint, run_id=provenance.run_id
        )
        item["properties"][ITEM_SOURCES] = sources
    item["assets"] = _assets(loaded)
    return item


def dataset_of(loaded: FeaturesLoaded) -> str | None:
    """The dataset's name, where rows of several sources are to meet under it; None where the item is one source's."""
    return loaded.dataset if is_appended(loaded) else None


def rows_of(loaded: FeaturesLoaded) -> int:
    """Rows of the whole dataset, of which an append loaded some."""
    return loaded.table.rows if loaded.table is not None else loaded.inserted


def _assets(loaded: FeaturesLoaded) -> dict[str, Any]:
    assets: dict[str, Any] = {}
    if loaded.dataset_object is not None:
        assets["data"] = origin.stored_asset(
            loaded.dataset_object,
            PARQUET_MEDIA_TYPE,
            ["data"],
            title="GeoParquet, sorted along a Hilbert curve",
            sha256=loaded.sha256,
        )
    if loaded.table is not None:
        assets["table"] = _table_asset(loaded.table)
    if loaded.rejected_object is not None:
        assets["rejected"] = origin.stored_asset(
            loaded.rejected_object,
            PARQUET_MEDIA_TYPE,
            ["metadata"],
            title=f"Rejected rows and their reasons ({loaded.rejected})",
        )
    assets["thumbnail"] = origin.stored_asset(
        loaded.thumbnail, loaded.thumbnail_media_type, ["thumbnail"], title="Map"
    )
    return assets


def _table_asset(table: TableReference) -> dict[str, Any]:
    """The published table. Its version says which one the item means; publishing the item makes it the published one."""
    return {
        "href": table.uri,
        "type": TABLE_MEDIA_TYPE,
        "title": f"PostGIS table {table.schema_name}.{table.table_name}",
        "roles": ["data"],
        "table:row_count": table.rows,
        ASSET_SCHEMA: table.schema_name,
        ASSET_TABLE: table.table_name,
        ASSET_TABLE_VERSION: table.version,
    }


def _column(field: FieldMapping) -> dict[str, str]:
    column = {"name": field.published, "type": field.type.value}
    if field.source != field.published:
        reason = f": {field.renamed_because}" if field.renamed_because else ""
        column["description"] = f"{field.source} in the source{reason}"
    return column


def _geometry_column(loaded: FeaturesLoaded) -> dict[str, str]:
    crs = loaded.crs.authority_code or "a CRS that no authority knows"
    return {
        "name": GEOMETRY_COLUMN,
        "type": "geometry",
        "description": f"{loaded.geometry_type}, {loaded.dimension}, in {crs}",
    }


def _lineage(loaded: FeaturesLoaded) -> str:
    moved = (
        f", reprojected to {loaded.crs.authority_code or 'another CRS'}"
        if loaded.was_reprojected
        else ""
    )
    straightened = ", curves made straight" if loaded.linearised else ""
    return (
        f"Read from {loaded.source.format.value} {loaded.source.container}/{loaded.source.key}{moved}{straightened}: "
        f"{loaded.read} rows read, {loaded.inserted} published, {loaded.rejected} rejected, {loaded.repaired} repaired."
    )
