"""Measure the seconds from a submission over HTTP to the job's first stage, on an idle machine.

Part "first_stage" of `make bench`, with `geo-platform serve`, webserver, daemon and code location
on the profiles of `BENCH_SUBMISSIONS_PROFILES`. The first job is not counted: with it the code
location loads what later runs are forked off.
"""

import os
import random
import time
from collections.abc import Mapping
from pathlib import Path
from string import Template

import dagster as dg
import httpx

from benchmarks.data import ROOT
from benchmarks.measure import spread
from benchmarks.submissions import PROFILES, http_api, servers, small_raster, wait_until
from geo_platform.api.auth.keys import KeyFile
from geo_platform.api.auth.principal import Scope
from geo_platform.cli.application import INSTANCE_TEMPLATES
from geo_platform.ports import BRONZE
from geo_platform.runs import JOB_TAG
from geo_platform.settings import Profile, Settings
from geo_platform.storage.stores import open_objects
from tests.support.own_dagster import CODE, DAEMON, WEBSERVER, own_dagster

JOBS = int(os.environ.get("BENCH_FIRST_STAGE_JOBS", "10"))


def first_stage() -> list[str]:
    lines = [
        f"## From a submission to its first stage: {JOBS} of each kind, one by one, idle machine",
        "",
        "| profile | job | seconds to the response | seconds to the first stage, "
        "median (min to max) | target |",
        "|---|---|---|---|---|",
    ]
    for profile in PROFILES:
        with servers(Profile(profile)) as (environment, folder):
            for job, measured in _measured(Profile(profile), environment, folder).items():
                answered, stage_started = zip(*measured, strict=True)
                lines.append(
                    f"| {profile} | {job} | {spread(answered)} | **{spread(stage_started)}** "
                    "| median at most 2 |"
                )
    return [*lines, ""]


def _measured(
    profile: Profile, environment: Mapping[str, str], folder: Path
) -> dict[str, list[tuple[float, float]]]:
    """Return, by job, the seconds to the response and to the start of the first stage."""
    os.environ.update(environment)
    settings = Settings()
    key = KeyFile(settings.api_keys_file).create("bench", Scope.submitter)
    objects = open_objects(settings)
    for number in range(JOBS + 1):
        objects.put_bytes(BRONZE, f"first/{number:03}.tif", small_raster(number), metadata={})
    bodies = {
        "hello_world": [{"name": f"somebody {number}"} for number in range(JOBS + 1)],
        "process_raster": [
            {"blob_name": f"first/{number:03}.tif", "container_name": BRONZE}
            for number in range(JOBS + 1)
        ],
    }
    template = Template((ROOT / INSTANCE_TEMPLATES[profile]).read_text("utf-8"))
    with own_dagster(
        settings.dagster_home_dir, template.substitute(LOG_FILE=settings.log_file), environment
    ) as own:
        own.start(CODE, WEBSERVER, DAEMON)
        with http_api(folder, own, environment) as (_, address):
            os.environ["DAGSTER_HOME"] = str(settings.dagster_home_dir)
            with (
                dg.DagsterInstance.get() as instance,
                httpx.Client(base_url=f"http://{address}", headers={"X-Api-Key": key}) as client,
            ):
                time.sleep(15)
                return {
                    job: [_submit_and_wait(client, instance, job, body) for body in requested][1:]
                    for job, requested in bodies.items()
                }


def _submit_and_wait(
    client: httpx.Client, instance: dg.DagsterInstance, job: str, body: Mapping[str, str]
) -> tuple[float, float]:
    # A random point of the daemon's loop.
    time.sleep(3 + 2 * random.random())  # noqa: S311
    requested = time.time()
    answer = client.post(f"/api/jobs/submit/{job}", json=body)
    answered_s = time.time() - requested
    tags = {JOB_TAG: answer.raise_for_status().json()["job_id"]}
    wait_until(
        lambda: any(run.is_finished for run in instance.get_runs(dg.RunsFilter(tags=tags))),
        "the run",
    )
    (run,) = instance.get_runs(dg.RunsFilter(tags=tags))
    if run.status is not dg.DagsterRunStatus.SUCCESS:
        raise RuntimeError(f"{job}: {run.status}")
    stage_started = min(
        entry.timestamp
        for entry in instance.all_logs(run.run_id)
        if entry.user_message.startswith("STAGE_START")
    )
    return answered_s, stage_started - requested
