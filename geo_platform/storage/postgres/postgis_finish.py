"""From rows that arrived to a whole table: read back, laid out, indexed, analysed, described.

What belongs here: the steps after the last row was sent, each a transaction, and their order. What stays out: which indexes
(`postgis_indexes.py`), words (`postgis_comment.py`), rows of an earlier version (`postgis_append.py`).

What does not need one another is done side by side: an index is built on one connection while the rows are read back on
another. Only the last transaction waits for the disk.

Which indexes and statistics a table gets. Pure.

What belongs here: the choice, from what was asked for. What stays out: building (`postgis_finish.py`).

Times get B-trees like other values: a BRIN index lives from rows lying in the order of the column, and these lie in the order
of space.
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
# Of a large table the default sample of 30,000 rows says little about rare values and small places.
_FINER = 500


@dataclass(frozen=True)
class Index:
    """`statement` is a file in `sql/`, `name` the index's own."""

    statement: str
    name: str
    column: str


def id_index(plan: TablePlan) -> Index:
    """What becomes the primary key."""
    return Index("postgis_index_id", index_name(plan, "id"), plan.id_column)


def plan_table_indexes(plan: TablePlan, documents: Sequence[str]) -> tuple[Index, ...]:
    """The dearest first. `documents` are the columns that hold JSON as such."""
    return tuple(_indexes(plan, documents))


def _indexes(plan: TablePlan, documents: Sequence[str]) -> Iterator[Index]:
    if plan.indexes.spatial:
        yield Index("postgis_index_spatial", index_name(plan, "geom"), plan.geometry_column)
    yield id_index(plan)
    for number, column in enumerate(_searched(plan), start=1):
        kind = "postgis_index_documents" if column in documents else "postgis_index_values"
        yield Index(kind, index_name(plan, str(number)), column)


def finer_statistics(plan: TablePlan, rows: int) -> dict[str, int]:
    """Columns whose statistics are to be finer than the server's default, of a large table."""
    columns = (*_searched(plan), *((plan.geometry_column,) if plan.indexes.spatial else ()))
    return dict.fromkeys(columns, _FINER) if rows >= _LARGE_ROWS else {}


def _searched(plan: TablePlan) -> tuple[str, ...]:
    """Columns to be searched by value, each once."""
    return tuple(dict.fromkeys((*plan.indexes.attributes, *plan.indexes.temporal)))


@dataclass(frozen=True)
class Sent:
    """What was handed to the database: rows, and xmin, ymin, xmax, ymax of their coordinates."""

    rows: int
    bounds: npt.NDArray[np.float64]


def read_back(database: Database, plan: TablePlan, sent: Sent) -> Bounds:
    """The bounds that lie there, once rows and bounds are just those that were sent. Raises DatabaseUnavailable where not."""
    with loading(database) as connection:
        # One process: more would take the processor from the index that is built meanwhile, which takes longest.
        connection.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        row = connection.execute(
            statement("postgis_read_back", geometry=plan.geometry_column, table=plan.table)
        ).fetchone()
    rows, *extent = row if row is not None else (0, None)
    if rows != sent.rows or None in extent or extent != sent.bounds.tolist():
        raise DatabaseUnavailable(
            f"The table {plan.version} was not read back as it was sent: {rows:,} rows of {sent.rows:,}.",
            found=extent,
            sent=sent.bounds.tolist(),
        )
    xmin, ymin, xmax, ymax = extent
    return Bounds(xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)


def check_rows(database: Database, plan: TablePlan, rows: int) -> None:
    """Whether the table has as many rows as it should, old and new. Raises DatabaseUnavailable."""
    with loading(database) as connection:
        row = connection.execute(statement("postgis_rows", table=plan.table)).fetchone()
    if row is None or row[0] != rows:
        raise DatabaseUnavailable(
            f"The table {plan.version} does not have the {rows:,} rows that it should have.",
            found=row and row[0],
        )


def to_documents(
    database: Database, plan: TablePlan, columns: Sequence[str]
) -> tuple[tuple[str, ...], tuple[Finding, ...]]:
    """Text becomes jsonb where every value of a column is JSON. Returns the columns that did, and says which did not."""
    found = {column: _why_no_document(database, plan, column) for column in columns}
    good = tuple(column for column, why in found.items() if why is None)
    if good:
        changes = sql.SQL(", ").join(
            statement("postgis_to_document", column=column) for column in good
        )
        with loading(database, waits_for_disk=False) as connection:
            connection.execute(statement("postgis_change", table=plan.table, changes=changes))
    others = [(column, why) for column, why in found.items() if why is not None]
    return good, tuple(
        Finding(code="JSON_KEPT_AS_TEXT", message=f"{column} is kept as text: {why}")
        for column, why in others
    )


def _why_no_document(database: Database, plan: TablePlan, column: str) -> str | None:
    try:
        with loading(database) as connection:
            connection.execute(statement("postgis_is_document", column=column, table=plan.table))
    except ParameterInvalid as error:
        return error.message
    return None


def lay_out_anew(
    database: Database,
    plan: TablePlan,
    create: Callable[[psycopg.Connection, tuple[str, str]], None],
) -> None:
    """The same rows in one spatial order: a second table, which takes the first one's place. `create` makes it, empty."""
    schema, name = plan.table
    laid = (schema, f"{name}_laid")
    columns = sql.SQL(", ").join(map(sql.Identifier, plan.column_names))
    with loading(database, waits_for_disk=False) as connection:
        create(connection, laid)
        connection.execute(statement("postgis_memory", setting=sql.Literal("work_mem")))
        connection.execute(
            statement(
                "postgis_lay_out",
                laid=laid,
                columns=columns,
                table=plan.table,
                geometry=plan.geometry_column,
            )
        )
        connection.execute(statement("postgis_drop", table=plan.table))
        connection.execute(statement("postgis_rename", table=laid, new_name=name))


def side_by_side(tasks: Sequence[Callable[[], Any]], connections: int) -> list[Any]:
    """Their results. The first fault is raised, once all have ended."""
    with ThreadPoolExecutor(connections, thread_name_prefix="finish") as pool:
        futures = [pool.submit(task) for task in tasks]
    return [future.result() for future in futures]


def index_tasks(
    database: Database, plan: TablePlan, documents: Sequence[str]
) -> list[Callable[[], None]]:
    return [partial(_build, database, plan, index) for index in plan_table_indexes(plan, documents)]


def _build(database: Database, plan: TablePlan, index: Index) -> None:
    with loading(database, waits_for_disk=False) as connection:
        connection.execute(statement("postgis_memory", setting=sql.Literal("maintenance_work_mem")))
        connection.execute(
            statement(index.statement, index=index.name, table=plan.table, column=index.column)
        )


def close(database: Database, plan: TablePlan, *, rows: int, next_id: int, comment: str) -> None:
    """Key, statistics, comments: the last transaction, which makes the table whole and everything before it durable."""
    with loading(database) as connection:
        connection.execute(statement("postgis_durable"))
        whole = statement(
            "postgis_whole",
            table=plan.table,
            index=id_index(plan).name,
            id=plan.id_column,
            next=sql.Literal(next_id),
        )
        connection.execute(whole)
        for column, target in finer_statistics(plan, rows).items():
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
