"""The result of a load in the database: columns, geometries, SRID, indexes, comments, order."""

import datetime as dt
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geo_platform.errors import DatabaseUnavailable, FieldEncoding, NoFeatures, ParameterInvalid
from geo_platform.ports import IndexRequest
from geo_platform.storage.postgres import postgis, postgis_order
from tests.support import features
from tests.support.features import (
    GEOMETRY,
    SCHEMA,
    ask,
    load,
    loaded,
    numbered,
    one_batch,
    points,
    staged,
    target,
    wkb,
)
from tests.support.servers import Logins

SHAPES: dict[str, shapely.Geometry] = {
    "MultiPoint": shapely.MultiPoint([(1, 2), (3, 4)]),
    "MultiLineString": shapely.MultiLineString([[(0, 0), (1, 1)], [(2, 2), (3, 3), (4, 2)]]),
    "MultiPolygon": shapely.MultiPolygon(
        [shapely.box(0, 0, 3, 3).difference(shapely.box(1, 1, 2, 2)), shapely.box(5, 5, 6, 6)]
    ),
}
VALUES: dict[str, tuple[pa.DataType, str, list[Any]]] = {
    "flag": (pa.bool_(), "boolean", [True, False, None]),
    "small": (pa.int16(), "smallint", [-(2**15), 2**15 - 1, None]),
    "medium": (pa.int32(), "integer", [-(2**31), 2**31 - 1, None]),
    "large": (pa.int64(), "bigint", [-(2**63), 2**63 - 1, None]),
    "single": (pa.float32(), "real", [1.5, float("inf"), None]),
    "double": (pa.float64(), "double precision", [0.1, float("-inf"), None]),
    "text": (pa.string(), "text", ["漢字 😀 é\t\\N\n'\"", "", None]),
    "day": (pa.date32(), "date", [dt.date(1, 1, 1), dt.date(9999, 12, 31), None]),
    "hour": (
        pa.time64("us"),
        "time without time zone",
        [dt.time(0), dt.time(23, 59, 59, 999999), None],
    ),
    "local": (
        pa.timestamp("us"),
        "timestamp without time zone",
        [
            dt.datetime.fromisoformat("1969-12-31T23:59:59.000001"),
            dt.datetime.fromisoformat("9999-12-31"),
            None,
        ],
    ),
    "instant": (
        pa.timestamp("us", tz="UTC"),
        "timestamp with time zone",
        [dt.datetime(2020, 1, 1, tzinfo=dt.UTC)] * 2 + [None],
    ),
    "raw": (pa.binary(), "bytea", [b"\x00\xff", b"", None]),
}


def column_types(database: Logins, version: str) -> dict[str, str]:
    query = (
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND attnum > 0"
    )
    return dict(ask(database.admin, query, None, f"geo_staging.{version}"))


def test_values_of_every_type_are_returned_unchanged(database: Logins, tmp_path: Path) -> None:
    schema = pa.schema([*(pa.field(name, kind) for name, (kind, _, _) in VALUES.items()), GEOMETRY])
    batch = one_batch(schema, {name: values for name, (_, _, values) in VALUES.items()}, points(3))
    table = load(database.loader, target(schema), batch, tmp_path)
    types = column_types(database, table.version)
    assert types == {
        "fid": "bigint",
        **{name: sql_type for name, (_, sql_type, _) in VALUES.items()},
        "geometry": "geometry(MultiPoint,4326)",
    }
    rows = ask(database.admin, f"SELECT {', '.join(VALUES)} FROM {{}} ORDER BY fid", table)
    assert [list(column) for column in zip(*rows, strict=True)] == [
        values for _, _, values in VALUES.values()
    ]


@pytest.mark.parametrize("dimension", ["xy", "xyz"])
@pytest.mark.parametrize("kind", [*SHAPES, "Geometry"])
def test_every_geometry_type_has_a_column_of_its_own(
    database: Logins, tmp_path: Path, kind: str, dimension: str
) -> None:
    flat = list(SHAPES.values()) if kind == "Geometry" else [SHAPES[kind]]
    shapes = [shapely.force_3d(shape, 7.5) for shape in flat] if dimension == "xyz" else flat
    batch = one_batch(pa.schema([GEOMETRY]), {}, shapes)
    table = load(
        database.loader,
        target(pa.schema([GEOMETRY]), geometry_type=kind, dimension=dimension),
        batch,
        tmp_path,
    )
    suffix = "Z" if dimension == "xyz" else ""
    assert column_types(database, table.version)["geometry"] == f"geometry({kind}{suffix},4326)"
    described = ask(
        database.admin,
        "SELECT type, coord_dimension, srid FROM geometry_columns WHERE f_table_name = %s",
        None,
        table.version,
    )
    assert described == [(kind.upper(), len(dimension), 4326)]
    rows = ask(
        database.admin,
        "SELECT ST_AsBinary(geometry), ST_SRID(geometry) FROM {} ORDER BY fid",
        table,
    )
    assert [(bytes(found), srid) for found, srid in rows] == [
        (sent.as_py(), 4326) for sent in wkb(shapes)
    ]


