"""The commands `geo-platform database init|check`, for the database of features and catalog.

Called by `cli/main.py`.
"""

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
    """Install the platform in its PostgreSQL database, or check the installation.

    The database has the features and the catalog. GEO_PLATFORM_POSTGRES_URL is its URL, with the
    login that the command uses.
    """


@database.command("init")
@_SCHEMA
@click.pass_obj
def init(application: Application, /, schemas: tuple[str, ...]) -> None:
    """Install PostGIS, pgSTAC, schemas and roles.

    The login in GEO_PLATFORM_POSTGRES_URL must be an administrator of the database. The command is
    safe to repeat; run it after every upgrade.
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
    """Check whether the login in GEO_PLATFORM_POSTGRES_URL can load and publish.

    Exit 0 if nothing required is missing, else 3.
    """
    from geo_platform.storage.postgres.connections import database_of
    from geo_platform.storage.postgres.installation import check as check_installation

    requirements = check_installation(database_of(application.settings), schemas)
    for requirement in requirements:
        state = "ok" if requirement.is_met else "MISSING" if requirement.is_needed else "LIMITED"
        click.echo(f"{state:<8} {requirement.name}: {requirement.detail}")
    is_complete = all(
        requirement.is_met or not requirement.is_needed for requirement in requirements
    )
    sys.exit(0 if is_complete else 3)
