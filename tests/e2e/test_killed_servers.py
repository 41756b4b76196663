"""SIGKILL of the daemon, the webserver, a run's worker and PostgreSQL during a run.

No run keeps a wrong status. Where another attempt is needed, it completes with the result of an
undisturbed run.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any

import dagster as dg
import psutil
import psycopg
import pytest
from geopandas.testing import assert_geodataframe_equal
from psycopg import sql

from geo_platform.cli.application import INSTANCE_TEMPLATES
from geo_platform.ports import BRONZE
from geo_platform.settings import Profile
from tests.support.command import ROOT, SAMPLES, environment
from tests.support.faults import Faults
from tests.support.in_process import DAGSTER_S_WARNINGS, Give, commands
from tests.support.own_dagster import CODE, DAEMON, WEBSERVER, OwnDagster, own_dagster
from tests.support.production import ProfileUnderTest
from tests.support.published import published_bytes, published_rows
from tests.support.servers import LOADER, Blobs, OwnPostgres
from tests.support.ui import ADD_PARTITION, LAUNCH, STATUS, graphql

pytestmark = [
    pytest.mark.slow,
    *DAGSTER_S_WARNINGS,
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
]

RASTER, VECTOR = SAMPLES / "sierra_nevada_srtm.tif", SAMPLES / "natural_earth_countries.shp.zip"


def _wait_until(holds: Callable[[], bool], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


class _Launched:
    """Rasters on a deployment of the test's own: one object, launched by GraphQL under several
    names.
    """

    def __init__(
        self, own: OwnDagster, instance: dg.DagsterInstance, profile: ProfileUnderTest, home: Path
    ) -> None:
        self._own, self._instance, self._profile, self.home = own, instance, profile, home
        self.expected: dict[str, bytes] = {}

    def launch(self, name: str, *, wait_for: str) -> str:
        """Launch a run; return its id once an event's text begins with `wait_for`."""
        key = f"{name}.tif"
        self._profile.objects(self.home).put_file(BRONZE, key, RASTER, metadata={})
        assert (
            graphql(self._own.address, ADD_PARTITION, key=key)["addDynamicPartition"]["__typename"]
            != "PythonError"
        )
        selector = {
            "repositoryName": "__repository__",
            "repositoryLocationName": "geo_platform",
            "jobName": "process_raster",
        }
        tags = {"tags": [{"key": "dagster/partition", "value": key}]}
        params = {
            "selector": selector,
            "runConfigData": {},
            "mode": "default",
            "executionMetadata": tags,
        }
        answer = graphql(self._own.address, LAUNCH, params=params)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        run_id = str(answer["run"]["runId"])
        if wait_for:
            _wait_until(
                lambda: any(
                    entry.user_message.startswith(wait_for)
                    for entry in self._instance.all_logs(run_id)
                )
            )
        return run_id

    def status(self, run_id: str) -> str:
        run = self._instance.get_run_by_id(run_id)
        assert run is not None
        return run.status.value

    def ended(self, run_id: str) -> str:
        _wait_until(lambda: self.status(run_id) in ("SUCCESS", "FAILURE", "CANCELED"))
        return self.status(run_id)

    def worker_of(self, run_id: str) -> psutil.Process:
        """Return the process that executes the run, by the run's own tag."""
        messages = [
            entry.user_message
            for entry in self._instance.all_logs(run_id)
            if "Executing steps in process" in entry.user_message
        ]
        return psutil.Process(int(messages[0].partition("pid: ")[2].partition(")")[0]))

    def published(self, name: str) -> dict[str, bytes]:
        item = self._profile.catalog(self.home).item("rasters", name)
        assert item is not None
        return published_bytes(self._profile, self.home, item)


