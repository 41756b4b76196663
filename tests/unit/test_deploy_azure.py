"""The templates and chart values in deploy/azure are consistent with each other and with the code.

No cloud and no chart is available in a test: KEYS lists the keys used of the chart's values.yaml
and schema, version 1.13.
"""

import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from geo_platform.api.auth.guard import OPEN_PATHS
from geo_platform.api.dagster.proxy import PREFIX
from geo_platform.ports import BRONZE, MESSAGES, QUARANTINE, SILVER
from geo_platform.settings import Settings
from geo_platform.storage.azure.queue import POISON
from tests.support.deployment import (
    DEPLOY,
    SETTINGS,
    check_command,
    environment_read_by,
    image_environment,
    production_config,
    read_yaml,
)

VALUES = DEPLOY / "azure" / "values-aks.yaml"
CONTAINER_APPS = DEPLOY / "azure" / "container-apps.json"
STORAGE = DEPLOY / "azure" / "storage.json"
KEYS: Mapping[str, set[str]] = {
    "": {
        "global", "serviceAccount", "postgresql", "generatePostgresqlPasswordSecret",
        "generateCeleryConfigSecret", "dagsterWebserver", "dagster-user-deployments", "runLauncher",
        "dagsterDaemon", "concurrency", "computeLogManager", "pythonLogs", "retention", "telemetry",
        "additionalInstanceConfig",
    },
    "global": {"dagsterHome", "serviceAccountName", "postgresqlSecretName"},
    "serviceAccount": {"create", "annotations"},
    "postgresql": {
        "enabled", "postgresqlHost", "postgresqlUsername", "postgresqlDatabase", "postgresqlParams",
        "service",
    },
    "dagsterWebserver": {
        "image", "labels", "envConfigMaps", "podSecurityContext", "securityContext", "nameOverride",
        "pathPrefix", "enableReadOnly", "service", "readinessProbe",
    },
    "dagster-user-deployments": {"enabled", "deployments"},
    "dagsterDaemon": {
        "image", "labels", "envConfigMaps", "podSecurityContext", "securityContext",
        "runCoordinator", "sensors", "runMonitoring", "runRetries",
    },
    "concurrency": {"enabled", "runs", "pools"},
    "pythonLogs": {"pythonLogLevel", "managedPythonLoggers", "dagsterHandlerConfig"},
}  # fmt: skip


@pytest.fixture(scope="module")
def storage() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(STORAGE.read_text("utf-8"))
    return loaded


@pytest.mark.parametrize("path", [STORAGE, CONTAINER_APPS], ids=lambda path: path.stem)
def test_templates_use_exactly_what_they_declare(path: Path) -> None:
    text = path.read_text("utf-8")
    template = json.loads(text)
    assert {"$schema", "contentVersion", "resources"} <= set(template)
    for kind in ("parameters", "variables"):
        used = set(re.findall(rf"{kind}\('(\w+)'\)", text))
        assert used == set(template.get(kind, {})), f"{kind} that are used, and declared"
    for resource in template["resources"]:
        assert {"type", "apiVersion", "name"} <= set(resource)
    for expression in re.findall(r'"(\[[a-z][^"]*)"', text):
        assert expression.endswith("]")
        assert expression.count("(") == expression.count(")"), expression


def test_the_account_has_the_containers_of_the_code_and_of_the_compute_logs(
    storage: dict[str, Any],
) -> None:
    logs = production_config()["compute_logs"]["config"]
    assert storage["variables"]["containers"] == [
        BRONZE,
        SILVER,
        QUARANTINE,
        MESSAGES,
        logs["container"],
    ]
    (policy,) = (
        resource
        for resource in storage["resources"]
        if resource["type"].endswith("/managementPolicies")
    )
    (rule,) = policy["properties"]["policy"]["rules"]
    assert rule["definition"]["filters"]["prefixMatch"] == [
        f"{logs['container']}/{logs['prefix']}/"
    ]


