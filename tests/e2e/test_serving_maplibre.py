"""MapLibre GL JS draws the tiles that are served, in Chromium, and the data's colours are seen."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from pyproj import Transformer
from rasterio.transform import Affine

from geo_platform.settings import Profile
from tests.support.command import ROOT
from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here
from tests.support.maplibre import Browser, Drawn, opened_browser
from tests.support.production import ProfileUnderTest
from tests.support.reading import ReadingApi, reading_api

pytestmark = [
    *DAGSTER_S_WARNINGS,
    pytest.mark.slow,
    # The pictures are maps without a georeference.
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
    pytest.mark.parametrize("module_profile", [Profile.embedded], ids=str, indirect=True),
]

RED, GREEN, BLUE, YELLOW = (200, 30, 40), (30, 150, 60), (40, 60, 190), (240, 210, 30)
WHITE = (255, 255, 255)
UTM_32 = "EPSG:32632"
SIDE_PX, HOLE_PX, PIXEL_M = 600, 120, 100.0
WEST_M, NORTH_M = 700_000.0, 5_360_000.0

# The style's colour for lines and points, and over white at 40 % for polygons.
DRAWN = (0x2A, 0x6F, 0x97)
FILLED = tuple(round(0.4 * part + 0.6 * 255) for part in DRAWN)
# WebP is lossy.
NEARLY = 6

SHAPES = {
    "lake": shapely.box(10.0, 45.0, 14.0, 48.0) - shapely.box(11.0, 46.0, 12.0, 47.0),
    "pair": shapely.MultiPolygon([shapely.box(15, 45, 16, 46), shapely.box(15, 47, 16, 48)]),
    "road": shapely.LineString([(10.0, 44.0), (16.0, 44.0)]),
    "well": shapely.Point(10.0, 43.0),
    "wells": shapely.MultiPoint([(12.0, 43.0), (14.0, 43.0)]),
}
# A polygon across the antimeridian with a hole on its east.
CORO_SEA = shapely.box(-179.0, -18.0, -178.0, -16.0)
FIJI = shapely.box(176.0, -20.0, 184.0, -14.0) - shapely.box(181.0, -18.0, 182.0, -16.0)
AROUND_SHAPES = {"bounds": [8.0, 42.0, 18.0, 49.0]}


def write_flag(path: Path) -> None:
    """Write four colours in quarters, with a hole of nodata in the middle, in UTM."""
    half = SIDE_PX // 2
    pixels = np.zeros((3, SIDE_PX, SIDE_PX), np.uint8)
    pixels[:, :half, :half] = np.reshape(RED, (3, 1, 1))
    pixels[:, :half, half:] = np.reshape(GREEN, (3, 1, 1))
    pixels[:, half:, :half] = np.reshape(BLUE, (3, 1, 1))
    pixels[:, half:, half:] = np.reshape(YELLOW, (3, 1, 1))
    hole = slice(half - HOLE_PX // 2, half + HOLE_PX // 2)
    pixels[:, hole, hole] = 0
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=SIDE_PX,
        height=SIDE_PX,
        count=3,
        dtype="uint8",
        crs=UTM_32,
        nodata=0,
        photometric="RGB",
        transform=Affine(PIXEL_M, 0, WEST_M, 0, -PIXEL_M, NORTH_M),
    ) as target:
        target.write(pixels)


def write_sources(folder: Path) -> None:
    write_flag(folder / "flag.tif")
    shapes = gpd.GeoDataFrame(
        {"name": list(SHAPES), "n": range(len(SHAPES)), "deep": [1.5, None, 2.5, 3.5, 4.5]},
        geometry=list(SHAPES.values()),
        crs=4326,
    )
    shapes.to_file(folder / "shapes.geojson", driver="GeoJSON")
    fiji = gpd.GeoDataFrame({"n": [1]}, geometry=[FIJI], crs=4326)
    fiji.to_file(folder / "past.gpkg")  # to 184 degrees
    fiji.to_crs(3832).to_file(folder / "pacific.gpkg")  # the middle is at 150 degrees
    parts = [shapely.box(176, -20, 180, -14), shapely.box(-180, -20, -176, -14) - CORO_SEA]
    fiji.set_geometry([shapely.MultiPolygon(parts)]).to_file(folder / "cut.gpkg")
    origin = gpd.GeoDataFrame({"n": [1]}, geometry=[shapely.Point(0, 0)], crs=4326)
    origin.to_file(folder / "origin.gpkg")


@pytest.fixture(scope="module")
def api(
    module_profile: ProfileUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ReadingApi]:
    folder, home = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("maplibre")
    write_sources(folder)
    sources = sorted(folder.iterdir())
    done = geo_platform_here(
        "ingest", "--json", *sources, home=home, extra=module_profile.environment
    )
    assert [line["outcome"] for line in done.lines] == ["published"] * len(sources), done.lines
    with reading_api(home, module_profile) as running:
        yield running


@pytest.fixture(scope="module")
def shared_browser(api: ReadingApi, chromium: str) -> Iterator[Browser]:
    with opened_browser(chromium, api.address, api.key) as opened:
        yield opened


@pytest.fixture
def browser(shared_browser: Browser) -> Iterator[Browser]:
    """A browser in which nothing may go wrong: requests, the console, MapLibre's own errors."""
    shared_browser.problems.clear()
    yield shared_browser
    assert shared_browser.problems == []


