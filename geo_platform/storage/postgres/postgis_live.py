"""May a dataset be written? What is live under its name, and the rules of each mode of loading.

What belongs here: the rules (pure), and asking what lies where. What stays out: writing. The publication decides again under
its lock (`pgstac_tables.py`): here is only said early what would fail late.

What a table says of itself: its comment, a JSON object. What a table is follows from it and from the schema that it lies in.

What belongs here: the words. What stays out: reading them for publication (`pgstac_tables.py`).
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


def comment_while_loading(target: FeatureTarget, version: str, started_at_utc: datetime) -> str:
    """Without `version`, so that nobody takes the table for a whole one; the sweep knows by it when the load began."""
    return _text(
        {"loading": version, **_origin(target), "started_at_utc": started_at_utc.isoformat()}
    )


def comment_when_whole(
    target: FeatureTarget,
    version: str,
    *,
    rows: int,
    base_version: str | None,
    started_at_utc: datetime,
    loaded_at_utc: datetime,
) -> str:
    """`rows` are the table's, of which an append loaded some. `base_version` is the live version that an append built on."""
    return _text(
        {
            "title": target.dataset,
            "description": f"{target.geometry_type} features from {target.metadata['source_uri']}, in {_crs(target)}.",
            "version": version,
            **_origin(target),
            "load_mode": target.load_mode,
            "base_version": base_version,
            "rows": rows,
            "started_at_utc": started_at_utc.isoformat(),
            "loaded_at_utc": loaded_at_utc.isoformat(),
        }
    )


def whole_version(comment: str | None) -> dict[str, Any] | None:
    """What the comment of a whole table of ours says; None for one that is being loaded, and for somebody else's."""
    return read_comment(comment)


def began_at_utc(comment: str | None) -> datetime | None:
    """When the load of a table of ours began, whole or not; None where the comment is not ours."""
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


def _text(says: Mapping[str, Any]) -> str:
    return json.dumps(says, ensure_ascii=False)


APPEND, CREATE, REPLACE = "append", "create", "replace"


@dataclass(frozen=True)
class LiveTable:
    """The relation that is published under a dataset's name. `says` is the comment of a table of ours, None for others."""

    schema: str
    name: str
    is_table: bool
    says: dict[str, Any] | None

    @property
    def place(self) -> tuple[str, str]:
        return self.schema, self.name

    @property
    def version(self) -> str | None:
        return None if self.says is None else str(self.says["version"])


def find_live(connection: psycopg.Connection, target: FeatureTarget) -> LiveTable | None:
    rows = lies_at(connection, [(target.schema_name, target.dataset)])
    return rows[0] if rows else None


def lies_at(connection: psycopg.Connection, places: list[tuple[str, str]]) -> list[LiveTable]:
    """What lies at any of these (schema, name)."""
    parameters = {
        "schemas": [schema for schema, _ in places],
        "names": [name for _, name in places],
    }
    found = connection.execute(statement("postgis_lies"), parameters).fetchall()
    return [
        LiveTable(schema, name, bool(is_table), whole_version(comment))
        for schema, name, is_table, comment in found
    ]


def check_schema(connection: psycopg.Connection, target: FeatureTarget) -> None:
    """Raises ParameterInvalid where nothing may be published in the schema."""
    parameters = {"role": LOADER_ROLE, "schema": target.schema_name}
    row = (
        None
        if target.schema_name in RESERVED_SCHEMAS
        else connection.execute(statement("postgis_schema"), parameters).fetchone()
    )
    if row is None or not row[0]:
        raise ParameterInvalid(
            f"Nothing can be published in the schema {target.schema_name!r} of this database.",
            remedy=f"As an administrator: geo-platform database init --schema {target.schema_name}; or choose another schema_name.",
            parameter="schema_name",
        )


def check_mode(target: FeatureTarget, live: LiveTable | None) -> None:
    """The rule of the target's mode. Raises TableExists."""
    if live is None:
        return
    name = f"{live.schema}.{live.name}"
    if not live.is_table:
        raise TableExists(
            f"{name} is there and is no table, but a view or something like it.",
            remedy="Choose another table_name.",
        )
    if target.load_mode == REPLACE:
        return
    if live.says is None:
        remedy = "Choose another table_name, or set load_mode replace."
        raise TableExists(
            f"The table {name} is there and was not made by the platform.",
            remedy=remedy,
            dataset=target.dataset,
        )
    if target.load_mode == CREATE and live.says.get("fingerprint") != target.fingerprint:
        raise TableExists(f"The table {name} is there already.", dataset=target.dataset)
    own = target.metadata["source_uri"]
    if target.load_mode not in (CREATE, APPEND) and live.says.get("source_uri") != own:
        raise TableExists(
            f"The table {name} came from {live.says.get('source_uri')}, not from {own}.",
            dataset=target.dataset,
        )


def check_columns(
    connection: psycopg.Connection, plan: TablePlan, srid: int, live: LiveTable
) -> tuple[str, ...]:
    """Whether rows of the plan fit among the live ones. Returns the columns that hold JSON there. Raises ParameterInvalid."""
    rows = connection.execute(
        statement("postgis_columns"), {"schema": live.schema, "table": live.name}
    ).fetchall()
    found = {str(name): str(kind) for name, kind, _ in rows}
    wanted = {plan.id_column: "bigint", **{field.name: field.sql_type for field in plan.fields}}
    wanted[plan.geometry_column] = f"geometry({plan.geometry_type},{srid})"
    documents = tuple(name for name in plan.json_columns if found.get(name) == "jsonb")
    wanted |= dict.fromkeys(documents, "jsonb")
    if found != wanted:
        differing = sorted(
            name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name)
        )
        told = "; ".join(
            f"{name}: {found.get(name, 'not there')}, new {wanted.get(name, 'not there')}"
            for name in differing
        )
        raise ParameterInvalid(
            f"Rows cannot be appended to {live.schema}.{live.name}, whose columns are others: {told}.",
            remedy="Give the columns the same names and types with column_mapping and target_crs, or set load_mode replace.",
            parameter="load_mode",
        )
    return documents
