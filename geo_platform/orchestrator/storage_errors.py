"""Dagster's storage, wherever the profile keeps it: what it says when it fails, in the platform's words.

What belongs here: the one translation for both profiles. What stays out: opening an instance (`launch.py`), and what is
PostgreSQL's alone (`dagster_database.py`), which is imported where it is used.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from sqlalchemy.exc import SQLAlchemyError

from geo_platform.errors import StoreUnavailable
from geo_platform.settings import Profile, Settings


@contextmanager
def storage_errors(settings: Settings) -> Iterator[None]:
    """Around whatever asks Dagster's storage. Raises StoreDenied, DatabaseUnavailable for PostgreSQL, StoreUnavailable for files."""
    try:
        with _database_errors(settings):
            yield
    except SQLAlchemyError as error:
        raise StoreUnavailable(
            f"Dagster's storage in {settings.dagster_home_dir} cannot be used: {type(error).__name__}.",
            remedy="Check that the folder can be read and written, and that its disk is sound and not full.",
        ) from error


def _database_errors(settings: Settings) -> AbstractContextManager[None]:
    if settings.profile is not Profile.production:
        return nullcontext()
    from geo_platform.orchestrator.dagster_database import dagster_database, database_errors

    return database_errors(dagster_database(settings))
