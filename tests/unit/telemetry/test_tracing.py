"""Spans: which trace they belong to, how they record a failure, and that none exists without a
destination.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from geo_platform.errors import CrsMissing, SourceNotFound
from geo_platform.telemetry.checkpoints import Checkpoint, report
from geo_platform.telemetry.logs import telemetry_context
from geo_platform.telemetry.tracing import call_started, calling, link_to, stage_span, trace_id_of
from geo_platform.telemetry.tracing_export import Destinations, Losses, start_tracing
from geo_platform.telemetry.tracing_sdk import CheckpointEvents, PausingExporter
from tests.support.spans import collector

RUN = "ea2add4b-aee9-45ca-b4b4-26abf84316a1"
CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@given(st.uuids())
def test_the_trace_id_is_the_128_bits_of_the_run_id(run_id: UUID) -> None:
    assert format(trace_id_of(str(run_id)), "032x") == run_id.hex


@given(st.text())
def test_any_text_gives_a_valid_link_or_none(text: str) -> None:
    link = link_to(text)
    assert link is None or link.context.is_valid


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00-0-0-01",
        CLIENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        CLIENT.upper() + "-x",
    ],
)
def test_an_invalid_trace_context_gives_no_link(text: str) -> None:
    assert link_to(text) is None


def test_a_stage_and_its_calls_are_in_the_trace_of_the_run_with_a_link_to_the_client(
    spans: InMemorySpanExporter,
) -> None:
    with (
        telemetry_context(run_id=RUN, stage="raster_cog", attempt=1),
        stage_span("raster_cog", traceparent=CLIENT),
    ):
        span = call_started("objects.stat", RUN, {"key": "a.tif"})
        with calling(span):
            pass
        span.end()
    call, stage = spans.get_finished_spans()
    assert {format(one.context.trace_id, "032x") for one in (call, stage) if one.context} == {
        UUID(RUN).hex
    }
    assert call.parent is not None
    assert stage.context is not None
    assert (stage.parent, call.parent.span_id) == (None, stage.context.span_id)
    assert [format(link.context.trace_id, "032x") for link in stage.links] == [
        "0af7651916cd43dd8448eb211c80319c"
    ]
    assert dict(call.attributes or {}) == {
        "run_id": RUN,
        "stage": "raster_cog",
        "attempt": 1,
        "peer.service": "objects",
        "key": "a.tif",
    }


def test_a_span_has_the_code_of_a_failure_and_no_text_of_a_foreign_one(
    spans: InMemorySpanExporter,
) -> None:
    for error in (CrsMissing("no CRS"), ValueError("password=secret")):
        with (
            pytest.raises(type(error)),
            telemetry_context(run_id=RUN),
            stage_span("raster_profile"),
        ):
            raise error
    refused, unexpected = spans.get_finished_spans()
    assert (refused.status.is_ok, (refused.attributes or {})["error.code"]) == (
        False,
        "CRS_MISSING",
    )
    assert (unexpected.attributes or {})["error.type"] == "ValueError"
    recorded = (unexpected.status.description, dict(unexpected.attributes or {}), unexpected.events)
    assert "secret" not in " ".join(map(str, recorded))


def test_not_found_does_not_mark_the_span_as_failed(
    spans: InMemorySpanExporter,
) -> None:
    span = call_started("objects.stat", RUN, {})
    with pytest.raises(SourceNotFound), calling(span):
        raise SourceNotFound("nowhere")
    span.end()
    (found,) = spans.get_finished_spans()
    assert found.status.is_unset
    assert (found.attributes or {})["error.code"] == "SOURCE_NOT_FOUND"


def test_a_call_without_a_run_has_no_span(spans: InMemorySpanExporter) -> None:
    assert call_started("objects.stat", "", {}) is trace.INVALID_SPAN
    assert not spans.get_finished_spans()


def test_without_a_destination_there_are_no_spans() -> None:
    start_tracing(Destinations())
    with telemetry_context(run_id=RUN), stage_span("raster_cog"):
        assert not trace.get_current_span().is_recording()


DELIVER_ONE_SPAN = """
import sys
import geo_platform.code_location
from geo_platform.telemetry.logs import telemetry_context
from geo_platform.telemetry.tracing import stage_span
from geo_platform.telemetry.tracing_export import Destinations, start_tracing, stop_tracing
loaded = set(sys.modules)
start_tracing(Destinations(otlp=True))
with telemetry_context(run_id=sys.argv[1]), stage_span("raster_cog"):
    pass
