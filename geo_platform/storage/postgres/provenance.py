"""Read for `geo-platform trace` what a run published, and which tables it loaded.

The source of items is the table `provenance` (`pgstac_writes.py`), that of tables their comments
(`postgis_live.py`).

Called by `storage/stores.py`.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Any

from geo_platform.sql import statement
from geo_platform.storage.postgres.connections import Database
from geo_platform.storage.postgres.names import REPLACED_SCHEMA, STAGING_SCHEMA
from geo_platform.storage.postgres.pgstac_transaction import reading
from geo_platform.trace.sources import CatalogWrite, LocatedTable


class PostgresProvenance:
    """Implements `trace.sources.ProvenanceReader`.

    Every method raises DatabaseUnavailable: the database does not answer or is busy. StoreDenied:
    the login has no right to these tables, as logins of readers have not.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def writes_of(self, run_id: str) -> Sequence[CatalogWrite]:
        return [_write(row) for row in self._rows("trace_writes", run_id=run_id)]

    def tables_of(self, run_id: str) -> Sequence[LocatedTable]:
        found = _tables(self._rows("trace_tables_of_run", run_id=run_id))
        return [table for table in found if table.comment.get("run_id") == run_id]

    def tables_named(self, schema: str | None, name: str) -> Sequence[LocatedTable]:
        places = {"staging": STAGING_SCHEMA, "replaced": REPLACED_SCHEMA}
        return _tables(self._rows("trace_tables_named", schema=schema, name=name, **places))

    def runs_of_version(self, version: str) -> Sequence[str]:
        return [str(row[0]) for row in self._rows("trace_runs_of_version", version=version)]

    def runs_of_item(self, collection: str, item_id: str) -> Sequence[str]:
        return [
            str(row[0])
            for row in self._rows("trace_runs_of_item", collection=collection, item_id=item_id)
        ]

    def _rows(self, name: str, /, **values: str | None) -> list[tuple[Any, ...]]:
        with reading(self._database) as connection:
            return connection.execute(statement(name), values).fetchall()


def _write(row: Sequence[Any]) -> CatalogWrite:
    (
        happened_at,
        action,
        run_id,
        collection,
        item_id,
        fingerprint,
        schema,
        table,
        version,
        *replaced,
        login,
    ) = row
    return CatalogWrite(
        happened_at.astimezone(UTC),
        action,
        run_id,
        collection,
        item_id,
        fingerprint,
        table=f"{schema}.{table}" if table else None,
        table_version=version,
        replaced_fingerprint=replaced[0],
        replaced_run_id=replaced[1],
        replaced_table_version=replaced[2],
        login=login,
    )


def _tables(rows: Iterable[Sequence[Any]]) -> list[LocatedTable]:
    return [
        LocatedTable(str(schema), str(name), _parse_comment(comment))
        for schema, name, comment in rows
    ]


def _parse_comment(comment: str | None) -> dict[str, Any]:
    """Return the fields of a comment that the platform wrote, or {} for any other comment."""
    try:
        fields = json.loads(comment or "")
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) and isinstance(fields.get("run_id"), str) else {}
