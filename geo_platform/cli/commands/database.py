"""`geo-platform database init|check`"""

import sys

import click

from geo_platform.cli.application import Application

_SCHEMA = click.option(
    "--schema",
    "schemas",
    multiple=True,
    metavar="NAME",
    help="Another schema to publish tables in, beside geo.",
)


@click.group("database")
def database() -> None:
    """The database of features and catalog: put the platform into it, and say what is missing. GEO_PLATFORM_POSTGRES_URL names it."""


@database.command("init")
@_SCHEMA
@click.pass_obj
def init(application: Application, /, schemas: tuple[str, ...]) -> None:
    """Install PostGIS, pgSTAC, schemas and roles, as an administrator. May be run again, and after every upgrade."""
    from geo_platform.storage.postgres.connections import database_of
    from geo_platform.storage.postgres.installation import install, published_schemas
    from geo_platform.storage.postgres.names import LOADER_ROLE, READER_ROLE

    target = database_of(application.settings)
    facts = install(target, schemas)
    click.echo(
        f"{target.place} has PostGIS {facts.postgis}, pgSTAC {facts.pgstac_version} and geo_platform's version {facts.own_version}."
    )
    click.echo(f"Tables are published in: {', '.join(published_schemas(schemas))}.")
    click.echo(
        f"Logins that load need: GRANT {LOADER_ROLE} TO …; logins that read: GRANT {READER_ROLE} TO …"
    )


@database.command("check")
@_SCHEMA
@click.pass_obj
def check(application: Application, /, schemas: tuple[str, ...]) -> None:
    """Say what the present login has and misses for loading and publishing. Exit 0 where nothing is missing, else 3."""
    from geo_platform.storage.postgres.connections import database_of
    from geo_platform.storage.postgres.installation import check as check_installation

    requirements = check_installation(database_of(application.settings), schemas)
    for requirement in requirements:
        state = "ok" if requirement.is_met else "MISSING" if requirement.is_needed else "LIMITED"
        click.echo(f"{state:<8} {requirement.name}: {requirement.detail}")
    is_complete = all(each.is_met or not each.is_needed for each in requirements)
    sys.exit(0 if is_complete else 3)
