"""A near collector: which one the variables name, and that what it does not take is told."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
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
        (
            {BASE: "http://c", HEADERS: "api-key=a%20b,x=1"},
            "http://c/v1/traces",
            {"api-key": "a b", "x": "1"},
        ),
        (
            {BASE: "http://c", HEADERS: "x=1", TRACES_HEADERS: "y=2"},
            "http://c/v1/traces",
            {"y": "2"},
        ),
    ],
)
def test_a_collector_without_tls_is_sent_to_plainly(
    environment: dict[str, str], url: str, headers: dict[str, str]
) -> None:
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


@pytest.fixture
def spans() -> Sequence[ReadableSpan]:
    made = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(made))
    with provider.get_tracer("test").start_as_current_span("raster_cog"):
        pass
    return made.get_finished_spans()


def test_what_sends_elsewhere_has_taken_nothing_and_nothing_is_asked_there(
    spans: Sequence[ReadableSpan],
) -> None:
    """A page to sign in at, for one: urllib would ask for it, without the spans and with the headers, and be pleased."""
    with sending_to("/login") as (address, asked):
        there = PlainOtlpExporter(
            PlainCollector(f"{address}/v1/traces", {"token": "t"}), timeout_s=5
        )
        assert there.export(spans) is SpanExportResult.FAILURE
    assert asked == ["/v1/traces"]


@contextmanager
def sending_to(path: str) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that takes nothing and names a page of its own instead; and the paths that it was asked for."""
    asked: list[str] = []

    class Sends(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(302)
            self.send_header("Location", path)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Not on standard error."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Sends) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_what_a_collector_takes_and_what_it_does_not(spans: Sequence[ReadableSpan]) -> None:
    with collector() as taken:
        there = PlainOtlpExporter(
            PlainCollector(f"{taken.address}/v1/traces", {"token": "t"}), timeout_s=5
        )
        assert there.export(spans) is SpanExportResult.SUCCESS
        assert [span.name for span in taken.spans] == ["raster_cog"]
    assert there.export(spans) is SpanExportResult.FAILURE, "it has ended by now"
