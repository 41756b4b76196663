"""`make bench` part "submissions": how many are accepted a second, what a status takes meanwhile, and that none is lost or doubled.

Real servers (`BENCH_SUBMISSIONS_PROFILES`: embedded, production), `geo-platform serve`, and `benchmarks/open_loop.py` as the client. Dagster's
webserver is killed in the middle and started again. Its daemon starts after the load: runs stay queued until each that was accepted
has one, then a few are let run.
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
from benchmarks.open_loop import OBJECTS, RATE, SECONDS, STATUS_RATE, Answered
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
    """What came of the load. `runs` are the ids of runs by that of their job; `left` those that a killed webserver made and never queued."""

    answers: Sequence[Answered]
    runs: Mapping[str, Sequence[str]]
    left: int
    launched_s: float
    succeeded: int
    failed: int
    face_cpu_s: float
    client_cpu_s: float


def submissions() -> list[str]:
    lines = [
        f"## Submissions: {RATE} a second for {SECONDS} s, {STATUS_RATE} status requests a second beside them, Dagster's webserver killed in the middle",
        "",
        "| | " + " | ".join(PROFILES) + " | to hold |",
        "|---" * (len(PROFILES) + 2) + "|",
    ]
    columns = []
    for profile in PROFILES:
        with servers(Profile(profile)) as (environment, folder):
            columns.append(_figures(_loaded(Profile(profile), environment, folder)))
    lines += [
        f"| {what} | "
        + " | ".join(column[what][0] for column in columns)
        + f" | {columns[0][what][1]} |"
        for what in columns[0]
    ]
    return [
        *lines,
        "",
        "A latency counts from when the request was due. Of 100 submissions 5 are rasters, 10 carry an Idempotency-Key, 10 repeat one of those "
        "at once or two seconds later, 2 ask for known work without a key. Client, face, webserver and code location share this machine.",
        "",
    ]


@contextmanager
def servers(profile: Profile) -> Iterator[tuple[dict[str, str], Path]]:
    """Environment and a folder for one load.

    A new one each time: ext4 makes files slowly for minutes where many were removed, so that a second load right after one is slower.
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
            _put_away(folder)
        return
    from deploy.local.contents import fill
    from deploy.local.services import start, stop

    servers = Path("/var/tmp") / f"geo-platform-bench-{secrets.token_hex(4)}"  # noqa: S108  # where PostgreSQL's user can reach it
    services = start(servers, say=_say)
    try:
        fill(services, say=_say)
        yield {**environment, **services.environment()}, folder
    finally:
        stop(servers, remove=True)
        _put_away(folder)


def _put_away(folder: Path) -> None:
    if not os.environ.get("BENCH_KEEP"):
        shutil.rmtree(folder)


def _loaded(profile: Profile, environment: Mapping[str, str], folder: Path) -> Loaded:
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
        with face_of(folder, own, environment) as (face, address):
            before_s = _cpu_s(face.pid)
            loaded_s, answers, client_cpu_s = _load(own, address, key, folder)
            face_cpu_s = _cpu_s(face.pid) - before_s
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
        face_cpu_s,
        client_cpu_s,
    )


@contextmanager
def face_of(
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
        wait_until(lambda: listens(port), "the face")
        yield process, f"127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _load(
    own: OwnDagster, address: str, key: str, folder: Path
) -> tuple[float, list[Answered], float]:
    """(when it ended, the answers, CPU seconds of the client); the webserver is killed at half of it."""
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
    _say("the webserver is killed, and started again")
    own.start(WEBSERVER)
    cpu_s = client.stdout.readline()
    if client.wait(300) != 0:
        raise RuntimeError("the client failed")
    return (
        time.monotonic(),
        [Answered(**json.loads(line)) for line in out.read_text().splitlines()],
        float(cpu_s),
    )


def _all_launched(instance: dg.DagsterInstance, answers: Sequence[Answered]) -> float:
    """When each job that was accepted had a run, and nothing was on its way to have another."""
    jobs = {each.job_id for each in answers if each.what == "submit" and each.status == 200}
    asked = dg.RunsFilter(tags={ORIGIN_TAG: "api"}, statuses=[dg.DagsterRunStatus.QUEUED])

    def runs() -> bool:
        count = instance.get_runs_count(asked)
        _say(f"{count} of {len(jobs)} have a run")
        return count >= len(jobs)

    wait_until(runs, "runs", every_s=5)
    ended = time.monotonic()
    time.sleep(25)  # a second run, if there were one, would be made by now
    return ended


def _some_ended(instance: dg.DagsterInstance) -> Counter[str]:
    """How the first runs ended: the queue gives them out in order."""
    ended = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    asked = dg.RunsFilter(tags={ORIGIN_TAG: "api"}, statuses=ended)
    wait_until(lambda: instance.get_runs_count(asked) >= SAMPLE, "runs to end", every_s=2)
    return Counter(run.status.value for run in instance.get_runs(asked))


def _figures(loaded: Loaded) -> dict[str, tuple[str, str]]:
    """What was measured, and what has to hold, by what it is."""
    submitted = [each for each in loaded.answers if each.what == "submit"]
    asked = [each for each in loaded.answers if each.what == "status"]
    accepted = [each for each in submitted if each.status == 200]
    told = [each for each in submitted if each.status in (429, 503) and each.retry_after]
    jobs = {each.job_id for each in accepted}
    of_work = defaultdict(set)
    for each in accepted:
        of_work[each.work].add(each.job_id)
    confused = len(of_work) - len(jobs) + sum(len(ids) != 1 for ids in of_work.values())
    unanswered = any(
        each.status == 0 for each in submitted
    )  # then it is not known what was accepted
    lost, stray = (
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
        "submissions: answers by status": (_counted(submitted), ""),
        "neither accepted nor told so, with when to come again": (
            str(len(submitted) - len(accepted) - len(told)),
            "0",
        ),
        "status: answers": (_counted(asked), ""),
        "milliseconds to the answer of a submission, p50, p99, most": (_latencies(submitted), ""),
        "milliseconds to a status, p50, p99, most": (f"**{_latencies(asked)}**", "p99 under 250"),
        "different jobs accepted": (f"{len(jobs):,}", ""),
        "jobs lost / doubled / of nobody / confused": (
            f"**{lost} / {doubled} / {stray} / {confused}**",
            "0",
        ),
        "runs that the killed webserver made, never queued, and that were ended": (
            str(loaded.left),
            "",
        ),
        "seconds after the load until each had its run": (f"{loaded.launched_s:.0f}", ""),
        "runs let go, succeeded / failed": (f"{loaded.succeeded} / {loaded.failed}", "none fails"),
        "CPU seconds of the face, of the client": (
            f"{loaded.face_cpu_s:.1f}, {loaded.client_cpu_s:.1f}",
            "",
        ),
    }


def _latencies(answered: Sequence[Answered]) -> str:
    took = sorted(each.took_s * 1000 for each in answered)
    return f"{statistics.median(took):.0f}, {took[int(len(took) * 0.99)]:.0f}, {took[-1]:.0f}"


def _counted(answered: Sequence[Answered]) -> str:
    counts = Counter(f"{each.status or 'none'} {each.fault or each.said}" for each in answered)
    return ", ".join(f"{what}: {count:,}" for what, count in counts.most_common())


def _cpu_s(pid: int) -> float:
    """Of a process so far, by proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until(holds: Any, what: str, *, every_s: float = 0.2) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(every_s)


def small_raster(number: int) -> bytes:
    """A few kB, each another."""
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


def _say(said: str) -> None:
    print(said, file=sys.stderr, flush=True)