def flag_at(column: float, row: float) -> tuple[float, float]:
    """Return the longitude and latitude of a place in pixels of the flag."""
    to_degrees = Transformer.from_crs(UTM_32, "OGC:CRS84", always_xy=True)
    place = to_degrees.transform(WEST_M + column * PIXEL_M, NORTH_M - row * PIXEL_M)
    return float(place[0]), float(place[1])


def flag_style(api: ReadingApi, parameters: str = "", **source: Any) -> dict[str, Any]:
    """Return a style with our TileJSON as the only source."""
    url = f"{api.address}/raster/collections/rasters/items/flag/tilejson.json{parameters}"
    return {
        "version": 8,
        "sources": {"flag": {"type": "raster", "url": url, **source}},
        "layers": [{"id": "flag", "type": "raster", "source": "flag"}],
    }


def flag_bounds(api: ReadingApi) -> list[float]:
    document = api.ask("/raster/collections/rasters/items/flag/tilejson.json").json()
    return list(document["bounds"])


def tiles_path(collection: str) -> str:
    return f"/features/collections/vectors:{collection}/tiles/WebMercatorQuad"


def style_url(api: ReadingApi, collection: str) -> str:
    return f"{api.address}{tiles_path(collection)}/style.json"


def assert_colour(drawn: Drawn, lon: float, lat: float, colour: tuple[int, ...]) -> None:
    off = np.abs(drawn.at(lon, lat).astype(int) - colour).max()
    assert off <= NEARLY, (lon, lat, drawn.at(lon, lat))


def assert_flag(drawn: Drawn) -> None:
    """Check colours in each quarter, in the hole, and right beside each edge of the raster."""
    for column, row, colour in (
        (150, 150, RED),
        (450, 150, GREEN),
        (150, 450, BLUE),
        (450, 450, YELLOW),
        (300, 300, WHITE),
        (10, 10, RED),
        (590, 10, GREEN),
        (10, 590, BLUE),
        (590, 590, YELLOW),
        (-10, 150, WHITE),
        (610, 450, WHITE),
        (450, -10, WHITE),
        (150, 610, WHITE),
    ):
        assert_colour(drawn, *flag_at(column, row), colour)


def width_of_edge(drawn: Drawn) -> int:
    """Return how many pixels of the screen are between red and green."""
    _, y = drawn.position(*flag_at(300, 100))
    row = drawn.pixels[y].astype(int)
    is_pure = [np.abs(row - colour).max(axis=1) <= 20 for colour in (RED, GREEN)]
    return int(np.flatnonzero(is_pure[1])[0] - np.flatnonzero(is_pure[0])[-1])


