"""Read the files of deploy/, and run Dagster with deploy/production/dagster.yaml."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import entry_points
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from deploy.local.processes import answers, free_port
from geo_platform.api.dagster.proxy import PREFIX
from geo_platform.settings import Settings
from tests.support.command import ROOT
from tests.support.ui import LAUNCH, STATUS, graphql

DEPLOY = ROOT / "deploy"
PRODUCTION = DEPLOY / "production" / "dagster.yaml"
_CONTAINER_APPS = "# -- Azure Container Apps"
_KUBERNETES = "# -- Kubernetes"

# The launchers that the file offers; the first is active in it.
LAUNCHERS = ("AcaRunLauncher", "K8sRunLauncher")


def production_with(launcher: str) -> str:
    """Return deploy/production/dagster.yaml, with this launcher's block active."""
    text = PRODUCTION.read_text("utf-8")
    return text if launcher == LAUNCHERS[0] else _with_kubernetes(text)


def _with_kubernetes(text: str) -> str:
    head, _, rest = text.partition(_CONTAINER_APPS)
    container_apps, _, rest = rest.partition(_KUBERNETES)
    lines = rest.splitlines()
    end = next(number for number, line in enumerate(lines[1:], 1) if not line.startswith("#"))
    kubernetes = [line.removeprefix("# ") for line in lines[1:end]]
    commented = [f"# {line}".rstrip() for line in container_apps.splitlines()[1:]]
    described = [
        _CONTAINER_APPS + container_apps.splitlines()[0],
        *commented,
        _KUBERNETES + lines[0],
        *kubernetes,
        *lines[end:],
    ]
    return head + "\n".join(described) + "\n"


# Names of the variables that the platform reads.
SETTINGS = {f"GEO_PLATFORM_{name.upper()}" for name in Settings.model_fields}


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def production_config(launcher: str = LAUNCHERS[0]) -> dict[str, Any]:
    """Return deploy/production/dagster.yaml, parsed."""
    read: dict[str, Any] = yaml.safe_load(production_with(launcher))
    return read


def environment_read_by(config: object) -> set[str]:
    """Return the variables that a dagster.yaml takes from the environment: `{env: NAME}`."""
    if isinstance(config, Mapping):
        own = {str(config["env"])} if set(config) == {"env"} else set()
        return own.union(*map(environment_read_by, config.values()))
    return set().union(*map(environment_read_by, config)) if isinstance(config, list) else set()


def check_command(command: Sequence[str]) -> None:
    """Check that the program is installed, and its files and modules are in the repository."""
    program, *arguments = command
    assert program in {entry.name for entry in entry_points(group="console_scripts")} | {"python"}
    given = dict(pairwise(arguments))
    for option in ("-f", "-w"):
        assert option not in given or (ROOT / given[option]).is_file()
    assert program != "python" or find_spec(given["-m"]) is not None
    assert given.get("-d", image_workdir()) == image_workdir(), (
        "the working directory is not the image's"
    )


def image_instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile as (instruction, arguments), without comments."""
    text = (DEPLOY / "docker" / "Dockerfile").read_text("utf-8")
    lines = (
        "\n".join(line for line in text.splitlines() if not line.startswith("#"))
        .replace("\\\n", " ")
        .splitlines()
    )
    return [
        (line.split(None, 1)[0], " ".join(line.split(None, 1)[1].split()))
        for line in lines
        if line.strip()
    ]


def image_environment() -> dict[str, str]:
    """Return the variables that the image's last stage sets, except PATH."""
    instructions = image_instructions()
    last = max(
        number for number, (instruction, _) in enumerate(instructions) if instruction == "FROM"
    )
    pairs = [
        pair
        for instruction, rest in instructions[last:]
        if instruction == "ENV"
        for pair in rest.split()
    ]
    return {
        name: value for name, _, value in (pair.partition("=") for pair in pairs) if name != "PATH"
    }


def image_workdir() -> str:
    return [rest for instruction, rest in image_instructions() if instruction == "WORKDIR"][-1]


@contextmanager
def dagster(home: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Run the commands of compose.yaml on the dagster.yaml in `home`; yield the UI's address.

    They start code location, webserver and daemon.
    """
    code_port, port = free_port(), free_port()
    workspace = home.parent / "workspace.yaml"
    served = (DEPLOY / "docker" / "workspace.yaml").read_text("utf-8")
    workspace.write_text(
        served.replace("host: code", "host: 127.0.0.1").replace("4000", str(code_port)),
        encoding="utf-8",
    )
    here = {
        "0.0.0.0": "127.0.0.1",  # noqa: S104  # replaced by loopback
        "4000": str(code_port),
        "3000": str(port),
        image_workdir(): str(ROOT),
        "deploy/docker/workspace.yaml": str(workspace),
    }
    own = {"DAGSTER_HOME": str(home), **environment}
    with process("code", command_of("code", here), own, home.parent) as code:
        _until(lambda: answers(code_port) and _is_healthy(code_port), code)
        with (
            process("daemon", command_of("daemon", here), own, home.parent),
            process("webserver", command_of("webserver", here), own, home.parent) as webserver,
        ):
            _until(lambda: _serves(port), webserver)
            yield f"http://127.0.0.1:{port}{PREFIX}"


def command_of(service: str, here: Mapping[str, str]) -> list[str]:
    """Return a service's command in compose.yaml, with the replacements in `here`."""
    program, *arguments = read_yaml(DEPLOY / "docker" / "compose.yaml")["services"][service][
        "command"
    ]
    return [_script(program), *(here.get(argument, argument) for argument in arguments)]


def _is_healthy(port: int) -> bool:
    """Ask as the image's health check does."""
    check = [_script("dagster"), "api", "grpc-health-check", "-p", str(port)]
    return subprocess.run(check, cwd=ROOT, capture_output=True, check=False).returncode == 0


def _serves(port: int) -> bool:
    """Ask as the webserver's health check does."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{PREFIX}/server_info", timeout=5):
            return True
    except OSError:
        return False


@contextmanager
def process(
    name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path
) -> Iterator[Path]:
    """Run a command until the context ends, with its log in `folder`."""
    path = folder / f"{name}.log"
    with path.open("wb") as log:
        started = subprocess.Popen(
            command,
            cwd=ROOT,
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "LANG": "C.UTF-8",
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield path
    finally:
        _end(started)


def launch(address: str, job: str, location: str = "geo_platform") -> str:
    """Queue a run of a job without partitions and return its id."""
    selector = {
        "repositoryName": "__repository__",
        "repositoryLocationName": location,
        "jobName": job,
    }
    answer = graphql(
        address, LAUNCH, params={"selector": selector, "runConfigData": {}, "mode": "default"}
    )["launchRun"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return str(answer["run"]["runId"])


def ended(address: str, run_id: str, *, timeout_s: float = 120) -> str:
    """Wait for the run's end and return its last status."""
    deadline = time.monotonic() + timeout_s
    while (status := str(graphql(address, STATUS, id=run_id)["runOrError"]["status"])) not in (
        "SUCCESS",
        "FAILURE",
        "CANCELED",
    ):
        if time.monotonic() > deadline:
            raise TimeoutError(f"run {run_id} is still {status}")
        time.sleep(0.3)
    return status


def _script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _until(holds: Callable[[], bool], log: Path, *, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"{log.stem} is not ready:\n{log.read_text(errors='replace')[-3000:]}"
            )
        time.sleep(0.2)


def _end(started: subprocess.Popen[bytes]) -> None:
    """Kill the process and its children, so that nothing outlives the test."""
    with suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)
    started.wait(10)
