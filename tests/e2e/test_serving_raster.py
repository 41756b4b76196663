"""Tiles and pictures of published rasters: right at first sight, and the pixels that were stored.

Files are ingested by the real command, served by the real application over HTTP, and compared with
what rasterio and GDAL's programs read from the stored COG.
"""

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

from geo_platform.api.app import create_app
from geo_platform.api.auth.keys import KeyFile
from geo_platform.api.auth.principal import Scope
from geo_platform.ports import ASSET_CONTAINER, ASSET_KEY
from geo_platform.settings import Profile
from geo_platform.storage.stores import open_catalog, open_objects
from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here
from tests.support.production import ProfileUnderTest
from tests.support.serving import served

pytestmark = [
    *DAGSTER_S_WARNINGS,
    pytest.mark.parametrize(
        "module_profile",
        [Profile.embedded, pytest.param(Profile.production, marks=pytest.mark.slow)],
        ids=str,
        indirect=True,
        scope="module",
    ),
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
        facing, away = (down + across) < -0.005, (down + across) > 0.005
        bright = shade[0].astype(int)
        assert bright[away & (shade[3] > 0)].mean() > bright[facing & (shade[3] > 0)].mean() + 40

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
