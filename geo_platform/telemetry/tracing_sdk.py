"""OpenTelemetry's SDK: spans in the run's trace, delivered in batches by a thread of its own.

What belongs here: the only use of the SDK and of its exporters. What stays out: when it is used (`tracing_export.py`).
"""

import importlib
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
from geo_platform.telemetry.context import current
from geo_platform.telemetry.otlp_plain import PlainOtlpExporter, plain_collector
from geo_platform.telemetry.tracing import trace_id_of
from geo_platform.telemetry.tracing_export import Destinations, Losses

# Of an attempt to deliver, and so about what the end of a process waits for a collector that does
# not answer.
END_WITHIN_S = 1.5

# After a failure: spans of that time are lost, and nothing is waited for.
_REST_S = 30.0

_QUEUED_SPANS = 2048
_EVERY_MS = 500

# Each says every failed attempt, with addresses; one TELEMETRY_LOST stands for all of it.
_TOO_TALKATIVE = (
    "opentelemetry.exporter",
    "opentelemetry.sdk",
    "azure.monitor.opentelemetry.exporter",
)

_OTLP = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.http.transport",
    "requests",
)
_AZURE_MONITOR = "azure.monitor.opentelemetry.exporter"

# Azure's exporter sends figures of its own use, and asks for settings, by threads of its own that
# hold up a process's end.
_REPORTS_TO_ITS_MAKER = (
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED",
)


class IdsOfRuns(IdGenerator):
    """A trace that begins in a run has the run's id."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()

    def generate_span_id(self) -> int:
        return self._random.generate_span_id()

    def generate_trace_id(self) -> int:
        run_id = current().get("run_id")
        return trace_id_of(str(run_id)) if run_id else self._random.generate_trace_id()


class Exporter(SpanExporter):
    """An exporter that is made when the first spans are there, by the thread that sends them, and left alone after it failed."""

    def __init__(self, destination: str, make: Callable[[], SpanExporter], losses: Losses) -> None:
        self._destination = destination
        self._make = make
        self._losses = losses
        self._made: SpanExporter | None = None
        self._rests_until_s = 0.0
        self._ends_at_s = float("inf")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        now_s = time.monotonic()
        if now_s < self._rests_until_s:
            return SpanExportResult.FAILURE
        if now_s > self._ends_at_s:
            return self._lost("the process ended before all were sent")
        try:
            self._made = self._made or self._make()
            done = self._made.export(spans)
        except ImportError:
            return self._lost("the extra `telemetry` of geo-platform is not installed")
        except Exception as fault:  # noqa: BLE001  # whatever an exporter raises, the run goes on, and it is said
            return self._lost(f"its exporter raised {type(fault).__name__}")
        return (
            done
            if done is SpanExportResult.SUCCESS
            else self._lost(f"it did not take them within {END_WITHIN_S} s")
        )

    def end_within(self, seconds: float) -> None:
        """From then on nothing is sent any more."""
        self._ends_at_s = time.monotonic() + seconds

    def shutdown(self) -> None:
        if self._made is not None:
            self._made.shutdown()

    def _lost(self, why: str) -> SpanExportResult:
        self._losses.note(self._destination, why)
        self._rests_until_s = time.monotonic() + _REST_S
        return SpanExportResult.FAILURE


class CheckpointEvents(logging.Handler):
    """A checkpoint that is reported inside a span is an event of it."""

    def emit(self, record: logging.LogRecord) -> None:
        checkpoint = getattr(record, "checkpoint", None)
        if checkpoint is not None:
            details = {**getattr(record, "details", {}), "said": getattr(record, "said", "")}
            trace.get_current_span().add_event(str(checkpoint), details)


@dataclass(frozen=True)
class SdkDelivery:
    """Implements `tracing_export.Delivery`."""

    provider: TracerProvider
    exporters: tuple[Exporter, ...]
    events: CheckpointEvents

    @property
    def tracer(self) -> trace.Tracer:
        return self.provider.get_tracer("geo_platform", __version__)

    def end(self) -> None:
        """All are sent to at once by threads of their own, so that two that do not answer hold up no longer than one."""
        _checkpoints().removeHandler(self.events)
        for exporter in self.exporters:
            exporter.end_within(END_WITHIN_S)
        self.provider.shutdown()


def load_exporters(destinations: Destinations) -> None:
    """Import what is otherwise imported with the first spans, some of it by the exporters. Raises ImportError where it is not installed."""
    if destinations.otlp and plain_collector(os.environ) is None:
        for module in _OTLP:
            importlib.import_module(module)
    if destinations.azure_monitor:
        importlib.import_module(_AZURE_MONITOR)


def deliver(destinations: Destinations, losses: Losses) -> SdkDelivery:
    """Begin to deliver. Raises ImportError where the exporters are not installed."""
    for name in _TOO_TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    provider = TracerProvider(
        resource=_resource(), id_generator=IdsOfRuns(), shutdown_on_exit=False
    )
    exporters = []
    if destinations.otlp:
        exporters.append(Exporter("the OTLP collector", _otlp, losses))
    if destinations.azure_monitor:
        secret = destinations.azure_monitor
        exporters.append(
            Exporter("Azure Monitor", lambda: _azure_monitor(secret, provider), losses)
        )
    for exporter in exporters:
        provider.add_span_processor(
            BatchSpanProcessor(
                exporter, max_queue_size=_QUEUED_SPANS, schedule_delay_millis=_EVERY_MS
            )
        )
    events = CheckpointEvents()
    _checkpoints().addHandler(events)
    return SdkDelivery(provider, tuple(exporters), events)


def _checkpoints() -> logging.Logger:
    return logging.getLogger("geo_platform.checkpoint")


def _resource() -> Resource:
    """OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, and the platform's own name where they say none."""
    found = Resource.create({SERVICE_VERSION: __version__})
    is_named = not str(found.attributes.get(SERVICE_NAME, "unknown_service")).startswith(
        "unknown_service"
    )
    return found if is_named else found.merge(Resource({SERVICE_NAME: "geo_platform"}))


def _otlp() -> SpanExporter:
    if (plain := plain_collector(os.environ)) is not None:
        return PlainOtlpExporter(plain, timeout_s=END_WITHIN_S)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(timeout=END_WITHIN_S)


def _azure_monitor(connection_string: SecretStr, provider: TracerProvider) -> SpanExporter:
    for name in _REPORTS_TO_ITS_MAKER:
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
