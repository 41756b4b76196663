"""All jobs, and the schedule that removes old versions.

A run executes its stages one after the other in one process. Runs execute in parallel.

Called by `definitions.py` and `sensors.py`.
"""

from typing import Any

import dagster as dg

from assets import batch, undo
from geo_platform.chains.chain import Chain
from geo_platform.chains.hello import HELLO_JOB, HELLO_STAGES
from geo_platform.chains.registry import CHAINS


def _chain_job(chain: Chain) -> Any:  # Dagster does not export the type
    return dg.define_asset_job(
        chain.job,
        selection=dg.AssetSelection.assets(*chain.stage_names),
        executor_def=dg.in_process_executor,
        description=chain.description,
        tags={"geo_platform/kind": chain.name},
    )


hello_world = dg.define_asset_job(
    HELLO_JOB,
    selection=dg.AssetSelection.assets(*(stage.name for stage in HELLO_STAGES)),
    executor_def=dg.in_process_executor,
    description="Two stages and a message between them: the smoke test of a deployment.",
)


draw_vector_tiles = dg.define_asset_job(
    "draw_vector_tiles",
    selection=dg.AssetSelection.assets("vector_tiles"),
    executor_def=dg.in_process_executor,
    description="Draws and keeps the vector tiles of low zooms of a large item. "
    "The partition is COLLECTION/ITEM.",
    tags={"geo_platform/kind": "tiles"},
)


@dg.job(
    executor_def=dg.in_process_executor,
    description="Unpublishes an item and the table that it names, and keeps both for a while.",
    tags={"geo_platform/kind": "undo"},
)
def unpublish_item() -> None:
    undo.unpublish()


@dg.job(
    executor_def=dg.in_process_executor,
    description="Publishes again the item and the table that an earlier run had published.",
    tags={"geo_platform/kind": "undo"},
)
def rollback_item() -> None:
    undo.rollback()


@dg.job(
    executor_def=dg.in_process_executor,
    description="Removes versions that were replaced or unpublished longer ago than they are kept "
    "for, with their files and tables.",
    tags={"geo_platform/kind": "retention"},
)
def remove_replaced() -> None:
    undo.remove()


@dg.job(
    executor_def=dg.in_process_executor,
    description="Ingests several small files, each by itself through the stages of its kind. A "
    "refused file does not fail the others.",
    tags={"geo_platform/kind": "files"},
)
def ingest_files() -> None:
    batch.ingest_files()


CHAIN_JOBS = [_chain_job(chain) for chain in CHAINS]
ASSET_JOBS = [*CHAIN_JOBS, hello_world, draw_vector_tiles]
OP_JOBS = [ingest_files, unpublish_item, rollback_item, remove_replaced]
# The jobs that a sensor on arrivals may launch.
ARRIVAL_JOBS = [*CHAIN_JOBS, ingest_files]


remove_replaced_daily = dg.ScheduleDefinition(
    name="remove_replaced_daily",
    job=remove_replaced,
    cron_schedule="17 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Removes each night the versions that were withdrawn longer ago than "
    "GEO_PLATFORM_KEEP_REPLACED_DAYS, with their files and tables.",
)


SCHEDULES = [remove_replaced_daily]
