"""One file through the stages of its chain, in a run that takes several: the core calls of the assets, and what each stage made.

What belongs here: the order of the calls, which is that of `assets/raster.py` and `assets/vector.py`. What stays out: Dagster's
events, retries, and the other files (`assets/batch.py`).
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import dagster as dg

from assets.checks import results_of
from assets.report import (
    Metadata,
    report_arrival,
    report_cogs,
    report_features,
    report_item,
    report_raster_profile,
    report_vector_profile,
)
from assets.stage import STORE_RETRIES, Notify, attempted
from geo_platform.catalog.publish import publish_raster, publish_vector
from geo_platform.chains import CHAINS, ChainOptions
from geo_platform.contracts.arrival import ObjectArrived, SourceKind
from geo_platform.contracts.publication import ItemPublished
from geo_platform.contracts.raster import CogStored, RasterProfiled
from geo_platform.contracts.vector import FeaturesLoaded, VectorProfiled
from geo_platform.errors import PlatformError, UnexpectedFault
from geo_platform.messages import message_type, put_message
from geo_platform.options import ArrivalOptions, ItemOptions
from geo_platform.ports import Catalog, FeatureStore, ObjectStore, Scratch
from geo_platform.raster.convert import make_cogs
from geo_platform.raster.options import RasterCogOptions, RasterProfileOptions
from geo_platform.raster.profile import profile_object as profile_raster
from geo_platform.source.arrival import receive
from geo_platform.source.formats import FORMATS
from geo_platform.telemetry.context import sharing_a_step
from geo_platform.vector.options import VectorFeaturesOptions, VectorProfileOptions

_log = logging.getLogger("geo_platform.files")

M = TypeVar("M")
# Its name, its work, and what is shown of the message that it answers with.
Stage = tuple[str, Callable[[Notify], Any], Callable[[Any], Metadata]]

FIRST_STAGES = {kind: next(iter(chain.stages)) for kind, chain in CHAINS.items()}


@dataclass(frozen=True)
class Stores:
    """What the stages of both chains need."""

    objects: ObjectStore
    features: FeatureStore
    catalog: Catalog
    scratch: Scratch


@dataclass(frozen=True)
class Made:
    """What a stage made of a file: its message, what is shown of it, and what its checks found, by their names."""

    stage: str
    message: Any
    metadata: Metadata
    checks: Mapping[str, dg.AssetCheckResult]


@dataclass(frozen=True)
class FileWork:
    """What all files of a run share, and by key the options of those that have their own."""

    context: dg.OpExecutionContext
    stores: Stores
    options: Mapping[SourceKind, ChainOptions]
    own: Mapping[str, Mapping[SourceKind, ChainOptions]] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of a file: what its stages made, as far as they came, and the error that ended them. `kind` is None where unknown."""

    key: str
    kind: SourceKind | None
    made: tuple[Made, ...]
    error: PlatformError | None = None

    @property
    def etag(self) -> str | None:
        """Of the bytes that were taken."""
        return self.made[0].message.etag if self.made else None

    @property
    def was_unchanged(self) -> bool:
        """Whether it was published before."""
        return self.error is None and bool(self.made[-1].message.was_unchanged)


def work_through(work: FileWork, key: str) -> Outcome:
    """All stages of a file. A fault that passes is waited for as `STORE_RETRIES` says."""
    file = _File(work.context, work.stores, work.own.get(key, work.options), key)
    for attempt in range(1, STORE_RETRIES.max_retries + 2):
        with sharing_a_step():
            error = file.error_of(attempt)
        if error is None or not error.retryable or attempt > STORE_RETRIES.max_retries:
            break
        time.sleep(STORE_RETRIES.calculate_delay(attempt))
    return Outcome(key, file.kind, tuple(file.made.values()), error)


