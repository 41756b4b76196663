"""The image and the compose file name files, commands and settings that exist.

No container engine runs in a test. tests/integration/test_deployed.py starts the commands of the
services as processes.
"""

import ast
import json
import re
import tomllib
from typing import Any

import pytest

from geo_platform.api.auth.guard import OPEN_PATHS
from geo_platform.api.dagster.proxy import PREFIX
from tests.support.command import ROOT
from tests.support.deployment import (
    DEPLOY,
    SETTINGS,
    check_command,
    environment_read_by,
    image_environment,
    image_instructions,
    read_yaml,
)

COMPOSE = DEPLOY / "docker" / "compose.yaml"
OF_THE_PLATFORM = ("code", "webserver", "webserver-read-only", "daemon", "api", "prepare")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    read: dict[str, Any] = read_yaml(COMPOSE)
    return read


def test_the_file_uses_only_keys_of_compose(compose: dict[str, Any]) -> None:
    assert {key for key in compose if not key.startswith("x-")} == {"name", "services", "volumes"}
    known = {
        "build",
        "command",
        "depends_on",
        "environment",
        "healthcheck",
        "image",
        "mem_limit",
        "ports",
        "restart",
        "volumes",
    }
    assert set().union(*compose["services"].values()) <= known
    checks = [
        service["healthcheck"]
        for service in compose["services"].values()
        if "healthcheck" in service
    ]
    assert set().union(*checks) <= {
        "test",
        "interval",
        "timeout",
        "retries",
        "start_period",
        "disable",
    }
    assert all(check["test"][0] == "CMD" for check in checks if "test" in check)


