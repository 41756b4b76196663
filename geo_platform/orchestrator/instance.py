"""Open the Dagster instance of a home, and translate the errors of its storage.

A home is the folder of all data of one installation. `dagster_database.py` has what only PostgreSQL
needs; it is imported only in the production profile.

Called by `instance_state.py`, `launch.py` and `run_history.py`.
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
UNFINISHED_STATUSES = [
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.NOT_STARTED,
]


def open_instance(
    settings: Settings, template: Path, *, ends_killed_runs: bool = True
) -> dg.DagsterInstance:
    """Open the Dagster instance of this home. The first time, create its dagster.yaml.

    `template` is the text of dagster.yaml with a placeholder for the log file. One process opens
    the instance at a time: Dagster creates its tables without checking for another process. With
    `ends_killed_runs`, unfinished runs whose process on this host was killed are marked as failed,
    because nothing else would end them.

    Raises StoreDenied, StoreUnavailable: the folder of the home cannot be used.
    Raises StoreDenied, DatabaseUnavailable: PostgreSQL refuses access or does not answer.
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
        _opening_lock(settings),
    ):
        configuration = home / "dagster.yaml"
        if not configuration.exists():
            configuration_text = Template(template.read_text("utf-8")).substitute(
                LOG_FILE=settings.log_file
            )
            write_atomically(home, configuration, configuration_text.encode())
        instance = dg.DagsterInstance.get()
        ended = _end_killed_runs(instance) if ends_killed_runs else []
    for run_id in ended:
        check_ended(instance, run_id, settings)
        discard_after(instance, run_id, settings)
    return instance


def _opening_lock(settings: Settings) -> AbstractContextManager[None]:
    """Lock Dagster's database, which several homes and machines may share.

    The lock in the folder of one home does not cover the others.
    """
    if settings.profile is not Profile.production:
        return nullcontext()
    from geo_platform.orchestrator.dagster_database import opening_lock

    return opening_lock(settings)


def _end_killed_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs whose process was killed as failed, and return their ids."""
    ended = []
    own_host = dg.RunsFilter(statuses=UNFINISHED_STATUSES, tags={HOST_TAG: socket.gethostname()})
    for record in instance.get_run_records(own_host):
        run = record.dagster_run
        if runs_in_its_tagged_process(run) and not is_alive(run.tags[PROCESS_TAG]):
            fail_run(instance, run, KILLED)
            ended.append(run.run_id)
    return ended


def runs_in_its_tagged_process(run: dg.DagsterRun) -> bool:
    """Return whether the run executes in the process that its tag names.

    A run that the UI re-executes inherits the tag from the original run, but a code location
    executes it.
    """
    return PROCESS_TAG in run.tags and run.remote_job_origin is None


@contextmanager
def storage_errors(settings: Settings) -> Iterator[None]:
    """Translate errors of Dagster's storage.

    Raises StoreDenied, DatabaseUnavailable: PostgreSQL refuses access or does not answer.
    Raises StoreUnavailable: the SQLite files cannot be used.
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
