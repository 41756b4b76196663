"""Check that the run config of jobs, schedules and sensors fits the job.

Dagster checks the config of a schedule or sensor only when it launches a run. This module does the
same check (`dagster.validate_run_config`) while the definitions load. It runs no user code.
Therefore a sensor or a decorated schedule declares its config models as metadata
(`dagster_graph.config_metadata`); without this declaration its config is not checked.

Called by `verify.py`.
"""

import re
import typing
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from dagster import (
    DagsterError,
    DagsterInvalidConfigError,
    Definitions,
    JobDefinition,
    OpDefinition,
    RunConfig,
    ScheduleDefinition,
    SensorDefinition,
    build_schedule_context,
    define_asset_job,
    validate_run_config,
)

from geo_platform.contracts.compatibility import faults
from geo_platform.contracts.dagster_graph import declared_config
from geo_platform.contracts.fault import NOTHING, Fault, FaultKind

_JOB_ORIGIN = "its run config"
_ANY_TICK = datetime(2026, 1, 1, tzinfo=UTC)


def config_faults(definitions: Definitions) -> list[Fault]:
    """Return a fault for each run config that does not fit and each job that cannot be resolved."""
    jobs: dict[str, JobDefinition] = {}
    launchers = [*(definitions.schedules or ()), *(definitions.sensors or ())]
    broken = _broken_jobs(definitions)
    found_faults = [
        fault
        for name, error in broken.items()
        for fault in _config_faults(_JOB_ORIGIN, name, error)
    ]
    if broken:
        # Dagster resolves no job at all if one job of the definitions is broken.
        valid_jobs = [job for job in definitions.jobs or () if job.name not in broken]
        definitions = Definitions(
            assets=definitions.assets, resources=definitions.resources, jobs=valid_jobs
        )
    names = [job.name for job in definitions.jobs or ()] + [
        name for launcher in launchers for name in _targets(launcher)
    ]
    for name in dict.fromkeys(name for name in names if name not in broken):
        try:
            job = definitions.resolve_job_def(name)
            found_faults.extend(run_config_faults(job, job.run_config, _JOB_ORIGIN))
            jobs[name] = job
        except DagsterInvalidConfigError as error:
            found_faults.extend(
                _asset_job_faults(definitions, name) or _config_faults(_JOB_ORIGIN, name, error)
            )
        except DagsterError as error:
            found_faults.append(
                Fault(
                    FaultKind.unresolved, "", "", "definitions", f"job {name}", note=_reason(error)
                )
            )
    for launcher in launchers:
        for target in (jobs[name] for name in _targets(launcher) if name in jobs):
            found_faults.extend(_launch_faults(launcher, target))
    return found_faults


def run_config_faults(
    job: JobDefinition, run_config: RunConfig | Mapping[str, Any] | None, origin: str
) -> list[Fault]:
    """Return a fault for each part of the run config that Dagster refuses. `None` has no faults."""
    if run_config is None:
        return []
    try:
        validate_run_config(
            job, run_config if isinstance(run_config, RunConfig) else dict(run_config)
        )
    except DagsterInvalidConfigError as error:
        return _config_faults(origin, job.name, error)
    return []


def _broken_jobs(definitions: Definitions) -> dict[str, DagsterInvalidConfigError]:
    """Return the jobs of ops whose config does not fit. Reading their `run_config` raises."""
    broken: dict[str, DagsterInvalidConfigError] = {}
    for job in definitions.jobs or ():
        try:
            getattr(job, "run_config", None)
        except DagsterInvalidConfigError as error:
            broken[job.name] = error
    return broken


