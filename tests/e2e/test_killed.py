"""SIGKILL at any point, on each profile: nothing partial is listed, and the next run of the same
input completes.

The killed commands have processes of their own; the others run in the test's.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import geopandas as gpd
import psycopg
import pytest
import rasterio

from geo_platform.settings import Profile
from tests.support import outputs
from tests.support.command import ROOT, SAMPLES, environment
from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here
from tests.support.production import PRODUCTION_IS_SLOW, ProfileUnderTest

pytestmark = DAGSTER_S_WARNINGS

STAGES = {
    "raster": ["raw_raster", "raster_profile", "raster_cog", "raster_item"],
    "vector": ["raw_vector", "vector_profile", "vector_features", "vector_item"],
}
COUNTRIES = 177
SOURCES = {
    "raster": SAMPLES / "sierra_nevada_srtm.tif",
    "vector": SAMPLES / "natural_earth_countries.shp.zip",
}


def _kill_after(
    source: Path, home: Path, stage: str, pause_s: float, extra: Mapping[str, str]
) -> int:
    """Start the command, wait until `stage` starts, wait a little more, and kill; return the exit
    code.
    """
    command = [
        str(Path(sys.executable).with_name("geo-platform")),
        "ingest",
        "--json",
        str(source),
        "--force",
    ]
    log = home / "logs" / "platform.jsonl"
    seen_bytes = log.stat().st_size if log.exists() else 0
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(home, extra),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while (
        process.poll() is None
        and time.monotonic() < deadline
        and not _started(log, seen_bytes, stage)
    ):
        time.sleep(0.005)
    time.sleep(pause_s)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    return process.wait()


def _started(log: Path, skip_bytes: int, stage: str) -> bool:
    if not log.exists():
        return False
    with log.open("rb") as lines:
        lines.seek(skip_bytes)
        return any(b'"STAGE_START"' in line and f'"{stage}"'.encode() in line for line in lines)


def _every_listed_item_is_whole(home: Path, profile: ProfileUnderTest) -> None:
    listed = geo_platform_here("list", "--json", home=home, extra=profile.environment)
    assert listed.exit_code == 0, listed.stderr
    for entry in json.loads(listed.stdout):
        if outputs.table_of(entry):
            assert len(outputs.frame(profile, home, entry)) == COUNTRIES
        for href in (href for href in entry["outputs"] if not href.startswith("postgresql:")):
            with outputs.published(profile, home, href) as path:
                assert path.stat().st_size > 0
                if href.endswith(".tif"):
                    with rasterio.open(path) as cog:
                        cog.read()
                elif href.endswith(".parquet"):
                    assert len(gpd.read_parquet(path)) == COUNTRIES


def _statuses(home: Path, profile: ProfileUnderTest) -> set[str]:
    query = "select status from runs"
    if profile.profile is Profile.production:
        with psycopg.connect(
            profile.environment["GEO_PLATFORM_DAGSTER_POSTGRES_URL"]
        ) as connection:
            return {status for (status,) in connection.execute(query)}
    with closing(sqlite3.connect(home / "dagster" / "history" / "runs.db")) as database:
        return {status for (status,) in database.execute(query)}


@PRODUCTION_IS_SLOW
@pytest.mark.parametrize("kind", ["raster", "vector"])
def test_a_run_killed_in_any_stage_is_completed_by_the_next(
    kind: str, tmp_path: Path, profile: ProfileUnderTest
) -> None:
    home, extra = tmp_path / "home", profile.environment
    source = tmp_path / SOURCES[kind].name
    shutil.copyfile(SOURCES[kind], source)
    killed = 0
    for stage in STAGES[kind]:
        killed += _kill_after(source, home, stage, 0.06, extra) == -signal.SIGKILL
        _every_listed_item_is_whole(home, profile)
    assert killed >= len(STAGES[kind]) - 1, "the kills came too late to test anything"
    completed = geo_platform_here("ingest", "--json", source, home=home, extra=extra)
    assert completed.exit_code == 0, completed.stderr
    assert completed.lines[0]["outcome"] in ("published", "unchanged")
    _every_listed_item_is_whole(home, profile)
    assert len(json.loads(geo_platform_here("list", "--json", home=home, extra=extra).stdout)) == 1
    # A new forced run removes what the killed runs left.
    forced = geo_platform_here("ingest", "--json", source, "--force", home=home, extra=extra)
    assert forced.lines[0]["outcome"] == "published", forced.lines
    assert not list((home / "scratch").iterdir())
    assert _statuses(home, profile) <= {"SUCCESS", "FAILURE"}, "a killed run seems to go on"
