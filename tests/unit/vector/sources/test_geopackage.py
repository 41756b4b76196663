"""Columns of a GeoPackage whose values are not of the type that the column declares."""

import datetime
import shutil
import sqlite3
import zipfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from geo_platform.contracts.vector import FieldOrigin
from geo_platform.source.recognise.sqlite import opened_geopackage
from tests.support.cases import CASES
from tests.unit.vector.harness import Platform

_UTC = datetime.UTC


def _local(hour: int) -> datetime.datetime:
    return datetime.datetime(2020, 1, 1, hour, tzinfo=_UTC).replace(tzinfo=None)


def layer(path: Path, declared: str, values: Sequence[object], *, key: str = "fid") -> Path:
    """Write a GeoPackage whose layer has a key, a point, and the column c with these values."""
    shutil.copy(CASES / "zero_extent.gpkg", path)
    with closing(sqlite3.connect(path)) as database, database:
        (point,) = database.execute("SELECT geom FROM t").fetchone()
        for kind, name in database.execute(
            "SELECT type, name FROM sqlite_schema WHERE type = 'trigger' OR name = 'rtree_t_geom'"
        ).fetchall():
            database.execute(f'DROP {kind} "{name}"')
        database.execute("DELETE FROM gpkg_extensions")
        database.execute("DROP TABLE t")
        database.execute(f"CREATE TABLE t ({key} INTEGER PRIMARY KEY, geom POINT, c {declared})")
        database.executemany(
            "INSERT INTO t (geom, c) VALUES (?, ?)", [(point, value) for value in values]
        )
    return path


def published(platform: Platform, path: Path) -> tuple[str, list[Any], list[str]]:
    """Return the published type of the column c, its values and the codes of the warnings."""
    loaded = platform.load(platform.profile(path))
    table = platform.table(loaded).sort_by("fid")
    assert table["fid"].to_pylist() == list(range(1, table.num_rows + 1))
    codes = [warning.code for warning in loaded.warnings]
    return str(table.schema.field("c").type), table["c"].to_pylist(), codes


_LOOSE = ["VALUES_LOOSE"]
_BLANK = ["VALUES_BLANK"]
_MIXED = ["TIMES_MIXED"]


