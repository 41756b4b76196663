"""Dagster on a real PostgreSQL: production files, a shared database, database faults."""

import os
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import sqlalchemy.event
import sqlalchemy.pool
from kubernetes.config import incluster_config
from pydantic import SecretStr

from geo_platform.cli.application import INSTANCE_TEMPLATES
from geo_platform.errors import DatabaseUnavailable, PlatformError, StoreDenied
from geo_platform.orchestrator.dagster_database import dagster_database
from geo_platform.orchestrator.instance import open_instance
from geo_platform.orchestrator.launch import InProcessLauncher
from geo_platform.runs import RunRequest
from geo_platform.settings import Profile, Settings
from tests.support.command import ROOT, geo_platform
from tests.support.deployment import LAUNCHERS, production_with
from tests.support.production import ProfileUnderTest
from tests.support.servers import OwnPostgres

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    pytest.mark.usefixtures("_dagster_home_of_the_test"),
]
LOCAL = ROOT / INSTANCE_TEMPLATES[Profile.production]
URL = "GEO_PLATFORM_DAGSTER_POSTGRES_URL"
AZURE = {
    "AZURE_SUBSCRIPTION_ID": "subscription",
    "AZURE_RESOURCE_GROUP": "group",
    "AZURE_REGION": "westeurope",
    "AZURE_CONTAINERAPPS_ENVIRONMENT_ID": "environment",
    "AZURE_CONTAINERAPPS_IDENTITY_ID": "identity",
    "DAGSTER_LOGS_STORAGE_ACCOUNT": "geolocal",
}


@pytest.fixture
def _dagster_home_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo at the test's end what opening an instance sets for the process."""
    monkeypatch.setenv("DAGSTER_HOME", "unset")


