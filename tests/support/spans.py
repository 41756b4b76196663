"""Receive spans: an OTLP collector over HTTP, a receiver of any POST, an in-memory exporter."""

import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from geo_platform.telemetry.tracing import use_tracer
from geo_platform.telemetry.tracing_sdk import RunTraceIds


@dataclass
class Collector:
    """The received spans. `bodies` are protobuf messages, in which text is readable.

    Headers are not kept.
    """

    address: str
    bodies: list[bytes] = field(default_factory=list)

    def environment(self, token: str) -> dict[str, str]:
        """Return OpenTelemetry's own variables; the platform sends the token to the collector."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.address,
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{token}",
        }

    @property
    def spans(self) -> list[Span]:
        """Return the spans received so far, in order."""
        sent = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [
            span
            for one in sent
            for resource in one.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


def attributes(span: Span) -> dict[str, str]:
    """Return the span's string attributes by name; other types become empty strings."""
    return {pair.key: pair.value.string_value for pair in span.attributes}


@contextmanager
def collector() -> Iterator[Collector]:
    """Receive spans until the context ends."""
    with receiver() as (address, bodies):
        yield Collector(address, bodies)


@contextmanager
def receiver(
    answer: Callable[[bytes], bytes] = lambda body: b"",
) -> Iterator[tuple[str, list[bytes]]]:
    """Yield a server's address and the bodies sent to it.

    `answer` makes the JSON of each response.
    """
    bodies: list[bytes] = []

    class Received(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(sent) if self.headers.get("Content-Encoding") == "gzip" else sent
            bodies.append(body)
            response = answer(body)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(response)))
            self.end_headers()
            self.wfile.write(response)

        def log_message(self, format: str, *args: object) -> None:
            """Keep the log off standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Received)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", bodies
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """Yield the spans made in this process during the test."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(id_generator=RunTraceIds(), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    use_tracer(provider.get_tracer("test"))
    yield kept
    use_tracer(None)
    provider.shutdown()
