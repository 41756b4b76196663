"""Features of published items over HTTP, on both profiles, compared with the source's own rows.

GDAL's drivers read the same rows back.
"""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import threading
import time as time_module
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from pyproj import Transformer

from geo_platform.serving.published import REMEMBERED_S
from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here
from tests.support.production import ProfileUnderTest
from tests.support.reading import ReadingApi, reading_api
from tests.support.skipping import cannot_run

pytestmark = DAGSTER_S_WARNINGS

ROWS = 60
BEYOND = 2**53 + 1
STATIONS = "/features/collections/vectors:stations"
PARCELS = "/features/collections/vectors:parcels"
EPSG = "http://www.opengis.net/def/crs/EPSG/0/"


def _every(values: list[Any]) -> list[Any]:
    """Repeat the values to the number of rows; every fifth is NULL."""
    return [None if row % 5 == 4 else values[row % len(values)] for row in range(ROWS)]


def _columns() -> dict[str, pa.Array]:
    start = datetime(2020, 2, 28, 23, 59, 59, 123456, UTC).replace(tzinfo=None)
    days = [timedelta(days=100 * row) for row in range(ROWS)]
    return {
        "n": pa.array(range(ROWS), pa.int32()),
        "large": pa.array([BEYOND + 2 * row for row in range(ROWS)], pa.int64()),
        "small": pa.array(_every([0.1, -2.5, 1e-30]), pa.float32()),
        "exact": pa.array(_every([0.1 + 0.2, 1e300, float("nan"), -0.0]), pa.float64()),
        "name": pa.array(_every(["Zürich", 'say "hi", ok', "a\nb", "50%_\\", ""]), pa.string()),
        "is_open": pa.array(_every([True, False]), pa.bool_()),
        "day": pa.array([(start + delta).date() for delta in days], pa.date32()),
        "clock": pa.array(_every([time(0, 0, 1), time(23, 59, 59, 999999)]), pa.time64("us")),
        "local": pa.array(_every([start + delta for delta in days]), pa.timestamp("us")),
        "seen": pa.array(
            [(start + delta).replace(tzinfo=UTC) for delta in days], pa.timestamp("us", tz="UTC")
        ),
        "blob": pa.array(_every([b"\x00\xff", b""]), pa.binary()),
        "tags": pa.array(_every([{"a": BEYOND, "b": [1.5]}]), pa.struct(
            [("a", pa.int64()), ("b", pa.list_(pa.float64()))])),
    }  # fmt: skip


def _points() -> list[shapely.Point]:
    return [shapely.Point(7.0 + row / 10, 46.0 + row / 30 + 1e-13) for row in range(ROWS)]


def _write_stations(path: Path) -> Path:
    frame = gpd.GeoDataFrame(geometry=_points(), crs="OGC:CRS84")
    frame.to_parquet(path)
    written = pq.read_table(path)
    columns = {**_columns(), "geometry": written["geometry"]}
    pq.write_table(pa.table(columns).replace_schema_metadata(written.schema.metadata), path)
    return path


def _squares() -> gpd.GeoDataFrame:
    """Parcels of 100 m in UTM zone 32, a grid of 8 by 5."""
    boxes = [
        shapely.box(500_000 + 150 * x, 5_400_000 + 150 * y, 500_100 + 150 * x, 5_400_100 + 150 * y)
        for y in range(5)
        for x in range(8)
    ]
    return gpd.GeoDataFrame({"number": range(40)}, geometry=boxes, crs=25832)


def _write_drawn(path: Path) -> Path:
    shapes = [shapely.Point(4, 50), shapely.LineString([(4, 50), (5, 51)]), shapely.Point(6, 52)]
    features = [
        {
            "type": "Feature",
            "properties": {"n": number},
            "geometry": json.loads(shapely.to_geojson(shape)),
        }
        for number, shape in enumerate(shapes)
    ]  # fmt: skip
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


