"""Deliver spans in batches from a thread, with OpenTelemetry's SDK and exporters.

`tracing_export.py` starts and stops delivery.

Called by `tracing_export.py`.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from pydantic import SecretStr

from geo_platform import __version__
from geo_platform.telemetry.logs import current_context
from geo_platform.telemetry.tracing import trace_id_of
from geo_platform.telemetry.tracing_export import Destinations, Losses

# Time limit of one attempt to deliver. The exit of a process waits about as long for a collector
# that does not answer.
END_WITHIN_S = 1.5

# Pause after a failed delivery. The spans of that time are lost.
_PAUSE_S = 30.0

_QUEUED_SPANS = 2048
_SEND_EVERY_MS = 500

# These loggers log every failed attempt, with addresses. One TELEMETRY_LOST replaces all of that.
_SILENCED = (
    "opentelemetry.exporter",
    "opentelemetry.sdk",
    "azure.monitor.opentelemetry.exporter",
)

# Azure's exporter reports its own usage and polls for settings, in threads that delay a process's
# exit. These variables switch that off.
_AZURE_USAGE_REPORTS = (
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED",
)


class RunTraceIds(IdGenerator):
    """Generate ids of spans and traces. A trace that starts in a run gets the run's id."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()

    def generate_span_id(self) -> int:
        return self._random.generate_span_id()

    def generate_trace_id(self) -> int:
        run_id = current_context().get("run_id")
        return trace_id_of(str(run_id)) if run_id else self._random.generate_trace_id()


class PausingExporter(SpanExporter):
    """Create the wrapped exporter with the first spans, and pause after a failure.

    The exporter is created in the sending thread, so that no run waits for it.
    """

    def __init__(self, destination: str, make: Callable[[], SpanExporter], losses: Losses) -> None:
        self._destination = destination
        self._make = make
        self._losses = losses
        self._exporter: SpanExporter | None = None
        self._paused_until_s = 0.0
        self._ends_at_s = float("inf")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        now_s = time.monotonic()
        if now_s < self._paused_until_s:
            return SpanExportResult.FAILURE
        if now_s > self._ends_at_s:
            return self._lost("the process ended before all were sent")
        try:
            self._exporter = self._exporter or self._make()
            result = self._exporter.export(spans)
        except ImportError:
            return self._lost("the extra `telemetry` of geo-platform is not installed")
        except Exception as fault:  # noqa: BLE001  # whatever an exporter raises, the run continues
            return self._lost(f"its exporter raised {type(fault).__name__}")
        return (
            result
            if result is SpanExportResult.SUCCESS
            else self._lost(f"it did not take them within {END_WITHIN_S} s")
        )

    def end_within(self, seconds: float) -> None:
        """Stop sending `seconds` from now."""
        self._ends_at_s = time.monotonic() + seconds

    def shutdown(self) -> None:
        if self._exporter is not None:
            self._exporter.shutdown()

    def _lost(self, reason: str) -> SpanExportResult:
        self._losses.note(self._destination, reason)
        self._paused_until_s = time.monotonic() + _PAUSE_S
        return SpanExportResult.FAILURE


class CheckpointEvents(logging.Handler):
    """Add each reported checkpoint to the current span as an event."""

    def emit(self, record: logging.LogRecord) -> None:
        checkpoint = getattr(record, "checkpoint", None)
        if checkpoint is not None:
            details = {**getattr(record, "details", {}), "said": getattr(record, "said", "")}
            trace.get_current_span().add_event(str(checkpoint), details)


@dataclass(frozen=True)
class SdkDelivery:
    """Implements `tracing_export.Delivery`."""

    provider: TracerProvider
    exporters: tuple[PausingExporter, ...]
    events: CheckpointEvents

    @property
    def tracer(self) -> trace.Tracer:
        return self.provider.get_tracer("geo_platform", __version__)

    def end(self) -> None:
        """Deliver the remaining spans and stop.

        Each exporter has its own thread and time limit: two that do not answer take as long as one.
        """
        _checkpoints().removeHandler(self.events)
        for exporter in self.exporters:
            exporter.end_within(END_WITHIN_S)
        self.provider.shutdown()


def load_exporters(destinations: Destinations) -> None:
    """Import the exporters now instead of with the first spans.

    Raises ImportError: an exporter is not installed.
    """
    if destinations.otlp:
        import requests  # noqa: F401
        from opentelemetry.exporter.http import transport  # noqa: F401
        from opentelemetry.exporter.otlp.proto.http import trace_exporter  # noqa: F401
    if destinations.azure_monitor:
        import azure.monitor.opentelemetry.exporter  # noqa: F401


def deliver(destinations: Destinations, losses: Losses) -> SdkDelivery:
    """Start delivery. Raises ImportError: an exporter is not installed."""
    for name in _SILENCED:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    provider = TracerProvider(
        resource=_resource(), id_generator=RunTraceIds(), shutdown_on_exit=False
    )
    exporters = []
    if destinations.otlp:
        exporters.append(PausingExporter("the OTLP collector", _otlp, losses))
    if destinations.azure_monitor:
        secret = destinations.azure_monitor
        exporters.append(
            PausingExporter("Azure Monitor", lambda: _azure_monitor(secret, provider), losses)
        )
    for exporter in exporters:
        provider.add_span_processor(
            BatchSpanProcessor(
                exporter, max_queue_size=_QUEUED_SPANS, schedule_delay_millis=_SEND_EVERY_MS
            )
        )
    events = CheckpointEvents()
    _checkpoints().addHandler(events)
    return SdkDelivery(provider, tuple(exporters), events)


def _checkpoints() -> logging.Logger:
    return logging.getLogger("geo_platform.checkpoint")


def _resource() -> Resource:
    """Return the resource of OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.

    If they name no service, its name is geo_platform.
    """
    resource = Resource.create({SERVICE_VERSION: __version__})
    is_named = not str(resource.attributes.get(SERVICE_NAME, "unknown_service")).startswith(
        "unknown_service"
    )
    return resource if is_named else resource.merge(Resource({SERVICE_NAME: "geo_platform"}))


def _otlp() -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(timeout=END_WITHIN_S)


def _azure_monitor(connection_string: SecretStr, provider: TracerProvider) -> SpanExporter:
    for name in _AZURE_USAGE_REPORTS:
        os.environ.setdefault(name, "true")
    from azure.monitor.opentelemetry.exporter import AzureMonitorTraceExporter

    return AzureMonitorTraceExporter(
        connection_string=connection_string.get_secret_value(),
        tracer_provider=provider,
        disable_offline_storage=True,
        timeout=END_WITHIN_S,
        read_timeout=END_WITHIN_S,
        retry_total=0,
    )
