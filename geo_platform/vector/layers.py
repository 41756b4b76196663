"""Profile and load all layers of a file in one request, or the one layer that is requested.

Each layer gets its own datasets and its own item, whose names end with the layer's. A refusal of a
layer refuses the request, and names the layer: nothing is published then. Tables without geometry
and layers without rows are left out; the finding LAYERS_LEFT_OUT names them.

Called by `chains/vector.py`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from geo_platform.contracts.arrival import ObjectArrived, SourceFormat
from geo_platform.contracts.message import Finding
from geo_platform.contracts.vector import FeaturesLoaded, VectorProfiled
from geo_platform.errors import InputRefused, NoFeatures
from geo_platform.fingerprint import Recipe
from geo_platform.ports import FeatureStore, ObjectStore
from geo_platform.source.arrival import open_source
from geo_platform.source.openable import OpenableSource
from geo_platform.vector.load import load_features
from geo_platform.vector.options import (
    ALL_LAYERS,
    VectorFeaturesOptions,
    VectorProfileOptions,
)
from geo_platform.vector.plan import plan_features
from geo_platform.vector.profile import profile_object, profile_vector
from geo_platform.vector.sources.ogr import layer_list

# Formats whose files have one layer, and whose readers do not use OGR.
_ONE_LAYER = (SourceFormat.csv, SourceFormat.geoparquet)


def every_profile(profiled: VectorProfiled) -> tuple[VectorProfiled, ...]:
    """Return the profiles of all layers of a request."""
    return (profiled, *profiled.other_layers)


def every_load(loaded: FeaturesLoaded) -> tuple[FeaturesLoaded, ...]:
    """Return the loads of all layers of a request."""
    return (loaded, *loaded.other_layers)


def profile_layers(
    arrived: ObjectArrived,
    options: VectorProfileOptions,
    objects: ObjectStore,
    *,
    recipe: Recipe,
    scratch: Path,
) -> VectorProfiled:
    """Open the source and profile the requested layer, or all layers with geometry.

    `arrived` is the message of the stage before, which found the source and its format.
    Raises NoFeatures: no layer has rows.
    Raises what `profile_object` raises. If all layers are taken, the message names the layer.
    """
    if options.layer_name != ALL_LAYERS:
        return profile_object(arrived, options, objects, recipe=recipe, scratch=scratch)
    with open_source(objects, arrived, scratch=scratch) as source:
        names, tables = _layers(source)
        if len(names) < 2:
            one = options.model_copy(update={"layer_name": None})
            profiled = profile_vector(source, arrived, one, recipe=recipe)
            return profiled.model_copy(
                update={"warnings": (*profiled.warnings, *_left_out(tables, []))}
            )
        return _profile_all(source, arrived, options, names, tables, recipe=recipe)


def _profile_all(
    source: OpenableSource,
    arrived: ObjectArrived,
    options: VectorProfileOptions,
    names: Sequence[str],
    tables: Sequence[str],
    *,
    recipe: Recipe,
) -> VectorProfiled:
    profiles: list[VectorProfiled] = []
    empty: list[str] = []
    for name in names:
        one = options.model_copy(update={"layer_name": name})
        try:
            with _naming(name):
                profiled = profile_vector(source, arrived, one, recipe=recipe)
        except NoFeatures:
            empty.append(name)
            continue
        profiles.append(profiled.model_copy(update={"is_one_of_all": True}))
    if not profiles:
        raise NoFeatures(f"None of the {len(names)} layers of {source.display_name} has rows.")
    left_out = _left_out(tables, empty)
    first, *others = (
        profiled.model_copy(update={"warnings": (*profiled.warnings, *left_out)})
        for profiled in profiles
    )
    return first.model_copy(update={"other_layers": tuple(others)})


def load_layers(
    profiled: VectorProfiled,
    options: VectorFeaturesOptions,
    objects: ObjectStore,
    features: FeatureStore,
    *,
    recipe: Recipe,
    run_id: str,
    scratch: Path,
    notify: Callable[[str], None] | None = None,
) -> FeaturesLoaded:
    """Load the layers of a profile, one after another, as `load_features` does.

    All layers are planned before the first is loaded. Raises what `load_features` raises.
    """
    layers = [layer.model_copy(update={"other_layers": ()}) for layer in every_profile(profiled)]
    if len(layers) > 1:
        for layer in layers:
            with _naming(layer.layer):
                plan_features(layer, options)
    loads = []
    for number, layer in enumerate(layers):
        folder = scratch / f"layer-{number}"
        folder.mkdir()
        with _naming(layer.layer if len(layers) > 1 else None):
            load = load_features(
                layer,
                options,
                objects,
                features,
                recipe=recipe,
                run_id=run_id,
                scratch=folder,
                notify=notify,
            )
        loads.append(load)
    first, *others = loads
    return first.model_copy(update={"other_layers": tuple(others)})


def _layers(source: OpenableSource) -> tuple[list[str], list[str]]:
    """Return the names of the layers with geometry, and of the tables without."""
    if source.format in _ONE_LAYER:
        return [], []
    layers = layer_list(source, {})
    return (
        [name for name, kind in layers if kind is not None],
        [name for name, kind in layers if kind is None],
    )


def _left_out(tables: Sequence[str], empty: Sequence[str]) -> tuple[Finding, ...]:
    reasons = [
        *(f"{name!r} (a table without geometry)" for name in tables),
        *(f"{name!r} (no rows)" for name in empty),
    ]
    if not reasons:
        return ()
    return (Finding(code="LAYERS_LEFT_OUT", message=f"Left out: {', '.join(reasons)}."),)


@contextmanager
def _naming(layer: str | None) -> Iterator[None]:
    """Add the name of the layer to the message of a refusal. `layer` is None for a request of one.

    Raises InputRefused: the body raised it.
    """
    try:
        yield
    except InputRefused as refused:
        if layer is None or repr(layer) in refused.message:
            raise
        message = f"Layer {layer!r}: {refused.message}"
        raise type(refused)(message, remedy=refused.remedy, **refused.details) from refused