@pytest.fixture(scope="module")
def running(
    module_profile: ProfileUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ReadingApi]:
    folder = tmp_path_factory.mktemp("features")
    sources = [
        _write_stations(folder / "stations.parquet"),
        folder / "parcels.gpkg",
        _write_drawn(folder / "drawn.geojson"),
    ]
    pyogrio.write_dataframe(_squares(), sources[1])
    home = folder / "home"
    done = geo_platform_here(
        "ingest", "--json", *sources, home=home, extra=module_profile.environment
    )
    assert [line["outcome"] for line in done.lines] == ["published"] * 3, done.lines
    # A busy machine may need long for what takes milliseconds otherwise.
    with reading_api(home, module_profile, features_seconds=60) as api:
        yield api


def _json(running: ReadingApi, path: str, **parameters: Any) -> Any:
    """Get a path, or an absolute address, and return the JSON of the response."""
    response = running.ask(path.removeprefix(running.address), params=parameters or None)
    assert response.status_code == 200, response.text
    return response.json()


def _all_pages(running: ReadingApi, path: str, **parameters: Any) -> list[dict[str, Any]]:
    features: list[dict[str, Any]] = []
    page = _json(running, path, **parameters)
    while True:
        features += page["features"]
        assert page["numberReturned"] == len(page["features"])
        following = [link["href"] for link in page["links"] if link["rel"] == "next"]
        if not following:
            return features
        page = _json(running, following[0])


def _names(running: ReadingApi, path: str = STATIONS, **parameters: Any) -> list[int]:
    """Return the values of the first column of all rows that are selected, sorted."""
    column = "n" if path == STATIONS else "number"
    found = _all_pages(running, f"{path}/items", limit=1000, **parameters)
    return sorted(feature["properties"][column] for feature in found)


def test_the_collections_are_listed_and_described(running: ReadingApi) -> None:
    listed = _json(running, "/features/collections")["collections"]
    assert sorted(each["id"] for each in listed) == [
        "vectors:drawn:lines",
        "vectors:drawn:points",
        "vectors:parcels",
        "vectors:stations",
    ]
    parcels = _json(running, PARCELS)
    assert parcels["storageCrs"] == f"{EPSG}25832"
    assert parcels["crs"][0] == "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
    bounds = _squares().to_crs(4326).total_bounds.tolist()
    assert parcels["extent"]["spatial"]["bbox"][0] == pytest.approx(bounds, abs=1e-6)
    page, found = _json(running, "/features/collections", limit=1), []
    while True:
        found += [each["id"] for each in page["collections"]]
        following = [link["href"] for link in page["links"] if link["rel"] == "next"]
        if not following:
            break
        page = _json(running, following[0])
    assert sorted(found) == sorted(each["id"] for each in listed)
    types = _json(running, f"{STATIONS}/queryables")["properties"]
    assert types["large"] == {"type": "integer", "format": "int64"}
    assert types["seen"] == {"type": "string", "format": "date-time"}
    assert "blob" not in types
    assert types["fid"]["x-ogc-role"] == "id"


def test_a_mixed_source_has_a_collection_for_each_family(running: ReadingApi) -> None:
    points = _json(running, "/features/collections/vectors:drawn:points/items")
    lines = _json(running, "/features/collections/vectors:drawn:lines/items")
    assert sorted(each["properties"]["n"] for each in points["features"]) == [0, 2]
    assert [each["properties"]["n"] for each in lines["features"]] == [1]
    assert (points["numberMatched"], lines["numberMatched"]) == (2, 1)
    assert running.ask("/features/collections/vectors:drawn/items").status_code == 404


