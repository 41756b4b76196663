"""`geo-platform dev`: the Dagster UI and daemon on this home's data."""

import os
import sys
from pathlib import Path

import click

from geo_platform.cli.application import Application


@click.command("dev")
@click.option(
    "--port",
    default=3000,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="Port of the UI, on this machine only.",
)
@click.pass_obj
def dev(application: Application, port: int) -> None:
    """Start the Dagster UI and its daemon on this home's data. Ctrl-C ends both."""
    with application.launcher():
        # Opening creates the instance's folder and settings, and ends runs of killed processes.
        pass
    os.chdir(application.root)
    command = [
        str(Path(sys.executable).with_name("dagster")),
        "dev",
        "-w",
        "workspace.yaml",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    click.echo(
        f"Dagster UI: http://127.0.0.1:{port}  (data in {application.settings.home_dir})", err=True
    )
    os.execv(command[0], command)  # noqa: S606  # a fixed command of this environment, no shell