@pytest.fixture
def launched(
    profile: ProfileUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[OwnDagster, _Launched]]:
    home = tmp_path / "home"
    log = home / "logs" / "platform.jsonl"
    log.parent.mkdir(parents=True)
    settings = profile.settings(home)
    configuration = Template(
        (ROOT / INSTANCE_TEMPLATES[profile.profile]).read_text("utf-8")
    ).substitute(LOG_FILE=log)
    own_environment = {"GEO_PLATFORM_HOME": str(home), "HOME": str(home), **profile.environment}
    for name, value in {**own_environment, "DAGSTER_HOME": str(settings.dagster_home_dir)}.items():
        monkeypatch.setenv(name, value)
    # Open the instance first: it creates Dagster's tables, which three processes would otherwise do
    # at once.
    with (
        own_dagster(settings.dagster_home_dir, configuration, own_environment) as own,
        dg.DagsterInstance.get() as instance,
    ):
        own.start(CODE, WEBSERVER, DAEMON)
        work = _Launched(own, instance, profile, home)
        assert work.ended(work.launch("scene_00", wait_for="")) == "SUCCESS"
        work.expected = work.published("scene_00")
        yield own, work


def test_daemon_webserver_and_worker_are_killed_during_a_run(
    launched: tuple[OwnDagster, _Launched], profile: ProfileUnderTest, faults: Faults
) -> None:
    own, work = launched
    with _fault(faults, f"SIGKILL of the daemon under a run, {profile.profile} profile"):
        run_id = work.launch("scene_01", wait_for="STAGE_START raster_profile")
        own.kill(DAEMON)
        assert work.ended(run_id) == "SUCCESS", "a run does not need the daemon"
        assert work.published("scene_01") == work.expected
        waiting = work.launch("scene_02", wait_for="")
        time.sleep(3)
        assert work.status(waiting) == "QUEUED", "nothing starts without a daemon"
        own.start(DAEMON)
        assert work.ended(waiting) == "SUCCESS"
        assert work.published("scene_02") == work.expected
    with _fault(faults, f"SIGKILL of the webserver under a run, {profile.profile} profile"):
        run_id = work.launch("scene_03", wait_for="STAGE_START raster_profile")
        own.kill(WEBSERVER)
        assert work.ended(run_id) == "SUCCESS"
        assert work.published("scene_03") == work.expected
        own.start(WEBSERVER)
        assert graphql(own.address, STATUS, id=run_id)["runOrError"]["status"] == "SUCCESS"
    with _fault(faults, f"SIGKILL of a launched run's worker, {profile.profile} profile"):
        run_id = work.launch("scene_04", wait_for="STAGE_START raster_profile")
        work.worker_of(run_id).kill()
        assert work.ended(run_id) == "FAILURE", "the code location sees that its child is gone"
        again = work.launch("scene_04", wait_for="")
        assert work.ended(again) == "SUCCESS"
        assert work.published("scene_04") == work.expected
    with _fault(
        faults,
        "SIGKILL of a launched run's worker and of the code location that started it, "
        f"{profile.profile} profile",
    ):
        run_id = work.launch("scene_05", wait_for="STAGE_START raster_profile")
        worker = work.worker_of(run_id)
        worker.suspend()
        own.kill(CODE)
        worker.kill()
        assert work.status(run_id) == "STARTED", "the process that would report its end is gone too"
        own.start(CODE)
        assert work.ended(run_id) == "FAILURE", (
            "the sensor finds that its process on this host is gone, "
            "long before max_runtime_seconds"
        )
        again = work.launch("scene_05", wait_for="")
        assert work.ended(again) == "SUCCESS"
        assert work.published("scene_05") == work.expected
    with commands(profile, work.home) as give:
        assert give("doctor")["findings"] == []


@contextmanager
def _fault(faults: Faults, fault: str) -> Iterator[None]:
    faults.tried(fault)
    yield
    faults.survived(fault)


