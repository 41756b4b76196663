"""Running a job in this process and reading a run's state: what the command line does without a server.

What belongs here: the calls to Dagster's public API. What stays out: choosing what to run, and showing it.
"""

import os
import socket
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from string import Template
from threading import Thread
from typing import Any, Self

import dagster as dg

from geo_platform.errors import UnexpectedFault
from geo_platform.orchestrator.left_staged import discard_after
from geo_platform.orchestrator.shared_runs import SHARED_JOB, retry_of
from geo_platform.orchestrator.state_check import check_ended
from geo_platform.orchestrator.storage_errors import storage_errors
from geo_platform.runs import PARTITION_TAG, RetryRequest, RunReport, RunRequest
from geo_platform.settings import Profile, Settings
from geo_platform.storage.local.atomic import os_errors, own_folder, process_lock, write_atomically
from geo_platform.storage.local.process import is_alive, this_process

PROCESS_TAG = "geo_platform/process"
HOST_TAG = "geo_platform/host"
KILLED = "The process of this run was killed. What it had published by then, its checkpoints say."
_SILENT = {"console": {"config": {"log_level": "CRITICAL"}}}
_UNFINISHED = [
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.NOT_STARTED,
]


def open_instance(
    settings: Settings, template: Path, *, ends_killed_runs: bool = True
) -> dg.DagsterInstance:
    """The Dagster instance of this home, made from the template the first time.

    One process at a time: Dagster makes its tables without asking whether another process is at it. Runs that a killed
    process of this host left unfinished are marked as failed, since nothing else would ever end them; unless it is only looked at.
    Raises StoreDenied, StoreUnavailable where the home cannot be used, StoreDenied, DatabaseUnavailable where the database cannot.
    """
    home = own_folder(settings.dagster_home_dir)
    own_folder(settings.log_file.parent)
    os.environ["DAGSTER_HOME"] = str(home)
    # A handler in dagster.yaml is how the run id gets onto every line of the log file; Dagster calls that way beta.
    warnings.filterwarnings(
        "ignore", message="Handling yaml-defined logging", category=dg.BetaWarning
    )
    with (
        os_errors(f"Dagster's folder {home}"),
        process_lock(home / ".opening"),
        _opened_alone(settings),
    ):
        configuration = home / "dagster.yaml"
        if not configuration.exists():
            filled_in = Template(template.read_text("utf-8")).substitute(LOG_FILE=settings.log_file)
            write_atomically(home, configuration, filled_in.encode())
        instance = dg.DagsterInstance.get()
        ended = _end_killed_runs(instance) if ends_killed_runs else []
    for run_id in ended:
        check_ended(instance, run_id, settings)
        discard_after(instance, run_id, settings)
    return instance


def _opened_alone(settings: Settings) -> AbstractContextManager[None]:
    """A database may be shared by homes and machines, which the lock of one home's folder does not keep apart."""
    if settings.profile is not Profile.production:
        return nullcontext()
    from geo_platform.orchestrator.dagster_database import opened_alone

    return opened_alone(settings)


def _end_killed_runs(instance: dg.DagsterInstance) -> list[str]:
    ended = []
    for run in instance.get_runs(
        dg.RunsFilter(statuses=_UNFINISHED, tags={HOST_TAG: socket.gethostname()})
    ):
        if runs_in_its_tagged_process(run) and not is_alive(run.tags[PROCESS_TAG]):
            instance.report_run_failed(run, KILLED)
            ended.append(run.run_id)
    return ended


def runs_in_its_tagged_process(run: dg.DagsterRun) -> bool:
    """A run that the UI executes again has the tags of the run before it; what the daemon launches has a code location."""
    return PROCESS_TAG in run.tags and run.remote_job_origin is None


class InProcessLauncher:
    """Implements the command line's launcher on one Dagster instance."""

    def __init__(self, definitions: dg.Definitions, settings: Settings, template: Path) -> None:
        self._definitions = definitions
        self._settings = settings
        self._template = template

    def __enter__(self) -> Self:
        self._instance = open_instance(self._settings, self._template)
        return self

    def __exit__(self, *_: object) -> None:
        self._instance.dispose()

    def run(self, request: RunRequest) -> RunReport:
        """As `run`, in a thread of its own: in the main thread Dagster takes Ctrl-C for itself and mostly loses it, and GDAL
        does not look up from its work. An interrupted run is marked as failed; its thread ends with the process, which has
        to end at once. Raises StoreDenied, DatabaseUnavailable where Dagster's database fails under it.
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
            for unfinished in self._instance.get_runs(
                dg.RunsFilter(statuses=_UNFINISHED, tags={PROCESS_TAG: this_process()})
            ):
                self._instance.report_run_failed(
                    unfinished,
                    "The run was interrupted. What it had published by then, its checkpoints say.",
                )
            raise

    def status(self, run_id: str) -> RunReport | None:
        with storage_errors(self._settings):
            return status(run_id, self._instance)

    def retry_of(self, run_id: str) -> RetryRequest | None:
        with storage_errors(self._settings):
            return retry_of(self._instance, run_id)


def run(
    request: RunRequest, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> RunReport:
    """Execute the job here and now. Raises dagster.DagsterInvalidConfigError where the options do not fit the job."""
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
    """How a run stands, or None where this instance has no such run."""
    if not instance.get_run_by_id(run_id):
        return None
    events = [entry.dagster_event for entry in instance.all_logs(run_id) if entry.dagster_event]
    return _report(instance, run_id, events)


def _report(
    instance: dg.DagsterInstance, run_id: str, events: Iterable[dg.DagsterEvent]
) -> RunReport:
    record = instance.get_run_record_by_id(run_id)
    if record is None:
        raise UnexpectedFault(
            f"Dagster's storage does not have the run {run_id} that was just executed."
        )
    seconds: dict[str, float] = {}
    error: Mapping[str, Any] | None = None
    traceback: str | None = None
    result: Mapping[str, Any] | None = None
    said: Mapping[str, Any] | None = None  # by an op, which makes no asset
    last_word = "The run ended without a result."
    for event in events:
        if event.is_step_success and event.step_key:
            seconds[event.step_key] = event.step_success_data.duration_ms / 1000
        elif event.is_step_failure and event.step_key and error is None:
            failure = event.step_failure_data
            error, traceback = (
                _error_record(failure),
                failure.error.to_string() if failure.error else None,
            )
        elif event.is_step_materialization:
            result = {
                key: entry.value
                for key, entry in event.step_materialization_data.materialization.metadata.items()
            }
        elif event.is_successful_output and event.step_output_data.metadata:
            said = {key: entry.value for key, entry in event.step_output_data.metadata.items()}
        elif event.is_job_failure and event.message:
            last_word = event.message
    dagster_run = record.dagster_run
    result = (
        said if dagster_run.job_name == SHARED_JOB else result or said
    )  # and not the last file's
    if error is None and dagster_run.status == dg.DagsterRunStatus.FAILURE:
        error = UnexpectedFault(
            last_word, remedy="Launch it again; report it with the run id if that fails too."
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


def _error_record(failure: Any) -> Mapping[str, Any]:
    """The stage's own error where it raised one of ours; anything else is a fault of the platform."""
    ours = failure.user_failure_data
    if ours is None or "code" not in ours.metadata:
        return UnexpectedFault(
            failure.error.message.strip() if failure.error else "The stage failed without a word."
        ).as_record()
    fields = ("code", "message", "remedy", "retryable", "user_fixable")
    return {key: ours.metadata[key].value for key in fields}
