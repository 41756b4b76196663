"""The commands `geo-platform list`, `show ITEM` and `status RUN`: show published items and runs.

Called by `cli/main.py`.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from geo_platform.cli.application import Application
from geo_platform.cli.outcome import printable
from geo_platform.errors import CatalogRejected
from geo_platform.ports import Catalog
from geo_platform.serving.downloads import download_paths, with_downloads


@dataclass(frozen=True)
class Listing:
    """The rows of all readable items, and the error that names the unreadable ones, or None."""

    rows: tuple[dict[str, Any], ...]
    fault: CatalogRejected | None


def listing_rows(catalog: Catalog) -> Iterator[dict[str, Any]]:
    """Yield one row of JSON values per item, newest first.

    Keys: `id`, `collection`, `run_id`, `source`, `outputs`, `updated`, `href`.

    Raises CatalogRejected, after the last row: some items could not be read. Raises
    StoreUnavailable, StoreDenied, DatabaseUnavailable: the catalog does not answer or refuses
    access.
    """
    for entry in catalog.entries():
        yield {
            "id": entry.item_id,
            "collection": entry.collection,
            "run_id": entry.run_id,
            "source": entry.source,
            "outputs": list(entry.outputs),
            "updated": entry.updated_at_utc.isoformat(),
            "href": entry.href,
        }


def read_listing(catalog: Catalog) -> Listing:
    """Return the rows of all readable items, and the error of unreadable items if there are any.

    Raises StoreUnavailable, StoreDenied, DatabaseUnavailable: the catalog does not answer or
    refuses access.
    """
    rows: list[dict[str, Any]] = []
    try:
        for row in listing_rows(catalog):
            rows.append(row)
    except CatalogRejected as error:
        return Listing(tuple(rows), error)
    return Listing(tuple(rows), None)


# Table width in columns if the output is not a terminal: wide enough that no cell is wrapped.
_UNWRAPPED_WIDTH = 10_000


@click.command("list")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print a JSON list, newest first: id, collection, run_id, source, outputs, updated, href.",
)
@click.pass_obj
def list_items(application: Application, as_json: bool) -> None:
    """List the published items, newest first."""
    listing = read_listing(application.catalog)
    if listing.fault is not None:
        click.echo(printable(str(listing.fault)), err=True)
    if as_json:
        click.echo(json.dumps(listing.rows))
    else:
        _print_rows(listing.rows)
    sys.exit(3 if listing.fault else 0)


def _print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        click.echo("Nothing is published yet. Try: geo-platform demo")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("item", "collection", "run", "source"):
        table.add_column(
            heading, overflow="fold", no_wrap=heading == "run"
        )  # a run id is copied, so it stays on one line
    for row in rows:
        table.add_row(
            *(
                Text(printable(str(row[column])))
                for column in ("id", "collection", "run_id", "source")
            )
        )
    Console(width=None if sys.stdout.isatty() else _UNWRAPPED_WIDTH).print(table)


@click.command("show")
@click.argument("item", metavar="ITEM")
@click.option("--json", "as_json", is_flag=True, help="Print the STAC item.")
@click.pass_obj
def show_item(application: Application, item: str, as_json: bool) -> None:
    """Show one published item.

    ITEM is its id, or collection/id if several collections have that id. If GEO_PLATFORM_API_URL is
    set, the addresses at which the HTTP API sends its files are shown too, in JSON as `alternate`.
    """
    collection, _, item_id = item.rpartition("/")
    entries = [
        entry
        for entry in application.catalog.entries()
        if entry.item_id == item_id and collection in ("", entry.collection)
    ]
    if not entries:
        raise click.ClickException(
            f"No item {printable(item)!r} is published. `geo-platform list` shows the published "
            "items."
        )
    if len(entries) > 1:
        names = ", ".join(f"{entry.collection}/{entry.item_id}" for entry in entries)
        raise click.UsageError(f"{item_id} is in several collections. Name one of: {names}")
    document = application.catalog.item(entries[0].collection, entries[0].item_id)
    if document is None:
        raise click.ClickException(
            f"{printable(item)!r} was removed during the lookup. Run the command again."
        )
    api_url = (application.settings.api_url or "").rstrip("/")
    if as_json:
        shown = with_downloads(document, api_url) if api_url else document
        click.echo(json.dumps(shown, indent=2))
        return
    console = Console(highlight=False)
    console.print(Text(f"{entries[0].collection}/{entries[0].item_id}", style="bold"))
    for name, value in sorted(document["properties"].items()):
        if not isinstance(value, dict | list):
            console.print(Text(f"  {name}: {printable(str(value))}"), soft_wrap=True)
    paths = download_paths(entries[0].collection, entries[0].item_id, document["assets"])
    for name, asset in document["assets"].items():
        console.print(Text(f"  {name}: {printable(asset['href'])}"), soft_wrap=True)
        if api_url and name in paths:
            console.print(Text(f"    download: {api_url}{paths[name]}"), soft_wrap=True)


@click.command("status")
@click.argument("run", metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def show_status(application: Application, run: str, as_json: bool) -> None:
    """Show a run: its state, seconds per stage, and its result or error."""
    with application.launcher() as launcher:
        report = launcher.status(run)
    if report is None:
        raise click.ClickException(f"There is no run {printable(run)!r} in this home.")
    if as_json:
        fields = (
            "run_id",
            "job",
            "partition",
            "status",
            "seconds",
            "stage_seconds",
            "result",
            "error",
        )
        click.echo(json.dumps({name: getattr(report, name) for name in fields}, default=str))
        return
    click.echo(f"run {report.run_id}: {report.job} {report.status}, {report.seconds:.1f} s")
    click.echo(f"  object {printable(report.partition or '-')}")
    for stage, seconds in report.stage_seconds.items():
        click.echo(f"  {stage:<32} {seconds:8.2f} s")
    if report.error:
        click.echo(f"  {report.error['code']}: {printable(str(report.error['message']))}")
        click.echo(f"  What to do: {printable(str(report.error['remedy']))}")
    if report.result:
        click.echo(f"  item {report.result.get('item_id', '-')}")
