"""Who asked for a run is read off its tags."""

import pytest

from geo_platform.trace.request import launched_by

CLI = {"geo_platform/process": "1.2", "geo_platform/host": "desk"}
LOCATION = {".dagster/repository": "__repository__@geo_platform.definitions"}


@pytest.mark.parametrize(
    ("tags", "who"),
    [
        (CLI, "the command line on desk"),
        ({**LOCATION, "dagster/from_ui": "true"}, "the Dagster UI"),
        (LOCATION, "GraphQL"),
        ({**LOCATION, "dagster/sensor_name": "arrivals"}, "the sensor arrivals"),
        ({**LOCATION, "dagster/schedule_name": "nightly"}, "the schedule nightly"),
        ({**LOCATION, "dagster/backfill": "abc"}, "the backfill abc"),
        ({**LOCATION, **CLI, "dagster/parent_run_id": "r1"}, "GraphQL, as another attempt at run r1"),
        ({**LOCATION, "dagster/from_ui": "true", "dagster/parent_run_id": "r1"}, "the Dagster UI, as another attempt at run r1"),
        ({**LOCATION, "dagster/retry_number": "1", "dagster/parent_run_id": "r1"}, "the daemon, as another attempt at run r1"),
        ({}, "a program in its own process"),
    ],
)
def test_whoever_launched_it_is_named(tags: dict[str, str], who: str) -> None:
    assert launched_by(tags) == who