@dataclass
class _File:
    """A file at work. `made`: what is done so far; a stage that failed is begun again with the message of the one before it."""

    context: dg.OpExecutionContext
    stores: Stores
    options: Mapping[SourceKind, ChainOptions]
    key: str
    made: dict[str, Made] = field(default_factory=dict)

    @property
    def kind(self) -> SourceKind | None:
        """Known once it was received."""
        return next((kind for kind, stage in FIRST_STAGES.items() if stage in self.made), None)

    def error_of(self, attempt: int) -> PlatformError | None:
        """Go on, and hand back what ended that. What nobody foresaw ends this file and no other."""
        try:
            self.go_on(attempt=attempt)
        except PlatformError as error:
            return error
        except Exception as fault:  # noqa: BLE001  # between stages: storing a message, checking
            unexpected = UnexpectedFault(
                f"{type(fault).__name__} after a stage of {self.key!r}: {fault}"
            )
            _log.error("%s", unexpected, exc_info=fault)
            return unexpected
        return None

    def go_on(self, *, attempt: int) -> None:
        """The stages that are left, one after the other. Raises the platform's errors, UnexpectedFault for any other."""
        arrived = self._received(attempt)
        for name, work, shown in (
            self._raster_stages() if arrived.kind is SourceKind.raster else self._vector_stages()
        ):
            if name not in self.made:
                with attempted(self.context, name, partition=self.key, attempt=attempt) as notify:
                    message = work(notify)
                self._keep(name, message, shown)

    def _received(self, attempt: int) -> ObjectArrived:
        """Its content says of which kind it is; its name, as which kind's first stage that is found out."""
        if self.kind is not None:
            return self._message(FIRST_STAGES[self.kind], ObjectArrived)
        for kind in sorted(SourceKind, key=lambda kind: kind is not kind_by_name(self.key)):
            options = self.options[kind].of(ArrivalOptions)
            with attempted(self.context, FIRST_STAGES[kind], partition=self.key, attempt=attempt):
                arrived = receive(
                    self.stores.objects, options.container_name, self.key, options, expected=None
                )
            if arrived.kind is kind:
                break
        self._keep(FIRST_STAGES[arrived.kind], arrived, report_arrival)
        return arrived

    def _raster_stages(self) -> Iterator[Stage]:
        objects, options, run_id = (
            self.stores.objects,
            self.options[SourceKind.raster],
            self.context.run.run_id,
        )

        def profile(_: Notify) -> RasterProfiled:
            with self.stores.scratch.of_run(run_id) as folder:
                return profile_raster(
                    self._message("raw_raster", ObjectArrived),
                    options.of(RasterProfileOptions),
                    objects,
                    scratch=folder,
                )

        def cog(notify: Notify) -> CogStored:
            profiled = self._message("raster_profile", RasterProfiled)
            asked, force = options.of(RasterCogOptions), profiled.source.force
            with self.stores.scratch.of_run(run_id) as folder:
                return make_cogs(
                    profiled,
                    asked,
                    objects,
                    run_id=run_id,
                    scratch=folder,
                    force=force,
                    notify=notify,
                )

        def item(_: Notify) -> ItemPublished:
            stored = self._message("raster_cog", CogStored)
            return publish_raster(
                stored, options.of(ItemOptions), self.stores.catalog, objects, run_id=run_id
            )

        yield "raster_profile", profile, report_raster_profile
        yield "raster_cog", cog, lambda message: report_cogs(message, objects)
        yield "raster_item", item, report_item

    def _vector_stages(self) -> Iterator[Stage]:
        from geo_platform.vector.load import load_features  # as in assets/vector.py
        from geo_platform.vector.profile import profile_object as profile_vector

        objects, options, run_id = (
            self.stores.objects,
            self.options[SourceKind.vector],
            self.context.run.run_id,
        )

        def profile(_: Notify) -> VectorProfiled:
            with self.stores.scratch.of_run(run_id) as folder:
                return profile_vector(
                    self._message("raw_vector", ObjectArrived),
                    options.of(VectorProfileOptions),
                    objects,
                    scratch=folder,
                )

        def features(notify: Notify) -> FeaturesLoaded:
            profiled = self._message("vector_profile", VectorProfiled)
            asked, store, force = (
                options.of(VectorFeaturesOptions),
                self.stores.features,
                profiled.source.force,
            )
            with self.stores.scratch.of_run(run_id) as folder:
                return load_features(
                    profiled,
                    asked,
                    objects,
                    store,
                    run_id=run_id,
                    scratch=folder,
                    force=force,
                    notify=notify,
                )

        def item(_: Notify) -> ItemPublished:
            loaded = self._message("vector_features", FeaturesLoaded)
            return publish_vector(
                loaded, options.of(ItemOptions), self.stores.catalog, objects, run_id=run_id
            )

        yield "vector_profile", profile, report_vector_profile
        yield "vector_features", features, lambda message: report_features(message, objects)
        yield "vector_item", item, report_item

    def _message(self, stage: str, of: type[M]) -> M:
        message = self.made[stage].message
        assert isinstance(message, of)  # noqa: S101  # narrows the type
        return message

    def _keep(self, stage: str, message: Any, shown: Callable[[Any], Metadata]) -> None:
        """Store the message, and say what the checks of the stage's result find, as after each step of a single run."""
        stored = put_message(
            self.stores.objects,
            message,
            stage=stage,
            partition=self.key,
            run_id=self.context.run.run_id,
        )
        message_metadata = {
            "message": dg.MetadataValue.url(stored.reference.uri),
            "message_type": message_type(message),
        }
        messages = {**{name: made.message for name, made in self.made.items()}, stage: message}
        checks = results_of(stage, messages, self.stores.catalog)
        self.made[stage] = Made(stage, message, {**shown(message), **message_metadata}, checks)


def kind_by_name(key: str) -> SourceKind:
    """What a file of that name mostly is; archives and unknown names are taken for vectors."""
    rasters = {
        extension
        for rule in FORMATS.values()
        if rule.kind is SourceKind.raster
        for extension in rule.extensions
    }
    extension = key[key.rfind(".") :].lower()
    return SourceKind.raster if extension in rasters - {".txt"} else SourceKind.vector
