"""`geo-platform database init|check`: the PostgreSQL database of features and catalog."""

import sys

import click

from geo_platform.cli.application import Application

_SCHEMA = click.option(
    "--schema",
    "schemas",
    multiple=True,
    metavar="NAME",
    help="Another schema for published tables, in addition to geo.",
)


@click.group("database")
def database() -> None:
    """Install the platform in the database of features and catalog, or check it.

    GEO_PLATFORM_POSTGRES_URL names the database.
    """


@database.command("init")
@_SCHEMA
@click.pass_obj
def init(application: Application, /, schemas: tuple[str, ...]) -> None:
    """Install PostGIS, pgSTAC, schemas and roles, as an administrator.

    Safe to repeat; run it after every upgrade.
    """
    from geo_platform.storage.postgres.connections import database_of
    from geo_platform.storage.postgres.installation import install, published_schemas
    from geo_platform.storage.postgres.names import LOADER_ROLE, READER_ROLE

    target = database_of(application.settings)
    facts = install(target, schemas)
    click.echo(
        f"{target.place} has PostGIS {facts.postgis}, pgSTAC {facts.pgstac_version} and schema "
        f"version {facts.own_version} of geo_platform."
    )
    click.echo(f"Tables are published in: {', '.join(published_schemas(schemas))}.")
    click.echo(
        f"Grant a login the right to load: GRANT {LOADER_ROLE} TO …; to read: GRANT {READER_ROLE} "
        "TO …"
    )


@database.command("check")
@_SCHEMA
@click.pass_obj
def check(application: Application, /, schemas: tuple[str, ...]) -> None:
    """Check what the current login needs to load and publish.

    Exit 0 if nothing is missing, else 3.
    """
    from geo_platform.storage.postgres.connections import database_of
    from geo_platform.storage.postgres.installation import check as check_installation

    requirements = check_installation(database_of(application.settings), schemas)
    for requirement in requirements:
        state = "ok" if requirement.is_met else "MISSING" if requirement.is_needed else "LIMITED"
        click.echo(f"{state:<8} {requirement.name}: {requirement.detail}")
    is_complete = all(each.is_met or not each.is_needed for each in requirements)
    sys.exit(0 if is_complete else 3)
