"""A chain: a job, its partitions and its stages in order; and the options of all of its stages."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from geo_platform.chains.stage import AnyStage, StageStores
from geo_platform.contracts.arrival import ObjectArrived, SourceKind
from geo_platform.options import ItemOptions, Options
from geo_platform.ports import ObjectStore
from geo_platform.source.sniff import DetectedSource

OptionsOfStage = TypeVar("OptionsOfStage", bound=Options)

# (collection id, item id)
Place = tuple[str, str]


@dataclass(frozen=True)
class ChainOptions:
    """The options of every stage of a chain, by the stage's name."""

    by_stage: Mapping[str, Options]

    def of(self, model: type[OptionsOfStage]) -> OptionsOfStage:
        """Return the options of the stage that has this model."""
        return next(options for options in self.by_stage.values() if isinstance(options, model))

    def as_config(self) -> dict[str, dict[str, Any]]:
        """Return each stage's options as JSON values, without those that are None."""
        return {
            stage: model.model_dump(mode="json", exclude_none=True)
            for stage, model in self.by_stage.items()
        }


class ParametersError(ValueError):
    """Parameters do not fit a chain. `faults`: (name, what is wrong with it) for each."""

    def __init__(self, faults: tuple[tuple[str, str], ...]) -> None:
        super().__init__("; ".join(f"{name}: {wrong}" for name, wrong in faults))
        self.faults = faults


@dataclass(frozen=True)
class DefaultName:
    """A parameter that names the result, and the name that a source gets if nobody gives one.

    If the defaults of two sources of one command collide, `of_text` makes a name of the folder and
    the file name joined.
    """

    parameter: str
    of_key: Callable[[str], str]
    of_text: Callable[[str], str]


@dataclass(frozen=True)
class Preview:
    """What a chain would make of a source: facts about the source, then the planned steps.

    Each step has its `reasons`. `place` is where the item would be published, if that was not known
    before the source was looked at.
    """

    found: dict[str, Any]
    steps: list[dict[str, Any]]
    place: Place | None = None


@dataclass(frozen=True)
class Chain:
    """A chain of stages. Everything that is told of a chain anywhere else derives from this.

    `name` groups its assets and tags its runs. `place` returns where the last stage publishes what
    the stage before it made; `place_ahead` returns it before anything ran, or None if it is not
    known then. `preview` plans without writing anything. `accepts_only` decides by the content of
    a source which ones the chain takes; without it, it takes every source of its kind.
    """

    name: str
    kind: SourceKind
    job: str
    partitions_name: str
    description: str
    stages: tuple[AnyStage, ...]
    place: Callable[[Any, ItemOptions], Place]
    place_ahead: Callable[[ObjectArrived, ChainOptions], Place | None]
    default_names: tuple[DefaultName, ...]
    preview: Callable[[ObjectArrived, ChainOptions, ObjectStore, Path], Preview] | None = None
    accepts_only: Callable[[DetectedSource], bool] | None = None

    @property
    def first(self) -> AnyStage:
        return self.stages[0]

    @property
    def last(self) -> AnyStage:
        return self.stages[-1]

    @property
    def before_last(self) -> AnyStage:
        """The stage whose message the last one publishes."""
        return self.stages[-2]

    @cached_property
    def stage_names(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self.stages)

    @cached_property
    def parameters(self) -> frozenset[str]:
        """Names of all parameters of all stages."""
        return frozenset(name for stage in self.stages for name in stage.options.model_fields)

    def stage(self, name: str) -> AnyStage:
        """Return the stage of that name. Raises KeyError."""
        found = next((stage for stage in self.stages if stage.name == name), None)
        if found is None:
            raise KeyError(f"the chain {self.name} has no stage {name!r}")
        return found

    def accepts(self, detected: DetectedSource) -> bool:
        """Return whether the chain can process a source with this content."""
        if self.accepts_only is not None:
            return self.accepts_only(detected)
        return detected.kind is self.kind

    def receive(self, objects: ObjectStore, key: str, options: ChainOptions) -> ObjectArrived:
        """Run the first stage on an object. Raises what `source.arrival.receive` raises."""
        arrived = self.first.run(
            None, options.by_stage[self.first.name], StageStores(objects), key=key
        )
        assert isinstance(arrived, ObjectArrived)  # noqa: S101  # narrows the type
        return arrived

    def fingerprint(self, arrived: ObjectArrived, options: ChainOptions) -> str:
        """Return the fingerprint that the last stage will have, before any stage runs."""
        fingerprint = arrived.fingerprint
        for stage in self.stages[1:]:
            chosen = options.by_stage[stage.name].model_dump(mode="json")
            fingerprint = stage.recipe.extend(fingerprint, chosen)
        return fingerprint

    def fit(self, parameters: Mapping[str, Any]) -> ChainOptions:
        """Return each stage's options, made of those parameters that the stage knows.

        Raises ParametersError: some do not fit; it names all of them.
        """
        built: dict[str, Options] = {}
        faults: list[tuple[str, str]] = []
        for stage in self.stages:
            known = stage.options.model_fields
            given = {name: value for name, value in parameters.items() if name in known}
            try:
                built[stage.name] = stage.options.model_validate(given)
            except ValidationError as fault:
                faults += [
                    (str(error["loc"][0]), error["msg"].removeprefix("Value error, "))
                    for error in fault.errors()
                ]
        if faults:
            raise ParametersError(tuple(dict.fromkeys(faults)))
        return ChainOptions(built)

    def unknown(self, parameters: Mapping[str, Any]) -> list[str]:
        """Return the names of those parameters that no stage of the chain has."""
        return [name for name in parameters if name not in self.parameters]
