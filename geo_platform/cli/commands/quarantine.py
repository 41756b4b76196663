"""The commands `geo-platform quarantine list|show|release`: refused files of watched containers.

`arrivals/quarantine.py` moves files to quarantine and back.

Called by `cli/main.py`.
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

from geo_platform.arrivals.quarantine import release
from geo_platform.arrivals.quarantine_records import Quarantined, list_quarantine, required_record
from geo_platform.cli.application import Application
from geo_platform.cli.outcome import CommandOutcome, exit_code, outcome_of, printable
from geo_platform.contracts.arrival import ObjectQuarantined
from geo_platform.errors import PlatformError

# Table width in columns if the output is not a terminal: wide enough that no cell is wrapped.
_UNWRAPPED_WIDTH = 10_000

_as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.group("quarantine")
def quarantine() -> None:
    """See why arrived files were refused, correct the cause, and release them for another run.

    \b
      geo-platform quarantine list               the files in quarantine, each with its error code
      geo-platform quarantine show dem/a.tif     why it was refused, and what to do
      geo-platform quarantine release dem/a.tif  move it back; its watch requests a new run

    \b
    The usual causes
      The file is wrong: put a corrected file at the original place. It counts as a new file.
      A sidecar is missing: put the sidecar at the original place, then release the file.
      The watch has wrong parameters: change them, then release the file.
    """


@quarantine.command("list")
@_as_json
@click.pass_obj
def list_quarantined(application: Application, /, as_json: bool) -> None:
    """List the files in quarantine, in order of key."""
    entries = list(list_quarantine(application.objects))
    if as_json:
        click.echo(json.dumps([_row(entry) for entry in entries]))
        return
    if not entries:
        click.echo("Quarantine is empty.")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("key", "code", "refused by run", "moved"):
        table.add_column(
            heading, overflow="fold", no_wrap=heading == "refused by run"
        )  # a run id is copied, so it stays on one line
    for entry in entries:
        table.add_row(*(Text(printable(text)) for text in _cells(entry)))
    Console(width=None if sys.stdout.isatty() else _UNWRAPPED_WIDTH).print(table)
    click.echo("Show the reason and the remedy of a file: geo-platform quarantine show KEY")


@quarantine.command("show")
@click.argument("key", metavar="KEY")
@_as_json
@click.pass_obj
def show(application: Application, /, key: str, as_json: bool) -> None:
    """Show why an object was refused, and what to do. KEY is the key that `list` shows."""
    record = required_record(application.objects, key)
    if as_json:
        click.echo(
            json.dumps({"schema_version": record.schema_version, **record.model_dump(mode="json")})
        )
        return
    lines = [
        record.key,
        f"  {record.code}: {record.message}",
        f"  What to do: {record.remedy}",
        f"  refused by run {record.run_id} of watch {record.watch}: geo-platform trace "
        f"{record.run_id}",
        f"  original place {record.uri}, etag {record.etag}",
        f"  moved {record.quarantined_at_utc:%Y-%m-%d %H:%M:%SZ}: "
        f"{', '.join(part.key for part in record.parts)}",
        *_replaced_line(record),
        f"  Then: geo-platform quarantine release {record.key}",
    ]
    click.echo("\n".join(map(printable, lines)))


@quarantine.command("release")
@click.argument("key", metavar="KEY", required=False)
@click.option("--all", "everything", is_flag=True, help="Release every object in quarantine.")
@click.option("--replace", is_flag=True, help="Replace a newer object at the original place.")
@_as_json
@click.pass_obj
def release_command(
    application: Application, /, key: str | None, everything: bool, replace: bool, as_json: bool
) -> None:
    """Move an object with its sidecars back to its original place.

    The sensor of its watch then requests a new run.

    KEY is the key that `list` shows. If you have replaced the object under that key in quarantine,
    your object is moved.
    """
    if everything is (key is not None):
        raise click.UsageError("Name one KEY, or use --all.")
    keys = (
        [key] if key is not None else [entry.key for entry in list_quarantine(application.objects)]
    )
    results = [_released(application, entry_key, replace=replace) for entry_key in keys]
    if as_json:
        click.echo(json.dumps(results[0] if key is not None else results))
    else:
        _print(results)
    sys.exit(
        exit_code(
            outcome_of(result["error"]) if result["error"] else CommandOutcome.published
            for result in results
        )
    )


def _released(application: Application, key: str, *, replace: bool) -> dict[str, Any]:
    """Release one object and return the result as JSON values.

    A PlatformError becomes the result of this object, so that it does not stop the others.
    """
    try:
        released = release(application.objects, key, replace=replace)
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
    return {"outcome": "released", **asdict(released), "error": None}


def _print(results: Iterable[Mapping[str, Any]]) -> None:
    count = 0
    for result in results:
        count += 1
        if result["error"]:
            error = result["error"]
            click.echo(
                printable(
                    f"{result['key']}: {error['code']}: {error['message']} {error['remedy']}"
                ),
                err=True,
            )
            continue
        others = len(result["parts"]) - 1
        sidecars = f" with {others} sidecar{'' if others == 1 else 's'}" if others else ""
        click.echo(
            printable(
                f"{result['key']} is back in {result['container']}{sidecars}. The sensor of its "
                "watch requests a run."
            )
        )
        for part in result["kept"]:
            click.echo(
                printable(
                    f"  {part} was not moved: it no longer exists, or it belongs to another object "
                    "now."
                )
            )
    if not count:
        click.echo("Quarantine is empty.")


def _row(entry: Quarantined) -> dict[str, Any]:
    if entry.record is None:
        return {"key": entry.key, "fault": entry.fault}
    fields = entry.record.model_dump(mode="json", exclude={"parts", "replaced"})
    return {
        **fields,
        "parts": [part.key for part in entry.record.parts],
        "replaced_run_id": _replaced_run(entry.record),
    }


def _cells(entry: Quarantined) -> tuple[str, str, str, str]:
    record = entry.record
    if record is None:
        return entry.key, entry.fault, "-", "-"
    return record.key, record.code, record.run_id, f"{record.quarantined_at_utc:%Y-%m-%d %H:%M:%SZ}"


def _replaced_line(record: ObjectQuarantined) -> list[str]:
    before = record.replaced
    return (
        [f"  It replaced the object that run {before.run_id} had refused: {before.code}."]
        if before is not None
        else []
    )


def _replaced_run(record: ObjectQuarantined) -> str | None:
    return record.replaced.run_id if record.replaced is not None else None
