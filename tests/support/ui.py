"""Run the real Dagster webserver and daemon on a home of the test's own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.support.command import start
from tests.support.watching import watching_nothing

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PythonError { message }
  }
}
"""
ADD_PARTITION = """
mutation Add($key: String!) {
  addDynamicPartition(
    partitionsDefName: "raster_objects", partitionKey: $key
    repositorySelector: {repositoryName: "__repository__", repositoryLocationName: "geo_platform"}
  ) { __typename }
}
"""
STATUS = "query Status($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def dagster_dev(
    home: Path,
    *,
    extra: Mapping[str, str] | None = None,
    takes_in: bool = False,
    timeout_s: float = 90,
) -> Iterator[str]:
    """Run `geo-platform dev`; yield the UI's address once it answers.

    Runs have `extra` in their environment. With `takes_in`, its sensors request runs of new
    objects.
    """
    port = free_port()
    command = [str(Path(sys.executable).with_name("geo-platform")), "dev", "--port", str(port)]
    log = home.parent / "dev.log"
    with log.open("wb") as output:
        process = start(
            command,
            home,
            output,
            extra={**({} if takes_in else watching_nothing(home.parent)), **(extra or {})},
        )
        address = f"http://127.0.0.1:{port}"
        try:
            _wait_until_it_answers(address, process, log, time.monotonic() + timeout_s)
            yield address
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Send Ctrl-C; after 20 s, kill what is left, children of daemon and webserver included."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _wait_until_it_answers(
    address: str, process: subprocess.Popen[bytes], log: Path, deadline: float
) -> None:
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(
                f"geo-platform dev ended:\n{log.read_text(errors='replace')[-3000:]}"
            )
        try:
            with urllib.request.urlopen(f"{address}/server_info", timeout=2):
                return
        except OSError:
            time.sleep(0.3)
    raise TimeoutError(f"no answer from {address}:\n{log.read_text(errors='replace')[-3000:]}")


def graphql(address: str, query: str, **variables: Any) -> dict[str, Any]:
    """Send a GraphQL request; fail if the response has errors."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(
        f"{address}/graphql", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        answer: dict[str, Any] = json.load(response)
    assert "errors" not in answer, answer["errors"]
    return dict(answer["data"])
