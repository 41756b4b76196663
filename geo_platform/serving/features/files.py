"""Read GeoParquet files with DuckDB, which runs inside the process and fetches nothing.

The key of a row is its number in the file, from 1. A file is never changed, so the number means
the same row in every read of a version.

Called by `feature_reader.py`.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from threading import Lock, Timer
from typing import TYPE_CHECKING, Any

import shapely
from shapely.geometry.base import BaseGeometry

from geo_platform.errors import CatalogRejected, Conflict, QueryInvalid, SourceNotFound, VersionGone
from geo_platform.ports import ObjectStore
from geo_platform.serving.features.collections import FeatureCollection, FileSource
from geo_platform.serving.features.fragments import Fragment, bound, identifier, select
from geo_platform.serving.features.opened import (
    ColumnKind,
    FeatureColumn,
    FeatureLayout,
    OpenFeatures,
    column,
    too_slow,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_CHUNK_ROWS = 500
_BOX_COLUMN = "bbox"
_ROW_NUMBER = "file_row_number"
_KINDS = {
    "BOOLEAN": ColumnKind.boolean,
    "SMALLINT": ColumnKind.integer,
    "INTEGER": ColumnKind.integer,
    "BIGINT": ColumnKind.integer,
    "FLOAT": ColumnKind.single,
    "DOUBLE": ColumnKind.double,
    "VARCHAR": ColumnKind.text,
    "DATE": ColumnKind.date,
    "TIME": ColumnKind.time,
    "TIMESTAMP": ColumnKind.timestamp,
    "TIMESTAMP WITH TIME ZONE": ColumnKind.instant,
    "BLOB": ColumnKind.binary,
}
# The plain values of `opened.py`.
_PLAIN = {
    ColumnKind.date: "{0} - DATE '1970-01-01'",
    ColumnKind.time: "epoch_us({0})",
    ColumnKind.timestamp: "epoch_us({0})",
    ColumnKind.instant: "epoch_us({0})",
    ColumnKind.other: "CAST({0} AS VARCHAR)",
}


class GeoParquetReader:
    """Implements `FeatureReader` for the GeoParquet files of the object store.

    `folders` are the only ones that DuckDB may read.
    """

    def __init__(
        self, objects: ObjectStore, folders: Sequence[Path], *, memory_mb: int, seconds: float
    ) -> None:
        self._objects = objects
        self._folders = tuple(folders)
        self._memory_mb = memory_mb
        self._seconds = seconds
        self._connection: DuckDBPyConnection | None = None
        self._lock = Lock()

    @contextmanager
    def open(self, collection: FeatureCollection) -> Iterator[OpenFeatures]:
        """Open a file. Raises what `FeatureReader.open` raises."""
        source, deadline = collection.source, time.monotonic() + self._seconds
        if not isinstance(source, FileSource):
            raise CatalogRejected(f"{collection.id} is no file.")
        try:
            with (
                self._objects.local_path(source.container, source.key) as path,
                self._session() as session,
                _bad_values(),
            ):
                relation = (
                    "read_parquet(" + bound(str(path)) + f", {_ROW_NUMBER} = true) AS features"
                )
                layout = _layout_of(session, relation, collection)
                yield _OpenFile(session, relation, layout, deadline)
        except (SourceNotFound, Conflict) as error:
            raise VersionGone(f"The file of {collection.id} is not there any more.") from error

    def close(self) -> None:
        """Close the database in memory."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextmanager
    def _session(self) -> Iterator["DuckDBPyConnection"]:
        """Yield a connection of this request."""
        session = self._database().cursor()
        try:
            yield session
        finally:
            session.close()

    def _database(self) -> "DuckDBPyConnection":
        # Imported here: commands that serve nobody need no DuckDB.
        import duckdb

        with self._lock:
            if self._connection is None:
                connection = duckdb.connect(
                    ":memory:",
                    config={
                        "autoinstall_known_extensions": "false",
                        "autoload_known_extensions": "false",
                        "memory_limit": f"{self._memory_mb}MB",
                        "threads": str(min(4, os.cpu_count() or 1)),
                    },
                )
                connection.load_extension(_extension())
                connection.execute("SET TimeZone = 'UTC'")
                connection.execute(f"SET allowed_directories = [{_literals(self._folders)}]")
                connection.execute("SET enable_external_access = false")
                connection.execute("SET lock_configuration = true")
                self._connection = connection
            return self._connection


def _literals(folders: Sequence[Path]) -> str:
    # SET accepts no bound values.
    return ", ".join("'" + str(folder).replace("'", "''") + "'" for folder in folders)


def _extension() -> str:
    """Return the path of DuckDB's spatial extension, which its own package brings."""
    import duckdb

    folder = files("duckdb_extension_spatial") / "extensions" / f"v{duckdb.__version__}"
    return str(folder / "spatial.duckdb_extension")


