"""A near collector: which one the variables name, and that what it does not take is told."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from geo_platform.telemetry.otlp_plain import PlainCollector, PlainOtlpExporter, plain_collector
from tests.support.spans import collector

BASE, TRACES = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
HEADERS, TRACES_HEADERS = "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"


@pytest.mark.parametrize(
    ("environment", "url", "headers"),
    [
        ({BASE: "http://127.0.0.1:4318"}, "http://127.0.0.1:4318/v1/traces", {}),
        ({BASE: "http://collector/base/"}, "http://collector/base/v1/traces", {}),
        ({BASE: "http://collector", TRACES: "http://other:1/in"}, "http://other:1/in", {}),
        ({BASE: "https://far", TRACES: "http://near/in"}, "http://near/in", {}),
        ({BASE: "http://c", HEADERS: "api-key=a%20b,x=1"}, "http://c/v1/traces", {"api-key": "a b", "x": "1"}),
        ({BASE: "http://c", HEADERS: "x=1", TRACES_HEADERS: "y=2"}, "http://c/v1/traces", {"y": "2"}),
    ],
)
def test_a_collector_without_tls_is_sent_to_plainly(environment: dict[str, str], url: str, headers: dict[str, str]) -> None:
    assert plain_collector(environment) == PlainCollector(url, headers)


@pytest.mark.parametrize(
    "more",
    [
        {BASE: "https://far"},
        {TRACES: "https://far/v1/traces"},
        {BASE: ""},
        {BASE: "collector:4317"},
        {"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"},
        {"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "3"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {"OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca.pem"},
        {"OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER": "mine"},
    ],
)
def test_whatever_asks_for_more_is_opentelemetry_s_own_exporter_s(more: dict[str, str]) -> None:
    assert plain_collector({BASE: "http://near", **more}) is None


def test_what_a_collector_takes_and_what_it_does_not() -> None:
    made = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(made))
    with provider.get_tracer("test").start_as_current_span("raster_cog"):
        pass
    spans = made.get_finished_spans()
    with collector() as taken:
        there = PlainOtlpExporter(PlainCollector(f"{taken.address}/v1/traces", {"token": "t"}), timeout_s=5)
        assert there.export(spans) is SpanExportResult.SUCCESS
        assert [span.name for span in taken.spans] == ["raster_cog"]
    assert there.export(spans) is SpanExportResult.FAILURE, "it has ended by now"
