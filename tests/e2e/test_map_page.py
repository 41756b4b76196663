"""The map page in Chromium: sign in, find, draw, look at values and rows.

Every picture is checked against the colours of the data, at places that are known.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from playwright.sync_api import Page, sync_playwright
from pyproj import Transformer

from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here
from tests.support.production import MODULE_IN_PRODUCTION_IS_SLOW, ProfileUnderTest
from tests.support.reading import ReadingApi, reading_api
from tests.support.ui import CHROMIUM_ARGUMENTS

# The page is the same on both profiles: files are enough in every suite.
pytestmark = [*DAGSTER_S_WARNINGS, MODULE_IN_PRODUCTION_IS_SLOW]

GPU_BY_SOFTWARE = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
# Names that would change the page if they were read as HTML or script.
HOSTILE = "<img src=x onerror=alert(1)>\u202e' \"; drop"
RED, BLUE = (200, 40, 30), (30, 60, 210)


@dataclass
class Shown:
    api: ReadingApi
    page: Page
    said: list[str]


def _sources(folder: Path) -> list[Path]:
    """Write a raster that is red in the west and blue in the east, and a square with a name."""
    pixels = np.zeros((3, 400, 400), dtype=np.uint8)
    pixels[:, :, :200] = np.array(RED)[:, None, None]
    pixels[:, :, 200:] = np.array(BLUE)[:, None, None]
    with rasterio.open(
        folder / "colours.tif",
        "w",
        driver="GTiff",
        width=400,
        height=400,
        count=3,
        dtype="uint8",
        crs="EPSG:32632",
        transform=Affine(100, 0, 480_000, 0, -100, 5_220_000),
        photometric="RGB",
    ) as target:
        target.write(pixels)
    square = gpd.GeoDataFrame(
        {"name": [HOSTILE], "people": [12]}, geometry=[shapely.box(20, 45, 22, 46)], crs=4326
    )
    square.to_file(folder / "square.gpkg")
    return [folder / "colours.tif", folder / "square.gpkg"]


@pytest.fixture(scope="module")
def shown(
    module_profile: ProfileUnderTest, tmp_path_factory: pytest.TempPathFactory, chromium: str
) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp("map")
    home = folder / "home"
    done = geo_platform_here(
        "ingest", "--json", *_sources(folder), home=home, extra=module_profile.environment
    )
    assert [line["outcome"] for line in done.lines] == ["published"] * 2, done.lines
    with reading_api(home, module_profile) as api, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=[*CHROMIUM_ARGUMENTS, *GPU_BY_SOFTWARE]
        )
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        said: list[str] = []
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on(
            "console",
            lambda message: (
                said.append(message.text) if message.type in ("error", "warning") else None
            ),
        )
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((api.address, "blob:", "data:"))
                else said.append(request.url)
            ),
        )
        page.goto(f"{api.address}/map/")
        page.get_by_label("API key or access token").fill(api.key)
        page.get_by_role("button", name="Sign in").click()
        page.locator("html[data-ready=yes]").wait_for(timeout=60_000)
        # The sign-in page itself is answered with 401.
        said[:] = [each for each in said if "401" not in each]
        yield Shown(api, page, said)
        browser.close()


def _colour(page: Page, x: float, y: float) -> tuple[int, ...]:
    """Return the colour of a pixel of the page."""
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning),
        rasterio.MemoryFile(page.screenshot()) as file,
        file.open() as png,
    ):
        return tuple(int(value) for value in png.read()[:3, int(y), int(x)])


def _place(page: Page, lon: float, lat: float) -> tuple[float, float]:
    """Return where a position is on the page, by the address of the view."""
    zoom, latitude, longitude = map(float, page.url.partition("view=")[2].split("/"))
    box = page.locator("#map").bounding_box()
    assert box is not None
    side = 512 * 2**zoom

    def mercator(lon: float, lat: float) -> tuple[float, float]:
        return (
            (lon + 180) / 360 * side,
            (1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2 * side,
        )

    (x, y), (middle_x, middle_y) = mercator(lon, lat), mercator(longitude, latitude)
    return box["x"] + box["width"] / 2 + x - middle_x, box["y"] + box["height"] / 2 + y - middle_y


def _choose(page: Page, title: str) -> None:
    page.locator("button.item", has_text=title).click()
    page.locator(".layers button.name", has_text=title).wait_for()
    _wait_for_map(page)


def _wait_for_map(page: Page) -> None:
    page.locator("#map[aria-busy=false]").wait_for(timeout=60_000)


def test_a_raster_and_a_table_are_drawn_in_their_colours_and_places(shown: Shown) -> None:
    page = shown.page
    _choose(page, "colours")
    there = Transformer.from_crs(32632, 4326, always_xy=True)
    for x, y, colour in ((485_000, 5_200_000, RED), (515_000, 5_200_000, BLUE)):
        found = _colour(page, *_place(page, *there.transform(x, y)))
        assert found == pytest.approx(colour, abs=12)
    beside = _colour(page, *_place(page, *there.transform(478_000, 5_200_000)))
    assert beside != pytest.approx(RED, abs=40)

    _choose(page, "square")
    inside, outside = _place(page, 21.0, 45.5), _place(page, 22.05, 45.5)
    land = _colour(page, *outside)
    drawn = _colour(page, *inside)
    assert np.abs(np.subtract(drawn, land)).max() > 20
    page.get_by_label("Opacity: square").fill("0")
    page.wait_for_timeout(500)
    _wait_for_map(page)
    assert _colour(page, *inside) == pytest.approx(land, abs=2)
    page.get_by_label("Opacity: square").fill("1")


def test_a_click_shows_the_values_and_names_from_files_are_text(shown: Shown) -> None:
    page = shown.page
    for title in ("colours", "square"):
        if not page.locator(".layers button.name", has_text=title).count():
            _choose(page, title)
    page.locator(".layers li", has_text="square").get_by_role("button", name="Zoom to it").click()
    page.wait_for_timeout(500)
    _wait_for_map(page)
    page.mouse.click(*_place(page, 21.0, 45.5))
    values = page.get_by_role("region", name="Values here")
    values.get_by_text("people").wait_for()
    assert values.locator("dd", has_text="12").count() == 1
    assert values.locator("img").count() == 0
    assert values.locator("dd", has_text="<img src=x onerror=alert(1)>").count() == 1
    page.locator(".layers li", has_text="colours").get_by_role("button", name="Zoom to it").click()
    page.wait_for_timeout(500)
    _wait_for_map(page)
    there = Transformer.from_crs(32632, 4326, always_xy=True)
    page.mouse.click(*_place(page, *there.transform(515_000, 5_200_000)))
    values.get_by_text("b3").wait_for()
    assert values.locator("dd").all_inner_texts() == [str(value) for value in BLUE]


def test_rows_are_shown_filtered_and_found_on_the_map(shown: Shown) -> None:
    page = shown.page
    if not page.locator(".layers button.name", has_text="square").count():
        _choose(page, "square")
    page.locator(".layers li", has_text="square").get_by_role("button", name="Show rows").click()
    table = page.get_by_role("region", name="Rows")
    table.get_by_text("Rows 1–1 of 1").wait_for()
    cells = table.locator("tbody td").all_inner_texts()
    assert (cells[0], cells[-2:]) == ("1", [HOSTILE, "12"])
    table.get_by_role("textbox").fill("people > 12")
    table.get_by_role("button", name="Apply").click()
    table.get_by_text("of 0").wait_for()
    table.get_by_role("textbox").fill("people >")
    table.get_by_role("button", name="Apply").click()
    table.get_by_text("PARAMETER_INVALID").wait_for()
    table.get_by_role("button", name="Close").click()


def test_items_are_found_by_words_kind_and_window(shown: Shown) -> None:
    page = shown.page
    found = page.locator("button.item .name")
    page.get_by_label("Kind").select_option("vector")
    page.get_by_text("1 of 1 items").wait_for()
    assert found.all_inner_texts() == ["square"]
    page.get_by_label("Kind").select_option("")
    page.get_by_text("2 of 2 items").wait_for()
    page.get_by_label("Words").fill("colours")
    page.get_by_role("button", name="Find").click()
    page.get_by_text("1 of 1 items").wait_for()
    assert found.all_inner_texts() == ["colours"]
    page.get_by_label("Words").fill("nothing has this word")
    page.get_by_role("button", name="Find").click()
    page.get_by_text("No item matches").wait_for()
    page.get_by_label("Words").fill("")
    page.get_by_role("button", name="Find").click()
    page.get_by_text("2 of 2 items").wait_for()


def test_a_link_leads_to_the_same_view(shown: Shown) -> None:
    page = shown.page
    if not page.locator(".layers button.name", has_text="colours").count():
        _choose(page, "colours")
    drawn = page.locator(".layers button.name").all_inner_texts()
    there = Transformer.from_crs(32632, 4326, always_xy=True)
    page.locator(".layers li", has_text="colours").get_by_role("button", name="Zoom to it").click()
    page.wait_for_timeout(500)
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    page.locator("html[data-ready=yes]").wait_for(timeout=60_000)
    _wait_for_map(page)
    assert page.locator(".layers button.name").all_inner_texts() == drawn
    found = _colour(page, *_place(page, *there.transform(485_000, 5_200_000)))
    assert found == pytest.approx(RED, abs=12)


def test_nothing_else_was_asked_and_nothing_was_complained_of(shown: Shown) -> None:
    # The browser reports the answer to the filter that is none.
    assert [each for each in shown.said if "status of 400" not in each] == []


def test_the_page_has_a_strict_policy_and_needs_a_credential(shown: Shown) -> None:
    page = shown.api.ask("/map/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "<script>" not in page.text
    for path in ("/map/", "/map/base/0/0/0", "/map/assets/none.js"):
        assert shown.api.ask(path, key="").status_code == 401
    assert shown.api.ask("/map/assets/none.js").json()["code"] == "NOT_FOUND"
    assert shown.api.ask("/map/base/9/0/511").status_code == 204


def test_the_cookie_reads_what_is_published_and_changes_only_from_this_page(shown: Shown) -> None:
    (cookie,) = shown.page.context.cookies()
    headers = {"Cookie": f"{cookie['name']}={cookie['value']}"}
    for path in ("/stac", "/stac/search", "/raster/collections/rasters/items/colours"):
        assert shown.api.ask(path, key="", headers=headers).status_code == 200
    here, elsewhere = {"Origin": shown.api.address}, {"Origin": "https://example.org"}
    for path, origin, status in (
        ("/stac/search", here, 401),
        ("/api/uploads", {}, 401),
        ("/api/uploads", elsewhere, 401),
        # The reader is known, and may not upload.
        ("/api/uploads", here, 403),
    ):
        answer = shown.api.ask(
            path, "POST", key="", headers={**headers, **origin}, json={"file_name": "a.tif"}
        )
        assert answer.status_code == status, (path, origin)


def test_a_reader_has_no_place_to_drop_files(shown: Shown) -> None:
    assert not shown.page.get_by_role("region", name="Bring files").is_visible()
