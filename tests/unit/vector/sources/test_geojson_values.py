"""Ids of GeoJSON features, and integers that GDAL refuses or rounds."""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.unit.vector.harness import Platform

_LEFT_OUT: Any = object()
Rows = Sequence[tuple[object, dict[str, Any] | None]]


def write(path: Path, rows: Rows) -> Path:
    """Write features with these ids and properties: a collection, or lines if the name says so."""
    features = []
    for number, (identifier, properties) in enumerate(rows):
        geometry = {"type": "Point", "coordinates": [number, 50]}
        feature = {"type": "Feature", "properties": properties, "geometry": geometry}
        features.append(feature if identifier is _LEFT_OUT else {"id": identifier, **feature})
    if path.suffix == ".geojsonl":
        path.write_text("\n".join(map(json.dumps, features)))
    else:
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def columns(platform: Platform, path: Path) -> tuple[dict[str, list[Any]], list[str]]:
    """Return the published columns in the order of the source, and the codes of the warnings."""
    loaded = platform.load(platform.profile(path))
    frame = platform.frame(loaded)
    order = frame.geometry.bounds["minx"].argsort()
    table = platform.table(loaded).take(order.to_numpy())
    names = [name for name in table.schema.names if name not in ("geometry", "bbox")]
    return {name: table[name].to_pylist() for name in names}, [w.code for w in loaded.warnings]


@pytest.mark.parametrize("suffix", ["geojson", "geojsonl"])
@pytest.mark.parametrize(
    ("ids", "properties", "wanted"),
    [
        ([7, 5], [{"a": 1}, {"a": 2}], {"id": [7, 5], "a": [1, 2]}),
        ([5, 5], [{"a": 1}, {"a": 2}], {"id": [5, 5], "a": [1, 2]}),
        (["a", "b"], [{"a": 1}, {"a": 2}], {"id": ["a", "b"], "a": [1, 2]}),
        (["007", "8"], [{"a": 1}, {"a": 2}], {"id": ["007", "8"], "a": [1, 2]}),
        ([8, "a"], [{"a": 1}, {"a": 2}], {"id": ["8", "a"], "a": [1, 2]}),
        ([_LEFT_OUT, 3], [{"a": 1}, {"a": 2}], {"id": [None, 3], "a": [1, 2]}),
        ([-1, -5], [{"a": 1}, {"a": 2}], {"id": [-1, -5], "a": [1, 2]}),
        ([1.5, 2], [{"a": 1}, {"a": 2}], {"id": ["1.5", "2"], "a": [1, 2]}),
        ([2**53 + 1, 2**63 - 1], [{}, {}], {"id": [2**53 + 1, 2**63 - 1]}),
        ([2**63, 1], [{"a": 1}, {"a": 2}], {"id": [str(2**63), "1"], "a": [1, 2]}),
        (["a", "b"], [{"id": 1}, {"id": 2}], {"source_id": ["a", "b"], "id": [1, 2]}),
        ([7, 5], [{"id": "x"}, {"id": "y"}], {"source_id": [7, 5], "id": ["x", "y"]}),
        (["a", "b"], [{"n": {"id": 1}}, {}], {"id": ["a", "b"], "n": ['{ "id": 1 }', None]}),
    ],
)
def test_the_ids_of_features_are_a_column(
    platform: Platform,
    tmp_path: Path,
    suffix: str,
    ids: list[object],
    properties: list[dict[str, Any]],
    wanted: dict[str, list[Any]],
) -> None:
    path = write(tmp_path / f"p.{suffix}", list(zip(ids, properties, strict=True)))
    assert columns(platform, path) == (wanted, ["NUMBERS_AS_TEXT"] if 2**63 in ids else [])


