"""Record spans: one per attempt of a stage and one per call to a store, all in the run's trace.

The id of the trace is the run's id. Only OpenTelemetry's API is used: nothing is recorded until
`use_tracer` gets a tracer (`tracing_export.py`).

Stages are root spans. A span of the whole run would need a process that lives as long as the run;
there is no such process. Viewers show a trace without its root span as damaged.

Used by `assets`, `storage` and `telemetry`.
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
from geo_platform.telemetry.logs import current_context, telemetry_context

Attribute = str | int | float | bool | None

_tracer: Tracer = NoOpTracer()


def use_tracer(tracer: Tracer | None) -> None:
    """Record spans with this tracer from now on; with None, record none."""
    global _tracer
    _tracer = tracer or NoOpTracer()


def trace_id_of(run_id: str) -> int:
    """Return the 128 bits of the run's UUID; for any other id, bits derived from it."""
    try:
        return UUID(run_id).int
    except ValueError:
        return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:16])


def link_to(traceparent: str) -> Link | None:
    """Return a link to the client's span, or None if `traceparent` is no W3C trace context."""
    extracted = TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())
    span_context = trace.get_current_span(extracted).get_span_context()
    return Link(span_context) if span_context.is_valid else None


@contextmanager
def stage_span(name: str, *, traceparent: str = "") -> Iterator[None]:
    """Record an attempt of a stage with the telemetry context, linked to the client's span.

    The kind of the span is CONSUMER, because a stage consumes a message. Azure Monitor shows such a
    span as a request that succeeded or failed.
    """
    link = link_to(traceparent) if traceparent else None
    span = _tracer.start_span(
        name, Context(), SpanKind.CONSUMER, dict(current_context()), [link] if link else []
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
    """Start the span `<store>.<method>` of a call to a store. The caller ends it.

    The span is a child of the current span. Outside of a stage, for example when Dagster stores a
    message, `run_id` names the run. A call outside of any run gets an invalid span, which records
    nothing.
    """
    owner = {} if "run_id" in current_context() else {"run_id": run_id}
    with telemetry_context(**owner):
        fields = current_context()
        if "run_id" not in fields:
            return trace.INVALID_SPAN
        present = {key: value for key, value in attributes.items() if value is not None}
        return _tracer.start_span(
            name,
            kind=SpanKind.CLIENT,
            attributes={**fields, "peer.service": name.partition(".")[0], **present},
        )


@contextmanager
def calling(span: Span) -> Iterator[None]:
    """Make the span current during the call, and mark it as failed if the call raises.

    SourceNotFound does not mark it as failed: the span only gets the error's code.
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
    """Make the span current if it records. Otherwise the current span of the caller remains."""
    if not span.is_recording():
        yield
        return
    with trace.use_span(span, record_exception=False, set_status_on_exception=False):
        yield


def _mark_failed(span: Span, error: BaseException) -> None:
    """Mark the span as failed, with the code of the error.

    An exception that is no PlatformError is recorded by its type only: its text might hold a
    secret.
    """
    code, text = (
        (error.code, error.message)
        if isinstance(error, PlatformError)
        else (UnexpectedFault.code, type(error).__name__)
    )
    span.set_attribute("error.code", code)
    if not isinstance(error, PlatformError):
        span.set_attribute("error.type", text)
    span.set_status(Status(StatusCode.ERROR, f"{code}: {text}"))
