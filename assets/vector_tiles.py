"""The asset of the vector tiles of low zooms: a job of its own draws them after vector_item.

A partition is an item, by its collection and id, so that neither publishing nor another run of the
source waits for it. `schedules/sensors.py` requests the runs. A module of its own, as each job has
one for its assets.

Called by `modules.py`.
"""

import dagster as dg

from assets.partitions import VECTOR_ITEMS
from assets.stage import OWNERS, STORE_RETRIES, result, stage
from geo_platform.chains.vector import ITEM
from geo_platform.contracts.publication import TilesKept
from geo_platform.ports import Catalog, ObjectStore, Scratch
from geo_platform.serving.features.opened import FeatureReader
from geo_platform.settings import load_settings


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