def test_geojson_has_every_value_of_every_row(running: ReadingApi) -> None:
    response = running.ask(f"{STATIONS}/items", params={"limit": 100})
    assert response.headers["content-type"] == "application/geo+json"
    document = json.loads(response.content)
    assert (document["numberMatched"], document["numberReturned"]) == (ROWS, ROWS)
    rows = {each["properties"]["n"]: each for each in document["features"]}
    expected = {name: array.to_pylist() for name, array in _columns().items()}
    for n, point in enumerate(_points()):
        got = rows[n]["properties"]
        assert rows[n]["geometry"] == {"type": "MultiPoint", "coordinates": [[point.x, point.y]]}
        assert got["large"] == expected["large"][n] == BEYOND + 2 * n
        assert got["small"] is None or np.float32(got["small"]) == np.float32(expected["small"][n])
        wanted = expected["exact"][n]
        assert got["exact"] == (None if wanted is None or wanted != wanted else wanted)
        assert got["name"] == expected["name"][n]
        assert got["is_open"] is expected["is_open"][n]
        assert date.fromisoformat(got["day"]) == expected["day"][n]
        assert (got["clock"] and time.fromisoformat(got["clock"])) == expected["clock"][n]
        assert (got["local"] and datetime.fromisoformat(got["local"])) == expected["local"][n]
        assert datetime.fromisoformat(got["seen"]) == expected["seen"][n]
        assert got["seen"].endswith("Z")
        assert got["blob"] == {None: None, b"\x00\xff": "AP8=", b"": ""}[expected["blob"][n]]
        assert got["tags"] == expected["tags"][n]
    assert {each["id"] for each in document["features"]} == set(range(1, ROWS + 1))


def test_csv_and_geoparquet_have_the_same_rows(running: ReadingApi) -> None:
    text = running.ask(f"{STATIONS}/items", params={"limit": 100, "f": "csv"})
    assert text.headers["content-type"].startswith("text/csv")
    rows = {int(row["n"]): row for row in csv.DictReader(io.StringIO(text.text, newline=""))}
    assert rows[0]["name"] == "Zürich"
    assert rows[2]["name"] == "a\nb"
    assert rows[2]["exact"] == "nan"
    assert rows[5]["large"] == str(BEYOND + 10)
    assert json.loads(rows[0]["tags"]) == {"a": BEYOND, "b": [1.5]}
    assert shapely.from_wkt(rows[7]["geometry"]) == shapely.MultiPoint([_points()[7]])
    content = running.ask(
        f"{STATIONS}/items",
        params={"limit": 100},
        headers={"Accept": "application/vnd.apache.parquet"},
    ).content
    table = pq.read_table(io.BytesIO(content)).sort_by("n")
    for name, array in _columns().items():
        if name not in ("n", "tags", "exact"):
            assert table[name].combine_chunks().equals(array), name
    frame = gpd.read_parquet(io.BytesIO(content)).sort_values("n")
    assert frame.crs.to_authority() == ("OGC", "CRS84")
    assert [shape.geoms[0] for shape in frame.geometry] == _points()


def test_pages_have_each_row_once_in_one_order(running: ReadingApi) -> None:
    features = _all_pages(running, f"{STATIONS}/items", limit=7)
    assert [each["id"] for each in features] == list(range(1, ROWS + 1))
    assert sorted(each["properties"]["n"] for each in features) == list(range(ROWS))
    one = _json(running, f"{STATIONS}/items/33")
    assert (one["id"], one["properties"]) == (33, features[32]["properties"])
    for none in ("0", "61", "x", "-1", "9" * 19, "1.5"):
        assert running.ask(f"{STATIONS}/items/{none}").status_code == 404


def test_a_bbox_selects_what_it_touches(running: ReadingApi) -> None:
    assert _names(running, bbox="7.05,46,7.25,46.1") == [1, 2]
    assert _names(running, bbox="7.1,46,0,7.2,47,9000") == [1, 2]
    assert _names(running, bbox="-180,-90,180,90") == list(range(ROWS))
    assert _names(running, bbox="0,0,1,1") == []
    assert _names(running, **{"bbox": "46,7.05,46.1,7.25", "bbox-crs": f"{EPSG}4326"}) == [1, 2]
    # Across the antimeridian: all but what lies between.
    assert _names(running, bbox="12.75,-90,7.05,90") == [0, 58, 59]


