"""raw_vector -> vector_profile -> vector_features -> vector_item.

pyogrio loads geopandas and pandas, a third of a second: the stages that need it import it when they run, so that a raster's run,
whose process loads these definitions too, starts sooner.
"""

import dagster as dg

from assets.partitions import VECTOR_OBJECTS
from assets.report import report_arrival, report_features, report_item, report_vector_profile
from assets.stage import OWNERS, STORE_RETRIES, StageConfig, result, stage
from geo_platform.catalog.publish import publish_vector
from geo_platform.contracts.arrival import ObjectArrived, SourceKind
from geo_platform.contracts.publication import ItemPublished
from geo_platform.contracts.vector import FeaturesLoaded, VectorProfiled
from geo_platform.options import ArrivalOptions, ItemOptions
from geo_platform.ports import Catalog, FeatureStore, ObjectStore, Scratch
from geo_platform.source.arrival import receive
from geo_platform.vector.options import VectorFeaturesOptions, VectorProfileOptions


class RawVectorConfig(StageConfig, ArrivalOptions):
    """Which container the object named by the partition lies in."""


class VectorProfileConfig(StageConfig, VectorProfileOptions):
    """Which layer is meant, and what the file may not say."""


class VectorFeaturesConfig(StageConfig, VectorFeaturesOptions):
    """What the dataset is to be."""


class VectorItemConfig(StageConfig, ItemOptions):
    """How the result is named and dated in the catalog."""


@dg.asset(
    partitions_def=VECTOR_OBJECTS,
    group_name="vector",
    owners=OWNERS,
    kinds={"file"},
    tags={"stage": "1"},
    retry_policy=STORE_RETRIES,
)
def raw_vector(
    context: dg.AssetExecutionContext,
    config: RawVectorConfig,
    objects: dg.ResourceParam[ObjectStore],
) -> dg.MaterializeResult[ObjectArrived]:
    """The vector object as it arrived, its format known from its bytes. The partition is the object's name in the container."""
    with stage(context):
        arrived = receive(
            objects,
            config.container_name,
            context.partition_key,
            config,
            expected=SourceKind.vector,
        )
    return result(arrived, report_arrival(arrived))


@dg.asset(
    partitions_def=VECTOR_OBJECTS,
    group_name="vector",
    owners=OWNERS,
    kinds={"gdal"},
    tags={"stage": "2"},
    retry_policy=STORE_RETRIES,
)
def vector_profile(
    context: dg.AssetExecutionContext,
    config: VectorProfileConfig,
    raw_vector: ObjectArrived,
    objects: dg.ResourceParam[ObjectStore],
    scratch: dg.ResourceParam[Scratch],
) -> dg.MaterializeResult[VectorProfiled]:
    """What the file holds and which of its layers is meant: geometry types, fields, CRS, encoding."""
    from geo_platform.vector.profile import profile_object

    with stage(context), scratch.of_run(context.run.run_id) as folder:
        profiled = profile_object(raw_vector, config, objects, scratch=folder)
    return result(profiled, report_vector_profile(profiled))


@dg.asset(
    partitions_def=VECTOR_OBJECTS,
    group_name="vector",
    owners=OWNERS,
    kinds={"parquet"},
    tags={"stage": "3"},
    retry_policy=STORE_RETRIES,
    pool="table_load",
)
def vector_features(
    context: dg.AssetExecutionContext,
    config: VectorFeaturesConfig,
    vector_profile: VectorProfiled,
    objects: dg.ResourceParam[ObjectStore],
    features: dg.ResourceParam[FeatureStore],
    scratch: dg.ResourceParam[Scratch],
) -> dg.MaterializeResult[FeaturesLoaded]:
    """The features, repaired and sorted in space; every row of the source is inserted or listed as rejected."""
    from geo_platform.vector.load import load_features

    with stage(context) as notify, scratch.of_run(context.run.run_id) as folder:
        force = vector_profile.source.force
        loaded = load_features(
            vector_profile,
            config,
            objects,
            features,
            run_id=context.run.run_id,
            scratch=folder,
            force=force,
            notify=notify,
        )
    return result(loaded, report_features(loaded, objects))


@dg.asset(
    partitions_def=VECTOR_OBJECTS,
    group_name="vector",
    owners=OWNERS,
    kinds={"stac"},
    tags={"stage": "4"},
    retry_policy=STORE_RETRIES,
)
def vector_item(
    context: dg.AssetExecutionContext,
    config: VectorItemConfig,
    vector_features: FeaturesLoaded,
    objects: dg.ResourceParam[ObjectStore],
    catalog: dg.ResourceParam[Catalog],
) -> dg.MaterializeResult[ItemPublished]:
    """The STAC item, by which the result is found. Processing again replaces it."""
    with stage(context):
        published = publish_vector(
            vector_features, config, catalog, objects, run_id=context.run.run_id
        )
    return result(published, report_item(published))
