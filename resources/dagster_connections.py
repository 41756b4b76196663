"""Keep Dagster's connections to PostgreSQL open in a run's process, each named for the run that uses it.

By default Dagster opens a connection for every event it stores and every look at a run, about 200 in a run,
and PostgreSQL takes 10 to 15 ms to check a password each time: half of a small run. Dagster's webserver pools
its connections, and so does a run here. The pool does not check whether a connection is alive; setting its
name does (SQLAlchemy, Dealing with Disconnects, pessimistic): one round trip.
docs/decisions/0015-dagster-s-connections-are-kept-open.md.
"""

import os
from typing import Any
from weakref import WeakSet

import dagster as dg
import sqlalchemy.event
import sqlalchemy.exc
import sqlalchemy.pool

from geo_platform.dagster_internals import is_on_postgres, pool_connections

_RECYCLE_S = 3600
_MAX_OVERFLOW = 10
_NAME = "SELECT set_config('application_name', %s, false)"
_kept: WeakSet[dg.DagsterInstance] = WeakSet()


def keep_connections(instance: dg.DagsterInstance) -> None:
    """Pool the instance's connections in this process, if its storage is PostgreSQL and they are not pooled yet."""
    if instance in _kept or not is_on_postgres(instance):
        return
    if not _kept:
        sqlalchemy.event.listen(sqlalchemy.pool.Pool, "checkout", _check_and_name)
    _kept.add(instance)
    pool_connections(instance, recycle_s=_RECYCLE_S, max_overflow=_MAX_OVERFLOW)


def _check_and_name(connection: Any, *_: object) -> None:
    """Name the connection for the run that takes it. If it is dead, the pool opens another."""
    if not type(connection).__module__.startswith("psycopg2"):
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute(_NAME, [os.environ.get("PGAPPNAME", "")])
    except (connection.OperationalError, connection.InterfaceError) as error:
        raise sqlalchemy.exc.DisconnectionError from error
