"""A file that is dropped on the map page becomes a layer, through a real Dagster."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import pytest
import shapely
from playwright.sync_api import Locator, Page, sync_playwright

from tests.e2e.test_map_page import GPU_BY_SOFTWARE
from tests.support.api_stack import ApiStack, api_stack
from tests.support.command import SAMPLES
from tests.support.ui import CHROMIUM_ARGUMENTS

# A whole Dagster and several runs.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")]


@dataclass
class Signed:
    stack: ApiStack
    page: Page

    def bring(self, *paths: Path) -> Locator:
        """Choose files, and return the line of the first one."""
        self.page.locator("input[type=file]").set_input_files(list(paths))
        return self.page.locator(".brought > li", has_text=paths[0].name).first


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Iterator[Signed]:
    with api_stack(tmp_path_factory.mktemp("bring")) as stack, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=[*CHROMIUM_ARGUMENTS, *GPU_BY_SOFTWARE]
        )
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.goto(f"{stack.address}/map/")
        page.get_by_label("API key or access token").fill(stack.keys["submitter"])
        page.get_by_role("button", name="Sign in").click()
        page.locator("html[data-ready=yes]").wait_for(timeout=60_000)
        yield Signed(stack, page)
        browser.close()


def test_a_dropped_raster_becomes_a_layer(signed: Signed) -> None:
    line = signed.bring(SAMPLES / "sierra_nevada_srtm.tif")
    line.get_by_text("Published").wait_for(timeout=90_000)
    signed.page.locator(".layers button.name", has_text="sierra_nevada_srtm").wait_for()
    signed.page.locator("button.item", has_text="rasters/").wait_for()
    item = signed.stack.services.catalog.item("rasters", "sierra_nevada_srtm")
    assert item is not None


def test_a_refusal_is_answered_without_another_upload(signed: Signed, tmp_path: Path) -> None:
    square = shapely.box(400_000, 5_000_000, 400_100, 5_000_100)
    squares = gpd.GeoDataFrame({"n": [1]}, geometry=[square], crs=32632)
    squares.to_file(tmp_path / "plots.shp")
    (tmp_path / "plots.prj").unlink()
    parts = sorted(tmp_path.glob("plots.*"), key=lambda path: path.suffix != ".shp")
    line = signed.bring(*parts)
    line.get_by_text("CRS_MISSING").wait_for(timeout=90_000)
    sent: list[str] = []
    signed.page.on("request", lambda request: sent.append(f"{request.method} {request.url}"))
    line.get_by_label("input_crs").fill("EPSG:32632")
    line.get_by_role("button", name="Try again").click()
    line.get_by_text("Published").wait_for(timeout=90_000)
    assert not any("/api/uploads" in each for each in sent)
    item = signed.stack.services.catalog.item("vectors", "plots")
    assert item is not None
    assert item["properties"]["proj:code"] == "EPSG:32632"


def test_a_broken_file_is_refused_with_its_remedy(signed: Signed, tmp_path: Path) -> None:
    (tmp_path / "broken.tif").write_bytes(b"II*\0 none")
    line = signed.bring(tmp_path / "broken.tif")
    alert = line.get_by_role("alert")
    alert.wait_for(timeout=90_000)
    code = alert.locator("strong").inner_text()
    assert code == "SOURCE_TRUNCATED"
    assert len(alert.locator("p").all()) == 2
