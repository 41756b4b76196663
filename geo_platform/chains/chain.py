"""The types that describe a chain: its stages, their calls and checks, and the stages' options.

A chain is the stages of one job. A stage takes the message of the stage before and returns its own
message, by one call of the core library. The stage's asset makes this call, and so does a run of
many files.

Used throughout the application.
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
    """The stores that a stage may use. A store that the stage does not need may be None."""

    objects: ObjectStore | None = None
    scratch: Scratch | None = None
    features: FeatureStore | None = None
    catalog: Catalog | None = None


def _ignore(_: str) -> None:
    """Drop a progress message, for a caller that does not want any."""


@dataclass(frozen=True)
class StageCall(Generic[TakesT, OptionsT]):
    """Everything that one call of a stage needs.

    `message` is that of the stage before (for the first stage None, or the source if the caller has
    looked it up already). `key` is the name of the source object, which is also the partition.
    `notify` reports progress. The properties raise TypeError: the call has no such store.
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
        return self._required(self.stores.objects, "object store")

    @property
    def features(self) -> FeatureStore:
        return self._required(self.stores.features, "feature store")

    @property
    def catalog(self) -> Catalog:
        return self._required(self.stores.catalog, "catalog")

    def scratch_folder(self) -> AbstractContextManager[Path]:
        """Return a context with an empty folder of this run, removed at its end."""
        return self._required(self.stores.scratch, "scratch folder").of_run(self.run_id)

    def _required(self, port: PortT | None, name: str) -> PortT:
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

    `evaluate` takes the message of the stage, then the messages of the earlier stages in
    `also_reads`, then the catalog if `reads_catalog`. It opens no file: the stages have put the
    figures into their messages.
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
        """Evaluate the check. `messages` maps the name of a stage to its message.

        Raises StoreUnavailable, StoreDenied, DatabaseUnavailable, CatalogRejected: the check reads
        the catalog, and the catalog or the item cannot be read.
        """
        inputs = [messages[read.name] for read in (stage, *self.also_reads)]
        return self.evaluate(*inputs, *([catalog] if self.reads_catalog else []))


@dataclass(frozen=True)
class Stage(Generic[TakesT, GivesT, OptionsT]):
    """One stage: it takes a message of the type `takes` and returns one of the type `gives`.

    `takes` is None for the first stage, which reads the source object. `description` describes the
    result; Dagster's UI shows it. Increase `recipe_version` when a code change makes the stage
    return a different result for the same input. The platform then processes a source again that
    is submitted again, instead of returning the result of the old version.
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
        """The name and version of the stage. It is part of the fingerprint of every result."""
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
        """Do the stage's work and return its message.

        Raises PlatformError: the source is refused or a store fails; which error depends on the
        stage. Raises TypeError: `stores` lacks a store that the stage needs.
        """
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
        """Return the options of the first stage whose options have this type.

        Raises StopIteration: no stage of the chain has options of this type.
        """
        return next(options for options in self.by_stage.values() if isinstance(options, model))

    def as_config(self) -> dict[str, dict[str, Any]]:
        """Return the options of each stage as JSON values, by the stage's name.

        Options that are None are left out.
        """
        return {
            stage: model.model_dump(mode="json", exclude_none=True)
            for stage, model in self.by_stage.items()
        }


class ParametersError(ValueError):
    """Parameters do not fit a chain. `faults` has (parameter name, reason) for each fault."""

    def __init__(self, faults: tuple[tuple[str, str], ...]) -> None:
        super().__init__("; ".join(f"{name}: {reason}" for name, reason in faults))
        self.faults = faults


@dataclass(frozen=True)
class DefaultName:
    """A parameter that names the result, such as `item_id`, and the default for this parameter.

    `of_key` makes the default from the source's key. If two sources of one command would get the
    same default, `of_text` makes it from the folder name and the file name joined.
    """

    parameter: str
    of_key: Callable[[str], str]
    of_text: Callable[[str], str]


@dataclass(frozen=True)
class Preview:
    """The plan of a chain for a source: facts about the source, then the planned steps.

    Each step has a list `reasons`. `place` is where the item would be published; it is None if
    `Chain.place_ahead` already returns the place.
    """

    source_facts: dict[str, Any]
    steps: list[dict[str, Any]]
    place: Place | None = None


@dataclass(frozen=True)
class Chain:
    """The stages of one job, and how Dagster and the clients see them.

    `name` is the group of the chain's assets and a tag of its runs. `place` returns where the last
    stage publishes the message of the stage before. `place_ahead` returns the same place before any
    stage has run, or None if a stage has to find it out. `preview` makes the plan of a source and
    writes nothing to a store. `accepts_only` returns whether the chain takes a source with this
    content; without it, the chain takes every source of its `kind`.
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
        """Return the stage of that name. Raises KeyError: the chain has no such stage."""
        match = next((stage for stage in self.stages if stage.name == name), None)
        if match is None:
            raise KeyError(f"the chain {self.name} has no stage {name!r}")
        return match

    def accepts(self, detected: DetectedSource) -> bool:
        """Return whether the chain can process a source with this content."""
        if self.accepts_only is not None:
            return self.accepts_only(detected)
        return detected.kind is self.kind

    def receive(self, objects: ObjectStore, key: str, options: ChainOptions) -> ObjectArrived:
        """Run the first stage on the object `key` and return its message.

        Raises UnsupportedFormat: the chain does not take this content. Raises SourceNotFound,
        StoreUnavailable, StoreDenied: the object is missing or the store fails. Raises another
        InputRefused or LimitExceeded: the content or the archive is refused.
        """
        arrived = self.first.run(
            None, options.by_stage[self.first.name], StageStores(objects), key=key
        )
        assert isinstance(arrived, ObjectArrived)  # noqa: S101  # narrows the type
        return arrived

    def fingerprint(self, arrived: ObjectArrived, options: ChainOptions) -> str:
        """Return the fingerprint of the published result, before any later stage has run.

        A fingerprint is a hash of the source's bytes and of each stage's recipe and options.
        """
        fingerprint = arrived.fingerprint
        for stage in self.stages[1:]:
            stage_options = options.by_stage[stage.name].model_dump(mode="json")
            fingerprint = stage.recipe.extend(fingerprint, stage_options)
        return fingerprint

    def fit(self, parameters: Mapping[str, Any]) -> ChainOptions:
        """Validate parameters and return them as the options of the stages.

        Each stage gets the parameters that it has; parameters of no stage are ignored (see
        `unknown`). Raises ParametersError: values do not fit. The error names all of them.
        """
        built: dict[str, Options] = {}
        faults: list[tuple[str, str]] = []
        for stage in self.stages:
            fields = stage.options.model_fields
            stage_parameters = {name: value for name, value in parameters.items() if name in fields}
            try:
                built[stage.name] = stage.options.model_validate(stage_parameters)
            except ValidationError as fault:
                faults += [
                    (str(error["loc"][0]), error["msg"].removeprefix("Value error, "))
                    for error in fault.errors()
                ]
        if faults:
            raise ParametersError(tuple(dict.fromkeys(faults)))
        return ChainOptions(built)

    def unknown(self, parameters: Mapping[str, Any]) -> list[str]:
        """Return the names of the parameters that no stage of the chain has."""
        return [name for name in parameters if name not in self.parameters]