def test_a_raster_is_drawn_from_its_tilejson_with_its_own_colours(
    api: ReadingApi, browser: Browser
) -> None:
    options = {"bounds": flag_bounds(api), "fitBoundsOptions": {"padding": 20}}
    with browser.draw(style=flag_style(api), **options) as drawn:
        assert_flag(drawn)
        # A tile has 256 px of the page: the map's own zoom counts in tiles of 512.
        assert drawn.source("flag")["tileSize"] == 256
        assert {tile.split("/")[-3] for tile in drawn.tiles_of(".webp")} == {"9"}
    # Tiles of 512 px in the place of 256 are sharper on a screen with two pixels for each of CSS.
    with browser.draw(scale=2, style=flag_style(api), **options) as drawn:
        assert_flag(drawn)
        coarse = width_of_edge(drawn)
    fine_style = flag_style(api, "?tilesize=512", tileSize=256)
    with browser.draw(scale=2, style=fine_style, **options) as drawn:
        assert_flag(drawn)
        assert all("tilesize=512" in tile for tile in drawn.tiles_of(".webp"))
        fine = width_of_edge(drawn)
    assert fine < coarse


def test_tiles_of_512_px_are_drawn_in_their_size(api: ReadingApi, browser: Browser) -> None:
    with browser.draw(style=flag_style(api, "?tilesize=512"), bounds=flag_bounds(api)) as drawn:
        assert_flag(drawn)
        source = drawn.source("flag")
    assert (source["tileSize"], source["minzoom"], source["maxzoom"]) == (512, 6, 9)


def test_a_raster_is_drawn_beyond_its_last_zoom(api: ReadingApi, browser: Browser) -> None:
    lon, lat = flag_at(300, 100)
    with browser.draw(style=flag_style(api), center=[lon, lat], zoom=14) as drawn:
        assert_colour(drawn, *flag_at(296, 100), RED)
        assert_colour(drawn, *flag_at(304, 100), GREEN)
        assert {tile.split("/")[-3] for tile in drawn.tiles_of(".webp")} == {"10"}


def test_polygons_are_drawn_by_the_style(api: ReadingApi, browser: Browser) -> None:
    with browser.draw(style=style_url(api, "shapes:polygons"), **AROUND_SHAPES) as drawn:
        for lon, lat in ((10.5, 45.5), (13.5, 47.5), (11.5, 45.5), (15.5, 45.5), (15.5, 47.5)):
            assert_colour(drawn, lon, lat, FILLED)
        for lon, lat in ((11.5, 46.5), (14.5, 46.5), (15.5, 46.5), (9.5, 46.5), (12.0, 44.5)):
            assert_colour(drawn, lon, lat, WHITE)
        # The outline is darker than what it bounds.
        assert drawn.at(10.0, 46.5, within=1).sum(axis=1).min() < sum(FILLED) - 100
        assert drawn.properties_at(13.0, 45.5) == [{"name": "lake", "n": 0, "deep": 1.5}]
        assert drawn.properties_at(15.5, 47.5) == [{"name": "pair", "n": 1}]
        assert drawn.properties_at(14.5, 46.5) == []


def test_lines_and_points_are_drawn_by_the_style(api: ReadingApi, browser: Browser) -> None:
    with browser.draw(scale=2, style=style_url(api, "shapes:lines"), **AROUND_SHAPES) as drawn:
        for lon in (10.5, 13.0, 15.5):
            near = np.abs(drawn.at(lon, 44.0, within=1).astype(int) - DRAWN).max(axis=1)
            assert near.min() <= NEARLY, lon
        for lon, lat in ((9.5, 44.0), (16.5, 44.0), (13.0, 44.3)):
            assert_colour(drawn, lon, lat, WHITE)
    with browser.draw(style=style_url(api, "shapes:points"), **AROUND_SHAPES) as drawn:
        for lon in (10.0, 12.0, 14.0):
            assert_colour(drawn, lon, 43.0, DRAWN)
        for lon in (11.0, 13.0, 16.0):
            assert_colour(drawn, lon, 43.0, WHITE)


