"""The raster assets: raw_raster -> raster_profile -> raster_cog -> raster_item.

Called by `modules.py`.
"""

import dagster as dg

from assets.stage import StageConfig, result, run_stage, stage_asset
from geo_platform.chains.chain import StageStores
from geo_platform.chains.raster import ARRIVAL, COG, ITEM, PROFILE
from geo_platform.contracts.arrival import ObjectArrived
from geo_platform.contracts.publication import ItemPublished
from geo_platform.contracts.raster import CogStored, RasterProfiled
from geo_platform.options import ArrivalOptions, ItemOptions
from geo_platform.ports import Catalog, ObjectStore, Scratch
from geo_platform.raster.options import RasterCogOptions, RasterProfileOptions


class RawRasterConfig(StageConfig, ArrivalOptions):
    """The container of the object that the partition names, and how to read the object."""


class RasterProfileConfig(StageConfig, RasterProfileOptions):
    """Facts about the source that the file may not contain."""


class RasterCogConfig(StageConfig, RasterCogOptions):
    """Options of the COGs."""


class RasterItemConfig(StageConfig, ItemOptions):
    """The name and the date of the item in the catalog."""


@stage_asset(ARRIVAL, kinds={"file"})
def raw_raster(
    context: dg.AssetExecutionContext,
    config: RawRasterConfig,
    objects: dg.ResourceParam[ObjectStore],
) -> dg.MaterializeResult[ObjectArrived]:
    """Receive the object that the partition names."""
    arrived = run_stage(ARRIVAL, context, config, None, StageStores(objects))
    return result(arrived, objects)


@stage_asset(PROFILE, kinds={"gdal"})
def raster_profile(
    context: dg.AssetExecutionContext,
    config: RasterProfileConfig,
    raw_raster: ObjectArrived,
    objects: dg.ResourceParam[ObjectStore],
    scratch: dg.ResourceParam[Scratch],
) -> dg.MaterializeResult[RasterProfiled]:
    """Profile the source."""
    profiled = run_stage(PROFILE, context, config, raw_raster, StageStores(objects, scratch))
    return result(profiled, objects)


@stage_asset(COG, kinds={"geotiff"}, pool="cog")
def raster_cog(
    context: dg.AssetExecutionContext,
    config: RasterCogConfig,
    raster_profile: RasterProfiled,
    objects: dg.ResourceParam[ObjectStore],
    scratch: dg.ResourceParam[Scratch],
) -> dg.MaterializeResult[CogStored]:
    """Make the COGs."""
    stored = run_stage(COG, context, config, raster_profile, StageStores(objects, scratch))
    return result(stored, objects)


@stage_asset(ITEM, kinds={"stac"})
def raster_item(
    context: dg.AssetExecutionContext,
    config: RasterItemConfig,
    raster_cog: CogStored,
    objects: dg.ResourceParam[ObjectStore],
    catalog: dg.ResourceParam[Catalog],
) -> dg.MaterializeResult[ItemPublished]:
    """Publish the item."""
    stores = StageStores(objects, catalog=catalog)
    published = run_stage(ITEM, context, config, raster_cog, stores)
    return result(published, objects)
