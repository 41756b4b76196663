"""The load mode append: add rows to a published table, and replace rows that have the same key.

The live table is the published table of the dataset. It is not changed. The staged table gets the
new rows, and a copy of the live rows whose key no new row has. The publication then replaces the
live table by the staged one, if the live table is still the version from which rows were copied.

Live rows keep their ids; new rows get higher ids. Two keys are equal also if both have NULL in the
same column. `postgis_live.py` has the rules of load modes.

Called by `postgis.py`.
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
class AppendBase:
    """The live table to which rows are appended, its highest row id, and its jsonb columns."""

    live: LiveTable
    last_id: int
    jsonb_columns: tuple[str, ...]


@dataclass(frozen=True)
class NewRows:
    """The new rows in the staged table: SRID, columns of type jsonb, first and last row id."""

    srid: int
    jsonb_columns: tuple[str, ...]
    first_id: int
    last_id: int


@dataclass(frozen=True)
class CopiedRows:
    """The result of copying the live rows.

    `version` is that of the live table, or None if there is no live table. `rows` is the number of
    copied rows, `last_id` the highest row id in the staged table.
    """

    version: str | None
    rows: int
    last_id: int


def find_base(
    connection: psycopg.Connection, target: FeatureTarget, plan: TablePlan, srid: int
) -> AppendBase | None:
    """Return the live table to append to, or None if there is no such table.

    Raises TableExists: the live table is not a table of the platform. ParameterInvalid: its columns
    differ from those of the plan.
    """
    live = find_live(connection, target)
    check_mode(target, live)
    if live is None:
        return None
    jsonb_columns = check_columns(connection, plan, srid, live)
    row = connection.execute(
        statement("postgis_last_id", id=plan.id_column, live=live.place)
    ).fetchone()
    return AppendBase(live, int(row[0]) if row else 0, jsonb_columns)


def check_keys(database: Database, plan: TablePlan) -> None:
    """Check that the keys of the new rows are unique. Raises ParameterInvalid: they are not."""
    with loading(database) as connection:
        row = connection.execute(
            statement("postgis_duplicate_keys", table=plan.table, keys=_columns(plan.key_columns))
        ).fetchone()
    rows, keys = row if row is not None else (0, 0)
    if rows:
        raise ParameterInvalid(
            f"{rows:,} of the new rows share {keys:,} keys of {', '.join(plan.key_columns)}: a key "
            "must be unique.",
            remedy="Choose key_columns that are unique, or correct the source.",
            parameter="key_columns",
        )


def copy_live_rows(
    database: Database, target: FeatureTarget, plan: TablePlan, new: NewRows
) -> CopiedRows:
    """Copy the live rows whose key no new row has into the staged table.

    The live table is looked up again, since it may have been replaced meanwhile. It is locked, so
    that it is not replaced while rows are copied.
    Raises TableExists: the live table is not a table of the platform. ParameterInvalid: its columns
    differ from those of the new rows.
    """
    with loading(database, waits_for_disk=False) as connection:
        base = _lock_base(connection, target, plan, new.srid)
        if base is None:
            return CopiedRows(None, 0, new.last_id)
        _check_jsonb_columns(base, new.jsonb_columns)
        shift = max(0, base.last_id + 1 - new.first_id)
        if shift:
            connection.execute(
                statement("postgis_shift_ids", table=plan.table, id=plan.id_column), {"by": shift}
            )
        copying = statement(
            "postgis_append",
            table=plan.table,
            columns=_columns(plan.column_names),
            live=base.live.place,
            fresh_keys=_columns(plan.key_columns, "fresh"),
            kept_keys=_columns(plan.key_columns, "kept"),
        )
        rows = connection.execute(copying).rowcount
    return CopiedRows(base.live.version, rows, new.last_id + shift)


def _check_jsonb_columns(base: AppendBase, jsonb_columns: tuple[str, ...]) -> None:
    differing = sorted(set(base.jsonb_columns) ^ set(jsonb_columns))
    if differing:
        name = f"{base.live.schema}.{base.live.name}"
        raise ParameterInvalid(
            f"Rows cannot be appended to {name}: {', '.join(differing)} is JSON on one side and "
            "text on the other.",
            remedy="Correct the values that are not JSON in the source, or set load_mode=replace.",
        )


def _lock_base(
    connection: psycopg.Connection, target: FeatureTarget, plan: TablePlan, srid: int
) -> AppendBase | None:
    """Look up the live table, and lock it against replacement until the transaction ends."""
    live = find_live(connection, target)
    if live is not None:
        connection.execute(statement("postgis_lock_live", live=live.place))
    return find_base(connection, target, plan, srid)


def _columns(names: tuple[str, ...], alias: str | None = None) -> sql.Composable:
    return sql.SQL(", ").join(
        sql.Identifier(name) if alias is None else sql.Identifier(alias, name) for name in names
    )
