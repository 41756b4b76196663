"""Dagster's real webservers behind the proxy: pages, GraphQL, sockets, by scope."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from deploy.local.processes import free_port
from tests.support.authenticated import ProtectedApi, protected_api
from tests.support.command import start
from tests.support.ui import CHROMIUM_ARGUMENTS

LOCATION = 'repositoryName: "__repository__", repositoryLocationName: "small_definitions.py"'
ADD = (
    "mutation Add($name: String!) { "
    'addDynamicPartition(partitionsDefName: "small_partitions", partitionKey: $name, '
    f"repositorySelector: {{{LOCATION}}}) {{ __typename }} }}"
)
KEYS = (
    '{ assetNodeOrError(assetKey: {path: ["small_asset"]}) '
    "{ __typename ... on AssetNode { partitionKeys } } }"
)
LAUNCH = (
    f'mutation {{ launchRun(executionParams: {{selector: {{jobName: "small", {LOCATION}}}}}) '
    "{ __typename ... on LaunchRunSuccess { run { runId } } } }"
)
EVENTS = (
    "subscription Events($id: ID!) { pipelineRunLogs(runId: $id) "
    "{ __typename ... on PipelineRunLogsSubscriptionSuccess "
    "{ messages { __typename } } } }"
)


@contextmanager
def webserver(home: Path, *more: str) -> Iterator[str]:
    """Start the webserver as a deployment does, with the path prefix."""
    port = free_port()
    command = [
        str(Path(sys.executable).with_name("dagster-webserver")),
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
        "--path-prefix",
        "/dagster",
    ]
    log = home / f"webserver-{port}.log"
    with log.open("wb") as output:
        whole = [*command, "-f", "tests/support/small_definitions.py", *more]
        process = start(whole, home, output, extra={"DAGSTER_HOME": str(home)})
    address = f"http://127.0.0.1:{port}/dagster"
    try:
        wait_for(address, process)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its code server, too; both keep nothing
        process.wait(20)


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, "the webserver ended"
        try:
            if httpx.get(f"{address}/server_info").status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise TimeoutError(address)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ProtectedApi, ProtectedApi]]:
    """One API in front of the webserver alone, and one that sends readers to the read-only
    webserver.
    """
    home = tmp_path_factory.mktemp("dagster")
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    # One after the other: the first creates the database.
    with (
        webserver(home) as full,
        webserver(home, "--read-only") as read_only,
        protected_api(home / "alone", dagster_url=full) as alone,
        protected_api(home / "both", dagster_url=full, dagster_read_only_url=read_only) as both,
    ):
        yield alone, both


@pytest.fixture
def alone(shared: tuple[ProtectedApi, ProtectedApi]) -> ProtectedApi:
    return shared[0]


@pytest.fixture(params=["alone", "both"])
def api(request: pytest.FixtureRequest, shared: tuple[ProtectedApi, ProtectedApi]) -> ProtectedApi:
    return shared[request.param == "both"]


def graphql(api: ProtectedApi, key: str, query: str, **variables: Any) -> httpx.Response:
    return api.ask("POST", "/dagster/graphql", key, json={"query": query, "variables": variables})


def partitions(api: ProtectedApi) -> list[str]:
    answer = graphql(api, "reader", KEYS)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["data"]["assetNodeOrError"]["partitionKeys"])


def test_a_reader_sees_and_changes_nothing_and_an_operator_changes(api: ProtectedApi) -> None:
    before = partitions(api)
    for key in ("reader", "submitter"):
        assert graphql(api, key, ADD, name="by-reader").status_code == 403
        assert graphql(api, key, LAUNCH).status_code == 403
    assert partitions(api) == before
    added = graphql(api, "operator", ADD, name=f"made-{len(before)}")
    assert added.json()["data"]["addDynamicPartition"]["__typename"] == "AddDynamicPartitionSuccess"
    assert partitions(api) == [*before, f"made-{len(before)}"]


def test_pages_and_their_assets_are_complete(api: ProtectedApi) -> None:
    page = api.ask("GET", "/dagster/", "reader")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    scripts = [part.partition('"')[0] for part in page.text.split('src="')[1:]]
    assert scripts
    for path in scripts:
        assert path.startswith("/dagster/")
        assert api.ask("GET", path, "reader").status_code == 200
        assert httpx.get(f"{api.address}{path}").status_code == 401


@contextmanager
def opened(api: ProtectedApi, key: str | None, **headers: str) -> Iterator[ClientConnection]:
    sent = {**headers, **({"X-Api-Key": api.keys[key]} if key else {})}
    address = f"{api.address.replace('http', 'ws')}/dagster/graphql"
    with connect(
        address,
        subprotocols=[Subprotocol("graphql-ws")],
        additional_headers=sent,
        proxy=None,
        open_timeout=20,
    ) as connection:
        connection.send(json.dumps({"type": "connection_init", "payload": {}}))
        assert json.loads(connection.recv(20)) == {"type": "connection_ack"}
        yield connection


def started(connection: ClientConnection, query: str, **variables: Any) -> dict[str, Any]:
    connection.send(
        json.dumps(
            {"type": "start", "id": "1", "payload": {"query": query, "variables": variables}}
        )
    )
    answer: dict[str, Any] = json.loads(connection.recv(30))
    return answer


def test_a_reader_follows_a_run_over_the_socket(api: ProtectedApi) -> None:
    run_id = graphql(api, "operator", LAUNCH).json()["data"]["launchRun"]["run"]["runId"]
    with opened(api, "reader") as connection:
        answer = started(connection, EVENTS, id=run_id)
    assert answer["type"] == "data"
    assert answer["payload"]["data"]["pipelineRunLogs"]["messages"]


@pytest.mark.parametrize("key", ["reader", "submitter"])
def test_a_mutation_over_the_socket_changes_nothing(alone: ProtectedApi, key: str) -> None:
    before = partitions(alone)
    with opened(alone, key) as connection:
        answer = started(connection, ADD, name="by-socket")
        assert (answer["type"], "FORBIDDEN" in answer["payload"]["message"]) == ("error", True)
        for nonsense in ("nothing", "[]", '{"type": "start"}', '{"type": "ping", "id": "1"}'):
            connection.send(nonsense)
            assert json.loads(connection.recv(20))["type"] == "error"
    assert partitions(alone) == before


def test_sockets_without_credential_from_other_sites_or_with_allow_lists_are_refused(
    alone: ProtectedApi,
) -> None:
    cookie = sign_in(alone, "reader")
    for key, headers, status in (
        (None, {}, 401),
        (None, {"Cookie": cookie, "Origin": "https://evil.example"}, 401),
        (None, {"Cookie": cookie}, 401),
        ("limited", {}, 403),
    ):
        with pytest.raises(InvalidStatus) as refused, opened(alone, key, **headers):
            pass
        assert refused.value.response.status_code == status
    with opened(alone, None, Cookie=cookie, Origin=alone.address):
        pass


def sign_in(api: ProtectedApi, key: str) -> str:
    answer = api.ask(
        "POST", "/login", data={"credential": api.keys[key]}, headers={"Origin": api.address}
    )
    return answer.headers["set-cookie"].partition(";")[0]


def test_a_signed_in_browser_shows_the_runs_and_a_reader_cannot_launch(
    shared: tuple[ProtectedApi, ProtectedApi], chromium: str
) -> None:
    both = shared[1]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        for key, may_launch in (("reader", False), ("operator", True)):
            context = browser.new_context()
            page = context.new_page()
            sign_in_by_hand(page, both, key)
            page.get_by_text("small", exact=True).first.wait_for(timeout=30_000)
            (cookie,) = context.cookies()
            assert (cookie["name"], cookie["secure"], cookie["httpOnly"]) == (
                "__Host-geo_platform",
                True,
                True,
            )
            assert page.evaluate("document.cookie") == ""
            page.goto(
                f"{both.address}/dagster/locations/small_definitions.py/jobs/small/playground"
            )
            if may_launch:
                expect(page.get_by_role("button", name="Launch Run")).to_be_enabled(timeout=30_000)
            else:  # the read-only page shows the job's graph instead of the form
                page.get_by_text("wait_for_nothing").first.wait_for(timeout=30_000)
                assert page.get_by_role("button", name="Launch Run").count() == 0
            context.close()
        browser.close()


def sign_in_by_hand(page: Page, api: ProtectedApi, key: str) -> None:
    """Sign in, with a wrong key first, as people do."""
    page.goto(f"{api.address}/dagster/runs")
    for typed in ("wrong", api.keys[key]):
        page.get_by_label("API key or access token").fill(typed)
        page.get_by_role("button", name="Sign in").click()
        if typed == "wrong":
            page.get_by_role("alert").wait_for()
    page.wait_for_url("**/dagster/runs")
