"""Measure the seconds from the end of an upload to the first correct tile or feature.

Part "first_answer" of `make bench`, with `geo-platform serve`, webserver, daemon and code location
on the profiles of `BENCH_FIRST_ANSWER_PROFILES`. The file is stored, a job is submitted at once,
and the address of the answer is asked for until it answers. The pixels of the tile and the rows are
those of the file. The first job of each kind is not counted: with it the code location loads what
later runs are forked off.
"""

import io
import json
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

import httpx
import numpy as np
import rasterio
from rasterio.transform import from_origin

from benchmarks.data import ROOT
from benchmarks.measure import spread
from benchmarks.submissions import http_api, servers
from geo_platform.api.auth.keys import KeyFile
from geo_platform.api.auth.principal import Scope
from geo_platform.cli.application import INSTANCE_TEMPLATES
from geo_platform.ports import BRONZE, ObjectStore
from geo_platform.settings import Profile, Settings
from geo_platform.storage.stores import open_objects
from tests.support.own_dagster import CODE, DAEMON, WEBSERVER, own_dagster

JOBS = int(os.environ.get("BENCH_FIRST_ANSWER_JOBS", "8"))
PROFILES = os.environ.get("BENCH_FIRST_ANSWER_PROFILES", "embedded,production").split(",")
ROWS, SIDE_PX, TILE_PX = 1_000, 720, 512
_PATIENCE_S = 60
_EVERY_S = 0.1


@dataclass(frozen=True)
class Case:
    """A file, the job that ingests it, the address of its first answer, and what must be there."""

    key: str
    content: bytes
    job: str
    address: str
    is_right: Callable[[bytes], bool]


def first_answer() -> list[str]:
    lines = [
        f"## From the end of an upload to the first correct answer: {JOBS} of each kind, one by "
        "one, idle machine",
        "",
        "| profile | answer | seconds, median (min to max) | target |",
        "|---|---|---|---|",
    ]
    for profile in PROFILES:
        with servers(Profile(profile)) as (environment, folder):
            for what, seconds in _measured(Profile(profile), environment, folder).items():
                lines.append(f"| {profile} | {what} | **{spread(seconds)}** | median at most 6 |")
    return [
        *lines,
        "",
        f"A raster of {SIDE_PX} x {SIDE_PX} pixels and a tile of its values; a GeoJSON file of "
        f"{ROWS:,} points and a page of them. Asked for every {_EVERY_S * 1000:.0f} ms.",
        "",
    ]


def _measured(
    profile: Profile, environment: Mapping[str, str], folder: Path
) -> dict[str, list[float]]:
    os.environ.update(environment)
    settings = Settings()
    key = KeyFile(settings.api_keys_file).create("bench", Scope.submitter)
    objects = open_objects(settings)
    template = Template((ROOT / INSTANCE_TEMPLATES[profile]).read_text("utf-8"))
    with own_dagster(
        settings.dagster_home_dir, template.substitute(LOG_FILE=settings.log_file), environment
    ) as own:
        own.start(CODE, WEBSERVER, DAEMON)
        with (
            http_api(folder, own, environment) as (_, address),
            httpx.Client(
                base_url=f"http://{address}", headers={"X-Api-Key": key}, trust_env=False
            ) as client,
        ):
            time.sleep(15)
            return {
                what: [_wait(client, objects, make(number)) for number in range(JOBS + 1)][1:]
                for what, make in (("tile", _raster), ("features", _points))
            }


def _wait(client: httpx.Client, objects: ObjectStore, case: Case) -> float:
    """Return the seconds from the end of the upload to the answer.

    Raises RuntimeError: the answer is not the file's.
    """
    # A random point of the daemon's loop.
    time.sleep(3 + 2 * random.random())  # noqa: S311
    objects.put_bytes(BRONZE, case.key, case.content, metadata={})
    uploaded = time.perf_counter()
    body = {"blob_name": case.key, "container_name": BRONZE}
    client.post(f"/api/jobs/submit/{case.job}", json=body).raise_for_status()
    while True:
        answer = client.get(case.address)
        seconds = time.perf_counter() - uploaded
        if answer.status_code == 200:
            break
        if answer.status_code != 404 or seconds > _PATIENCE_S:
            raise RuntimeError(f"{case.address}: {answer.status_code} {answer.text[:300]}")
        time.sleep(_EVERY_S)
    if not case.is_right(answer.content):
        raise RuntimeError(f"{case.address} is not what was uploaded")
    return seconds


def _raster(number: int) -> Case:
    random_ = np.random.default_rng(number)
    pixels = random_.integers(1, 60_000, (SIDE_PX, SIDE_PX)).astype(np.uint16)
    with rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=SIDE_PX,
            height=SIDE_PX,
            count=1,
            dtype="uint16",
            crs="EPSG:32618",
            transform=from_origin(500_000, 4_500_000, 10, 10),
        ) as target:
            target.write(pixels, 1)
        content = bytes(memory.read())

    def is_right(answer: bytes) -> bool:
        values, valid = np.load(io.BytesIO(answer))
        return bool(valid.all() and np.array_equal(values, pixels[:TILE_PX, :TILE_PX]))

    name = f"tile{number:03}"
    address = f"/raster/collections/rasters/items/{name}/tiles/native/1/0/0.npy"
    return Case(f"{name}.tif", content, "process_raster", address, is_right)


def _points(number: int) -> Case:
    values = np.random.default_rng(number).integers(0, 10**6, ROWS).tolist()
    features = [
        {
            "type": "Feature",
            "properties": {"value": value},
            "geometry": {"type": "Point", "coordinates": [index % 100 / 10, index // 100 / 10]},
        }
        for index, value in enumerate(values)
    ]
    document = {"type": "FeatureCollection", "features": features}

    def is_right(answer: bytes) -> bool:
        found = json.loads(answer)["features"]
        return sorted(each["properties"]["value"] for each in found) == sorted(values)

    name = f"rows{number:03}"
    address = f"/features/collections/vectors:{name}/items?limit={ROWS}"
    content = json.dumps(document).encode()
    return Case(f"{name}.geojson", content, "ingest_vector", address, is_right)
