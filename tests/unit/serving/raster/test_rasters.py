"""Published rasters of a folder: items of older releases, long colour tables, threads, bounds."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile

from geo_platform.api.serving.raster import RasterWorkers
from geo_platform.catalog.renders import renders
from geo_platform.contracts.raster import Drawing, RasterType
from geo_platform.errors import ParameterInvalid, TimeExceeded
from geo_platform.raster.picture import RasterView, colorize, decide_drawing, without_long_table
from geo_platform.serving.published import PublishedItem
from geo_platform.serving.raster.cogs import COG_MEDIA_TYPE
from geo_platform.serving.raster.encoding import PixelFormat
from geo_platform.serving.raster.grids import TileGrid
from geo_platform.serving.raster.painting import DrawingChoice
from geo_platform.serving.raster.rasters import PictureRequest, PublishedRasters, TilePlace
from geo_platform.settings import Settings
from geo_platform.storage.gdal_sources import GdalSources
from geo_platform.storage.local.folder import FolderStore

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
NORTH_UP = Affine(10, 0, 500_000, 0, -10, 5_200_000)


class Published:
    """A raster in a store, and the item that describes it."""

    def __init__(self, home: Path, pixels: NDArray[Any], raster_type: RasterType, **more: Any):
        self.raster_type = raster_type
        self.path = home / "store" / "silver" / "a.tif"
        self.path.parent.mkdir(parents=True)
        table = more.pop("table", None)
        profile = {"crs": "EPSG:32633", "transform": NORTH_UP, **more}
        count, rows, cols = pixels.shape
        with rasterio.open(
            self.path,
            "w",
            driver="GTiff",
            width=cols,
            height=rows,
            count=count,
            dtype=pixels.dtype,
            **profile,
        ) as target:
            target.write(pixels)
            if table:
                target.colorinterp = [ColorInterp.palette]
                target.write_colormap(1, table)
        settings = Settings(home=home)
        objects = FolderStore(settings.store_dir)
        sources = GdalSources(settings, objects)
        self.rasters = PublishedRasters(objects, sources, max_pixels=1024 * 1024)

    def decided(self) -> tuple[Drawing, RasterView]:
        with rasterio.open(self.path) as cog:
            return decide_drawing(cog, self.raster_type)

    def item(self, drawing: Drawing | None) -> PublishedItem:
        properties: dict[str, Any] = {"geo_platform:raster_type": self.raster_type.value}
        if drawing is not None:
            properties["renders"] = renders(drawing, asset="data")
        asset = {
            "type": COG_MEDIA_TYPE,
            "geo_platform:container": "silver",
            "geo_platform:key": "a.tif",
        }
        document = {
            "bbox": [15, 46, 16, 47],
            "properties": properties,
            "assets": {"data": asset},
        }
        return PublishedItem("rasters", "a", "0" * 16, document)

    def preview(self, drawing: Drawing | None, **choice: Any) -> NDArray[Any]:
        request = PictureRequest(PixelFormat.png, choice=DrawingChoice(**choice))
        answer = self.rasters.preview(self.item(drawing), 1024, request)
        with MemoryFile(answer.content) as memory, memory.open() as picture:
            return np.asarray(picture.read())


def hills() -> NDArray[np.float32]:
    row, col = np.mgrid[0:300, 0:400] / 40.0
    return (np.sin(row) * np.cos(col) * 500 + 1000).astype(np.float32)[None]


def test_an_item_without_renders_is_drawn_as_one_with_them(tmp_path: Path) -> None:
    published = Published(tmp_path, hills(), RasterType.dem)
    drawing, view = published.decided()
    expected = colorize(view, drawing)
    assert np.array_equal(published.preview(drawing), expected)
    assert np.array_equal(published.preview(None), expected)
    assert np.array_equal(
        published.preview(None, render="hillshade"), published.preview(drawing, render="hillshade")
    )


@pytest.mark.parametrize("stated", [None, "no such type", ["dem"]])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_an_item_of_another_program_is_drawn_by_its_bands(
    count: int, stated: object, tmp_path: Path
) -> None:
    like = RasterType.multispectral if count >= 3 else RasterType.continuous
    published = Published(tmp_path, np.concatenate([hills()] * count), like)
    expected = published.preview(None)
    item = published.item(None)
    item.document["properties"] = {} if stated is None else {"geo_platform:raster_type": stated}
    answer = published.rasters.preview(item, 1024, PictureRequest(PixelFormat.png))
    with MemoryFile(answer.content) as memory, memory.open() as picture:
        assert np.array_equal(picture.read(), expected)


def test_a_long_colour_table_is_read_from_the_file(tmp_path: Path) -> None:
    table = {value: (value % 256, value // 256, 7, 255) for value in range(65536)}
    pixels = np.arange(120_000).reshape(1, 300, 400).clip(0, 65535).astype(np.uint16)
    published = Published(tmp_path, pixels, RasterType.categorical, table=table)
    drawing = without_long_table(published.decided()[0])
    assert drawing.colors == ()
    found = published.preview(drawing)
    assert np.array_equal(found[0], pixels[0] % 256)
    assert np.array_equal(found[1], pixels[0] // 256)


def test_a_rotated_grid_has_no_tiles_of_its_own_but_others(tmp_path: Path) -> None:
    turned = NORTH_UP @ Affine.rotation(30)
    published = Published(tmp_path, hills(), RasterType.dem, transform=turned)
    item, request = published.item(published.decided()[0]), PictureRequest()
    with pytest.raises(ParameterInvalid, match="rotated"):
        published.rasters.tile(item, TilePlace(TileGrid.native, 0, 0, 0), request)
    facts = published.rasters.facts(item, "data")
    assert facts.native is None
    tile = TilePlace(TileGrid.web_mercator, 8, 138, 89)
    assert published.rasters.tile(item, tile, request).media_type == "image/png"


def test_threads_get_the_same_pixels(tmp_path: Path) -> None:
    published = Published(tmp_path, hills(), RasterType.dem)
    item = published.item(published.decided()[0])

    def draw(_: int) -> bytes:
        address = TilePlace(TileGrid.native, 0, 0, 0)
        return published.rasters.tile(item, address, PictureRequest()).content

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(draw, range(64)))) == 1


def test_a_request_for_too_many_values_is_refused(tmp_path: Path) -> None:
    published = Published(tmp_path, np.zeros((5, 1100, 1100), np.uint8), RasterType.multispectral)
    item = published.item(published.decided()[0])
    with pytest.raises(ParameterInvalid, match="over the limit of 1048576"):
        published.rasters.preview(item, 4096, PictureRequest(PixelFormat.npy))
    request = PictureRequest(PixelFormat.npy, choice=DrawingChoice(bands=(1,)))
    assert published.rasters.preview(item, 500, request).media_type == "application/x-numpy"


def test_reading_that_takes_too_long_ends() -> None:
    async def ask() -> float:
        workers = RasterWorkers(1, 0.2)
        started = anyio.current_time()
        with pytest.raises(TimeExceeded):
            await workers.run(lambda: time.sleep(2))
        return anyio.current_time() - started

    assert anyio.run(ask) < 1.5
