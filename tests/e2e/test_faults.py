"""Faults of the production stores, made for real.

Each gives the right code, is retried where that helps, and publishes nothing partial; the next run
completes.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import psycopg
import pytest
import rasterio
import shapely

from geo_platform.ports import SILVER
from geo_platform.settings import Settings
from geo_platform.storage.stores import open_objects
from tests.support import outputs
from tests.support.command import ROOT, SAMPLES, environment, geo_platform
from tests.support.production import ProfileUnderTest
from tests.support.servers import OwnAzurite, OwnPostgres
from tests.support.skipping import cannot_run

pytestmark = pytest.mark.slow

ROWS = 60_000
COUNTRIES = SAMPLES / "natural_earth_countries.shp.zip"
HEIGHTS = SAMPLES / "sierra_nevada_srtm.tif"


@pytest.fixture(scope="module")
def many_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with enough rows that its load can be interrupted."""
    path = tmp_path_factory.mktemp("many") / "many.gpkg"
    lon, lat = np.random.default_rng(5).uniform([-170, -80], [170, 80], (ROWS, 2)).T
    shapes = shapely.buffer(shapely.points(lon, lat), 0.01, quad_segs=16)
    gpd.GeoDataFrame({"number": np.arange(ROWS)}, geometry=shapes, crs="EPSG:4326").to_file(path)
    return path


@pytest.fixture(scope="module")
def many_pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a raster of noise: its COG is as large, so that the upload takes several blocks."""
    path = tmp_path_factory.mktemp("many") / "noise.tif"
    pixels = np.random.default_rng(6).integers(1, 255, (3, 2000, 2000)).astype("uint8")
    profile = {
        "driver": "GTiff",
        "width": 2000,
        "height": 2000,
        "count": 3,
        "dtype": "uint8",
        "crs": "EPSG:32618",
    }
    with rasterio.open(
        path, "w", transform=rasterio.Affine(1, 0, 500000, 0, -1, 4500000), **profile
    ) as dataset:
        dataset.write(pixels)
    return path


class _Command:
    """A running `geo-platform ingest`."""

    def __init__(self, source: Path, home: Path, extra: Mapping[str, str], *options: str) -> None:
        command = [
            str(Path(sys.executable).with_name("geo-platform")),
            "ingest",
            "--json",
            str(source),
            *options,
        ]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(home, extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Wait until the condition holds, which must be before the command ends."""
        deadline = time.monotonic() + 90
        while not is_so():
            assert self._process.poll() is None, (
                f"the command ended before the fault: {self._process.communicate()}"
            )
            assert time.monotonic() < deadline, "the condition never held"
            time.sleep(0.01)

    def answer(self) -> dict[str, Any]:
        stdout, stderr = self._process.communicate(timeout=240)
        assert "Traceback" not in stderr
        (line,) = stdout.splitlines()
        answer: dict[str, Any] = json.loads(line)
        return answer


def _is_loading(server: OwnPostgres) -> bool:
    """Return whether a connection of a run copies rows now."""
    with psycopg.connect(server.logins.admin.url.get_secret_value()) as connection:
        query = (
            "select count(*) from pg_stat_activity "
            "where application_name like 'geo_platform %' and query ilike 'copy%'"
        )
        return bool(connection.execute(query).fetchone()[0])  # type: ignore[index]


def _cut_connections(server: OwnPostgres) -> int:
    with psycopg.connect(server.logins.admin.url.get_secret_value()) as connection:
        query = (
            "select count(pg_terminate_backend(pid)) from pg_stat_activity "
            "where application_name like 'geo_platform %'"
        )
        return int(connection.execute(query).fetchone()[0])  # type: ignore[index]


def _staged(server: OwnPostgres) -> list[str]:
    with psycopg.connect(server.logins.admin.url.get_secret_value()) as connection:
        query = (
            "select relname from pg_class "
            "where relnamespace = 'geo_staging'::regnamespace and relkind = 'r'"
        )
        return [name for (name,) in connection.execute(query)]


def _with_postgres(profile: ProfileUnderTest, server: OwnPostgres) -> dict[str, str]:
    """Put features and catalog on the server that will fail, and Dagster's storage elsewhere."""
    return {
        **profile.environment,
        "GEO_PLATFORM_POSTGRES_URL": server.logins.loader.url.get_secret_value(),
    }


