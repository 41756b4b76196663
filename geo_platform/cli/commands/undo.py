"""The commands `geo-platform unpublish`, `rollback`, `versions` and `cleanup`.

They withdraw an item, restore an earlier version, list the versions, and remove expired versions.
Dagster jobs do the work, each in a run of its own; this module finds the item and prints the
result. `catalog/retention.py` decides which versions have expired.

Called by `cli/main.py` and `tiles.py`.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from geo_platform.catalog.retention import Removed, plan_removal
from geo_platform.catalog.versions import split_name, version_rows
from geo_platform.cli.application import Application
from geo_platform.cli.outcome import CommandOutcome, exit_code, outcome_of, printable
from geo_platform.errors import SourceNotFound
from geo_platform.runs import RunReport, RunRequest

# Table width in columns if the output is not a terminal: wide enough that no cell is wrapped.
_UNWRAPPED_WIDTH = 10_000

_LIST = "`geo-platform list` shows the published items."

_as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.command("unpublish")
@click.argument("item", metavar="ITEM")
@click.option(
    "--run", metavar="RUN", help="Unpublish only if this run published the current version."
)
@_as_json
@click.pass_obj
def unpublish(application: Application, item: str, run: str | None, as_json: bool) -> None:
    """Withdraw an item and its table.

    Both are kept for GEO_PLATFORM_KEEP_REPLACED_DAYS; until then, `rollback` restores them.

    ITEM is the id of the item, or collection/id if several collections have that id.
    """
    collection, item_id = find_item(application, item, also_kept=False)
    report = _run(
        application,
        "unpublish_item",
        "unpublish",
        {"collection": collection, "item_id": item_id, "run": run},
    )
    result = report.result or {}
    print_result_and_exit(
        report,
        {
            "outcome": "unpublished",
            "item": f"{collection}/{item_id}",
            "published_by_run": result.get("published_by_run"),
        },
        f"{collection}/{item_id} is withdrawn. Restore it: geo-platform rollback "
        f"{collection}/{item_id}",
        as_json=as_json,
    )


@click.command("rollback")
@click.argument("item", metavar="ITEM")
@click.option(
    "--to",
    "to_run",
    metavar="RUN",
    help="Restore the version of this run. [default: the version before the published one]",
)
@_as_json
@click.pass_obj
def rollback(application: Application, item: str, to_run: str | None, as_json: bool) -> None:
    """Publish an earlier version of an item again, with its table.

    `geo-platform versions ITEM` lists the versions.

    A withdrawn item is restored to its last version. The version that is replaced is kept and can
    be restored in turn.
    """
    collection, item_id = find_item(application, item, also_kept=True)
    report = _run(
        application,
        "rollback_item",
        "rollback",
        {"collection": collection, "item_id": item_id, "to_run": to_run},
    )
    result = report.result or {}
    print_result_and_exit(
        report,
        {
            "outcome": "restored",
            "item": f"{collection}/{item_id}",
            "published_by_run": result.get("published_by_run"),
            "outputs": result.get("outputs", []),
        },
        f"{collection}/{item_id} is restored to the version of run "
        f"{result.get('published_by_run')}.",
        as_json=as_json,
    )


@click.command("versions")
@click.argument("item", metavar="ITEM")
@_as_json
@click.pass_obj
def versions(application: Application, item: str, as_json: bool) -> None:
    """Show the published version of an item and the earlier versions that can be restored, newest
    first.
    """
    collection, item_id = find_item(application, item, also_kept=True)
    present = application.catalog.item(collection, item_id)
    rows = version_rows(present, application.catalog.versions(collection, item_id))
    if not rows:
        raise SourceNotFound(
            f"No version of {collection}/{item_id} is published or kept.",
            remedy=_LIST,
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
    Console(width=None if sys.stdout.isatty() else _UNWRAPPED_WIDTH).print(table)


def find_item(application: Application, name: str, *, also_kept: bool) -> tuple[str, str]:
    """Return (collection, item id) of the item that `name` names. `also_kept`: also withdrawn ones.

    Raises SourceNotFound: no collection has the id; click.UsageError: several collections have it.
    """
    collection, item_id = split_name(name)
    if collection is not None:
        return collection, item_id
    matches = sorted(
        {place for place in _places(application, also_kept=also_kept) if place[1] == item_id}
    )
    if not matches:
        raise SourceNotFound(
            f"No item {item_id} is published{' or kept' if also_kept else ''}.", remedy=_LIST
        )
    if len(matches) > 1:
        raise click.UsageError(
            f"{item_id} is in several collections. Name one of: "
            f"{', '.join('/'.join(place) for place in matches)}"
        )
    return matches[0]


def _places(application: Application, *, also_kept: bool) -> Iterator[tuple[str, str]]:
    for entry in application.catalog.entries():
        yield entry.collection, entry.item_id
    if also_kept:
        for version in application.catalog.versions():
            yield version.collection, version.item_id


def _run(application: Application, job: str, op: str, options: Mapping[str, Any]) -> RunReport:
    op_options = {name: value for name, value in options.items() if value is not None}
    tags = {"geo_platform/item": f"{options['collection']}/{options['item_id']}"}
    with application.launcher() as launcher:
        return launcher.run(
            RunRequest(job=job, partition=None, stage_options={op: op_options}, tags=tags)
        )


def print_result_and_exit(
    report: RunReport, document: Mapping[str, Any], message: str, *, as_json: bool
) -> None:
    """Print the message, or the error of the run, and exit with the matching code."""
    outcome = outcome_of(report.error) if report.error else CommandOutcome.published
    if as_json:
        result = {**document, "outcome": outcome.value} if report.error else document
        click.echo(json.dumps({**result, "run_id": report.run_id, "error": report.error}))
    elif report.error:
        click.echo(
            printable(
                f"{report.error['code']}: {report.error['message']} {report.error['remedy']}"
            ),
            err=True,
        )
    else:
        click.echo(printable(message))
        click.echo(f"  run {report.run_id}")
    sys.exit(exit_code([outcome]))


@click.command("cleanup")
@click.option(
    "--older-than-days",
    type=click.FloatRange(min=0),
    help="Remove versions that were withdrawn longer ago than this. [default: "
    "GEO_PLATFORM_KEEP_REPLACED_DAYS]",
)
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def cleanup(
    application: Application, older_than_days: float | None, dry_run: bool, as_json: bool
) -> None:
    """Remove expired versions of items with their files and tables, and leftovers of runs.

    Versions that were replaced or unpublished expire after a number of days. Leftovers are files
    and staged tables of runs that never published a result.
    """
    days = application.settings.keep_replaced_days if older_than_days is None else older_than_days
    if dry_run:
        planned = plan_removal(
            application.catalog,
            application.objects,
            older_than_days=days,
            now_utc=datetime.now(UTC),
        )
        _show(
            {**_document(planned), "outcome": "planned", "run_id": None, "error": None},
            as_json=as_json,
        )
        return
    with application.launcher() as launcher:
        report = launcher.run(
            RunRequest(
                job="remove_replaced",
                partition=None,
                stage_options={"remove": {"older_than_days": days}},
            )
        )
    if report.error is None:
        _show(
            {**(report.result or {}), "outcome": "removed", "run_id": report.run_id, "error": None},
            as_json=as_json,
        )
        return
    outcome = outcome_of(report.error)
    if as_json:
        click.echo(
            json.dumps({"outcome": outcome.value, "run_id": report.run_id, "error": report.error})
        )
    else:
        click.echo(
            printable(
                f"{report.error['code']}: {report.error['message']} {report.error['remedy']}"
            ),
            err=True,
        )
    sys.exit(exit_code([outcome]))


def _document(planned: Removed) -> dict[str, Any]:
    return {
        "versions": [
            f"{version.collection}/{version.item_id} of run {version.run_id}"
            for version in planned.versions
        ],
        "objects": list(planned.objects),
        "size_bytes": planned.size_bytes,
        "tables": [],
        "left": {},
    }


def _show(document: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(document))
        return
    verb = "Would remove" if document["outcome"] == "planned" else "Removed"
    nouns = {"versions": "version", "objects": "file", "tables": "staged table"}
    counts = [_counted(len(document[part]), noun) for part, noun in nouns.items()]
    click.echo(f"{verb} {', '.join(counts)}; files of {document['size_bytes']:,} bytes.")
    for version in document["versions"]:
        click.echo(printable(f"  {version}"))
    for version, reason in document["left"].items():
        click.echo(printable(f"  kept {version}: {reason}"))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
