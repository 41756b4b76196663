"""Targets and batches for tests of the PostGIS store, and queries on the tables that result."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import psycopg
import pyarrow as pa
import shapely
import sqlalchemy
from psycopg import sql
from pyproj import CRS

from geo_platform.contracts.message import SpatialReference, TableReference
from geo_platform.crs import reference
from geo_platform.ports import FeatureDataset, FeatureTarget
from geo_platform.storage.postgres.connections import Database
from geo_platform.storage.postgres.names import LOADER_ROLE, REPLACED_SCHEMA, STAGING_SCHEMA
from geo_platform.storage.postgres.postgis import PostgisFeatures

GEOMETRY = pa.field("geometry", pa.binary(), nullable=False)
SCHEMA = pa.schema([("n", pa.int64()), ("name", pa.string()), GEOMETRY])
SOURCE = "file:///bronze/é roads.gpkg"


def crs_of(text: str) -> SpatialReference:
    return reference(CRS.from_user_input(text), "file")


def target(
    schema: pa.Schema = SCHEMA, *, crs: str = "EPSG:4326", run: str = "0a1b2c3d-run", **changes: Any
) -> FeatureTarget:
    """Return a target for points in the dataset roads, with `changes`."""
    plain = FeatureTarget(
        dataset="roads",
        schema=schema,
        geometry_column="geometry",
        crs=crs_of(crs),
        geometry_type="MultiPoint",
        fingerprint="f" * 32,
        key_prefix="vectors/geo/roads",
        metadata={"source_uri": SOURCE, "source_etag": "etag", "run_id": run},
    )
    return replace(plain, **changes)


def wkb(geometries: Sequence[shapely.Geometry]) -> pa.Array:
    """Return WKB as cleaning writes it: little-endian, ISO codes."""
    return pa.array(
        shapely.to_wkb(
            np.array(geometries, dtype=object), output_dimension=3, byte_order=1, flavor="iso"
        ).tolist(),
        pa.binary(),
    )


def points(count: int, *, first: int = 0) -> list[shapely.Geometry]:
    """Return geometries of one part each, a degree apart, in rows of 100."""
    return [shapely.MultiPoint([(n % 100, n // 100 % 80)]) for n in range(first, first + count)]


def numbered(
    count: int, *, first: int = 0, rows: int = 1000, name: str = "n"
) -> Iterator[pa.RecordBatch]:
    """Yield batches of SCHEMA whose `n` counts on from `first`."""
    for start in range(first, first + count, rows):
        numbers = range(start, min(start + rows, first + count))
        columns = [
            pa.array(numbers),
            pa.array([f"{name}{n}" for n in numbers]),
            wkb(points(len(numbers), first=start)),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def one_batch(
    schema: pa.Schema, columns: Mapping[str, Sequence[Any]], geometries: Sequence[shapely.Geometry]
) -> list[pa.RecordBatch]:
    arrays = [
        pa.array(columns[field.name], field.type) if field.name != "geometry" else wkb(geometries)
        for field in schema
    ]
    return [pa.RecordBatch.from_arrays(arrays, schema=schema)]


def load(
    database: Database, wanted: FeatureTarget, batches: Any, scratch: Path, *, connections: int = 2
) -> TableReference:
    """Load the batches and return the table."""
    table = loaded(database, wanted, batches, scratch, connections=connections).table
    assert table is not None
    return table


def loaded(
    database: Database, wanted: FeatureTarget, batches: Any, scratch: Path, *, connections: int = 2
) -> FeatureDataset:
    store = PostgisFeatures(database, connections=connections)
    store.check_free(wanted)
    return store.load(wanted, batches, scratch=scratch)


def publish(database: Database, table: TableReference) -> None:
    """Move the tables as publishing an item does: the staged one takes the live one's name."""
    with database.connect() as connection:
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(LOADER_ROLE)))
        row = connection.execute(
            "SELECT obj_description(to_regclass(%s)::oid, 'pg_class')::json ->> 'version'",
            [f"{table.schema_name}.{table.table_name}"],
        ).fetchone()
        if row is not None and row[0] is not None:
            _move(connection, (table.schema_name, table.table_name), (REPLACED_SCHEMA, row[0]))
        _move(connection, (STAGING_SCHEMA, table.version), (table.schema_name, table.table_name))


def _move(connection: psycopg.Connection, place: tuple[str, str], to: tuple[str, str]) -> None:
    connection.execute(
        sql.SQL("ALTER TABLE {} RENAME TO {}").format(sql.Identifier(*place), sql.Identifier(to[1]))
    )
    connection.execute(
        sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(
            sql.Identifier(place[0], to[1]), sql.Identifier(to[0])
        )
    )


def staged(database: Database) -> list[str]:
    """Return the names of the staged tables."""
    return [
        row[0]
        for row in ask(
            database, "SELECT tablename FROM pg_tables WHERE schemaname = 'geo_staging' ORDER BY 1"
        )
    ]


def ask(
    database: Database, query: str, table: TableReference | None = None, *values: Any
) -> list[tuple[Any, ...]]:
    """Return the rows of a query, in which {} stands for the staged table."""
    composed = (
        sql.SQL(query)
        if table is None
        else sql.SQL(query).format(sql.Identifier(STAGING_SCHEMA, table.version))
    )  # type: ignore[arg-type]
    with database.connect() as connection:
        return connection.execute(composed, values or None).fetchall()


def frame_of(database: Database, name: str, *, crs: str | None = None) -> geopandas.GeoDataFrame:
    """Read the table with geopandas. `crs` replaces a CRS whose SRID pyproj does not know."""
    url = database.url.get_secret_value().replace("postgresql://", "postgresql+psycopg://")
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        return geopandas.read_postgis(
            f"SELECT * FROM {name}",
            connection,
            geom_col="geometry",
            crs=crs,
        )
