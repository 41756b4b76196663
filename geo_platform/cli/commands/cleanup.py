"""`geo-platform cleanup`: remove expired versions, as the nightly schedule does.

`catalog/retention.py` decides what is due.
"""

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from geo_platform.catalog.retention import Removed, plan_removal
from geo_platform.cli.application import Application
from geo_platform.cli.outcome import exit_code, outcome_of, printable
from geo_platform.runs import RunRequest


@click.command("cleanup")
@click.option(
    "--older-than-days",
    type=click.FloatRange(min=0),
    help="Remove what was withdrawn longer ago than this. [default: "
    "GEO_PLATFORM_KEEP_REPLACED_DAYS]",
)
@click.option("--dry-run", is_flag=True, help="Show what would be removed; remove nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def cleanup(
    application: Application, older_than_days: float | None, dry_run: bool, as_json: bool
) -> None:
    """Remove replaced and unpublished versions with their files and tables, and leftovers of runs
    that never published.
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
    named = {"versions": "version", "objects": "file", "tables": "staged table"}
    counts = [_counted(len(document[part]), noun) for part, noun in named.items()]
    click.echo(f"{verb} {', '.join(counts)}; files of {document['size_bytes']:,} bytes.")
    for version in document["versions"]:
        click.echo(printable(f"  {version}"))
    for version, reason in document["left"].items():
        click.echo(printable(f"  kept {version}: {reason}"))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
