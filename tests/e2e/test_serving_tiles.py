"""Vector tiles of published items, on both profiles, read back by GDAL's MVT driver."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely

from geo_platform.serving.features.tiles import TileAddress
from tests.support.gdal_commands import gdal
from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here
from tests.support.production import ProfileUnderTest
from tests.support.reading import ReadingApi, reading_api

pytestmark = DAGSTER_S_WARNINGS

MANY = 20_000
MANY_TILES = "/features/collections/vectors:many/tiles/WebMercatorQuad"
DRAWN_TILES = "/features/collections/vectors:drawn/tiles/WebMercatorQuad"
LAND = "/features/collections/vectors:land/tiles/WebMercatorQuad"


def _many() -> gpd.GeoDataFrame:
    """Boxes around Zürich in EPSG:2056 with a text of their own each; later rows are larger."""
    random = np.random.default_rng(1)
    corners = random.uniform((2_600_000, 1_200_000), (2_750_000, 1_270_000), (MANY, 2))
    sides = 10 + np.arange(MANY) / 10
    boxes = shapely.box(corners[:, 0], corners[:, 1], corners[:, 0] + sides, corners[:, 1] + sides)
    texts = [f"{number:06} {random.bytes(12).hex()}" for number in range(MANY)]
    return gpd.GeoDataFrame({"n": range(MANY), "text": texts}, geometry=boxes, crs=2056)


def _land() -> gpd.GeoDataFrame:
    """Large polygons: one at the south pole, one with a hole, one of many points."""
    angles = np.linspace(0, 2 * math.pi, 50_000, endpoint=False)
    radius = 20 + 0.2 * np.sin(500 * angles)
    star = shapely.Polygon(np.column_stack([radius * np.cos(angles), radius * np.sin(angles)]))
    hole = shapely.box(40, 40, 60, 60) - shapely.box(45, 45, 55, 55)
    names = ["south", "hole", "star"]
    return gpd.GeoDataFrame(
        {"name": names}, geometry=[shapely.box(-180, -90, 180, -60), hole, star], crs=4326
    )


DRAWN = {
    "lake": shapely.box(8.4, 47.2, 8.8, 47.4),
    "pond": shapely.box(8.5, 47.5, 8.500001, 47.500001),
}


MIXED = [
    shapely.Point(10.0, 50.0),
    shapely.MultiPoint([(20.0, 50.0), (-170.0, 50.0)]),
    shapely.Point(30.0, 89.9),
    shapely.LineString([(0, 0), (40, 40), (80, 0)]),
    shapely.LineString([(0, 0), (0.0001, 0)]),
]


@pytest.fixture(scope="module")
def running(
    module_profile: ProfileUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ReadingApi]:
    folder = tmp_path_factory.mktemp("tiles")
    sources = [folder / f"{name}.gpkg" for name in ("many", "drawn", "land")]
    drawn = gpd.GeoDataFrame(
        {
            "name": list(DRAWN),
            "large": [2**53 + 1, -(2**40)],
            "deep": [1.5, None],
            "is_open": [True, False],
        },
        geometry=list(DRAWN.values()),
        crs=4326,
    )
    for frame, path in zip((_many(), drawn, _land()), sources, strict=True):
        pyogrio.write_dataframe(frame, path)
    mixed = gpd.GeoDataFrame({"n": range(len(MIXED))}, geometry=MIXED, crs=4326)
    mixed.to_file(folder / "mixed.geojson", driver="GeoJSON")
    sources.append(folder / "mixed.geojson")
    home = folder / "home"
    done = geo_platform_here(
        "ingest", "--json", *sources, home=home, extra=module_profile.environment
    )
    assert [line["outcome"] for line in done.lines] == ["published"] * 4, done.lines
    # A busy machine may need long for what takes milliseconds otherwise.
    with reading_api(home, module_profile, features_seconds=60) as api:
        yield api


@dataclass
class Tile:
    content: bytes
    account: dict[str, int]
    layers: dict[str, gpd.GeoDataFrame]


def _tile(
    running: ReadingApi, tiles: str, z: int, x: int, y: int, folder: Path, **parameters: Any
) -> Tile:
    response = running.ask(f"{tiles}/{z}/{x}/{y}", params=parameters or None)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/vnd.mapbox-vector-tile"
    account = {
        name: int(number)
        for name, number in re.findall(r"(\w+)=(\d+)", response.headers["tile-account"])
    }
    path, copy = folder / "tile.mvt", folder / "tile.gpkg"
    path.write_bytes(response.content)
    # Without CLIP=NO, GDAL leaves out the margin of the tile.
    options = ["-oo", f"X={x}", "-oo", f"Y={y}", "-oo", f"Z={z}", "-oo", "CLIP=NO"]
    done = gdal("ogr2ogr", "-f", "GPKG", "-overwrite", copy, f"MVT:{path}", *options, header="")
    assert (done.returncode, done.stderr) == (0, "")
    layers = {
        str(name): pyogrio.read_dataframe(copy, layer=name)
        for name in pyogrio.list_layers(copy)[:, 0]
    }
    copy.unlink()
    return Tile(response.content, account, layers)


def _address_of(z: int, lon: float, lat: float) -> tuple[int, int, int]:
    x = int((lon + 180) / 360 * 2**z)
    y = int((1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * 2**z)
    return z, x, y


def test_a_tile_has_the_rows_in_its_window(running: ReadingApi, tmp_path: Path) -> None:
    tile = _tile(running, DRAWN_TILES, *_address_of(9, 8.6, 47.3), tmp_path)
    rows = tile.layers["vectors:drawn"].set_index("name")
    # The pond is far smaller than a pixel.
    assert list(rows.index) == ["lake"]
    assert tile.account == {"rows": 2, "drawn": 1, "merged": 0, "dropped": 1}
    assert (rows.loc["lake", "large"], rows.loc["lake", "deep"]) == (2**53 + 1, 1.5)
    window = shapely.box(*TileAddress(*_address_of(9, 8.6, 47.3)).mercator(64))
    lake = gpd.GeoSeries([DRAWN["lake"]], crs=4326).to_crs(3857)[0].intersection(window)
    assert rows.geometry["lake"].symmetric_difference(lake).area < 0.002 * lake.area


def test_the_layer_of_the_account_agrees_with_the_header(
    running: ReadingApi, tmp_path: Path
) -> None:
    for tiles, address in (
        (DRAWN_TILES, (0, 0, 0)),
        (DRAWN_TILES, (3, 0, 0)),
        (MANY_TILES, _address_of(8, 8.5, 47.3)),
    ):
        tile = _tile(running, tiles, *address, tmp_path)
        account = tile.layers["_account"]
        assert account[list(tile.account)].to_dict("records") == [tile.account]
        layer = tile.layers.get(f"vectors:{tiles.split(':')[1].split('/')[0]}", ())
        assert tile.account["drawn"] == len(layer)
        assert tile.account["rows"] == sum(
            tile.account[name] for name in ("drawn", "merged", "dropped")
        )


def test_every_tile_is_under_its_bound_and_drops_the_smallest(
    running: ReadingApi, tmp_path: Path
) -> None:
    source = _many().to_crs(3857)
    full = 0
    for zoom in (0, 2, 4, 6, 7, 8, 10, 12, 14):
        address = _address_of(zoom, 8.5, 47.3)
        tile = _tile(running, MANY_TILES, *address, tmp_path)
        assert len(tile.content) <= 500_000
        window = shapely.box(*TileAddress(*address).mercator(64))
        inside = source[source.intersects(window)]
        assert tile.account["rows"] == pytest.approx(len(inside), rel=1e-3, abs=1)
        drawn = tile.layers.get("vectors:many")
        if drawn is None:
            continue
        assert set(drawn["n"]) <= set(inside["n"]) | {-1}
        texts = source.set_index("n")["text"]
        assert (drawn.set_index("n")["text"] == texts.loc[drawn["n"]]).all()
        if tile.account["dropped"] and len(tile.content) > 450_000:
            full += 1
            # From this zoom on no row is smaller than the grid, so those that are drawn are the
            # largest.
            assert zoom < 6 or drawn["n"].min() > inside["n"].nlargest(len(drawn) + 500).min()
    assert full >= 2


def test_a_crowded_tile_merges_what_is_smaller_than_a_pixel(
    running: ReadingApi, tmp_path: Path
) -> None:
    source = _many().to_crs(3857)
    centres = shapely.get_coordinates(source.geometry.centroid)
    for zoom in (0, 4, 6):
        address = _address_of(zoom, 8.5, 47.3)
        bounds = TileAddress(*address).mercator(64)
        pixel = (bounds[2] - bounds[0]) / 256
        tile = _tile(running, MANY_TILES, *address, tmp_path)
        cells = tile.layers["_merged"]
        assert cells["rows"].sum() == tile.account["merged"]
        places = shapely.get_coordinates(cells.to_crs(3857).geometry)
        if zoom < 6:
            # The sides are up to 2 km, a pixel is 9 km and more.
            assert tile.account == {"rows": MANY, "drawn": 0, "merged": MANY, "dropped": 0}
            mean = np.average(places, axis=0, weights=cells["rows"])
            assert np.abs(mean - centres.mean(axis=0)).max() < 4 * pixel
        else:
            # Lengths in EPSG:3857 are 1.47 times those of EPSG:2056 here.
            smaller = int((10 + np.arange(MANY) / 10 < pixel / 1.47).sum())
            assert tile.account["rows"] == MANY
            assert tile.account["merged"] == pytest.approx(smaller, rel=0.05)
            assert tile.account["drawn"] > 0
    alone = _tile(running, MANY_TILES, *address, tmp_path, filter="n < 5000")
    assert (alone.account["rows"], alone.account["merged"]) == (5000, 0)


def test_large_polygons_are_clipped_thinned_and_kept_whole(
    running: ReadingApi, tmp_path: Path
) -> None:
    world = _tile(running, LAND, 0, 0, 0, tmp_path)
    rows = world.layers["vectors:land"].set_index("name").geometry
    assert world.account == {"rows": 3, "drawn": 3, "merged": 0, "dropped": 0}
    assert len(world.content) < 50_000
    # The map ends at 85 degrees, and the south reaches its edge.
    half = math.pi * 6_378_137
    assert rows["south"].bounds[:3] == pytest.approx((-half, -half, half), rel=0.04)
    expected = gpd.GeoSeries(list(_land().geometry[1:]), crs=4326).to_crs(3857)
    for name, shape in zip(("hole", "star"), expected, strict=True):
        assert rows[name].area == pytest.approx(shape.area, rel=0.01)
        assert rows[name].is_valid
    deep = _tile(running, LAND, *_address_of(14, 20.0, 0.001), tmp_path)
    assert deep.account["rows"] == deep.account["drawn"] == 1
    in_the_hole = _tile(running, LAND, *_address_of(8, 50.0, 50.0), tmp_path)
    assert in_the_hole.account["rows"] == 0


def test_points_and_lines_are_drawn(running: ReadingApi, tmp_path: Path) -> None:
    tiles = "/features/collections/vectors:mixed:{}/tiles/WebMercatorQuad"
    points = _tile(running, tiles.format("points"), 0, 0, 0, tmp_path)
    # The map ends at 85 degrees, so one point is in no tile.
    assert points.account == {"rows": 2, "drawn": 2, "merged": 0, "dropped": 0}
    shapes = points.layers["vectors:mixed:points"].set_index("n").to_crs(4326).geometry
    (point,) = shapes[0].geoms
    assert (point.x, point.y) == pytest.approx((10, 50), abs=0.1)
    assert [round(point.x) for point in shapes[1].geoms] == [20, -170]
    lines = _tile(running, tiles.format("lines"), 0, 0, 0, tmp_path)
    assert lines.account == {"rows": 2, "drawn": 1, "merged": 0, "dropped": 1}
    (line,) = lines.layers["vectors:mixed:lines"].to_crs(4326).geometry
    assert line.hausdorff_distance(MIXED[3]) < 0.1
    east = _tile(running, tiles.format("points"), 1, 1, 0, tmp_path)
    assert sorted(east.layers["vectors:mixed:points"]["n"]) == [0, 1]


def test_a_tile_takes_a_filter_and_properties(running: ReadingApi, tmp_path: Path) -> None:
    address = _address_of(6, 8.5, 47.3)
    tile = _tile(running, MANY_TILES, *address, tmp_path, filter="n >= 19990", properties="n")
    assert sorted(tile.layers["vectors:many"]["n"]) == list(range(19_990, 20_000))
    assert "text" not in tile.layers["vectors:many"]
    assert tile.account["rows"] == 10
    one = _tile(running, MANY_TILES, *address, tmp_path, n="7")
    assert one.account["rows"] == 1
    for wrong in ("nothing = 1", "n ="):
        response = running.ask(f"{MANY_TILES}/0/0/0", params={"filter": wrong})
        assert (response.status_code, response.json()["code"]) == (400, "PARAMETER_INVALID")


def test_tilejson_and_style_lead_to_tiles_of_one_version(running: ReadingApi) -> None:
    document = running.ask(
        f"{DRAWN_TILES}/tilejson.json", params={"filter": "name = 'lake'"}
    ).json()
    (template,) = document["tiles"]
    assert re.search(r"/\{z\}/\{x\}/\{y\}\?v=[0-9a-f]{16}&filter=", template)
    layer, merged, account = document["vector_layers"]
    assert merged["id"] == "_merged"
    assert layer["id"] == "vectors:drawn"
    assert layer["fields"] == {
        "fid": "Number",
        "name": "String",
        "large": "Number",
        "deep": "Number",
        "is_open": "Boolean",
    }
    assert account["id"] == "_account"
    assert document["bounds"] == pytest.approx([8.4, 47.2, 8.8, 47.500001])
    path = template.removeprefix(running.address)
    first = running.ask(path.format(z=0, x=0, y=0))
    assert first.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert first.headers["tile-account"].startswith("rows=1,")
    again = {"If-None-Match": first.headers["etag"]}
    assert running.ask(path.format(z=0, x=0, y=0), headers=again).status_code == 304
    style = running.ask(f"{DRAWN_TILES}/style.json").json()
    assert style["version"] == 8
    assert {each["source-layer"] for each in style["layers"]} == {"vectors:drawn", "_merged"}
    sets = running.ask(DRAWN_TILES.removesuffix("/WebMercatorQuad")).json()["tilesets"]
    assert [each["dataType"] for each in sets] == ["vector"]
    templated = [
        link["href"] for link in running.ask(DRAWN_TILES).json()["links"] if link.get("templated")
    ]
    assert "{tileMatrix}/{tileCol}/{tileRow}" in templated[0]


def test_a_tile_that_is_none_is_refused(running: ReadingApi) -> None:
    for address in ("0/0/1", "1/2/0", "23/0/0", "x/0/0", "0/-1/0"):
        response = running.ask(f"{DRAWN_TILES}/{address}")
        assert response.status_code in (400, 422), address
    key = running.new_key("nothing", datasets=("none",))
    for path in ("/0/0/0", "/tilejson.json", "/style.json", ""):
        assert running.ask(f"{DRAWN_TILES}{path}", key=key).status_code == 404
