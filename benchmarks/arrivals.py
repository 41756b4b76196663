"""Measure the seconds from the upload of a raster to its run request and to its published item.

Part "arrivals" of `make bench`. It starts PostgreSQL, Azurite and `geo-platform dev` (webserver,
daemon, code location). Azurite has no Event Grid, so the benchmark enqueues the event itself, right
after the upload.
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
    """The seconds from the end of one upload to each later moment."""

    requested_s: float
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
                # An idle machine, at a random point of the daemon's loop.
                time.sleep(5 + 5 * random.random())  # noqa: S311
                measured.append(_upload(blobs, queue, instance, f"scene_{number:03}.tif", content))
    return _report(measured[1:], len(rasters[0]))


@contextmanager
def deployment() -> Iterator[tuple[Services, dg.DagsterInstance]]:
    """Run the servers and `geo-platform dev` with its sensors."""
    # PostgreSQL's user can reach this folder.
    folder = Path("/var/tmp") / f"geo-platform-bench-{secrets.token_hex(4)}"  # noqa: S108
    services = start(folder, say=lambda line: print(line, file=sys.stderr))
    home = WORK / "arrivals-home"
    shutil.rmtree(home, ignore_errors=True)
    try:
        from deploy.local.contents import fill

        fill(services, say=lambda line: print(line, file=sys.stderr))
        QueueServiceClient.from_connection_string(services.connection_string).create_queue(QUEUE)
        environment = {
            **os.environ,
            **services.environment(),
            "GEO_PLATFORM_HOME": str(home),
            "GEO_PLATFORM_ARRIVALS_QUEUE": QUEUE,
        }
        os.environ.update(environment)
        # As in an installation, Python caches its compiled modules.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
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
    requested = record.create_timestamp.timestamp()
    return Arrived(
        requested - uploaded, starting - uploaded, first - uploaded, published - uploaded
    )


def _wait(condition):  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + _PATIENCE_S
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the awaited condition did not hold within {_PATIENCE_S} s")
        time.sleep(0.2)
    return value


def _raster(number: int) -> bytes:
    """Return a GeoTIFF of 1 MB; each number gives different pixels."""
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
    requested, published = (
        [one.requested_s for one in measured],
        [one.published_s for one in measured],
    )
    shares = [f"{what} {spread(values)}" for what, values in (
        ("start-up", [one.start_up_s for one in measured]),
        ("work", [one.work_s for one in measured]),
    )]  # fmt: skip
    return [
        f"## Arrivals by events: {len(measured)} rasters of {size / 1e6:.1f} MB, one by one",
        "",
        "| seconds from the end of the upload | median (min to max) | target |",
        "|---|---|---|",
        f"| to the run request | {spread(requested)} | at most 2 |",
        f"| to the published item | {spread(published)} | median at most 5 |",
        "",
        f"Parts of the latter: {'; '.join(shares)}. Waiting: until Dagster starts the run; "
        "start-up: until its first stage begins; work: the stages. PostgreSQL, Azurite and "
        "`geo-platform dev` run on this machine.",
        "",
    ]