@pytest.mark.parametrize("suffix", ["geojson", "geojsonl"])
@pytest.mark.parametrize(
    ("values", "wanted", "codes"),
    [
        ([2**53 + 1, 1], [2**53 + 1, 1], []),
        ([2**63, 1], [str(2**63), "1"], ["NUMBERS_AS_TEXT"]),
        ([2**64 - 1, None], [str(2**64 - 1), None], ["NUMBERS_AS_TEXT"]),
        ([10**29 + 1, 1], [str(10**29 + 1), "1"], ["NUMBERS_AS_TEXT"]),
        ([2**53 + 1, 1.5], [str(2**53 + 1), "1.5"], ["NUMBERS_AS_TEXT"]),
        ([2**53, 1.5], [2.0**53, 1.5], []),
    ],
)
def test_integers_keep_their_digits(
    platform: Platform,
    tmp_path: Path,
    suffix: str,
    values: list[object],
    wanted: list[object],
    codes: list[str],
) -> None:
    rows = [(_LEFT_OUT, {"n": value, "text": '"n": 9223372036854775808,'}) for value in values]
    texts = ['"n": 9223372036854775808,'] * len(values)
    path = write(tmp_path / f"p.{suffix}", rows)
    assert columns(platform, path) == ({"n": wanted, "text": texts}, codes)


@pytest.mark.parametrize(
    ("values", "kind", "wanted", "codes"),
    [
        (["2020/01/31", None], "date32[day]", ["2020-01-31", None], []),
        (["2020-02-30", "2020-01-01"], "string", ["2020-02-30", "2020-01-01"], ["VALUES_LOOSE"]),
        (
            ["2020-01-01T09:00:00.123456", "2020-01-01T09:00:00"],
            "timestamp[us]",
            ["2020-01-01 09:00:00.123456", "2020-01-01 09:00:00"],
            [],
        ),
        (
            ["2020-01-01T09:00:00.000001+02:00", "2020-01-01T09:00:00Z"],
            "timestamp[us, tz=UTC]",
            ["2020-01-01 07:00:00.000001+00:00", "2020-01-01 09:00:00+00:00"],
            [],
        ),
        (
            ["2020/01/01 09:00:00", "2020-01-01T10:00:00"],
            "timestamp[us]",
            ["2020-01-01 09:00:00", "2020-01-01 10:00:00"],
            [],
        ),
        (["10:00:00.123456", "23:59:59"], "time64[us]", ["10:00:00.123456", "23:59:59"], []),
    ],
)
def test_dates_and_times_are_as_they_are_written(
    platform: Platform,
    tmp_path: Path,
    values: list[str],
    kind: str,
    wanted: list[str],
    codes: list[str],
) -> None:
    path = write(tmp_path / "p.geojson", [(_LEFT_OUT, {"t": value}) for value in values])
    loaded = platform.load(platform.profile(path))
    table = platform.table(loaded)
    assert str(table.schema.field("t").type) == kind
    found = [None if value is None else str(value) for value in table["t"].to_pylist()]
    assert sorted(found, key=str) == sorted(wanted, key=str)
    assert [warning.code for warning in loaded.warnings] == codes


@pytest.mark.parametrize("suffix", ["geojson", "geojsonl"])
def test_days_that_do_not_exist_stay_text(platform: Platform, tmp_path: Path, suffix: str) -> None:
    values: dict[str, list[Any]] = {
        "day": ["2020-02-30", "2020-02-29", None],
        'time "of" day': ["2020-01-01T10:00:00Z", "2020-02-31T10:00:00.123456Z", None],
        "good": ["2020-02-29", None, "2020-03-01"],
        "note": ["2020-02-30", "x", "y"],
        "more": [{"day": "2020-02-28", "n": 1}, {"day": None}, None],
        "n": [1, 2, 3],
    }
    rows = [(7 + n, {name: each[n] for name, each in values.items()}) for n in range(3)]
    published, codes = columns(platform, write(tmp_path / f"a.{suffix}", rows))
    assert published["day"] == values["day"]
    assert published["time_of_day"] == values['time "of" day']
    assert published["good"] == [date(2020, 2, 29), None, date(2020, 3, 1)]
    assert published["note"] == values["note"]
    assert [each and json.loads(each) for each in published["more"]] == values["more"]
    assert (published["id"], published["n"]) == ([7, 8, 9], [1, 2, 3])
    assert set(codes) == {"VALUES_LOOSE"}
