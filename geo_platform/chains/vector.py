"""The vector chain: raw_vector -> vector_profile -> vector_features -> vector_item.

The functions import the core modules when they are called: pyogrio loads geopandas and pandas,
which takes a third of a second, and the run of a raster imports this module too.

Used throughout the application.
"""

from collections import Counter
from pathlib import Path

from geo_platform.catalog.naming import default_item_id, item_place, place_of_load
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
from geo_platform.contracts.vector import FeaturesLoaded, VectorProfiled
from geo_platform.options import ArrivalOptions, ItemOptions
from geo_platform.ports import ObjectStore
from geo_platform.vector.field_names import dataset_name
from geo_platform.vector.options import (
    ALL_LAYERS,
    LoadMode,
    VectorFeaturesOptions,
    VectorProfileOptions,
)


def _profile(call: StageCall[ObjectArrived, VectorProfileOptions]) -> VectorProfiled:
    from geo_platform.vector.layers import profile_layers

    with call.scratch_folder() as folder:
        return profile_layers(
            call.message, call.options, call.objects, recipe=call.recipe, scratch=folder
        )


def _load(call: StageCall[VectorProfiled, VectorFeaturesOptions]) -> FeaturesLoaded:
    from geo_platform.vector.layers import load_layers

    with call.scratch_folder() as folder:
        return load_layers(
            call.message,
            call.options,
            call.objects,
            call.features,
            recipe=call.recipe,
            run_id=call.run_id,
            scratch=folder,
            notify=call.notify,
        )


def _publish(call: StageCall[FeaturesLoaded, ItemOptions]) -> ItemPublished:
    from geo_platform.catalog.publish import publish_vector

    first, *others = (
        publish_vector(
            loaded,
            call.options,
            call.catalog,
            call.objects,
            recipe=call.recipe,
            run_id=call.run_id,
        )
        for loaded in (call.message, *call.message.other_layers)
    )
    return first.model_copy(update={"other_items": tuple(others)})


def _place(loaded: FeaturesLoaded, options: ItemOptions) -> Place:
    return place_of_load(loaded, options)


def _is_appended(options: ChainOptions) -> bool:
    return options.of(VectorFeaturesOptions).mode is LoadMode.append


def _place_ahead(arrived: ObjectArrived, options: ChainOptions) -> Place | None:
    """Return where the item will be published, or None if only the run finds that out.

    The item of an append is named after the dataset. The item of a layer has the layer's name if
    the file has several; a request for all layers has an item for each.
    """
    layer, item = options.of(VectorProfileOptions).layer_name, options.of(ItemOptions)
    names_layer = layer is not None and item.item_id is None
    if _is_appended(options) or names_layer or layer == ALL_LAYERS:
        return None
    return item_place(arrived, item)


def _default_dataset(key: str) -> str:
    from geo_platform.vector.plan import object_stem

    return dataset_name(None, object_stem(key))


def _dataset_of_text(text: str) -> str:
    return dataset_name(None, default_item_id(text))


def _preview(
    arrived: ObjectArrived, options: ChainOptions, objects: ObjectStore, scratch: Path
) -> Preview:
    from geo_platform.vector.family_datasets import planned_datasets
    from geo_platform.vector.layers import every_profile, profile_layers
    from geo_platform.vector.plan import plan_features

    profiled = profile_layers(
        arrived, options.of(VectorProfileOptions), objects, recipe=PROFILE.recipe, scratch=scratch
    )
    plans = [
        plan_features(layer, options.of(VectorFeaturesOptions)) for layer in every_profile(profiled)
    ]
    fields = {"driver", "layer", "geometry_types", "feature_count", "encoding", "warnings"}
    source_facts = profiled.model_dump(mode="json", include=fields)
    if profiled.other_layers:
        source_facts["layer"] = ", ".join(layer.layer for layer in every_profile(profiled))
    source_facts["crs"] = profiled.crs.authority_code or profiled.crs.wkt
    steps = [
        {
            "dataset": dataset,
            "geometry_type": geometry_type,
            "dimension": plan.dimension,
            "crs": plan.crs.authority_code or plan.crs.wkt,
            "was_reprojected": plan.was_reprojected,
            "fields": [field.model_dump(mode="json") for field in plan.fields],
            "reasons": list(plan.reasons) if position == 0 else [],
        }
        for plan in plans
        for position, (dataset, geometry_type) in enumerate(planned_datasets(plan))
    ]
    if len(plans) > 1:
        return Preview(source_facts, steps)
    place = item_place(
        arrived,
        options.of(ItemOptions),
        dataset=plans[0].dataset if _is_appended(options) else None,
        layer_suffix=profiled.layer_suffix,
        is_one_of_all=profiled.is_one_of_all,
    )
    return Preview(source_facts, steps, place)


