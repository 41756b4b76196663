"""The empty table of a plan.

What belongs here: composing its columns. What stays out: which they are (`postgis_plan.py`), what is said of it
(`postgis_comment.py`).
"""

import psycopg
from psycopg import sql

from geo_platform.sql import statement
from geo_platform.storage.postgis_plan import TablePlan


def create_table(connection: psycopg.Connection, plan: TablePlan, table: tuple[str, str], *, srid: int) -> None:
    """Under the name given, which need not be the plan's. Types come from the plan's own few and are no data."""
    columns = [
        statement("postgis_column_id", column=plan.id_column),
        *(statement("postgis_column", column=field.name, type=sql.SQL(field.sql_type)) for field in plan.fields),
        statement("postgis_column_geometry", column=plan.geometry_column, type=sql.SQL(plan.geometry_type), srid=sql.Literal(srid)),
    ]
    connection.execute(statement("postgis_create", table=table, columns=sql.SQL(", ").join(columns)))