COORDINATE = st.floats(allow_nan=False, allow_infinity=False, width=64)
PLACE = st.tuples(COORDINATE, COORDINATE)


LINE = st.lists(PLACE, min_size=2, max_size=4)
RING = st.lists(PLACE, min_size=3, max_size=5)
SHAPE = st.one_of(
    st.lists(PLACE, min_size=1, max_size=3).map(shapely.MultiPoint),
    st.lists(LINE, min_size=1, max_size=3).map(shapely.MultiLineString),
    st.lists(st.tuples(RING, st.lists(RING, max_size=2)), min_size=1, max_size=2).map(
        shapely.MultiPolygon
    ),
)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(SHAPE, min_size=1, max_size=20))
def test_geometries_are_stored_to_the_last_bit(
    database: Logins, tmp_path: Path, shapes: list[shapely.Geometry]
) -> None:
    wanted = target(pa.schema([GEOMETRY]), geometry_type="Geometry")
    dataset = loaded(database.loader, wanted, one_batch(wanted.schema, {}, shapes), tmp_path)
    rows = ask(database.admin, "SELECT ST_AsBinary(geometry) FROM {} ORDER BY fid", dataset.table)
    assert [bytes(found) for (found,) in rows] == [sent.as_py() for sent in wkb(shapes)]
    assert dataset.bounds.xyxy == tuple(shapely.total_bounds(np.array(shapes, dtype=object)))


NAME = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1, max_size=20
)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        NAME.filter(lambda name: name not in ("xmin", "xmax", "ctid", "geometry")),
        min_size=1,
        max_size=5,
        unique=True,
    )
)
def test_names_are_data(database: Logins, tmp_path: Path, names: list[str]) -> None:
    schema = pa.schema([*(pa.field(name, pa.int64()) for name in names), GEOMETRY])
    wanted = target(
        schema, indexes=IndexRequest(True, (names[0],)), column_comments={names[-1]: "it's {} %s"}
    )
    table = load(
        database.loader,
        wanted,
        one_batch(schema, {name: [1] for name in names}, points(1)),
        tmp_path,
    )
    assert list(column_types(database, table.version))[1:] == [*names, "geometry"]


@pytest.mark.parametrize(
    "name",
    [
        'a"b; DROP TABLE geo.roads; --',
        "select",
        "ö" * 31,
        "a" * 63,
        "User Name",
        "%s",
        "{x}",
        "fid",
        "FID",
    ],
)
def test_hostile_and_reserved_names_are_ordinary_columns(
    database: Logins, tmp_path: Path, name: str
) -> None:
    schema = pa.schema([pa.field(name, pa.string()), GEOMETRY])
    wanted = target(
        schema, indexes=IndexRequest(True, (name,)), key_columns=(name,), load_mode="append"
    )
    table = load(database.loader, wanted, one_batch(schema, {name: ["x"]}, points(1)), tmp_path)
    assert list(column_types(database, table.version)) == [
        "fid_2" if name == "fid" else "fid",
        name,
        "geometry",
    ]


@pytest.mark.parametrize("names", [["ö" * 32], ["xmin"], ["a\0b"], [f"c{n}" for n in range(1599)]])
def test_names_invalid_in_postgresql_are_refused_before_anything_is_created(
    database: Logins, tmp_path: Path, names: list[str]
) -> None:
    schema = pa.schema([*(pa.field(name, pa.int64()) for name in names), GEOMETRY])
    with pytest.raises(ParameterInvalid):
        load(database.loader, target(schema), iter(()), tmp_path)
    assert staged(database.admin) == []


