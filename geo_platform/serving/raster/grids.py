"""The tile matrix sets of a raster: WebMercatorQuad, and the raster's own grid.

    WebMercatorQuad   tiles of 256 px; zoom 0 is the whole map (OGC 17-083r4, annex D.1)
    native            tiles of 512 px of the raster's own pixels; each zoom doubles the resolution,
                      the last one has the full resolution

Used by `api/serving` and `serving/raster`.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from affine import Affine
from rasterio.crs import CRS

from geo_platform.errors import NotFound, ParameterInvalid
from geo_platform.serving.raster.windows import MERCATOR, MERCATOR_HALF_M, PixelWindow

MAX_ZOOM = 24
NATIVE_TILE_PX = 512


class TileGrid(StrEnum):
    """The names of the tile matrix sets."""

    web_mercator = "WebMercatorQuad"
    native = "native"


@dataclass(frozen=True)
class NativeGrid:
    """The raster's own grid, north up with square pixels."""

    crs: CRS
    transform: Affine
    rows: int
    cols: int

    @property
    def max_zoom(self) -> int:
        longest = max(self.rows, self.cols)
        return max(math.ceil(math.log2(longest / NATIVE_TILE_PX)), 0)

    def size_px(self, zoom: int) -> float:
        """Return how many pixels of the raster one pixel of this zoom has, per side."""
        return float(2 ** (self.max_zoom - zoom))

    def tiles(self, zoom: int) -> tuple[int, int]:
        """Return the number of tiles of this zoom: (columns, rows)."""
        tile = NATIVE_TILE_PX * self.size_px(zoom)
        return math.ceil(self.cols / tile), math.ceil(self.rows / tile)


def mercator_window(zoom: int, x: int, y: int, tile_px: int) -> PixelWindow:
    """Return the window of a tile of WebMercatorQuad.

    Raises NotFound: there is no such tile.
    """
    if not 0 <= zoom <= MAX_ZOOM:
        raise _no_tile(zoom, x, y)
    count = 2**zoom
    if not (0 <= x < count and 0 <= y < count):
        raise _no_tile(zoom, x, y)
    size = 2 * MERCATOR_HALF_M / count
    west, north = x * size - MERCATOR_HALF_M, MERCATOR_HALF_M - y * size
    bounds = (west, north - size, west + size, north)
    return PixelWindow.of_bounds(MERCATOR, bounds, rows=tile_px, cols=tile_px)


def native_grid(crs: CRS, transform: Affine, *, rows: int, cols: int) -> NativeGrid:
    """Return the grid of a raster.

    Raises ParameterInvalid: the raster is rotated, not north up, or its pixels are not square,
    which a tile matrix set cannot describe.
    """
    is_square = math.isclose(transform.a, -transform.e, rel_tol=1e-6) and transform.a > 0
    if transform.b or transform.d or not is_square:
        raise no_native_tiles()
    return NativeGrid(crs, transform, rows, cols)


def native_window(grid: NativeGrid, zoom: int, x: int, y: int) -> PixelWindow:
    """Return the window of a tile of the raster's own grid.

    Raises NotFound: there is no such tile.
    """
    if not 0 <= zoom <= grid.max_zoom:
        raise _no_tile(zoom, x, y)
    columns, rows = grid.tiles(zoom)
    if not (0 <= x < columns and 0 <= y < rows):
        raise _no_tile(zoom, x, y)
    size = grid.size_px(zoom)
    offset = Affine.translation(x * NATIVE_TILE_PX * size, y * NATIVE_TILE_PX * size)
    transform = grid.transform @ offset @ Affine.scale(size)
    return PixelWindow(grid.crs, transform, NATIVE_TILE_PX, NATIVE_TILE_PX)


def no_native_tiles() -> ParameterInvalid:
    """Return the error for tiles of a grid that a tile matrix set cannot describe."""
    return ParameterInvalid(
        "The grid of this raster is rotated, not north up, or its pixels are not square, so that "
        "it has no tiles of its own.",
        remedy="Use the tiles of WebMercatorQuad, or `preview`, which is on the raster's own grid.",
    )


def _no_tile(zoom: int, x: int, y: int) -> NotFound:
    return NotFound(
        f"There is no tile {zoom}/{x}/{y}.",
        remedy="The TileJSON document of the item has the zooms and the bounds.",
    )
