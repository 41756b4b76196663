"""Spans of a run: one for each attempt of a stage, one for each call of a store, in a trace whose id is the run's own.

What belongs here: what a span is called and carries, by OpenTelemetry's API alone: it does nothing until `use_tracer` is
handed a tracer that leads somewhere. What stays out: where spans go (`tracing_export.py`).

Stages are roots of their run's trace, in whatever process they are attempted. No process lives as long as a run, so nobody
could end a span above them, and a trace whose root never arrives is shown as a damaged one.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NoOpTracer, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from geo_platform.errors import PlatformError, SourceNotFound, UnexpectedFault
from geo_platform.telemetry.context import current, telemetry_context

Attribute = str | int | float | bool | None

_tracer: Tracer = NoOpTracer()


def use_tracer(tracer: Tracer | None) -> None:
    """From now on spans are this tracer's; with None they are nobody's."""
    global _tracer
    _tracer = tracer or NoOpTracer()


def trace_id_of(run_id: str) -> int:
    """The 128 bits of the run's UUID; of a run that is called otherwise, bits that follow from its name."""
    try:
        return UUID(run_id).int
    except ValueError:
        return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:16])


def link_to(traceparent: str) -> Link | None:
    """A link to the client's span, or None where `traceparent` is no W3C trace context."""
    extracted = TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())
    found = trace.get_current_span(extracted).get_span_context()
    return Link(found) if found.is_valid else None


@contextmanager
def stage_span(name: str, *, traceparent: str = "") -> Iterator[None]:
    """An attempt of a stage, with the fields of the telemetry context, linked to the client's span.

    Azure Monitor shows a span of this kind as a request with its success: a stage is asked by a message and answers with one.
    """
    link = link_to(traceparent) if traceparent else None
    span = _tracer.start_span(
        name, Context(), SpanKind.CONSUMER, dict(current()), [link] if link else []
    )
    try:
        with _inside(span):
            yield
    except BaseException as error:
        _mark_failed(span, error)
        raise
    finally:
        span.end()


def call_started(name: str, run_id: str, attributes: Mapping[str, Attribute]) -> Span:
    """The span of a call of a store, `<store>.<method>`, under the current one; its caller ends it.

    Where the caller works outside of a stage, as Dagster does when it stores a message, `run_id` says whose call it is.
    A call for no run has no span.
    """
    owner = {} if "run_id" in current() else {"run_id": run_id}
    with telemetry_context(**owner):
        fields = current()
        if "run_id" not in fields:
            return trace.INVALID_SPAN
        given = {key: value for key, value in attributes.items() if value is not None}
        return _tracer.start_span(
            name,
            kind=SpanKind.CLIENT,
            attributes={**fields, "peer.service": name.partition(".")[0], **given},
        )


@contextmanager
def calling(span: Span) -> Iterator[None]:
    """While the store works: what it does lies under the span, and its error is the span's.

    That something is not there is an answer of a store: the error's code is on the span, which has not failed.
    """
    try:
        with _inside(span):
            yield
    except SourceNotFound as error:
        span.set_attribute("error.code", error.code)
        raise
    except Exception as error:
        _mark_failed(span, error)
        raise


@contextmanager
def _inside(span: Span) -> Iterator[None]:
    """Without tracing the context stays as it is: a host program may have spans of its own in it."""
    if not span.is_recording():
        yield
        return
    with trace.use_span(span, record_exception=False, set_status_on_exception=False):
        yield


def _mark_failed(span: Span, error: BaseException) -> None:
    """A foreign exception is named by its type alone: what its text holds is not known."""
    code, said = (
        (error.code, error.message)
        if isinstance(error, PlatformError)
        else (UnexpectedFault.code, type(error).__name__)
    )
    span.set_attribute("error.code", code)
    if not isinstance(error, PlatformError):
        span.set_attribute("error.type", said)
    span.set_status(Status(StatusCode.ERROR, f"{code}: {said}"))
