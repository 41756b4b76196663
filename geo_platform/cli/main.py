"""`geo-platform`: the group of commands and what they share.

What belongs here: the group, its options and its exit codes. What stays out: the commands' own work, a module each.
"""

import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import click

from geo_platform import __version__
from geo_platform.cli.application import Application
from geo_platform.cli.browse import list_items, show_item, show_status
from geo_platform.cli.contracts import contracts
from geo_platform.cli.demo import demo
from geo_platform.cli.dev import dev
from geo_platform.cli.ingest_command import ingest_sources
from geo_platform.cli.outcome import printable
from geo_platform.cli.plan_command import plan_sources
from geo_platform.errors import PlatformError, PlatformFault, UnexpectedFault
from geo_platform.settings import load_settings


class _Commands(click.Group):
    """Ends every command with a sentence and an exit code; a traceback only where it was asked for."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PlatformError as error:
            _end(error, error)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as fault:  # noqa: BLE001  # the last border before a person: said in a sentence, exit 3
            _end(UnexpectedFault(f"{type(fault).__name__}: {fault}"), fault)


def _end(error: PlatformError, cause: Exception) -> NoReturn:
    if "--traceback" in sys.argv:
        traceback.print_exception(cause)
    click.echo(printable(str(error)), err=True)
    raise SystemExit(3 if isinstance(error, PlatformFault) else 1) from cause


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="geo-platform")
@click.option("--home", type=click.Path(path_type=Path), help="Folder of all data. [default: .geo in the application root]")
@click.option(
    "--application-root", type=click.Path(path_type=Path), help="Folder that holds workspace.yaml. [default: found from here upwards]"
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
    Exit codes: 0 all done, 1 some sources refused, 2 usage, 3 a fault of the platform.
    """
    given = {"home": home, "application_root": application_root}
    settings = load_settings().model_copy(update={name: value for name, value in given.items() if value is not None})
    context.obj = Application(settings)


for command in (ingest_sources, plan_sources, list_items, show_item, show_status, contracts, demo, dev):
    main.add_command(command)
