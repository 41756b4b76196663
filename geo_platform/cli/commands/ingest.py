"""`geo-platform ingest SOURCE...`

What a client calls its request: `--correlation-id` and `--traceparent`, and the tags that they become.

What belongs here: the two options. What stays out: what they may be (`runs.py`), and what is made of the tags (`assets/stage.py`).
"""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import click
from rich.console import Console

from geo_platform.cli.application import Application
from geo_platform.cli.outcome import exit_code, show_left_out, show_outcome
from geo_platform.cli.parameters import given, job_option, stage_options
from geo_platform.cli.progress import source_progress
from geo_platform.cli.requests import requests_of
from geo_platform.cli.source_ingest import ingest
from geo_platform.cli.sources import find_sources
from geo_platform.runs import CLIENT_ID_FORMATS, CORRELATION_TAG, TRACEPARENT_TAG, is_client_id


def client_ids(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds both options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def client_tags(correlation_id: str | None, traceparent: str | None) -> dict[str, str]:
    """The tags of a run that was asked for under these ids."""
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
        help="By which you know this request; `geo-platform trace` finds it.",
    ),
    click.option(
        "--traceparent",
        callback=_of(TRACEPARENT_TAG),
        help="W3C trace context of your own span; the run's spans are linked to it.",
    ),
)


@click.command("ingest")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="One JSON document per source, a line each, on standard output.",
)
@click.option(
    "--traceback", "with_traceback", is_flag=True, help="Show the traceback of what failed."
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
    """Ingest files and folders: rasters become verified COGs, vectors GeoParquet, both described in STAC.

    A folder is walked. The kind of a file is decided by its content. The same file with the same parameters is not
    done twice; --force does it again. What is refused says why and what to do, and never stops the others.
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
    # Where both go to one terminal, the bar has to know of the answers, or it would be printed through them.
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
