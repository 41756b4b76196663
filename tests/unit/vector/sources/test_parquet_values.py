"""GeoParquet: numbers keep their digits, native geometries are read, false metadata is refused."""

import datetime
import json
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import geopandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from geo_platform import errors
from geo_platform.vector.sources.parquet_columns import wkb_of_native
from tests.unit.vector.harness import Platform

_NATIVE = {
    "point": ["POINT Z(0 0 5)", "POINT Z(1 1 6)"],
    "linestring": ["LINESTRING(0 0,1 1)", "LINESTRING(2 2,3 3,4 4)"],
    "polygon": ["POLYGON((0 0,4 0,4 4,0 0),(1 .5,2 .5,2 1,1 .5))", "POLYGON((5 0,6 0,6 1,5 0))"],
    "multipoint": ["MULTIPOINT(0 0,1 1)", "MULTIPOINT(2 2)"],
    "multilinestring": ["MULTILINESTRING((0 0,1 1),(2 2,3 3))", "MULTILINESTRING((4 4,5 5))"],
    "multipolygon": [
        "MULTIPOLYGON(((0 0,1 0,1 1,0 0)),((2 2,3 2,3 3,2 2)))",
        "MULTIPOLYGON(((4 4,5 4,5 5,4 4)))",
    ],
}


@pytest.mark.parametrize("encoding", _NATIVE)
def test_native_encodings_over_several_row_groups(
    platform: Platform, tmp_path: Path, encoding: str
) -> None:
    shapes = [shapely.from_wkt(text) for text in _NATIVE[encoding]]
    frame = geopandas.GeoDataFrame(
        {"a": [1, 2, 3]}, geometry=[shapes[0], None, shapes[1]], crs="EPSG:3857"
    )
    path = tmp_path / "a.parquet"
    frame.to_parquet(path, geometry_encoding="geoarrow", schema_version="1.1.0", row_group_size=2)
    loaded = platform.load(platform.profile(path), dimension="keep")
    assert (loaded.read, loaded.inserted, loaded.srid) == (3, 2, 3857)
    read = platform.frame(loaded).sort_values("a").geometry.tolist()
    for found, shape in zip(read, shapes, strict=True):
        assert shapely.equals_exact(shapely.normalize(found), shapely.normalize(_multi(shape)))
        assert found.has_z == shape.has_z


def test_native_columns_that_are_sliced_or_interleaved() -> None:
    pair = pa.list_(pa.float64(), 2)
    lines = pa.array([[[0, 0], [1, 1]], None, [[2, 2], [3, 3]]], pa.list_(pair))
    assert shapely.from_wkb(wkb_of_native(lines.slice(1), "linestring").to_pylist()).tolist() == [
        None,
        shapely.from_wkt("LINESTRING(2 2,3 3)"),
    ]
    with pytest.raises(errors.SourceUnreadable, match="declares the encoding 'point'"):
        wkb_of_native(pa.array([1.5]), "point")


def test_numbers_and_times_keep_their_digits(platform: Platform, tmp_path: Path) -> None:
    hour = datetime.timedelta(hours=1, seconds=1)
    columns = {
        "nested": pa.array([{"b": b"\x01", "q": Decimal("1.10")}, None]),
        "long": pa.array([Decimal("12345678901234567.25"), Decimal("1E-9")], pa.decimal128(38, 9)),
        "short": pa.array([Decimal("1.5"), None], pa.decimal128(38, 9)),
        "key": pa.array([Decimal(12), Decimal(-(10**17))], pa.decimal128(38, 0)),
        "large": pa.array([1, 2**64 - 1], pa.uint64()),
        "small": pa.array([1, 2**63 - 1], pa.uint64()),
        "duration": pa.array([hour, -datetime.timedelta(microseconds=5)], pa.duration("us")),
        "at": pa.array([1, 1000], pa.timestamp("ns")),
        "uuid": pa.array([bytes(16), None], pa.uuid()),
    }
    profiled = platform.profile(_written(tmp_path / "a.parquet", columns))
    loaded = platform.load(profiled)
    rows = {name: platform.table(loaded).column(name).to_pylist() for name in columns}
    assert rows["long"] == ["12345678901234567.250000000", "0.000000001"]
    assert rows["short"] == [1.5, None]
    assert rows["key"] == [12, -(10**17)]
    assert rows["large"] == ["1", "18446744073709551615"]
    assert rows["small"] == [1, 2**63 - 1]
    assert rows["duration"] == ["PT1H1S", "-PT0.000005S"]
    assert rows["uuid"] == [str(uuid.UUID(int=0)), None]
    assert rows["nested"] == ['{"b": "01", "q": "1.10"}', None]
    assert {finding.code: finding.message for finding in loaded.warnings} == {
        "NUMBERS_AS_TEXT": "Published as text, because a number would lose digits: "
        "'long', 'large'.",
        "DURATIONS_AS_TEXT": "Published as text, as ISO 8601 durations: 'duration'.",
        "TIME_DIGITS_CUT": "Times of 'at' are cut to microseconds.",
    }


