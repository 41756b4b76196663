"""Run `python -m deploy.local.services`: real servers in a test's folder."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import pytest
from azure.storage.blob import BlobServiceClient

from deploy.local import services as local
from deploy.local.processes import ServiceError, end_process, runs
from deploy.local.servers import make_folder
from deploy.local.services import Services, find, start, stop
from tests.support import servers
from tests.support.command import ROOT, Ended
from tests.support.production import or_skip

GEO_PLATFORM = str(Path(sys.executable).with_name("geo-platform"))


@pytest.fixture(scope="module")
def _installed() -> None:
    with or_skip():
        servers.shared_services()


@pytest.fixture
def folder(_installed: None) -> Iterator[Path]:
    """End whatever a test leaves running in the folder."""
    with servers.own_folder() as parent:
        yield parent / "pair"
        servers.end_all_in(parent)


@pytest.fixture(scope="class")
def pair(_installed: None) -> Iterator[Services]:
    with servers.own_folder() as parent:
        yield start(parent / "pair", durable=False)
        servers.end_all_in(parent)


def _services(folder: Path, *arguments: str) -> Ended:
    command = [sys.executable, "-m", "deploy.local.services", "--folder", str(folder), *arguments]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def _secrets(services: Services) -> tuple[str, ...]:
    return services.postgres_password, services.loader_password, services.account_key


def _processes(folder: Path) -> list[int]:
    return [process.pid for process in psutil.process_iter() if runs(process.pid, str(folder))]


class TestAPair:
    def test_answers_and_is_found(self, pair: Services) -> None:
        with psycopg.connect(pair.database_url("postgres")) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("geo_admin",)
        assert find(Path(pair.folder)) == pair

    def test_listens_on_loopback_alone(self, pair: Services) -> None:
        listening = [
            (place.laddr.ip, place.laddr.port)
            for pid in (pair.postgres_pid, pair.azurite_pid)
            for place in psutil.Process(pid).net_connections("inet")
            if place.status == psutil.CONN_LISTEN
        ]
        assert {port for _, port in listening} >= {
            pair.postgres_port,
            pair.blob_port,
            pair.queue_port,
        }
        assert {address for address, _ in listening} == {"127.0.0.1"}

    def test_is_returned_by_a_second_start(self, pair: Services) -> None:
        assert start(Path(pair.folder)) == pair

    def test_requires_the_password_from_this_machine_too(self, pair: Services) -> None:
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(pair.database_url("postgres", password="guessed"))  # noqa: S106  # wrong on purpose

    def test_folder_and_secrets_are_closed_to_others(self, pair: Services) -> None:
        folder = Path(pair.folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        holding = [
            path
            for path in folder.glob("*")
            if path.is_file() and any(secret in path.read_text() for secret in _secrets(pair))
        ]
        assert {path.name for path in holding} == {
            "account-key",
            "loader-password",
            "postgres-password",
            "services.json",
        }
        assert {stat.S_IMODE(path.stat().st_mode) for path in holding} == {0o600}

    def test_shows_no_secret_on_a_command_line(self, pair: Services) -> None:
        for pid in _processes(Path(pair.folder)):
            assert not any(
                secret in " ".join(psutil.Process(pid).cmdline()) for secret in _secrets(pair)
            )


@dataclass(frozen=True)
class Started:
    """The result of two starts at once in one folder."""

    folder: Path
    services: Services
    ended: tuple[Ended, ...]


@pytest.fixture(scope="class")
def started(_installed: None) -> Iterator[Started]:
    with servers.own_folder() as parent:
        folder = parent / "pair"
        with ThreadPoolExecutor(2) as both:
            ended = tuple(both.map(lambda _: _services(folder, "start"), range(2)))
        services = find(folder)
        assert services is not None, ended
        yield Started(folder, services, ended)
        servers.end_all_in(parent)


class TestTheCommand:
    def test_two_starts_at_once_make_one_pair(self, started: Started) -> None:
        assert [ended.exit_code for ended in started.ended] == [0, 0], started.ended
        processes = _processes(started.folder)
        masters = [pid for pid in processes if psutil.Process(pid).ppid() not in processes]
        assert sorted(masters) == sorted(
            (started.services.postgres_pid, started.services.azurite_pid)
        )
        said = "".join(ended.stderr for ended in started.ended)
        assert (
            said.count("starting PostgreSQL")
            == said.count("starting Azurite")
            == said.count("database init")
            == 1
        )

    def test_runs_a_command_as_the_loader(self, started: Started) -> None:
        ended = _services(started.folder, "run", "--", GEO_PLATFORM, "database", "check")
        assert ended.exit_code == 0, ended.stderr
        assert "geo_app may load and publish" in ended.stdout

    def test_creates_the_containers_and_dagsters_database(self, started: Started) -> None:
        with BlobServiceClient.from_connection_string(
            started.services.connection_string
        ) as account:
            assert {container.name for container in account.list_containers()} >= {
                "bronze",
                "silver",
                "quarantine",
                "messages",
            }
        with psycopg.connect(
            started.services.environment()["GEO_PLATFORM_DAGSTER_POSTGRES_URL"]
        ) as connection:
            connection.execute("CREATE TABLE runs (n int)")

    def test_prints_no_secret(self, started: Started) -> None:
        status = _services(started.folder, "status")
        assert f"127.0.0.1:{started.services.postgres_port}" in status.stderr
        said = [ended.stdout + ended.stderr for ended in (*started.ended, status)]
        said += [log.read_text() for log in started.folder.glob("*.log")]
        assert len(said) == 5
        assert not any(secret in text for text in said for secret in _secrets(started.services))

    def test_ends_both_and_removes_their_data_only_on_request(self, folder: Path) -> None:
        start(folder, durable=False)
        assert _services(folder, "stop").stderr == "stopped\n"
        assert not _processes(folder)
        assert _services(folder, "status").exit_code == 1
        assert (folder / "postgres").is_dir()
        assert _services(folder, "stop", "--remove").stderr == "nothing was running\n"
        assert not folder.exists()

    def test_reports_a_missing_command(self, folder: Path) -> None:
        ended = _services(folder, "run", "--", "no-such-command")
        assert ended.exit_code == 1
        assert ended.stderr == "services: run -- COMMAND: no-such-command is not on this machine\n"
        assert not folder.exists(), "and starts nothing for it"


class TestFaults:
    def test_both_restart_with_their_data_if_one_died(self, folder: Path) -> None:
        before = start(folder, durable=False)
        with psycopg.connect(before.database_url("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE kept")
        os.kill(before.azurite_pid, signal.SIGKILL)
        while runs(before.azurite_pid, str(folder)):
            time.sleep(0.01)
        assert find(folder) is None
        after = start(folder, durable=False)
        assert _secrets(after) == _secrets(before)
        assert before.postgres_pid not in _processes(folder)
        with psycopg.connect(after.database_url("kept")) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)

    def test_a_pid_of_another_process_is_left_alone(self, folder: Path) -> None:
        make_folder(folder)
        with subprocess.Popen(["sleep", "60"]) as innocent:
            state = {
                "folder": str(folder),
                "postgres_pid": innocent.pid,
                "postgres_port": 1,
                "postgres_password": "",
                "loader_password": "",
            }
            state |= {
                "azurite_pid": innocent.pid,
                "blob_port": 2,
                "queue_port": 3,
                "account_key": "",
            }
            (folder / "services.json").write_text(json.dumps(state))
            assert find(folder) is None
            assert stop(folder)
            still_there = innocent.poll() is None
            innocent.kill()
        assert still_there

    def test_a_failed_start_leaves_nothing_running(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_azurite(*_: object, **__: object) -> None:
            raise ServiceError("Azurite did not start")

        monkeypatch.setattr(local, "start_azurite", no_azurite)
        with pytest.raises(ServiceError, match="Azurite"):
            start(folder, durable=False)
        assert not _processes(folder)
        assert find(folder) is None

    def test_a_server_that_does_not_start_is_reported_with_the_end_of_its_log(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_folder(folder)
        (folder / "postgres").mkdir()
        (folder / "postgres" / "PG_VERSION").write_text("9.1\n")
        with pytest.raises(ServiceError, match="PostgreSQL did not start"):
            start(folder, durable=False)
        assert not _processes(folder)


@pytest.mark.usefixtures("_installed")
def test_the_next_session_removes_what_a_killed_one_left() -> None:
    killed = f"""
import os, signal
from pathlib import Path
from deploy.local.servers import start_postgres
from tests.support.servers import Session, own_folder
session = Session()
with own_folder() as folder:
    port = {local.free_port()}
    process = start_postgres(folder / "postgres", port=port, password="x", durable=False)
    print(session.folder, process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    first = subprocess.run(
        [sys.executable, "-c", killed],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    folder, pid = first.stdout.split()
    assert runs(int(pid), folder), first.stderr
    following = "from tests.support.servers import Session; Session().end()"
    subprocess.run([sys.executable, "-c", following], cwd=ROOT, timeout=60, check=True)
    assert not runs(int(pid), folder)
    assert not Path(folder).exists()
    assert not Path(f"{folder}.lock").exists()
    end_process(int(pid), folder)
