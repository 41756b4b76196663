"""Compare shared runs with one run per file, in a whole deployment, for files that arrive at once.

Part "arriving_files" of `make bench`. It uses the servers and `geo-platform dev` of `arrivals.py`:
events, sensors, queue, daemon, and a code location that forks the runs. A watch with `files_per_run
= 1` requests one run per file. `files.py` measures the runs alone.
"""

import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from benchmarks.arrivals import QUEUE, deployment
from benchmarks.files import small_file
from geo_platform.settings import Settings
from geo_platform.storage.stores import open_catalog
from tests.support.queues import announce

FILES = int(os.environ.get("BENCH_ARRIVING_FILES", "800"))
RUNS_OF_ONE = int(os.environ.get("BENCH_ARRIVING_RUNS_OF_ONE", "60"))
_PATIENCE_S = 1800


def arriving_files() -> list[str]:
    of_one_s, of_all_s = _seconds(RUNS_OF_ONE, files_per_run=1), _seconds(FILES, files_per_run=200)
    of_one, of_all = RUNS_OF_ONE / of_one_s, FILES / of_all_s
    return [
        f"## Small files that arrive at once: {FILES:,} in shared runs, "
        f"{RUNS_OF_ONE} in a run each",
        "",
        "| production profile, by events | files a second |",
        "|---|---|",
        f"| a run each | {of_one:.2f} |",
        f"| shared | {of_all:.2f} |",
        "",
        f"Ratio **{of_all / of_one:.1f}** (target: at least 10). Measured from the first event "
        "to the last item, with queue, sensors, daemon and code location. Every file was "
        "published once.",
        "",
    ]


def _seconds(files: int, *, files_per_run: int) -> float:
    """Return the seconds from the first event to the last item.

    Raises RuntimeError: if a file was not published exactly once.
    """
    with _watching(files_per_run), deployment() as (services, instance), ExitStack() as clients:
        blobs = clients.enter_context(
            BlobServiceClient.from_connection_string(services.connection_string)
        )
        queues = clients.enter_context(
            QueueServiceClient.from_connection_string(services.connection_string)
        )
        queue = queues.get_queue_client(QUEUE)
        uploads = [
            blobs.get_blob_client("bronze", f"arriving/parcels_{number:05d}.geojson")
            for number in range(files)
        ]
        for number, blob in enumerate(uploads):
            blob.upload_blob(small_file(random.Random(number)))  # noqa: S311  # not a secret
        catalog = open_catalog(Settings())
        started = time.perf_counter()
        for blob in uploads:
            announce(queue, blob)
        while time.perf_counter() - started < _PATIENCE_S and not _all_ended(instance, files):
            time.sleep(0.5)
        seconds = time.perf_counter() - started
        published, replaced = len(list(catalog.entries())), len(list(catalog.versions()))
        if (published, replaced) != (files, 0):
            raise RuntimeError(f"{files} files: {published} items, {replaced} of them replaced")
        return seconds


def _all_ended(instance: dg.DagsterInstance, files: int) -> bool:
    """Return whether all items exist, by Dagster's own count: it costs the database little."""
    made = len(instance.get_materialized_partitions(dg.AssetKey("vector_item")))
    return made >= files and not instance.get_runs_count(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.QUEUED])
    )


@contextmanager
def _watching(files_per_run: int) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "watches.toml"
        file.write_text(
            f'[[watch]]\nname = "bronze"\nfiles_per_run = {files_per_run}\n', encoding="utf-8"
        )
        os.environ["GEO_PLATFORM_WATCHES"] = str(file)
        try:
            yield
        finally:
            del os.environ["GEO_PLATFORM_WATCHES"]
