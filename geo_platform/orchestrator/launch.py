"""Execute a job in this process and read a run's state, for commands that use no Dagster server.

Called by `cli/application.py`.
"""

import socket
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Any, Self

import dagster as dg

from geo_platform.chains.registry import SHARED_JOB
from geo_platform.dagster_internals import fail_run, failure_text, log_entries
from geo_platform.errors import UnexpectedFault
from geo_platform.orchestrator.instance import (
    HOST_TAG,
    PROCESS_TAG,
    UNFINISHED_STATUSES,
    open_instance,
    storage_errors,
)
from geo_platform.orchestrator.left_staged import discard_after
from geo_platform.orchestrator.run_history import step_error
from geo_platform.orchestrator.shared_runs import retry_request
from geo_platform.orchestrator.state_check import check_ended
from geo_platform.runs import PARTITION_TAG, RetryRequest, RunReport, RunRequest
from geo_platform.settings import Settings
from geo_platform.storage.local.process import this_process

_SILENT = {"console": {"config": {"log_level": "CRITICAL"}}}
_INTERRUPTED = "The run was interrupted. Its checkpoints show what it had published by then."


class InProcessLauncher:
    """Implement `cli.application.Launcher` on one Dagster instance."""

    def __init__(self, definitions: dg.Definitions, settings: Settings, template: Path) -> None:
        self._definitions = definitions
        self._settings = settings
        self._template = template

    def __enter__(self) -> Self:
        self._exit_stack = ExitStack()
        instance = open_instance(self._settings, self._template)
        self._instance = self._exit_stack.enter_context(instance)
        return self

    def __exit__(self, *_: object) -> None:
        self._exit_stack.close()

    def run(self, request: RunRequest) -> RunReport:
        """Execute the job as the function `run` does, in a separate thread, so that Ctrl-C works.

        In the main thread Dagster handles the signal itself and mostly loses the signal, and GDAL
        does not check for it.

        Raises KeyboardInterrupt: Ctrl-C. The run is then marked as failed, but its thread ends only
        with the process, so the caller has to exit at once. Raises StoreDenied,
        DatabaseUnavailable, StoreUnavailable: Dagster's storage failed meanwhile. Raises
        dagster.DagsterInvalidConfigError: the options do not fit the job. Raises UnexpectedFault:
        the executed run is not in Dagster's storage.
        """
        done: Future[RunReport] = Future()

        def work() -> None:
            try:
                report = run(request, self._definitions, self._instance)
                check_ended(self._instance, report.run_id, self._settings)
                discard_after(self._instance, report.run_id, self._settings)
                done.set_result(report)
            except BaseException as error:  # noqa: BLE001  # handed to the main thread, which raises it
                done.set_exception(error)

        Thread(target=work, name="run", daemon=True).start()
        try:
            with storage_errors(self._settings):
                return done.result()
        except KeyboardInterrupt:
            of_this_process = dg.RunsFilter(
                statuses=UNFINISHED_STATUSES, tags={PROCESS_TAG: this_process()}
            )
            for record in self._instance.get_run_records(of_this_process):
                fail_run(self._instance, record.dagster_run, _INTERRUPTED)
            raise

    def status(self, run_id: str) -> RunReport | None:
        """Return the state of a run, or None if there is no such run.

        Raises StoreDenied, DatabaseUnavailable, StoreUnavailable: Dagster's storage cannot be used.
        """
        with storage_errors(self._settings):
            return status(run_id, self._instance)

    def retry_of(self, run_id: str) -> RetryRequest | None:
        """Return what a run did not publish and the request that processes it again.

        Return None if there is no such run.

        Raises StoreDenied, DatabaseUnavailable, StoreUnavailable: Dagster's storage cannot be used.
        """
        with storage_errors(self._settings):
            return retry_request(self._instance, run_id)


def run(
    request: RunRequest, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> RunReport:
    """Execute the job in this process, and return its report. A failed run is reported, not raised.

    Raises dagster.DagsterInvalidConfigError: the options do not fit the job. Raises
    UnexpectedFault: the executed run is not in Dagster's storage.
    """
    if request.partition is not None and request.partitions_name is not None:
        instance.add_dynamic_partitions(request.partitions_name, [request.partition])
    executed = definitions.resolve_job_def(request.job).execute_in_process(
        run_config={
            "ops": {
                stage: {"config": dict(options)} for stage, options in request.stage_options.items()
            },
            "loggers": _SILENT,
        },
        instance=instance,
        partition_key=request.partition,
        raise_on_error=False,
        tags={**request.tags, PROCESS_TAG: this_process(), HOST_TAG: socket.gethostname()},
    )
    return _report(instance, executed.run_id, executed.all_events)


def status(run_id: str, instance: dg.DagsterInstance) -> RunReport | None:
    """Return the state of a run, or None if there is no such run.

    Raises UnexpectedFault: the run was deleted while its events were read.
    """
    if not instance.get_run_by_id(run_id):
        return None
    entries = log_entries(instance, run_id)
    return _report(
        instance, run_id, [entry.dagster_event for entry in entries if entry.dagster_event]
    )


def _report(
    instance: dg.DagsterInstance, run_id: str, events: Iterable[dg.DagsterEvent]
) -> RunReport:
    record = instance.get_run_record_by_id(run_id)
    if record is None:
        raise UnexpectedFault(f"Dagster's storage no longer has the run {run_id}.")
    seconds: dict[str, float] = {}
    error: Mapping[str, Any] | None = None
    traceback: str | None = None
    result: Mapping[str, Any] | None = None
    output: Mapping[str, Any] | None = None  # the result of an op, which materializes no asset
    failure_message = "The run ended without a result."
    for event in events:
        if event.is_step_success and event.step_key:
            seconds[event.step_key] = event.step_success_data.duration_ms / 1000
        elif event.is_step_failure and event.step_key and error is None:
            error, traceback = step_error(event), failure_text(event, with_stack=True)
        elif event.is_step_materialization:
            result = {
                key: entry.value
                for key, entry in event.step_materialization_data.materialization.metadata.items()
            }
        elif event.is_successful_output and event.step_output_data.metadata:
            output = {key: entry.value for key, entry in event.step_output_data.metadata.items()}
        elif event.is_job_failure and event.message:
            failure_message = event.message
    dagster_run = record.dagster_run
    # A shared run takes several files. Each of its materializations describes one file; the output
    # of its op describes all of them.
    result = output if dagster_run.job_name == SHARED_JOB else result or output
    if error is None and dagster_run.status == dg.DagsterRunStatus.FAILURE:
        error = UnexpectedFault(
            failure_message, remedy="Launch it again; if that fails too, report it with the run id."
        ).as_record()
    return RunReport(
        run_id=run_id,
        job=dagster_run.job_name,
        status=dagster_run.status.value.lower(),
        stage_seconds=seconds,
        result=result if dagster_run.status == dg.DagsterRunStatus.SUCCESS else None,
        error=error,
        partition=dagster_run.tags.get(PARTITION_TAG),
        seconds=(record.end_time or 0) - (record.start_time or 0)
        if record.end_time and record.start_time
        else 0.0,
        traceback=traceback,
    )
