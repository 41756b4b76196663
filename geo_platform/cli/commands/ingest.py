"""The command `geo-platform ingest SOURCE...`, and the options for ids that a client chooses.

The values of `--correlation-id` and `--traceparent` become tags of the run. `runs.py` defines their
formats.

Called by `cli/main.py`.
"""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import click
from rich.console import Console

from geo_platform.cli.application import Application
from geo_platform.cli.downloads import downloads
from geo_platform.cli.outcome import exit_code, show_left_out, show_outcome, source_progress
from geo_platform.cli.parameters import job_option, parameters_of, stage_options
from geo_platform.cli.requests import requests_of
from geo_platform.cli.source_ingest import ingest
from geo_platform.cli.sources import find_sources
from geo_platform.runs import CLIENT_ID_FORMATS, CORRELATION_TAG, TRACEPARENT_TAG, is_client_id


def client_id_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options --correlation-id and --traceparent to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def client_tags(correlation_id: str | None, traceparent: str | None) -> dict[str, str]:
    """Return the tags of a run for these ids."""
    values = {CORRELATION_TAG: correlation_id, TRACEPARENT_TAG: traceparent}
    return {tag: value for tag, value in values.items() if value is not None}


def _validator(tag: str) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    def validate(
        context: click.Context, parameter: click.Parameter, value: str | None
    ) -> str | None:
        if value is not None and not is_client_id(tag, value):
            raise click.BadParameter(f"PARAMETER_INVALID: {CLIENT_ID_FORMATS[tag]}.")
        return value

    return validate


_OPTIONS = (
    click.option(
        "--correlation-id",
        callback=_validator(CORRELATION_TAG),
        help="Your own id of this request; `geo-platform trace` finds runs by it.",
    ),
    click.option(
        "--traceparent",
        callback=_validator(TRACEPARENT_TAG),
        help="W3C trace context of your own span; the run's spans link to it.",
    ),
)


@click.command("ingest")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON document for each source, or for each of its items, each on one line of "
    "standard output.",
)
@click.option(
    "--traceback", "with_traceback", is_flag=True, help="Show the traceback of a failure."
)
@job_option
@client_id_options
@stage_options
@click.pass_obj
def ingest_sources(
    application: Application,
    /,
    sources: tuple[str, ...],
    as_json: bool,
    with_traceback: bool,
    job: str | None,
    correlation_id: str | None,
    traceparent: str | None,
    **values: Any,
) -> None:
    """Ingest files, folders, objects of the store, and https addresses.

    Rasters become verified COGs, vectors GeoParquet, both described in STAC.

    Folders are searched for sources. An object of the store is named bronze/KEY. An https address
    is downloaded first. The content of a file decides its job; --job sets the job for all files. A
    file that was published before with the same parameters is not processed again, except with
    --force. A refused file is reported with its reason and remedy, and does not stop the other
    files.
    """
    output = Console(soft_wrap=False, highlight=False)
    error_output = Console(stderr=True, highlight=False)
    # If outcomes are printed to a terminal, the bar must use the same console, since it would
    # overwrite the outcomes otherwise.
    bar_console = output if output.is_terminal and not as_json else error_output
    tags = client_tags(correlation_id, traceparent)
    outcomes = []
    with ExitStack() as stack:
        fetch = stack.enter_context(
            downloads(application.settings, application.settings.scratch_dir, bar_console)
        )
        candidates, left_out = find_sources(sources, application, fetch)
        requests = requests_of(
            candidates, parameters_of(values), lambda: application.objects, job=job
        )
        show_left_out(error_output, candidates, left_out)
        progress = stack.enter_context(source_progress(bar_console, len(candidates)))
        launch = application.lazy_launcher(stack)
        for finished, request in enumerate(requests):
            progress.start_source(request.candidate.shown, finished)
            for outcome in ingest(request, application, launch, tags):
                outcomes.append(outcome.outcome)
                if as_json:
                    click.echo(outcome.as_json())
                else:
                    show_outcome(output, outcome, with_traceback=with_traceback)
    sys.exit(exit_code(outcomes))
