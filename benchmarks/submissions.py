"""Measure how many submissions a second are accepted, and check that no job is lost or doubled.

Part "submissions" of `make bench`, with `geo-platform serve` on `BENCH_SUBMISSIONS_PROFILES`
(embedded, production) and `benchmarks/open_loop.py` as the client. Dagster's webserver is killed in
the middle and restarted. Its daemon starts after the load: runs stay queued until each accepted job
has one; then a few of them run.
"""

import json
import os
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import dagster as dg
import numpy as np
import rasterio
from rasterio.transform import from_origin

from benchmarks.data import ROOT, WORK
from benchmarks.open_loop import OBJECTS, RATE, SECONDS, STATUS_RATE, Response
from deploy.local.processes import answers as listens
from deploy.local.processes import free_port
from geo_platform.api.auth.keys import KeyFile
from geo_platform.api.auth.principal import Scope
from geo_platform.cli.application import INSTANCE_TEMPLATES
from geo_platform.ports import BRONZE
from geo_platform.runs import JOB_TAG, ORIGIN_TAG
from geo_platform.settings import Profile, Settings
from geo_platform.storage.stores import open_objects
from tests.support.own_dagster import CODE, DAEMON, WEBSERVER, OwnDagster, own_dagster
from tests.support.watching import watching_nothing

PROFILES = os.environ.get("BENCH_SUBMISSIONS_PROFILES", "embedded").split(",")
SAMPLE = int(os.environ.get("BENCH_SUBMISSIONS_SAMPLE", "6"))
_PATIENCE_S = 3 * 3600
_ENOUGH = "100000000"
_LIMITS = {
    "GEO_PLATFORM_API_REQUESTS_PER_MINUTE": _ENOUGH,
    "GEO_PLATFORM_API_ADDRESS_REQUESTS_PER_MINUTE": _ENOUGH,
}


@dataclass(frozen=True)
class Loaded:
    """The result of a load.

    `runs` maps job ids to run ids; `left` counts runs that the killed webserver created but never
    queued.
    """

    answers: Sequence[Response]
    runs: Mapping[str, Sequence[str]]
    left: int
    launched_s: float
    succeeded: int
    failed: int
    api_cpu_s: float
    client_cpu_s: float


def submissions() -> list[str]:
    lines = [
        f"## Submissions: {RATE} a second for {SECONDS} s, with {STATUS_RATE} status requests a "
        "second; Dagster's webserver killed in the middle",
        "",
        "| | " + " | ".join(PROFILES) + " | target |",
        "|---" * (len(PROFILES) + 2) + "|",
    ]
    columns = []
    for profile in PROFILES:
        with servers(Profile(profile)) as (environment, folder):
            columns.append(_figures(_measure(Profile(profile), environment, folder)))
    lines += [
        f"| {what} | "
        + " | ".join(column[what][0] for column in columns)
        + f" | {columns[0][what][1]} |"
        for what in columns[0]
    ]
    return [
        *lines,
        "",
        "A latency counts from when the request was due. Of 100 submissions, 5 are rasters, 10 "
        "have an Idempotency-Key, 10 repeat one of those at once or two seconds later, and 2 "
        "request known work without a key. Client, HTTP API, webserver and code location share "
        "this machine.",
        "",
    ]


@contextmanager
def servers(profile: Profile) -> Iterator[tuple[dict[str, str], Path]]:
    """Yield the environment and a new folder for one load.

    The folder is always new: after many files are removed, ext4 creates files slowly for minutes,
    which slows down a load that starts right then.
    """
    folder = WORK / f"submissions-{secrets.token_hex(4)}"
    (folder / "home" / "logs").mkdir(parents=True)
    environment = {
        "GEO_PLATFORM_HOME": str(folder / "home"),
        "HOME": str(folder / "home"),
        **watching_nothing(folder),
    }
    if profile is Profile.embedded:
        try:
            yield environment, folder
        finally:
            _remove(folder)
        return
    from deploy.local.contents import fill
    from deploy.local.services import start, stop

    # PostgreSQL's user can reach this folder.
    servers = Path("/var/tmp") / f"geo-platform-bench-{secrets.token_hex(4)}"  # noqa: S108
    services = start(servers, say=_say)
    try:
        fill(services, say=_say)
        yield {**environment, **services.environment()}, folder
    finally:
        stop(servers, remove=True)
        _remove(folder)


