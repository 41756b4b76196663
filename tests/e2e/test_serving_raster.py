"""Tiles and pictures of published rasters: right at first sight, and the pixels that were stored.

Files are ingested by the real command, served by the real application over HTTP, and compared with
what rasterio and GDAL's programs read from the stored COG.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT
from rio_tiler.colormap import cmap
from rio_tiler.io import Reader

from geo_platform.api.app import create_app
from geo_platform.api.auth.keys import KeyFile
from geo_platform.api.auth.principal import Scope
from geo_platform.ports import ASSET_CONTAINER, ASSET_KEY
from geo_platform.storage.stores import open_catalog, open_objects
from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here
from tests.support.production import MODULE_IN_PRODUCTION_IS_SLOW, ProfileUnderTest
from tests.support.serving import served

pytestmark = [
    *DAGSTER_S_WARNINGS,
    MODULE_IN_PRODUCTION_IS_SLOW,
    # Tiles and previews have no georeference of their own.
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]

ROWS, COLS = 700, 900
HALF_WORLD_M = 20037508.342789244
TABLE = {0: (0, 0, 0, 255), 1: (200, 30, 40, 255), 2: (10, 160, 70, 255), 3: (250, 220, 20, 255)}
KINDS = ["rgb", "masked", "sixteen", "dem", "classes", "values", "index"]


def smooth(bands: int) -> NDArray[np.float64]:
    """Pixels from 0 to 1 that change slowly, each band in another way."""
    row, col = np.mgrid[0:ROWS, 0:COLS] / 100.0
    return (
        np.stack([np.sin(row + band) * np.cos(col * (1 + band / 3)) for band in range(bands)]) / 2
        + 0.5
    )


def write(path: Path, pixels: NDArray[Any], *, nodata: float | None = None, **more: Any) -> None:
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=COLS,
        height=ROWS,
        count=len(pixels),
        dtype=pixels.dtype,
        crs="EPSG:32633",
        transform=Affine(10, 0, 500_000, 0, -10, 5_200_000),
        nodata=nodata,
        **more,
    ) as target:
        target.write(pixels)


def make_files(folder: Path) -> None:
    rgb = (smooth(3) * 255).astype(np.uint8)
    write(folder / "rgb.tif", rgb, photometric="RGB")
    write(folder / "masked.tif", rgb, photometric="RGB")
    with rasterio.open(folder / "masked.tif", "r+") as masked:
        mask = np.full((ROWS, COLS), 255, dtype=np.uint8)
        mask[:, :300] = 0
        masked.write_mask(mask)
    write(folder / "sixteen.tif", (smooth(3) * 3000 + 200).astype(np.uint16), photometric="RGB")
    dem = (smooth(1) * 1200 + 300).astype(np.float32)
    dem[0, 200:300, 200:400] = -9999
    write(folder / "dem.tif", dem, nodata=-9999)
    classes = np.digitize(smooth(1), [0.25, 0.5, 0.75]).astype(np.uint8)
    write(folder / "classes.tif", classes)
    with rasterio.open(folder / "classes.tif", "r+") as target:
        target.colorinterp = [ColorInterp.palette]
        target.write_colormap(1, TABLE)
    values = (smooth(1) * 1.6 - 0.8).astype(np.float32)
    values[0, :100] = np.nan
    write(folder / "values.tif", values, nodata=float("nan"))
    write(folder / "index.tif", np.digitize(smooth(1), [0.3, 0.6]).astype(np.int16) * 7, nodata=-1)


@dataclass
class Readers:
    """The served application, a reader's key and the stores behind it."""

    address: str
    key: str
    home: Path
    profile: ProfileUnderTest
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60, trust_env=False))

    def ask(self, item: str, path: str = "", **rest: Any) -> httpx.Response:
        headers = {"X-Api-Key": self.key, **rest.pop("headers", {})}
        url = f"{self.address}/raster/collections/rasters/items/{item}{path}"
        return self.client.get(url, headers=headers, **rest)

    def pixels(self, item: str, path: str, **parameters: Any) -> NDArray[Any]:
        """The decoded picture or values at a path."""
        found = self.ask(item, path, params=parameters)
        assert found.status_code == 200, found.text
        if found.headers["content-type"] == "application/x-numpy":
            return np.asarray(np.load(BytesIO(found.content)))
        return decoded(found.content)

    def document(self, item: str) -> dict[str, Any]:
        found = open_catalog(self.profile.settings(self.home)).item("rasters", item)
        assert found is not None
        return found

    def stored(self, item: str, asset: str) -> bytes:
        described = self.document(item)["assets"][asset]
        objects = open_objects(self.profile.settings(self.home))
        return objects.read_bytes(described[ASSET_CONTAINER], described[ASSET_KEY])