def _attempts(home: Path, stage: str) -> int:
    lines = (home / "logs" / "platform.jsonl").read_text().splitlines()
    return sum(f'"{stage}"' in line and '"STAGE_START"' in line for line in lines)


@pytest.mark.parametrize("fault", ["stopped", "crashed", "connections cut"])
def test_a_database_that_fails_during_a_load_and_recovers(
    fault: str,
    many_rows: Path,
    production: ProfileUnderTest,
    own_postgres: OwnPostgres,
    tmp_path: Path,
) -> None:
    home, extra = tmp_path / "home", _with_postgres(production, own_postgres)
    command = _Command(many_rows, home, extra)
    command.wait_until(lambda: _is_loading(own_postgres))
    if fault == "connections cut":
        assert _cut_connections(own_postgres) > 0
    else:
        own_postgres.stop() if fault == "stopped" else own_postgres.crash()
        time.sleep(1)
        own_postgres.start()
    answer = command.answer()
    assert (answer["outcome"], answer["error"]) == ("published", None)
    assert _attempts(home, "vector_features") > 1, "the fault came too late to test anything"
    frame = outputs.read_table(own_postgres.logins.reader, "geo.many")
    assert sorted(frame["number"]) == list(range(ROWS))
    assert _staged(own_postgres) == []


def test_a_database_that_stays_down_is_reported_and_the_next_run_completes(
    many_rows: Path, production: ProfileUnderTest, own_postgres: OwnPostgres, tmp_path: Path
) -> None:
    home, extra = tmp_path / "home", _with_postgres(production, own_postgres)
    command = _Command(many_rows, home, extra)
    command.wait_until(lambda: _is_loading(own_postgres))
    own_postgres.crash()
    answer = command.answer()
    assert (answer["outcome"], answer["error"]["code"], answer["error"]["retryable"]) == (
        "failed",
        "DATABASE_UNAVAILABLE",
        True,
    )
    own_postgres.start()
    assert geo_platform("list", "--json", home=home, extra=extra).stdout.strip() == "[]"
    again = geo_platform("ingest", "--json", many_rows, home=home, extra=extra)
    assert again.lines[0]["outcome"] == "published"
    assert len(outputs.read_table(own_postgres.logins.reader, "geo.many")) == ROWS


