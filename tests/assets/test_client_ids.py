"""What a client calls its request, as the run's tags say it: anybody who launches by the UI or GraphQL may write anything there."""

import gc
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import dagster as dg
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from geo_platform.definitions import defs
from geo_platform.orchestrator.launch import InProcessLauncher
from geo_platform.runs import (
    CORRELATION_TAG,
    TRACEPARENT_TAG,
    RunRequest,
    client_ids_of,
    is_client_id,
)
from geo_platform.settings import Settings, load_settings
from geo_platform.telemetry.tracing import link_to
from geo_platform.telemetry.tracing_export import stop_tracing
from tests.support.command import ROOT
from tests.support.in_process import DAGSTER_S_WARNINGS
from tests.support.spans import attributes, collector

pytestmark = DAGSTER_S_WARNINGS
TEMPLATE = ROOT / "deploy" / "embedded" / "dagster.yaml"
CLIENT_TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{CLIENT_TRACE}-b7ad6b7169203331-01"

NO_IDS = [
    "two words",
    "x" * 129,
    'order\n{"level": "ERROR"}',
    "order\x1b[2J",
    "\u202eorder",
    "x" * 1_000_000,
    "\x00",
]
NO_TRACEPARENTS = [
    "00-1-2-3",
    f"00-{'0' * 32}-b7ad6b7169203331-01",
    f"00-{CLIENT_TRACE}-{'0' * 16}-01",
    f"ff-{CLIENT_TRACE}-b7ad6b7169203331-01",
    TRACEPARENT.upper(),
    f"{TRACEPARENT}-more",
    f"{TRACEPARENT}\n",
    f" {TRACEPARENT}",
    f"01-{TRACEPARENT[3:]}-{'x' * 1_000_000}",
]


@pytest.mark.parametrize("value", NO_IDS, ids=lambda value: ascii(value[:20]))
def test_what_is_no_id_is_ignored(value: str) -> None:
    found = client_ids_of({CORRELATION_TAG: value, TRACEPARENT_TAG: TRACEPARENT, "other": value})
    assert (found.correlation_id, found.traceparent, found.ignored) == (
        "",
        TRACEPARENT,
        (CORRELATION_TAG,),
    )


@pytest.mark.parametrize("value", NO_TRACEPARENTS, ids=lambda value: ascii(value[:60]))
def test_what_is_no_trace_context_is_ignored(value: str) -> None:
    found = client_ids_of({CORRELATION_TAG: "order-4711", TRACEPARENT_TAG: value})
    assert (found.correlation_id, found.traceparent, found.ignored) == (
        "order-4711",
        "",
        (TRACEPARENT_TAG,),
    )


@pytest.mark.parametrize(
    "value", [TRACEPARENT, f"01-{TRACEPARENT[3:]}", f"cc-{TRACEPARENT[3:]}-what.is.added"]
)
def test_a_trace_context_of_any_version_can_be_linked_to(value: str) -> None:
    assert is_client_id(TRACEPARENT_TAG, value)
    link = link_to(value)
    assert link is not None
    assert f"{link.context.trace_id:032x}" == CLIENT_TRACE


def test_a_run_without_them_ignores_nothing() -> None:
    assert client_ids_of({"other": "two words", CORRELATION_TAG: ""}).ignored == ()


@pytest.fixture
def settings() -> Settings:
    return load_settings()


@pytest.fixture
def launcher(settings: Settings) -> Iterator[InProcessLauncher]:
    with InProcessLauncher(defs, settings, TEMPLATE) as opened:
        yield opened
    gc.collect()


def _said(settings: Settings, run_id: str) -> tuple[str, list[dict[str, Any]]]:
    """The log's text, and of the run's lines those that say that a tag is ignored."""
    text = settings.log_file.read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    return text, [
        line for line in lines if line["run_id"] == run_id and "is ignored" in line["message"]
    ]


def _spans_of(spans: list[Span], run_id: str) -> list[Span]:
    return [span for span in spans if span.trace_id.hex() == UUID(run_id).hex]


def test_a_run_with_hostile_tags_succeeds_says_so_once_and_carries_none_of_it(
    launcher: InProcessLauncher, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = {
        CORRELATION_TAG: "HOSTILE\n\x1b[2J" + "x" * 100_000,
        TRACEPARENT_TAG: f"{TRACEPARENT}-HOSTILE",
    }
    with collector() as taken:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", taken.address)
        ran = launcher.run(RunRequest("hello_world", None, tags=hostile))
        fine = launcher.run(
            RunRequest(
                "hello_world",
                None,
                tags={CORRELATION_TAG: "order-4711", TRACEPARENT_TAG: TRACEPARENT},
            )
        )
        stop_tracing()
    assert (ran.status, fine.status) == ("success", "success")
    text, said = _said(settings, ran.run_id)
    assert [(line["level"], line["message"].split()[5]) for line in said] == [
        ("WARNING", CORRELATION_TAG),
        ("WARNING", TRACEPARENT_TAG),
    ]
    assert "HOSTILE" not in text
    assert not _said(settings, fine.run_id)[1]
    spans = _spans_of(taken.spans, ran.run_id)
    assert {"prepared_greeting", "spoken_greeting"} <= {span.name for span in spans}
    assert not any(span.links or "correlation_id" in attributes(span) for span in spans)
    assert b"HOSTILE" not in b"".join(taken.bodies)
    stages = [
        span for span in _spans_of(taken.spans, fine.run_id) if span.name.endswith("_greeting")
    ]
    assert all(
        attributes(span)["correlation_id"] == "order-4711" and len(span.links) == 1
        for span in stages
    )
    with dg.DagsterInstance.get() as instance:
        events = [entry.user_message for entry in instance.all_logs(ran.run_id)]
    assert sum("is ignored" in event for event in events) == 2
    assert not any("HOSTILE" in event for event in events)
