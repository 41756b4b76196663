"""Dagster's own database, where the profile keeps it in PostgreSQL: asked before it is opened, and its faults in the platform's words.

What belongs here: the lock under which it is opened, and translating what SQLAlchemy raises. What stays out: its tables, which
are Dagster's. Dagster reads the address from the environment itself (`deploy/*/dagster.yaml`), so it has to be a URL.
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
    """Hold the lock under which one process at a time, of whatever machine, opens Dagster's database.

    Dagster makes its tables when it finds none, without asking whether another process is at it. Asking first also tells a
    wrong password from a server that is down at once, which Dagster would try for long. Raises StoreDenied, DatabaseUnavailable.
    """
    database = dagster_database(settings)
    with database_errors(database), database.connect(autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_FIRST_OPENING,))
        yield


def dagster_database(settings: Settings) -> Database:
    """Where Dagster's runs, events and schedules are. Raises StoreDenied where none is named, or not by a URL."""
    url = settings.dagster_postgres_url
    if url is None:
        raise StoreDenied(
            "The production profile keeps Dagster's runs in a database, and none is set.",
            remedy=f"Set {VARIABLE} to {_SCHEME}USER@HOST/NAME, a database of its own.",
        )
    if not _is_url(url):
        # Without the reason: the driver repeats what it could not read, and the password is part of that.
        raise StoreDenied(
            f"{VARIABLE} is no address that Dagster can use.",
            remedy=f"Write it as {_SCHEME}USER:PASSWORD@HOST:PORT/NAME; in the password % @ : / are written %25 %40 %3A %2F.",
        )
    return Database(url)


@contextmanager
def database_errors(database: Database) -> Iterator[None]:
    """Translate what SQLAlchemy raises, and Dagster's storage on top of it. What is no matter of the connection is left as it is."""
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
    """Whether both who use it can read it: libpq here, SQLAlchemy in Dagster."""
    given = url.get_secret_value()
    try:
        make_url(given)
    except (SQLAlchemyError, ValueError):
        return False
    return given.startswith(_SCHEME) and is_url(url)


def _found(error: BaseException | None) -> SQLAlchemyError | None:
    """The driver's error in a chain of causes: after some attempts Dagster wraps it in one of its own."""
    while error is not None and not isinstance(error, SQLAlchemyError):
        error = error.__cause__ or error.__context__
    return error


def _as_psycopg(fault: SQLAlchemyError) -> psycopg.Error:
    """SQLAlchemy uses psycopg 2, whose errors have the same codes under other classes."""
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
