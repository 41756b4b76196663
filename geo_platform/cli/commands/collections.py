"""The commands `geo-platform collections publish|unpublish|list`: reading without a credential.

`serving/public.py` stores the list.

Called by `cli/main.py`.
"""

import json

import click

from geo_platform.cli.application import Application
from geo_platform.cli.outcome import printable
from geo_platform.serving.public import FRESH_S, PublicReading


@click.group("collections")
def collections() -> None:
    """Let anybody read a collection over HTTP, without a credential.

    No collection is public until an operator publishes it. Anonymous readers can search, draw,
    query and download what is in the public collections, and see nothing of the others.
    """


@collections.command("publish")
@click.argument("name")
@click.pass_obj
def publish(application: Application, name: str) -> None:
    """Let anybody read a collection: what it has now, and what is added later."""
    if not PublicReading(application.objects).publish(name):
        click.echo(f"{name} was public already.", err=True)
        return
    click.echo(f"Anybody can read {name} now, without a credential.", err=True)
    if not any(entry.collection == name for entry in application.catalog.entries()):
        click.echo("Nothing is published in it yet: check the name.", err=True)


@collections.command("unpublish")
@click.argument("name")
@click.pass_obj
def unpublish(application: Application, name: str) -> None:
    """Ask for a credential again. Copies that others have made or cached are not affected."""
    PublicReading(application.objects).unpublish(name)
    click.echo(f"{name} needs a credential again, within {FRESH_S:.0f} seconds.", err=True)


@collections.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of names.")
@click.pass_obj
def show(application: Application, as_json: bool) -> None:
    """List the public collections."""
    names = PublicReading(application.objects).stored()
    if as_json:
        click.echo(json.dumps(names))
        return
    for name in names:
        click.echo(printable(name))
    if not names:
        click.echo("No collection is public.", err=True)
