"""Ops that unpublish an item, restore an earlier version, and remove old versions and leftovers.

They are ops because they make no asset. The jobs are in `schedules/jobs.py`.

Called by `schedules/jobs.py`.
"""

from datetime import UTC, datetime

import dagster as dg
from pydantic import Field

from assets.report import item_metadata, removed_metadata, withdrawn_metadata
from assets.stage import STORE_RETRIES, StageConfig, stage
from geo_platform.catalog.retention import remove_replaced
from geo_platform.catalog.undo import rollback_item, unpublish_item
from geo_platform.ports import Catalog, FeatureStore, ObjectStore
from geo_platform.settings import load_settings


class UnpublishConfig(StageConfig):
    """Which item to unpublish."""

    collection: str = Field(description="Collection of the item.")
    item_id: str = Field(description="Id of the item.")
    run: str | None = Field(None, description="Only if this run published it.")


class RollbackConfig(StageConfig):
    """Which version of an item to publish again."""

    collection: str = Field(description="Collection of the item.")
    item_id: str = Field(description="Id of the item.")
    to_run: str | None = Field(
        None,
        description="Version that this run published. Default: the version before the present one.",
    )


class RemoveConfig(StageConfig):
    """How long to keep what was replaced or unpublished."""

    older_than_days: float | None = Field(
        None, ge=0, description="Days to keep it. Default: GEO_PLATFORM_KEEP_REPLACED_DAYS."
    )


@dg.op(retry_policy=STORE_RETRIES)
def unpublish(
    context: dg.OpExecutionContext, config: UnpublishConfig, catalog: dg.ResourceParam[Catalog]
) -> None:
    """Unpublish an item and its table.

    Both are kept for GEO_PLATFORM_KEEP_REPLACED_DAYS, so that `rollback` can restore them.
    """
    with stage(context):
        withdrawn = unpublish_item(catalog, config.collection, config.item_id, run=config.run)
    context.add_output_metadata(withdrawn_metadata(withdrawn))


@dg.op(retry_policy=STORE_RETRIES)
def rollback(
    context: dg.OpExecutionContext,
    config: RollbackConfig,
    catalog: dg.ResourceParam[Catalog],
    objects: dg.ResourceParam[ObjectStore],
) -> None:
    """Publish an earlier version of an item and its table again."""
    with stage(context):
        published = rollback_item(
            catalog,
            objects,
            config.collection,
            config.item_id,
            to_run=config.to_run,
            run_id=context.run.run_id,
        )
    context.add_output_metadata(item_metadata(published))


@dg.op(retry_policy=STORE_RETRIES)
def remove(
    context: dg.OpExecutionContext,
    config: RemoveConfig,
    catalog: dg.ResourceParam[Catalog],
    objects: dg.ResourceParam[ObjectStore],
    features: dg.ResourceParam[FeatureStore],
) -> None:
    """Remove versions that are older than the retention, and leftovers of runs without a result."""
    days = (
        load_settings().keep_replaced_days
        if config.older_than_days is None
        else config.older_than_days
    )
    with stage(context):
        removed = remove_replaced(
            catalog, objects, features, older_than_days=days, now_utc=datetime.now(UTC)
        )
    context.add_output_metadata(removed_metadata(removed))
