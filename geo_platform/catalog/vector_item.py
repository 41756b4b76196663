"""Build the STAC item of a vector source from its loaded features.

A source that was split by geometry has an asset for each dataset: `data_points`, `data_lines`.

If rows of several sources were appended to one table, one item describes the table. The new item
keeps the sources, bounds and links of the item that it replaces. `item.py` builds the parts that
rasters and vectors share; `publish.py` publishes the item.

Called by `publish.py`.
"""

from typing import Any

import numpy as np
import pystac
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.table import Column, TableExtension

from geo_platform.catalog.acquisition_time import acquisition_time
from geo_platform.catalog.item import add_stored_asset, findings, new_item, outline
from geo_platform.catalog.naming import APPEND, dataset_of, place_of_load
from geo_platform.catalog.provenance import Provenance
from geo_platform.contracts.message import TableReference
from geo_platform.contracts.vector import FeaturesLoaded, FieldMapping, LoadedDataset
from geo_platform.grid import Bounds, LonLatBounds
from geo_platform.longitudes import LongitudeArcs
from geo_platform.options import ItemOptions
from geo_platform.ports import (
    ASSET_SCHEMA,
    ASSET_TABLE,
    ASSET_TABLE_VERSION,
    ITEM_FINGERPRINT,
    ITEM_LOAD_MODE,
    ITEM_RUN_ID,
    ITEM_SOURCE,
    ITEM_SOURCE_CONTAINER,
    ITEM_SOURCES,
)

GEOMETRY_COLUMN = "geometry"
# The registered type. pystac's MediaType.PARQUET is the older application/x-parquet.
PARQUET_MEDIA_TYPE = "application/vnd.apache.parquet"
TABLE_MEDIA_TYPE = "application/vnd.postgresql"


def build_vector_item(
    loaded: FeaturesLoaded, options: ItemOptions, provenance: Provenance
) -> pystac.Item:
    """Return an item with the table, projection, file, processing and version extensions.

    The geometry of the item is the bounding box of the features.
    """
    source = loaded.source
    names = [source.key.rpartition("/")[2]]
    if source.archive_member:
        names.append(source.archive_member.path)
    acquired = acquisition_time(
        options.acquired_at, (None, None), names, last_modified_utc=source.last_modified_utc
    )
    previous_item = _appended_to(loaded, provenance)
    bounds = _joined_bounds(previous_item, loaded.lonlat_bounds)
    item = new_item(
        source,
        options,
        provenance,
        acquired,
        outline(bounds),
        within=bounds,
        place=place_of_load(loaded, options),
        dataset=dataset_of(loaded),
        layer=_layer_in_title(loaded, options),
        extensions=[TableExtension.get_schema_uri()],
    )
    _add_links(item, previous_item)
    code = loaded.crs.authority_code
    ProjectionExtension.ext(item).apply(
        code=code,
        wkt2=None if code else loaded.crs.wkt,
        bbox=_joined_projected_bounds(previous_item, loaded.bounds),
    )
    table = TableExtension.ext(item)
    table.columns = [*map(_column, loaded.fields), _geometry_column(loaded)]
    table.row_count = _rows_of(loaded)
    table.primary_geometry = GEOMETRY_COLUMN
    item.properties |= {
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
        "geo_platform:rows_cut": loaded.cut,
        "geo_platform:reject_reasons": [
            {"reason": found.reason, "rows": found.rows} for found in loaded.reject_reasons
        ],
        "geo_platform:warnings": findings(loaded.warnings),
    }
    if loaded.layer_suffix is not None:
        item.properties["geo_platform:layer"] = loaded.layer
    if loaded.load_mode == APPEND:
        item.properties[ITEM_SOURCES] = _joined_sources(previous_item, loaded, provenance)
    _add_assets(item, loaded)
    return item


