"""Run deploy/production/dagster.yaml on this machine, with a simulated Azure or Kubernetes API.

A run passes the queue and the launcher, which requests a container. The container's command runs
with the container's environment only. Its output is stored in Blob Storage with the container's
identity, and the UI shows it.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from azure.storage.blob import BlobServiceClient
from playwright.sync_api import sync_playwright
from psycopg.conninfo import conninfo_to_dict

from tests.support.azure_addresses import Azure, azure, blob_host, certificate_for, serving
from tests.support.deployment import dagster, ended, image_environment, launch, production_with
from tests.support.production import ProfileUnderTest
from tests.support.run_workers import ARM_HOST, Container, Containers, container_apps, kubernetes
from tests.support.spans import Collector, collector
from tests.support.ui import CHROMIUM_ARGUMENTS, graphql

# The image sets it; no launcher passes it on.
HOME = "GEO_PLATFORM_HOME"

IMAGE = "registry.invalid/geo-platform:1"
AZURE_IDS = {
    "AZURE_CLIENT_ID": "client",
    "AZURE_SUBSCRIPTION_ID": "subscription",
    "AZURE_RESOURCE_GROUP": "group",
    "AZURE_REGION": "westeurope",
    "AZURE_CONTAINERAPPS_ENVIRONMENT_ID": "/subscriptions/subscription/environments/e",
    "AZURE_CONTAINERAPPS_IDENTITY_ID": "/subscriptions/subscription/identities/i",
}
CAPTURED = """
query Captured($id: ID!) {
  logsForRun(runId: $id) {
    ... on EventConnection { events { ... on LogsCapturedEvent { fileKey } } }
  }
}
"""
RETRIES = """
query Retries($filter: RunsFilter!) {
  runsOrError(filter: $filter) { ... on Runs { results { runId } } }
}
"""
PRINTED = "query Printed($key: [String!]!) { capturedLogs(logKey: $key) { stdout stderr } }"


pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Deployment:
    """The UI's address, the requested containers, and the collector of their spans."""

    address: str
    containers: Containers
    taken: Collector


@pytest.fixture
def deployed(
    request: pytest.FixtureRequest, production: ProfileUnderTest, tmp_path: Path
) -> Iterator[Deployment]:
    """The production file with the launcher that the test names."""
    certificate = certificate_for([blob_host(), ARM_HOST], tmp_path)
    containers = Containers({}, tmp_path)
    home = tmp_path / "dagster"
    home.mkdir()
    with ExitStack() as stack:
        arm = container_apps(containers, certificate)
        stack.enter_context(serving(arm))
        cloud = stack.enter_context(azure(tmp_path, certificate, {ARM_HOST: arm.server_address[1]}))
        stack.callback(containers.end)
        containers.ambient = {**cloud.environment, HOME: str(tmp_path / "home")}
        _make_container_of_logs(cloud)
        taken = stack.enter_context(collector())
        settings = {**_settings(cloud), "OTEL_EXPORTER_OTLP_ENDPOINT": taken.address}
        secrets = _secrets(production)
        of_the_image = {name: value for name, value in image_environment().items() if not value}
        environment = {
            **containers.ambient,
            **of_the_image,
            **settings,
            **secrets,
            **AZURE_IDS,
            "DAGSTER_CURRENT_IMAGE": IMAGE,
        }
        text = production_with(request.param)
        if request.param == "K8sRunLauncher":
            maps = {"geo-platform-settings": settings, "geo-platform-secrets": secrets}
            api = kubernetes(containers, maps.__getitem__)
            stack.enter_context(serving(api))
            environment["KUBECONFIG"] = str(
                _kubeconfig(tmp_path / "kubeconfig", api.server_address[1])
            )
            text = text.replace(
                "load_incluster_config: true", "load_incluster_config: false"
            )  # the test does not run in a pod
        text = text.replace(
            "poll_interval_seconds: 60", "poll_interval_seconds: 1"
        )  # detect a dead worker sooner
        (home / "dagster.yaml").write_text(text, encoding="utf-8")
        yield Deployment(stack.enter_context(dagster(home, environment)), containers, taken)


def _make_container_of_logs(cloud: Azure) -> None:
    with (
        _inside(cloud.environment),
        BlobServiceClient(f"https://{blob_host()}", cloud.account_key) as account,
    ):
        account.create_container("dagster-logs")


def _settings(cloud: Azure) -> dict[str, str]:
    return {
        "GEO_PLATFORM_PROFILE": "production",
        "GEO_PLATFORM_BLOB_ACCOUNT_URL": f"https://{blob_host()}",
        "DAGSTER_LOGS_STORAGE_ACCOUNT": cloud.account,
    }


def _secrets(production: ProfileUnderTest) -> dict[str, str]:
    return {
        name: production.environment[name]
        for name in ("GEO_PLATFORM_POSTGRES_URL", "GEO_PLATFORM_DAGSTER_POSTGRES_URL")
    }


