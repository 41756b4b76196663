"""Which indexes and statistics a table gets. Pure.

What belongs here: the choice, from what was asked for. What stays out: building (`postgis_finish.py`).

Times get B-trees like other values: a BRIN index lives from rows lying in the order of the column, and these lie in the order
of space.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from geo_platform.storage.postgis_plan import TablePlan, index_name

_LARGE_ROWS = 1_000_000
_FINER = 500
"""Of a large table the default sample of 30,000 rows says little about rare values and small places."""


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
