"""`geo-platform`: the group of commands, the options that they share, and the exit codes.

Each command is a module in `commands/`.
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
from geo_platform.process_start import frozen_imports, limit_blas_threads, quiet_libraries

# 128 + SIGINT, the shells' convention.
INTERRUPTED = 130
# Click's exit code for wrong arguments.
USAGE = 2

# Name -> summary, in the order of `--help`.
COMMANDS = {
    "ingest": "Ingest files and folders into COGs, GeoParquet and STAC items.",
    "plan": "Show what would be done with files, and why. Write nothing.",
    "list": "List the published items, newest first.",
    "show": "Show one published item.",
    "status": "Show the state of a run, or how it ended.",
    "retry": "Repeat a run for the files that were refused, failed or not reached.",
    "trace": "Show one timeline over all stores for an id (run, item, blob, table, client).",
    "versions": "Show the versions of an item that can be restored.",
    "unpublish": "Withdraw an item and the table that it names.",
    "rollback": "Publish an earlier version of an item again, with its table.",
    "tiles": "Draw the vector tiles of low zooms of a large item, and keep them.",
    "cleanup": "Remove versions that were replaced or unpublished and kept long enough.",
    "quarantine": "List arrived files that were refused, show why, release them.",
    "doctor": "Compare all stores, report inconsistencies, repair what is safe.",
    "contracts": "Check, show and lock the messages between stages.",
    "database": "Install the platform in a PostgreSQL database, and check what is missing.",
    "init": "Make an application root of your own, to change and to deploy.",
    "demo": "Ingest a bundled raster and a bundled vector file, and show each stage.",
    "collections": "Let anybody read a collection over HTTP, or stop it.",
    "keys": "Create, list and revoke API keys of the HTTP API.",
    "serve": "Serve the HTTP API: submit jobs, follow them, upload files.",
    "dev": "Start the Dagster UI and its daemon on this home.",
}


def _import_command(name: str) -> click.Command:
    """Import a command. Commands are imported on demand: geodata libraries load slowly."""
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
        case "tiles":
            from geo_platform.cli.commands.tiles import tiles

            return tiles
        case "cleanup":
            from geo_platform.cli.commands.undo import cleanup

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
        case "collections":
            from geo_platform.cli.commands.collections import collections

            return collections
        case "keys":
            from geo_platform.cli.commands.keys import keys

            return keys
        case "serve":
            from geo_platform.cli.commands.serve import serve

            return serve
        case "dev":
            from geo_platform.cli.commands.serve import dev

            return dev
    raise KeyError(name)


def _on_signal(number: int, _: object) -> None:
    if number == signal.SIGTERM:
        raise KeyboardInterrupt


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM interrupt a command as Ctrl-C does.

    If Ctrl-C is ignored, as for a background command of a script, it is still ignored inside, but
    by a handler instead of SIG_IGN. Dagster gives SIGTERM the disposition of SIGINT, and child
    processes inherit SIG_IGN, not handlers. With SIG_IGN, the `tail` that Dagster starts for the
    output of a run could not be ended, and would keep the command's output open for ever.
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
    """The group of commands, listed in the order of COMMANDS.

    A command that raises ends with a message and an exit code. `--traceback` adds the traceback.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        limit_blas_threads()
        quiet_libraries()
        with frozen_imports():
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
                "\nInterrupted. No partial result is published; run the same command again to "
                "continue.",
                err=True,
            )
            sys.stdout.flush()
            # A normal exit would wait for a run's thread, which may be in GDAL.
            os._exit(INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as fault:  # noqa: BLE001  # the last handler before the user: printed as a message
            _end(fault)


def _end(cause: Exception) -> NoReturn:
    from geo_platform.cli.extras import missing_extra
    from geo_platform.cli.outcome import as_platform_error, exit_code, outcome_of, printable
    from geo_platform.cli.parameters import as_typed

    install = missing_extra(cause)
    if install is not None:
        click.echo(install, err=True)
        raise SystemExit(USAGE) from cause
    error = as_platform_error(cause)
    shown = f"{error.code}: {as_typed(error.message)} {as_typed(error.remedy)}"
    if "--traceback" in sys.argv:
        traceback.print_exception(cause)
    click.echo(
        "\n".join(map(printable, shown.splitlines())), err=True
    )  # a contract error has one line per fault
    raise SystemExit(exit_code([outcome_of(error.as_record())])) from cause


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="geo-platform")
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    help="Folder of all data. [default: .geo in the application root, or in the current folder if "
    "the application is the installed one]",
)
@click.option(
    "--application-root",
    type=click.Path(path_type=Path),
    help="Folder that holds workspace.yaml. [default: the nearest one from the current folder "
    "upwards, else the installed application]",
)
@click.pass_context
def main(context: click.Context, home: Path | None, application_root: Path | None) -> None:
    """Turn raster and vector files into verified COGs, GeoParquet and STAC items.

    \b
    Try it:
      geo-platform demo                       ingest the bundled sample data
      geo-platform plan my.tif                show what would be done with a file, and why
      geo-platform ingest my.tif folder/      do it
      geo-platform list                       show what is published
      geo-platform dev                        start the Dagster UI on this data

    \b
    Exit codes: 0 all done, 1 some sources refused, 2 usage, 3 platform fault, 130 interrupted.
    """
    from geo_platform.cli.application import Application
    from geo_platform.settings import load_settings

    overrides = {"home": home, "application_root": application_root}
    settings = load_settings().model_copy(
        update={name: value for name, value in overrides.items() if value is not None}
    )
    context.obj = Application(settings)