def test_the_queue_receives_events_of_complete_objects_in_bronze_only(
    storage: dict[str, Any],
) -> None:
    (subscription,) = (
        resource
        for resource in storage["resources"]
        if resource["type"].endswith("/eventSubscriptions")
    )
    event_filter = subscription["properties"]["filter"]
    assert event_filter["subjectBeginsWith"] == f"/blobServices/default/containers/{BRONZE}/blobs/"
    assert event_filter["includedEventTypes"] == ["Microsoft.Storage.BlobCreated"]
    (whole,) = event_filter["advancedFilters"]
    assert "PutBlockList" in whole["values"]
    assert "PutBlock" not in whole["values"]
    assert "SftpCommit" in whole["values"]
    assert not {"CreateFile", "SftpCreate"} & set(whole["values"])
    destination = subscription["properties"]["destination"]
    assert (destination["endpointType"], destination["properties"]["queueName"]) == (
        "StorageQueue",
        "[parameters('queue')]",
    )


def test_the_queue_has_the_name_in_the_settings_and_a_poison_queue(
    storage: dict[str, Any],
) -> None:
    name = storage["parameters"]["queue"]
    assert (
        Settings.model_validate({"arrivals_queue": name["defaultValue"]}).arrivals_queue
        == name["defaultValue"]
    )
    assert name["maxLength"] + len(POISON) == 63, "the longest name of a queue"
    assert storage["variables"]["queues"] == [
        "[parameters('queue')]",
        f"[format('{{0}}{POISON}', parameters('queue'))]",
    ]
    (queues,) = (
        resource
        for resource in storage["resources"]
        if resource["type"].endswith("/queueServices/queues")
    )
    assert queues["copy"]["count"] == "[length(variables('queues'))]"
    apps = json.loads(CONTAINER_APPS.read_text("utf-8"))
    (settings,) = yaml.safe_load_all((DEPLOY / "azure" / "aks-settings.yaml").read_text())
    given = {
        apps["parameters"]["arrivalsQueue"]["defaultValue"],
        settings["data"]["GEO_PLATFORM_ARRIVALS_QUEUE"],
    }
    assert given == {name["defaultValue"]}


def test_the_identity_has_the_roles_that_queues_and_blobs_need(
    storage: dict[str, Any],
) -> None:
    """Storage Queue Data Message Processor is too little: it cannot update or put a message."""
    roles = {role["name"] for role in storage["variables"]["roles"]}
    assert roles == {"Storage Blob Data Contributor", "Storage Queue Data Contributor"}


def test_the_apps_have_every_variable_that_the_launcher_forwards() -> None:
    template = json.loads(CONTAINER_APPS.read_text("utf-8"))
    given = {entry["name"]: entry for entry in template["variables"]["environment"]}
    handed_on = set(production_config()["run_launcher"]["config"]["env_vars"])
    empty_in_the_image = {name for name, value in image_environment().items() if not value}
    # The image of the containers of runs, and the queue that sensors read: the code location needs
    # both, runs need neither.
    assert set(given) == (handed_on - empty_in_the_image) | {
        "DAGSTER_CURRENT_IMAGE",
        "GEO_PLATFORM_ARRIVALS_QUEUE",
    }
    secret = {name for name, entry in given.items() if "secretRef" in entry}
    assert secret == {"GEO_PLATFORM_POSTGRES_URL", "GEO_PLATFORM_DAGSTER_POSTGRES_URL"}
    secrets = ("postgresUrl", "dagsterPostgresUrl", "otlpHeaders", "applicationInsights")
    assert all(template["parameters"][name]["type"] == "securestring" for name in secrets)