def _remove(folder: Path) -> None:
    if not os.environ.get("BENCH_KEEP"):
        shutil.rmtree(folder)


def _measure(profile: Profile, environment: Mapping[str, str], folder: Path) -> Loaded:
    os.environ.update(environment)
    settings = Settings()
    key = KeyFile(settings.api_keys_file).create("load", Scope.submitter)
    objects = open_objects(settings)
    for number in range(OBJECTS):
        objects.put_bytes(BRONZE, f"load/{number:03}.tif", small_raster(number), metadata={})
    template = Template((ROOT / INSTANCE_TEMPLATES[profile]).read_text("utf-8"))
    configuration = template.substitute(LOG_FILE=settings.log_file)
    with own_dagster(settings.dagster_home_dir, configuration, environment) as own:
        own.start(CODE, WEBSERVER)
        with http_api(folder, own, environment) as (api, address):
            before_s = _cpu_s(api.pid)
            loaded_s, answers, client_cpu_s = _load(own, address, key, folder)
            api_cpu_s = _cpu_s(api.pid) - before_s
            os.environ["DAGSTER_HOME"] = str(settings.dagster_home_dir)
            with dg.DagsterInstance.get() as instance:
                launched_s = _all_launched(instance, answers) - loaded_s
                made = defaultdict(list)
                records = instance.get_run_records(dg.RunsFilter(tags={ORIGIN_TAG: "api"}))
                left = [
                    each
                    for each in records
                    if each.dagster_run.status is dg.DagsterRunStatus.CANCELED
                ]
                for record in records:
                    if record not in left:
                        made[record.dagster_run.tags[JOB_TAG]].append(record.dagster_run.run_id)
                own.start(DAEMON)
                ended = _some_ended(instance)
    return Loaded(
        answers,
        made,
        len(left),
        launched_s,
        ended["SUCCESS"],
        ended["FAILURE"],
        api_cpu_s,
        client_cpu_s,
    )


@contextmanager
def http_api(
    folder: Path, own: OwnDagster, environment: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    command = [str(Path(sys.executable).with_name("geo-platform")), "serve", "--port", str(port)]
    known = {**os.environ, **environment, **_LIMITS, "GEO_PLATFORM_DAGSTER_URL": own.address}
    known.pop("PYTHONDONTWRITEBYTECODE", None)
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=known, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: listens(port), "the HTTP API to listen")
        yield process, f"127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _load(
    own: OwnDagster, address: str, key: str, folder: Path
) -> tuple[float, list[Response], float]:
    """Run the client; kill the webserver halfway.

    Returns (end of the load, responses, CPU seconds of the client).
    """
    out = folder / "answers.jsonl"
    client = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.open_loop", address, key, str(out)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdout is not None
    client.stdout.readline()
    time.sleep(SECONDS / 2)
    own.kill(WEBSERVER)
    _say("the webserver was killed; it is restarted")
    own.start(WEBSERVER)
    cpu_s = client.stdout.readline()
    if client.wait(300) != 0:
        raise RuntimeError("the client failed")
    return (
        time.monotonic(),
        [Response(**json.loads(line)) for line in out.read_text().splitlines()],
        float(cpu_s),
    )


def _all_launched(instance: dg.DagsterInstance, answers: Sequence[Response]) -> float:
    """Wait until each accepted job has a run and no other run can follow; return when."""
    jobs = {each.job_id for each in answers if each.what == "submit" and each.status == 200}
    of_api = dg.RunsFilter(tags={ORIGIN_TAG: "api"}, statuses=[dg.DagsterRunStatus.QUEUED])

    def runs() -> bool:
        count = instance.get_runs_count(of_api)
        _say(f"{count} of {len(jobs)} have a run")
        return count >= len(jobs)

    wait_until(runs, "each accepted job to have a run", every_s=5)
    ended = time.monotonic()
    # Enough time for a second run, if a job got one.
    time.sleep(25)
    return ended