def test_a_bbox_in_degrees_selects_projected_rows(running: ReadingApi) -> None:
    to_lonlat = Transformer.from_crs(25832, 4326, always_xy=True).transform
    west, south = to_lonlat(500_000 + 160, 5_400_000 + 160)
    east, north = to_lonlat(500_000 + 290, 5_400_000 + 290)
    assert _names(running, PARCELS, bbox=f"{west},{south},{east},{north}") == [9]
    assert _names(running, PARCELS, bbox="-180,-90,180,90") == list(range(40))
    stored = {"bbox": "500160,5400160,500310,5400290", "bbox-crs": f"{EPSG}25832"}
    assert _names(running, PARCELS, **stored) == [9, 10]
    mercator = Transformer.from_crs(25832, 3857, always_xy=True).transform
    low, high = mercator(500_160, 5_400_160), mercator(500_290, 5_400_290)
    box = ",".join(map(str, (*low, *high)))
    assert _names(running, PARCELS, **{"bbox": box, "bbox-crs": f"{EPSG}3857"}) == [9]


def test_a_response_has_the_crs_and_the_axes_that_are_asked_for(running: ReadingApi) -> None:
    squares = _squares()

    def corner(**parameters: Any) -> tuple[Any, list[float]]:
        response = running.ask(f"{PARCELS}/items", params={"filter": "number = 9", **parameters})
        (feature,) = response.json()["features"]
        shape = shapely.geometry.shape(feature["geometry"])
        return response.headers["content-crs"], list(shape.bounds)

    in_degrees = squares.to_crs(4326).geometry[9].bounds
    uri, bounds = corner()
    assert uri == "<http://www.opengis.net/def/crs/OGC/1.3/CRS84>"
    assert bounds == pytest.approx(in_degrees, abs=1e-9)
    west, south, east, north = in_degrees
    uri, bounds = corner(crs=f"{EPSG}4326")
    assert uri == f"<{EPSG}4326>"
    assert bounds == pytest.approx((south, west, north, east), abs=1e-9)
    assert corner(crs=f"{EPSG}25832")[1] == list(squares.geometry[9].bounds)
    mercator = squares.to_crs(3857).geometry[9].bounds
    assert corner(crs=f"{EPSG}3857")[1] == pytest.approx(mercator, abs=1e-3)
    assert running.ask(f"{PARCELS}/items", params={"crs": f"{EPSG}2056"}).status_code == 400


