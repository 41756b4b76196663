"""Look up the live table of a dataset, check the rules of each load mode, and write table comments.

The live table is the relation that is published under the name of the dataset. The comment of a
table is a JSON object with its version, run and source. The checks here let a load fail early. The
publication checks the same rules again while it holds its lock (`pgstac_tables.py`).

Called by `postgis.py`, `postgis_append.py` and `postgis_inventory.py`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from geo_platform.errors import ParameterInvalid, TableExists
from geo_platform.ports import FeatureTarget
from geo_platform.sql import statement
from geo_platform.storage.postgres.names import LOADER_ROLE, RESERVED_SCHEMAS
from geo_platform.storage.postgres.pgstac_tables import read_comment
from geo_platform.storage.postgres.postgis_plan import TablePlan

APPEND, CREATE, REPLACE = "append", "create", "replace"


@dataclass(frozen=True)
class LiveTable:
    """The relation that is published under the name of a dataset.

    `comment` is the comment of a table that the platform made, None for any other relation.
    """

    schema: str
    name: str
    is_table: bool
    comment: dict[str, Any] | None

    @property
    def place(self) -> tuple[str, str]:
        return self.schema, self.name

    @property
    def version(self) -> str | None:
        return None if self.comment is None else str(self.comment["version"])


def find_live(connection: psycopg.Connection, target: FeatureTarget) -> LiveTable | None:
    """Return the live table of the target's dataset, or None if there is none."""
    rows = find_relations(connection, [(target.schema_name, target.dataset)])
    return rows[0] if rows else None


def find_relations(
    connection: psycopg.Connection, places: list[tuple[str, str]]
) -> list[LiveTable]:
    """Return the existing tables, views and foreign tables among these (schema, name) pairs."""
    parameters = {
        "schemas": [schema for schema, _ in places],
        "names": [name for _, name in places],
    }
    rows = connection.execute(statement("postgis_relations"), parameters).fetchall()
    return [
        LiveTable(schema, name, bool(is_table), read_comment(comment))
        for schema, name, is_table, comment in rows
    ]


def check_schema(connection: psycopg.Connection, target: FeatureTarget) -> None:
    """Check that the target's schema exists, and that the role geo_loader may create tables in it.

    Raises ParameterInvalid: it may not, or the schema is reserved.
    """
    parameters = {"role": LOADER_ROLE, "schema": target.schema_name}
    row = (
        None
        if target.schema_name in RESERVED_SCHEMAS
        else connection.execute(statement("postgis_schema"), parameters).fetchone()
    )
    if row is None or not row[0]:
        raise ParameterInvalid(
            f"Nothing can be published in the schema {target.schema_name!r} of this database.",
            remedy="As an administrator, run: geo-platform database init --schema "
            f"{target.schema_name}; or choose another schema_name.",
            parameter="schema_name",
        )


def check_mode(target: FeatureTarget, live: LiveTable | None) -> None:
    """Check that the load mode allows replacing the live table.

    Raises TableExists: the live relation is not an ordinary table; the platform did not make it;
    the mode is create and the table has another fingerprint; or the mode is update and the table
    came from another source. The mode replace allows every ordinary table.
    """
    if live is None:
        return
    name = f"{live.schema}.{live.name}"
    if not live.is_table:
        raise TableExists(
            f"{name} exists and is not an ordinary table, but for example a view.",
            remedy="Choose another table_name.",
        )
    if target.load_mode == REPLACE:
        return
    if live.comment is None:
        remedy = "Choose another table_name, or set load_mode=replace."
        raise TableExists(
            f"The table {name} exists and was not made by the platform.",
            remedy=remedy,
            dataset=target.dataset,
        )
    if target.load_mode == CREATE and live.comment.get("fingerprint") != target.fingerprint:
        raise TableExists(f"The table {name} exists already.", dataset=target.dataset)
    source_uri = target.metadata["source_uri"]
    if target.load_mode not in (CREATE, APPEND) and live.comment.get("source_uri") != source_uri:
        raise TableExists(
            f"The table {name} came from {live.comment.get('source_uri')}, not from {source_uri}.",
            dataset=target.dataset,
        )


def check_columns(
    connection: psycopg.Connection, plan: TablePlan, srid: int, live: LiveTable
) -> tuple[str, ...]:
    """Check that the live table has the columns of the plan, and return its jsonb columns.

    Raises ParameterInvalid: names or types differ.
    """
    rows = connection.execute(
        statement("postgis_columns"), {"schema": live.schema, "table": live.name}
    ).fetchall()
    live_types = {str(name): str(sql_type) for name, sql_type, _ in rows}
    planned_types = {
        plan.id_column: "bigint",
        **{field.name: field.sql_type for field in plan.fields},
    }
    planned_types[plan.geometry_column] = f"geometry({plan.geometry_type},{srid})"
    jsonb_columns = tuple(name for name in plan.json_columns if live_types.get(name) == "jsonb")
    planned_types |= dict.fromkeys(jsonb_columns, "jsonb")
    if live_types != planned_types:
        differing = sorted(
            name
            for name in live_types.keys() | planned_types.keys()
            if live_types.get(name) != planned_types.get(name)
        )
        differences = "; ".join(
            f"{name}: {live_types.get(name, 'missing')}, new {planned_types.get(name, 'missing')}"
            for name in differing
        )
        raise ParameterInvalid(
            f"Rows cannot be appended to {live.schema}.{live.name}: its columns differ: "
            f"{differences}.",
            remedy="Give the columns the same names and types with column_mapping and target_crs, "
            "or set load_mode=replace.",
            parameter="load_mode",
        )
    return jsonb_columns


def comment_while_loading(target: FeatureTarget, version: str, started_at_utc: datetime) -> str:
    """Return the comment of a table that is being loaded.

    It has no field `version`: only complete tables have one. The sweep reads the start time.
    """
    return _to_json(
        {"loading": version, **_origin(target), "started_at_utc": started_at_utc.isoformat()}
    )


def comment_when_complete(
    target: FeatureTarget,
    version: str,
    *,
    rows: int,
    base_version: str | None,
    started_at_utc: datetime,
    loaded_at_utc: datetime,
) -> str:
    """Return the comment of a complete table.

    `rows` is the number of all rows of the table, also of those that an append copied.
    `base_version` is the version of the live table from which an append copied rows.
    """
    return _to_json(
        {
            "title": target.dataset,
            "description": f"{target.geometry_type} features from "
            f"{target.metadata['source_uri']}, in {_crs(target)}.",
            "version": version,
            **_origin(target),
            "load_mode": target.load_mode,
            "base_version": base_version,
            "rows": rows,
            "started_at_utc": started_at_utc.isoformat(),
            "loaded_at_utc": loaded_at_utc.isoformat(),
        }
    )


def load_start_utc(comment: str | None) -> datetime | None:
    """Return when the load of a table began, or None if its comment does not tell."""
    try:
        return datetime.fromisoformat(json.loads(comment or "")["started_at_utc"])
    except (ValueError, TypeError, KeyError):
        return None


def _origin(target: FeatureTarget) -> dict[str, str]:
    metadata: Mapping[str, str] = target.metadata
    return {
        "dataset": target.dataset,
        "run_id": metadata["run_id"],
        "fingerprint": target.fingerprint,
        "source_uri": metadata["source_uri"],
        "source_etag": metadata.get("source_etag", ""),
    }


def _crs(target: FeatureTarget) -> str:
    return target.crs.authority_code or "a CRS without a code"


def _to_json(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False)