@pytest.mark.parametrize(
    ("declared", "values", "kind", "wanted", "codes"),
    [
        ("INTEGER", [1, None, 2**63 - 1], "int64", [1, None, 2**63 - 1], []),
        ("INTEGER", [3, 2.7], "double", [3.0, 2.7], _LOOSE),
        ("INTEGER", [2**53 + 1, 2.7], "string", [str(2**53 + 1), "2.7"], _LOOSE),
        ("INTEGER", [3, ""], "int64", [3, None], _BLANK),
        ("INTEGER", [3, b"\xff"], "string", ["3", "FF"], _LOOSE),
        ("MEDIUMINT", [3, 2**40], "int64", [3, 2**40], []),
        ("SMALLINT", [3, -40_000], "int64", [3, -40_000], []),
        ("BOOLEAN", [1, 0, None], "bool", [True, False, None], []),
        ("BOOLEAN", [1, "yes"], "string", ["1", "yes"], _LOOSE),
        ("REAL", [1.5, "n/a"], "string", ["1.5", "n/a"], _LOOSE),
        ("REAL", [1.5, " "], "double", [1.5, None], _BLANK),
        ("FLOAT", [0.5, 1.25], "float", [0.5, 1.25], []),
        ("FLOAT", [0.1, 1.25], "double", [0.1, 1.25], []),
        ("TEXT", ["a\0b", "c"], "string", ["a\0b", "c"], []),
        ("BLOB", [b"a", "b"], "string", ["a", "b"], _LOOSE),
        ("NUMERIC(20,2)", [12.5, 3], "double", [12.5, 3.0], []),
        ("DECIMAL", [2**53 + 1, 3], "int64", [2**53 + 1, 3], _LOOSE),
        ("", [1, "x", None], "string", ["1", "x", None], []),
        ("BIGINT", [2**62 + 1], "int64", [2**62 + 1], []),
        ("JSON", ['{"a": 1}', "no"], "string", ['{"a": 1}', "no"], _LOOSE),
        (
            "DATE",
            ["2020-02-29", "", "0000-00-00", "2020/03/01"],
            "date32[day]",
            [datetime.date(2020, 2, 29), None, None, datetime.date(2020, 3, 1)],
            _BLANK,
        ),
        ("DATE", ["2020-02-30"], "string", ["2020-02-30"], _LOOSE),
        ("DATE", ["2020-02-01T10:00:00Z"], "string", ["2020-02-01T10:00:00Z"], _LOOSE),
        (
            "DATETIME",
            ["2020-01-01T10:00:00.123456Z", "2020-01-01T10:00:00+02:00"],
            "timestamp[us, tz=UTC]",
            [
                datetime.datetime(2020, 1, 1, 10, 0, 0, 123456, _UTC),
                datetime.datetime(2020, 1, 1, 8, tzinfo=_UTC),
            ],
            [],
        ),
        (
            "DATETIME",
            ["2020-01-01 10:00:00", "2020-01-01T11:00"],
            "timestamp[us]",
            [_local(10), _local(11)],
            [],
        ),
        (
            "DATETIME",
            ["2020-01-01 10:00:00", "2020-01-01T10:00:00Z"],
            "string",
            ["2020-01-01 10:00:00", "2020-01-01T10:00:00Z"],
            _MIXED,
        ),
        ("DATETIME", ["2020-01-01T25:00:00Z"], "string", ["2020-01-01T25:00:00Z"], _LOOSE),
    ],
)
def test_every_value_is_published_as_it_is(
    platform: Platform,
    tmp_path: Path,
    declared: str,
    values: list[object],
    kind: str,
    wanted: list[object],
    codes: list[str],
) -> None:
    path = layer(tmp_path / "t.gpkg", declared, values)
    assert published(platform, path) == (kind, wanted, codes)


def test_columns_of_sound_types_are_read_by_the_driver(platform: Platform, tmp_path: Path) -> None:
    profiled = platform.profile(layer(tmp_path / "t.gpkg", "DATETIME", ["2020-01-01T10:00:00Z"]))
    assert [field.origin for field in profiled.fields] == [
        FieldOrigin.feature_id,
        FieldOrigin.driver,
    ]
    assert profiled.columns == ("fid", "c")


def test_a_table_in_an_archive_is_read_too(platform: Platform, tmp_path: Path) -> None:
    path = layer(tmp_path / "t.gpkg", "INTEGER", [3, "n/a"])
    archive = tmp_path / "t.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.write(path, "t.gpkg")
    assert published(platform, archive) == ("string", ["3", "n/a"], _LOOSE)


def test_rows_of_a_view_keep_their_order(platform: Platform, tmp_path: Path) -> None:
    path = layer(tmp_path / "t.gpkg", "INTEGER", [3, "n/a", 7])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("ALTER TABLE t RENAME TO base")
        database.execute("CREATE VIEW t AS SELECT fid + 10 AS k, geom, c FROM base ORDER BY c")
        database.execute("UPDATE gpkg_contents SET table_name = 't'")
        database.execute("UPDATE gpkg_geometry_columns SET table_name = 't'")
    loaded = platform.load(platform.profile(path))
    rows = platform.table(loaded).select(["k", "c"]).to_pylist()
    wanted = [{"k": 11, "c": "3"}, {"k": 12, "c": "n/a"}, {"k": 13, "c": "7"}]
    assert sorted(rows, key=str) == sorted(wanted, key=str)


def test_the_file_is_never_mapped_into_memory(tmp_path: Path) -> None:
    path = layer(tmp_path / "mapped.gpkg", "TEXT", ["x" * 1000] * 1000)
    with opened_geopackage(path, path.name) as database:
        assert database.execute("SELECT count(*), max(c) FROM t").fetchone() == (1000, "x" * 1000)
        assert path.name not in Path("/proc/self/maps").read_text()