def test_datetime_selects_by_the_first_column_of_times(running: ReadingApi) -> None:
    # The column `day`: 2020-02-28, and each hundred days later.
    assert _names(running, datetime="2020-02-28") == [0]
    assert _names(running, datetime="2020-02-28T12:00:00Z") == [0]
    assert _names(running, datetime="2020-02-29") == []
    assert _names(running, datetime="2020-02-28/2020-06-07") == [0, 1]
    assert _names(running, datetime="../2020-06-07") == [0, 1]
    assert _names(running, datetime="2036-01-01/..") == [58, 59]
    for wrong in ("yesterday", "2020-02-30", "/", "../..", "2021-01-01/2020-01-01", ""):
        assert running.ask(f"{STATIONS}/items", params={"datetime": wrong}).status_code == 400
    refused = running.ask(f"{PARCELS}/items", params={"datetime": "2020-01-01"})
    assert (refused.status_code, "no column of dates" in refused.text) == (400, True)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("n = 3", [3]),
        ("n IN (1, 3, 99)", [1, 3]),
        ("n BETWEEN 57 AND 100", [57, 58, 59]),
        ("NOT (n > 1)", [0, 1]),
        ("n < 2 OR n = 59 AND large > 0", [0, 1, 59]),
        # Two neighbours that a 64-bit float cannot tell apart.
        (f"large = {BEYOND + 2}", [1]),
        (f"large = {BEYOND + 1}", []),
        (f"large + 0 = {BEYOND + 2}", [1]),
        (f"-large = -{BEYOND + 2}", [1]),
        ("n / 2 = 1.5", [3]),
        ("n DIV 2 = 1", [2, 3]),
        ("n % 30 = 1", [1, 31]),
        ("n ^ 2 = 9", [3]),
        ("n / (n - n) > 0", []),
        ("name = 'Zürich' AND n < 10", [0, 5]),
        ("CASEI(name) = CASEI('ZÜRICH') AND n < 10", [0, 5]),
        ("ACCENTI(CASEI(name)) = 'zurich' AND n < 10", [0, 5]),
        ("name LIKE 'say%' AND n < 10", [1, 6]),
        ("name LIKE '50\\%\\_%' AND n < 10", [3, 8]),
        ("name = 'it''s'", []),
        ("name IS NULL AND n < 10", [4, 9]),
        ("tags IS NOT NULL AND n < 3", [0, 1, 2]),
        ("is_open AND n < 5", [0, 2]),
        ("is_open = false AND n < 5", [1, 3]),
        ("day = DATE('2020-02-28')", [0]),
        ("day > '2036-01-01'", [58, 59]),
        ("seen < TIMESTAMP('2020-02-29T00:59:59.123457+01:00')", [0]),
        ("seen = '2020-02-28T23:59:59.123456Z'", [0]),
        ("T_BEFORE(seen, DATE('2020-06-07'))", [0]),
        ("T_DURING(day, INTERVAL('2020-02-01', '2020-06-08'))", [0, 1]),
        ("T_EQUALS(day, DATE('2020-06-07'))", [1]),
        ("T_INTERSECTS(local, INTERVAL('2020-06-07', '2020-06-07'))", [1]),
        ("T_AFTER(seen, INTERVAL('..', '2036-01-01'))", [58, 59]),
        ("clock = '23:59:59.999999' AND n < 6", [1, 3, 5]),
        ("S_INTERSECTS(geometry, BBOX(7.05, 46, 7.25, 46.1))", [1, 2]),
        ("S_INTERSECTS(geometry, POLYGON((7.05 46, 7.25 46, 7.25 46.1, 7.05 46)))", [2]),
        ("S_DISJOINT(geometry, BBOX(7.05, 40, 20, 60))", [0]),
        ("S_WITHIN(geometry, BBOX(7.05, 46, 7.25, 46.1)) AND n <> 2", [1]),
        ("NOT S_INTERSECTS(geometry, BBOX(7.05, 40, 20, 60))", [0]),
        ("fid > 0 AND n = 3", [3]),
    ],
)  # fmt: skip
def test_a_filter_selects_rows(running: ReadingApi, text: str, rows: list[int]) -> None:
    assert _names(running, filter=text) == rows


