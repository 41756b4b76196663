"""A stage of a chain: what it takes and gives, its options, its recipe, its core call, its checks.

The core call is the same for the asset of the stage and for a run that takes many files.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from geo_platform.contracts.message import Message
from geo_platform.fingerprint import Recipe
from geo_platform.options import Options
from geo_platform.ports import Catalog, FeatureStore, ObjectStore, Scratch

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
