"""A collector of spans on this machine: takes what an exporter sends by OTLP over HTTP, and keeps it.

What belongs here: receiving. What stays out: what a span is to say.
"""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class Collector:
    """`bodies` are protobuf messages, in which texts lie as they are. What comes in headers is not kept."""

    address: str
    bodies: list[bytes] = field(default_factory=list)

    def environment(self, token: str) -> dict[str, str]:
        """OpenTelemetry's own variables; the token is what the platform shows to the collector."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.address, "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{token}"}

    @property
    def spans(self) -> list[Span]:
        """What came so far, in order."""
        sent = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [span for one in sent for resource in one.resource_spans for scope in resource.scope_spans for span in scope.spans]


def attributes(span: Span) -> dict[str, str]:
    """Texts by name; of a number, an empty one."""
    return {pair.key: pair.value.string_value for pair in span.attributes}


@contextmanager
def collector() -> Iterator[Collector]:
    """Receives until the context ends."""

    class Received(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.bodies.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Not on standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Received)
    taken = Collector(f"http://127.0.0.1:{server.server_address[1]}")
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield taken
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
