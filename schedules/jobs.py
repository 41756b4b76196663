"""The jobs: each chain is sequential, so a run executes in one process; runs go in parallel."""

import dagster as dg

from assets import batch, hello, raster, undo, vector

_RASTER_STAGES = dg.AssetSelection.assets(
    raster.raw_raster, raster.raster_profile, raster.raster_cog, raster.raster_item
)
_VECTOR_STAGES = dg.AssetSelection.assets(
    vector.raw_vector, vector.vector_profile, vector.vector_features, vector.vector_item
)
_HELLO_STAGES = dg.AssetSelection.assets(hello.prepared_greeting, hello.spoken_greeting)

process_raster = dg.define_asset_job(
    "process_raster",
    selection=_RASTER_STAGES,
    executor_def=dg.in_process_executor,
    description="A raster object becomes verified Cloud Optimized GeoTIFFs and a STAC item. The partition names the object.",
    tags={"geo_platform/kind": "raster"},
)

ingest_vector = dg.define_asset_job(
    "ingest_vector",
    selection=_VECTOR_STAGES,
    executor_def=dg.in_process_executor,
    description="A vector object becomes a sorted GeoParquet dataset and a STAC item. The partition names the object.",
    tags={"geo_platform/kind": "vector"},
)

hello_world = dg.define_asset_job(
    "hello_world",
    selection=_HELLO_STAGES,
    executor_def=dg.in_process_executor,
    description="Two stages and a message between them: the smoke test of a deployment.",
)


@dg.job(
    executor_def=dg.in_process_executor,
    description="An item and the table that it names are taken out of what can be found, and kept for a while.",
    tags={"geo_platform/kind": "undo"},
)
def unpublish_item() -> None:
    undo.unpublish()


@dg.job(
    executor_def=dg.in_process_executor,
    description="What an earlier run had published, an item and its table, is published again.",
    tags={"geo_platform/kind": "undo"},
)
def rollback_item() -> None:
    undo.rollback()


@dg.job(
    executor_def=dg.in_process_executor,
    description="What was replaced or unpublished longer ago than it is kept for is removed, with its files and tables.",
    tags={"geo_platform/kind": "retention"},
)
def remove_replaced() -> None:
    undo.remove()


@dg.job(
    executor_def=dg.in_process_executor,
    description="Several small files, each through the stages of its kind by itself. A file that is refused fails nobody else's.",
    tags={"geo_platform/kind": "files"},
)
def ingest_files() -> None:
    batch.ingest_files()


ASSET_JOBS = [process_raster, ingest_vector, hello_world]
OP_JOBS = [ingest_files, unpublish_item, rollback_item, remove_replaced]