def test_a_filter_in_json_and_by_property(running: ReadingApi) -> None:
    node = {"op": "=", "args": [{"property": "large"}, BEYOND + 2]}
    asked = {"filter": json.dumps(node), "filter-lang": "cql2-json"}
    assert _names(running, **asked) == [1]
    assert _names(running, large=str(BEYOND + 4)) == [2]
    assert _names(running, name='say "hi", ok', n="6") == [6]
    assert _names(running, seen="2020-02-28T23:59:59.123456Z") == [0]
    swapped = {
        "filter": "S_INTERSECTS(geometry, BBOX(46, 7.05, 46.1, 7.25))",
        "filter-crs": f"{EPSG}4326",
    }
    assert _names(running, **swapped) == [1, 2]
    only = _json(running, f"{STATIONS}/items", properties="name,n", limit=1)["features"][0]
    assert list(only["properties"]) == ["n", "name"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"limit": "0"},
        {"limit": "-1"},
        {"limit": "many"},
        {"bbox": "1,2,3"},
        {"bbox": "1,2,3,x"},
        {"bbox": "1,nan,3,4"},
        {"bbox": "0,5,1,4"},
        {"f": "html"},
        {"v": "none"},
        {"after": "x"},
        {"properties": "nothing"},
        {"nothing": "1"},
        {"n": "one"},
        {"filter-lang": "sql", "filter": "n = 1"},
        {"filter": "nothing = 1"},
        {"filter": "n = "},
        {"filter": "n = 'one'"},
        {"filter": "name > 3"},
        {"filter": "blob = 'x'"},
        {"filter": "n = 1; DROP TABLE geo.stations"},
        {"filter": "\"n\"\"; --\" = 1"},
        {"filter": "pg_sleep(100) = 1"},
        {"filter": "n LIKE 'a'"},
        {"filter": "name LIKE 'x\\'"},
        {"filter": "seen > 'soon'"},
        {"filter": "local > seen"},
        {"filter": "n"},
        {"filter": "("},
        {"filter": "(" * 5000 + "n=1" + ")" * 5000},
        {"filter": "not " * 4000 + "n=1"},
        {"filter": "n = " + "-" * 5000 + "1"},
        {"filter": "n = " + "9" * 400},
        {"filter": "A_CONTAINS(tags, (1, 2))"},
        {"filter": "S_INTERSECTS(geometry, POLYGON((0 0, 1 1, 1 0, 0 1, 0 0)))"},
        {"filter": "S_INTERSECTS(name, POINT(1 2))"},
        {"filter": "{\"op\":\"=\"}", "filter-lang": "cql2-json"},
        {"filter": "[" * 5000, "filter-lang": "cql2-json"},
        {"filter": "{\"op\":\"=\",\"args\":[{\"property\":[]},NaN]}", "filter-lang": "cql2-json"},
    ],
    ids=lambda given: " ".join(f"{name}={value[:40]}" for name, value in given.items()),
)  # fmt: skip
def test_a_bad_parameter_is_refused_with_a_remedy(
    running: ReadingApi, parameters: dict[str, str]
) -> None:
    response = running.ask(f"{STATIONS}/items", params=parameters)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (400, "PARAMETER_INVALID"), problem
    assert problem["remedy"]


def test_an_unchanged_answer_is_not_sent_again(running: ReadingApi) -> None:
    first = running.ask(f"{STATIONS}/items", params={"limit": 3})
    assert first.headers["cache-control"] == "private, no-cache"
    again = {"If-None-Match": first.headers["etag"]}
    assert running.ask(f"{STATIONS}/items", params={"limit": 3}, headers=again).status_code == 304
    assert running.ask(f"{STATIONS}/items", params={"limit": 4}, headers=again).status_code == 200
    (following,) = [link["href"] for link in first.json()["links"] if link["rel"] == "next"]
    second = running.ask(following.removeprefix(running.address))
    assert second.headers["cache-control"] == "private, max-age=31536000, immutable"
    other = running.ask(f"{STATIONS}/items", params={"v": "0" * 16})
    assert (other.status_code, other.json()["code"]) == (410, "VERSION_GONE")


def test_a_request_that_takes_too_long_is_ended(
    running: ReadingApi, module_profile: ProfileUnderTest
) -> None:
    with reading_api(running.settings.home_dir, module_profile, features_seconds=0.001) as api:
        for path in ("items", "items?filter=n>3", "tiles/WebMercatorQuad/0/0/0"):
            response = api.ask(f"{STATIONS}/{path}")
            assert (response.status_code, response.json()["code"]) == (422, "TIME_EXCEEDED")


def test_a_reader_sees_only_what_is_allowed(running: ReadingApi) -> None:
    key = running.new_key("few", datasets=("drawn*",))
    listed = running.ask("/features/collections", key=key).json()["collections"]
    assert {each["id"] for each in listed} == {"vectors:drawn:lines", "vectors:drawn:points"}
    for path in ("", "/items", "/items/1", "/queryables", "/items?v=" + "0" * 16):
        refused = running.ask(f"{STATIONS}{path}", key=key)
        none = running.ask(f"{STATIONS}{path}".replace("stations", "nowhere"), key=key)
        assert (refused.status_code, none.status_code) == (404, 404)
        assert refused.json()["detail"] == none.json()["detail"].replace("nowhere", "stations")