def _some_ended(instance: dg.DagsterInstance) -> Counter[str]:
    """Wait for the first runs to end (the queue starts them in order); count their statuses."""
    ended = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    of_api = dg.RunsFilter(tags={ORIGIN_TAG: "api"}, statuses=ended)
    wait_until(lambda: instance.get_runs_count(of_api) >= SAMPLE, "runs to end", every_s=2)
    return Counter(run.status.value for run in instance.get_runs(of_api))


def _figures(loaded: Loaded) -> dict[str, tuple[str, str]]:
    """Return (measured, target) by description."""
    submitted = [each for each in loaded.answers if each.what == "submit"]
    statuses = [each for each in loaded.answers if each.what == "status"]
    accepted = [each for each in submitted if each.status == 200]
    refused = [each for each in submitted if each.status in (429, 503) and each.retry_after]
    jobs = {each.job_id for each in accepted}
    of_work = defaultdict(set)
    for each in accepted:
        of_work[each.work].add(each.job_id)
    mixed_up = len(of_work) - len(jobs) + sum(len(ids) != 1 for ids in of_work.values())
    # Without a response it is unknown whether the submission was accepted.
    unanswered = any(each.status == 0 for each in submitted)
    lost, unknown = (
        len(jobs - loaded.runs.keys()),
        0 if unanswered else len(loaded.runs.keys() - jobs),
    )
    doubled = sum(len(runs) - 1 for runs in loaded.runs.values())
    last_s = max(each.due_s + each.took_s for each in accepted)
    return {
        "accepted a second": (
            f"**{len(accepted) / max(last_s, SECONDS):.1f}**",
            f"at least {RATE}",
        ),
        "submissions: responses by status": (_counted(submitted), ""),
        "neither accepted nor refused with a Retry-After": (
            str(len(submitted) - len(accepted) - len(refused)),
            "0",
        ),
        "status: responses": (_counted(statuses), ""),
        "milliseconds to the response of a submission: p50, p99, max": (_latencies(submitted), ""),
        "milliseconds to a status: p50, p99, max": (f"**{_latencies(statuses)}**", "p99 under 250"),
        "different jobs accepted": (f"{len(jobs):,}", ""),
        "jobs lost / doubled / unknown / mixed up": (
            f"**{lost} / {doubled} / {unknown} / {mixed_up}**",
            "0",
        ),
        "runs created by the killed webserver, never queued, canceled": (
            str(loaded.left),
            "",
        ),
        "seconds after the load until each had its run": (f"{loaded.launched_s:.0f}", ""),
        "runs started, succeeded / failed": (f"{loaded.succeeded} / {loaded.failed}", "none fails"),
        "CPU seconds of the HTTP API, of the client": (
            f"{loaded.api_cpu_s:.1f}, {loaded.client_cpu_s:.1f}",
            "",
        ),
    }


def _latencies(answered: Sequence[Response]) -> str:
    took = sorted(each.took_s * 1000 for each in answered)
    return f"{statistics.median(took):.0f}, {took[int(len(took) * 0.99)]:.0f}, {took[-1]:.0f}"


def _counted(answered: Sequence[Response]) -> str:
    counts = Counter(f"{each.status or 'none'} {each.fault or each.outcome}" for each in answered)
    return ", ".join(f"{what}: {count:,}" for what, count in counts.most_common())


def _cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process so far, by proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until(holds: Any, what: str, *, every_s: float = 0.2) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(every_s)


def small_raster(number: int) -> bytes:
    """Return a GeoTIFF of a few kB; each number gives different pixels."""
    with rasterio.MemoryFile() as memory:
        profile = {
            "driver": "GTiff",
            "width": 64,
            "height": 64,
            "count": 1,
            "dtype": "uint16",
            "crs": "EPSG:32618",
        }
        with memory.open(**profile, transform=from_origin(500_000, 4_500_000, 10, 10)) as target:
            target.write((np.add.outer(np.arange(64), np.arange(64)) + number).astype(np.uint16), 1)
        return bytes(memory.read())


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
