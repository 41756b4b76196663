"""`geo-platform unpublish ITEM`, `rollback ITEM`, `versions ITEM`: undoing a publication, as runs of their own.

What belongs here: which item is meant, and the answers. What stays out: the work, which the jobs do.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from geo_platform.catalog.versions import split_name, version_rows
from geo_platform.cli.application import Application
from geo_platform.cli.outcome import CommandOutcome, exit_code, outcome_of, printable
from geo_platform.errors import SourceNotFound
from geo_platform.runs import RunReport, RunRequest

# Columns, where the reader is a program.
_NEVER_FOLDED = 10_000

_LIST = "geo-platform list shows those that are published."

_as_json = click.option(
    "--json", "as_json", is_flag=True, help="One JSON document on standard output."
)


@click.command("unpublish")
@click.argument("item", metavar="ITEM")
@click.option("--run", metavar="RUN", help="Only where it is what this run published.")
@_as_json
@click.pass_obj
def unpublish(application: Application, item: str, run: str | None, as_json: bool) -> None:
    """Take an item, and the table that it names, out of what can be found. Both are kept for a while.

    ITEM is its id, or collection/id where two collections have the same.
    """
    collection, item_id = _find(application, item, also_kept=False)
    report = _run(
        application,
        "unpublish_item",
        "unpublish",
        {"collection": collection, "item_id": item_id, "run": run},
    )
    done = report.result or {}
    _answer(
        report,
        {
            "outcome": "unpublished",
            "item": f"{collection}/{item_id}",
            "published_by_run": done.get("published_by_run"),
        },
        f"{collection}/{item_id} is not published any more. It is kept: geo-platform rollback {collection}/{item_id}",
        as_json=as_json,
    )


@click.command("rollback")
@click.argument("item", metavar="ITEM")
@click.option(
    "--to",
    "to_run",
    metavar="RUN",
    help="What this run had published. [default: the version before the published one]",
)
@_as_json
@click.pass_obj
def rollback(application: Application, item: str, to_run: str | None, as_json: bool) -> None:
    """Publish an earlier version of an item again, with the table that it names. `versions` shows which there are.

    An item that is not published any more comes back as it was last. What is published now is kept.
    """
    collection, item_id = _find(application, item, also_kept=True)
    report = _run(
        application,
        "rollback_item",
        "rollback",
        {"collection": collection, "item_id": item_id, "to_run": to_run},
    )
    done = report.result or {}
    _answer(
        report,
        {
            "outcome": "restored",
            "item": f"{collection}/{item_id}",
            "published_by_run": done.get("published_by_run"),
            "outputs": done.get("outputs", []),
        },
        f"{collection}/{item_id} is again what run {done.get('published_by_run')} published.",
        as_json=as_json,
    )


@click.command("versions")
@click.argument("item", metavar="ITEM")
@_as_json
@click.pass_obj
def versions(application: Application, item: str, as_json: bool) -> None:
    """Show the published version of an item and the earlier ones that can be brought back, newest first."""
    collection, item_id = _find(application, item, also_kept=True)
    present = application.catalog.item(collection, item_id)
    rows = version_rows(present, application.catalog.versions(collection, item_id))
    if not rows:
        raise SourceNotFound(
            f"No item {collection}/{item_id} is published or kept.",
            remedy="geo-platform list shows those that are published.",
        )
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], default=datetime.isoformat))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "published", "withdrawn"):
        table.add_column(heading, no_wrap=heading == "run")
    for row in rows:
        withdrawn = (
            "published now"
            if row.withdrawn_at_utc is None
            else f"{row.withdrawn_at_utc:%Y-%m-%d %H:%M:%SZ}"
        )
        table.add_row(
            *(Text(printable(text)) for text in (row.run_id, row.first_published, withdrawn))
        )
    Console(width=None if sys.stdout.isatty() else _NEVER_FOLDED).print(table)


def _find(application: Application, name: str, *, also_kept: bool) -> tuple[str, str]:
    """Collection and id. Raises SourceNotFound where no collection has the id, click.UsageError where several have."""
    collection, item_id = split_name(name)
    if collection is not None:
        return collection, item_id
    found = sorted(
        {place for place in _places(application, also_kept=also_kept) if place[1] == item_id}
    )
    if not found:
        raise SourceNotFound(
            f"No item {item_id} is published{' or kept' if also_kept else ''}.", remedy=_LIST
        )
    if len(found) > 1:
        raise click.UsageError(
            f"{item_id} is in several collections; say which: {', '.join('/'.join(place) for place in found)}"
        )
    return found[0]


def _places(application: Application, *, also_kept: bool) -> Iterator[tuple[str, str]]:
    for entry in application.catalog.entries():
        yield entry.collection, entry.item_id
    if also_kept:
        for version in application.catalog.versions():
            yield version.collection, version.item_id


def _run(application: Application, job: str, op: str, options: Mapping[str, Any]) -> RunReport:
    given = {name: value for name, value in options.items() if value is not None}
    tags = {"geo_platform/item": f"{options['collection']}/{options['item_id']}"}
    with application.launcher() as launcher:
        return launcher.run(
            RunRequest(job=job, partition=None, stage_options={op: given}, tags=tags)
        )


def _answer(
    report: RunReport, document: Mapping[str, Any], sentence: str, *, as_json: bool
) -> None:
    """What was done, or why not, and the exit code that says so."""
    outcome = outcome_of(report.error) if report.error else CommandOutcome.published
    if as_json:
        shown = {**document, "outcome": outcome.value} if report.error else document
        click.echo(json.dumps({**shown, "run_id": report.run_id, "error": report.error}))
    elif report.error:
        click.echo(
            printable(
                f"{report.error['code']}: {report.error['message']} {report.error['remedy']}"
            ),
            err=True,
        )
    else:
        click.echo(printable(sentence))
        click.echo(f"  run {report.run_id}")
    sys.exit(exit_code([outcome]))