def _kubeconfig(path: Path, port: int) -> Path:
    cluster = {"name": "test", "cluster": {"server": f"http://127.0.0.1:{port}"}}
    context = {"name": "test", "context": {"cluster": "test", "user": "test"}}
    user = {"name": "test", "user": {"token": "none"}}
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "clusters": [cluster],
                "contexts": [context],
                "users": [user],
            }
        )
    )
    return path


def _printed(address: str, run_id: str) -> Mapping[str, Any]:
    events = graphql(address, CAPTURED, id=run_id)["logsForRun"]["events"]
    (file_key,) = (event["fileKey"] for event in events if event)
    printed: Mapping[str, Any] = graphql(address, PRINTED, key=[run_id, "compute_logs", file_key])[
        "capturedLogs"
    ]
    return printed


@contextmanager
def _inside(environment: Mapping[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        yield


@pytest.mark.parametrize("deployed", ["AcaRunLauncher"], indirect=True)
def test_a_run_gets_a_container_app_job_and_the_ui_shows_its_output(
    deployed: Deployment, production: ProfileUnderTest, chromium: str
) -> None:
    run_id = _run_in_its_own_container(deployed, production)
    _expect_output(deployed.address, run_id, chromium)


@pytest.mark.parametrize("deployed", ["K8sRunLauncher"], indirect=True)
def test_a_run_gets_a_kubernetes_job_and_another_one_if_it_is_killed(
    deployed: Deployment, production: ProfileUnderTest
) -> None:
    _run_in_its_own_container(deployed, production)
    (container,) = deployed.containers.started
    pod = container.manifest["spec"]["template"]
    assert pod["metadata"]["labels"]["azure.workload.identity/use"] == "true"
    assert container.manifest["spec"]["ttlSecondsAfterFinished"] > 0
    with psycopg.connect(
        production.environment["GEO_PLATFORM_DAGSTER_POSTGRES_URL"], autocommit=True
    ) as database:
        database.execute(SLOW_FIRST_STEP)
        killed = launch(deployed.address, "hello_world")
        _wait_until(
            lambda: (
                database.execute("SELECT status FROM runs WHERE run_id = %s", [killed]).fetchone()
                == ("STARTED",)
            )
        )
        database.execute("DROP TRIGGER slow ON event_logs")
    deployed.containers.started[-1].process.kill()
    assert ended(deployed.address, killed) == "FAILURE"
    _wait_until(lambda: len(_retries(deployed.address, killed)) == 1)
    (again,) = _retries(deployed.address, killed)
    assert ended(deployed.address, again) == "SUCCESS"
    assert len(deployed.containers.started) == 3


# Enough time to kill a worker during its run.
SLOW_FIRST_STEP = """
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql
AS 'BEGIN PERFORM pg_sleep(5); RETURN NEW; END';
CREATE TRIGGER slow BEFORE INSERT ON event_logs
FOR EACH ROW WHEN (NEW.dagster_event_type = 'STEP_START') EXECUTE FUNCTION wait();
"""


def _retries(address: str, run_id: str) -> list[str]:
    found = graphql(
        address, RETRIES, filter={"tags": [{"key": "dagster/parent_run_id", "value": run_id}]}
    )
    return [run["runId"] for run in found["runsOrError"]["results"]]


def _wait_until(holds: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def _run_in_its_own_container(deployed: Deployment, production: ProfileUnderTest) -> str:
    run_id = launch(deployed.address, "hello_world")
    status = ended(deployed.address, run_id)
    assert status == "SUCCESS", [
        container.log.read_text("utf-8") for container in deployed.containers.started
    ]
    (container,) = deployed.containers.started
    _has_no_secret_in_its_command(container, production)
    assert IMAGE in json.dumps(container.manifest)
    printed = _printed(deployed.address, run_id)
    lines = [json.loads(line) for line in printed["stdout"].splitlines()]
    assert {line["stage"] for line in lines} == {"prepared_greeting", "spoken_greeting"}
    assert {line["run_id"] for line in lines} == {run_id}
    container.process.wait(60)
    stages = {span.name for span in deployed.taken.spans if span.trace_id.hex() == UUID(run_id).hex}
    assert {"prepared_greeting", "spoken_greeting"} <= stages, (
        "its spans went to the collector that the deployment names"
    )
    return run_id


def _has_no_secret_in_its_command(container: Container, production: ProfileUnderTest) -> None:
    command = json.dumps(container.process.args)
    assert "execute_run" in command
    for url in _secrets(production).values():
        assert str(conninfo_to_dict(url)["password"]) not in command


def _expect_output(address: str, run_id: str, chromium: str) -> None:
    """Check the run's page, its standard output, and the process that executed the steps."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.goto(f"{address}/runs/{run_id}")
        page.get_by_text("stdout", exact=True).click(timeout=60_000)
        page.get_by_role("combobox").and_(page.get_by_placeholder("Select a step")).click()
        page.get_by_role("menuitem").first.click()
        line = page.get_by_text("STAGE_DONE").first
        line.wait_for(timeout=60_000)
        assert run_id in line.inner_text()
        browser.close()
