"""Vectors over a seam: where they are published, their boxes, and where a search finds them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import geopandas as gpd
import pyarrow.parquet as pq
import pytest
import shapely
from pyproj import Geod

from tests.support import outputs
from tests.support.cases import CASES, ingest
from tests.support.in_process import DAGSTER_S_WARNINGS
from tests.support.production import PRODUCTION_IS_SLOW, ProfileUnderTest

pytestmark = DAGSTER_S_WARNINGS

_GEOD = Geod(ellps="WGS84")


def _item(profile: ProfileUnderTest, home: Path, answer: Mapping[str, Any]) -> dict[str, Any]:
    item = profile.catalog(home).item("vectors", answer["item"])
    assert item is not None
    return dict(item)


def _search(profile: ProfileUnderTest, item: dict[str, Any], longitude: float) -> bool:
    """Return whether a search at this longitude finds the item, by its box and by its geometry."""
    point = shapely.Point(longitude, (item["bbox"][1] + item["bbox"][3]) / 2)
    geometry = shapely.from_geojson(json.dumps(item["geometry"]))
    assert isinstance(geometry, shapely.Geometry)
    west, _, east, _ = item["bbox"]
    in_box = west <= longitude <= east if west <= east else longitude >= west or longitude <= east
    assert in_box == geometry.intersects(point)
    if profile.logins is not None:
        body = {"ids": [item["id"]], "intersects": shapely.geometry.mapping(point)}
        with profile.logins.reader.connect() as connection:
            connection.execute("SET LOCAL search_path TO pgstac, public")
            row = connection.execute("SELECT search(%s::jsonb)", [json.dumps(body)]).fetchone()
        assert row is not None
        assert bool(row[0]["features"]) == in_box
    return in_box


def _square_metres(frame: gpd.GeoDataFrame) -> float:
    return sum(abs(_GEOD.geometry_area_perimeter(part)[0]) for part in frame.geometry.explode())


@PRODUCTION_IS_SLOW
def test_a_polygon_over_the_antimeridian_is_cut(tmp_path: Path, profile: ProfileUnderTest) -> None:
    answer = ingest(profile, tmp_path, "fiji.gpkg", "--target-crs", "EPSG:4326")
    assert answer["outcome"] == "published", answer
    frame = outputs.frame(profile, tmp_path, answer)
    assert frame.geometry.is_valid.all()
    longitudes = frame.geometry.explode().bounds
    assert (longitudes.maxx - longitudes.minx).max() < 1
    assert longitudes.minx.min() == -180
    assert longitudes.maxx.max() == 180
    source = gpd.read_file(CASES / "fiji.gpkg")
    # 0.99985 is the scale of the Fiji Map Grid on its central meridian.
    assert _square_metres(frame) == pytest.approx(source.area.sum() / 0.99985**2, rel=1e-3)
    item = _item(profile, tmp_path, answer)
    assert item["bbox"] == pytest.approx([178, -18, -179.8, -16.7], abs=1e-3)
    assert item["properties"]["geo_platform:rows_cut"] == 1
    assert "CUT_AT_SEAM" in {found["code"] for found in item["properties"]["geo_platform:warnings"]}
    assert [_search(profile, item, at) for at in (0, 179, -179.9, -170, 170)] == [
        False,
        True,
        True,
        False,
        False,
    ]
    if outputs.table_of(answer) is None:
        with outputs.output(profile, tmp_path, answer, ".parquet") as path:
            geo = json.loads(pq.read_schema(path).metadata[b"geo"])
        assert geo["columns"]["geometry"]["bbox"] == pytest.approx(item["bbox"], abs=1e-3)


@PRODUCTION_IS_SLOW
def test_boxes_of_data_on_both_sides_of_the_antimeridian(
    tmp_path: Path, profile: ProfileUnderTest
) -> None:
    drawn_past_180 = tmp_path / "past_180.geojson"
    boxes = [shapely.box(177, -18, 179, -17), shapely.box(179, -17, 182, -16)]
    gpd.GeoDataFrame({"n": [1, 2]}, geometry=boxes, crs=4326).to_file(
        drawn_past_180, driver="GeoJSON"
    )
    web = tmp_path / "web.gpkg"
    split = gpd.read_file(CASES / "fiji_split.geojson").to_crs(3857)
    split.to_file(web, driver="GPKG")
    cases: list[tuple[Path | str, list[float]]] = [
        ("fiji_split.geojson", [177.2, -18.3, -178.4, -16]),
        ("fiji.gpkg", [178, -18, -179.8, -16.7]),
        (drawn_past_180, [177, -18, -178, -16]),
        (web, [177.2, -18.3, -178.4, -16]),
    ]
    for source, bbox in cases:
        answer = ingest(profile, tmp_path / "home", source)
        assert answer["outcome"] == "published", answer
        item = _item(profile, tmp_path / "home", answer)
        assert item["bbox"] == pytest.approx(bbox, abs=2e-2), source
        assert [_search(profile, item, at) for at in (0, 179.5, -179.9, -170)] == [
            False,
            True,
            True,
            False,
        ]


@PRODUCTION_IS_SLOW
def test_a_polygon_round_a_pole(tmp_path: Path, profile: ProfileUnderTest) -> None:
    path = tmp_path / "shelf.gpkg"
    square = shapely.box(-1e6, -1e6, 1e6, 1e6)
    gpd.GeoDataFrame({"n": [1]}, geometry=[square], crs=3031).to_file(path)
    answer = ingest(profile, tmp_path / "home", path, "--target-crs", "EPSG:4326")
    frame = outputs.frame(profile, tmp_path / "home", answer)
    assert tuple(frame.total_bounds) == pytest.approx((-180, -90, 180, -77.04), abs=0.01)
    equal_area = frame.to_crs("ESRI:102020").geometry.buffer(0)
    dense = gpd.GeoSeries([square.segmentize(1e4)], crs=3031).to_crs("ESRI:102020")
    assert equal_area.area.sum() == pytest.approx(dense.area.sum(), rel=2e-3)
    item = _item(profile, tmp_path / "home", answer)
    assert item["bbox"] == pytest.approx([-180, -90, 180, -77.04], abs=0.01)
