"""The Dagster files in deploy/ agree with each other, the code and the installed packages.

Here they are only read. tests/integration/test_dagster_production.py opens them on PostgreSQL.
"""

import importlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import pytest
from dagster_azure.container_apps.container_context import AcaContainerContext

from geo_platform.arrivals.plan import MemoryClass
from geo_platform.definitions import defs
from geo_platform.runs import MEMORY_TAG
from geo_platform.settings import load_settings
from geo_platform.telemetry.tracing_export import Destinations
from tests.support.deployment import (
    DEPLOY,
    LAUNCHERS,
    PRODUCTION,
    SETTINGS,
    environment_read_by,
    image_environment,
    production_config,
    read_yaml,
)

# Folders whose dagster.yaml differs from production only in where runs execute and where their
# output is kept.
FOLDERS = ["local", "docker"]
CHART_VALUES = DEPLOY / "azure" / "values-aks.yaml"


def _classes_in(config: object) -> Iterator[tuple[str, str]]:
    """Yield (module, class) pairs, except in `dagster.core`, which Dagster redirects itself."""
    if isinstance(config, Mapping):
        module, name = config.get("module"), config.get("class")
        if module and name and not module.startswith("dagster.core"):
            yield module, name
        for value in config.values():
            yield from _classes_in(value)


def test_the_two_production_configs_differ_only_in_the_launcher() -> None:
    one, other = (production_config(launcher) for launcher in LAUNCHERS)
    assert (one.pop("run_launcher")["class"], other.pop("run_launcher")["class"]) == LAUNCHERS
    assert one == other


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_other_configs_differ_from_production_only_where_stated(folder: str) -> None:
    production, other = production_config(), read_yaml(DEPLOY / folder / "dagster.yaml")
    for part in ("run_launcher", "compute_logs"):
        production.pop(part)
        other.pop(part, None)
    assert other["concurrency"].pop("runs")["max_concurrent_runs"] == 2
    assert production["concurrency"].pop("runs")["max_concurrent_runs"] > 2
    if folder == "local":
        handlers = [
            config["python_logs"]["dagster_handler_config"].pop("handlers")
            for config in (production, other)
        ]
        assert {name for handler in handlers for name in handler} == {"json_lines"}
    assert other == production


@pytest.mark.parametrize(
    "path", [*DEPLOY.glob("*/dagster.yaml"), CHART_VALUES], ids=lambda path: path.parent.name
)
def test_every_class_and_formatter_can_be_imported(path: Path) -> None:
    configs = (
        [production_config(launcher) for launcher in LAUNCHERS]
        if path == PRODUCTION
        else [read_yaml(path)]
    )
    named = {pair for config in configs for pair in _classes_in(config)}
    for module, name in named:
        assert isinstance(getattr(importlib.import_module(module), name), type)
    formatter = re.search(r"\(\): ([\w.]+)\.(\w+)", path.read_text("utf-8"))
    assert formatter is not None
    assert isinstance(getattr(importlib.import_module(formatter[1]), formatter[2]), type)


def test_tags_with_a_limit_are_tags_of_jobs() -> None:
    limits = production_config()["concurrency"]["runs"]["tag_concurrency_limits"]
    given = {
        (key, value)
        for job in defs.jobs or ()
        for key, value in defs.resolve_job_def(job.name).tags.items()
    }
    given |= {(MEMORY_TAG, memory.value) for memory in MemoryClass}
    by_value = {
        (limit["key"], limit["value"]) for limit in limits if isinstance(limit["value"], str)
    }
    assert by_value
    assert by_value <= given


def test_no_run_outlives_its_container() -> None:
    production = production_config()
    assert (
        production["run_launcher"]["config"]["run_job_replica_timeout"]
        == production["run_monitoring"]["max_runtime_seconds"]
    )


def test_a_run_container_gets_every_variable_that_its_dagster_file_reads() -> None:
    production = production_config()
    forwarded = set(production["run_launcher"]["config"]["env_vars"])
    assert environment_read_by(production) <= forwarded
    assert {name for name in forwarded if name.startswith("GEO_PLATFORM_")} <= SETTINGS
    assert {
        "GEO_PLATFORM_PROFILE",
        "GEO_PLATFORM_BLOB_ACCOUNT_URL",
        "GEO_PLATFORM_POSTGRES_URL",
    } <= forwarded


def test_a_run_container_gets_the_destination_of_spans_or_empty_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The launcher's own code shows it.

    A forwarded variable that is not set fails a launch, so the image sets these to empty.
    """
    config = production_config()["run_launcher"]["config"]
    telemetry = {name: value for name, value in image_environment().items() if not value}
    for name in config["env_vars"]:
        monkeypatch.setenv(name, "" if name in telemetry else "production")
    context = AcaContainerContext.empty().merge(
        AcaContainerContext.create_from_config({"aca": {"env_vars": config["env_vars"]}})
    )
    assert {name for name, value in context.get_environment_dict().items() if not value} == set(
        telemetry
    )
    settings = load_settings()
    assert not Destinations(
        otlp=bool(settings.otlp_endpoint), azure_monitor=settings.azure_monitor
    ), "an empty variable is no destination"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    assert context.get_environment_dict()["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector:4318"
    assert load_settings().otlp_endpoint is not None
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    with pytest.raises(Exception, match="OTEL_EXPORTER_OTLP_ENDPOINT, but it was not set"):
        context.get_environment_dict()


def test_the_most_expensive_stages_are_in_pools() -> None:
    """An administrator sees these names in the UI, and a limit on one holds back whole runs."""
    pools = {
        asset.op.name: asset.op.pool
        for asset in defs.assets or ()
        if isinstance(asset, dg.AssetsDefinition)
    }
    assert {stage: pool for stage, pool in pools.items() if pool} == {
        "raster_cog": "cog",
        "vector_features": "table_load",
    }
    assert production_config()["concurrency"]["pools"]["granularity"] == "run"
