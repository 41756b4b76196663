"""Export the spans of a real run to a real collector, by OTLP and to Azure Monitor.

Also with a collector that is down or never answers.
"""

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.support.command import SAMPLES, Ended, geo_platform
from tests.support.in_process import geo_platform_here
from tests.support.production import ProfileUnderTest
from tests.support.spans import attributes, collector, receiver

COUNTRIES = SAMPLES / "natural_earth_countries.shp.zip"
CLIENT_TRACE = "0af7651916cd43dd8448eb211c80319c"
IDS = ["--correlation-id", "order-4711", "--traceparent", f"00-{CLIENT_TRACE}-b7ad6b7169203331-01"]
STAGES = {"raw_vector", "vector_profile", "vector_features", "vector_item"}


def _ingest(home: Path, extra: Mapping[str, str], *options: str) -> tuple[Ended, str]:
    ended = geo_platform("ingest", "--json", COUNTRIES, *options, home=home, extra=extra)
    assert ended.exit_code == 0, ended.stderr
    assert ended.lines[0]["outcome"] == "published"
    return ended, ended.lines[0]["run_id"]


def _log(home: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in (home / "logs" / "platform.jsonl").read_text().splitlines()
    ]


def test_every_stage_and_store_call_is_in_the_trace_of_the_run(
    tmp_path: Path, profile: ProfileUnderTest
) -> None:
    with collector() as taken:
        _, run_id = _ingest(tmp_path, {**profile.environment, **taken.environment("token")}, *IDS)
    spans = taken.spans
    assert {span.trace_id.hex() for span in spans} == {UUID(run_id).hex}
    assert all(attributes(span)["run_id"] == run_id for span in spans)
    roots = {span.span_id: span for span in spans if not span.parent_span_id}
    stages = {span.name: span for span in roots.values() if span.name in STAGES}
    assert stages.keys() == STAGES
    assert all(
        [link.trace_id.hex() for link in span.links] == [CLIENT_TRACE] for span in stages.values()
    )
    assert all(attributes(span)["correlation_id"] == "order-4711" for span in stages.values())
    below = {
        (roots[span.parent_span_id].name, span.name)
        for span in spans
        if span.parent_span_id in roots
    }
    assert {("vector_features", "features.load"), ("vector_item", "catalog.publish")} <= below
    assert "objects.put_bytes" in {span.name for span in roots.values()}, (
        "messages are stored by Dagster, outside of a stage"
    )
    assert "FEATURES_LOADED" in {event.name for event in stages["vector_features"].events}
    assert {line["correlation_id"] for line in _log(tmp_path) if "attempt" in line} == {
        "order-4711"
    }
    traced = json.loads(
        geo_platform_here(
            "trace", "order-4711", "--json", home=tmp_path, extra=profile.environment
        ).stdout
    )
    assert run_id in json.dumps(traced["timelines"])


def _taken(body: bytes) -> bytes:
    """Answer like Azure Monitor, as far as its exporter reads the answer."""
    envelopes = len(json.loads(body))
    return json.dumps(
        {"itemsReceived": envelopes, "itemsAccepted": envelopes, "errors": []}
    ).encode()


def test_in_azure_monitor_the_operation_id_is_the_run_id(tmp_path: Path) -> None:
    with receiver(_taken) as (address, bodies):
        key = "00000000-1111-2222-3333-444444444444"
        _, run_id = _ingest(
            tmp_path,
            {
                "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={key};"
                f"IngestionEndpoint={address}/"
            },
        )
    envelopes = [
        envelope
        for body in bodies
        for envelope in json.loads(body)
        if "RequestData" in str(envelope["data"].get("baseType"))
    ]
    assert {envelope["data"]["baseData"]["name"] for envelope in envelopes} >= STAGES
    assert {envelope["tags"]["ai.operation.id"] for envelope in envelopes} == {UUID(run_id).hex}


@pytest.mark.parametrize("listens", [False, True], ids=["down", "never answers"])
def test_an_unavailable_collector_fails_no_run_and_is_logged_once(
    listens: bool, tmp_path: Path
) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        if listens:
            deaf.listen()
        ended, _ = _ingest(
            tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{deaf.getsockname()[1]}"}
        )
    in_log = [line for line in _log(tmp_path) if line.get("checkpoint") == "TELEMETRY_LOST"]
    assert len(in_log) + ended.stderr.count("TELEMETRY_LOST") == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Connection refused" not in ended.stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--correlation-id", "two words"),
        ("--correlation-id", "x" * 129),
        ("--traceparent", "00-1-2-3"),
    ],
)
def test_an_invalid_id_is_a_usage_error(option: str, value: str, tmp_path: Path) -> None:
    ended = geo_platform("ingest", COUNTRIES, option, value, home=tmp_path)
    assert ended.exit_code == 2
    assert "PARAMETER_INVALID" in ended.stderr