def test_vectors_are_drawn_beyond_the_last_zoom_of_tiles(api: ReadingApi, browser: Browser) -> None:
    by = 0.0001
    options = {"center": [10.0, 45.0], "zoom": 19.5}
    with browser.draw(style=style_url(api, "shapes:polygons"), **options) as drawn:
        assert_colour(drawn, 10.0 + by, 45.0 + by, FILLED)
        for lon, lat in ((10.0 - by, 45.0 + by), (10.0 + by, 45.0 - by)):
            assert_colour(drawn, lon, lat, WHITE)
        assert {tile.split("/")[-3] for tile in drawn.tiles_of("v=")} == {"16"}


def test_a_style_opens_where_the_rows_are(api: ReadingApi, browser: Browser) -> None:
    with browser.draw(style=style_url(api, "shapes:polygons")) as drawn:
        assert_colour(drawn, 10.5, 45.5, FILLED)
        inner = shapely.box(*drawn.view())
        assert inner.contains(shapely.box(10.0, 43.0, 16.0, 48.0))
        # No tiles are requested where no rows are.
        assert len(drawn.tiles_of("v=")) <= 4


def test_a_point_on_the_edge_of_four_tiles_is_drawn(api: ReadingApi, browser: Browser) -> None:
    style = api.ask(f"{tiles_path('origin')}/style.json").json()
    by_tilejson = {"type": "vector", "url": f"{api.address}{tiles_path('origin')}/tilejson.json"}
    for given in (style, style | {"sources": {"features": by_tilejson}}):
        with browser.draw(style=given, center=[0, 0], zoom=4) as drawn:
            assert_colour(drawn, 0, 0, DRAWN)
            assert_colour(drawn, 5, 5, WHITE)


def test_the_page_of_the_documentation_draws_both(api: ReadingApi, browser: Browser) -> None:
    text = (ROOT / "docs" / "serving.md").read_text()
    (code,) = re.findall(r"```js\n(.*?)```", text, re.DOTALL)
    ours = code.replace("vectors:wells", "vectors:shapes:polygons").replace(
        "items/dem", "items/flag"
    )
    closer = "map.jumpTo({ center: [12.0, 48.1], zoom: 7.5 })"
    with browser.run(f"{ours}; {closer}") as drawn:
        for lon in (11.0, 13.0):
            assert_colour(drawn, lon, 47.8, FILLED)
        assert_colour(drawn, *flag_at(150, 150), RED)
        assert_colour(drawn, *flag_at(450, 150), GREEN)
        # Here the raster is seen through a polygon.
        through = tuple(
            round(0.4 * over + 0.6 * under) for over, under in zip(DRAWN, BLUE, strict=True)
        )
        assert_colour(drawn, *flag_at(150, 500), through)


@pytest.mark.parametrize("collection", ["past", "pacific", "cut"])
def test_a_polygon_across_the_antimeridian_is_drawn_on_both_sides(
    api: ReadingApi, browser: Browser, collection: str
) -> None:
    for view in ({"center": [180, -17], "zoom": 4.4}, {"center": [-180, -17], "zoom": 3.5}):
        with browser.draw(style=style_url(api, collection), **view) as drawn:
            for lon in (177.0, 179.0, 180.5, 182.5, 183.5):
                assert_colour(drawn, lon, -17.0, FILLED)
            for lon in (174.0, 175.5, 181.5, 184.5, 186.0):
                assert_colour(drawn, lon, -17.0, WHITE)
            has_outline = collection == "cut"
            assert (drawn.at(180.0, -17.0, within=2).min() < FILLED[0] - 20) == has_outline
