"""Measure what one dynamic partition key per file costs in Dagster, at 10,000 and 100,000 keys.

Part "partitions" of `make bench`: dynamic partitions on SQLite and PostgreSQL, as sensors and the
UI use them. `BENCH_PARTITIONS` sets the numbers of keys. `docs/scale.md` draws the conclusions;
`files.py` and `arrivals.py` measure runs.
"""

import json
import os
import secrets
import shutil
import statistics
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from string import Template

import dagster as dg
import psycopg

from assets.partitions import VECTOR_OBJECTS
from benchmarks.data import ROOT, WORK
from deploy.local.contents import make_database
from deploy.local.processes import end_process, free_port
from deploy.local.servers import ADMIN, make_folder, start_postgres
from geo_platform.cli.application import INSTANCE_TEMPLATES
from geo_platform.settings import Profile
from tests.support.own_dagster import CODE, WEBSERVER, own_dagster

COUNTS = tuple(
    int(count) for count in os.environ.get("BENCH_PARTITIONS", "10000,100000").split(",")
)
_NAME = str(VECTOR_OBJECTS.name)
_KEYS_PER_TICK = 200
_BULK = 5_000
_LOOKUPS = 20
_MATERIALIZED = int(os.environ.get("BENCH_MATERIALIZED", "10000"))
_PAGE = """
query Page($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode {
    partitionStats { numMaterialized numPartitions }
    assetPartitionStatuses {
      ... on DefaultPartitionStatuses { materializedPartitions unmaterializedPartitions }
    }
  } }
}
"""


def partitions() -> list[str]:
    lines = [
        "## Partitions: a key per file",
        "",
        f"| storage | keys | add {_KEYS_PER_TICK} keys, s | look up a key, ms | all keys, s "
        "| the UI's page of an asset, s (first; again) | a run's config at launch, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for profile in Profile:
        with _home(profile) as (home, environment, configuration):
            lines += _of_storage(profile, home, environment, configuration)
    return [
        *lines,
        "",
        f"The asset is vector_features, with a result for {_MATERIALIZED:,} keys. The UI's page is "
        "its GraphQL query: how many keys have a result, and which.",
        "",
    ]


def _of_storage(
    profile: Profile, home: Path, environment: Mapping[str, str], configuration: str
) -> list[str]:
    rows = []
    storage = {Profile.embedded: "SQLite", Profile.production: "PostgreSQL"}[profile]
    with (
        own_dagster(home / "dagster", configuration, environment) as own,
        dg.DagsterInstance.from_config(str(own.folder)) as instance,
    ):
        for number in range(_MATERIALIZED):
            made = dg.AssetMaterialization(
                "vector_features", partition=_key(number), metadata={"rows": number}
            )
            instance.report_runless_asset_event(made)
        own.start(CODE, WEBSERVER)
        added = 0
        for count in COUNTS:
            for first in range(added, count - _KEYS_PER_TICK, _BULK):
                _add(instance, first, min(_BULK, count - _KEYS_PER_TICK - first))
            added = count
            rows.append(f"| {storage} | {count:,} | {_at(instance, own.address, count)} |")
            print(rows[-1])
    return rows


def _at(instance: dg.DagsterInstance, address: str, count: int) -> str:
    add_s = _seconds(lambda: _add(instance, count - _KEYS_PER_TICK, _KEYS_PER_TICK))
    has_s = statistics.median(
        _seconds(lambda n=n: instance.has_dynamic_partition(_NAME, _key(n * 7)))
        for n in range(_LOOKUPS)
    )
    all_s = _seconds(lambda: instance.get_dynamic_partitions(_NAME))
    first_s, again_s = (_seconds(lambda: _page(address)) for _ in range(2))
    launch_s = _seconds(lambda: _launch_config(address))
    return (
        f"{add_s:.2f} | {1000 * has_s:.1f} | {all_s:.2f} | {first_s:.2f}; {again_s:.2f} "
        f"| {launch_s:.2f}"
    )


def _add(instance: dg.DagsterInstance, first: int, count: int) -> None:
    instance.add_dynamic_partitions(_NAME, [_key(number) for number in range(first, first + count)])


def _key(number: int) -> str:
    return f"incoming/2026/11/parcels_{number:08d}.geojson"


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _page(address: str) -> None:
    _graphql(address, _PAGE, {"key": {"path": ["vector_features"]}})


def _launch_config(address: str) -> None:
    """Ask for what the UI's launchpad needs for one partition of the job."""
    query = """
    query Config($selector: PipelineSelector!, $key: String!) {
      pipelineOrError(params: $selector) { ... on Pipeline { partition(partitionName: $key) {
        runConfigOrError { ... on PartitionRunConfig { yaml } }
        tagsOrError { ... on PartitionTags { results { key value } } }
      } } }
    }
    """
    selector = {
        "repositoryName": "__repository__",
        "repositoryLocationName": "geo_platform",
        "pipelineName": "ingest_vector",
    }
    _graphql(address, query, {"selector": selector, "key": _key(7)})


def _graphql(address: str, query: str, variables: Mapping[str, object]) -> None:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(  # noqa: S310
        f"{address}/graphql", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=300) as response:  # noqa: S310
        answer = json.load(response)
    if "errors" in answer:
        raise RuntimeError(answer["errors"])


@contextmanager
def _home(profile: Profile) -> Iterator[tuple[Path, Mapping[str, str], str]]:
    """Yield a home with the profile's dagster.yaml.

    For PostgreSQL, start a server as durable as those of users.
    """
    home = WORK / f"partitions-{profile}"
    shutil.rmtree(home, ignore_errors=True)
    (home / "logs").mkdir(parents=True)
    configuration = Template((ROOT / INSTANCE_TEMPLATES[profile]).read_text("utf-8")).substitute(
        LOG_FILE=home / "logs" / "platform.jsonl"
    )
    environment = {"GEO_PLATFORM_HOME": str(home), "HOME": str(home)}
    if profile is Profile.embedded:
        yield home, environment, configuration
        return
    folder, port, password = (
        Path("/var/tmp") / f"geo-platform-bench-{secrets.token_hex(4)}",  # noqa: S108
        free_port(),
        secrets.token_urlsafe(16),
    )
    make_folder(folder)
    server = start_postgres(folder / "postgres", port=port, password=password)
    try:
        with psycopg.connect(
            f"postgresql://{ADMIN}:{password}@127.0.0.1:{port}/postgres", autocommit=True
        ) as connection:
            make_database(connection, "dagster")
        os.environ["GEO_PLATFORM_DAGSTER_POSTGRES_URL"] = (
            f"postgresql://{ADMIN}:{password}@127.0.0.1:{port}/dagster"
        )
        yield (
            home,
            {
                **environment,
                "GEO_PLATFORM_DAGSTER_POSTGRES_URL": os.environ[
                    "GEO_PLATFORM_DAGSTER_POSTGRES_URL"
                ],
            },
            configuration,
        )
    finally:
        end_process(server.pid, str(folder))
        shutil.rmtree(folder)