def _asset_job_faults(definitions: Definitions, name: str) -> list[Fault]:
    """Return the faults of the config of an asset job, with full paths.

    The error that Dagster raises does not name the op. Therefore the job is resolved without its
    config, and the config is then validated against this job.
    """
    job: Any = next(job for job in definitions.jobs or () if job.name == name)
    bare_job = define_asset_job(name, selection=job.selection, executor_def=job.executor_def)
    bare = Definitions(assets=definitions.assets, resources=definitions.resources, jobs=[bare_job])
    return run_config_faults(bare.resolve_job_def(name), job.config, _JOB_ORIGIN)


def _launch_faults(launcher: object, job: JobDefinition) -> Iterator[Fault]:
    if not isinstance(launcher, ScheduleDefinition | SensorDefinition):
        return
    origin = (
        f"{'schedule' if isinstance(launcher, ScheduleDefinition) else 'sensor'} {launcher.name}"
    )
    declared = dict(declared_config(launcher.metadata))
    if declared:
        yield from _model_faults(declared, job, origin)
    elif isinstance(launcher, ScheduleDefinition) and not hasattr(launcher, "__wrapped__"):
        yield from _tick_faults(launcher, job, origin)


def _tick_faults(schedule: ScheduleDefinition, job: JobDefinition, origin: str) -> Iterator[Fault]:
    """Check the run config of a schedule that has no user function, by evaluating a tick."""
    tick = schedule.evaluate_tick(build_schedule_context(scheduled_execution_time=_ANY_TICK))
    for request in tick.run_requests or ():
        yield from run_config_faults(job, request.run_config, origin)


def _model_faults(declared: Mapping[str, Any], job: JobDefinition, origin: str) -> Iterator[Fault]:
    ops = {node.name: node.definition for node in job.graph.nodes}
    for name, model in declared.items():
        consumer = f"job {job.name}, op {name}"
        if name not in ops:
            yield Fault(
                FaultKind.config_model,
                model.__name__,
                NOTHING,
                origin,
                consumer,
                note=f"the job has no op `{name}`",
            )
        elif (op_model := _config_model(ops[name])) is None:
            yield Fault(
                FaultKind.config_model,
                model.__name__,
                NOTHING,
                origin,
                consumer,
                note="the op takes no config model",
            )
        else:
            yield from (
                fault.between(producer=origin, consumer=consumer)
                for fault in faults(model, op_model)
            )
    for name, definition in ops.items():
        if (
            name not in declared
            and isinstance(definition, OpDefinition)
            and _needs_config(definition)
        ):
            op_model = _config_model(definition)
            needs = op_model.__name__ if op_model else "config"
            yield Fault(
                FaultKind.config_model,
                NOTHING,
                needs,
                origin,
                f"job {job.name}, op {name}",
                note="the op has required fields",
            )


def _config_model(definition: object) -> Any:
    """Return the annotation of the `config` parameter of the op, or None if it has none."""
    function = getattr(getattr(definition, "compute_fn", None), "decorated_fn", None)
    return typing.get_type_hints(function).get("config") if function else None


def _needs_config(definition: OpDefinition) -> bool:
    return definition.config_field is not None and definition.config_field.is_required


def _targets(launcher: object) -> list[str]:
    if isinstance(launcher, ScheduleDefinition):
        return [launcher.job_name]
    if isinstance(launcher, SensorDefinition):
        return (
            [job.name for job in launcher.jobs]
            if launcher.has_jobs
            else [target.job_name for target in launcher.targets or ()]
        )
    return []


def _config_faults(origin: str, job_name: str, refused: DagsterInvalidConfigError) -> list[Fault]:
    return [
        _config_fault(origin, job_name, " ".join(problem.message.split()))
        for problem in refused.errors
    ]


def _config_fault(origin: str, job_name: str, message: str) -> Fault:
    path = re.search(r"root((?::[^:\s.,]+)+)", message)
    field = path[1].strip(":").replace(":", ".") if path else ""
    return Fault(FaultKind.run_config, "", "", origin, f"job {job_name}", field, message)


def _reason(error: BaseException) -> str:
    """Return the innermost message of a chained Dagster error, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())