def test_a_custom_crs_gets_one_permanent_srid(database: Logins, tmp_path: Path) -> None:
    own = "+proj=laea +lat_0=47.5 +lon_0=8.25 +datum=WGS84 +units=m"
    found = []
    for number in range(2):
        table = load(database.loader, target(crs=own, run=f"run{number}"), numbered(3), tmp_path)
        found += ask(
            database.reader,
            "SELECT srid FROM geometry_columns WHERE f_table_name = %s",
            None,
            table.version,
        )
    assert found[0] == found[1]
    assert 910_000 <= found[0][0] < 998_000
    frame = features.frame_of(
        database.admin, f"geo_staging.{table.version}", crs=features.crs_of(own).wkt
    )
    moved = ask(
        database.admin,
        "SELECT ST_X(p), ST_Y(p) FROM "
        "(SELECT ST_Transform(ST_GeometryN(geometry, 1), 4326) AS p FROM {}) q",
        table,
    )
    expected = frame.to_crs(4326).geometry.get_coordinates().to_numpy()
    assert np.allclose(moved, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("crs", "srid"), [("OGC:CRS84", 4326), ("EPSG:32632", 32632), ("ESRI:102003", 102003)]
)
def test_a_known_crs_keeps_its_number(
    database: Logins, tmp_path: Path, crs: str, srid: int
) -> None:
    table = load(database.loader, target(crs=crs), numbered(3), tmp_path)
    assert ask(database.admin, "SELECT DISTINCT ST_SRID(geometry) FROM {}", table) == [(srid,)]


def test_indexes_exist_and_are_used(database: Logins, tmp_path: Path) -> None:
    schema = pa.schema([("n", pa.int64()), ("day", pa.date32()), ("says", pa.string()), GEOMETRY])
    rows = 4000
    days = [dt.date(2000, 1, 1) + dt.timedelta(days=n) for n in range(rows)]
    columns = {"n": range(rows), "day": days, "says": [f'{{"n": {n}}}' for n in range(rows)]}
    wanted = target(
        schema, indexes=IndexRequest(True, ("n", "says"), ("day",)), json_columns=("says",)
    )
    table = load(database.loader, wanted, one_batch(schema, columns, points(rows)), tmp_path)
    indexes = ask(
        database.admin,
        "SELECT indexdef FROM pg_indexes WHERE tablename = %s ORDER BY indexname",
        None,
        table.version,
    )
    kinds = [index.partition(" USING ")[2] for (index,) in indexes]
    assert kinds == ["btree (n)", "gin (says)", "btree (day)", "gist (geometry)", "btree (fid)"]
    for condition, index in {
        "n = 17": "_1",
        """says @> '{{"n": 17}}'""": "_2",
        "day = '2000-01-18'": "_3",
        "geometry && ST_MakeEnvelope(0, 0, 1.5, 1.5, 4326)": "_geom",
        "fid = 18": "_id",
    }.items():
        plan = "\n".join(
            line
            for (line,) in ask(
                database.admin,
                f"EXPLAIN SELECT n FROM {{}} WHERE {condition}",
                table,
            )
        )
        assert f"{table.version}{index}" in plan, plan


def test_no_unrequested_index_is_created(database: Logins, tmp_path: Path) -> None:
    table = load(
        database.loader,
        target(indexes=IndexRequest(spatial=False)),
        numbered(10),
        tmp_path,
        connections=1,
    )
    assert ask(
        database.admin, "SELECT indexname FROM pg_indexes WHERE tablename = %s", None, table.version
    ) == [(f"{table.version}_id",)]


def test_the_table_comment_describes_the_table(database: Logins, tmp_path: Path) -> None:
    before = dt.datetime.now(dt.UTC)
    table = load(
        database.loader,
        target(column_comments={"name": "NAME in the source, renamed: snake case"}),
        numbered(10),
        tmp_path,
    )
    assert table.version == "roads_ffffffff_0a1b2c3d"
    assert table.uri == f"postgresql://{database.loader.place}?table=geo.roads"
    comment = json.loads(
        ask(
            database.admin,
            "SELECT obj_description(%s::regclass)",
            None,
            f"geo_staging.{table.version}",
        )[0][0]
    )
    assert (
        before
        <= dt.datetime.fromisoformat(comment["started_at_utc"])
        <= dt.datetime.fromisoformat(comment["loaded_at_utc"])
    )
    assert {name: comment[name] for name in comment if not name.endswith("_utc")} == {
        "title": "roads",
        "description": f"MultiPoint features from {features.SOURCE}, in EPSG:4326.",
        "version": table.version,
        "dataset": "roads",
        "run_id": "0a1b2c3d-run",
        "fingerprint": "f" * 32,
        "source_uri": features.SOURCE,
        "source_etag": "etag",
        "load_mode": "update",
        "base_version": None,
        "rows": 10,
    }
    described = ask(
        database.admin,
        "SELECT col_description(%s::regclass, 3)",
        None,
        f"geo_staging.{table.version}",
    )
    assert described == [("NAME in the source, renamed: snake case",)]
    owner = ask(
        database.admin, "SELECT tableowner FROM pg_tables WHERE tablename = %s", None, table.version
    )
    assert owner == [("geo_loader",)]