def test_the_apps_have_a_destination_of_spans_only_where_a_parameter_is_set() -> None:
    """Container Apps refuses an empty secret: entry and secret exist together or not at all."""
    template = json.loads(CONTAINER_APPS.read_text("utf-8"))
    (app,) = template["resources"]
    (container,) = app["properties"]["template"]["containers"]
    value = r"('[\w-]+'|parameters\('\w+'\))"
    optional_entry = (
        r"if\(empty\(parameters\('(\w+)'\)\), createArray\(\), "
        rf"createArray\(createObject\('name', '([\w-]+)', '(\w+)', {value}\)\)\)"
    )
    entries = {
        parameter: (name, kind, expression)
        for parameter, name, kind, expression in re.findall(optional_entry, container["env"])
    }
    secrets = {
        name: (kind, expression)
        for _, name, kind, expression in re.findall(
            optional_entry, app["properties"]["configuration"]["secrets"]
        )
    }
    assert container["env"].startswith(
        "[concat(variables('environment'), variables('roles')[copyIndex()].environment, if("
    )
    assert {name for name, _, _ in entries.values()} <= set(
        production_config()["run_launcher"]["config"]["env_vars"]
    )
    assert {name for name, _, _ in entries.values()} >= {
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "APPLICATIONINSIGHTS_CONNECTION_STRING",
    }
    for parameter, (_, kind, expression) in entries.items():
        assert template["parameters"][parameter]["defaultValue"] == ""
        resolved = secrets.pop(expression.strip("'")) if kind == "secretRef" else (kind, expression)
        assert resolved == ("value", f"parameters('{parameter}')")
    assert not secrets


def test_the_commands_of_the_apps_exist_and_their_ports_agree() -> None:
    roles = {
        role["name"]: role
        for role in json.loads(CONTAINER_APPS.read_text("utf-8"))["variables"]["roles"]
    }
    for role in roles.values():
        check_command(role["command"])
    (server,) = (
        entry["grpc_server"]
        for entry in read_yaml(DEPLOY / "docker" / "workspace.yaml")["load_from"]
    )
    assert roles[server["host"]]["ingress"]["exposedPort"] == server["port"]
    assert [
        name
        for name, role in roles.items()
        if isinstance(role["ingress"], dict) and role["ingress"]["external"]
    ] == ["api"]
    for role in roles.values():
        if isinstance(role["ingress"], dict):
            named = role["command"][
                role["command"].index("-p" if "-p" in role["command"] else "--port") + 1
            ]
            assert str(role["ingress"]["targetPort"]) == named
            assert all(
                probe["httpGet"]["port"] == role["ingress"]["targetPort"]
                for probe in role["probes"]
            )


def test_the_http_api_reaches_the_webserver_and_is_probed_on_open_routes() -> None:
    template = json.loads(CONTAINER_APPS.read_text("utf-8"))
    roles = {role["name"]: role for role in template["variables"]["roles"]}
    webserver, api = roles["webserver"], roles["api"]
    given = {entry["name"]: entry for entry in api["environment"]}
    assert {name for name in given if name.startswith("GEO_PLATFORM_")} <= SETTINGS
    prefix = webserver["command"][webserver["command"].index("--path-prefix") + 1]
    assert prefix == PREFIX
    assert given["GEO_PLATFORM_DAGSTER_URL"]["value"] == f"http://webserver{prefix}"
    assert webserver["ingress"]["allowInsecure"], "otherwise http is redirected"
    assert [probe["httpGet"]["path"] for probe in webserver["probes"]] == [f"{prefix}/server_info"]
    assert {probe["httpGet"]["path"] for probe in api["probes"]} <= OPEN_PATHS
    (secret,) = (entry["secretRef"] for entry in given.values() if "secretRef" in entry)
    (app,) = template["resources"]
    assert (
        f"createObject('name', '{secret}', 'value', parameters('sessionSecret'))"
        in app["properties"]["configuration"]["secrets"]
    )
    assert template["parameters"]["sessionSecret"]["type"] == "securestring"
    assert not any(role["environment"] for name, role in roles.items() if name != "api")
    for name in ("oidcIssuer", "oidcAudience"):
        assert "defaultValue" not in template["parameters"][name], (
            "the API needs a way to authenticate"
        )


@pytest.fixture(scope="module")
def aks_api() -> dict[str, dict[str, Any]]:
    return {
        document["kind"]: document
        for document in yaml.safe_load_all((DEPLOY / "azure" / "aks-api.yaml").read_text("utf-8"))
    }


