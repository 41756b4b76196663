"""Asset checks: what is true of each result, per partition, read off the stages' messages.

What belongs here: comparing what a message says with what was promised. What stays out: opening files; the stages did
that before they announced anything, and their figures are in the messages.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from assets.partitions import RASTER_OBJECTS, VECTOR_OBJECTS
from geo_platform.catalog.validate import item_faults
from geo_platform.contracts.message import SpatialReference
from geo_platform.contracts.publication import ItemPublished
from geo_platform.contracts.raster import CogStored, RasterProfiled
from geo_platform.contracts.vector import FeaturesLoaded, VectorProfiled
from geo_platform.crs import parse_crs, same_crs
from geo_platform.ports import Catalog

# Partitioned checks are a preview in Dagster 1.13; docs/decisions/0003-partitioned-asset-checks.md says why they are used.
warnings.filterwarnings(
    "ignore", message="Specifying a partitions_def on an AssetCheckSpec", category=dg.PreviewWarning
)


def _crs_result(
    asked: str | None, source: SpatialReference, published: SpatialReference
) -> dg.AssetCheckResult:
    wanted = asked or source.wkt
    metadata = {
        "asked": asked or "the source's own",
        "published": published.authority_code or published.wkt,
    }
    return dg.AssetCheckResult(
        passed=same_crs(
            parse_crs(wanted, "target_crs"), parse_crs(published.wkt, "the published CRS")
        ),
        metadata=metadata,
    )


@dg.asset_check(asset="raster_cog", partitions_def=RASTER_OBJECTS)
def cog_valid(raster_cog: CogStored) -> dg.AssetCheckResult:
    """Every COG passed strict validation when it was opened again."""
    return _cogs_valid(raster_cog)


def _cogs_valid(stored: CogStored) -> dg.AssetCheckResult:
    passed = all(cog.verification.is_valid_cog for cog in stored.cogs)
    warned = [warning for cog in stored.cogs for warning in cog.verification.warnings]
    return dg.AssetCheckResult(
        passed=passed, metadata={"cogs": len(stored.cogs), "warnings": warned}
    )


@dg.asset_check(asset="raster_cog", partitions_def=RASTER_OBJECTS)
def pixels_match(raster_cog: CogStored) -> dg.AssetCheckResult:
    """Sampled pixels equal the source's where the COG is lossless and on the source's grid."""
    return _pixels_matching(raster_cog)


def _pixels_matching(stored: CogStored) -> dg.AssetCheckResult:
    checked = [cog.verification for cog in stored.cogs]
    passed = all(
        found.sampled_pixels > 0 and (found.differing_pixels == 0 or not found.compared_exactly)
        for found in checked
    )
    return dg.AssetCheckResult(
        passed=passed,
        metadata={
            "sampled_pixels": sum(found.sampled_pixels for found in checked),
            "differing_pixels": sum(found.differing_pixels for found in checked),
            "largest_difference": max(found.largest_difference for found in checked),
        },
    )


@dg.asset_check(
    asset="raster_cog",
    partitions_def=RASTER_OBJECTS,
    additional_ins={"raster_profile": dg.AssetIn("raster_profile")},
)
def raster_crs_as_asked(
    raster_cog: CogStored, raster_profile: RasterProfiled
) -> dg.AssetCheckResult:
    """The COG is in the CRS that was asked for, or in the source's own."""
    return _raster_crs(raster_cog, raster_profile)


def _raster_crs(stored: CogStored, profiled: RasterProfiled) -> dg.AssetCheckResult:
    main = stored.cogs[0]
    return _crs_result(main.asked_crs, profiled.crs, main.crs)


@dg.asset_check(asset="vector_features", partitions_def=VECTOR_OBJECTS)
def rows_accounted(vector_features: FeaturesLoaded) -> dg.AssetCheckResult:
    """Rows read = rows inserted + rows rejected."""
    return _rows_balanced(vector_features)


def _rows_balanced(loaded: FeaturesLoaded) -> dg.AssetCheckResult:
    counts = {"read": loaded.read, "inserted": loaded.inserted, "rejected": loaded.rejected}
    return dg.AssetCheckResult(
        passed=counts["read"] == counts["inserted"] + counts["rejected"], metadata=counts
    )


@dg.asset_check(
    asset="vector_features",
    partitions_def=VECTOR_OBJECTS,
    additional_ins={"vector_profile": dg.AssetIn("vector_profile")},
)
def vector_crs_as_asked(
    vector_features: FeaturesLoaded, vector_profile: VectorProfiled
) -> dg.AssetCheckResult:
    """The dataset is in the CRS that was asked for, or in the source's own."""
    return _vector_crs(vector_features, vector_profile)


def _vector_crs(loaded: FeaturesLoaded, profiled: VectorProfiled) -> dg.AssetCheckResult:
    return _crs_result(loaded.asked_crs, profiled.crs, loaded.crs)


@dg.asset_check(asset="raster_item", partitions_def=RASTER_OBJECTS)
def raster_item_valid(
    raster_item: ItemPublished, catalog: dg.ResourceParam[Catalog]
) -> dg.AssetCheckResult:
    """The item as the catalog hands it out is valid STAC and says what was published."""
    return _item_result(raster_item, catalog)


@dg.asset_check(asset="vector_item", partitions_def=VECTOR_OBJECTS)
def vector_item_valid(
    vector_item: ItemPublished, catalog: dg.ResourceParam[Catalog]
) -> dg.AssetCheckResult:
    """The item as the catalog hands it out is valid STAC and says what was published."""
    return _item_result(vector_item, catalog)


def _item_result(published: ItemPublished, catalog: Catalog) -> dg.AssetCheckResult:
    item = catalog.item(published.collection, published.item_id)
    faults = ["the catalog does not have it"] if item is None else list(item_faults(item))
    return dg.AssetCheckResult(
        passed=not faults, metadata={"item": published.href, "faults": faults}
    )


ASSET_CHECKS = [
    cog_valid,
    pixels_match,
    raster_crs_as_asked,
    raster_item_valid,
    rows_accounted,
    vector_crs_as_asked,
    vector_item_valid,
]

# Of each asset that has checks: what each finds, by its name, of the messages made so far. For
# files that share a step.
CHECKS_OF: Mapping[
    str, Mapping[str, Callable[[Mapping[str, Any], Catalog], dg.AssetCheckResult]]
] = {
    "raster_cog": {
        "cog_valid": lambda made, _: _cogs_valid(made["raster_cog"]),
        "pixels_match": lambda made, _: _pixels_matching(made["raster_cog"]),
        "raster_crs_as_asked": lambda made, _: _raster_crs(
            made["raster_cog"], made["raster_profile"]
        ),
    },
    "raster_item": {
        "raster_item_valid": lambda made, catalog: _item_result(made["raster_item"], catalog)
    },
    "vector_features": {
        "rows_accounted": lambda made, _: _rows_balanced(made["vector_features"]),
        "vector_crs_as_asked": lambda made, _: _vector_crs(
            made["vector_features"], made["vector_profile"]
        ),
    },
    "vector_item": {
        "vector_item_valid": lambda made, catalog: _item_result(made["vector_item"], catalog)
    },
}


def results_of(
    asset: str, made: Mapping[str, Any], catalog: Catalog
) -> dict[str, dg.AssetCheckResult]:
    """What the checks of this asset find, by their names. Raises what the catalog raises."""
    return {name: find(made, catalog) for name, find in CHECKS_OF.get(asset, {}).items()}