def decoded(content: bytes) -> NDArray[Any]:
    with MemoryFile(content) as memory, memory.open() as picture:
        return np.asarray(picture.read())


@pytest.fixture(scope="module")
def readers(
    module_profile: ProfileUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Readers]:
    profile = module_profile
    folder = tmp_path_factory.mktemp(f"serving-raster-{profile.profile}")
    home, files = folder / "home", folder / "files"
    files.mkdir()
    make_files(files)
    arguments = ("ingest", "--json", *sorted(files.iterdir()))
    ended = geo_platform_here(*arguments, home=home, extra=profile.environment)
    assert [line["outcome"] for line in ended.lines] == ["published"] * len(KINDS), ended.stderr
    settings = profile.settings(home)
    key = KeyFile(settings.api_keys_file).create("reader", Scope.reader)
    with served(create_app(settings)) as address:
        readers = Readers(address, key, home, profile)
        yield readers
        readers.client.close()


def tile_of(lon: float, lat: float, zoom: int) -> tuple[int, int]:
    """The tile of WebMercatorQuad that holds a place."""
    count = 2**zoom
    y = np.arcsinh(np.tan(np.radians(lat))) / np.pi
    return int((lon + 180) / 360 * count), int((1 - y) / 2 * count)


def tile_bounds(zoom: int, x: int, y: int) -> tuple[float, float, float, float]:
    size = 2 * HALF_WORLD_M / 2**zoom
    west, north = x * size - HALF_WORLD_M, HALF_WORLD_M - y * size
    return west, north - size, west + size, north


