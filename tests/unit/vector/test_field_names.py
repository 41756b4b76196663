"""Names and types of fields."""

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

import geopandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geo_platform import errors
from geo_platform.vector.field_names import (
    MAX_NAME_LENGTH,
    RESERVED_WORDS,
    clean_name,
    dataset_name,
    publish_names,
)
from tests.unit.vector.harness import Platform


@pytest.mark.parametrize(
    ("source", "published"),
    [
        ("POP_EST", "pop_est"),
        ("popEst", "pop_est"),
        ("Größe (m²)", "grosse_m2"),
        ("Çà et là", "ca_et_la"),
        ("2020", "f_2020"),
        ("order", "order_"),
        ("x'; DROP TABLE y; --", "x_drop_table_y"),
        ("名前", ""),
        ("  ", ""),
        ("a" * 80, "a" * 63),
    ],
)
def test_names_by_rule(source: str, published: str) -> None:
    assert clean_name(source) == published


@given(st.lists(st.text(max_size=80), max_size=30))
def test_published_names_are_valid_and_different(sources: list[str]) -> None:
    names = [name.published for name in publish_names(sources, {})]
    assert len(set(names)) == len(sources)
    for name in names:
        assert name.isascii()
        assert name.replace("_", "a").isalnum()
        assert name[0].isalpha()
        assert len(name) <= MAX_NAME_LENGTH
        assert name not in RESERVED_WORDS | {"geometry", "bbox"}


@given(st.lists(st.text(max_size=20), min_size=1, max_size=10, unique=True))
def test_valid_names_are_unchanged(sources: list[str]) -> None:
    once = [name.published for name in publish_names(sources, {})]
    assert [name.published for name in publish_names(once, {})] == once


def test_the_users_mapping_wins_and_must_be_valid() -> None:
    names = publish_names(["A", "b", "a"], {"b": "a"})
    assert [name.published for name in names] == ["a_2", "a", "a_3"]
    for wrong in ("Select", "select", "1x", "geometry", "a b", ""):
        with pytest.raises(errors.ParameterInvalid):
            publish_names(["b"], {"b": wrong})
    with pytest.raises(errors.ParameterInvalid, match="same"):
        publish_names(["a", "b"], {"a": "x", "b": "x"})


def test_dataset_names() -> None:
    assert dataset_name(None, "2024 Straßen") == "f_2024_strassen"
    assert dataset_name(None, "???") == "features"
    assert dataset_name("Roads_1", "x") == "roads_1"
    for wrong in ("1roads", "a-b", "user", "a" * 64, "", "../x"):
        with pytest.raises(errors.TableNameInvalid):
            dataset_name(wrong, "x")


def test_every_type_is_published_as_listed(platform: Platform, tmp_path: Path) -> None:
    path = tmp_path / "types.parquet"
    columns = {
        "b": pa.array([True, None]),
        "i8": pa.array([1, None], pa.int8()),
        "u16": pa.array([65535, None], pa.uint16()),
        "u32": pa.array([2**32 - 1, None], pa.uint32()),
        "f": pa.array([0.5, None], pa.float32()),
        "dec": pa.array([Decimal("1.25"), None]),
        "d": pa.array([date(2024, 2, 29), None]),
        "t": pa.array([time(1, 2, 3), None]),
        "local": pa.array([datetime(2024, 1, 1, 12), None], pa.timestamp("ns")),  # noqa: DTZ001
        "instant": pa.array(
            [datetime(2024, 1, 1, 12, tzinfo=UTC), None], pa.timestamp("ms", tz="Europe/Brussels")
        ),
        "bytes": pa.array([b"\x00\xff", None]),
        "list": pa.array([[1, 2], None]),
        "struct": pa.array([{"a": "é", "b": float("nan")}, None]),
        "dict": pa.array(["x", None]).dictionary_encode(),
    }
    shapes = geopandas.GeoDataFrame(geometry=[shapely.Point(1, 2), shapely.Point(3, 4)], crs=4326)
    shapes.to_parquet(path)
    plain = pq.read_table(path)
    pq.write_table(
        pa.table({**columns, "geometry": plain["geometry"]}, metadata=plain.schema.metadata), path
    )
    loaded = platform.load(platform.profile(path))
    listed = {field.source: field.type.value for field in loaded.fields}
    assert listed == {
        "b": "boolean",
        "i8": "int16",
        "u16": "int32",
        "u32": "int64",
        "f": "float32",
        "dec": "float64",
        "d": "date",
        "t": "time",
        "local": "timestamp",
        "instant": "timestamp",
        "bytes": "binary",
        "list": "json",
        "struct": "json",
        "dict": "string",
    }
    row = next(row for row in platform.table(loaded).to_pylist() if row["b"])
    assert (row["u16"], row["u32"], row["dec"], row["d"], row["t"]) == (
        65535,
        2**32 - 1,
        1.25,
        date(2024, 2, 29),
        time(1, 2, 3),
    )
    assert row["instant"] == datetime(2024, 1, 1, 12, tzinfo=UTC)
    assert row["local"] == datetime(2024, 1, 1, 12)  # noqa: DTZ001
    assert (json.loads(row["list"]), json.loads(row["struct"])) == ([1, 2], {"a": "é", "b": None})
    assert (row["bytes"], row["dict"]) == (b"\x00\xff", "x")


def test_numbers_too_large_for_int64_are_text(platform: Platform, tmp_path: Path) -> None:
    path = tmp_path / "u64.parquet"
    geopandas.GeoDataFrame(
        {"u": pa.array([1, 2**63], pa.uint64()).to_pandas()},
        geometry=[shapely.Point(1, 2)] * 2,
        crs=4326,
    ).to_parquet(path)
    loaded = platform.load(platform.profile(path))
    assert (loaded.inserted, loaded.rejected) == (2, 0)
    assert platform.table(loaded).column("u").to_pylist() == ["1", "9223372036854775808"]
