"""Dagster's own connections to PostgreSQL, kept open in the process of a run, each with the name of the run that uses it.

What belongs here: that. What stays out: connections to the platform's database (`geo_platform/storage/postgres/connections.py`).

By itself Dagster opens a connection for every event that it stores and every look at a run, about 200 in a run, and PostgreSQL
takes 10 to 15 ms to check a password each time: half of a small run. Dagster's webserver keeps its connections open by a method
of the instance, which is used here too. What that has not: a look whether a kept connection is still alive. SQLAlchemy's recipe for it
is a listener on the pool (Dealing with Disconnects, pessimistic), and setting the name is the look: one round trip.
docs/decisions/0015-dagster-s-connections-are-kept-open.md.
"""

import os
from functools import cache
from typing import Any
from weakref import WeakSet

import dagster as dg
import sqlalchemy.event
import sqlalchemy.exc
import sqlalchemy.pool

_RECYCLE_S = 3600
_MOST_MORE = 10
_NAME = "SELECT set_config('application_name', %s, false)"
_kept: WeakSet[dg.DagsterInstance] = WeakSet()


def keep_connections(instance: dg.DagsterInstance) -> None:
    """From now on, in this process. Once for an instance, and nothing where its storage is not PostgreSQL."""
    if instance in _kept or not type(instance.run_storage).__module__.startswith(
        "dagster_postgres"
    ):
        return
    if not _kept:
        sqlalchemy.event.listen(sqlalchemy.pool.Pool, "checkout", _named_and_alive)
    _kept.add(instance)
    instance.optimize_for_webserver(
        statement_timeout=0, pool_recycle=_RECYCLE_S, max_overflow=_MOST_MORE
    )
    # For every event of an asset Dagster looks whether one table is there, over a second connection, of which it keeps only one.
    events: Any = instance.event_log_storage
    events.has_table = cache(events.has_table)


def _named_and_alive(connection: Any, *_: object) -> None:
    """Give it the name of the run that asks for it. Where it is dead the pool opens another."""
    if not type(connection).__module__.startswith("psycopg2"):
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute(_NAME, [os.environ.get("PGAPPNAME", "")])
    except (connection.OperationalError, connection.InterfaceError) as error:
        raise sqlalchemy.exc.DisconnectionError from error