class TestRightAtFirstSight:
    @pytest.mark.parametrize("item", KINDS)
    def test_tiles_without_parameters_agree_with_the_preview_of_ingestion(
        self, readers: Readers, item: str
    ) -> None:
        preview = decoded(readers.stored(item, "preview"))
        if len(preview) == 3:  # WebP drops an opaque alpha
            preview = np.concatenate([preview, np.full((1, ROWS, COLS), 255, dtype=np.uint8)])
        assert preview.shape == (4, ROWS, COLS)
        lossless = readers.pixels(item, "/preview.png")
        # The stored preview is lossy, except that of classes.
        assert np.array_equal(lossless[3], preview[3])
        shown = preview[3] > 0
        difference = np.abs(lossless[:3].astype(int) - preview[:3])[:, shown]
        is_of_classes = item in ("classes", "index")
        assert difference.mean() <= (0 if is_of_classes else 6)
        assert difference.max() < 120
        for x, y in ((0, 0), (1, 0), (0, 1), (1, 1)):
            tile = readers.pixels(item, f"/tiles/native/1/{x}/{y}.png")
            part = lossless[:, y * 512 : (y + 1) * 512, x * 512 : (x + 1) * 512]
            rows, cols = part.shape[1:]
            assert np.array_equal(tile[:, :rows, :cols], part)
            assert not tile[3, rows:].any()
            assert not tile[3, :, cols:].any()

    def test_colours_are_those_of_the_file(self, readers: Readers) -> None:
        tile = readers.pixels("classes", "/tiles/native/1/0/0.webp")
        classes = np.digitize(smooth(1), [0.25, 0.5, 0.75])[0, :512, :512]
        for value, color in TABLE.items():
            assert (color[:3] == tile[:3, classes == value].T).all()
        source = (smooth(3) * 255).astype(np.uint8)[:, :512, :512]
        assert np.array_equal(readers.pixels("rgb", "/tiles/native/1/0/0.png")[:3], source)

    def test_what_is_not_valid_is_transparent(self, readers: Readers) -> None:
        masked = readers.pixels("masked", "/tiles/native/1/0/0.png")[3]
        assert not masked[:, :300].any()
        assert (masked[:, 300:] == 255).all()
        dem = readers.pixels("dem", "/tiles/native/1/0/0.png")[3]
        hole = np.zeros((512, 512), dtype=bool)
        hole[200:300, 200:400] = True
        assert np.array_equal(dem == 0, hole)
        values = readers.pixels("values", "/tiles/native/1/0/0.png")[3]
        assert np.array_equal(values == 0, np.arange(512)[:, None] < np.full((1, 512), 100))

    def test_elevation_is_shaded_and_in_colours(self, readers: Readers) -> None:
        renders = readers.document("dem")["properties"]["renders"]
        assert set(renders) == {"default", "elevation", "hillshade"}
        shaded = readers.pixels("dem", "/tiles/native/1/0/0.png")
        tint = readers.pixels("dem", "/tiles/native/1/0/0.png", render="elevation")
        shade = readers.pixels("dem", "/tiles/native/1/0/0.png", render="hillshade")
        assert not np.array_equal(shaded, tint)
        assert np.array_equal(shade[0], shade[1])
        assert np.ptp(shade[0]) > 100
        # Light from the north-west: slopes that face it are brighter.
        heights = smooth(1)[0, :512, :512]
        down, across = np.gradient(heights)
        # Heights that rise to the south and east fall to the north-west.
        facing, away = (down + across) > 0.005, (down + across) < -0.005
        bright = shade[0].astype(int)
        assert bright[facing & (shade[3] > 0)].mean() > bright[away & (shade[3] > 0)].mean() + 40

    def test_the_item_is_drawn_by_percentiles(self, readers: Readers) -> None:
        (low, high), *_ = readers.document("values")["properties"]["renders"]["default"]["rescale"]
        values = (smooth(1) * 1.6 - 0.8)[0, 100:]
        assert [low, high] == pytest.approx(np.percentile(values, [2, 98]), abs=0.01)
        sixteen = readers.document("sixteen")["properties"]["renders"]["default"]
        assert len(sixteen["rescale"]) == 3