def test_the_http_api_on_aks_reaches_the_webservers_and_is_probed(
    aks_api: dict[str, dict[str, Any]], values: dict[str, Any]
) -> None:
    settings, webserver = aks_api["ConfigMap"]["data"], values["dagsterWebserver"]
    assert {name for name in settings if name.startswith("GEO_PLATFORM_")} <= SETTINGS
    assert (webserver["pathPrefix"], webserver["service"]["type"], webserver["enableReadOnly"]) == (
        PREFIX,
        "ClusterIP",
        True,
    )
    assert webserver["readinessProbe"]["httpGet"] == {
        "path": f"{PREFIX}/server_info",
        "port": webserver["service"]["port"],
    }
    release = re.search(r"helm upgrade --install (\S+) ", VALUES.read_text("utf-8"))
    assert release is not None
    # The name follows the chart's templates/helpers/_helpers.tpl.
    host = f"{release[1]}-{webserver['nameOverride']}"
    assert settings["GEO_PLATFORM_DAGSTER_URL"] == f"http://{host}{PREFIX}"
    assert settings["GEO_PLATFORM_DAGSTER_READ_ONLY_URL"] == f"http://{host}-read-only{PREFIX}"
    pods = aks_api["Deployment"]["spec"]["template"]["spec"]
    (container,) = pods["containers"]
    check_command(container["command"])
    (port,) = container["ports"]
    assert container["command"][-2:] == ["--port", str(port["containerPort"])]
    probes = [container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")]
    assert all(probe["path"] in OPEN_PATHS and probe["port"] == port["name"] for probe in probes)
    assert {"requests", "limits"} <= set(container["resources"])


def test_its_pods_are_like_the_others_and_only_they_reach_the_webservers(
    aks_api: dict[str, dict[str, Any]], values: dict[str, Any]
) -> None:
    template, service, policy = (
        aks_api["Deployment"]["spec"]["template"],
        aks_api["Service"]["spec"],
        aks_api["NetworkPolicy"]["spec"],
    )
    pods, labels, webserver = (
        template["spec"],
        template["metadata"]["labels"],
        values["dagsterWebserver"],
    )
    (container,) = pods["containers"]
    assert pods["serviceAccountName"] == values["global"]["serviceAccountName"]
    assert pods["securityContext"] == webserver["podSecurityContext"]
    assert container["securityContext"] == webserver["securityContext"]
    assert webserver["labels"].items() <= labels.items()
    assert container["image"] == f"{webserver['image']['repository']}:{webserver['image']['tag']}"
    loaded = [next(iter(source.values()))["name"] for source in container["envFrom"]]
    assert loaded == [
        "geo-platform-settings",
        aks_api["ConfigMap"]["metadata"]["name"],
        "geo-platform-secrets",
    ]
    assert service["selector"].items() <= labels.items()
    assert service["type"] == "ClusterIP"
    (rule,) = policy["ingress"]
    (allowed_client,) = rule["from"]
    assert (
        allowed_client["podSelector"]["matchLabels"]
        == service["selector"]
        == aks_api["Deployment"]["spec"]["selector"]["matchLabels"]
    )
    (protected,) = policy["podSelector"]["matchExpressions"]
    assert protected == {
        "key": "component",
        "operator": "In",
        "values": ["dagster-webserver", "dagster-webserver-read-only"],
    }


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    loaded: dict[str, Any] = read_yaml(VALUES)
    return loaded


def test_the_values_use_only_keys_of_the_chart(values: dict[str, Any]) -> None:
    for name, keys in KEYS.items():
        assert set(values[name] if name else values) <= keys, name


def test_the_instance_is_the_one_of_the_production_file(values: dict[str, Any]) -> None:
    production = production_config("K8sRunLauncher")
    daemon = values["dagsterDaemon"]
    coordinator = daemon["runCoordinator"]["config"]["queuedRunCoordinator"]
    queued = production["run_coordinator"]["config"]
    assert _snake(coordinator) == {name: queued[name] for name in _snake(coordinator)}
    assert _snake(daemon["sensors"]) == production["sensors"]
    assert _snake(daemon["runMonitoring"]) == production["run_monitoring"]
    assert _snake(daemon["runRetries"]) == production["run_retries"]
    limits = values["concurrency"]
    assert {part: _snake(limits[part]) for part in ("runs", "pools")} == production["concurrency"]
    assert (
        values["computeLogManager"]["config"]["customComputeLogManager"]
        == production["compute_logs"]
    )
    assert (
        values["pythonLogs"]["dagsterHandlerConfig"]
        == production["python_logs"]["dagster_handler_config"]
    )
    assert (
        values["pythonLogs"]["managedPythonLoggers"]
        == production["python_logs"]["managed_python_loggers"]
    )
    assert {
        part: _snake(values["retention"][part]) for part in ("schedule", "sensor")
    } == production["retention"]
    assert values["telemetry"] == production["telemetry"]
    assert values["additionalInstanceConfig"] == {"nux": production["nux"]}
    assert {"KUBERNETES": values["runLauncher"]["type"]} == {
        "KUBERNETES": production["run_launcher"]["class"]
    }


def test_the_launchers_agree(values: dict[str, Any]) -> None:
    chart = _snake(values["runLauncher"]["config"]["k8sRunLauncher"])
    own = production_config("K8sRunLauncher")["run_launcher"]["config"]
    for part in ("load_incluster_config", "image_pull_policy", "resources"):
        assert chart[part] == own[part]
    assert chart["run_k8s_config"]["job_spec_config"] == own["run_k8s_config"]["job_spec_config"]
    labels = own["run_k8s_config"]["pod_template_spec_metadata"]["labels"]
    assert (
        values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"][
            "podTemplateSpecMetadata"
        ]["labels"]
        == labels
    )
    assert own["dagster_home"] == values["global"]["dagsterHome"]