@pytest.fixture
def on_own_postgres(own_postgres: OwnPostgres, blobs: Blobs) -> ProfileUnderTest:
    """Put both databases of the production profile on a server that may be killed."""
    name = "dagster_own"
    admin = own_postgres.logins.admin.url.get_secret_value()
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(
                sql.Identifier(name), sql.Identifier(LOADER)
            )
        )
    loader = own_postgres.logins.loader.url.get_secret_value()
    given = {
        "GEO_PLATFORM_PROFILE": Profile.production.value,
        "GEO_PLATFORM_POSTGRES_URL": loader,
        "GEO_PLATFORM_DAGSTER_POSTGRES_URL": loader.replace(
            f"/{own_postgres.logins.name}", f"/{name}"
        ),
        "GEO_PLATFORM_BLOB_CONNECTION_STRING": blobs.connection_string,
        "GEO_PLATFORM_BLOB_CONTAINER_PREFIX": blobs.prefix,
    }
    return ProfileUnderTest(Profile.production, given, own_postgres.logins, blobs)


@pytest.mark.parametrize("checkpoint", ["STAGE_START", "FEATURES_LOADED", "SWAP_COMMITTED"])
def test_postgresql_is_killed_during_a_run(
    checkpoint: str,
    on_own_postgres: ProfileUnderTest,
    own_postgres: OwnPostgres,
    tmp_path: Path,
    faults: Faults,
) -> None:
    profile, home = on_own_postgres, tmp_path / "home"
    with (
        commands(profile, home) as give,
        _fault(faults, f"SIGKILL of PostgreSQL at {checkpoint} of a vector run"),
    ):
        expected = _ingested(give, tmp_path, "countries_00", profile, home)
        ended = _killed_under(
            checkpoint, tmp_path / "countries_01.shp.zip", own_postgres, profile, home
        )
        assert ended in (0, 3), "the command ends by itself and names the cause"
        own_postgres.start()
        found = _ingested(give, tmp_path, "countries_01", profile, home)
        assert found[0] == expected[0]
        assert_geodataframe_equal(found[1], expected[1])
        with psycopg.connect(
            profile.environment["GEO_PLATFORM_DAGSTER_POSTGRES_URL"]
        ) as connection:
            give(
                "status", found[2]
            )  # a command that opens Dagster marks the runs of dead processes
            assert {status for (status,) in connection.execute("SELECT status FROM runs")} <= {
                "SUCCESS",
                "FAILURE",
            }
        assert give("doctor")["findings"] == []


def _ingested(
    give: Give, folder: Path, name: str, profile: ProfileUnderTest, home: Path
) -> tuple[dict[str, bytes], Any, str]:
    source = folder / f"{name}.shp.zip"
    shutil.copyfile(VECTOR, source)
    answer = give("ingest", source)
    assert answer["outcome"] in ("published", "unchanged"), answer
    item = profile.catalog(home).item("vectors", name)
    assert item is not None
    return (
        published_bytes(profile, home, item),
        published_rows(profile, home, item),
        answer["run_id"],
    )


def _killed_under(
    checkpoint: str, source: Path, postgres: OwnPostgres, profile: ProfileUnderTest, home: Path
) -> int:
    """Kill the server at a checkpoint of the run; return the command's exit code."""
    shutil.copyfile(VECTOR, source)
    reached = source.with_suffix(".reached")
    command = [
        sys.executable,
        "-m",
        "tests.support.killed_at",
        "0",
        "before",
        str(reached),
        "ingest",
        "--json",
        str(source),
    ]
    log = source.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(home, profile.environment),
            stdout=output,
            stderr=output,
        )
    _wait_until(
        lambda: (
            process.poll() is not None
            or (reached.exists() and checkpoint in reached.read_text("utf-8"))
        )
    )
    assert process.poll() is None, log.read_text("utf-8")
    assert postgres.process is not None
    server = psutil.Process(postgres.process.pid)
    for one in (server, *server.children(recursive=True)):
        one.kill()
    postgres.process.wait(60)
    postgres.process = None
    return process.wait(240)
