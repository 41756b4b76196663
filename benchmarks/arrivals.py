"""`make bench` part "arrivals": a raster is uploaded, its event is queued; how long until its run is asked for, and until its item is there.

Real servers of the benchmark's own (PostgreSQL, Azurite) and the real `geo-platform dev`: webserver, daemon, code location. In
place of Event Grid, which Azurite has not, the benchmark puts the event into the queue itself, right after the upload.
"""

import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import numpy as np
import rasterio
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient
from rasterio.transform import from_origin

from benchmarks.data import WORK
from benchmarks.measure import spread
from deploy.local.processes import free_port
from deploy.local.services import Services, start, stop
from geo_platform.runs import WATCH_TAG
from tests.support.queues import announce

QUEUE = "arrivals"
_UPLOADS = int(os.environ.get("BENCH_UPLOADS", "12"))
_PATIENCE_S = 120


@dataclass(frozen=True)
class Arrived:
    """One upload: seconds from its end to each moment after it."""

    asked_s: float
    started_s: float
    first_stage_s: float
    published_s: float

    @property
    def waiting_s(self) -> float:
        return self.started_s

    @property
    def start_up_s(self) -> float:
        return self.first_stage_s - self.started_s

    @property
    def work_s(self) -> float:
        return self.published_s - self.first_stage_s


def arrivals() -> list[str]:
    with deployment() as (services, instance):
        blobs = BlobServiceClient.from_connection_string(services.connection_string)
        queue = QueueServiceClient.from_connection_string(
            services.connection_string
        ).get_queue_client(QUEUE)
        rasters = [_raster(number) for number in range(_UPLOADS + 1)]
        measured = []
        with blobs, queue:
            for number, content in enumerate(rasters):
                time.sleep(5 + 5 * random.random())  # noqa: S311  # an idle machine, at any point of the daemon's round
                measured.append(_upload(blobs, queue, instance, f"scene_{number:03}.tif", content))
    return _report(measured[1:], len(rasters[0]))


@contextmanager
def deployment() -> Iterator[tuple[Services, dg.DagsterInstance]]:
    """Servers and `geo-platform dev`, whose sensors tick."""
    folder = Path("/var/tmp") / f"geo-platform-bench-{secrets.token_hex(4)}"  # noqa: S108  # where PostgreSQL's user can reach it
    services = start(folder, say=lambda said: print(said, file=sys.stderr))
    home = WORK / "arrivals-home"
    shutil.rmtree(home, ignore_errors=True)
    try:
        from deploy.local.contents import fill

        fill(services, say=lambda said: print(said, file=sys.stderr))
        QueueServiceClient.from_connection_string(services.connection_string).create_queue(QUEUE)
        environment = {
            **os.environ,
            **services.environment(),
            "GEO_PLATFORM_HOME": str(home),
            "GEO_PLATFORM_ARRIVALS_QUEUE": QUEUE,
        }
        os.environ.update(environment)
        environment.pop(
            "PYTHONDONTWRITEBYTECODE", None
        )  # an installation keeps its compiled modules
        with _dev(environment, home) as instance:
            yield services, instance
    finally:
        stop(folder, remove=True)


@contextmanager
def _dev(environment: dict[str, str], home: Path) -> Iterator[dg.DagsterInstance]:
    home.mkdir(parents=True)
    command = [
        str(Path(sys.executable).with_name("geo-platform")),
        "dev",
        "--port",
        str(free_port()),
    ]
    with (home / "dev.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        os.environ["DAGSTER_HOME"] = str(home / "dagster-production")
        _wait(lambda: (home / "dagster-production" / "dagster.yaml").exists())
        time.sleep(20)
        with dg.DagsterInstance.get() as instance:
            yield instance
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)


def _upload(
    blobs: BlobServiceClient, queue: object, instance: dg.DagsterInstance, key: str, content: bytes
) -> Arrived:
    blob = blobs.get_blob_client("bronze", key)
    blob.upload_blob(content)
    announce(queue, blob)
    uploaded = time.time()
    run_filter = dg.RunsFilter(tags={"dagster/partition": key, WATCH_TAG: "bronze"})
    record = _wait(
        lambda: next((r for r in instance.get_run_records(run_filter) if r.end_time), None)
    )
    if record.dagster_run.status is not dg.DagsterRunStatus.SUCCESS:
        raise RuntimeError(f"{key}: {record.dagster_run.status}")
    entries = instance.all_logs(record.dagster_run.run_id)
    starting = next(
        e.timestamp
        for e in entries
        if e.dagster_event and e.dagster_event.event_type_value == "PIPELINE_STARTING"
    )
    first = next(
        e.timestamp
        for e in entries
        if e.dagster_event and e.dagster_event.event_type_value == "STEP_START"
    )
    published = next(e.timestamp for e in entries if e.user_message.startswith("ITEM_PUBLISHED"))
    asked = record.create_timestamp.timestamp()
    return Arrived(asked - uploaded, starting - uploaded, first - uploaded, published - uploaded)


def _wait(found):  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + _PATIENCE_S
    while not (value := found()):
        if time.monotonic() > deadline:
            raise TimeoutError("nothing happened")
        time.sleep(0.2)
    return value


def _raster(number: int) -> bytes:
    """1 MB, each another."""
    random_ = np.random.default_rng(number)
    with rasterio.MemoryFile() as memory:
        profile = {
            "driver": "GTiff",
            "width": 720,
            "height": 720,
            "count": 1,
            "dtype": "uint16",
            "crs": "EPSG:32618",
        }
        with memory.open(**profile, transform=from_origin(500_000, 4_500_000, 10, 10)) as target:
            smooth = np.add.outer(np.arange(720), np.arange(720)) + random_.integers(
                0, 60, (720, 720)
            )
            target.write(smooth.astype(np.uint16), 1)
        return bytes(memory.read())


def _report(measured: Sequence[Arrived], size: int) -> list[str]:
    asked, published = [one.asked_s for one in measured], [one.published_s for one in measured]
    shares = [f"{what} {spread(values)}" for what, values in (
        ("waiting", [one.waiting_s for one in measured]),
        ("start-up", [one.start_up_s for one in measured]),
        ("work", [one.work_s for one in measured]),
    )]  # fmt: skip
    return [
        f"## Arrivals by events: {len(measured)} rasters of {size / 1e6:.1f} MB, one after the other",
        "",
        "| seconds from the end of the upload | median (min to max) | to hold |",
        "|---|---|---|",
        f"| to the run asked for | {spread(asked)} | at most 2 |",
        f"| to the item published | {spread(published)} | median at most 5 |",
        "",
        f"Of the latter: {'; '.join(shares)}. Waiting: until Dagster starts the run; start-up: until its first stage begins; work: "
        "the stages. PostgreSQL, Azurite and `geo-platform dev` on this machine.",
        "",
    ]
