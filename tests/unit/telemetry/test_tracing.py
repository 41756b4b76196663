"""Spans: whose trace they are in, what they say of a failure, and that without a destination nothing happens."""

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
from geo_platform.telemetry.context import telemetry_context
from geo_platform.telemetry.tracing import call_started, calling, link_to, stage_span, trace_id_of
from geo_platform.telemetry.tracing_export import Destinations, Losses, start_tracing
from geo_platform.telemetry.tracing_sdk import CheckpointEvents, PausingExporter
from tests.support.spans import collector

RUN = "ea2add4b-aee9-45ca-b4b4-26abf84316a1"
CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@given(st.uuids())
def test_the_trace_id_is_the_run_id_s_128_bits(run_id: UUID) -> None:
    assert format(trace_id_of(str(run_id)), "032x") == run_id.hex


@given(st.text())
def test_any_text_is_a_link_to_a_valid_span_or_none(text: str) -> None:
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
def test_what_is_no_trace_context_is_no_link(text: str) -> None:
    assert link_to(text) is None


def test_a_stage_and_its_calls_are_in_the_run_s_trace_and_linked_to_the_client_s(
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


def test_a_failure_is_on_the_span_with_its_code_and_a_foreign_one_without_its_text(
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
    assert (
        "secret"
        not in f"{unexpected.status.description} {dict(unexpected.attributes or {})} {unexpected.events}"
    )


def test_that_something_is_not_there_is_an_answer_and_no_failure(
    spans: InMemorySpanExporter,
) -> None:
    span = call_started("objects.stat", RUN, {})
    with pytest.raises(SourceNotFound), calling(span):
        raise SourceNotFound("nowhere")
    span.end()
    (found,) = spans.get_finished_spans()
    assert found.status.is_unset
    assert (found.attributes or {})["error.code"] == "SOURCE_NOT_FOUND"


def test_a_call_for_no_run_has_no_span(spans: InMemorySpanExporter) -> None:
    assert call_started("objects.stat", "", {}) is trace.INVALID_SPAN
    assert not spans.get_finished_spans()


def test_without_a_destination_there_are_no_spans() -> None:
    start_tracing(Destinations())
    with telemetry_context(run_id=RUN), stage_span("raster_cog"):
        assert not trace.get_current_span().is_recording()


DELIVERED = """
import sys
import geo_platform.code_location
from geo_platform.telemetry.context import telemetry_context
from geo_platform.telemetry.tracing import stage_span
from geo_platform.telemetry.tracing_export import Destinations, start_tracing, stop_tracing
loaded = set(sys.modules)
start_tracing(Destinations(otlp=True))
with telemetry_context(run_id=sys.argv[1]), stage_span("raster_cog"):
    pass
stop_tracing()
late = [name for name in sys.modules.keys() - loaded if name.startswith(("opentelemetry", "requests", "google", "urllib"))]
print("requests" in loaded, late)
"""


@pytest.mark.parametrize("compression", ["gzip", ""])
def test_the_definitions_load_what_delivery_takes(compression: str) -> None:
    """So that a run forked off them loads nothing of it."""
    with collector() as taken:
        environment = {
            **os.environ,
            **taken.environment("token"),
            "OTEL_EXPORTER_OTLP_COMPRESSION": compression,
        }
        ended = subprocess.run(
            [sys.executable, "-c", DELIVERED, RUN],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    assert ended.stdout.strip() == "True []"
    assert taken.spans


LOADED = """
import sys
import geo_platform.code_location
print([name for name in ("opentelemetry.sdk.trace", "azure.monitor.opentelemetry.exporter") if name in sys.modules])
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
def test_azure_monitors_exporter_is_loaded_where_it_is_sent_to(
    connection_string: str, loaded: list[str]
) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "APPLICATIONINSIGHTS"))
    }
    environment["APPLICATIONINSIGHTS_CONNECTION_STRING"] = connection_string
    ended = subprocess.run(
        [sys.executable, "-c", LOADED],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ended.stdout.strip() == str(loaded)


def test_a_loss_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    losses = Losses()
    for _ in range(3):
        losses.note("the collector", "it is down")
        losses.report()
    assert [getattr(record, "checkpoint", None) for record in caplog.records] == ["TELEMETRY_LOST"]


class _Refusing(InMemorySpanExporter):
    """Counts how often it was asked, and takes nothing until it is told to."""

    asked = 0
    takes = SpanExportResult.FAILURE

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked += 1
        return self.takes


def test_an_exporter_that_failed_is_left_alone_for_a_while_and_then_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refusing, now_s = _Refusing(), [100.0]
    monkeypatch.setattr("geo_platform.telemetry.tracing_sdk.time.monotonic", lambda: now_s[0])
    exporter = PausingExporter("the collector", lambda: refusing, Losses())
    for now_s[0] in (100.0, 101.0, 115.0, 129.0):
        assert exporter.export([]) is SpanExportResult.FAILURE
    assert refusing.asked == 1
    refusing.takes = SpanExportResult.SUCCESS
    now_s[0] = 131.0
    assert exporter.export([]) is SpanExportResult.SUCCESS


def test_an_exporter_that_cannot_be_made_is_a_loss_and_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def missing() -> SpanExporter:
        raise ModuleNotFoundError("opentelemetry.exporter")

    def wrong() -> SpanExporter:
        raise ValueError("InstrumentationKey=secret")

    for make, said in ((missing, "is not installed"), (wrong, "raised ValueError")):
        losses = Losses()
        assert PausingExporter("the collector", make, losses).export([]) is SpanExportResult.FAILURE
        losses.report()
        assert said in caplog.records[-1].getMessage()
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