def test_the_table_is_analyzed_and_has_autovacuum(database: Logins, tmp_path: Path) -> None:
    table = load(database.loader, target(), numbered(100), tmp_path)
    found = ask(
        database.admin,
        "SELECT reltuples, reloptions FROM pg_class WHERE relname = %s",
        None,
        table.version,
    )
    assert found == [(100, None)]


def test_later_rows_continue_the_numbering(database: Logins, tmp_path: Path) -> None:
    table = load(database.loader, target(), numbered(10), tmp_path)
    added = ask(
        database.loader,
        "INSERT INTO {} (n, geometry) "
        "VALUES (1, ST_GeomFromText('MULTIPOINT(1 2)', 4326)) RETURNING fid",
        table,
    )
    assert added == [(11,)]


@pytest.mark.parametrize("connections", [1, 3])
def test_rows_are_numbered_in_the_order_of_the_source(
    database: Logins, tmp_path: Path, connections: int
) -> None:
    table = load(
        database.loader, target(), numbered(5000, rows=300), tmp_path, connections=connections
    )
    assert ask(
        database.admin, "SELECT count(*), min(fid), max(fid), bool_and(fid = n + 1) FROM {}", table
    ) == [(5000, 1, 5000, True)]


def test_empty_batches_are_accepted_and_no_rows_at_all_are_refused(
    database: Logins, tmp_path: Path
) -> None:
    empty = pa.RecordBatch.from_arrays(
        [pa.array([], field.type) for field in SCHEMA], schema=SCHEMA
    )
    dataset = loaded(
        database.loader, target(), itertools.chain([empty], numbered(5), [empty]), tmp_path
    )
    assert dataset.rows == 5
    with pytest.raises(NoFeatures):
        load(database.loader, target(run="another"), iter([empty]), tmp_path)
    assert staged(database.admin) == ["roads_ffffffff_0a1b2c3d"]


def test_json_is_jsonb_where_every_value_is(database: Logins, tmp_path: Path) -> None:
    schema = pa.schema([("good", pa.string()), ("bad", pa.string()), GEOMETRY])
    columns = {"good": ['{"a": [1, "é"]}', None], "bad": ['{"a": 1}', "{broken"]}
    wanted = target(schema, json_columns=("good", "bad"))
    dataset = loaded(database.loader, wanted, one_batch(schema, columns, points(2)), tmp_path)
    assert dataset.table is not None
    types = column_types(database, dataset.table.version)
    assert (types["good"], types["bad"]) == ("jsonb", "text")
    assert [finding.code for finding in dataset.findings] == ["JSON_KEPT_AS_TEXT"]
    assert dataset.findings[0].message.startswith("bad is kept as text")
    assert ask(database.admin, "SELECT good, bad FROM {} ORDER BY fid", dataset.table) == [
        ({"a": [1, "é"]}, '{"a": 1}'),
        (None, "{broken"),
    ]


def test_a_value_that_postgresql_cannot_store_is_refused_by_name(
    database: Logins, tmp_path: Path
) -> None:
    with pytest.raises(FieldEncoding, match="'name'"):
        load(
            database.loader,
            target(),
            one_batch(SCHEMA, {"n": [1], "name": ["a\0b"]}, points(1)),
            tmp_path,
        )
    schema = pa.schema([("long_ago", pa.timestamp("us")), GEOMETRY])
    batch = pa.RecordBatch.from_arrays(
        [pa.array([-(2**62)], pa.int64()).cast(pa.timestamp("us")), wkb(points(1))], schema=schema
    )
    with pytest.raises(ParameterInvalid, match=r"out of range.*column long_ago"):
        load(database.loader, target(schema), [batch], tmp_path)
    with pytest.raises(ParameterInvalid, match="index"):
        load(
            database.loader,
            target(indexes=IndexRequest(True, ("name",))),
            one_batch(
                SCHEMA,
                {"n": [1], "name": ["".join(chr(33 + n * n % 5000) for n in range(9000))]},
                points(1),
            ),
            tmp_path,
        )
    assert staged(database.admin) == []


