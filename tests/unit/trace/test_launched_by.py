"""The launcher of a run is read from its tags."""

import pytest

from geo_platform.trace.question import launched_by

CLI = {"geo_platform/process": "1.2", "geo_platform/host": "desk"}
API = {
    "geo_platform/origin": "api",
    "geo_platform/asked_by": "key:field-team",
    "geo_platform/request_id": "0f1e2d",
}
LOCATION = {".dagster/repository": "__repository__@geo_platform.definitions"}


@pytest.mark.parametrize(
    ("tags", "launcher"),
    [
        (CLI, "the command line on desk"),
        ({**LOCATION, "dagster/from_ui": "true"}, "the Dagster UI"),
        (LOCATION, "GraphQL"),
        ({**LOCATION, "dagster/sensor_name": "arrivals"}, "the sensor arrivals"),
        ({**LOCATION, "dagster/schedule_name": "nightly"}, "the schedule nightly"),
        ({**LOCATION, "dagster/backfill": "abc"}, "the backfill abc"),
        (
            {**LOCATION, **CLI, "dagster/parent_run_id": "r1"},
            "GraphQL, as a retry of run r1",
        ),
        (
            {**LOCATION, "dagster/from_ui": "true", "dagster/parent_run_id": "r1"},
            "the Dagster UI, as a retry of run r1",
        ),
        (
            {**LOCATION, "dagster/retry_number": "1", "dagster/parent_run_id": "r1"},
            "the daemon, as a retry of run r1",
        ),
        ({**LOCATION, **API}, "the HTTP API for key:field-team, request 0f1e2d"),
        (
            {**LOCATION, **API, "dagster/parent_run_id": "r1"},
            "the HTTP API for key:field-team, request 0f1e2d, as a retry of run r1",
        ),
        (
            {**LOCATION, **API, "dagster/retry_number": "1", "dagster/parent_run_id": "r1"},
            "the daemon, as a retry of run r1",
        ),
        (
            {**LOCATION, "geo_platform/origin": "api"},
            "the HTTP API for unknown, request without an id",
        ),
        ({}, "a program in its own process"),
    ],
)
def test_the_launcher_is_named(tags: dict[str, str], launcher: str) -> None:
    assert launched_by(tags) == launcher