def _layer_in_title(loaded: FeaturesLoaded, options: ItemOptions) -> str | None:
    """Return the layer if the title has to name it: there are several, and the title is not given.

    If all layers are taken, the title is given for all of them.
    """
    is_named = loaded.is_one_of_all or options.title is None
    is_appended = loaded.load_mode == APPEND
    return (
        loaded.layer if loaded.layer_suffix is not None and is_named and not is_appended else None
    )


def _rows_of(loaded: FeaturesLoaded) -> int:
    """Return the number of rows of all datasets, including rows from before an append."""
    return sum(
        dataset.table.rows if dataset.table is not None else dataset.rows
        for dataset in loaded.datasets
    )


def _add_assets(item: pystac.Item, loaded: FeaturesLoaded) -> None:
    for dataset in loaded.datasets:
        if dataset.dataset_object is not None:
            add_stored_asset(
                item,
                _asset_key("data", dataset),
                dataset.dataset_object,
                PARQUET_MEDIA_TYPE,
                ["data"],
                title=f"GeoParquet{_of_family(dataset)}, sorted along a Hilbert curve",
                sha256=dataset.sha256,
            )
            _describe(item.assets[_asset_key("data", dataset)], dataset)
        if dataset.table is not None:
            _add_table(item, dataset, dataset.table)
    if loaded.rejected_object is not None:
        add_stored_asset(
            item,
            "rejected",
            loaded.rejected_object,
            PARQUET_MEDIA_TYPE,
            ["metadata"],
            title=f"Rejected rows and their reasons ({loaded.rejected})",
        )
    add_stored_asset(
        item,
        "thumbnail",
        loaded.thumbnail,
        loaded.thumbnail_media_type,
        ["thumbnail"],
        title="Map",
    )


def _asset_key(name: str, dataset: LoadedDataset) -> str:
    return name if dataset.family is None else f"{name}_{dataset.family}"


def _of_family(dataset: LoadedDataset) -> str:
    return "" if dataset.family is None else f" of the {dataset.family}"


def _describe(asset: pystac.Asset, dataset: LoadedDataset) -> None:
    """Add what only the asset can say if the item has several datasets."""
    if dataset.family is None:
        return
    asset.extra_fields |= {
        "geo_platform:dataset": dataset.dataset,
        "geo_platform:geometry_type": dataset.geometry_type,
    }
    TableExtension.ext(asset).row_count = dataset.rows
    ProjectionExtension.ext(asset).bbox = list(dataset.bounds.xyxy)


def _add_table(item: pystac.Item, dataset: LoadedDataset, table: TableReference) -> None:
    # Publishing the item makes this version of the table the published one.
    asset = pystac.Asset(
        table.uri,
        title=f"PostGIS table {table.schema_name}.{table.table_name}{_of_family(dataset)}",
        media_type=TABLE_MEDIA_TYPE,
        roles=["data"],
        extra_fields={
            ASSET_SCHEMA: table.schema_name,
            ASSET_TABLE: table.table_name,
            ASSET_TABLE_VERSION: table.version,
        },
    )
    item.add_asset(_asset_key("table", dataset), asset)
    _describe(asset, dataset)
    TableExtension.ext(asset).row_count = table.rows


def _column(field: FieldMapping) -> Column:
    column = Column({"name": field.published, "type": field.type.value})
    if field.source != field.published:
        reason = f": {field.renamed_because}" if field.renamed_because else ""
        column.description = f"{field.source} in the source{reason}"
    return column


def _geometry_column(loaded: FeaturesLoaded) -> Column:
    crs = loaded.crs.authority_code or "a CRS that no authority knows"
    return Column(
        {
            "name": GEOMETRY_COLUMN,
            "type": "geometry",
            "description": f"{loaded.geometry_type}, {loaded.dimension}, in {crs}",
        }
    )


def _lineage(loaded: FeaturesLoaded) -> str:
    moved = (
        f", reprojected to {loaded.crs.authority_code or 'another CRS'}"
        if loaded.was_reprojected
        else ""
    )
    straightened = ", curves made straight" if loaded.linearised else ""
    cut = f", {loaded.cut} cut at the edge of the map" if loaded.cut else ""
    return (
        f"Read from {loaded.source.format.value} {loaded.source.container}/{loaded.source.key}"
        f"{moved}{straightened}: {loaded.read} rows read, {loaded.inserted} published, "
        f"{loaded.rejected} rejected, {loaded.repaired} repaired{cut}."
    )