def test_every_pod_has_the_workload_identity_and_the_settings(values: dict[str, Any]) -> None:
    (code,) = values["dagster-user-deployments"]["deployments"]
    (settings,) = yaml.safe_load_all((DEPLOY / "azure" / "aks-settings.yaml").read_text())
    for pod in (values["dagsterWebserver"], values["dagsterDaemon"], code):
        assert pod["labels"] == {"azure.workload.identity/use": "true"}
        assert pod["envConfigMaps"] == [{"name": settings["metadata"]["name"]}]
        assert pod["podSecurityContext"]["runAsUser"] == 10001
    assert "azure.workload.identity/client-id" in values["serviceAccount"]["annotations"]
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in settings["data"], "pods of runs get it from here"
    own = {name for name in settings["data"] if name.startswith("GEO_PLATFORM_")}
    assert own <= SETTINGS
    loaded = environment_read_by(production_config("K8sRunLauncher")["compute_logs"])
    assert loaded <= set(settings["data"])


def test_the_code_location_is_deployed(values: dict[str, Any]) -> None:
    (code,) = values["dagster-user-deployments"]["deployments"]
    check_command(["dagster", "api", "grpc", *code["dagsterApiGrpcArgs"]])


def test_the_chart_has_the_version_of_the_locked_dagster() -> None:
    locked = version("dagster")
    for page in (VALUES, DEPLOY / "azure" / "README.md"):
        assert f"--version {locked}" in page.read_text("utf-8")


def _snake(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the chart's config with names spelled as in dagster.yaml."""
    return {
        re.sub(r"(?<=[a-z])([A-Z])", lambda upper: f"_{upper[1].lower()}", name): _snake_value(
            value
        )
        for name, value in config.items()
    }


def _snake_value(value: Any) -> Any:
    if (
        isinstance(value, dict)
        and "applyLimitPerUniqueValue" not in value
        and not any("/" in name for name in value)
    ):
        return _snake(value)
    return [_snake_value(entry) for entry in value] if isinstance(value, list) else value
