"""One module uses what Dagster does not document as public, and its assumptions still hold."""

import ast
import inspect
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._annotations import is_public
from dagster._core.events import EngineEventData
from dagster._core.log_manager import LOG_RECORD_EVENT_ATTR, DagsterLogHandler

from geo_platform import dagster_internals
from geo_platform.dagster_internals import (
    as_failure,
    checkpoint_of,
    engine_value,
    failure_metadata,
    failure_text,
    heartbeat_s,
    is_on_postgres,
    log_entries,
    pools,
    record_checkpoints_as_events,
    report_event,
    run_events,
    run_ids,
    start_timeout_s,
)
from geo_platform.errors import CrsMissing
from geo_platform.telemetry.checkpoints import Checkpoint, report
from tests.support.command import ROOT

INTERNALS = Path(inspect.getfile(dagster_internals))
SOURCES = sorted(
    path
    for folder in ("geo_platform", "assets", "resources", "schedules")
    for path in (ROOT / folder).rglob("*.py")
)
LOGGED = {"python_logs": {"managed_python_loggers": ["geo_platform"], "python_log_level": "INFO"}}

# Attributes of dg.DagsterInstance that the module uses although they are not public.
NOT_PUBLIC = {
    "add_run_tags",
    "all_instigator_state",
    "all_logs",
    "event_log_storage",
    "get_concurrency_config",
    "get_daemon_heartbeats",
    "get_records_for_run",
    "get_run_ids",
    "get_run_stats",
    "get_runs_count",
    "get_yaml_python_handlers",
    "optimize_for_webserver",
    "report_engine_event",
    "report_run_failed",
    "run_launcher",
    "run_monitoring_enabled",
    "run_monitoring_start_timeout_seconds",
    "run_storage",
}
# Modules that change how modules are found, and why.
MODULES_BY_STRING = {
    "geo_platform/application_root.py": "commands import the application of their root",
    "geo_platform/contracts/dagster_graph.py": "Dagster keeps only the names of a declared class",
}
# Modules that change the environment, and why.
ENVIRONMENT = {
    "geo_platform/process_start.py": "OpenBLAS reads its number of threads when NumPy is imported",
    "geo_platform/settings.py": "resources in Dagster's processes read the home of a command",
    "geo_platform/orchestrator/instance.py": "DagsterInstance.get reads DAGSTER_HOME",
    "geo_platform/storage/postgres/connections.py": "libpq reads the name of Dagster's connections",
    "geo_platform/telemetry/tracing_sdk.py": "Azure's exporter reads whether it reports its usage",
}


def _nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text("utf-8")))


def _is_public(name: str) -> bool:
    found = inspect.getattr_static(dg.DagsterInstance, name)
    return is_public(found) or (isinstance(found, property) and is_public(found.fget))


def _instance_attributes(path: Path) -> set[str]:
    """Return the attributes of DagsterInstance that are used of objects named `instance`."""
    found = set()
    for node in _nodes(path):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = getattr(owner, "id", None) or getattr(owner, "attr", None)
            if name in ("instance", "_instance") and hasattr(dg.DagsterInstance, node.attr):
                found.add(node.attr)
    return found


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _private_imports(path: Path) -> set[str]:
    return {
        alias.name if isinstance(node, ast.Import) else str(node.module)
        for node in _nodes(path)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if (alias.name if isinstance(node, ast.Import) else str(node.module)).startswith(
            "dagster._"
        )
    }


def test_only_the_internals_module_uses_what_is_not_public() -> None:
    used = {
        _relative(path): private
        for path in SOURCES
        if path != INTERNALS
        and (
            private := _private_imports(path)
            | {name for name in _instance_attributes(path) if not _is_public(name)}
        )
    }
    assert used == {}


def test_the_internals_module_uses_exactly_the_listed_attributes() -> None:
    used = {name for name in _instance_attributes(INTERNALS) if not _is_public(name)}
    assert used == NOT_PUBLIC, "an attribute that became public is used directly"


def _imports_by_string(path: Path) -> bool:
    expressions = (ast.expr, ast.Import, ast.ImportFrom)
    texts = {ast.unparse(node) for node in _nodes(path) if isinstance(node, expressions)}
    by_string = {"sys.path", "import importlib", "from importlib import import_module"}
    return not texts.isdisjoint(by_string)


def _changes_environment(path: Path) -> bool:
    calls = {f"os.environ.{name}" for name in ("setdefault", "update", "pop")} | {"os.putenv"}
    for node in _nodes(path):
        if isinstance(node, ast.Assign | ast.Delete | ast.AugAssign):
            targets = [node.target] if isinstance(node, ast.AugAssign) else node.targets
            if any(ast.unparse(target).startswith("os.environ") for target in targets):
                return True
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in calls:
            return True
    return False


def test_modules_are_imported_by_name() -> None:
    assert {_relative(path) for path in SOURCES if _imports_by_string(path)} == set(
        MODULES_BY_STRING
    )