def _appended_to(loaded: FeaturesLoaded, provenance: Provenance) -> pystac.Item | None:
    """Return the published item whose table the rows were appended to, or None if there is none."""
    previous_item = provenance.before
    table = loaded.datasets[0].table  # rows are appended to one table only
    if previous_item is None or table is None or loaded.load_mode != APPEND:
        return None
    new_table = (table.schema_name, table.table_name)
    tables = [
        (asset.get(ASSET_SCHEMA), asset.get(ASSET_TABLE))
        for asset in previous_item["assets"].values()
    ]
    # The table shows that the platform wrote this item, which pystac can therefore parse.
    return (
        pystac.Item.from_dict(dict(previous_item), migrate=False) if new_table in tables else None
    )


def _joined_sources(
    previous_item: pystac.Item | None, loaded: FeaturesLoaded, provenance: Provenance
) -> list[dict[str, Any]]:
    """Return the sources of the previous item, then the source of the loaded rows.

    A source with the same etag is listed once, at the position of its last append.
    """
    source = loaded.source
    entry_of_source = {
        "container": source.container,
        "source": source.key,
        "etag": source.etag,
        "fingerprint": provenance.fingerprint,
        "run_id": provenance.run_id,
        "rows": loaded.inserted,
    }
    identity = ("container", "source", "etag")
    others = [
        entry
        for entry in _sources_of(previous_item)
        if any(entry.get(name) != entry_of_source[name] for name in identity)
    ]
    return [*others, entry_of_source]


def _sources_of(item: pystac.Item | None) -> list[dict[str, Any]]:
    if item is None:
        return []
    properties = item.properties
    if ITEM_SOURCES in properties:
        return list(properties[ITEM_SOURCES])
    return [
        {
            "container": properties.get(ITEM_SOURCE_CONTAINER),
            "source": properties.get(ITEM_SOURCE),
            "etag": properties.get("geo_platform:source_etag"),
            "fingerprint": properties.get(ITEM_FINGERPRINT),
            "run_id": properties.get(ITEM_RUN_ID),
            "rows": properties.get("geo_platform:rows_inserted"),
        }
    ]


def _joined_bounds(previous_item: pystac.Item | None, bounds: LonLatBounds) -> LonLatBounds:
    """Return the bounds around the previous item and the new bounds."""
    if previous_item is None or previous_item.bbox is None:
        return bounds
    west, south, east, north = previous_item.bbox
    arcs = LongitudeArcs()
    for first, last in ((west, east), (bounds.west, bounds.east)):
        arcs.add(np.array([first]), np.array([last if last >= first else last + 360.0]))
    west, east = arcs.box() or (-180.0, 180.0)
    return LonLatBounds(
        west=west, south=min(south, bounds.south), east=east, north=max(north, bounds.north)
    )


def _joined_projected_bounds(previous_item: pystac.Item | None, bounds: Bounds) -> list[float]:
    """Return [xmin, ymin, xmax, ymax] around the previous item and the new bounds.

    All rows of a table have the same CRS.
    """
    known = ProjectionExtension.ext(previous_item).bbox if previous_item is not None else None
    xmin, ymin, xmax, ymax = known or bounds.xyxy
    return [
        min(xmin, bounds.xmin),
        min(ymin, bounds.ymin),
        max(xmax, bounds.xmax),
        max(ymax, bounds.ymax),
    ]


def _add_links(item: pystac.Item, previous_item: pystac.Item | None) -> None:
    """Add the links to sources that only the previous item has."""
    known = {link.target for link in item.links}
    if previous_item is not None:
        earlier = [link for link in previous_item.links if link.rel == pystac.RelType.VIA]
        item.add_links([link for link in earlier if link.target not in known])
