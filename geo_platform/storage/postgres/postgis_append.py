"""Appending: the table that is staged holds the live table's rows whose key is not among the new ones, and the new rows.

What belongs here: what an append builds on, and taking its rows over. What stays out: the rules of modes (`postgis_live.py`).

The live table is left as it is, and the publication puts the new one in its place as after any load, if that is still the
version that was built on. Rows keep their numbers; new rows are numbered on. Keys are compared with NULLs equal.
"""

from dataclasses import dataclass

import psycopg
from psycopg import sql

from geo_platform.errors import ParameterInvalid
from geo_platform.ports import FeatureTarget
from geo_platform.sql import statement
from geo_platform.storage.postgres.connections import Database
from geo_platform.storage.postgres.postgis_live import (
    LiveTable,
    check_columns,
    check_mode,
    find_live,
)
from geo_platform.storage.postgres.postgis_plan import TablePlan
from geo_platform.storage.postgres.postgis_session import loading


@dataclass(frozen=True)
class Base:
    """What new rows are added to. `last_id`: the highest number of a row there; `documents`: columns that hold JSON there."""

    live: LiveTable
    last_id: int
    documents: tuple[str, ...]


@dataclass(frozen=True)
class NewRows:
    """What lies in the staged table: SRID, columns that hold JSON as such, the first and the last number of a row."""

    srid: int
    documents: tuple[str, ...]
    first_id: int
    last_id: int


@dataclass(frozen=True)
class TakenOver:
    """From which version how many rows were taken over, and the highest number of a row in the whole."""

    version: str | None
    rows: int
    last_id: int


def find_base(
    connection: psycopg.Connection, target: FeatureTarget, plan: TablePlan, srid: int
) -> Base | None:
    """None where nothing is live. Raises TableExists for a table that is not ours, ParameterInvalid for other columns."""
    live = find_live(connection, target)
    check_mode(target, live)
    if live is None:
        return None
    documents = check_columns(connection, plan, srid, live)
    row = connection.execute(
        statement("postgis_last_id", id=plan.id_column, live=live.place)
    ).fetchone()
    return Base(live, int(row[0]) if row else 0, documents)


def check_keys(database: Database, plan: TablePlan) -> None:
    """Raises ParameterInvalid where two of the new rows have the same key: which of them is meant, nobody said."""
    with loading(database) as connection:
        row = connection.execute(
            statement("postgis_key_doubles", table=plan.table, keys=_columns(plan.key_columns))
        ).fetchone()
    rows, keys = row if row is not None else (0, 0)
    if rows:
        raise ParameterInvalid(
            f"{rows:,} of the new rows share {keys:,} keys of {', '.join(plan.key_columns)}: a key must be one row's alone.",
            remedy="Choose key_columns that tell rows apart, or mend the source.",
            parameter="key_columns",
        )


def take_over(
    database: Database, target: FeatureTarget, plan: TablePlan, new: NewRows
) -> TakenOver:
    """Copy the live rows that stay. What is live is looked at anew, and held. Raises ParameterInvalid for other columns."""
    with loading(database, waits_for_disk=False) as connection:
        base = _held(connection, target, plan, new.srid)
        if base is None:
            return TakenOver(None, 0, new.last_id)
        _check_documents(base, new.documents)
        shift = max(0, base.last_id + 1 - new.first_id)
        if shift:
            connection.execute(
                statement("postgis_shift", table=plan.table, id=plan.id_column), {"by": shift}
            )
        taking = statement(
            "postgis_append",
            table=plan.table,
            columns=_columns(plan.column_names),
            live=base.live.place,
            fresh_keys=_columns(plan.key_columns, "fresh"),
            kept_keys=_columns(plan.key_columns, "kept"),
        )
        rows = connection.execute(taking).rowcount
    return TakenOver(base.live.version, rows, new.last_id + shift)


def _check_documents(base: Base, documents: tuple[str, ...]) -> None:
    differing = sorted(set(base.documents) ^ set(documents))
    if differing:
        name = f"{base.live.schema}.{base.live.name}"
        raise ParameterInvalid(
            f"Rows cannot be appended to {name}: {', '.join(differing)} is JSON on one side and text on the other.",
            remedy="Mend the values that are no JSON in the source, or set load_mode replace.",
        )


def _held(
    connection: psycopg.Connection, target: FeatureTarget, plan: TablePlan, srid: int
) -> Base | None:
    """The base as it is now, which nobody can replace until the transaction ends."""
    live = find_live(connection, target)
    if live is not None:
        connection.execute(statement("postgis_lock_live", live=live.place))
    return find_base(connection, target, plan, srid)


def _columns(names: tuple[str, ...], alias: str | None = None) -> sql.Composable:
    return sql.SQL(", ").join(
        sql.Identifier(name) if alias is None else sql.Identifier(alias, name) for name in names
    )
