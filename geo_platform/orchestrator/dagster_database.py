"""Dagster's own database in PostgreSQL: check it before it is opened, and translate its faults.

Its tables are Dagster's. Dagster reads the address from the environment itself
(`deploy/*/dagster.yaml`), so it has to be a URL.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from pydantic import SecretStr
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
    TimeoutError,
)

from geo_platform.errors import PlatformError, StoreDenied
from geo_platform.settings import Settings
from geo_platform.storage.postgres.connections import Database, is_url, translate

VARIABLE = "GEO_PLATFORM_DAGSTER_POSTGRES_URL"
_SCHEME = "postgresql://"
# Key of the advisory lock: "geo_dags" in ASCII.
_FIRST_OPENING = 0x67656F5F64616773


@contextmanager
def opened_alone(settings: Settings) -> Iterator[None]:
    """Hold a lock so that one process at a time, on any machine, opens Dagster's database.

    Dagster creates its tables without checking for another process. Connecting first also fails at
    once for a wrong password, which Dagster would retry for long. Raises StoreDenied,
    DatabaseUnavailable.
    """
    database = dagster_database(settings)
    with database_errors(database), database.connect(autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_FIRST_OPENING,))
        yield


def dagster_database(settings: Settings) -> Database:
    """Return the database of Dagster's runs, events and schedules.

    Raises StoreDenied: none is set, or not as a URL.
    """
    url = settings.dagster_postgres_url
    if url is None:
        raise StoreDenied(
            "The production profile keeps Dagster's runs in a database, and none is set.",
            remedy=f"Set {VARIABLE} to {_SCHEME}USER@HOST/NAME, a database of its own.",
        )
    if not _is_url(url):
        # Without the reason: the driver repeats the text it could not parse, which holds the
        # password.
        raise StoreDenied(
            f"{VARIABLE} is not an address that Dagster can use.",
            remedy=(
                f"Write it as {_SCHEME}USER:PASSWORD@HOST:PORT/NAME; "
                "in the password % @ : / are written %25 %40 %3A %2F."
            ),
        )
    return Database(url)


@contextmanager
def database_errors(database: Database) -> Iterator[None]:
    """Translate connection errors of SQLAlchemy and of Dagster's storage; others pass unchanged."""
    try:
        yield
    except PlatformError:
        raise
    except Exception as error:
        fault = _found(error)
        translated = translate(_as_psycopg(fault), database.place) if fault is not None else None
        if translated is None:
            raise
        raise translated from error


def _is_url(url: SecretStr) -> bool:
    """Return whether both readers accept it: libpq here, SQLAlchemy in Dagster."""
    given = url.get_secret_value()
    try:
        make_url(given)
    except (SQLAlchemyError, ValueError):
        return False
    return given.startswith(_SCHEME) and is_url(url)


def _found(error: BaseException | None) -> SQLAlchemyError | None:
    """Return the driver's error from a chain of causes: after some attempts Dagster wraps it."""
    while error is not None and not isinstance(error, SQLAlchemyError):
        error = error.__cause__ or error.__context__
    return error


def _as_psycopg(fault: SQLAlchemyError) -> psycopg.Error:
    """Return the error as one of psycopg's.

    SQLAlchemy uses psycopg 2, whose classes differ but whose codes are the same.
    """
    original = fault.orig if isinstance(fault, DBAPIError) else fault
    try:
        kind = psycopg.errors.lookup(getattr(original, "pgcode", None) or "")
    except KeyError:
        kind = (
            psycopg.OperationalError
            if isinstance(fault, OperationalError | InterfaceError | TimeoutError)
            else psycopg.Error
        )
    return kind(str(original))
