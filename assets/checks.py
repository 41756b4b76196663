"""Asset checks: what is true of each result, per partition, read off the stages' messages.

What belongs here: comparing what a message says with what was promised. What stays out: opening files; the stages did
that before they announced anything, and their figures are in the messages.
"""

import warnings

import dagster as dg

from assets.stage import RASTER_OBJECTS, VECTOR_OBJECTS
from geo_platform.catalog.validate import item_faults
from geo_platform.contracts.message import SpatialReference
from geo_platform.contracts.publication import ItemPublished
from geo_platform.contracts.raster import CogStored, RasterProfiled
from geo_platform.contracts.vector import FeaturesLoaded, VectorProfiled
from geo_platform.ports import Catalog

# Partitioned checks are a preview in Dagster 1.13; docs/decisions/0003-partitioned-asset-checks.md says why they are used.
warnings.filterwarnings("ignore", message="Parameter `partitions_def`", category=dg.PreviewWarning)


def _as_asked(asked: str | None, source: SpatialReference, published: SpatialReference) -> bool:
    return published.wkt == source.wkt if asked is None else published.came_from == "user" or published.authority_code == asked


@dg.asset_check(asset="raster_cog", partitions_def=RASTER_OBJECTS)
def cog_valid(raster_cog: CogStored) -> dg.AssetCheckResult:
    """Every COG passed strict validation when it was opened again."""
    warned = [warning for cog in raster_cog.cogs for warning in cog.verification.warnings]
    passed = all(cog.verification.is_valid_cog for cog in raster_cog.cogs)
    return dg.AssetCheckResult(passed=passed, metadata={"cogs": len(raster_cog.cogs), "warnings": warned})
