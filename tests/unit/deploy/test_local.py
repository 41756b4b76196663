"""Parts of the local servers that need no server: packages, folders, processes, locks, ports."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.local import packages, servers
from deploy.local.processes import ServiceError, end_process, free_port, locked, runs
from deploy.local.services import Services, find, stop
from tests.support.command import ROOT


def test_without_root_an_error_names_the_command_that_installs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packages, "_POSTGRES_HOMES", Path("/nowhere"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ServiceError) as caught:
        packages.install_missing(pytest.fail)
    assert str(caught.value).endswith(
        "As root on Debian 12: apt-get install postgresql-15-postgis-3 nodejs npm"
    )


def test_installed_packages_are_not_installed_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for made in (
        "homes/15/bin/postgres",
        "extensions/15/extension/postgis.control",
        "homes/16/bin/postgres",
        "azurite.js",
    ):
        (tmp_path / made).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / made).touch()
    monkeypatch.setattr(packages, "_POSTGRES_HOMES", tmp_path / "homes")
    monkeypatch.setattr(packages, "_EXTENSIONS", tmp_path / "extensions")
    monkeypatch.setattr(packages, "azurite_script", lambda: tmp_path / "azurite.js")
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    packages.install_missing(pytest.fail)
    assert packages.postgres_binaries() == tmp_path / "homes" / "15" / "bin", (
        "a newer server without PostGIS does not count"
    )


@pytest.mark.parametrize(
    ("known", "chosen"),
    [
        (
            "postgresql-17-postgis-3 - Geographic objects\n"
            "postgresql-17-postgis-3-scripts - more\n",
            "postgresql-17-postgis-3",
        ),
        (
            "postgresql-9-postgis-3 - old\npostgresql-16-postgis-3 - new\n",
            "postgresql-16-postgis-3",
        ),
        ("", "postgresql-15-postgis-3"),
    ],
)
def test_the_postgis_of_the_release_is_installed(
    monkeypatch: pytest.MonkeyPatch, known: str, chosen: str
) -> None:
    calls: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command[1:])
        return subprocess.CompletedProcess(command, 0, known, "")

    monkeypatch.setattr(packages, "_POSTGRES_HOMES", Path("/nowhere"))
    monkeypatch.setattr(packages, "azurite_script", lambda: Path(__file__))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(subprocess, "run", run)
    packages.install_missing(lambda _: None)
    assert calls[-1] == ["install", "-y", "-qq", "--no-install-recommends", chosen]


def test_a_folder_of_another_user_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "server_user", lambda: None)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ServiceError, match="belongs to another user"):
        servers.make_folder(tmp_path / "link")
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(ServiceError, match="belongs to another user"):
        servers.make_folder(tmp_path)


def test_an_unreadable_state_file_means_no_servers(tmp_path: Path) -> None:
    for text in ("", "{", "[]", '{"folder": "x"}'):
        (tmp_path / "services.json").write_text(text)
        assert find(tmp_path) is None
        assert not stop(tmp_path)
    assert not stop(tmp_path / "nowhere")


@contextmanager
def running(code: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run code in a process that is ready: right after a fork it has no command line yet."""
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}; print(flush=True); time.sleep(60)"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def test_a_process_with_another_command_is_not_ended() -> None:
    with running("import time") as process:
        end_process(process.pid, "/somewhere/else")
        assert runs(process.pid, "import time")
        end_process(process.pid, "import time")
        assert not runs(process.pid, "import time")


def test_a_process_that_ignores_the_first_signal_is_killed() -> None:
    with running("import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN)") as process:
        end_process(process.pid, "signal.SIG_IGN", grace_s=0.1)
        assert process.wait() == -9


def test_waiting_for_a_lock_whose_folder_is_removed_creates_it_again(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "lock"
    lock_existed = []

    def enter() -> None:
        with locked(file):
            lock_existed.append(file.exists())

    with locked(file):
        waiting = threading.Thread(target=enter)
        waiting.start()
        shutil.rmtree(file.parent)
    waiting.join(timeout=30)
    assert lock_existed == [True]


def test_a_free_port_is_outside_the_range_of_outgoing_connections() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(1024 < free_port() < lowest for _ in range(50))


def test_the_settings_have_the_loading_login_and_never_the_administrator() -> None:
    services = Services("/x", 1, 5432, "admin-secret", "loader-secret", 2, 10000, 10001, "key")
    environment = services.environment()
    assert "admin-secret" not in "".join(environment.values())
    assert (
        environment["GEO_PLATFORM_POSTGRES_URL"]
        == "postgresql://geo_app:loader-secret@127.0.0.1:5432/geo"
    )


def test_starting_and_ending_need_only_the_standard_library() -> None:
    """Servers can be ended after their environment was removed."""
    blocked = (
        "import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p]; "
        "import deploy.local.services"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", blocked], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