def rows_accounted(loaded: FeaturesLoaded) -> CheckResult:
    """Pass if every row that was read was inserted or rejected, in each layer."""
    layers = (loaded, *loaded.other_layers)
    counts = {
        "read": sum(layer.read for layer in layers),
        "inserted": sum(layer.inserted for layer in layers),
        "rejected": sum(layer.rejected for layer in layers),
    }
    balanced = all(layer.read == layer.inserted + layer.rejected for layer in layers)
    return CheckResult(balanced, counts)


def columns_accounted(loaded: FeaturesLoaded, profiled: VectorProfiled) -> CheckResult:
    """Pass if every column of the source is published, or a warning names it, in each layer."""
    layers = [
        (layer.columns, result)
        for layer, result in zip(
            (profiled, *profiled.other_layers), (loaded, *loaded.other_layers), strict=True
        )
    ]
    missing = [name for columns, result in layers for name in _missing_columns(columns, result)]
    counts = {
        "source": sum(len(columns) for columns, _ in layers),
        "published": sum(len(result.fields) for _, result in layers),
        "missing": ", ".join(missing),
    }
    return CheckResult(not missing, counts)


def _missing_columns(columns: tuple[str, ...], loaded: FeaturesLoaded) -> list[str]:
    """Return the columns that are neither published nor named in a warning."""
    unpublished = Counter(columns) - Counter(field.source for field in loaded.fields)
    return [
        name
        for name in unpublished
        if not any(repr(name) in warning.message for warning in loaded.warnings)
    ]


def vector_crs_as_asked(loaded: FeaturesLoaded, profiled: VectorProfiled) -> CheckResult:
    """Pass if the dataset has the requested CRS or, without a request, the CRS of the source."""
    results = [
        crs_as_asked(load.asked_crs, profile.crs, load.crs)
        for load, profile in zip(
            (loaded, *loaded.other_layers), (profiled, *profiled.other_layers), strict=True
        )
    ]
    return next((result for result in results if not result.passed), results[0])


ARRIVAL = Stage(
    "raw_vector",
    None,
    ObjectArrived,
    ArrivalOptions,
    1,
    receive_source,
    description="The vector object as it arrived, with the format detected from its bytes. The "
    "partition is the object's name in the container.",
)

PROFILE = Stage(
    "vector_profile",
    ObjectArrived,
    VectorProfiled,
    VectorProfileOptions,
    2,
    _profile,
    description="The layer to load and facts about it: geometry types, fields, CRS, encoding.",
)

FEATURES = Stage(
    "vector_features",
    VectorProfiled,
    FeaturesLoaded,
    VectorFeaturesOptions,
    2,
    _load,
    description="The features, repaired and sorted in space, in one dataset or in one for each "
    "geometry family; every row of the source is inserted "
    "or listed as rejected.",
    checks=(
        Check("rows_accounted", "Rows read = rows inserted + rows rejected.", rows_accounted),
        Check(
            "columns_accounted",
            "Columns of the source = columns published + columns that a warning names.",
            columns_accounted,
            also_reads=(PROFILE,),
        ),
        Check(
            "vector_crs_as_asked",
            "The dataset is in the requested CRS or, without a request, in the CRS of the source.",
            vector_crs_as_asked,
            also_reads=(PROFILE,),
        ),
    ),
)

ITEM = Stage(
    "vector_item",
    FeaturesLoaded,
    ItemPublished,
    ItemOptions,
    2,
    _publish,
    description="The STAC item, by which clients find the result. Processing the source again "
    "replaces the item.",
    checks=(
        Check(
            "vector_item_valid",
            "The catalog has the published item, and the item is valid STAC.",
            item_valid,
            reads_catalog=True,
        ),
    ),
)

VECTOR = Chain(
    name="vector",
    kind=SourceKind.vector,
    job="ingest_vector",
    partitions_name="vector_objects",
    description="A vector object becomes a sorted GeoParquet dataset and a STAC item. "
    "The partition names the object.",
    stages=(ARRIVAL, PROFILE, FEATURES, ITEM),
    place=_place,
    place_ahead=_place_ahead,
    default_names=(
        DefaultName("item_id", default_item_id, default_item_id),
        DefaultName("table_name", _default_dataset, _dataset_of_text),
    ),
    preview=_preview,
)