stop_tracing()
prefixes = ("opentelemetry", "requests", "google", "urllib")
late = [name for name in sys.modules.keys() - loaded if name.startswith(prefixes)]
print("requests" in loaded, late)
"""


@pytest.mark.parametrize("compression", ["gzip", ""])
def test_the_definitions_load_everything_that_delivery_needs(compression: str) -> None:
    """A run that is forked from the code server then has nothing left to import."""
    with collector() as taken:
        environment = {
            **os.environ,
            **taken.environment("token"),
            "OTEL_EXPORTER_OTLP_COMPRESSION": compression,
        }
        ended = subprocess.run(
            [sys.executable, "-c", DELIVER_ONE_SPAN, RUN],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    assert ended.stdout.strip() == "True []"
    assert taken.spans


PRINT_LOADED = """
import sys
import geo_platform.code_location
names = ("opentelemetry.sdk.trace", "azure.monitor.opentelemetry.exporter")
print([name for name in names if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("connection_string", "loaded"),
    [
        ("", []),
        (
            "InstrumentationKey=0",
            ["opentelemetry.sdk.trace", "azure.monitor.opentelemetry.exporter"],
        ),
    ],
)
def test_the_exporter_of_azure_monitor_is_loaded_only_where_it_is_used(
    connection_string: str, loaded: list[str]
) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "APPLICATIONINSIGHTS"))
    }
    environment["APPLICATIONINSIGHTS_CONNECTION_STRING"] = connection_string
    ended = subprocess.run(
        [sys.executable, "-c", PRINT_LOADED],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ended.stdout.strip() == str(loaded)


def test_a_loss_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    losses = Losses()
    for _ in range(3):
        losses.note("the collector", "it is down")
        losses.report()
    assert [getattr(record, "checkpoint", None) for record in caplog.records] == ["TELEMETRY_LOST"]


class _RefusingExporter(InMemorySpanExporter):
    """An exporter that counts its calls and fails until `takes` is set to success."""

    asked = 0
    takes = SpanExportResult.FAILURE

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked += 1
        return self.takes


def test_an_exporter_that_failed_is_called_again_after_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refusing, now_s = _RefusingExporter(), [100.0]
    monkeypatch.setattr("geo_platform.telemetry.tracing_sdk.time.monotonic", lambda: now_s[0])
    exporter = PausingExporter("the collector", lambda: refusing, Losses())
    for now_s[0] in (100.0, 101.0, 115.0, 129.0):
        assert exporter.export([]) is SpanExportResult.FAILURE
    assert refusing.asked == 1
    refusing.takes = SpanExportResult.SUCCESS
    now_s[0] = 131.0
    assert exporter.export([]) is SpanExportResult.SUCCESS


def test_an_exporter_that_cannot_be_created_is_a_loss_and_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def missing() -> SpanExporter:
        raise ModuleNotFoundError("opentelemetry.exporter")

    def wrong() -> SpanExporter:
        raise ValueError("InstrumentationKey=secret")

    for make, reason in ((missing, "is not installed"), (wrong, "raised ValueError")):
        losses = Losses()
        assert PausingExporter("the collector", make, losses).export([]) is SpanExportResult.FAILURE
        losses.report()
        assert reason in caplog.records[-1].getMessage()
    assert "secret" not in caplog.text


def test_a_checkpoint_inside_a_stage_is_an_event_of_its_span(spans: InMemorySpanExporter) -> None:
    events, log = CheckpointEvents(), logging.getLogger("geo_platform.checkpoint")
    log.addHandler(events)
    try:
        with telemetry_context(run_id=RUN), stage_span("raster_cog"):
            report(Checkpoint.COG_VERIFIED, "looked at", level=logging.WARNING, pixels=3)
    finally:
        log.removeHandler(events)
    (stage,) = spans.get_finished_spans()
    assert [(event.name, dict(event.attributes or {})) for event in stage.events] == [
        ("COG_VERIFIED", {"pixels": 3, "said": "looked at"})
    ]
