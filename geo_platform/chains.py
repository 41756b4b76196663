"""The two chains of stages: which job runs them, on which partitions, with which options each.

What belongs here: the table of chains, and fitting parameters to the models of their stages. What stays out: how a face (CLI,
sensor) asks for parameters and says that one does not fit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from geo_platform.contracts.arrival import SourceKind
from geo_platform.options import ArrivalOptions, ItemOptions, Options
from geo_platform.raster.options import RasterCogOptions, RasterProfileOptions
from geo_platform.vector.options import VectorFeaturesOptions, VectorProfileOptions

Model = TypeVar("Model", bound=Options)


@dataclass(frozen=True)
class Chain:
    """A job: its stages in order, each with the model of its options, and the name of its partitions."""

    kind: SourceKind
    job: str
    partitions_name: str
    stages: Mapping[str, type[Options]]


CHAINS: Mapping[SourceKind, Chain] = {
    SourceKind.raster: Chain(
        kind=SourceKind.raster,
        job="process_raster",
        partitions_name="raster_objects",
        stages={
            "raw_raster": ArrivalOptions,
            "raster_profile": RasterProfileOptions,
            "raster_cog": RasterCogOptions,
            "raster_item": ItemOptions,
        },
    ),
    SourceKind.vector: Chain(
        kind=SourceKind.vector,
        job="ingest_vector",
        partitions_name="vector_objects",
        stages={
            "raw_vector": ArrivalOptions,
            "vector_profile": VectorProfileOptions,
            "vector_features": VectorFeaturesOptions,
            "vector_item": ItemOptions,
        },
    ),
}


@dataclass(frozen=True)
class ChainOptions:
    """The options of every stage of a chain."""

    by_stage: Mapping[str, Options]

    def of(self, model: type[Model]) -> Model:
        """The options of the stage that has this model."""
        return next(options for options in self.by_stage.values() if isinstance(options, model))

    def as_config(self) -> dict[str, dict[str, Any]]:
        """Each stage's options as JSON values, those left out that have no value."""
        return {
            stage: model.model_dump(mode="json", exclude_none=True)
            for stage, model in self.by_stage.items()
        }


class ParametersError(ValueError):
    """Parameters that do not fit a chain: (name, what is wrong with it), one for each fault."""

    def __init__(self, faults: tuple[tuple[str, str], ...]) -> None:
        super().__init__("; ".join(f"{name}: {wrong}" for name, wrong in faults))
        self.faults = faults


def fit(chain: Chain, parameters: Mapping[str, Any]) -> ChainOptions:
    """Each stage's options of those parameters that it knows. Raises ParametersError naming every one that does not fit."""
    built: dict[str, Options] = {}
    faults: list[tuple[str, str]] = []
    for stage, model in chain.stages.items():
        try:
            built[stage] = model.model_validate(
                {name: value for name, value in parameters.items() if name in model.model_fields}
            )
        except ValidationError as fault:
            faults += [
                (str(error["loc"][0]), error["msg"].removeprefix("Value error, "))
                for error in fault.errors()
            ]
    if faults:
        raise ParametersError(tuple(dict.fromkeys(faults)))
    return ChainOptions(built)


def unknown(chain: Chain, parameters: Mapping[str, Any]) -> list[str]:
    """Names of parameters that no stage of this chain has."""
    known = {name for model in chain.stages.values() for name in model.model_fields}
    return [name for name in parameters if name not in known]
