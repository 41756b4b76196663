"""Read published PostGIS tables, one read-only transaction for each request.

The table is locked against being renamed while it is read, and its comment names its version, so
that a response never mixes two versions.

Called by `feature_reader.py`.
"""

import json
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

import psycopg
import shapely
from psycopg import sql
from shapely.geometry.base import BaseGeometry

from geo_platform.errors import (
    CatalogRejected,
    DatabaseUnavailable,
    QueryInvalid,
    VersionGone,
)
from geo_platform.serving.features.collections import FeatureCollection, TableSource
from geo_platform.serving.features.fragments import Fragment, bound, joined
from geo_platform.serving.features.opened import (
    ColumnKind,
    FeatureColumn,
    FeatureLayout,
    OpenFeatures,
    column,
    too_slow,
)
from geo_platform.serving.reader_pool import ReaderPool
from geo_platform.sql import statement
from geo_platform.storage.postgres.connections import Database

_CHUNK_ROWS = 500
# A geometry with more points is made simpler for a tile before it is sent.
_MANY_POINTS = 500
_REMEMBERED_LAYOUTS = 1000
_KINDS = {
    "boolean": ColumnKind.boolean,
    "smallint": ColumnKind.integer,
    "integer": ColumnKind.integer,
    "bigint": ColumnKind.integer,
    "real": ColumnKind.single,
    "double precision": ColumnKind.double,
    "text": ColumnKind.text,
    "date": ColumnKind.date,
    "time without time zone": ColumnKind.time,
    "timestamp without time zone": ColumnKind.timestamp,
    "timestamp with time zone": ColumnKind.instant,
    "bytea": ColumnKind.binary,
    "json": ColumnKind.json,
    "jsonb": ColumnKind.json,
}
# The plain values of `opened.py`. PostgreSQL has infinite times, which have none.
_PLAIN = {
    ColumnKind.date: "CASE WHEN isfinite({0}) THEN {0} - DATE '1970-01-01' END",
    ColumnKind.time: "CAST(extract(epoch FROM {0}) * 1000000 AS bigint)",
    ColumnKind.timestamp: "CASE WHEN isfinite({0}) "
    "THEN CAST(extract(epoch FROM {0}) * 1000000 AS bigint) END",
    ColumnKind.instant: "CASE WHEN isfinite({0}) "
    "THEN CAST(extract(epoch FROM {0}) * 1000000 AS bigint) END",
    ColumnKind.json: "CAST({0} AS text)",
    ColumnKind.other: "CAST({0} AS text)",
}


class PostgisReader:
    """Implements `FeatureReader` for the tables of the production profile."""

    def __init__(self, database: Database, *, connections: int, seconds: float) -> None:
        self._pool = ReaderPool(database, max_connections=connections)
        self._seconds = seconds
        self._layouts: OrderedDict[tuple[str, str], tuple[FeatureLayout, int]] = OrderedDict()
        self._lock = Lock()

    @contextmanager
    def open(self, collection: FeatureCollection) -> Iterator[OpenFeatures]:
        """Open a table in a transaction. Raises what `FeatureReader.open` raises."""
        source = collection.source
        if not isinstance(source, TableSource):
            raise CatalogRejected(f"{collection.id} is no table.")
        with (
            self._pool.reading(seconds=self._seconds, of_one_moment=False) as connection,
            _bad_values(),
        ):
            self._begin(connection, source)
            layout, srid = self._layout(connection, collection, source)
            try:
                yield _OpenTable(connection, source, layout, srid, time.monotonic() + self._seconds)
            except psycopg.errors.UndefinedColumn as error:
                # Somebody altered the table by hand.
                with self._lock:
                    self._layouts.pop((source.schema, source.version), None)
                raise _gone(source) from error

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _begin(self, connection: psycopg.Connection, source: TableSource) -> None:
        """Lock the table against being renamed, and check its version."""
        milliseconds = sql.Literal(int(self._seconds * 1000))
        table = sql.Identifier(source.schema, source.table)
        begin = sql.SQL(
            "SET LOCAL lock_timeout = {0}; "
            "LOCK TABLE {1} IN ACCESS SHARE MODE; "
            "SELECT obj_description(to_regclass({2}), 'pg_class')"
        ).format(milliseconds, table, sql.Literal(table.as_string(connection)))
        try:
            cursor = connection.execute(begin)
            while cursor.nextset():
                pass
            (comment,) = cursor.fetchone() or (None,)
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
            raise _gone(source) from error
        if _version_of(comment) != source.version:
            raise _gone(source)

    def _layout(
        self, connection: psycopg.Connection, collection: FeatureCollection, source: TableSource
    ) -> tuple[FeatureLayout, int]:
        """Return the columns and the SRID. They are remembered: a version never changes them."""
        name = (source.schema, source.version)
        with self._lock:
            known = self._layouts.get(name)
        if known is not None:
            return known
        found = connection.execute(
            statement("postgis_columns"), {"schema": source.schema, "table": source.table}
        ).fetchall()
        (srid,) = connection.execute(
            statement("features_srid"),
            {"schema": source.schema, "table": source.table, "column": collection.geometry_column},
        ).fetchone() or (0,)
        made = _layout_of(found, collection.geometry_column, source), int(srid)
        with self._lock:
            self._layouts[name] = made
            while len(self._layouts) > _REMEMBERED_LAYOUTS:
                self._layouts.popitem(last=False)
        return made


