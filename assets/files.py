"""Take one file through the stages of its chain, in a run that ingests several files.

The stages, calls and checks are those of the chain (`geo_platform/chains/`), which the assets use
too. `assets/batch.py` has the op, which goes through the files and logs Dagster's events.

Called by `batch.py`.
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
from geo_platform.source.arrival import FoundSource, find_source
from geo_platform.telemetry.logs import sharing_a_step

_log = logging.getLogger("geo_platform.files")

# Name of a chain -> its options.
OptionsOfChains = Mapping[str, ChainOptions]


@dataclass(frozen=True)
class StageResult:
    """The result of a stage for one file: its message, its metadata, the results of its checks."""

    stage: str
    message: Any
    metadata: Metadata
    checks: Mapping[str, dg.AssetCheckResult]


@dataclass(frozen=True)
class FileWork:
    """The input that all files of a run share.

    `options` apply to every file whose key is not in `options_by_key`.
    """

    context: dg.OpExecutionContext
    objects: ObjectStore
    catalog: Catalog
    stores: StageStores
    options: OptionsOfChains
    options_by_key: Mapping[str, OptionsOfChains] = field(default_factory=dict)


@dataclass(frozen=True)
class FileOutcome:
    """The outcome for a file: the results of the completed stages, and the error of the next one.

    `error` is None if all stages succeeded. `chain` is None if the file was refused before its
    chain was known.
    """

    key: str
    chain: Chain | None
    made: tuple[StageResult, ...]
    error: PlatformError | None = None

    @property
    def etag(self) -> str | None:
        """The etag of the processed bytes, or None if the first stage failed."""
        return self.made[0].message.etag if self.made else None

    @property
    def was_unchanged(self) -> bool:
        """Whether the same result was published before, so that nothing had to be published."""
        return self.error is None and bool(self.made[-1].message.are_all_unchanged)


def work_through(work: FileWork, key: str) -> FileOutcome:
    """Take a file through all stages of its chain and return the outcome.

    Transient errors are retried by the policy `STORE_RETRIES`. Errors are returned in the outcome.
    """
    file = _File(work, work.options_by_key.get(key, work.options), key)
    for attempt in range(1, STORE_RETRIES.max_retries + 2):
        with sharing_a_step():
            error = file.error_of(attempt)
        if error is None or not error.retryable or attempt > STORE_RETRIES.max_retries:
            break
        time.sleep(STORE_RETRIES.calculate_delay(attempt))
    return FileOutcome(key, file.chain, tuple(file.made.values()), error)


@dataclass
class _File:
    """A file in progress. An attempt continues with the first stage that has no result yet."""

    work: FileWork
    options: OptionsOfChains
    key: str
    chain: Chain | None = None
    made: dict[str, StageResult] = field(default_factory=dict)

    def error_of(self, attempt: int) -> PlatformError | None:
        """Make one attempt and return the error that stopped it, or None.

        An unexpected exception is returned as UnexpectedFault, so that it does not stop the run.
        """
        try:
            self.run_remaining_stages(attempt=attempt)
        except PlatformError as error:
            return error
        except Exception as fault:  # noqa: BLE001  # between stages: storing a message, checking
            unexpected = UnexpectedFault(
                f"{type(fault).__name__} after a stage of {self.key!r}: {fault}"
            )
            _log.error("%s", unexpected, exc_info=fault)
            return unexpected
        return None

    def run_remaining_stages(self, *, attempt: int) -> None:
        """Run the remaining stages. Raises PlatformError: a stage failed."""
        chain = self.chain or self._receive(attempt)
        message = None
        for stage in chain.stages:
            if stage.name not in self.made:
                self._run(chain, stage, message, attempt)
            message = self.made[stage.name].message

    def _receive(self, attempt: int) -> Chain:
        """Find out the chain of the file by its content, and run the first stage of that chain.

        The log needs a stage before the chain is known, so the detection is logged as the first
        stage of the chain that the file name suggests.
        """
        guess = chain_by_name(self.key)
        options = self.options[guess.name].of(ArrivalOptions)
        with attempted(self.work.context, guess.first.name, partition=self.key, attempt=attempt):
            source = find_source(
                self.work.objects, options.container_name, self.key, member=options.archive_member
            )
            chain = chain_for(source.detected)
            message = self._call(chain, chain.first, source) if chain is guess else None
        if message is None:
            self._run(chain, chain.first, source, attempt)
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

    def _call(self, chain: Chain, stage: AnyStage, message: Any | FoundSource, **named: Any) -> Any:
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
