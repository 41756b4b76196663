"""The commands `geo-platform keys create|list|revoke`: API keys of the HTTP API.

`api/auth/keys.py` defines a key and how it is stored.

Called by `cli/main.py`.
"""

from datetime import timedelta

import click

from geo_platform.api.auth.keys import KeyFile
from geo_platform.api.auth.principal import Scope
from geo_platform.cli.application import Application


@click.group("keys")
def keys() -> None:
    """Create, list and revoke API keys of the HTTP API.

    A client authenticates with a key. Only the hashes of keys are stored, in api/keys.json in the
    home.
    """


@keys.command("create")
@click.argument("name")
@click.option(
    "--scope",
    required=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What the key may do. Each scope includes the scopes before it.",
)
@click.option(
    "--container",
    "containers",
    multiple=True,
    metavar="PATTERN",
    help="Container that the key may use, as a pattern. May be repeated. [default: all]",
)
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    metavar="PATTERN",
    help="Dataset that the key may read and write, as a pattern. May be repeated. [default: all]",
)
@click.option(
    "--collection",
    "collections",
    multiple=True,
    metavar="PATTERN",
    help="Collection that the key may use, as a pattern. May be repeated. [default: all]",
)
@click.option(
    "--expires-days",
    type=click.FloatRange(min=0, min_open=True),
    help="Days until the key expires. [default: never]",
)
@click.pass_obj
def create(
    application: Application,
    name: str,
    scope: str,
    containers: tuple[str, ...],
    datasets: tuple[str, ...],
    collections: tuple[str, ...],
    expires_days: float | None,
) -> None:
    """Create a key and print it. The key cannot be shown again."""
    expires_in = timedelta(days=expires_days) if expires_days is not None else None
    file = KeyFile(application.settings.api_keys_file)
    key = file.create(
        name,
        Scope(scope),
        containers=containers,
        datasets=datasets,
        collections=collections,
        expires_in=expires_in,
    )
    click.echo(key)
    click.echo(
        "This key is not shown again. Send it as X-Api-Key, or as Authorization: Bearer.", err=True
    )


@keys.command("list")
@click.pass_obj
def show(application: Application) -> None:
    """List the keys without their secrets."""
    for key in KeyFile(application.settings.api_keys_file).listed():
        ends = (
            "never expires"
            if key.expires_at_utc is None
            else f"{'expired' if key.is_expired else 'expires'} "
            f"{key.expires_at_utc:%Y-%m-%d %H:%M} UTC"
        )
        limits = [
            *(f"container {pattern}" for pattern in key.containers),
            *(f"dataset {pattern}" for pattern in key.datasets),
            *(f"collection {pattern}" for pattern in key.collections),
        ]
        click.echo(
            f"{key.name}  {key.scope}  created {key.created_at_utc:%Y-%m-%d}  "
            f"{ends}{'  only ' if limits else ''}{', '.join(limits)}"
        )


@keys.command("revoke")
@click.argument("name")
@click.pass_obj
def revoke(application: Application, name: str) -> None:
    """Revoke a key: the next request with it is refused."""
    KeyFile(application.settings.api_keys_file).revoke(name)
    click.echo(f"Revoked {name}.", err=True)
