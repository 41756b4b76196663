"""The command `geo-platform plan SOURCE...`: show what `ingest` would do, and why.

Called by `cli/main.py`.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from geo_platform.chains.chain import Preview
from geo_platform.cli.application import Application
from geo_platform.cli.downloads import downloads
from geo_platform.cli.outcome import (
    error_record,
    exit_code,
    outcome_of,
    printable,
    show_left_out,
)
from geo_platform.cli.parameters import job_option, options_of, parameters_of, stage_options
from geo_platform.cli.requests import SourceRequest, requests_of
from geo_platform.cli.sources import find_sources
from geo_platform.ports import ObjectStore
from geo_platform.storage.local.source_files import SourceFiles

Plan = dict[str, Any]


@click.command("plan")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON document for each source, each on one line.",
)
@job_option
@stage_options
@click.pass_obj
def plan_sources(
    application: Application,
    /,
    sources: tuple[str, ...],
    as_json: bool,
    job: str | None,
    **values: Any,
) -> None:
    """Show what `ingest` would do with files, and why. Nothing is stored.

    The parameters are the same as for `ingest`, so you can see their effect before you ingest.
    """
    console, error_console = Console(highlight=False), Console(stderr=True, highlight=False)
    faults = []
    with downloads(application.settings, None, error_console) as fetch:
        candidates, left_out = find_sources(sources, application, fetch)
        show_left_out(error_console, candidates, left_out)
        for request in requests_of(
            candidates, parameters_of(values), lambda: application.objects, job=job
        ):
            try:
                plan = _plan(request, application)
            except click.ClickException:
                raise
            except Exception as error:  # noqa: BLE001  # becomes the result of this source; it must not stop the others
                record = error_record(error, request.candidate)
                faults.append(outcome_of(record))
                plan = {
                    "source": request.candidate.shown,
                    "outcome": outcome_of(record).value,
                    "error": record,
                }
            if as_json:
                click.echo(json.dumps(plan, default=str))
            else:
                _show(console, plan)
    sys.exit(exit_code(faults))


def _plan(request: SourceRequest, application: Application) -> Plan:
    chain = request.known_chain()
    options = options_of(chain, request.parameters)
    candidate = request.candidate
    view: ObjectStore = (
        SourceFiles(candidate.files) if candidate.path is not None else application.objects
    )
    arrived = chain.receive(view, candidate.key, options)
    preview = Preview({}, [])
    if chain.preview is not None:
        with tempfile.TemporaryDirectory(prefix="geo-platform-plan-") as scratch:
            preview = chain.preview(arrived, options, view, Path(scratch))
    place = preview.place or chain.place_ahead(arrived, options)
    item = {"item": "/".join(place)} if place is not None else {}
    return {
        "source": request.candidate.shown,
        "kind": chain.name,
        "format": arrived.format.value,
        "found": {**preview.source_facts, **item},
        "plan": preview.steps,
    }


def _show(console: Console, plan: Plan) -> None:
    console.print(Text(printable(plan["source"]), style="bold"), Text(plan.get("format", "")))
    if "error" in plan:
        error = plan["error"]
        message = f"  {plan['outcome']}: {error['code']}: {printable(error['message'])}"
        console.print(Text(message, style="yellow"), soft_wrap=True)
        remedy = f"  What to do: {printable(error['remedy'])}"
        console.print(Text(remedy, style="dim"), soft_wrap=True)
        return
    for name, value in plan["found"].items():
        console.print(Text(f"  {name:<20} {printable(_plain(value))}"), soft_wrap=True)
    for step in plan["plan"]:
        for reason in step["reasons"]:
            console.print(Text(f"  - {printable(reason)}"), soft_wrap=True)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