class TestValues:
    @pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
    @pytest.mark.parametrize("item", ["dem", "masked", "sixteen", "index"])
    def test_a_tile_has_the_pixels_that_gdal_reads(
        self, readers: Readers, tmp_path: Path, item: str, resampling: str
    ) -> None:
        cog = tmp_path / "cog.tif"
        cog.write_bytes(readers.stored(item, "data"))
        zoom = 13
        west, south, east, north = readers.document(item)["bbox"]
        x, y = tile_of((west + east) / 2, (south + north) / 2, zoom)
        left, bottom, right, top = tile_bounds(zoom, x, y)
        with rasterio.open(cog) as source:
            has_nodata = source.nodata is not None
            with WarpedVRT(
                source,
                crs="EPSG:3857",
                transform=Affine((right - left) / 256, 0, left, 0, (bottom - top) / 256, top),
                width=256,
                height=256,
                resampling=Resampling[resampling],
                add_alpha=not has_nodata,
            ) as warped:
                count = source.count
                expected = warped.read(list(range(1, count + 1)))
                valid = warped.dataset_mask() > 0
        found = readers.pixels(
            item, f"/tiles/WebMercatorQuad/{zoom}/{x}/{y}.npy", resampling=resampling
        )
        assert found.shape == (count + 1, 256, 256)
        assert found.dtype == expected.dtype
        assert np.array_equal(found[-1] > 0, valid)
        assert valid.mean() > 0.05
        difference = np.abs(found[:count].astype(float) - expected)[:, valid]
        assert difference.max() <= (0 if resampling == "nearest" else 1)

    def test_a_crop_has_the_pixels_of_the_cog(self, readers: Readers) -> None:
        with MemoryFile(readers.stored("dem", "data")) as memory, memory.open() as cog:
            # Columns 250 to 350, rows 150 to 230, in the raster's own CRS.
            bounds = (502_500, 5_197_700, 503_500, 5_198_500)
            window = cog.window(*bounds)
            expected = cog.read(1, window=window)
        path = f"/bbox/{','.join(map(str, bounds))}"
        values = readers.pixels("dem", f"{path}.npy", bbox_crs="EPSG:32633")
        assert np.array_equal(values[0], np.where(expected == -9999, values[0], expected))
        assert np.array_equal(values[1] == 0, expected == -9999)
        tiff = readers.ask("dem", f"{path}.tif", params={"bbox_crs": "EPSG:32633"})
        with MemoryFile(tiff.content) as memory, memory.open() as crop:
            assert (crop.bounds, crop.crs.to_epsg(), crop.nodata) == (bounds, 32633, -9999)
            assert np.array_equal(crop.read(1), expected)
        small = readers.pixels("dem", f"{path}.png", bbox_crs="EPSG:32633", max_size=50)
        assert small.shape == (4, 40, 50)
        mercator = readers.ask(
            "dem", "/bbox/15.03,46.93,15.05,46.94.tif", params={"crs": "EPSG:3857"}
        )
        with MemoryFile(mercator.content) as memory, memory.open() as crop:
            assert crop.crs.to_epsg() == 3857
            assert crop.bounds.left == pytest.approx(15.03 * HALF_WORLD_M / 180)

    def test_a_point_has_the_value_of_its_pixel(self, readers: Readers) -> None:
        with MemoryFile(readers.stored("sixteen", "data")) as memory, memory.open() as cog:
            expected = cog.read()[:, 123, 456]
        place = "504565,5198765"
        found = readers.ask("sixteen", f"/point/{place}", params={"crs": "EPSG:32633"}).json()
        assert (found["row"], found["col"]) == (123, 456)
        assert found["values"] == {f"b{index + 1}": value for index, value in enumerate(expected)}
        ratio = readers.ask(
            "sixteen", f"/point/{place}", params={"crs": "EPSG:32633", "expression": "b1/b2"}
        ).json()
        assert ratio["values"] == {"b1/b2": pytest.approx(expected[0] / expected[1])}
        hole = readers.ask("dem", "/point/503005,5197505", params={"crs": "EPSG:32633"}).json()
        assert hole["values"] == {"b1": None}
        outside = readers.ask("dem", "/point/0,0")
        assert (outside.status_code, outside.json()["code"]) == (404, "NOT_FOUND")

    def test_statistics_are_those_of_the_valid_pixels(self, readers: Readers) -> None:
        with MemoryFile(readers.stored("dem", "data")) as memory, memory.open() as cog:
            pixels = cog.read(1, masked=True).compressed().astype(np.float64)
        found = readers.ask("dem", "/statistics").json()
        assert found["is_exact"]
        figures = found["bands"]["b1"]
        assert figures["pixels"] == pixels.size == ROWS * COLS - 100 * 200
        assert (figures["min"], figures["max"]) == (pixels.min(), pixels.max())
        assert figures["mean"] == pytest.approx(pixels.mean())
        assert figures["stddev"] == pytest.approx(pixels.std())
        assert figures["percentiles"]["98"] == pytest.approx(np.percentile(pixels, 98))
        assert sum(figures["histogram"][0]) == pixels.size
        bbox = {"bbox": "505000,5197000,505100,5197100", "bbox_crs": "EPSG:32633"}
        part = readers.ask("dem", "/statistics", params=bbox).json()["bands"]["b1"]
        assert part["pixels"] == 100

    def test_band_maths(self, readers: Readers) -> None:
        with MemoryFile(readers.stored("sixteen", "data")) as memory, memory.open() as cog:
            red, green, _ = cog.read()[:, :512, :512].astype(np.float64)
        expression = "(b1-b2)/(b1+b2)"
        found = readers.pixels("sixteen", "/tiles/native/1/0/0.npy", expression=expression)
        assert found.shape == (2, 512, 512)
        assert np.allclose(found[0], (red - green) / (red + green), atol=1e-6)
        picture = readers.pixels(
            "sixteen",
            "/tiles/native/1/0/0.png",
            expression=expression,
            rescale="-1,1",
            colormap="gray",
        )
        expected = ((red - green) / (red + green) + 1) / 2 * 255
        assert np.abs(picture[0] - expected).max() <= 2.5
        # By percentiles of the whole raster, so that neighbouring tiles are drawn alike.
        first = readers.pixels("sixteen", "/tiles/native/1/0/0.png", expression="b1*2")
        ramp = readers.pixels("sixteen", "/preview.png", expression="b1*2")
        assert np.array_equal(first[:, :500, :500], ramp[:, :500, :500])
        # A division by zero is no value.
        zero = readers.pixels("classes", "/tiles/native/1/0/0.npy", expression="1/b1")
        classes = np.digitize(smooth(1), [0.25, 0.5, 0.75])[0, :512, :512]
        assert np.array_equal(zero[1] == 0, classes == 0)


