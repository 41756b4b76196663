"""`geo-platform ingest SOURCE...`, and the options for a client's own ids.

`--correlation-id` and `--traceparent` become tags of the run; their formats are in `runs.py`.
"""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import click
from rich.console import Console

from geo_platform.cli.application import Application
from geo_platform.cli.outcome import exit_code, show_left_out, show_outcome, source_progress
from geo_platform.cli.parameters import given, job_option, stage_options
from geo_platform.cli.requests import find_sources, requests_of
from geo_platform.cli.source_ingest import ingest
from geo_platform.runs import CLIENT_ID_FORMATS, CORRELATION_TAG, TRACEPARENT_TAG, is_client_id


def client_ids(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add both options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def client_tags(correlation_id: str | None, traceparent: str | None) -> dict[str, str]:
    """Return the tags of a run for these ids."""
    given = {CORRELATION_TAG: correlation_id, TRACEPARENT_TAG: traceparent}
    return {tag: value for tag, value in given.items() if value is not None}


def _of(tag: str) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    def checked(
        context: click.Context, parameter: click.Parameter, value: str | None
    ) -> str | None:
        if value is not None and not is_client_id(tag, value):
            raise click.BadParameter(f"PARAMETER_INVALID: {CLIENT_ID_FORMATS[tag]}.")
        return value

    return checked


_OPTIONS = (
    click.option(
        "--correlation-id",
        callback=_of(CORRELATION_TAG),
        help="Your own id of this request; `geo-platform trace` finds runs by it.",
    ),
    click.option(
        "--traceparent",
        callback=_of(TRACEPARENT_TAG),
        help="W3C trace context of your own span; the run's spans link to it.",
    ),
)


@click.command("ingest")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON document for each source, on a line of standard output.",
)
@click.option(
    "--traceback", "with_traceback", is_flag=True, help="Show the traceback of a failure."
)
@job_option
@client_ids
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
    """Ingest files and folders.

    Rasters become verified COGs, vectors GeoParquet, both described in STAC.

    Folders are searched for sources. The content of a file decides its job; --job names one for all
    of them. The same file with the same parameters is not processed twice; --force does it again. A
    refused file is reported with its reason and remedy, and never stops the others.
    """
    candidates, left = find_sources(sources, home=application.settings.home_dir)
    requests, tags = (
        requests_of(candidates, given(values), job=job),
        client_tags(correlation_id, traceparent),
    )
    answers = Console(soft_wrap=False, highlight=False)
    aside = Console(stderr=True, highlight=False)
    show_left_out(aside, candidates, left)
    outcomes = []
    # On one terminal the bar must know of the answers, or it would overwrite them.
    bar_console = answers if answers.is_terminal and not as_json else aside
    with ExitStack() as stack, source_progress(bar_console, len(candidates)) as progress:
        launch = application.lazy_launcher(stack)
        for done, request in enumerate(requests):
            progress.source(request.candidate.shown, done)
            outcome = ingest(request, application, launch, tags)
            outcomes.append(outcome.outcome)
            if as_json:
                click.echo(outcome.as_json())
            else:
                show_outcome(answers, outcome, with_traceback=with_traceback)
    sys.exit(exit_code(outcomes))
