"""Dagster's database in PostgreSQL: validate its address, lock its creation, translate its errors.

Dagster creates the tables. Dagster reads the address from the environment itself
(`deploy/*/dagster.yaml`), so the address has to be a URL.

Called by `instance.py`.
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
_OPENING_LOCK = 0x67656F5F64616773


@contextmanager
def opening_lock(settings: Settings) -> Iterator[None]:
    """Hold a lock so that one process at a time, on any machine, opens Dagster's database.

    Dagster creates its tables without checking for another process. The connection for the lock
    also fails at once for a wrong password, which Dagster would retry for a long time.

    Raises StoreDenied, DatabaseUnavailable: the database refuses access or does not answer.
    """
    database = dagster_database(settings)
    with database_errors(database), database.connect(autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_OPENING_LOCK,))
        yield


def dagster_database(settings: Settings) -> Database:
    """Return the database of Dagster's runs, events and schedules.

    Raises StoreDenied: no address is set, or the address is not a URL.
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
    """Translate connection errors of SQLAlchemy and of Dagster's storage.

    Raises StoreDenied, DatabaseUnavailable: the database refuses access or does not answer. Any
    other error passes unchanged.
    """
    try:
        yield
    except PlatformError:
        raise
    except Exception as error:
        fault = _sqlalchemy_error(error)
        translated = translate(_as_psycopg(fault), database.place) if fault is not None else None
        if translated is None:
            raise
        raise translated from error


def _is_url(url: SecretStr) -> bool:
    """Return whether both libpq, used here, and SQLAlchemy, used by Dagster, accept the URL."""
    text = url.get_secret_value()
    try:
        make_url(text)
    except (SQLAlchemyError, ValueError):
        return False
    return text.startswith(_SCHEME) and is_url(url)


def _sqlalchemy_error(error: BaseException | None) -> SQLAlchemyError | None:
    """Return SQLAlchemy's error from a chain of causes: after some attempts Dagster wraps it."""
    while error is not None and not isinstance(error, SQLAlchemyError):
        error = error.__cause__ or error.__context__
    return error


def _as_psycopg(fault: SQLAlchemyError) -> psycopg.Error:
    """Return the error as an error of psycopg 3.

    SQLAlchemy uses psycopg 2, which has other classes but the same error codes.
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
