"""Code that all assets and ops share: decorator, retries, base config, logging and errors.

`geo_platform/chains/` defines the work of each stage.

Used by `assets`, `cli` and `geo_platform`.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import dagster as dg
from pydantic import ValidationError

from assets.partitions import partitions_of
from assets.report import message_metadata
from geo_platform.chains.chain import AnyStage, GivesT, Notify, OptionsT, Stage, StageStores, TakesT
from geo_platform.chains.registry import chain_of_stage
from geo_platform.dagster_internals import add_tags, as_failure, record_checkpoints_as_events
from geo_platform.errors import ParameterInvalid, PlatformError, UnexpectedFault
from geo_platform.ports import ObjectStore
from geo_platform.runs import CLIENT_ID_FORMATS, WORKER_TAG, client_ids_of, local_worker
from geo_platform.settings import load_settings
from geo_platform.telemetry.checkpoints import Checkpoint, report
from geo_platform.telemetry.logs import telemetry_context
from geo_platform.telemetry.tracing import stage_span
from geo_platform.telemetry.tracing_export import Destinations, report_losses, start_tracing

# Applies to transient errors only: every other error is raised with `allow_retries=False`.
STORE_RETRIES = dg.RetryPolicy(
    max_retries=3, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)

OWNERS = ["team:geodata"]

_log = logging.getLogger("geo_platform.stage")

record_checkpoints_as_events()

# Runs that this process has already tagged with `WORKER_TAG`. The run's tags do not show this: a
# step gets the tags that its run had when the step started.
_TAGGED_RUNS: set[str] = set()


class StageConfig(dg.Config):
    """Base of the configs of stages and ops.

    Raises dagster.Failure with the code PARAMETER_INVALID: a value does not fit.
    """

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as fault:
            faults = "; ".join(
                f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in fault.errors()
            )
            raise as_failure(
                ParameterInvalid(f"The parameters of {type(self).__name__} do not fit: {faults}.")
            ) from fault


class Fingerprinted(Protocol):
    """A message with a fingerprint."""

    @property
    def fingerprint(self) -> str: ...


M = TypeVar("M", bound=Fingerprinted)


def stage_asset(
    described: AnyStage, *, kinds: set[str], pool: str | None = None
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Return a decorator that makes a function the asset of a stage.

    The decorator raises TypeError: the function does not have the name of the stage.
    """
    chain = chain_of_stage(described.name)

    def decorate(function: Callable[..., Any]) -> dg.AssetsDefinition:
        if function.__name__ != described.name:
            raise TypeError(f"the asset of {described.name} must not be named {function.__name__}")
        return dg.asset(
            description=described.description,
            partitions_def=partitions_of(chain),
            group_name=chain.name,
            owners=OWNERS,
            kinds=kinds,
            tags={"stage": str(chain.stage_names.index(described.name) + 1)},
            retry_policy=STORE_RETRIES,
            pool=pool,
        )(function)

    return decorate


def run_stage(
    described: Stage[TakesT, GivesT, OptionsT],
    context: dg.AssetExecutionContext,
    options: OptionsT,
    message: TakesT,
    stores: StageStores,
) -> GivesT:
    """Do the work of a stage for an asset and return its message.

    Raises dagster.Failure: the stage failed; the metadata has the code, message and remedy.
    """
    key = context.partition_key if context.has_partition_key else ""
    with stage(context) as notify:
        return described.run(
            message, options, stores, key=key, run_id=context.run.run_id, notify=notify
        )


def result(message: M, objects: ObjectStore) -> dg.MaterializeResult[M]:
    """Return the asset's result: the message as value, its fingerprint as data version."""
    return dg.MaterializeResult(
        value=message,
        metadata=message_metadata(message, objects),
        data_version=dg.DataVersion(message.fingerprint),
    )


@contextmanager
def stage(context: dg.AssetExecutionContext | dg.OpExecutionContext) -> Iterator[Notify]:
    """Run the body of an asset or op, and yield a function that logs progress.

    Every log line has the run id and the stage. Raises dagster.Failure: the body failed.
    """
    name = (
        context.asset_key.to_user_string()
        if isinstance(context, dg.AssetExecutionContext)
        else context.op.name
    )
    partition = context.partition_key if context.has_partition_key else ""
    try:
        with attempted(
            context, name, partition=partition, attempt=context.retry_number + 1
        ) as notify:
            yield notify
    except PlatformError as error:
        raise as_failure(error) from error


@contextmanager
def attempted(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    name: str,
    *,
    partition: str,
    attempt: int = 1,
) -> Iterator[Notify]:
    """Run one attempt of a stage on a partition, and yield a function that logs progress.

    `stage` calls this for a step with one stage; a step of several files calls it for each stage of
    each file. Logs start, progress, end and error.

    Raises the PlatformError of the body. Raises UnexpectedFault: the body raised another exception.
    """
    run = context.run
    client = client_ids_of(run.tags)
    run_fields = {
        "run_id": run.run_id,
        "job": run.job_name,
        "correlation_id": client.correlation_id,
    }
    _start_tracing(run.run_id)
    _tag_worker(context.instance, run)
    with (
        telemetry_context(**run_fields, stage=name, partition=partition, attempt=attempt),
        _reporting_losses(),
    ):
        _warn_of_ignored_tags(run.run_id, client.ignored)
        started = time.perf_counter()
        report(Checkpoint.STAGE_START, f"{name} starts")
        try:
            with stage_span(name, traceparent=client.traceparent):
                yield lambda progress: report(Checkpoint.STAGE_PROGRESS, progress)
        except PlatformError as error:
            report(
                Checkpoint.STAGE_FAILED,
                str(error),
                level=logging.WARNING,
                duration_ms=_ms_since(started),
                error=error.as_record(),
            )
            raise
        except Exception as fault:
            unexpected = UnexpectedFault(f"{type(fault).__name__} in {name}: {fault}")
            took = _ms_since(started)
            report(
                Checkpoint.STAGE_FAILED,
                str(unexpected),
                level=logging.ERROR,
                duration_ms=took,
                error=unexpected.as_record(),
                exception=fault,
            )
            raise unexpected from fault
        took = _ms_since(started)
        report(Checkpoint.STAGE_DONE, f"{name} took {took / 1000:.3f} s", duration_ms=took)


def _tag_worker(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Tag a launched run with its process, so that other processes can check if it is alive."""
    if run.remote_job_origin is not None and run.run_id not in _TAGGED_RUNS:
        add_tags(instance, run.run_id, {WORKER_TAG: local_worker(run.run_id)})
        _TAGGED_RUNS.add(run.run_id)


@lru_cache(maxsize=1000)
def _warn_of_ignored_tags(run_id: str, tags: tuple[str, ...]) -> None:
    """Warn once for each run. The value is not logged: a client may have put anything there."""
    for tag in tags:
        _log.warning("The value of the tag %s is ignored: %s.", tag, CLIENT_ID_FORMATS[tag])


def span_destinations() -> Destinations:
    """Return where this process sends trace spans, by its settings."""
    settings = load_settings()
    return Destinations(otlp=bool(settings.otlp_endpoint), azure_monitor=settings.azure_monitor)


@lru_cache(maxsize=1)
def _start_tracing(run_id: str) -> None:
    # Once for each run: a run over many files has hundreds of stages.
    start_tracing(span_destinations())


@contextmanager
def _reporting_losses() -> Iterator[None]:
    try:
        yield
    finally:
        report_losses()


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