class TestClients:
    def test_gdal_reads_the_tiles_by_wmts(self, readers: Readers, tmp_path: Path) -> None:
        address = f"{readers.address}/raster/collections/rasters/items/rgb/WMTSCapabilities.xml"
        out = tmp_path / "native.tif"
        environment = {**os.environ, "GDAL_HTTP_HEADERS": f"X-Api-Key: {readers.key}"}
        source = f"WMTS:{address},layer=default,tilematrixset=native"
        command = ["gdal_translate", "-q", "-outsize", "900", "700", source, str(out)]
        subprocess.run(command, check=True, env=environment, cwd=tmp_path, timeout=120)
        with rasterio.open(out) as read:
            assert read.crs.to_epsg() == 32633
            assert read.transform[:6] == pytest.approx((10, 0, 500_000, 0, -10, 5_200_000))
            source_pixels = (smooth(3) * 255).astype(np.uint8)
            assert np.array_equal(read.read([1, 2, 3]), source_pixels)
        described = subprocess.run(
            ["gdalinfo", "-json", f"WMTS:{address},layer=default,tilematrixset=WebMercatorQuad"],
            check=True,
            env=environment,
            cwd=tmp_path,
            timeout=120,
            capture_output=True,
        )
        assert 'ID["EPSG",3857]' in json.loads(described.stdout)["coordinateSystem"]["wkt"]

    @pytest.mark.parametrize("name", ["default", "elevation", "hillshade"])
    def test_rio_tiler_draws_elevation_by_what_the_item_says(
        self, readers: Readers, name: str
    ) -> None:
        render = readers.document("dem")["properties"]["renders"][name]
        content = readers.stored("dem", render["assets"][0])
        with MemoryFile(content) as memory, memory.open() as cog, Reader("", dataset=cog) as reader:
            picture = reader.preview(indexes=render["bidx"], max_size=None)
            heights = cog.read(1, masked=True)
        picture.rescale(render["rescale"])
        content = picture.render(img_format="PNG", colormap=cmap.get(render["colormap_name"]))
        *colors, alpha = decoded(content).astype(int)
        assert np.array_equal(alpha == 0, heights.mask)
        low, high = render["rescale"][0]
        lowest, highest = ~heights.mask & (heights <= low), ~heights.mask & (heights >= high)
        assert np.unique(np.stack(colors)[:, highest], axis=1).tolist() == [[255]] * 3
        if name == "hillshade":
            assert np.array_equal(colors[0], colors[2])
            assert (colors[0][lowest] == 0).all()
        else:
            # The first colour of matplotlib's terrain.
            first = np.unique(np.stack(colors)[:, lowest], axis=1).tolist()
            assert first == [[51], [51], [153]]

    def test_tilejson_leads_to_tiles_of_the_version(self, readers: Readers) -> None:
        document = readers.ask("dem", "/tilejson.json", params={"render": "hillshade"}).json()
        west, south, east, north = document["bounds"]
        assert [west, south, east, north] == pytest.approx(readers.document("dem")["bbox"])
        zoom = document["maxzoom"]
        assert zoom == 14  # 10 m at 47 degrees north is 14.6 m of the map
        x, y = tile_of((west + east) / 2, (south + north) / 2, zoom)
        template = document["tiles"][0]
        assert template.startswith(f"{readers.address}/raster/")
        address = template.replace("{z}", str(zoom)).replace("{x}", str(x)).replace("{y}", str(y))
        tile = readers.client.get(address, headers={"X-Api-Key": readers.key})
        assert (tile.status_code, tile.headers["content-type"]) == (200, "image/webp")
        assert tile.headers["cache-control"] == "private, max-age=31536000, immutable"
        pixels = decoded(tile.content)
        assert np.abs(pixels[0].astype(int) - pixels[1]).max() < 12  # gray

    def test_tilejson_of_larger_tiles_has_the_same_pixels_a_zoom_earlier(
        self, readers: Readers
    ) -> None:
        small = readers.ask("dem", "/tilejson.json").json()
        large = readers.ask("dem", "/tilejson.json", params={"tilesize": 512}).json()
        assert (small["tileSize"], large["tileSize"]) == (256, 512)
        assert (large["minzoom"], large["maxzoom"]) == (small["minzoom"] - 1, 13)
        zoom = large["maxzoom"]
        x, y = tile_of(*small["center"][:2], zoom)
        template = large["tiles"][0]
        address = template.replace("{z}", str(zoom)).replace("{x}", str(x)).replace("{y}", str(y))
        tile = readers.client.get(address, headers={"X-Api-Key": readers.key})
        assert decoded(tile.content).shape[1:] == (512, 512)

    def test_a_tile_matrix_set_describes_the_native_grid(self, readers: Readers) -> None:
        found = readers.ask("dem", "/tiles/native").json()
        assert found["crs"] == "http://www.opengis.net/def/crs/EPSG/0/32633"
        last = found["tileMatrices"][-1]
        assert (last["cellSize"], last["matrixWidth"], last["matrixHeight"]) == (10, 2, 2)
        assert last["pointOfOrigin"] == [500_000, 5_200_000]
        assert last["scaleDenominator"] == pytest.approx(10 / 0.00028)
        described = readers.ask("dem").json()
        assert described["native_maxzoom"] == 1
        assert set(described["renders"]) == {"default", "elevation", "hillshade"}
        assert described["assets"] == ["data"]


