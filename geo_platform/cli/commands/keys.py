"""`geo-platform keys`: API keys of the HTTP face, made, listed and revoked.

What belongs here: options and printing. What stays out: what a key is and how it is kept (`api/auth/keys.py`).
"""

from datetime import timedelta

import click

from geo_platform.api.auth.keys import KeyFile
from geo_platform.api.auth.principal import Scope
from geo_platform.cli.application import Application


@click.group("keys")
def keys() -> None:
    """API keys of the HTTP face: create, list, revoke. Only their hashes are kept, in api/keys.json in the home."""


@keys.command("create")
@click.argument("name")
@click.option(
    "--scope",
    required=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What it may do; each holds those before it.",
)
@click.option(
    "--container",
    "containers",
    multiple=True,
    metavar="PATTERN",
    help="Containers that it may use. [default: all]",
)
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    metavar="PATTERN",
    help="Datasets that it may write. [default: all]",
)
@click.option(
    "--expires-days",
    type=click.FloatRange(min=0, min_open=True),
    help="After how many days it ends. [default: never]",
)
@click.pass_obj
def create(
    application: Application,
    name: str,
    scope: str,
    containers: tuple[str, ...],
    datasets: tuple[str, ...],
    expires_days: float | None,
) -> None:
    """Make a key and print it, this once."""
    expires_in = timedelta(days=expires_days) if expires_days is not None else None
    file = KeyFile(application.settings.api_keys_file)
    key = file.create(
        name, Scope(scope), containers=containers, datasets=datasets, expires_in=expires_in
    )
    click.echo(key)
    click.echo(
        "It is not shown again. Send it as X-Api-Key, or as Authorization: Bearer.", err=True
    )


@keys.command("list")
@click.pass_obj
def show(application: Application) -> None:
    """The keys that there are, without what opens anything."""
    for key in KeyFile(application.settings.api_keys_file).listed():
        ends = (
            "never ends"
            if key.expires_at_utc is None
            else f"{'ended' if key.is_expired else 'ends'} {key.expires_at_utc:%Y-%m-%d %H:%M} UTC"
        )
        limits = [
            *(f"container {each}" for each in key.containers),
            *(f"dataset {each}" for each in key.datasets),
        ]
        click.echo(
            f"{key.name}  {key.scope}  made {key.created_at_utc:%Y-%m-%d}  {ends}{'  only ' if limits else ''}{', '.join(limits)}"
        )


@keys.command("revoke")
@click.argument("name")
@click.pass_obj
def revoke(application: Application, name: str) -> None:
    """End a key: the next request with it is refused."""
    KeyFile(application.settings.api_keys_file).revoke(name)
    click.echo(f"Revoked {name}.", err=True)