def _layout_of(
    found: Sequence[tuple[Any, ...]], geometry_column: str, source: TableSource
) -> FeatureLayout:
    columns = [
        (column(name, _KINDS.get(sql_type, ColumnKind.other)), is_key)
        for name, sql_type, is_key in found
        if not sql_type.startswith(("geometry", "geography"))
    ]
    keys = [each for each, is_key in columns if is_key]
    if len(keys) != 1:
        raise CatalogRejected(
            f"The table {source.schema}.{source.table} has lost its column of row ids."
        )
    return FeatureLayout(
        key=keys[0],
        stored_key=keys[0].comparable,
        key_offset=0,
        columns=tuple(each for each, is_key in columns if not is_key),
        geometry=column(geometry_column, ColumnKind.other).comparable,
    )


class _OpenTable:
    """Implements `OpenFeatures` within the transaction of one request."""

    without_accents = "public.unaccent"

    def __init__(
        self,
        connection: psycopg.Connection,
        source: TableSource,
        layout: FeatureLayout,
        srid: int,
        deadline: float,
    ) -> None:
        self._connection = connection
        self._srid = srid
        self._deadline = deadline
        self.layout = layout
        self.relation = Fragment(sql.Identifier(source.schema, source.table).as_string(connection))

    def plain(self, column: FeatureColumn) -> Fragment:
        name = column.comparable.text
        return Fragment(_PLAIN.get(column.kind, "{0}").replace("{0}", name))

    def wkb(self) -> Fragment:
        return "ST_AsBinary(" + self.layout.geometry + ")"

    def shape(self, shape: BaseGeometry) -> Fragment:
        return "ST_GeomFromWKB(" + bound(shapely.to_wkb(shape)) + f", {self._srid})"

    def near(self, shape: BaseGeometry) -> Fragment:
        return self.layout.geometry + " && " + self._box(shape)

    def _box(self, shape: BaseGeometry) -> Fragment:
        corners = joined(", ", [bound(float(corner)) for corner in shape.bounds])
        return "ST_MakeEnvelope(" + corners + f", {self._srid})"

    def size(self) -> Fragment:
        geometry = self.layout.geometry.text
        width, height = (
            f"ST_{axis}Max({geometry}) - ST_{axis}Min({geometry})" for axis in ("X", "Y")
        )
        return Fragment(f"greatest({width}, {height})")

    def centre(self) -> tuple[Fragment, Fragment]:
        geometry = self.layout.geometry.text
        x, y = (
            Fragment(f"(ST_{axis}Max({geometry}) + ST_{axis}Min({geometry})) / 2")
            for axis in ("X", "Y")
        )
        return x, y

    def largest_first(self) -> Fragment:
        return self.size() + f" DESC, hashint8({self.layout.stored_key.text})"

    def reduced(self, area: BaseGeometry, step: float) -> Fragment:
        geometry = self.layout.geometry
        clipped = "ST_ClipByBox2D(" + geometry + ", " + self._box(area) + ")"
        return (
            "ST_AsBinary(CASE WHEN ST_NPoints(" + geometry + f") > {_MANY_POINTS} THEN ST_Simplify("
            + clipped + ", " + bound(step / 2) + ", true) ELSE " + clipped + " END)"
        )  # fmt: skip

    def rows(self, query: Fragment) -> Iterator[Sequence[tuple[Any, ...]]]:
        text = query.with_placeholder("%s", escape_percent=True)
        # A cursor of the server: no more rows are held here than are yielded at once.
        with self._connection.cursor(name="features") as cursor:
            cursor.execute(text, query.values)
            while chunk := cursor.fetchmany(_CHUNK_ROWS):
                yield chunk
                if time.monotonic() > self._deadline:
                    raise too_slow()


@contextmanager
def _bad_values() -> Iterator[None]:
    """Translate what the database says of a query's own values."""
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise DatabaseUnavailable("The table is being replaced. Send the request again.") from error
    except (psycopg.DataError, psycopg.InternalError) as error:
        # PostGIS reports geometries that cannot be compared as internal errors.
        reason = str(error).strip().splitlines()
        raise QueryInvalid(f"The condition cannot be evaluated: {reason[0][:200]}.") from error


def _gone(source: TableSource) -> VersionGone:
    return VersionGone(
        f"The table {source.schema}.{source.table} has been replaced or unpublished."
    )


def _version_of(comment: str | None) -> str | None:
    try:
        parsed = json.loads(comment or "")
    except ValueError:
        return None
    return parsed.get("version") if isinstance(parsed, dict) else None
