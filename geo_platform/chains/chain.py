"""The types that describe a chain: its stages, their calls and checks, and the options of all stages.

A stage has one core call. The stage's asset and a run of many files both make it.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from geo_platform.contracts.arrival import ObjectArrived, SourceKind
from geo_platform.contracts.message import Message
from geo_platform.fingerprint import Recipe
from geo_platform.options import ItemOptions, Options
from geo_platform.ports import Catalog, FeatureStore, ObjectStore, Scratch
from geo_platform.source.sniff import DetectedSource

TakesT = TypeVar("TakesT")
GivesT = TypeVar("GivesT", bound=Message)
OptionsT = TypeVar("OptionsT", bound=Options)
PortT = TypeVar("PortT")

Notify = Callable[[str], None]


@dataclass(frozen=True)
class StageStores:
    """The stores that a stage may use. An asset passes those that its stage needs."""

    objects: ObjectStore | None = None
    scratch: Scratch | None = None
    features: FeatureStore | None = None
    catalog: Catalog | None = None


def _ignore(_: str) -> None:
    """Drop a progress message: the caller has no log for it."""


@dataclass(frozen=True)
class StageCall(Generic[TakesT, OptionsT]):
    """Everything that one call of a stage needs.

    `key` is the name of the source object, which is also the partition. `notify` reports progress.
    """

    message: TakesT
    options: OptionsT
    stores: StageStores
    recipe: Recipe
    key: str = ""
    run_id: str = ""
    notify: Notify = _ignore

    @property
    def objects(self) -> ObjectStore:
        return self._given(self.stores.objects, "object store")

    @property
    def features(self) -> FeatureStore:
        return self._given(self.stores.features, "feature store")

    @property
    def catalog(self) -> Catalog:
        return self._given(self.stores.catalog, "catalog")

    def scratch_folder(self) -> AbstractContextManager[Path]:
        """Return a context with an empty folder of this run, removed at its end."""
        return self._given(self.stores.scratch, "scratch folder").of_run(self.run_id)

    def _given(self, port: PortT | None, name: str) -> PortT:
        if port is None:
            raise TypeError(f"the stage {self.recipe.stage} was called without its {name}")
        return port


@dataclass(frozen=True)
class CheckResult:
    """Whether a check passed, and the figures that it compared, as JSON values."""

    passed: bool
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """A statement that must be true of a stage's message.

    `evaluate` takes the message of the stage, then those of the earlier stages in `also_reads`,
    then the catalog if `reads_catalog`. It opens no file: the figures are in the messages.
    """

    name: str
    description: str
    evaluate: Callable[..., CheckResult]
    also_reads: tuple["Stage[Any, Any, Any]", ...] = ()
    reads_catalog: bool = False

    def of_messages(
        self,
        stage: "Stage[Any, Any, Any]",
        messages: Mapping[str, Message],
        catalog: Catalog | None,
    ) -> CheckResult:
        """Evaluate the check on messages by stage name. Raises the catalog's errors."""
        given = [messages[read.name] for read in (stage, *self.also_reads)]
        return self.evaluate(*given, *([catalog] if self.reads_catalog else []))


@dataclass(frozen=True)
class Stage(Generic[TakesT, GivesT, OptionsT]):
    """One stage. `takes` is None for the first stage, which reads the object itself.

    `description` says what the result is; Dagster's UI shows it. Raise `recipe_version` when the
    stage would make something else of the same input: results of the old version are made again.
    """

    name: str
    takes: type[Message] | None
    gives: type[GivesT]
    options: type[OptionsT]
    recipe_version: int
    work: Callable[[StageCall[TakesT, OptionsT]], GivesT]
    description: str
    checks: tuple[Check, ...] = ()

    @property
    def recipe(self) -> Recipe:
        return Recipe(self.name, self.recipe_version)

    def run(
        self,
        message: TakesT,
        options: OptionsT,
        stores: StageStores,
        *,
        key: str = "",
        run_id: str = "",
        notify: Notify = _ignore,
    ) -> GivesT:
        """Do the stage's work and return its message. Raises the errors of its core call."""
        return self.work(StageCall(message, options, stores, self.recipe, key, run_id, notify))


AnyStage = Stage[Any, Any, Any]


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
