"""The raster chain: raw_raster -> raster_profile -> raster_cog -> raster_item.

The functions import the core modules when they are called, since the core modules load GDAL. Code
that only needs the names of stages and options does not load it.

Used by `api/jobs`, `assets`, `chains` and `cli/commands`.
"""

from pathlib import Path
from typing import Any

from geo_platform.catalog.naming import default_item_id, item_place
from geo_platform.chains.chain import (
    Chain,
    ChainOptions,
    Check,
    CheckResult,
    DefaultName,
    Place,
    Preview,
    Stage,
    StageCall,
)
from geo_platform.chains.shared import crs_as_asked, item_valid, receive_source
from geo_platform.contracts.arrival import ObjectArrived, SourceKind
from geo_platform.contracts.publication import ItemPublished
from geo_platform.contracts.raster import CogStored, RasterProfiled
from geo_platform.options import ArrivalOptions, ItemOptions
from geo_platform.ports import ObjectStore
from geo_platform.raster.options import RasterCogOptions, RasterProfileOptions


def _profile(call: StageCall[ObjectArrived, RasterProfileOptions]) -> RasterProfiled:
    from geo_platform.raster.profile import profile_object

    with call.scratch_folder() as folder:
        return profile_object(
            call.message, call.options, call.objects, recipe=call.recipe, scratch=folder
        )


def _make_cogs(call: StageCall[RasterProfiled, RasterCogOptions]) -> CogStored:
    from geo_platform.raster.convert import make_cogs

    with call.scratch_folder() as folder:
        return make_cogs(
            call.message,
            call.options,
            call.objects,
            recipe=call.recipe,
            run_id=call.run_id,
            scratch=folder,
            notify=call.notify,
        )


def _publish(call: StageCall[CogStored, ItemOptions]) -> ItemPublished:
    from geo_platform.catalog.publish import publish_raster

    return publish_raster(
        call.message,
        call.options,
        call.catalog,
        call.objects,
        recipe=call.recipe,
        run_id=call.run_id,
    )


def _place(stored: CogStored, options: ItemOptions) -> Place:
    return item_place(stored.source, options)


def _place_ahead(arrived: ObjectArrived, options: ChainOptions) -> Place:
    return item_place(arrived, options.of(ItemOptions))


def _preview(
    arrived: ObjectArrived, options: ChainOptions, objects: ObjectStore, scratch: Path
) -> Preview:
    from geo_platform.raster.plan import plan_cogs
    from geo_platform.raster.profile import profile_object

    profiled = profile_object(
        arrived, options.of(RasterProfileOptions), objects, recipe=PROFILE.recipe, scratch=scratch
    )
    plans = plan_cogs(profiled, options.of(RasterCogOptions))
    fields = {"driver", "shape", "raster_type", "raster_type_reason", "bit_depth", "warnings"}
    source_facts = profiled.model_dump(mode="json", include=fields)
    source_facts["crs"] = profiled.crs.authority_code or profiled.crs.wkt
    steps: list[dict[str, Any]] = [
        plan.model_dump(mode="json", exclude={"bands", "crs"}) for plan in plans.plans
    ]
    refused = [{"reasons": [refusal.message]} for refusal in plans.refused_tiers]
    return Preview(source_facts, steps + refused)


def cogs_valid(stored: CogStored) -> CheckResult:
    """Pass if strict validation passed for every COG."""
    warnings = [warning for cog in stored.cogs for warning in cog.verification.warnings]
    return CheckResult(
        all(cog.verification.is_valid_cog for cog in stored.cogs),
        {"cogs": len(stored.cogs), "warnings": warnings},
    )


def pixels_match(stored: CogStored) -> CheckResult:
    """Pass if pixels of every COG were sampled and no pixel differs that must be equal.

    Pixels must be equal in a lossless COG on the source's grid.
    """
    verifications = [cog.verification for cog in stored.cogs]
    return CheckResult(
        all(
            verification.sampled_pixels > 0
            and (verification.differing_pixels == 0 or not verification.compared_exactly)
            for verification in verifications
        ),
        {
            "sampled_pixels": sum(each.sampled_pixels for each in verifications),
            "differing_pixels": sum(each.differing_pixels for each in verifications),
            "largest_difference": max(each.largest_difference for each in verifications),
        },
    )


def raster_crs_as_asked(stored: CogStored, profiled: RasterProfiled) -> CheckResult:
    """Pass if the first COG has the requested CRS or, without a request, the CRS of the source."""
    main = stored.cogs[0]
    return crs_as_asked(main.asked_crs, profiled.crs, main.crs)


ARRIVAL = Stage(
    "raw_raster",
    None,
    ObjectArrived,
    ArrivalOptions,
    1,
    receive_source,
    description="The raster object as it arrived, with the format detected from its bytes. The "
    "partition is the object's name in the container.",
)

PROFILE = Stage(
    "raster_profile",
    ObjectArrived,
    RasterProfiled,
    RasterProfileOptions,
    2,
    _profile,
    description="Facts about the raster: bands, CRS, bounds, type, bit depth; from headers and a "
    "sample over the whole extent.",
)

COG = Stage(
    "raster_cog",
    RasterProfiled,
    CogStored,
    RasterCogOptions,
    2,
    _make_cogs,
    description="Cloud Optimized GeoTIFFs, opened again and compared with the source before "
    "the stage succeeds.",
    checks=(
        Check(
            "cog_valid", "Every COG passed strict validation when it was opened again.", cogs_valid
        ),
        Check(
            "pixels_match",
            "Sampled pixels equal the source's where the COG is lossless and on the source's grid.",
            pixels_match,
        ),
        Check(
            "raster_crs_as_asked",
            "The COG is in the requested CRS or, without a request, in the CRS of the source.",
            raster_crs_as_asked,
            also_reads=(PROFILE,),
        ),
    ),
)

ITEM = Stage(
    "raster_item",
    CogStored,
    ItemPublished,
    ItemOptions,
    2,
    _publish,
    description="The STAC item, by which clients find the result. Processing the source again "
    "replaces the item.",
    checks=(
        Check(
            "raster_item_valid",
            "The catalog has the published item, and the item is valid STAC.",
            item_valid,
            reads_catalog=True,
        ),
    ),
)

RASTER = Chain(
    name="raster",
    kind=SourceKind.raster,
    job="process_raster",
    partitions_name="raster_objects",
    description="A raster object becomes verified Cloud Optimized GeoTIFFs and a STAC item. "
    "The partition names the object.",
    stages=(ARRIVAL, PROFILE, COG, ITEM),
    place=_place,
    place_ahead=_place_ahead,
    default_names=(DefaultName("item_id", default_item_id, default_item_id),),
    preview=_preview,
)
