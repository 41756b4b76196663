"""One file through the stages of its chain, in a run that takes several files.

Stages, calls and checks are those of the chain (`geo_platform/chains/`), as for the assets. The op,
its other files and Dagster's events: `assets/batch.py`.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from assets.checks import results_of
from assets.report import Metadata, message_metadata
from assets.stage import STORE_RETRIES, attempted
from geo_platform.chains.chain import AnyStage, Chain, ChainOptions, StageStores
from geo_platform.chains.registry import chain_by_name, chain_for
from geo_platform.errors import PlatformError, UnexpectedFault
from geo_platform.messages import message_type, put_message
from geo_platform.options import ArrivalOptions
from geo_platform.ports import Catalog, ObjectStore
from geo_platform.source.arrival import SourceFound, find_source
from geo_platform.telemetry.context import sharing_a_step

_log = logging.getLogger("geo_platform.files")

# The options of each chain, by its name.
OptionsOfChains = Mapping[str, ChainOptions]


@dataclass(frozen=True)
class StageResult:
    """What a stage made of a file: its message, the metadata to show, the results of its checks."""

    stage: str
    message: Any
    metadata: Metadata
    checks: Mapping[str, dg.AssetCheckResult]


@dataclass(frozen=True)
class FileWork:
    """What all files of a run share. `own`: the options of files that have their own, by key."""

    context: dg.OpExecutionContext
    objects: ObjectStore
    catalog: Catalog
    stores: StageStores
    options: OptionsOfChains
    own: Mapping[str, OptionsOfChains] = field(default_factory=dict)


@dataclass(frozen=True)
class FileOutcome:
    """How a file ended: the results of the stages it passed, and the error that stopped it.

    `chain` is None if the file was refused before its chain was known.
    """

    key: str
    chain: Chain | None
    made: tuple[StageResult, ...]
    error: PlatformError | None = None

    @property
    def etag(self) -> str | None:
        """The etag of the bytes that were processed."""
        return self.made[0].message.etag if self.made else None

    @property
    def was_unchanged(self) -> bool:
        """Whether it was published before."""
        return self.error is None and bool(self.made[-1].message.was_unchanged)


def work_through(work: FileWork, key: str) -> FileOutcome:
    """Take a file through all stages. Retry a transient error as `STORE_RETRIES` says."""
    file = _File(work, work.own.get(key, work.options), key)
    for attempt in range(1, STORE_RETRIES.max_retries + 2):
        with sharing_a_step():
            error = file.error_of(attempt)
        if error is None or not error.retryable or attempt > STORE_RETRIES.max_retries:
            break
        time.sleep(STORE_RETRIES.calculate_delay(attempt))
    return FileOutcome(key, file.chain, tuple(file.made.values()), error)


@dataclass
class _File:
    """A file in progress. A stage that failed starts again from the message of the stage before."""

    work: FileWork
    options: OptionsOfChains
    key: str
    chain: Chain | None = None
    made: dict[str, StageResult] = field(default_factory=dict)

    def error_of(self, attempt: int) -> PlatformError | None:
        """Continue, and return the error that stopped it. An unexpected one ends only this file."""
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
        """Run the remaining stages. Raises the platform's errors; UnexpectedFault for others."""
        chain = self.chain or self._receive(attempt)
        before = None
        for stage in chain.stages:
            if stage.name not in self.made:
                self._run(chain, stage, before, attempt)
            before = self.made[stage.name].message

    def _receive(self, attempt: int) -> Chain:
        """Find out the file's chain by its content, and run that chain's first stage.

        Looking at the content is logged as the first stage of the chain that its name suggests.
        """
        guess = chain_by_name(self.key)
        options = self.options[guess.name].of(ArrivalOptions)
        with attempted(self.work.context, guess.first.name, partition=self.key, attempt=attempt):
            found = find_source(
                self.work.objects, options.container_name, self.key, member=options.archive_member
            )
            chain = chain_for(found.detected)
            message = self._call(chain, chain.first, found) if chain is guess else None
        if message is None:
            self._run(chain, chain.first, found, attempt)
        else:
            self._keep(chain.first, message)
        self.chain = chain
        return chain

    def _run(self, chain: Chain, stage: AnyStage, message: Any, attempt: int) -> None:
        with attempted(
            self.work.context, stage.name, partition=self.key, attempt=attempt
        ) as notify:
            made = self._call(chain, stage, message, notify=notify)
        self._keep(stage, made)

    def _call(self, chain: Chain, stage: AnyStage, message: Any | SourceFound, **named: Any) -> Any:
        return stage.run(
            message,
            self.options[chain.name].by_stage[stage.name],
            self.work.stores,
            key=self.key,
            run_id=self.work.context.run.run_id,
            **named,
        )

    def _keep(self, stage: AnyStage, message: Any) -> None:
        """Store the message and evaluate the stage's checks, as Dagster does after a step."""
        work = self.work
        stored = put_message(
            work.objects,
            message,
            stage=stage.name,
            partition=self.key,
            run_id=work.context.run.run_id,
        )
        metadata = {
            **message_metadata(message, work.objects),
            "message": dg.MetadataValue.url(stored.reference.uri),
            "message_type": message_type(message),
        }
        messages = {name: made.message for name, made in self.made.items()} | {stage.name: message}
        checks = results_of(stage, messages, work.catalog)
        self.made[stage.name] = StageResult(stage.name, message, metadata, checks)