def test_a_store_that_fails_during_an_upload_and_recovers(
    many_pixels: Path, production: ProfileUnderTest, own_azurite: OwnAzurite, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    extra = {
        **production.environment,
        "GEO_PLATFORM_BLOB_CONNECTION_STRING": own_azurite.connection_string,
    }
    command = _Command(many_pixels, home, extra)
    command.wait_until(lambda: _has_logged(home, "publishing"))
    own_azurite.stop()
    time.sleep(1)
    objects = open_objects(
        Settings.model_validate(
            {name.removeprefix("GEO_PLATFORM_").lower(): value for name, value in extra.items()}
        )
    )
    own_azurite.start()
    cogs = [stored for stored in objects.list(SILVER) if stored.reference.key.endswith(".tif")]
    answer = command.answer()
    assert (answer["outcome"], answer["error"]) == ("published", None)
    assert cogs == [], (
        "the upload was over before the store failed"
    )  # and what was sent of it is not seen
    (cog,) = [stored for stored in objects.list(SILVER) if stored.reference.key.endswith(".tif")]
    with (
        objects.local_path(SILVER, cog.reference.key) as path,
        rasterio.open(path) as written,
        rasterio.open(many_pixels) as source,
    ):
        assert np.array_equal(written.read(), source.read())


def _has_logged(home: Path, progress: str) -> bool:
    log = home / "logs" / "platform.jsonl"
    return log.exists() and any(f'"{progress}"' in line for line in log.read_text().splitlines())


@contextmanager
def _small_disk(folder: Path, size_mb: int) -> Iterator[Path]:
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        cannot_run(f"this machine cannot mount a small disk: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_scratch_disk(many_pixels: Path, profile: ProfileUnderTest, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with _small_disk(tmp_path / "scratch", size_mb=6) as scratch:
        extra = {**profile.environment, "GEO_PLATFORM_SCRATCH": str(scratch)}
        full = geo_platform("ingest", "--json", many_pixels, home=home, extra=extra)
        assert (full.exit_code, full.lines[0]["error"]["code"]) == (3, "STORE_UNAVAILABLE"), (
            full.lines
        )
        assert "Traceback" not in full.stderr
        assert list(scratch.iterdir()) == []
    assert [
        stored
        for stored in profile.objects(home).list(SILVER)
        if stored.reference.key.endswith(".tif")
    ] == []
    assert (
        geo_platform("list", "--json", home=home, extra=profile.environment).stdout.strip() == "[]"
    )
    assert (
        geo_platform("ingest", "--json", many_pixels, home=home, extra=profile.environment).lines[
            0
        ]["outcome"]
        == "published"
    )


def test_two_sources_that_load_one_table_at_once(
    production: ProfileUnderTest, tmp_path: Path
) -> None:
    sources = [tmp_path / "one.geojson", tmp_path / "other.geojson"]
    for number, source in enumerate(sources):
        gpd.GeoDataFrame(
            {"number": [number]}, geometry=[shapely.Point(number, 50)], crs="EPSG:4326"
        ).to_file(source)
    home = tmp_path / "home"
    commands = [
        _Command(source, home, production.environment, "--table-name", "shared")
        for source in sources
    ]
    answers = [command.answer() for command in commands]
    assert sorted(answer["outcome"] for answer in answers) == ["published", "refused"], answers
    lost = next(number for number, answer in enumerate(answers) if answer["outcome"] == "refused")
    assert answers[lost]["error"]["code"] in ("TABLE_EXISTS", "CONFLICT")
    assert production.logins is not None
    assert list(outputs.read_table(production.logins.reader, "geo.shared")["number"]) == [1 - lost]
    assert (
        len(
            json.loads(
                geo_platform("list", "--json", home=home, extra=production.environment).stdout
            )
        )
        == 1
    )


def _wrong_password(extra: Mapping[str, str]) -> dict[str, str]:
    head, _, host = extra["GEO_PLATFORM_POSTGRES_URL"].rpartition("@")
    return {"GEO_PLATFORM_POSTGRES_URL": f"{head.rpartition(':')[0]}:wr0ng-secret@{host}"}


def _wrong_key(extra: Mapping[str, str]) -> dict[str, str]:
    parts = dict(
        part.partition("=")[::2]
        for part in extra["GEO_PLATFORM_BLOB_CONNECTION_STRING"].rstrip(";").split(";")
    )
    parts["AccountKey"] = "d3IwbmctMHNlY3JldA=="
    return {
        "GEO_PLATFORM_BLOB_CONNECTION_STRING": ";".join(
            f"{name}={value}" for name, value in parts.items()
        )
    }


@pytest.mark.parametrize(
    ("change", "secret"),
    [(_wrong_password, "wr0ng-secret"), (_wrong_key, "d3IwbmctMHNlY3JldA==")],
    ids=["database password", "storage key"],
)
def test_a_wrong_secret_is_denied_and_never_printed(
    change: Callable[[Mapping[str, str]], dict[str, str]],
    secret: str,
    production: ProfileUnderTest,
    tmp_path: Path,
) -> None:
    home, extra = tmp_path / "home", {**production.environment, **change(production.environment)}
    denied = geo_platform("ingest", "--json", COUNTRIES, home=home, extra=extra)
    assert (
        denied.exit_code,
        denied.lines[0]["error"]["code"],
        denied.lines[0]["error"]["retryable"],
    ) == (3, "STORE_DENIED", False)
    assert secret not in denied.stdout + denied.stderr
    assert "Traceback" not in denied.stderr
    assert (
        geo_platform("ingest", "--json", COUNTRIES, home=home, extra=production.environment).lines[
            0
        ]["outcome"]
        == "published"
    )


def test_a_login_that_may_only_read(production: ProfileUnderTest, tmp_path: Path) -> None:
    assert production.logins is not None
    home = tmp_path / "home"
    extra = {
        **production.environment,
        "GEO_PLATFORM_POSTGRES_URL": production.logins.reader.url.get_secret_value(),
    }
    for source in (COUNTRIES, HEIGHTS):
        denied = geo_platform("ingest", "--json", source, home=home, extra=extra)
        assert (denied.exit_code, denied.lines[0]["error"]["code"]) == (3, "STORE_DENIED"), (
            denied.lines
        )
        assert denied.lines[0]["error"]["remedy"]
    listed = geo_platform("list", "--json", home=home, extra=extra)
    assert (listed.exit_code, listed.stdout.strip()) == (0, "[]"), "it may read"
    published = geo_platform(
        "ingest", "--json", COUNTRIES, HEIGHTS, home=home, extra=production.environment
    )
    assert [line["outcome"] for line in published.lines] == ["published", "published"]
