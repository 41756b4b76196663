"""`geo-platform quarantine list|show|release`: what was refused after it arrived by itself, why, and the way back.

What belongs here: options and the answers. What stays out: moving (`arrivals/release.py`).
"""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from geo_platform.arrivals.quarantine_records import Quarantined, list_quarantine, wanted_record
from geo_platform.arrivals.release import release
from geo_platform.cli.application import Application
from geo_platform.cli.outcome import CommandOutcome, exit_code, outcome_of, printable
from geo_platform.contracts.arrival import ObjectQuarantined
from geo_platform.errors import PlatformError

# Columns, where the reader is a program.
_NEVER_FOLDED = 10_000

_as_json = click.option(
    "--json", "as_json", is_flag=True, help="One JSON document on standard output."
)


@click.group("quarantine")
def quarantine() -> None:
    """What arrived by itself and was refused: see why, mend what has to be mended, and release it to be run again.

    \b
      geo-platform quarantine list               what lies there, and with which code it was refused
      geo-platform quarantine show dem/a.tif     why, and what to do about it
      geo-platform quarantine release dem/a.tif  back to where it came from; its watch asks for a run by itself

    Most often one of three things is wrong: the file (put a mended one where it came from; it counts as a new arrival), a file
    that belongs beside it (put it there, then release), or the watch's parameters (change them, then release).
    """


@quarantine.command("list")
@_as_json
@click.pass_obj
def list_quarantined(application: Application, /, as_json: bool) -> None:
    """List what lies in quarantine, in order of key."""
    entries = list(list_quarantine(application.objects))
    if as_json:
        click.echo(json.dumps([_row(entry) for entry in entries]))
        return
    if not entries:
        click.echo("Nothing lies in quarantine.")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("key", "code", "refused by run", "moved"):
        table.add_column(
            heading, overflow="fold", no_wrap=heading == "refused by run"
        )  # a run's id is there to be copied
    for entry in entries:
        table.add_row(*(Text(printable(text)) for text in _cells(entry)))
    Console(width=None if sys.stdout.isatty() else _NEVER_FOLDED).print(table)
    click.echo("Why, and what to do: geo-platform quarantine show KEY")


@quarantine.command("show")
@click.argument("key", metavar="KEY")
@_as_json
@click.pass_obj
def show(application: Application, /, key: str, as_json: bool) -> None:
    """Show why an object was refused, and what to do. KEY is that of the object, as `list` shows it."""
    record = wanted_record(application.objects, key)
    if as_json:
        click.echo(
            json.dumps({"schema_version": record.schema_version, **record.model_dump(mode="json")})
        )
        return
    lines = [
        record.key,
        f"  {record.code}: {record.message}",
        f"  What to do: {record.remedy}",
        f"  refused by run {record.run_id} of the watch {record.watch}: geo-platform trace {record.run_id}",
        f"  came from {record.uri}, at etag {record.etag}",
        f"  moved {record.quarantined_at_utc:%Y-%m-%d %H:%M:%SZ}: {', '.join(part.key for part in record.parts)}",
        *_replaced(record),
        f"  Then: geo-platform quarantine release {record.key}",
    ]
    click.echo("\n".join(map(printable, lines)))


@quarantine.command("release")
@click.argument("key", metavar="KEY", required=False)
@click.option("--all", "everything", is_flag=True, help="Everything that lies in quarantine.")
@click.option(
    "--replace", is_flag=True, help="Also where something newer lies now: it is replaced."
)
@_as_json
@click.pass_obj
def release_command(
    application: Application, /, key: str | None, everything: bool, replace: bool, as_json: bool
) -> None:
    """Move an object with its sidecars back to where it came from. Its watch's sensor asks for a run by itself.

    KEY is that of the object, as `list` shows it. What you put into quarantine under that key yourself goes back in its place.
    """
    if everything is (key is not None):
        raise click.UsageError("Name one KEY, or give --all.")
    keys = (
        [key] if key is not None else [entry.key for entry in list_quarantine(application.objects)]
    )
    answers = [_released(application, each, replace=replace) for each in keys]
    if as_json:
        click.echo(json.dumps(answers[0] if key is not None else answers))
    else:
        _say(answers)
    sys.exit(
        exit_code(
            outcome_of(answer["error"]) if answer["error"] else CommandOutcome.published
            for answer in answers
        )
    )


def _released(application: Application, key: str, *, replace: bool) -> dict[str, Any]:
    """No refusal of one stops the others."""
    try:
        done = release(application.objects, key, replace=replace)
    except PlatformError as error:
        record = error.as_record()
        return {
            "outcome": outcome_of(record).value,
            "key": key,
            "container": None,
            "parts": [],
            "kept": [],
            "error": record,
        }
    return {"outcome": "released", **asdict(done), "error": None}


def _say(answers: Iterable[Mapping[str, Any]]) -> None:
    count = 0
    for answer in answers:
        count += 1
        if answer["error"]:
            error = answer["error"]
            click.echo(
                printable(
                    f"{answer['key']}: {error['code']}: {error['message']} {error['remedy']}"
                ),
                err=True,
            )
            continue
        others = len(answer["parts"]) - 1
        beside = f" with {others} file{'' if others == 1 else 's'} beside it" if others else ""
        click.echo(
            printable(
                f"{answer['key']} lies in {answer['container']} again{beside}. Its watch's sensor asks for a run."
            )
        )
        for part in answer["kept"]:
            click.echo(
                printable(
                    f"  {part} did not come with it: it is not there any more, or belongs to another object now."
                )
            )
    if not count:
        click.echo("Nothing lies in quarantine.")


def _row(entry: Quarantined) -> dict[str, Any]:
    if entry.record is None:
        return {"key": entry.key, "fault": entry.fault}
    told = entry.record.model_dump(mode="json", exclude={"parts", "replaced"})
    return {
        **told,
        "parts": [part.key for part in entry.record.parts],
        "replaced_run_id": _replaced_run(entry.record),
    }


def _cells(entry: Quarantined) -> tuple[str, str, str, str]:
    record = entry.record
    if record is None:
        return entry.key, entry.fault, "-", "-"
    return record.key, record.code, record.run_id, f"{record.quarantined_at_utc:%Y-%m-%d %H:%M:%SZ}"


def _replaced(record: ObjectQuarantined) -> list[str]:
    before = record.replaced
    return (
        [f"  It took the place of what run {before.run_id} had refused: {before.code}."]
        if before is not None
        else []
    )


def _replaced_run(record: ObjectQuarantined) -> str | None:
    return record.replaced.run_id if record.replaced is not None else None
