"""Run the commands of compose.yaml with real stores; kill and restart the HTTP API."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from deploy.local.processes import free_port
from geo_platform.api.auth.keys import KeyFile
from geo_platform.api.auth.principal import Scope
from tests.support.deployment import DEPLOY, command_of, dagster, process
from tests.support.legacy_client import LegacyClient
from tests.support.production import ProfileUnderTest

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")]


@dataclass
class Deployed:
    """`environment` is that of each process; the HTTP API is not started yet."""

    environment: dict[str, str]
    folder: Path
    key: str
    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serve(self, stack: ExitStack) -> LegacyClient:
        """Run the service `api` until the stack ends."""
        here = {"0.0.0.0": "127.0.0.1", "8000": str(self.port)}  # noqa: S104  # replaced by loopback
        log = stack.enter_context(
            process("api", command_of("api", here), self.environment, self.folder)
        )
        deadline = time.monotonic() + 60
        while not _answers(f"{self.address}/livez"):
            assert time.monotonic() < deadline, log.read_text(errors="replace")[-3000:]
            time.sleep(0.2)
        return LegacyClient(self.address, {"X-Api-Key": self.key})


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=20).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
def deployed(production: ProfileUnderTest, tmp_path: Path) -> Iterator[Deployed]:
    home = tmp_path / "home"
    instance = tmp_path / "dagster"
    instance.mkdir()
    (instance / "dagster.yaml").write_text(
        (DEPLOY / "docker" / "dagster.yaml").read_text("utf-8"), encoding="utf-8"
    )
    (tmp_path / "watches.toml").write_text(
        '[[watch]]\nname = "nothing"\nprefix = "nobody puts anything here/"\n'
    )
    environment = {
        **production.environment,
        "HOME": str(home),
        "GEO_PLATFORM_HOME": str(home),
        "GEO_PLATFORM_WATCHES": str(tmp_path / "watches.toml"),
        "COMPUTE_LOGS_FOLDER": str(tmp_path / "compute-logs"),
        "DAGSTER_HOME": str(instance),
    }
    key = KeyFile(production.settings(home).api_keys_file).create("me", Scope.operator)
    with dagster(instance, environment) as webserver:
        yield Deployed(
            {**environment, "GEO_PLATFORM_DAGSTER_URL": webserver}, tmp_path, key, free_port()
        )


def test_a_job_survives_a_killed_api_and_the_pages_need_a_credential(
    deployed: Deployed,
) -> None:
    with ExitStack() as killed:
        asked = deployed.serve(killed).submit("hello_world", name="Ada")
        assert asked["status"] == "created"
    with ExitStack() as stack:
        client = deployed.serve(stack)
        assert client.wait(asked["job_id"])["resultData"]["text"] == "hello Ada"
        assert client.submit("hello_world", name="Ada")["status"] == "already_completed"
        deadline = time.monotonic() + 60
        while not _answers(f"{deployed.address}/readyz"):  # as compose's health check does
            assert time.monotonic() < deadline, httpx.get(
                f"{deployed.address}/readyz", timeout=20
            ).text
            time.sleep(0.5)
        pages = f"{deployed.address}/dagster"
        assert httpx.get(f"{pages}/server_info").status_code == 401
        with httpx.Client(headers={"X-Api-Key": deployed.key}, timeout=30) as known:
            assert "dagster_version" in known.get(f"{pages}/server_info").json()
            assert "/dagster/" in known.get(f"{pages}/runs").text, "the pages use their prefix"
