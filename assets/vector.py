"""The vector assets: raw_vector -> vector_profile -> vector_features -> vector_item, and the tiles
of low zooms that a job of its own draws afterwards.

Called by `modules.py`.
"""

import dagster as dg

from assets.partitions import VECTOR_ITEMS
from assets.stage import (
    OWNERS,
    STORE_RETRIES,
    StageConfig,
    result,
    run_stage,
    stage,
    stage_asset,
)
from geo_platform.chains.chain import StageStores
from geo_platform.chains.vector import ARRIVAL, FEATURES, ITEM, PROFILE
from geo_platform.contracts.arrival import ObjectArrived
from geo_platform.contracts.publication import ItemPublished, TilesKept
from geo_platform.contracts.vector import FeaturesLoaded, VectorProfiled
from geo_platform.options import ArrivalOptions, ItemOptions
from geo_platform.ports import Catalog, FeatureStore, ObjectStore, Scratch
from geo_platform.serving.features.opened import FeatureReader
from geo_platform.settings import load_settings
from geo_platform.vector.options import VectorFeaturesOptions, VectorProfileOptions


class RawVectorConfig(StageConfig, ArrivalOptions):
    """The container of the object that the partition names, and how to read the object."""


class VectorProfileConfig(StageConfig, VectorProfileOptions):
    """The layer to read, and facts about the source that the file may not contain."""


class VectorFeaturesConfig(StageConfig, VectorFeaturesOptions):
    """Options of the dataset."""


class VectorItemConfig(StageConfig, ItemOptions):
    """The name and the date of the item in the catalog."""


@stage_asset(ARRIVAL, kinds={"file"})
def raw_vector(
    context: dg.AssetExecutionContext,
    config: RawVectorConfig,
    objects: dg.ResourceParam[ObjectStore],
) -> dg.MaterializeResult[ObjectArrived]:
    """Receive the object that the partition names."""
    arrived = run_stage(ARRIVAL, context, config, None, StageStores(objects))
    return result(arrived, objects)


@stage_asset(PROFILE, kinds={"gdal"})
def vector_profile(
    context: dg.AssetExecutionContext,
    config: VectorProfileConfig,
    raw_vector: ObjectArrived,
    objects: dg.ResourceParam[ObjectStore],
    scratch: dg.ResourceParam[Scratch],
) -> dg.MaterializeResult[VectorProfiled]:
    """Profile the source."""
    profiled = run_stage(PROFILE, context, config, raw_vector, StageStores(objects, scratch))
    return result(profiled, objects)


@stage_asset(FEATURES, kinds={"parquet"}, pool="table_load")
def vector_features(
    context: dg.AssetExecutionContext,
    config: VectorFeaturesConfig,
    vector_profile: VectorProfiled,
    objects: dg.ResourceParam[ObjectStore],
    features: dg.ResourceParam[FeatureStore],
    scratch: dg.ResourceParam[Scratch],
) -> dg.MaterializeResult[FeaturesLoaded]:
    """Load the features."""
    stores = StageStores(objects, scratch, features=features)
    loaded = run_stage(FEATURES, context, config, vector_profile, stores)
    return result(loaded, objects)


@stage_asset(ITEM, kinds={"stac"})
def vector_item(
    context: dg.AssetExecutionContext,
    config: VectorItemConfig,
    vector_features: FeaturesLoaded,
    objects: dg.ResourceParam[ObjectStore],
    catalog: dg.ResourceParam[Catalog],
) -> dg.MaterializeResult[ItemPublished]:
    """Publish the item."""
    stores = StageStores(objects, catalog=catalog)
    published = run_stage(ITEM, context, config, vector_features, stores)
    return result(published, objects)


# Not a stage of the chain: neither publishing nor another run of the source waits for it, since its
# partition is the item. `schedules/sensors.py` requests its runs.
@dg.asset(
    description="The vector tiles of low zooms of a large item, drawn once and kept in PMTiles "
    "archives. The partition is COLLECTION/ITEM.",
    deps=[dg.AssetDep(ITEM.name, partition_mapping=dg.AllPartitionMapping())],
    partitions_def=VECTOR_ITEMS,
    group_name="vector",
    owners=OWNERS,
    kinds={"pmtiles"},
    retry_policy=STORE_RETRIES,
)
def vector_tiles(
    context: dg.AssetExecutionContext,
    objects: dg.ResourceParam[ObjectStore],
    scratch: dg.ResourceParam[Scratch],
    catalog: dg.ResourceParam[Catalog],
    feature_rows: dg.ResourceParam[FeatureReader],
) -> dg.MaterializeResult[TilesKept]:
    """Draw and store the tiles of the item that the partition names."""
    from geo_platform.serving.features.kept_tiles import keep_tiles_of

    collection, _, item_id = context.partition_key.partition("/")
    with stage(context) as notify, scratch.of_run(context.run.run_id) as folder:
        kept = keep_tiles_of(
            (collection, item_id),
            catalog,
            feature_rows,
            objects,
            folder,
            max_bytes=load_settings().tile_max_bytes,
            notify=notify,
        )
    return result(kept, objects)