def _layout_of(
    session: "DuckDBPyConnection", relation: Fragment, collection: FeatureCollection
) -> FeatureLayout:
    text = ("DESCRIBE " + select([Fragment("*")], relation)).with_placeholder(
        "?", escape_percent=False
    )
    found = [
        (str(row[0]), str(row[1])) for row in session.execute(text, relation.values).fetchall()
    ]
    own = {_BOX_COLUMN, _ROW_NUMBER, collection.geometry_column}
    columns = tuple(
        column(
            name,
            ColumnKind.json
            if name in collection.json_columns
            else _KINDS.get(sql_type, ColumnKind.other),
        )
        for name, sql_type in found
        if name not in own
    )
    number = identifier(_ROW_NUMBER) + " + 1"
    names = {each.name for each in columns}
    key_name = next(
        name
        for suffix in range(1, len(names) + 2)
        if (name := "fid" if suffix == 1 else f"fid_{suffix}") not in names
    )
    return FeatureLayout(
        key=FeatureColumn(key_name, ColumnKind.integer, "(" + number + ")"),
        stored_key=identifier(_ROW_NUMBER),
        key_offset=1,
        columns=columns,
        geometry=identifier(collection.geometry_column),
    )


class _OpenFile:
    """Implements `OpenFeatures` for one request."""

    without_accents = "strip_accents"

    def __init__(
        self,
        session: "DuckDBPyConnection",
        relation: Fragment,
        layout: FeatureLayout,
        deadline: float,
    ) -> None:
        self._session = session
        self._deadline = deadline
        self.relation = relation
        self.layout = layout

    def plain(self, column: FeatureColumn) -> Fragment:
        name = column.comparable.text
        return Fragment(_PLAIN.get(column.kind, "{0}").replace("{0}", name))

    def wkb(self) -> Fragment:
        return "ST_AsWKB(" + self.layout.geometry + ")"

    def shape(self, shape: BaseGeometry) -> Fragment:
        return "ST_GeomFromWKB(" + bound(shapely.to_wkb(shape), "BLOB") + ")"

    def near(self, shape: BaseGeometry) -> Fragment:
        # The statistics of the row groups are those of this column, which is rounded outward.
        xmin, ymin, xmax, ymax = (bound(float(corner), "DOUBLE") for corner in shape.bounds)
        return (
            f"{_BOX_COLUMN}.xmin <= " + xmax + f" AND {_BOX_COLUMN}.xmax >= " + xmin
            + f" AND {_BOX_COLUMN}.ymin <= " + ymax + f" AND {_BOX_COLUMN}.ymax >= " + ymin
        )  # fmt: skip

    def size(self) -> Fragment:
        width, height = (
            f"{_BOX_COLUMN}.{axis}max - {_BOX_COLUMN}.{axis}min" for axis in ("x", "y")
        )
        return Fragment(f"greatest({width}, {height})")

    def centre(self) -> tuple[Fragment, Fragment]:
        x, y = (
            Fragment(f"({_BOX_COLUMN}.{axis}max + {_BOX_COLUMN}.{axis}min) / 2")
            for axis in ("x", "y")
        )
        return x, y

    def largest_first(self) -> Fragment:
        return self.size() + f" DESC, hash({_ROW_NUMBER})"

    def reduced(self, area: BaseGeometry, step: float) -> Fragment:
        # The rows are in this process already; only what is far outside the area costs something.
        return self.wkb()

    def rows(self, query: Fragment) -> Iterator[Sequence[tuple[Any, ...]]]:
        text = query.with_placeholder("?", escape_percent=False)
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise too_slow()
        # DuckDB forgets an interrupt that comes between two queries, so each has its own timer.
        timer = Timer(left_s, self._session.interrupt)
        timer.daemon = True
        timer.start()
        try:
            self._session.execute(text, list(query.values))
            while chunk := self._session.fetchmany(_CHUNK_ROWS):
                yield chunk
                if time.monotonic() > self._deadline:
                    raise too_slow()
        finally:
            timer.cancel()


@contextmanager
def _bad_values() -> Iterator[None]:
    """Translate what DuckDB says of a query's own values, and of its limits."""
    import duckdb

    try:
        yield
    except duckdb.InterruptException as error:
        raise too_slow() from error
    except (duckdb.DataError, duckdb.InvalidInputException) as error:
        reason = str(error).strip().splitlines()
        raise QueryInvalid(f"The condition cannot be evaluated: {reason[0][:200]}.") from error
    except duckdb.OutOfMemoryException as error:
        raise QueryInvalid(
            "The request needs more memory than it is allowed.",
            remedy="Ask for a smaller bbox or fewer rows.",
        ) from error
    except duckdb.IOException as error:
        raise VersionGone("The file is not there any more.") from error