class TestFreshness:
    def test_what_is_unchanged_is_not_read(self, readers: Readers) -> None:
        path = "/tiles/native/1/0/0.webp"
        first = readers.ask("dem", path)
        again = readers.ask("dem", path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        other = readers.ask("dem", path, params={"render": "hillshade"})
        assert other.headers["etag"] != first.headers["etag"]
        gone = readers.ask("dem", path, params={"v": "0" * 16})
        assert (gone.status_code, gone.json()["code"]) == (410, "VERSION_GONE")


class TestRefusals:
    @pytest.mark.parametrize(
        ("item", "path", "parameters", "status", "code"),
        [
            ("none", "/preview.png", {}, 404, "NOT_FOUND"),
            ("dem", "/preview.png", {"asset": "none"}, 404, "NOT_FOUND"),
            ("dem", "/preview.png", {"asset": "thumbnail"}, 404, "NOT_FOUND"),
            ("dem", "/tiles/native/2/0/0.png", {}, 404, "NOT_FOUND"),
            ("dem", "/tiles/native/1/2/0.png", {}, 404, "NOT_FOUND"),
            ("dem", "/tiles/WebMercatorQuad/3/8/0.png", {}, 404, "NOT_FOUND"),
            ("dem", "/tiles/WebMercatorQuad/99/0/0.png", {}, 422, "PARAMETER_INVALID"),
            ("dem", "/tiles/WorldCRS84Quad/1/0/0.png", {}, 422, "PARAMETER_INVALID"),
            ("dem", "/tiles/native/1/0/0.gif", {}, 422, "PARAMETER_INVALID"),
            ("dem", "/preview.png", {"render": "none"}, 422, "PARAMETER_INVALID"),
            ("dem", "/preview.png", {"bands": "2"}, 422, "PARAMETER_INVALID"),
            ("dem", "/preview.png", {"bands": "1,1"}, 422, "PARAMETER_INVALID"),
            ("dem", "/preview.png", {"bands": "1", "render": "default"}, 422, "PARAMETER_INVALID"),
            ("dem", "/preview.png", {"rescale": "5,1"}, 422, "PARAMETER_INVALID"),
            ("dem", "/preview.png", {"rescale": "1e,e"}, 422, "PARAMETER_INVALID"),
            ("dem", "/preview.png", {"colormap": "none"}, 422, "PARAMETER_INVALID"),
            ("dem", "/preview.npy", {"colormap": "magma"}, 422, "PARAMETER_INVALID"),
            ("classes", "/preview.png", {"rescale": "0,1"}, 422, "PARAMETER_INVALID"),
            ("classes", "/preview.png", {"colormap": "magma"}, 422, "PARAMETER_INVALID"),
            ("dem", "/preview.png", {"resampling": "lanczos"}, 422, "PARAMETER_INVALID"),
            ("dem", "/preview.png", {"max_size": "100000"}, 422, "PARAMETER_INVALID"),
            ("dem", "/preview.png", {"expression": "b2"}, 422, "PARAMETER_INVALID"),
            ("dem", "/preview.png", {"expression": "9**9**9"}, 422, "PARAMETER_INVALID"),
            ("dem", "/preview.png", {"expression": "__import__('os')"}, 422, "PARAMETER_INVALID"),
            ("dem", "/bbox/1,2,3.png", {}, 422, "PARAMETER_INVALID"),
            ("dem", "/bbox/1,9,3,2.png", {}, 422, "PARAMETER_INVALID"),
            ("dem", "/bbox/1,2,3,4.png", {"crs": "EPSG:999999"}, 422, "PARAMETER_INVALID"),
            ("dem", "/point/nan,1", {}, 422, "PARAMETER_INVALID"),
            ("dem", "/preview.png", {"rescal": "0,1"}, 422, "PARAMETER_INVALID"),
            ("dem", "/statistics", {"render": "default"}, 422, "PARAMETER_INVALID"),
            ("dem", "", {"url": "https://elsewhere.example/a.tif"}, 422, "PARAMETER_INVALID"),
        ],
    )
    def test_what_cannot_be_answered_has_a_code(
        self,
        readers: Readers,
        item: str,
        path: str,
        parameters: dict[str, str],
        status: int,
        code: str,
    ) -> None:
        refused = readers.ask(item, path, params=parameters)
        assert (refused.status_code, refused.json()["code"]) == (status, code), refused.text
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["remedy"]

    def test_a_vector_item_has_no_pictures_and_nobody_reads_without_a_key(
        self, readers: Readers
    ) -> None:
        url = f"{readers.address}/raster/collections/rasters/items/dem/preview.png"
        assert readers.client.get(url).status_code == 401

    def test_a_limited_key_sees_its_collections_only(self, readers: Readers) -> None:
        settings = readers.profile.settings(readers.home)
        key = KeyFile(settings.api_keys_file).create(
            "limited", Scope.reader, collections=("others",)
        )
        for path in (
            "",
            "/preview.png",
            "/tiles/native/1/0/0.png",
            "/statistics",
            "/point/15,46.9",
        ):
            for item in ("dem", "none"):
                refused = readers.ask(item, path, headers={"X-Api-Key": key})
                assert (refused.status_code, refused.json()["code"]) == (404, "NOT_FOUND")
                assert refused.json()["detail"].startswith("There is no item")
