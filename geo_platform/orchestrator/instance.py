"""Open the Dagster instance of a home, and translate the errors of its storage.

`dagster_database.py` has what only PostgreSQL needs. It is imported only in production.
"""

import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from string import Template

import dagster as dg
from sqlalchemy.exc import SQLAlchemyError

from geo_platform.dagster_internals import fail_run
from geo_platform.errors import StoreUnavailable
from geo_platform.orchestrator.left_staged import discard_after
from geo_platform.orchestrator.state_check import check_ended
from geo_platform.settings import Profile, Settings
from geo_platform.storage.local.atomic import (
    ensure_folder,
    os_errors,
    process_lock,
    write_atomically,
)
from geo_platform.storage.local.process import is_alive

# Tags of a run that a command executes: its process, and the host of that process.
PROCESS_TAG = "geo_platform/process"
HOST_TAG = "geo_platform/host"
KILLED = "The process of this run was killed. Its checkpoints show what it had published by then."
UNFINISHED = [
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.NOT_STARTED,
]


def open_instance(
    settings: Settings, template: Path, *, ends_killed_runs: bool = True
) -> dg.DagsterInstance:
    """Open the Dagster instance of this home; the first time, create it from the template.

    One process opens it at a time: Dagster creates its tables without checking for another process.
    With `ends_killed_runs`, unfinished runs of killed processes of this host are marked as failed,
    because nothing else would end them.

    Raises StoreDenied, StoreUnavailable: the home cannot be used.
    Raises StoreDenied, DatabaseUnavailable: the database cannot be used.
    """
    home = ensure_folder(settings.dagster_home_dir)
    ensure_folder(settings.log_file.parent)
    os.environ["DAGSTER_HOME"] = str(home)
    # dagster.yaml configures the handler that puts the run id on every line of the log file.
    # Dagster warns that such handlers are beta.
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
    """Lock the database, which homes and machines may share: a home's lock does not cover them."""
    if settings.profile is not Profile.production:
        return nullcontext()
    from geo_platform.orchestrator.dagster_database import opened_alone

    return opened_alone(settings)


def _end_killed_runs(instance: dg.DagsterInstance) -> list[str]:
    ended = []
    wanted = dg.RunsFilter(statuses=UNFINISHED, tags={HOST_TAG: socket.gethostname()})
    for record in instance.get_run_records(wanted):
        run = record.dagster_run
        if runs_in_its_tagged_process(run) and not is_alive(run.tags[PROCESS_TAG]):
            fail_run(instance, run, KILLED)
            ended.append(run.run_id)
    return ended


def runs_in_its_tagged_process(run: dg.DagsterRun) -> bool:
    """Return whether the run executes in the process that its tag names.

    A run that the UI re-executes inherits the tag from the run before it, but has a code location.
    """
    return PROCESS_TAG in run.tags and run.remote_job_origin is None


@contextmanager
def storage_errors(settings: Settings) -> Iterator[None]:
    """Translate errors of Dagster's storage.

    Raises StoreDenied, DatabaseUnavailable (PostgreSQL), StoreUnavailable (files).
    """
    try:
        with _database_errors(settings):
            yield
    except SQLAlchemyError as error:
        raise StoreUnavailable(
            f"Dagster's storage in {settings.dagster_home_dir} cannot be used: "
            f"{type(error).__name__}.",
            remedy="Check that the folder is readable and writable, and that its disk is sound and "
            "not full.",
        ) from error


def _database_errors(settings: Settings) -> AbstractContextManager[None]:
    if settings.profile is not Profile.production:
        return nullcontext()
    from geo_platform.orchestrator.dagster_database import dagster_database, database_errors

    return database_errors(dagster_database(settings))
