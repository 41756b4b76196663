"""raw_table -> table_profile -> table_rows -> table_item. Copied to assets/table.py."""

import dagster as dg

from assets.report import Metadata, message_metadata, table_of
from assets.stage import StageConfig, result, run_stage, stage_asset
from geo_platform.chains.chain import StageStores
from geo_platform.contracts.arrival import ObjectArrived
from geo_platform.contracts.publication import ItemPublished
from geo_platform.options import ArrivalOptions, ItemOptions
from geo_platform.ports import Catalog, ObjectStore, Scratch
from geo_platform.tables import (
    ARRIVAL,
    ITEM,
    PROFILE,
    ROWS,
    TableProfiled,
    TableProfileOptions,
    TableRowsOptions,
    TableStored,
)


class RawTableConfig(StageConfig, ArrivalOptions):
    """The container of the object."""


class TableProfileConfig(StageConfig, TableProfileOptions):
    """How the table is written."""


class TableRowsConfig(StageConfig, TableRowsOptions):
    """How the rows are stored."""


class TableItemConfig(StageConfig, ItemOptions):
    """How the result is named and dated in the catalog."""


@message_metadata.register
def _profile_metadata(profiled: TableProfiled, _objects: ObjectStore) -> Metadata:
    columns = [{"column": column.name, "type": column.type} for column in profiled.columns]
    return {"rows_read": profiled.rows, "columns": table_of(columns)}


@message_metadata.register
def _rows_metadata(stored: TableStored, _objects: ObjectStore) -> Metadata:
    return {
        "parquet": dg.MetadataValue.url(stored.stored.uri),
        "dagster/row_count": stored.stored_rows,
        "was_reused": stored.was_reused,
    }


@stage_asset(ARRIVAL, kinds={"file"})
def raw_table(
    context: dg.AssetExecutionContext,
    config: RawTableConfig,
    objects: dg.ResourceParam[ObjectStore],
) -> dg.MaterializeResult[ObjectArrived]:
    """Receive the table."""
    arrived = run_stage(ARRIVAL, context, config, None, StageStores(objects))
    return result(arrived, objects)


@stage_asset(PROFILE, kinds={"csv"})
def table_profile(
    context: dg.AssetExecutionContext,
    config: TableProfileConfig,
    raw_table: ObjectArrived,
    objects: dg.ResourceParam[ObjectStore],
    scratch: dg.ResourceParam[Scratch],
) -> dg.MaterializeResult[TableProfiled]:
    """Profile the table."""
    profiled = run_stage(PROFILE, context, config, raw_table, StageStores(objects, scratch))
    return result(profiled, objects)


@stage_asset(ROWS, kinds={"parquet"})
def table_rows(
    context: dg.AssetExecutionContext,
    config: TableRowsConfig,
    table_profile: TableProfiled,
    objects: dg.ResourceParam[ObjectStore],
    scratch: dg.ResourceParam[Scratch],
) -> dg.MaterializeResult[TableStored]:
    """Store the rows."""
    stored = run_stage(ROWS, context, config, table_profile, StageStores(objects, scratch))
    return result(stored, objects)


@stage_asset(ITEM, kinds={"stac"})
def table_item(
    context: dg.AssetExecutionContext,
    config: TableItemConfig,
    table_rows: TableStored,
    objects: dg.ResourceParam[ObjectStore],
    catalog: dg.ResourceParam[Catalog],
) -> dg.MaterializeResult[ItemPublished]:
    """Publish the item."""
    stores = StageStores(objects, catalog=catalog)
    published = run_stage(ITEM, context, config, table_rows, stores)
    return result(published, objects)
