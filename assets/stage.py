"""What every stage shares: its partitions, its retries, its config's base and the border at which errors are translated.

What belongs here: the meeting of the core's terms with Dagster's. What stays out: any work.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import dagster as dg
from pydantic import ValidationError

from geo_platform.errors import ParameterInvalid, PlatformError, UnexpectedFault
from geo_platform.runs import CORRELATION_TAG, TRACEPARENT_TAG
from geo_platform.settings import load_settings
from geo_platform.telemetry.checkpoints import Checkpoint, report
from geo_platform.telemetry.context import telemetry_context
from geo_platform.telemetry.tracing import stage_span
from geo_platform.telemetry.tracing_export import Destinations, say_losses, start_tracing

RASTER_OBJECTS = dg.DynamicPartitionsDefinition(name="raster_objects")
VECTOR_OBJECTS = dg.DynamicPartitionsDefinition(name="vector_objects")

STORE_RETRIES = dg.RetryPolicy(max_retries=3, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""Only for faults that pass by themselves: everything else is raised with `allow_retries=False`."""

OWNERS = ["team:geodata"]

Notify = Callable[[str], None]


class StageConfig(dg.Config):
    """Base of the stages' configs: a value that does not fit is PARAMETER_INVALID, like any other bad input."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as fault:
            faults = "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in fault.errors())
            raise as_failure(ParameterInvalid(f"The parameters of {type(self).__name__} do not fit: {faults}.")) from fault


class Fingerprinted(Protocol):
    """A message that says what it was made from."""

    @property
    def fingerprint(self) -> str: ...


M = TypeVar("M", bound=Fingerprinted)


def result(message: M, metadata: Mapping[str, Any]) -> dg.MaterializeResult[M]:
    """The message as the stage's value, its fingerprint as the data version."""
    return dg.MaterializeResult(value=message, metadata=metadata, data_version=dg.DataVersion(message.fingerprint))


@contextmanager
def stage(context: dg.AssetExecutionContext | dg.OpExecutionContext) -> Iterator[Notify]:
    """Run the body of a stage, or of an op, with its run id and name on every log line and its errors as Dagster failures.

    Hands the body a function that tells the run's log how far it is.
    """
    name = context.asset_key.to_user_string() if isinstance(context, dg.AssetExecutionContext) else context.op.name
    partition = context.partition_key if context.has_partition_key else ""
    run = context.run
    asked = {"run_id": run.run_id, "job": run.job_name, "correlation_id": run.tags.get(CORRELATION_TAG, "")}
    _start_tracing()
    with telemetry_context(**asked, stage=name, partition=partition, attempt=context.retry_number + 1), _losses_said():
        started = time.perf_counter()
        report(Checkpoint.STAGE_START, f"{name} starts")
        try:
            with stage_span(name, traceparent=run.tags.get(TRACEPARENT_TAG, "")):
                yield lambda progress: report(Checkpoint.STAGE_PROGRESS, progress)
        except PlatformError as error:
            report(Checkpoint.STAGE_FAILED, str(error), level=logging.WARNING, duration_ms=_ms_since(started), error_code=error.code)
            raise as_failure(error) from error
        except Exception as fault:
            unexpected = UnexpectedFault(f"{type(fault).__name__} in {name}: {fault}")
            took = _ms_since(started)
            report(
                Checkpoint.STAGE_FAILED,
                str(unexpected),
                level=logging.ERROR,
                duration_ms=took,
                error_code=unexpected.code,
                traceback=fault,
            )
            raise as_failure(unexpected) from fault
        took = _ms_since(started)
        report(Checkpoint.STAGE_DONE, f"{name} took {took / 1000:.3f} s", duration_ms=took)


def _start_tracing() -> None:
    settings = load_settings()
    start_tracing(Destinations(otlp=bool(settings.otlp_endpoint), azure_monitor=settings.azure_monitor))


@contextmanager
def _losses_said() -> Iterator[None]:
    try:
        yield
    finally:
        say_losses()


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000


def as_failure(error: PlatformError) -> dg.Failure:
    """The error with its code, remedy and both flags as metadata, retried only where that can help."""
    metadata: dict[str, Any] = {**error.as_record(), **{f"detail_{key}": str(value) for key, value in error.details.items()}}
    return dg.Failure(description=f"{error.code}: {error.message}", metadata=metadata, allow_retries=error.retryable)
