"""`geo-platform`: the group of commands and what they share.

What belongs here: the group, its options and its exit codes. What stays out: the commands' own work, a module each.
"""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from geo_platform import __version__
from geo_platform.loading import loaded_for_good, without_idle_threads

# 128 + SIGINT, as shells say it.
INTERRUPTED = 130
# Click's own exit code for a command that cannot be run as given.
USAGE = 2

# Name -> what it does, in the order in which `--help` lists them.
COMMANDS = {
    "ingest": "Ingest files and folders into COGs, GeoParquet and STAC items.",
    "plan": "Show what would be done with files, and why. Nothing is written.",
    "list": "List the published items, newest first.",
    "show": "Show one published item.",
    "status": "Show how a run stands or ended.",
    "retry": "Do again what a run refused, failed at or did not reach, and nothing else.",
    "trace": "Tell everything around an id (run, item, blob, table, client) in one timeline.",
    "versions": "Show the versions of an item that can be brought back.",
    "unpublish": "Take an item, and the table that it names, out of what can be found.",
    "rollback": "Publish an earlier version of an item again, with its table.",
    "cleanup": "Remove what was replaced or unpublished and kept long enough.",
    "quarantine": "What arrived by itself and was refused: list it, show why, release it.",
    "doctor": "Compare all stores, say what does not fit together, and mend what is safe.",
    "contracts": "The messages between stages: check, show and lock them.",
    "database": "Put the platform into a PostgreSQL database, and say what is missing.",
    "init": "Make an application root of your own, to change and to deploy.",
    "demo": "Ingest the bundled real raster and vector file, and tell the story.",
    "keys": "API keys of the HTTP face: create, list and revoke them.",
    "serve": "Serve the HTTP face: clients submit work and ask for its state, behind a lock.",
    "dev": "Open the Dagster UI with its daemon on this home's data.",
}


def _import_command(name: str) -> click.Command:
    """Import the command. Each is imported when it is asked for, since geodata libraries load slowly."""
    match name:
        case "ingest":
            from geo_platform.cli.commands.ingest import ingest_sources

            return ingest_sources
        case "plan":
            from geo_platform.cli.commands.plan import plan_sources

            return plan_sources
        case "list":
            from geo_platform.cli.commands.browse import list_items

            return list_items
        case "show":
            from geo_platform.cli.commands.browse import show_item

            return show_item
        case "status":
            from geo_platform.cli.commands.browse import show_status

            return show_status
        case "retry":
            from geo_platform.cli.commands.retry import retry

            return retry
        case "trace":
            from geo_platform.cli.commands.trace import trace_id

            return trace_id
        case "versions":
            from geo_platform.cli.commands.undo import versions

            return versions
        case "unpublish":
            from geo_platform.cli.commands.undo import unpublish

            return unpublish
        case "rollback":
            from geo_platform.cli.commands.undo import rollback

            return rollback
        case "cleanup":
            from geo_platform.cli.commands.cleanup import cleanup

            return cleanup
        case "quarantine":
            from geo_platform.cli.commands.quarantine import quarantine

            return quarantine
        case "doctor":
            from geo_platform.cli.commands.doctor import doctor

            return doctor
        case "contracts":
            from geo_platform.cli.commands.contracts import contracts

            return contracts
        case "database":
            from geo_platform.cli.commands.database import database

            return database
        case "init":
            from geo_platform.cli.commands.init import init

            return init
        case "demo":
            from geo_platform.cli.commands.demo import demo

            return demo
        case "keys":
            from geo_platform.cli.commands.keys import keys

            return keys
        case "serve":
            from geo_platform.cli.commands.serve import serve

            return serve
        case "dev":
            from geo_platform.cli.commands.dev import dev

            return dev
    raise KeyError(name)


def _on_signal(number: int, _: object) -> None:
    if number == signal.SIGTERM:
        raise KeyboardInterrupt


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM interrupts a command as Ctrl-C does. Ctrl-C stays ignored where it is, as in the background of a shell's script.

    Dagster gives SIGTERM what SIGINT has, and programs that it starts inherit what is ignored: the `tail` behind a run's output
    could not be ended then, and kept the command's output open for good. A handler, unlike SIG_IGN, is not inherited.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [
        signal.SIGTERM,
        *([signal.SIGINT] if signal.getsignal(signal.SIGINT) is signal.SIG_IGN else []),
    ]
    before = {number: signal.signal(number, _on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Commands(click.Group):
    """Commands in the order in which one meets them. Each ends with a sentence and an exit code; a traceback only where
    it was asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        without_idle_threads()
        with loaded_for_good():
            return _import_command(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _ended_by_sigterm():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo(
                "\nInterrupted. Nothing half-done is published; give the same command again to go on.",
                err=True,
            )
            sys.stdout.flush()
            os._exit(INTERRUPTED)  # a run's thread may be deep in GDAL, and would be waited for
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as fault:  # noqa: BLE001  # the last border before a person: said in a sentence
            _end(fault)


def _end(cause: Exception) -> NoReturn:
    from geo_platform.cli.extras import missing_extra
    from geo_platform.cli.outcome import as_platform_error, exit_code, outcome_of, printable

    install = missing_extra(cause)
    if install is not None:
        click.echo(install, err=True)
        raise SystemExit(USAGE) from cause
    error = as_platform_error(cause)
    if "--traceback" in sys.argv:
        traceback.print_exception(cause)
    click.echo(
        "\n".join(map(printable, str(error).splitlines())), err=True
    )  # a contract fault has a line each
    raise SystemExit(exit_code([outcome_of(error.as_record())])) from cause


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="geo-platform")
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    help="Folder of all data. [default: .geo in the application root, or here with the installed application]",
)
@click.option(
    "--application-root",
    type=click.Path(path_type=Path),
    help="Folder that holds workspace.yaml. [default: found from here upwards, else the installed application]",
)
@click.pass_context
def main(context: click.Context, home: Path | None, application_root: Path | None) -> None:
    """Raster and vector files go in; verified Cloud Optimized GeoTIFFs, GeoParquet and STAC items come out.

    \b
    Try it:
      geo-platform demo                       ingest the bundled sample data
      geo-platform plan my.tif                what would be done with a file, and why
      geo-platform ingest my.tif folder/      do it
      geo-platform list                       what is published
      geo-platform dev                        the Dagster UI on all of it

    \b
    Exit codes: 0 all done, 1 some sources refused, 2 usage, 3 a fault of the platform, 130 interrupted.
    """
    from geo_platform.cli.application import Application
    from geo_platform.settings import load_settings

    given = {"home": home, "application_root": application_root}
    settings = load_settings().model_copy(
        update={name: value for name, value in given.items() if value is not None}
    )
    context.obj = Application(settings)