def test_a_geometry_of_another_type_than_the_column_is_refused(
    database: Logins, tmp_path: Path
) -> None:
    with pytest.raises(ParameterInvalid, match="Geometry type"):
        load(
            database.loader,
            target(),
            one_batch(SCHEMA, {"n": [1], "name": ["a"]}, [SHAPES["MultiPolygon"]]),
            tmp_path,
        )
    assert staged(database.admin) == []


def test_a_table_that_reads_back_differently_is_removed(
    database: Logins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trigger drops a row, or changes a coordinate, on the way into the table."""
    original = postgis.create_table
    for change in (
        "RETURN NULL",
        "NEW.geometry := ST_Translate(NEW.geometry, -1000, 0); RETURN NEW",
    ):

        def with_trigger(
            connection: psycopg.Connection,
            plan: Any,
            table: tuple[str, str],
            *,
            srid: int,
            change: str = change,
        ) -> None:
            original(connection, plan, table, srid=srid)
            body = f"BEGIN IF NEW.n = 5 THEN {change}; END IF; RETURN NEW; END"
            connection.execute(
                f"CREATE FUNCTION geo_staging.meddle() RETURNS trigger LANGUAGE plpgsql AS '{body}'"
            )  # type: ignore[call-overload]
            statement = (
                "CREATE TRIGGER meddle BEFORE INSERT ON {} "
                "FOR EACH ROW EXECUTE FUNCTION geo_staging.meddle()"
            )
            connection.execute(psycopg.sql.SQL(statement).format(psycopg.sql.Identifier(*table)))

        monkeypatch.setattr(postgis, "create_table", with_trigger)
        with pytest.raises(DatabaseUnavailable, match="not read back as it was sent"):
            load(database.loader, target(), numbered(10), tmp_path)
        assert staged(database.admin) == []
        with database.loader.connect() as connection:
            connection.execute("SET LOCAL ROLE geo_loader")
            connection.execute("DROP FUNCTION geo_staging.meddle()")


def test_unordered_rows_are_stored_along_a_space_filling_curve(
    database: Logins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = np.random.default_rng(3).permutation(6000)
    shuffled = pa.Table.from_batches(numbered(6000)).take(order).to_batches(max_chunksize=500)
    as_arrived = load(database.loader, target(), iter(shuffled), tmp_path, connections=1)
    monkeypatch.setattr(postgis_order, "_SMALL_BYTES", 0)
    in_runs = load(database.loader, target(run="runs"), iter(shuffled), tmp_path, connections=1)
    monkeypatch.setattr(postgis_order, "RUN_BYTES", 20_000)
    monkeypatch.setattr(postgis_order, "_MAX_MEAN_OVERLAP", 3)
    rewritten = load(database.loader, target(run="anew"), iter(shuffled), tmp_path, connections=1)
    query = (
        "SELECT count(DISTINCT (ctid::text::point)[0]), count(*), sum(n) FROM {} "
        "WHERE geometry && ST_MakeEnvelope(0, 0, 20, 20, 4326)"
    )
    pages = {
        name: ask(database.admin, query, table)[0]
        for name, table in (("came", as_arrived), ("runs", in_runs), ("anew", rewritten))
    }
    assert pages["came"][1:] == pages["runs"][1:] == pages["anew"][1:]
    assert pages["runs"][0] < pages["came"][0] / 3
    assert pages["anew"][0] < pages["came"][0] / 3
    numbers = ask(database.admin, "SELECT fid, n FROM {} ORDER BY fid", rewritten)
    assert numbers == [(number, int(n)) for number, n in enumerate(order, start=1)]


def test_a_run_loads_again_over_its_own_remains(database: Logins, tmp_path: Path) -> None:
    load(database.loader, target(), numbered(10), tmp_path)
    again = load(database.loader, target(), numbered(20), tmp_path)
    assert ask(database.admin, "SELECT count(*) FROM {}", again) == [(20,)]
    other = replace(target(), fingerprint="e" * 32)
    load(database.loader, other, numbered(5), tmp_path)
    assert staged(database.admin) == ["roads_eeeeeeee_0a1b2c3d", "roads_ffffffff_0a1b2c3d"]
