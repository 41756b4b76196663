"""The commands `geo-platform contracts check|show|lock`: the messages between stages.

contracts.lock.json records the shape of every message, so that no shape changes without a new
version.

Called by `cli/main.py`.
"""

import sys
from pathlib import Path
from typing import Any

import click

from geo_platform.application_root import is_in_the_wheel
from geo_platform.chains.registry import message_types
from geo_platform.cli.application import Application
from geo_platform.contracts.fault import ContractError
from geo_platform.contracts.lock import check_lock, write_lock
from geo_platform.contracts.verify import definition_faults, render_contracts

LOCK_NAME = "contracts.lock.json"


@click.group("contracts")
def contracts() -> None:
    """Check and show the messages between stages, and record their shapes in a file."""


@contracts.command("check")
@click.pass_obj
def check(application: Application, /) -> None:
    """Check that each stage can read the messages it takes, and that no message changed without a
    new version.

    Exit 0 if there are no faults, else 1. Every fault is printed.
    """
    definitions = _definitions(application)
    faults = [*definition_faults(definitions), *check_lock(_lock(application))]
    for fault in faults:
        click.echo(str(fault), err=True)
    click.echo(f"{len(faults)} faults" if faults else "The contracts hold.", err=bool(faults))
    sys.exit(1 if faults else 0)


@contracts.command("show")
@click.pass_obj
def show(application: Application, /) -> None:
    """Show for each message its stage, its version, and the stages that read it."""
    click.echo(render_contracts(_definitions(application)))


@contracts.command("lock")
@click.pass_obj
def lock(application: Application, /) -> None:
    """Write the shapes of all messages to contracts.lock.json.

    A shape that changed without a new version is refused, with exit code 1.
    """
    if is_in_the_wheel(application.root):
        raise click.UsageError(
            "The lock file of the installed application cannot be changed. Make an application "
            "root of your own: geo-platform init DIR"
        )
    try:
        changed = write_lock(_lock(application), message_types())
    except ContractError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    click.echo(f"{LOCK_NAME}: {', '.join(changed)}" if changed else f"{LOCK_NAME} is up to date.")


def _lock(application: Application) -> Path:
    return application.root / LOCK_NAME


def _definitions(application: Application) -> Any:
    """Load the definitions as Dagster does. Print the faults and exit 1 if they do not load."""
    try:
        return application.definitions()
    except ContractError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
