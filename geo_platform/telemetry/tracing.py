"""Record spans: one per attempt of a stage and one per call to a store, all in the run's trace.

The id of the trace is the run's id. Only OpenTelemetry's API is used: nothing is recorded until
`use_tracer` gets a tracer (`tracing_export.py`).

Stages are root spans. A span of the whole run would need a process that lives as long as the run,
and there is none. A trace without its root is shown as damaged.
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
from geo_platform.telemetry.logs import current, telemetry_context

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
    found = trace.get_current_span(extracted).get_span_context()
    return Link(found) if found.is_valid else None


@contextmanager
def stage_span(name: str, *, traceparent: str = "") -> Iterator[None]:
    """Record an attempt of a stage with the telemetry context, linked to the client's span.

    Its kind is CONSUMER, which Azure Monitor shows as a request with its success: a stage takes a
    message and answers with one.
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
    """Start the span `<store>.<method>` of a call to a store. The caller ends it.

    It is a child of the current span. Outside of a stage, as when Dagster stores a message,
    `run_id` names the run. A call that belongs to no run has no span.
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
    """Make the span current if it records. Otherwise leave a host program's own span current."""
    if not span.is_recording():
        yield
        return
    with trace.use_span(span, record_exception=False, set_status_on_exception=False):
        yield


def _mark_failed(span: Span, error: BaseException) -> None:
    """Record a foreign exception by its type only: its text might hold a secret."""
    code, text = (
        (error.code, error.message)
        if isinstance(error, PlatformError)
        else (UnexpectedFault.code, type(error).__name__)
    )
    span.set_attribute("error.code", code)
    if not isinstance(error, PlatformError):
        span.set_attribute("error.type", text)
    span.set_status(Status(StatusCode.ERROR, f"{code}: {text}"))
