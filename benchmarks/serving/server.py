"""Run `geo-platform serve` as a process of its own, and send it requests.

Part "serving_start" of `make bench`: seconds until it answers.

python -m benchmarks.serving.server ADDRESS KEY SECONDS CLIENTS    paths on standard input: CLIENTS
    ask for them in turn for SECONDS; print the milliseconds of each answer as a JSON list
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.data import WORK
from benchmarks.homes import home_of
from benchmarks.jobs import COMMAND
from benchmarks.measure import run, spread
from deploy.local.processes import free_port
from geo_platform.api.auth.keys import KeyFile
from geo_platform.api.auth.principal import Scope
from geo_platform.settings import Profile

_PATIENCE_S = 60
_NO_LIMIT = {
    f"GEO_PLATFORM_API_{name}_PER_MINUTE": "1000000000" for name in ("READS", "ADDRESS_READS")
}


@dataclass(frozen=True)
class Server:
    """A running server. `started_s`: from the start of the process to its first answer."""

    address: str
    key: str
    process: psutil.Process
    client: httpx.Client
    started_s: float

    def get(self, path: str, **rest: Any) -> httpx.Response:
        """Return the answer to a request. Raises RuntimeError: it is not 200."""
        answer = self.client.get(path, **rest)
        if answer.status_code != 200:
            raise RuntimeError(f"{path}: {answer.status_code} {answer.text[:500]}")
        return answer

    def cpu_s(self) -> float:
        """Return the CPU seconds of the process so far, in its own code and in the system's."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def load(self, paths: Sequence[str], *, seconds: float, clients: int) -> list[float]:
        """Return the milliseconds of each answer, sent by another process."""
        command = [sys.executable, "-m", "benchmarks.serving.server", self.address, self.key]
        done = subprocess.run(
            [*command, str(seconds), str(clients)],
            input="\n".join(paths),
            capture_output=True,
            text=True,
            check=True,
        )
        return [float(each) for each in json.loads(done.stdout)]


@contextmanager
def serving_api(environment: Mapping[str, str]) -> Iterator[Server]:
    """Run `geo-platform serve` on a home until the context ends."""
    home, port = Path(environment["GEO_PLATFORM_HOME"]), free_port()
    home.mkdir(parents=True, exist_ok=True)
    key = KeyFile(home / "api" / "keys.json").create(f"bench-{time.time_ns()}", Scope.reader)
    full = {**os.environ, **_NO_LIMIT, **environment}
    # As in an installation, Python caches its compiled modules.
    full.pop("PYTHONDONTWRITEBYTECODE", None)
    address = f"http://127.0.0.1:{port}"
    with (WORK / "serve.log").open("wb") as log:
        started = time.perf_counter()
        process = subprocess.Popen(
            [COMMAND, "serve", "--port", str(port)], env=full, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        with httpx.Client(
            base_url=address, headers={"X-Api-Key": key}, timeout=600, trust_env=False
        ) as client:
            while True:
                try:
                    client.get("/livez").raise_for_status()
                    break
                except httpx.TransportError:
                    if time.perf_counter() - started > _PATIENCE_S:
                        raise
                    time.sleep(0.01)
            seconds = time.perf_counter() - started
            yield Server(address, key, psutil.Process(process.pid), client, seconds)
    finally:
        process.terminate()
        process.wait(30)


def serving_start(rounds: int) -> list[str]:
    rows = []
    for profile in Profile:
        with home_of(profile) as environment:
            started = []
            for _ in range(rounds + 1):
                with serving_api(environment) as server:
                    started.append(server.started_s)
        rows.append(f"| {profile} | **{spread(started[1:])}** | under 3 |")
    return [
        "## Serving: from the start of `geo-platform serve` to its first answer",
        "",
        "| profile | seconds, median (min to max) | target |",
        "|---|---|---|",
        *rows,
        "",
    ]


def publish(environment: Mapping[str, str], source: Path) -> None:
    """Ingest a file by the real command. Raises RuntimeError: it is not published."""
    done = run([COMMAND, "ingest", "--json", source], env={**os.environ, **environment})
    answer = json.loads(done.stdout.splitlines()[-1])
    if answer["outcome"] != "published":
        raise RuntimeError(f"{source} is not published: {answer}")


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _ask(address: str, key: str, paths: Sequence[str], ends: float) -> list[float]:
    connection = HTTPConnection(address.removeprefix("http://"), timeout=60)
    lasted = []
    number = 0
    while time.perf_counter() < ends:
        started = time.perf_counter()
        connection.request("GET", paths[number % len(paths)], headers={"X-Api-Key": key})
        answer = connection.getresponse()
        content = answer.read()
        lasted.append((time.perf_counter() - started) * 1000)
        if answer.status != 200:
            raise RuntimeError(f"{paths[number % len(paths)]}: {answer.status} {content[:300]!r}")
        number += 1
    return lasted


def main() -> None:
    address, key, seconds, clients = sys.argv[1:]
    paths = sys.stdin.read().split("\n")
    ends = time.perf_counter() + float(seconds)
    with ThreadPoolExecutor(int(clients)) as pool:
        # Each client begins elsewhere.
        starts = [number * len(paths) // int(clients) for number in range(int(clients))]
        running = [
            pool.submit(_ask, address, key, [*paths[start:], *paths[:start]], ends)
            for start in starts
        ]
        print(json.dumps([each for one in running for each in one.result()]))


if __name__ == "__main__":
    main()
