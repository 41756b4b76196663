"""Run one step of our PostGIS load in a process of its own, so that its peak memory is its own.

python -m benchmarks.load_postgis load URL FILE  profile a GeoPackage, then load_features; print
                                                 the seconds of the latter
python -m benchmarks.load_postgis rows URL FILE  write the staged table to FILE, an Arrow stream
python -m benchmarks.load_postgis copy URL FILE  COPY these rows into a new table as the store
                                                 does; print the seconds
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import adbc_driver_postgresql.dbapi
import pyarrow as pa
from psycopg import sql
from pydantic import SecretStr
from pyproj import CRS

from benchmarks.data import WORK
from geo_platform.chains.vector import ARRIVAL, FEATURES, PROFILE
from geo_platform.crs import reference
from geo_platform.options import ArrivalOptions
from geo_platform.ports import FeatureTarget
from geo_platform.source.arrival import receive
from geo_platform.storage.local.folder import FolderStore
from geo_platform.storage.postgres.connections import Database
from geo_platform.storage.postgres.postgis import PostgisFeatures
from geo_platform.storage.postgres.postgis_copy import CopyStreams, create_table, with_row_ids
from geo_platform.storage.postgres.postgis_order import RunBoxes, sort_in_runs
from geo_platform.storage.postgres.postgis_plan import plan_table
from geo_platform.storage.postgres.postgis_session import loading
from geo_platform.vector.load import load_features
from geo_platform.vector.options import VectorFeaturesOptions, VectorProfileOptions
from geo_platform.vector.profile import profile_object

CONNECTIONS = 2


def load(database: Database, source: Path) -> float:
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        objects, scratch = FolderStore(Path(folder) / "store"), Path(folder) / "scratch"
        scratch.mkdir()
        objects.put_file("bronze", source.name, source, metadata={})
        arrived = receive(objects, "bronze", source.name, ArrivalOptions(), recipe=ARRIVAL.recipe)
        profiled = profile_object(
            arrived, VectorProfileOptions(), objects, recipe=PROFILE.recipe, scratch=scratch
        )
        store = PostgisFeatures(database, connections=CONNECTIONS)
        started = time.perf_counter()
        loaded = load_features(
            profiled,
            VectorFeaturesOptions(),
            objects,
            store,
            recipe=FEATURES.recipe,
            run_id="bench",
            scratch=scratch,
        )
        seconds = time.perf_counter() - started
        assert loaded.inserted == profiled.feature_count
        return seconds


def rows(database: Database, file: Path) -> float:
    """Write the rows in source order, with the columns that cleaning produces."""
    with database.connect() as connection:
        found = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'geo_staging'"
        ).fetchone()
        assert found is not None
        composed = sql.SQL("SELECT *, ST_AsBinary(geometry) AS wkb FROM {} ORDER BY fid").format(
            sql.Identifier("geo_staging", found[0])
        )
        query = composed.as_string(connection)
    with (
        adbc_driver_postgresql.dbapi.connect(database.url.get_secret_value()) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(query)
        reader = cursor.fetch_record_batch()
        kept = [name for name in reader.schema.names if name not in ("fid", "geometry")]
        schema = pa.schema([reader.schema.field(name) for name in kept]).set(
            len(kept) - 1, pa.field("geometry", pa.binary())
        )
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            for batch in reader:
                for start in range(0, batch.num_rows, 8192):
                    columns = batch.slice(start, 8192).select(kept).columns
                    writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    return 0.0


def copy(database: Database, file: Path) -> float:
    with pa.OSFile(str(file), "rb") as stream, pa.ipc.open_stream(stream) as reader:
        plan = plan_table(_target(reader.schema))
        with loading(database) as connection:
            create_table(connection, plan, plan.table, srid=4326)
        started = time.perf_counter()
        with CopyStreams(database, plan, CONNECTIONS) as streams:
            streams.send_all(
                sort_in_runs(with_row_ids(reader, plan, 1), plan.geometry_column, RunBoxes())
            )
        return time.perf_counter() - started


def _target(schema: pa.Schema) -> FeatureTarget:
    return FeatureTarget(
        dataset="copied",
        schema=schema,
        geometry_column="geometry",
        crs=reference(CRS.from_epsg(4326), "file"),
        geometry_type="MultiPolygon",
        fingerprint="bench",
        key_prefix="",
        metadata={"run_id": "bench", "source_uri": ""},
    )


def main() -> None:
    steps: dict[str, Callable[[Database, Path], float]] = {"load": load, "rows": rows, "copy": copy}
    step, url, file = sys.argv[1:]
    print(steps[step](Database(SecretStr(url), "bench"), Path(file)))


if __name__ == "__main__":
    main()
