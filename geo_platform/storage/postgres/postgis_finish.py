"""The steps of a load after the last row was sent: verify, sort, index, analyze, comment.

Each step is a transaction. Independent steps run in parallel: an index is built on one connection
while the rows are read back on another. Only the last transaction waits for the disk. Every step
raises DatabaseUnavailable: the database does not answer or is busy. StoreDenied: it refuses access.

Called by `postgis.py`.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql

from geo_platform.contracts.message import Finding
from geo_platform.errors import DatabaseUnavailable, ParameterInvalid
from geo_platform.grid import Bounds
from geo_platform.sql import statement
from geo_platform.storage.postgres.connections import Database
from geo_platform.storage.postgres.postgis_plan import TablePlan, index_name
from geo_platform.storage.postgres.postgis_session import loading

_LARGE_ROWS = 1_000_000
# In a large table the default sample of 30,000 rows misses rare values and small areas.
_STATISTICS_TARGET = 500


@dataclass(frozen=True)
class Index:
    """An index to build. `statement` is the name of its file in `sql/`."""

    statement: str
    name: str
    column: str


@dataclass(frozen=True)
class Sent:
    """The number of rows that were sent, and xmin, ymin, xmax, ymax of their coordinates."""

    rows: int
    bounds: npt.NDArray[np.float64]


def read_back(database: Database, plan: TablePlan, sent: Sent) -> Bounds:
    """Compare rows and bounds of the table with the rows that were sent, and return the bounds.

    Raises DatabaseUnavailable: they differ. Dagster then retries the step.
    """
    with loading(database) as connection:
        # More processes would slow down the index that is built at the same time.
        connection.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        row = connection.execute(
            statement("postgis_read_back", geometry=plan.geometry_column, table=plan.table)
        ).fetchone()
    rows, *extent = row if row is not None else (0, None)
    if rows != sent.rows or None in extent or extent != sent.bounds.tolist():
        raise DatabaseUnavailable(
            f"The table {plan.version} was not read back as it was sent: {rows:,} rows of "
            f"{sent.rows:,}.",
            found=extent,
            sent=sent.bounds.tolist(),
        )
    xmin, ymin, xmax, ymax = extent
    return Bounds(xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)


def check_rows(database: Database, plan: TablePlan, rows: int) -> None:
    """Check the number of rows of the table. Raises DatabaseUnavailable: it is not `rows`."""
    with loading(database) as connection:
        row = connection.execute(statement("postgis_rows", table=plan.table)).fetchone()
    if row is None or row[0] != rows:
        raise DatabaseUnavailable(
            f"The table {plan.version} does not have the expected {rows:,} rows.",
            found=row and row[0],
        )


def convert_to_jsonb(
    database: Database, plan: TablePlan, columns: Sequence[str]
) -> tuple[tuple[str, ...], tuple[Finding, ...]]:
    """Convert text columns to the type jsonb, if every value of the column is JSON.

    Return the converted columns, and a finding for each column that remains text.
    """
    faults = {column: _jsonb_fault(database, plan, column) for column in columns}
    convertible = tuple(column for column, fault in faults.items() if fault is None)
    if convertible:
        changes = sql.SQL(", ").join(
            statement("postgis_to_jsonb", column=column) for column in convertible
        )
        with loading(database, waits_for_disk=False) as connection:
            connection.execute(statement("postgis_alter", table=plan.table, changes=changes))
    remaining = [(column, fault) for column, fault in faults.items() if fault is not None]
    return convertible, tuple(
        Finding(code="JSON_KEPT_AS_TEXT", message=f"{column} is kept as text: {fault}")
        for column, fault in remaining
    )


def _jsonb_fault(database: Database, plan: TablePlan, column: str) -> str | None:
    try:
        with loading(database) as connection:
            connection.execute(statement("postgis_check_json", column=column, table=plan.table))
    except ParameterInvalid as error:
        return error.message
    return None


def rewrite_in_order(
    database: Database,
    plan: TablePlan,
    create: Callable[[psycopg.Connection, tuple[str, str]], None],
) -> None:
    """Replace the table by a copy that is sorted in space. `create` creates the empty copy."""
    schema, name = plan.table
    sorted_table = (schema, f"{name}_laid")
    columns = sql.SQL(", ").join(map(sql.Identifier, plan.column_names))
    with loading(database, waits_for_disk=False) as connection:
        create(connection, sorted_table)
        connection.execute(statement("postgis_memory", setting=sql.Literal("work_mem")))
        connection.execute(
            statement(
                "postgis_copy_in_order",
                sorted_table=sorted_table,
                columns=columns,
                table=plan.table,
                geometry=plan.geometry_column,
            )
        )
        connection.execute(statement("postgis_drop", table=plan.table))
        connection.execute(statement("postgis_rename", table=sorted_table, new_name=name))


def run_in_parallel(tasks: Sequence[Callable[[], Any]], connections: int) -> list[Any]:
    """Run the tasks in parallel and return their results.

    Raises the error of the first task in `tasks` that failed, after all tasks have ended.
    """
    with ThreadPoolExecutor(connections, thread_name_prefix="finish") as pool:
        futures = [pool.submit(task) for task in tasks]
    return [future.result() for future in futures]


def index_tasks(
    database: Database, plan: TablePlan, jsonb_columns: Sequence[str]
) -> list[Callable[[], None]]:
    """Return a task for each index of the table, the most expensive first."""
    return [
        partial(_build_index, database, plan, index)
        for index in plan_table_indexes(plan, jsonb_columns)
    ]


def _build_index(database: Database, plan: TablePlan, index: Index) -> None:
    with loading(database, waits_for_disk=False) as connection:
        connection.execute(statement("postgis_memory", setting=sql.Literal("maintenance_work_mem")))
        connection.execute(
            statement(index.statement, index=index.name, table=plan.table, column=index.column)
        )


def finalize(database: Database, plan: TablePlan, *, rows: int, next_id: int, comment: str) -> None:
    """Add the primary key, statistics and comments: the last transaction of a load.

    `next_id` is the id of the next row. The commit waits for the disk, which
    makes the earlier transactions of the load durable too.
    """
    with loading(database) as connection:
        connection.execute(statement("postgis_durable"))
        completion = statement(
            "postgis_finalize",
            table=plan.table,
            index=id_index(plan).name,
            id=plan.id_column,
            next=sql.Literal(next_id),
        )
        connection.execute(completion)
        for column, target in statistics_targets(plan, rows).items():
            connection.execute(
                statement(
                    "postgis_statistics",
                    table=plan.table,
                    column=column,
                    target=sql.Literal(target),
                )
            )
        connection.execute(statement("postgis_analyze", table=plan.table))
        for column, text in plan.comments.items():
            place = (*plan.table, column)
            connection.execute(
                statement("postgis_comment_column", column=place, text=sql.Literal(text))
            )
        connection.execute(
            statement("postgis_comment_table", table=plan.table, text=sql.Literal(comment))
        )


def id_index(plan: TablePlan) -> Index:
    """Return the index that becomes the primary key."""
    return Index("postgis_index_id", index_name(plan, "id"), plan.id_column)


def plan_table_indexes(plan: TablePlan, jsonb_columns: Sequence[str]) -> tuple[Index, ...]:
    """Return the indexes of a table, the most expensive first. `jsonb_columns` have type jsonb.

    Times get B-trees: a BRIN index needs rows in the order of the column, and these are in spatial
    order.
    """
    return tuple(_indexes(plan, jsonb_columns))


def _indexes(plan: TablePlan, jsonb_columns: Sequence[str]) -> Iterator[Index]:
    if plan.indexes.spatial:
        yield Index("postgis_index_spatial", index_name(plan, "geom"), plan.geometry_column)
    yield id_index(plan)
    for number, column in enumerate(_searched_columns(plan), start=1):
        kind = "postgis_index_jsonb" if column in jsonb_columns else "postgis_index_values"
        yield Index(kind, index_name(plan, str(number)), column)


def statistics_targets(plan: TablePlan, rows: int) -> dict[str, int]:
    """Return the statistics target by column. Only large tables need more than the default."""
    columns = (*_searched_columns(plan), *((plan.geometry_column,) if plan.indexes.spatial else ()))
    return dict.fromkeys(columns, _STATISTICS_TARGET) if rows >= _LARGE_ROWS else {}


def _searched_columns(plan: TablePlan) -> tuple[str, ...]:
    # A column may be in both lists. It gets one index.
    return tuple(dict.fromkeys((*plan.indexes.attributes, *plan.indexes.temporal)))
