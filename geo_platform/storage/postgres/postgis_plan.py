"""Plan the table of a load before any row is sent: name, columns, indexes and comments.

No function connects to a database.

| published Arrow type                        | column                                          |
|---------------------------------------------|-------------------------------------------------|
| bool; int16, int32, int64                   | boolean; smallint, integer, bigint              |
| float, double                               | real, double precision                          |
| string; string holding JSON                 | text; jsonb if every value is JSON, else text   |
| date32, time64, timestamp, timestamp in UTC | date, time, timestamp, timestamptz              |
| binary                                      | bytea                                           |
| WKB                                         | geometry(Type or TypeZ, SRID)                   |

Used by `storage/postgres`.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from geo_platform.errors import ParameterInvalid
from geo_platform.ports import FeatureTarget, IndexRequest
from geo_platform.storage.postgres.names import STAGING_SCHEMA

NAME_MAX_BYTES = 63
_MAX_COLUMNS = 1600
_MAX_NAME_IN_VERSION = 40
_ID_COLUMN = "fid"
_ID_COMMENT = "Row of this table, in the order of the source"
_SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
# The names are those of PostgreSQL's `format_type`, since they are compared with the types of an
# existing table.
_SQL_TYPES: Mapping[pa.DataType, str] = {
    pa.bool_(): "boolean",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float32(): "real",
    pa.float64(): "double precision",
    pa.string(): "text",
    pa.date32(): "date",
    pa.time64("us"): "time without time zone",
    pa.timestamp("us"): "timestamp without time zone",
    pa.timestamp("us", tz="UTC"): "timestamp with time zone",
    pa.binary(): "bytea",
}

_GEOMETRY_TYPES = frozenset(
    {
        "Geometry",
        "Point",
        "LineString",
        "Polygon",
        "MultiPoint",
        "MultiLineString",
        "MultiPolygon",
        "GeometryCollection",
    }
)


@dataclass(frozen=True)
class Column:
    """A column of the table. `sql_type` comes from the list above, so it is safe in a statement."""

    name: str
    sql_type: str


@dataclass(frozen=True)
class TablePlan:
    """The table of a load.

    `version` is the name of the table while it is staged. `schema` is the Arrow schema of the rows
    that are sent: id, fields, geometry.
    """

    version: str
    id_column: str
    fields: tuple[Column, ...]
    geometry_column: str
    geometry_type: str
    schema: pa.Schema
    json_columns: tuple[str, ...]
    key_columns: tuple[str, ...]
    indexes: IndexRequest
    comments: Mapping[str, str]

    @property
    def table(self) -> tuple[str, str]:
        """Return schema and name of the table while it is staged."""
        return STAGING_SCHEMA, self.version

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(self.schema.names)


def plan_table(target: FeatureTarget) -> TablePlan:
    """Plan the table for a target.

    Raises ParameterInvalid: there are too many columns, or PostgreSQL cannot have a column of this
    name. ValueError: the target has an unknown geometry type.
    """
    fields = [field for field in target.schema if field.name != target.geometry_column]
    _check_names(target.schema.names)
    id_column = _free_name(_ID_COLUMN, target.schema.names)
    return TablePlan(
        version=version_name(target.dataset, target.fingerprint, target.metadata["run_id"]),
        id_column=id_column,
        fields=tuple(Column(field.name, _SQL_TYPES[field.type]) for field in fields),
        geometry_column=target.geometry_column,
        geometry_type=_geometry_type(target),
        schema=pa.schema(
            [
                pa.field(id_column, pa.int64()),
                *fields,
                pa.field(target.geometry_column, pa.binary()),
            ]
        ),
        json_columns=target.json_columns,
        key_columns=target.key_columns,
        indexes=target.indexes,
        comments={
            id_column: _ID_COMMENT,
            **target.column_comments,
            target.geometry_column: _geometry_comment(target),
        },
    )


def version_name(dataset: str, fingerprint: str, run_id: str) -> str:
    """Return the name of the staged table: at most 58 bytes, so that index names fit into 63.

    It holds the first 8 characters of the fingerprint and of the run id. A long name is cut, and a
    hash keeps it apart from other names that begin alike, such as those of one run.
    """
    if len(dataset) > _MAX_NAME_IN_VERSION:
        digest = hashlib.sha256(dataset.encode()).hexdigest()[:6]
        dataset = f"{dataset[: _MAX_NAME_IN_VERSION - 7]}_{digest}"
    run = re.sub("[^0-9a-z]", "", run_id.lower())[:8]
    return f"{dataset}_{fingerprint[:8]}_{run or '0'}"


def index_name(plan: TablePlan, which: str) -> str:
    # An index moves with its table to another schema, so its name contains the version.
    return f"{plan.version}_{which}"


def _geometry_type(target: FeatureTarget) -> str:
    if target.geometry_type not in _GEOMETRY_TYPES:
        raise ValueError(f"no geometry type of a column: {target.geometry_type}")
    return target.geometry_type + ("Z" if target.dimension == "xyz" else "")


def _geometry_comment(target: FeatureTarget) -> str:
    crs = target.crs.authority_code or "a CRS without a code"
    return f"{target.geometry_type}, {target.dimension}, in {crs}"


def _check_names(names: Sequence[str]) -> None:
    if len(names) >= _MAX_COLUMNS:
        raise ParameterInvalid(
            f"A table of PostgreSQL has at most {_MAX_COLUMNS:,} columns, one of them the row id; "
            f"the layer has {len(names):,}.",
            remedy="Load fewer columns, or use the embedded profile.",
        )
    invalid = [
        name
        for name in names
        if not name
        or len(name.encode()) > NAME_MAX_BYTES
        or "\0" in name
        or name in _SYSTEM_COLUMNS
    ]
    if invalid or len(set(names)) != len(names):
        raise ParameterInvalid(
            "PostgreSQL cannot have columns with these names: "
            f"{', '.join(map(repr, invalid or names))}.",
            remedy="Rename them with column_mapping.",
        )


def _free_name(preferred_name: str, used_names: Sequence[str]) -> str:
    suffix, name = 1, preferred_name
    while name in used_names:
        suffix += 1
        name = f"{preferred_name}_{suffix}"
    return name
