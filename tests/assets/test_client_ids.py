"""Ids of clients in a run's tags: anyone who launches through the UI or GraphQL can write them."""

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
def test_an_invalid_id_is_ignored(value: str) -> None:
    found = client_ids_of({CORRELATION_TAG: value, TRACEPARENT_TAG: TRACEPARENT, "other": value})
    assert (found.correlation_id, found.traceparent, found.ignored) == (
        "",
        TRACEPARENT,
        (CORRELATION_TAG,),
    )


@pytest.mark.parametrize("value", NO_TRACEPARENTS, ids=lambda value: ascii(value[:60]))
def test_an_invalid_trace_context_is_ignored(value: str) -> None:
    found = client_ids_of({CORRELATION_TAG: "order-4711", TRACEPARENT_TAG: value})
    assert (found.correlation_id, found.traceparent, found.ignored) == (
        "order-4711",
        "",
        (TRACEPARENT_TAG,),
    )


@pytest.mark.parametrize(
    "value", [TRACEPARENT, f"01-{TRACEPARENT[3:]}", f"cc-{TRACEPARENT[3:]}-what.is.added"]
)
def test_a_trace_context_of_any_version_gives_a_link(value: str) -> None:
    assert is_client_id(TRACEPARENT_TAG, value)
    link = link_to(value)
    assert link is not None
    assert f"{link.context.trace_id:032x}" == CLIENT_TRACE


def test_a_run_without_client_ids_ignores_no_tag() -> None:
    assert client_ids_of({"other": "two words", CORRELATION_TAG: ""}).ignored == ()


@pytest.fixture
def settings() -> Settings:
    return load_settings()


@pytest.fixture
def launcher(settings: Settings) -> Iterator[InProcessLauncher]:
    with InProcessLauncher(defs, settings, TEMPLATE) as opened:
        yield opened
    gc.collect()


def _ignored_tags(settings: Settings, run_id: str) -> tuple[str, list[dict[str, Any]]]:
    """Return the text of the log, and the lines of the run that report an ignored tag."""
    text = settings.log_file.read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    return text, [
        line for line in lines if line["run_id"] == run_id and "is ignored" in line["message"]
    ]


def _spans_of(spans: list[Span], run_id: str) -> list[Span]:
    return [span for span in spans if span.trace_id.hex() == UUID(run_id).hex]


def test_a_run_with_hostile_tags_succeeds_and_reports_each_once(
    launcher: InProcessLauncher, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = {
        CORRELATION_TAG: "HOSTILE\n\x1b[2J" + "x" * 100_000,
        TRACEPARENT_TAG: f"{TRACEPARENT}-HOSTILE",
    }
    with collector() as collected:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collected.address)
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
    text, lines = _ignored_tags(settings, ran.run_id)
    assert [(line["level"], line["message"].split()[5]) for line in lines] == [
        ("WARNING", CORRELATION_TAG),
        ("WARNING", TRACEPARENT_TAG),
    ]
    assert "HOSTILE" not in text
    assert not _ignored_tags(settings, fine.run_id)[1]
    spans = _spans_of(collected.spans, ran.run_id)
    assert {"prepared_greeting", "spoken_greeting"} <= {span.name for span in spans}
    assert not any(span.links or "correlation_id" in attributes(span) for span in spans)
    assert b"HOSTILE" not in b"".join(collected.bodies)
    stages = [
        span for span in _spans_of(collected.spans, fine.run_id) if span.name.endswith("_greeting")
    ]
    assert all(
        attributes(span)["correlation_id"] == "order-4711" and len(span.links) == 1
        for span in stages
    )
    with dg.DagsterInstance.get() as instance:
        events = [entry.user_message for entry in instance.all_logs(ran.run_id)]
    assert sum("is ignored" in event for event in events) == 2
    assert not any("HOSTILE" in event for event in events)
