"""raw_raster -> raster_profile -> raster_cog -> raster_item."""

import dagster as dg

from assets.partitions import RASTER_OBJECTS
from assets.report import report_arrival, report_cogs, report_item, report_raster_profile
from assets.stage import OWNERS, STORE_RETRIES, StageConfig, result, stage
from geo_platform.catalog.publish import publish_raster
from geo_platform.contracts.arrival import ObjectArrived, SourceKind
from geo_platform.contracts.publication import ItemPublished
from geo_platform.contracts.raster import CogStored, RasterProfiled
from geo_platform.options import ArrivalOptions, ItemOptions
from geo_platform.ports import Catalog, ObjectStore, Scratch
from geo_platform.raster.convert import make_cogs
from geo_platform.raster.options import RasterCogOptions, RasterProfileOptions
from geo_platform.raster.profile import profile_object
from geo_platform.source.arrival import receive


class RawRasterConfig(StageConfig, ArrivalOptions):
    """Which container the object named by the partition lies in."""


class RasterProfileConfig(StageConfig, RasterProfileOptions):
    """What the user knows of the source that the file may not say."""


class RasterCogConfig(StageConfig, RasterCogOptions):
    """What the COG is to be."""


class RasterItemConfig(StageConfig, ItemOptions):
    """How the result is named and dated in the catalog."""


@dg.asset(
    partitions_def=RASTER_OBJECTS,
    group_name="raster",
    owners=OWNERS,
    kinds={"file"},
    tags={"stage": "1"},
    retry_policy=STORE_RETRIES,
)
def raw_raster(
    context: dg.AssetExecutionContext,
    config: RawRasterConfig,
    objects: dg.ResourceParam[ObjectStore],
) -> dg.MaterializeResult[ObjectArrived]:
    """The raster object as it arrived, its format known from its bytes. The partition is the object's name in the container."""
    with stage(context):
        arrived = receive(
            objects,
            config.container_name,
            context.partition_key,
            config,
            expected=SourceKind.raster,
        )
    return result(arrived, report_arrival(arrived))


@dg.asset(
    partitions_def=RASTER_OBJECTS,
    group_name="raster",
    owners=OWNERS,
    kinds={"gdal"},
    tags={"stage": "2"},
    retry_policy=STORE_RETRIES,
)
def raster_profile(
    context: dg.AssetExecutionContext,
    config: RasterProfileConfig,
    raw_raster: ObjectArrived,
    objects: dg.ResourceParam[ObjectStore],
    scratch: dg.ResourceParam[Scratch],
) -> dg.MaterializeResult[RasterProfiled]:
    """What the raster is: bands, CRS, bounds, type, bit depth; from headers and a sample over the whole extent."""
    with stage(context), scratch.of_run(context.run.run_id) as folder:
        profiled = profile_object(raw_raster, config, objects, scratch=folder)
    return result(profiled, report_raster_profile(profiled))


@dg.asset(
    partitions_def=RASTER_OBJECTS,
    group_name="raster",
    owners=OWNERS,
    kinds={"geotiff"},
    tags={"stage": "3"},
    retry_policy=STORE_RETRIES,
    pool="cog",
)
def raster_cog(
    context: dg.AssetExecutionContext,
    config: RasterCogConfig,
    raster_profile: RasterProfiled,
    objects: dg.ResourceParam[ObjectStore],
    scratch: dg.ResourceParam[Scratch],
) -> dg.MaterializeResult[CogStored]:
    """Cloud Optimized GeoTIFFs, opened again and compared with the source before anyone is told of them."""
    with stage(context) as notify, scratch.of_run(context.run.run_id) as folder:
        force = raster_profile.source.force
        stored = make_cogs(
            raster_profile,
            config,
            objects,
            run_id=context.run.run_id,
            scratch=folder,
            force=force,
            notify=notify,
        )
    return result(stored, report_cogs(stored, objects))


@dg.asset(
    partitions_def=RASTER_OBJECTS,
    group_name="raster",
    owners=OWNERS,
    kinds={"stac"},
    tags={"stage": "4"},
    retry_policy=STORE_RETRIES,
)
def raster_item(
    context: dg.AssetExecutionContext,
    config: RasterItemConfig,
    raster_cog: CogStored,
    objects: dg.ResourceParam[ObjectStore],
    catalog: dg.ResourceParam[Catalog],
) -> dg.MaterializeResult[ItemPublished]:
    """The STAC item, by which the result is found. Processing again replaces it."""
    with stage(context):
        published = publish_raster(raster_cog, config, catalog, objects, run_id=context.run.run_id)
    return result(published, report_item(published))
