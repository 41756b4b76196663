"""Draw a map with MapLibre GL JS in Chromium, on a page of the API's own origin.

The page and MapLibre's files are the test's; every other request goes to the real server.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page, Route, sync_playwright
from rasterio.io import MemoryFile

from deploy.local.packages import maplibre_files
from tests.support.ui import CHROMIUM_ARGUMENTS

# Software that draws WebGL; no host but the server has an address.
_ARGUMENTS = [
    *CHROMIUM_ARGUMENTS,
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
WIDTH, HEIGHT = 600, 400
_FOLDER = "/maplibre/"
_PAGE = """
<!doctype html>
<html lang="en">
<head>
<title>Map</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="maplibre-gl.css">
<style>body { margin: 0; background: white } #map { height: 100vh }</style>
</head>
<body>
<div id="map"></div>
<script type="module">
import * as maplibregl from "./maplibre-gl.mjs";

// The code of a page, which makes a `map`.
window.run = (api, key, code) => new Promise((resolve, reject) => {
  const names = ["maplibregl", "API", "KEY"];
  window.map = new Function(...names, `${code}; return map`)(maplibregl, api, key);
  window.map.on("error", (event) => reject(event.error));
  window.map.once("idle", resolve);
});
window.draw = (key, options) => new Promise((resolve, reject) => {
  const map = new maplibregl.Map({
    container: "map",
    attributionControl: false,
    fadeDuration: 0,
    ...options,
    transformRequest: (url) => ({ url, headers: { "X-Api-Key": key } }),
  });
  window.map = map;
  map.on("error", (event) => reject(event.error));
  map.once("idle", resolve);
});
</script>
</body>
</html>
"""
_GRID = "WebMercatorQuad"
_PROJECT = """
([lon, lat]) => {
  const map = window.map;
  const turns = Math.round((map.getCenter().lng - lon) / 360);
  const at = map.project([lon + 360 * turns, lat]);
"""
_TYPES = {".css": "text/css", ".mjs": "text/javascript"}


@dataclass
class Drawn:
    """A picture of a map, and what was requested for it."""

    page: Page
    scale: float
    requests: list[str]
    pixels: NDArray[np.uint8]

    def at(self, lon: float, lat: float, *, within: int = 0) -> NDArray[np.uint8]:
        """Return the colours of the pixels at a place and `within` pixels around it, (n, 3)."""
        column, row = self.position(lon, lat)
        rows, columns, _ = self.pixels.shape
        assert (row in range(rows), column in range(columns)) == (True, True), "not in the picture"
        part = self.pixels[
            max(row - within, 0) : row + within + 1, max(column - within, 0) : column + within + 1
        ]
        return part.reshape(-1, 3)

    def position(self, lon: float, lat: float) -> tuple[int, int]:
        """Return the column and row of the pixel at a place, on the turn in the middle."""
        x, y = self.page.evaluate(f"{_PROJECT} return [at.x, at.y] }}", [lon, lat])
        return int(x * self.scale), int(y * self.scale)

    def properties_at(self, lon: float, lat: float) -> list[dict[str, Any]]:
        """Return the properties of the features that are drawn at a place, each once."""
        script = f"{_PROJECT} return map.queryRenderedFeatures(at).map(each => each.properties) }}"
        found: list[dict[str, Any]] = []
        for properties in self.page.evaluate(script, [lon, lat]):
            if properties not in found:
                found.append(properties)
        return found

    def view(self) -> list[float]:
        """Return west, south, east, north of the map."""
        edges: list[list[float]] = self.page.evaluate("window.map.getBounds().toArray()")
        return [*edges[0], *edges[1]]

    def source(self, name: str) -> dict[str, Any]:
        """Return what MapLibre knows of a source."""
        script = (
            "name => { const { tileSize, minzoom, maxzoom } = window.map.getSource(name);"
            " return { tileSize, minzoom, maxzoom } }"
        )
        return dict(self.page.evaluate(script, name))

    def tiles_of(self, part: str) -> list[str]:
        """Return the addresses of tiles that were requested and contain `part`."""
        return [each for each in self.requests if f"/{_GRID}/" in each and part in each]


@dataclass
class Browser:
    """A browser and the API's address. `problems` must stay empty."""

    address: str
    key: str
    browser: Any
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @contextmanager
    def draw(self, *, scale: float = 1, **options: Any) -> Iterator[Drawn]:
        """Draw a map with MapLibre's `options`; `scale` is the screen's ratio of pixels."""
        with self._opened(scale) as page:
            page.evaluate("([key, options]) => window.draw(key, options)", [self.key, options])
            yield Drawn(page, scale, list(self.requests), picture_of(page))

    @contextmanager
    def run(self, code: str) -> Iterator[Drawn]:
        """Draw a map by JavaScript that makes `map` of `maplibregl`, `API` and `KEY`."""
        with self._opened(1) as page:
            page.evaluate("given => window.run(...given)", [self.address, self.key, code])
            yield Drawn(page, 1, list(self.requests), picture_of(page))

    @contextmanager
    def _opened(self, scale: float) -> Iterator[Page]:
        context = self.browser.new_context(
            viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=scale
        )
        try:
            page = context.new_page()
            self._watch(page)
            page.goto(f"{self.address}{_FOLDER}page.html")
            page.wait_for_function("window.draw !== undefined")
            yield page
        finally:
            context.close()
            self.requests.clear()

    def _watch(self, page: Page) -> None:
        files = {path.name: path for path in maplibre_files(lambda _: None)}

        def answer(route: Route) -> None:
            name = urlsplit(route.request.url).path.removeprefix(_FOLDER)
            if name == "page.html":
                route.fulfill(body=_PAGE, content_type="text/html; charset=utf-8")
            else:
                path = files[name]
                route.fulfill(body=path.read_bytes(), content_type=_TYPES[path.suffix])

        page.route(f"{self.address}{_FOLDER}*", answer)
        page.on("console", lambda said: self.problems.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on(
            "requestfailed",
            lambda request: self.problems.append(f"{request.failure}: {request.url}"),
        )
        page.on("response", self._responded)

    def _responded(self, response: Any) -> None:
        url = str(response.url)
        self.requests.append(url)
        if not url.startswith((f"{self.address}/", "data:", "blob:")):
            self.problems.append(f"elsewhere: {url}")
        if response.status >= 400:
            self.problems.append(f"{response.status}: {url}")


def picture_of(page: Page) -> NDArray[np.uint8]:
    """Return the picture of the page, (rows, columns, 3)."""
    with MemoryFile(page.screenshot()) as file, file.open() as opened:
        return np.moveaxis(opened.read([1, 2, 3]), 0, -1)


@contextmanager
def opened_browser(chromium: str, address: str, key: str) -> Iterator[Browser]:
    """Run Chromium until the context ends."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
        try:
            yield Browser(address, key, browser)
        finally:
            browser.close()