def test_only_the_listed_modules_change_the_environment() -> None:
    assert {_relative(path) for path in SOURCES if _changes_environment(path)} == set(ENVIRONMENT)


def _run(instance: dg.DagsterInstance, asset: dg.AssetsDefinition) -> str:
    silent = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return dg.materialize(
        [asset], instance=instance, run_config=silent, raise_on_error=False
    ).run_id


def test_a_checkpoint_in_a_run_is_one_entry_with_its_fields() -> None:
    record_checkpoints_as_events()

    @dg.asset
    def reporting() -> None:
        report(Checkpoint.COG_VERIFIED, "in words", duration_ms=1.23, tier="analysis", pixels=3)

    with dg.DagsterInstance.ephemeral(settings=LOGGED) as instance:
        entries = log_entries(instance, _run(instance, reporting))
    (entry,) = [entry for entry in entries if "in words" in entry.user_message]
    fields = checkpoint_of(entry)
    assert fields is not None
    assert (fields.checkpoint, fields.duration_ms) == (Checkpoint.COG_VERIFIED, 1.2)
    assert fields.details == {"tier": "analysis", "pixels": 3}
    assert entry.step_key == "reporting"
    # Storage takes the step of an event from the event.
    assert entry.dagster_event is not None
    assert entry.dagster_event.step_key == "reporting"
    assert entry.level == logging.INFO


def test_outside_of_a_run_a_checkpoint_is_only_a_log_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    record_checkpoints_as_events()
    with caplog.at_level(logging.INFO, "geo_platform"):
        report(Checkpoint.COG_VERIFIED, "in words")
    assert not hasattr(caplog.records[-1], LOG_RECORD_EVENT_ATTR)


def test_an_event_reported_on_a_run_has_its_metadata() -> None:
    @dg.asset
    def nothing() -> None: ...

    with dg.DagsterInstance.ephemeral() as instance:
        run_id = _run(instance, nothing)
        run = instance.get_run_by_id(run_id)
        assert run is not None
        report_event(instance, run, "in words", {"pid": "17"})
        records = run_events(instance, run_id, dg.DagsterEventType.ENGINE_EVENT, page=1)
        values = [engine_value(record.event_log_entry, "pid") for record in records]
        assert values[-1] == "17"
        assert list(run_ids(instance, page=1)) == [run_id]


def test_a_failure_carries_the_record_of_its_error() -> None:
    error = CrsMissing("No CRS.")

    @dg.asset
    def refusing() -> None:
        raise as_failure(error)

    with dg.DagsterInstance.ephemeral() as instance:
        entries = log_entries(instance, _run(instance, refusing), dg.DagsterEventType.STEP_FAILURE)
    (event,) = [entry.dagster_event for entry in entries]
    assert event is not None
    metadata = {name: value.value for name, value in failure_metadata(event).items()}
    assert metadata == error.as_record()
    assert "Failure" in (failure_text(event) or "")


def test_an_unused_instance_has_empty_records() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert heartbeat_s(instance, dagster_internals.QUEUE_DAEMON) is None
        assert pools(instance) == {}
        assert dagster_internals.pool_limits(instance) == {}
        assert start_timeout_s(instance) is None
        assert not is_on_postgres(instance)
        assert not dagster_internals.has_worker_health(instance)
        assert dagster_internals.count_runs(instance, dg.RunsFilter()) == 0
        assert dagster_internals.log_handlers(instance) == []
        config = dagster_internals.concurrency_config(instance)
        assert (config.run_queue_config, config.pool_config.pool_granularity) == (None, None)


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (dg.DagsterInstance.all_logs, {"run_id", "of_type"}),
        (dg.DagsterInstance.get_records_for_run, {"run_id", "cursor", "of_type", "limit"}),
        (
            dg.DagsterInstance.report_engine_event,
            {"message", "dagster_run", "engine_event_data"},
        ),
        (dg.DagsterInstance.all_instigator_state, set()),
        (dg.DagsterInstance.report_run_failed, {"dagster_run", "message"}),
        (dg.DagsterInstance.get_run_ids, {"cursor", "limit"}),
        (
            dg.DagsterInstance.optimize_for_webserver,
            {"statement_timeout", "pool_recycle", "max_overflow"},
        ),
        (EngineEventData.__new__, {"metadata", "error"}),
        (dg.DagsterEvent.__new__, {"event_type_value", "job_name", "step_key", "message"}),
        (DagsterLogHandler.__init__, {"metadata", "handlers"}),
    ],
)
def test_private_functions_still_have_the_parameters_used(
    function: Any, parameters: set[str]
) -> None:
    assert parameters <= inspect.signature(function).parameters.keys()


def test_dagster_on_postgresql_calls_has_table_for_every_event_of_an_asset() -> None:
    from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
    from dagster_postgres import PostgresEventLogStorage

    assert callable(PostgresEventLogStorage.has_table)
    assert "self.has_table(" in inspect.getsource(SqlEventLogStorage)
