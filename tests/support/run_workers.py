"""Simulate Azure Container Apps and Kubernetes as far as launchers use them.

A container is a process. It gets its container's command and environment, and nothing else of this
machine. So a container that the launcher configured incompletely fails here as it would there.
"""

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.azure_addresses import Certificate
from tests.support.command import ROOT

ARM_HOST = "management.azure.com"


@dataclass
class Containers:
    """The started containers, oldest first.

    `ambient` holds the variables that every container has: those of the network and the identity.
    """

    ambient: Mapping[str, str]
    folder: Path
    started: list["Container"] = field(default_factory=list)

    def of_job(self, name: str) -> "Container | None":
        return next((container for container in self.started if container.job == name), None)

    def start(
        self,
        job: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        manifest: Mapping[str, Any],
    ) -> None:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        log = (self.folder / f"container-{len(self.started)}.log").open("wb")
        with log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={"PATH": path, "LANG": "C.UTF-8", **self.ambient, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.started.append(Container(job, manifest, process, Path(log.name)))

    def end(self) -> None:
        for container in self.started:
            container.process.kill()
            container.process.wait()


@dataclass(frozen=True)
class Container:
    """The requested job, and the process that runs it."""

    job: str
    manifest: Mapping[str, Any]
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None


class _Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: Mapping[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")

    @property
    def resource(self) -> list[str]:
        return self.path.partition("?")[0].strip("/").split("/")

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the log off standard error."""


def container_apps(containers: Containers, certificate: Certificate) -> ThreadingHTTPServer:
    """The part of Azure Resource Manager that creates and starts Container Apps jobs."""
    jobs: dict[str, Any] = {}

    class Arm(_Api):
        def do_PUT(self) -> None:
            job = self.body()
            job["properties"]["provisioningState"] = "Succeeded"
            jobs[self.resource[-1]] = job
            self.answer(201, {**job, "id": self.path, "name": self.resource[-1]})

        def do_POST(self) -> None:
            self.body()
            name = self.resource[-2]
            described = jobs[name]["properties"]["template"]["containers"][0]
            containers.start(
                name,
                described["command"],
                {entry["name"]: entry["value"] for entry in described["env"]},
                jobs[name],
            )
            self.answer(200, {"name": f"{name}-1", "id": f"{self.path}/1"})

        def do_GET(self) -> None:
            container = containers.of_job(self.resource[-2])
            self.answer(
                200,
                {
                    "value": [{"name": "1", "properties": {"status": _status(container)}}]
                    if container
                    else []
                },
            )

    server = ThreadingHTTPServer(("127.0.0.1", 0), Arm)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


def _status(container: Container) -> str:
    if not container.has_ended:
        return "Running"
    return "Failed" if container.process.returncode else "Succeeded"


def kubernetes(
    containers: Containers, values_of: Callable[[str], Mapping[str, str]]
) -> ThreadingHTTPServer:
    """The part of the Kubernetes API that creates jobs.

    `values_of` returns the entries of a config map or secret by its name.
    """

    class Api(_Api):
        def do_POST(self) -> None:
            job = self.body()
            described = job["spec"]["template"]["spec"]["containers"][0]
            environment = {
                entry["name"]: entry["value"] for entry in described["env"] if "value" in entry
            }
            for source in described.get("env_from") or described.get("envFrom") or []:
                (reference,) = source.values()
                environment |= values_of(reference["name"])
            containers.start(
                job["metadata"]["name"],
                [*(described.get("command") or []), *described["args"]],
                environment,
                job,
            )
            self.answer(201, job)

        def do_GET(self) -> None:
            container = containers.of_job(
                next(name for name in reversed(self.resource) if name != "status")
            )
            if container is None:
                self.answer(
                    404,
                    {
                        "kind": "Status",
                        "apiVersion": "v1",
                        "status": "Failure",
                        "reason": "NotFound",
                        "code": 404,
                    },
                )
                return
            counted = {"Running": "active", "Succeeded": "succeeded", "Failed": "failed"}[
                _status(container)
            ]
            self.answer(200, {"kind": "Job", "apiVersion": "batch/v1", "status": {counted: 1}})

    return ThreadingHTTPServer(("127.0.0.1", 0), Api)