def _ogr(running: ReadingApi, *arguments: str | Path) -> None:
    if shutil.which("ogr2ogr") is None:
        cannot_run("no ogr2ogr is installed; on Debian: apt-get install gdal-bin")
    done = subprocess.run(
        ["ogr2ogr", *map(str, arguments)],
        env={**os.environ, "GDAL_HTTP_HEADERS": f"X-Api-Key: {running.key}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr, done.stderr


def test_ogr_reads_exactly_the_rows(running: ReadingApi, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gpkg"
    for page in ("7", "1000"):
        _ogr(
            running, "-f", "GPKG", copy, f"OAPIF:{running.address}{STATIONS}", "-oo",
            f"PAGE_SIZE={page}", "-overwrite",
        )  # fmt: skip
        rows = gpd.read_file(copy).sort_values("n")
        assert rows["n"].tolist() == list(range(ROWS))
        assert rows["large"].tolist() == [BEYOND + 2 * row for row in range(ROWS)]
        assert rows["name"].fillna("NULL").tolist() == [
            "NULL" if name is None else name for name in _columns()["name"].to_pylist()
        ]
        assert [shape.geoms[0] for shape in rows.geometry] == _points()
    window = tmp_path / "window.gpkg"
    _ogr(running, "-f", "GPKG", window, f"OAPIF:{running.address}{PARCELS}", "-spat",
         "9.0022", "48.7555", "9.0035", "48.7562")  # fmt: skip
    expected = _squares().to_crs(4326)
    hit = expected[expected.intersects(shapely.box(9.0022, 48.7555, 9.0035, 48.7562))]
    assert sorted(gpd.read_file(window)["number"]) == sorted(hit["number"])


def _write_state(path: Path, state: int) -> Path:
    """Write 200 rows and some more; each names the state of the file and their number."""
    count = 200 + state
    rows = [f"{row},{state},{count},{47 + row / 1000},8" for row in range(count)]
    path.write_text("n,state,count,lat,lon\n" + "\n".join(rows) + "\n")
    return path


def test_no_response_mixes_versions_while_the_item_is_replaced(
    running: ReadingApi, module_profile: ProfileUnderTest, tmp_path: Path
) -> None:
    path, states = tmp_path / "states.csv", "/features/collections/vectors:states"

    def ingest(state: int) -> None:
        done = geo_platform_here(
            "ingest", "--json", _write_state(path, state), "--load-mode", "replace",
            home=running.settings.home_dir, extra=module_profile.environment,
        )  # fmt: skip
        assert [line["outcome"] for line in done.lines] == ["published"], done.lines

    ingest(0)
    first = _json(running, f"{states}/items", limit=150)
    (following,) = [link["href"] for link in first["links"] if link["rel"] == "next"]
    is_over = threading.Event()
    seen: set[int] = set()

    def read() -> None:
        while not is_over.wait(0.05):
            for path in ("items?limit=1000", "items?limit=1000&bbox=7,46,9,48", "tiles"):
                if path == "tiles":
                    path = "tiles/WebMercatorQuad/0/0/0"
                response = running.ask(f"{states}/{path}")
                assert response.status_code == 200, response.text
                if path.startswith("items"):
                    rows = [each["properties"] for each in response.json()["features"]]
                    (state,) = {row["state"] for row in rows}
                    assert len(rows) == rows[0]["count"] == 200 + state
                    assert response.json()["numberMatched"] == len(rows)
                    seen.add(state)
                else:
                    (matched,) = re.findall(r"rows=(\d+)", response.headers["tile-account"])
                    assert int(matched) in (200, 201, 202)

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for state in (1, 2):
                ingest(state)
        finally:
            is_over.set()
        for reader in readers:
            reader.result()
    assert {0, 2} <= seen | {
        _json(running, f"{states}/items")["features"][0]["properties"]["state"]
    }
    time_module.sleep(REMEMBERED_S)
    gone = running.ask(following.removeprefix(running.address))
    assert (gone.status_code, gone.json()["code"]) == (410, "VERSION_GONE")