def test_dependencies_exist_and_have_their_condition(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        for name, waited in service.get("depends_on", {}).items():
            awaited = services[name]
            if waited["condition"] == "service_healthy":
                assert (
                    "test" in awaited.get("healthcheck", {})
                    or awaited.get("image") == "geo-platform"
                )
            else:
                assert waited["condition"] == "service_completed_successfully"
                assert awaited["restart"] == "no", f"{name} never completes"


def test_volumes_and_mounted_files_exist(compose: dict[str, Any]) -> None:
    mounts = [
        mount.split(":")
        for service in compose["services"].values()
        for mount in service.get("volumes", [])
    ]
    named = {source for source, *_ in mounts if not source.startswith(".")}
    assert named == set(compose["volumes"])
    assert all(
        (COMPOSE.parent / source).is_file() for source, *_ in mounts if source.startswith(".")
    )
    for service in compose["services"].values():
        if "build" in service:
            context = (COMPOSE.parent / service["build"]["context"]).resolve()
            assert context == ROOT
            assert (context / service["build"]["dockerfile"]).is_file()


def test_settings_exist_and_the_dagster_file_finds_its_variables(
    compose: dict[str, Any],
) -> None:
    read = environment_read_by(read_yaml(DEPLOY / "docker" / "dagster.yaml"))
    for name in OF_THE_PLATFORM:
        environment = set(compose["services"][name]["environment"])
        assert {
            variable for variable in environment if variable.startswith("GEO_PLATFORM_")
        } <= SETTINGS
        assert read <= environment


def test_only_the_preparing_service_has_the_administrator(compose: dict[str, Any]) -> None:
    with_password = {
        name
        for name, service in compose["services"].items()
        if "POSTGRES_PASSWORD" in json.dumps(service)
    }
    assert with_password == {"postgis", "prepare"}


def test_secrets_come_from_the_file_of_the_example(compose: dict[str, Any]) -> None:
    required = set(re.findall(r"\$\{(\w+):\?", json.dumps(compose)))
    listed = {
        line.partition("=")[0]
        for line in (COMPOSE.parent / "example.env").read_text().splitlines()
        if "=" in line and line[0] != "#"
    }
    assert required == listed
    optional = set(re.findall(r"\$\{(\w+):-\}", json.dumps(compose)))
    assert optional == {name for name, value in image_environment().items() if not value}
    passed_on = {
        name for name, value in compose["services"]["api"]["environment"].items() if value is None
    }
    assert optional | passed_on == set(
        re.findall(r"^# (\w+)=", (COMPOSE.parent / "example.env").read_text(), re.MULTILINE)
    )
    assert "${" not in re.sub(r"\$\{\w+:(\?see example\.env|-)\}", "", json.dumps(compose)), (
        "every other secret is checked"
    )
    assert "deploy/docker/.env" in (ROOT / ".gitignore").read_text().splitlines()


def test_only_the_http_api_is_published_and_it_reaches_the_webservers(
    compose: dict[str, Any],
) -> None:
    services = compose["services"]
    assert [name for name, service in services.items() if "ports" in service] == ["api"]
    api = services["api"]
    port = api["command"][api["command"].index("--port") + 1]
    assert api["ports"] == [f"127.0.0.1:{port}:{port}"]
    urls = {
        "webserver": "GEO_PLATFORM_DAGSTER_URL",
        "webserver-read-only": "GEO_PLATFORM_DAGSTER_READ_ONLY_URL",
    }
    for name, setting in urls.items():
        command = services[name]["command"]
        prefix, own = command[command.index("--path-prefix") + 1], command[command.index("-p") + 1]
        assert api["environment"][setting] == f"http://{name}:{own}{prefix}"
        assert (
            f"http://127.0.0.1:{own}{prefix}/server_info"
            in services[name]["healthcheck"]["test"][-1]
        )
        assert prefix == PREFIX
    assert [
        name for name, service in services.items() if "--read-only" in service.get("command", ())
    ] == ["webserver-read-only"]
    path = re.search(rf"http://127\.0\.0\.1:{port}(/\w+)", api["healthcheck"]["test"][-1])
    assert path is not None
    assert path[1] in OPEN_PATHS
    text = COMPOSE.read_text("utf-8")
    assert "run --rm --no-deps api geo-platform keys create" in text, (
        "the API serves no caller without a credential"
    )
    assert set(api["volumes"]) == set(services["code"]["volumes"]), (
        "the keys are in a shared volume"
    )


def test_commands_exist(compose: dict[str, Any]) -> None:
    for name in OF_THE_PLATFORM:
        check_command(compose["services"][name]["command"])


def test_the_workspace_names_the_code_server(compose: dict[str, Any]) -> None:
    (server,) = (
        entry["grpc_server"] for entry in read_yaml(COMPOSE.parent / "workspace.yaml")["load_from"]
    )
    command = compose["services"][server["host"]]["command"]
    assert command[command.index("-p") + 1] == str(server["port"])
    (own,) = (entry["python_file"] for entry in read_yaml(ROOT / "workspace.yaml")["load_from"])
    assert server["location_name"] == own["location_name"]


@pytest.fixture(scope="module")
def dockerfile() -> list[tuple[str, str]]:
    return image_instructions()


def test_the_image_copies_only_what_the_ignore_file_allows(
    dockerfile: list[tuple[str, str]],
) -> None:
    let_through = {
        line[1:].rstrip("/")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        source.removeprefix("./")
        for instruction, rest in dockerfile
        if instruction == "COPY" and "--from" not in rest
        for source in [part for part in rest.split() if not part.startswith("--")][:-1]
    }
    assert {source.split("/")[0] for source in copied} == let_through
    assert all((ROOT / source).exists() for source in copied)


def test_the_image_is_built_from_the_lock_with_the_same_uv(
    dockerfile: list[tuple[str, str]],
) -> None:
    syncs = [rest for instruction, rest in dockerfile if instruction == "RUN" and "uv sync" in rest]
    assert len(syncs) == 2
    assert all({"--locked", "--no-dev", "--all-extras"} <= set(sync.split()) for sync in syncs)
    makefile = (ROOT / "Makefile").read_text()
    version = re.search(r"^UV_VERSION := (\S+)$", makefile, re.MULTILINE)
    assert version is not None
    assert any(f"uv=={version[1]}" in rest for _, rest in dockerfile)


def test_the_image_has_every_extra_that_a_role_needs(dockerfile: list[tuple[str, str]]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ]
    assert {"serve", "production"} <= set(extras), "all of them are in the image"
    exposed = next(rest.split() for instruction, rest in dockerfile if instruction == "EXPOSE")
    assert set(exposed) == {"3000", "4000", "8000"}


def test_nothing_runs_as_root(dockerfile: list[tuple[str, str]]) -> None:
    users = [rest for instruction, rest in dockerfile if instruction == "USER"]
    assert users == ["10001:10001"]
    last = max(
        number
        for number, (instruction, _) in enumerate(dockerfile)
        if instruction in ("RUN", "COPY")
    )
    assert last < [instruction for instruction, _ in dockerfile].index("USER")


def test_the_image_has_the_production_file_where_dagster_reads_it(
    dockerfile: list[tuple[str, str]],
) -> None:
    (environment,) = (
        rest for instruction, rest in dockerfile if instruction == "ENV" and "DAGSTER_HOME" in rest
    )
    variables = dict(pair.split("=", 1) for pair in environment.split())
    assert {name for name in variables if name.startswith("GEO_PLATFORM_")} <= SETTINGS
    copies = [rest.split() for instruction, rest in dockerfile if instruction == "COPY"]
    assert ["deploy/production/dagster.yaml", f"{variables['DAGSTER_HOME']}/dagster.yaml"] in [
        copy[-2:] for copy in copies
    ]


def test_the_command_of_the_image_is_the_code_server(dockerfile: list[tuple[str, str]]) -> None:
    (command,) = (
        ast.literal_eval(rest) for instruction, rest in dockerfile if instruction == "CMD"
    )
    assert command == read_yaml(COMPOSE)["services"]["code"]["command"]
    (check,) = (rest for instruction, rest in dockerfile if instruction == "HEALTHCHECK")
    assert command[command.index("-p") + 1] in check