@pytest.fixture
def settings(
    production: ProfileUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """The settings of a home in the production profile.

    They also apply to this process, because Dagster reads its database's URL from the environment.
    """
    monkeypatch.setenv(URL, production.environment[URL])
    return production.settings(tmp_path / "home")


@pytest.fixture
def inside_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files and variables by which a pod finds its cluster."""
    for constant, content in (
        ("SERVICE_TOKEN_FILENAME", "token"),
        ("SERVICE_CERT_FILENAME", "certificate"),
    ):
        path = tmp_path / content
        path.write_text(content)
        monkeypatch.setattr(incluster_config, constant, str(path))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")


def _definitions(*assets: dg.AssetsDefinition) -> dg.Definitions:
    return dg.Definitions(
        assets=assets, jobs=[dg.define_asset_job("job", executor_def=dg.in_process_executor)]
    )


@dg.asset
def nothing_much() -> int:
    return 1


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_the_production_file_opens_on_postgresql_with_either_launcher(
    launcher: str,
    production: ProfileUnderTest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    inside_a_cluster: None,
) -> None:
    (tmp_path / "dagster.yaml").write_text(production_with(launcher))
    for name, value in {
        **AZURE,
        URL: production.environment[URL],
        "DAGSTER_HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as instance:
        kinds = [
            type(part).__name__
            for part in (
                instance.run_storage,
                instance.event_log_storage,
                instance.schedule_storage,
                instance.run_coordinator,
                instance.run_launcher,
                instance.compute_log_manager,
            )
        ]
        reference = str(instance.get_ref())
        assert instance.get_runs() == []
    storages = ["PostgresRunStorage", "PostgresEventLogStorage", "PostgresScheduleStorage"]
    assert kinds == [*storages, "QueuedRunCoordinator", launcher, "AzureBlobComputeLogManager"]
    password = psycopg.conninfo.conninfo_to_dict(production.environment[URL])["password"]
    assert URL in reference
    assert str(password) not in reference, (
        "what a launcher hands to a run's container holds the password"
    )


def test_a_run_of_the_command_line_is_found_by_another_process(settings: Settings) -> None:
    with InProcessLauncher(_definitions(nothing_much), settings, LOCAL) as launcher:
        report = launcher.run(RunRequest("job", None))
    assert report.status == "success"
    with psycopg.connect(os.environ[URL]) as connection:
        assert connection.execute("SELECT run_id, status FROM runs").fetchall() == [
            (report.run_id, "SUCCESS")
        ]
    with InProcessLauncher(_definitions(nothing_much), settings, LOCAL) as launcher:
        found = launcher.status(report.run_id)
        assert found is not None
        assert found.stage_seconds.keys() == {"nothing_much"}
        assert launcher.status("none") is None


OPEN_AT_ONCE = """
import sys, time
from pathlib import Path
from geo_platform.settings import load_settings
from geo_platform.orchestrator.instance import open_instance
time.sleep(max(0.0, float(sys.argv[1]) - time.time()))
with open_instance(load_settings(), Path(sys.argv[2])) as instance:
    print(len(instance.get_runs()))
"""


def test_processes_of_several_homes_open_a_fresh_database_at_once(
    production: ProfileUnderTest, tmp_path: Path
) -> None:
    """Without the lock, the processes would create Dagster's tables concurrently and retry."""
    at = str(time.time() + 4)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AT_ONCE, at, str(LOCAL)],
            cwd=ROOT,
            env={
                **os.environ,
                **production.environment,
                "PYTHONPATH": str(ROOT),
                "GEO_PLATFORM_HOME": str(tmp_path / str(number)),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    ended = [(process, *process.communicate(timeout=120)) for process in started]
    assert [(process.returncode, output) for process, output, _ in ended] == [(0, "0\n")] * 2, [
        stderr for *_, stderr in ended
    ]
    assert "Retrying" not in "".join(stderr for *_, stderr in ended)


def test_a_home_used_with_both_profiles_has_two_dagster_instances(
    settings: Settings, tmp_path: Path
) -> None:
    embedded = Settings(home=settings.home)
    with open_instance(embedded, ROOT / INSTANCE_TEMPLATES[Profile.embedded]) as instance:
        assert type(instance.run_storage).__name__ == "SqliteRunStorage"
    with open_instance(settings, LOCAL) as instance:
        assert type(instance.run_storage).__name__ == "PostgresRunStorage"
    with open_instance(embedded, ROOT / INSTANCE_TEMPLATES[Profile.embedded]) as instance:
        assert type(instance.run_storage).__name__ == "SqliteRunStorage"


def test_runs_of_a_killed_process_are_marked_as_ended(
    settings: Settings, production: ProfileUnderTest
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(LOCAL)],
        cwd=ROOT,
        env={
            **os.environ,
            **production.environment,
            "PYTHONPATH": str(ROOT),
            "GEO_PLATFORM_HOME": str(settings.home),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    run_id = killed.stdout
    assert killed.returncode == -9
    with InProcessLauncher(_definitions(nothing_much), settings, LOCAL) as launcher:
        report = launcher.status(run_id)
    assert report is not None
    assert report.status == "failure"
    assert report.error is not None
    assert "was killed" in report.error["message"]


KILLED = """
import os, signal, sys
from pathlib import Path
import dagster as dg
from geo_platform.runs import RunRequest
from geo_platform.settings import load_settings
from geo_platform.orchestrator.launch import InProcessLauncher

@dg.asset
def killed(context: dg.AssetExecutionContext) -> None:
    os.write(standard_output, context.run.run_id.encode())
    os.kill(os.getpid(), signal.SIGKILL)

standard_output = os.dup(1)  # Dagster leads the other one into the compute log
jobs = [dg.define_asset_job("job", executor_def=dg.in_process_executor)]
with InProcessLauncher(
    dg.Definitions(assets=[killed], jobs=jobs), load_settings(), Path(sys.argv[1])
) as launcher:
    launcher.run(RunRequest("job", None))
"""


@pytest.mark.parametrize(
    "url",
    [
        "postgres://user:hunter2@127.0.0.1/dagster",
        "host=127.0.0.1 password=hunter2 dbname=dagster",
        "postgresql://user:hunter2@127.0.0.1:port/dagster",
        "postgresql://user:hunter2%@127.0.0.1/dagster",
    ],
)
def test_an_unusable_url_is_refused_without_being_printed(url: str) -> None:
    with pytest.raises(StoreDenied, match=URL) as refused:
        dagster_database(Settings(dagster_postgres_url=SecretStr(url)))
    assert "hunter2" not in str(refused.value)


def _error_of(settings: Settings) -> PlatformError:
    with pytest.raises(PlatformError) as failed:
        open_instance(settings, LOCAL)
    return failed.value


def test_missing_url_wrong_password_and_missing_server_have_different_errors(
    settings: Settings, own_postgres: OwnPostgres
) -> None:
    def at(url: str | None) -> Settings:
        return settings.model_copy(update={"dagster_postgres_url": SecretStr(url) if url else None})

    missing = _error_of(at(None))
    assert isinstance(missing, StoreDenied)
    assert URL in missing.remedy
    url = own_postgres.logins.admin.url.get_secret_value()
    wrong = _error_of(at(url.replace(own_postgres.password, "wrong")))
    assert isinstance(wrong, StoreDenied)
    assert own_postgres.password not in str(wrong)
    assert isinstance(_error_of(at(f"{url}_that_is_not_there")), StoreDenied)
    own_postgres.stop()
    down = _error_of(at(url))
    assert isinstance(down, DatabaseUnavailable)
    assert down.retryable


def test_a_server_lost_during_a_run_is_reported(
    settings: Settings, own_postgres: OwnPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = own_postgres.logins.admin.url.get_secret_value()
    monkeypatch.setenv(URL, url)
    home = settings.model_copy(update={"dagster_postgres_url": SecretStr(url)})

    @dg.asset
    def cut_off() -> None:
        monkeypatch.setattr(time, "sleep", lambda _: None)  # Dagster retries for 12 s
        own_postgres.stop()

    with InProcessLauncher(_definitions(cut_off), home, LOCAL) as launcher:
        with pytest.raises(DatabaseUnavailable):
            launcher.run(RunRequest("job", None))
        with pytest.raises(DatabaseUnavailable):
            launcher.status("none")
    monkeypatch.undo()


def test_the_command_reports_it_in_a_sentence(production: ProfileUnderTest, tmp_path: Path) -> None:
    source = ROOT / "samples" / "natural_earth_countries.shp.zip"
    wrong = {**production.environment, URL: production.environment[URL].replace("@", "x@", 1)}
    done = geo_platform("ingest", "--json", source, home=tmp_path / "home", extra=wrong)
    assert done.exit_code == 3, done.stderr
    assert done.lines[0]["error"]["code"] == "STORE_DENIED"
    assert "Traceback" not in done.stderr


def test_connections_are_kept_named_after_the_run_and_reopened_if_cut(
    settings: Settings, production: ProfileUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resources.production import keep_connections

    instance = open_instance(settings, LOCAL)
    try:
        keep_connections(instance)
        keep_connections(instance)
        monkeypatch.setenv("PGAPPNAME", "geo_platform first")
        for _ in range(5):
            instance.get_runs_count()
        first = _backends(production)
        assert [name for _, name in first] == ["geo_platform first"], (
            "one connection of the run storage, whatever was asked"
        )
        monkeypatch.setenv("PGAPPNAME", "geo_platform second")
        instance.get_runs_count()
        assert _backends(production) == [(first[0][0], "geo_platform second")]
        _cut(production)
        assert instance.get_runs_count() == 0
        ((pid, name),) = _backends(production)
        assert (pid != first[0][0], name) == (True, "geo_platform second")
    finally:
        instance.dispose()


def test_an_asset_event_opens_no_connection_of_its_own(settings: Settings) -> None:
    from resources.production import keep_connections

    opened: list[object] = []

    def note(connection: object, _: object) -> None:
        opened.append(connection)

    instance = open_instance(settings, LOCAL)
    try:
        keep_connections(instance)
        _materialize(instance)
        sqlalchemy.event.listen(sqlalchemy.pool.Pool, "connect", note)
        _materialize(instance)
        assert not opened
    finally:
        if sqlalchemy.event.contains(sqlalchemy.pool.Pool, "connect", note):
            sqlalchemy.event.remove(sqlalchemy.pool.Pool, "connect", note)
        instance.dispose()


def _materialize(instance: dg.DagsterInstance) -> None:
    tags = {"dagster/data_version": "1"}
    instance.report_runless_asset_event(dg.AssetMaterialization("kept", tags=tags))


def _backends(production: ProfileUnderTest) -> list[tuple[int, str]]:
    """Return the platform's connections to Dagster's database, without this one."""
    with psycopg.connect(production.environment[URL], autocommit=True) as connection:
        query = (
            "SELECT pid, application_name FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return [
            (int(pid), str(name))
            for pid, name in connection.execute(
                f"{query} AND application_name LIKE 'geo_platform%%'"
            )
        ]


def _cut(production: ProfileUnderTest) -> None:
    with psycopg.connect(production.environment[URL], autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
