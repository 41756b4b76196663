"""Spans by OTLP over HTTP to a collector that is near: no TLS, nothing compressed, by the standard library.

What belongs here: when that is all that is asked for, and the request. What stays out: what spans look like on the wire, which
OpenTelemetry's encoder says, and any other way, for which OpenTelemetry's own exporter is there (`tracing_sdk.py`).

That exporter loads an HTTP library, which takes more of the processor than all spans of a small run: docs/decisions/0026.
Variables, and what is made of them: https://opentelemetry.io/docs/specs/otel/protocol/exporter/.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.error import URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk import environment_variables as names
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.util.re import parse_env_headers

_PATH = "/v1/traces"
# What it leaves to OpenTelemetry's exporter, whatever they say; of each also with TRACES_ before
# it.
_MORE = ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE", "COMPRESSION", "PROTOCOL", "TIMEOUT")


@dataclass(frozen=True)
class PlainCollector:
    """Where spans are sent to, and with which headers, which may hold a secret."""

    url: str
    headers: Mapping[str, str]


def plain_collector(environment: Mapping[str, str]) -> PlainCollector | None:
    """The collector that OpenTelemetry's variables name, if it is reached without TLS and nothing more is asked for. Pure."""
    url = environment.get(names.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, "").strip()
    if not url:
        base = environment.get(names.OTEL_EXPORTER_OTLP_ENDPOINT, "").strip()
        url = base.rstrip("/") + _PATH if base else ""
    asks_more = any(
        environment.get(f"OTEL_EXPORTER_OTLP_{of}{name}")
        for name in _MORE
        for of in ("", "TRACES_")
    )
    is_another_s = any(
        "CREDENTIAL_PROVIDER" in name and value
        for name, value in environment.items()
        if name.startswith("OTEL_")
    )
    if not url.lower().startswith("http://") or asks_more or is_another_s:
        return None
    given = environment.get(names.OTEL_EXPORTER_OTLP_TRACES_HEADERS) or environment.get(
        names.OTEL_EXPORTER_OTLP_HEADERS, ""
    )
    return PlainCollector(url, parse_env_headers(given, liberal=True))


class _NowhereElse(HTTPRedirectHandler):
    """Whoever sends elsewhere has taken nothing, and the headers, which may hold a secret, are for the collector alone."""

    def redirect_request(self, *_: object) -> None:
        return None


class PlainOtlpExporter(SpanExporter):
    """Each batch is one request, tried once."""

    def __init__(self, collector: PlainCollector, *, timeout_s: float) -> None:
        self._collector = collector
        self._timeout_s = timeout_s
        self._opener = build_opener(_NowhereElse)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """SUCCESS where the collector took them; FAILURE where it refused, did not answer in time, or is not there."""
        headers = {**self._collector.headers, "Content-Type": "application/x-protobuf"}
        request = Request(  # noqa: S310
            self._collector.url, encode_spans(spans).SerializeToString(), headers, method="POST"
        )  # http alone
        try:
            with self._opener.open(request, timeout=self._timeout_s):
                return SpanExportResult.SUCCESS
        except (URLError, TimeoutError, ConnectionError):
            return SpanExportResult.FAILURE