def test_names_that_repeat_have_their_own_values(platform: Platform, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    arrays = [pa.array([1, 2]), pa.array([b"", b""]), pa.array(["x", "y"]), pa.array([3, 4])]
    _write(path, pa.table([*arrays, _points()], names=["a", "b.c", "a", "b", "geometry"]))
    table = platform.table(platform.load(platform.profile(path)))
    assert [table.column(name).to_pylist() for name in ("a", "b_c", "a_2", "b")] == [
        [1, 2],
        [b"", b""],
        ["x", "y"],
        [3, 4],
    ]


@pytest.mark.parametrize(
    "column",
    [
        None,
        {"encoding": None},
        {"encoding": ["WKB"]},
        {"encoding": "WKB", "covering": {"bbox": {"xmin": ["a", "x"]}}, "crs": 5},
    ],
)
def test_false_metadata_is_refused(platform: Platform, tmp_path: Path, column: Any) -> None:
    path = _written(tmp_path / "a.parquet", {"a": pa.array([1, 2])}, column)
    with pytest.raises((errors.SourceUnreadable, errors.UnsupportedFormat, errors.CrsMissing)):
        platform.profile(path)


@pytest.mark.parametrize(
    "false",
    [
        {"covering": 5},
        {"geometry_types": 5},
        {"geometry_types": ["Foo"]},
        {"bbox": 5},
        {"bbox": [0, 0, 0, 0]},
    ],
)
def test_false_metadata_that_the_rows_correct_is_ignored(
    platform: Platform, tmp_path: Path, false: dict[str, Any]
) -> None:
    column = {"encoding": "WKB", "geometry_types": ["Point"], **false}
    path = _written(tmp_path / "a.parquet", {"a": pa.array([1, 2])}, column)
    profiled = platform.profile(path)
    assert (profiled.geometry_types, profiled.extent) == (("Point",), None)
    assert platform.load(profiled).bounds.xyxy == (7, 50, 8, 51)


def test_curves_in_wkb_become_segments(platform: Platform, tmp_path: Path) -> None:
    arc = bytes.fromhex(
        "0108000000030000000000000000000000000000000000000000000000"
        "0000F03F000000000000F03F00000000000000400000000000000000"
    )
    path = tmp_path / "a.parquet"
    _write(path, pa.table({"a": [1], "geometry": pa.array([arc], pa.binary())}))
    loaded = platform.load(platform.profile(path))
    assert loaded.linearised
    (line,) = platform.frame(loaded).geometry
    assert line.length == pytest.approx(3.14098, abs=1e-4)


def _points() -> pa.Array:
    return pa.array(shapely.to_wkb(shapely.points([[7, 50], [8, 51]])), pa.binary())


def _written(path: Path, columns: dict[str, pa.Array], column: Any = "WKB") -> Path:
    column = {"encoding": "WKB", "geometry_types": []} if column == "WKB" else column
    _write(path, pa.table({**columns, "geometry": _points()}), column)
    return path


def _write(path: Path, table: pa.Table, column: Any = "WKB") -> None:
    column = {"encoding": "WKB", "geometry_types": []} if column == "WKB" else column
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), path)


def _multi(shape: shapely.Geometry) -> shapely.Geometry:
    makers = {"Point": shapely.multipoints, "LineString": shapely.multilinestrings}
    make = makers.get(shape.geom_type, shapely.multipolygons)
    return shape if shape.geom_type.startswith("Multi") else make([shape])


def test_decimals_become_the_nearest_doubles(platform: Platform, tmp_path: Path) -> None:
    numbers = ["99999.99999", "0.00001", "-12345678.123", "123456789.12345", "1E+3", "0.30000"]
    values = [Decimal(number) for number in numbers]
    wkb = [shapely.to_wkb(shapely.Point(at, 50)) for at in range(len(values))]
    columns = {"n": pa.array(values, pa.decimal128(15, 5)), "geometry": wkb}
    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["Point"]}},
    }
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns).replace_schema_metadata({"geo": json.dumps(geo)}), path)
    table = platform.table(platform.load(platform.profile(path)))
    assert sorted(table["n"].to_pylist()) == sorted(map(float, numbers))
