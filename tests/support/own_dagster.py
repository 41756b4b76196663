"""Run code location, daemon and webserver as processes that a test may kill and restart.

They start with the commands of compose.yaml.
"""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.processes import answers, free_port
from tests.support.command import ROOT

CODE, DAEMON, WEBSERVER = "code", "daemon", "webserver"


@dataclass
class OwnDagster:
    """`folder` is a DAGSTER_HOME with its dagster.yaml; logs and workspace file are next to it."""

    folder: Path
    environment: Mapping[str, str]
    definitions: str = "geo_platform/code_location.py"
    code_port: int = field(default_factory=free_port)
    port: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *names: str) -> None:
        """Start each process, and wait until it serves; a daemon serves nothing."""
        for name in names:
            with (self.folder.parent / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    self._command(name),
                    cwd=ROOT,
                    env={
                        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                        "LANG": "C.UTF-8",
                        "DAGSTER_HOME": str(self.folder),
                        **self.environment,
                    },
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self._wait_for(name)

    def kill(self, name: str) -> None:
        """Send SIGKILL to the process alone: its children live on, as after a crash."""
        self.processes[name].kill()
        self.processes.pop(name).wait(10)

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """Stop the process inside the block: a daemon launches no queued run then."""
        process = self.processes[name]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """End all remaining processes and their children."""
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        self.processes.clear()

    def _command(self, name: str) -> list[str]:
        workspace = self.folder.parent / "workspace.yaml"
        served = (
            f"load_from:\n  - grpc_server: {{host: 127.0.0.1, port: {self.code_port}, "
            "location_name: geo_platform}\n"
        )
        workspace.write_text(served, encoding="utf-8")
        script = Path(sys.executable).with_name
        code = [
            str(script("dagster")),
            "api",
            "grpc",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.code_port),
            "-d",
            str(ROOT),
        ]
        return {
            CODE: [*code, "-f", self.definitions],
            DAEMON: [str(script("dagster-daemon")), "run", "-w", str(workspace)],
            WEBSERVER: [
                str(script("dagster-webserver")),
                "-h",
                "127.0.0.1",
                "-p",
                str(self.port),
                "-w",
                str(workspace),
            ],
        }[name]

    def _wait_for(self, name: str) -> None:
        serves = {CODE: lambda: answers(self.code_port), WEBSERVER: self._serves_pages}.get(name)
        deadline = time.monotonic() + 120
        while serves is not None and not serves():
            if time.monotonic() > deadline or self.processes[name].poll() is not None:
                log = self.folder.parent / f"{name}.log"
                raise TimeoutError(
                    f"{name} does not serve:\n{log.read_text(errors='replace')[-3000:]}"
                )
            time.sleep(0.2)

    def _serves_pages(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/server_info", timeout=5):
                return True
        except OSError:
            return False


@contextmanager
def own_dagster(
    folder: Path,
    configuration: str,
    environment: Mapping[str, str],
    *,
    definitions: str = OwnDagster.definitions,
) -> Iterator[OwnDagster]:
    """Yield an OwnDagster with nothing started; end all its processes with the context."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dagster.yaml").write_text(configuration, encoding="utf-8")
    own = OwnDagster(folder, environment, definitions)
    try:
        yield own
    finally:
        own.end()
