"""Answer requests for tiles and pictures of published rasters.

    rasters = PublishedRasters(objects)
    answer = rasters.tile(item, TileAddress(...), PictureRequest(...))

`cogs.py` opens the COG, `reading.py` reads it, `painting.py` chooses how it is drawn and
`encoding.py` encodes it. Nothing here knows HTTP.

Called by `api/serving/raster.py`.
"""

from dataclasses import dataclass, field

import numpy as np
from affine import Affine
from rasterio.enums import ColorInterp, Resampling
from rasterio.io import DatasetReader

from geo_platform.errors import ParameterInvalid
from geo_platform.grid import GridShape
from geo_platform.ports import ObjectStore
from geo_platform.raster.picture import Rgba, colorize, decimated_view, pixel_size_m
from geo_platform.serving.published import PublishedItem
from geo_platform.serving.raster.cogs import DEFAULT_ASSET, CogReader
from geo_platform.serving.raster.encoding import PixelFormat, encode_picture, encode_values
from geo_platform.serving.raster.expressions import parse_expression
from geo_platform.serving.raster.grids import (
    TileGrid,
    mercator_window,
    native_grid,
    native_window,
)
from geo_platform.serving.raster.painting import (
    DrawingChoice,
    Paint,
    Painter,
    check_bands,
    view_of,
)
from geo_platform.serving.raster.reading import read_window
from geo_platform.serving.raster.windows import PixelWindow


@dataclass(frozen=True)
class PictureRequest:
    """What is drawn, and how the answer is encoded."""

    pixel_format: PixelFormat = PixelFormat.png
    asset: str = DEFAULT_ASSET
    choice: DrawingChoice = field(default_factory=DrawingChoice)


@dataclass(frozen=True)
class TileAddress:
    grid: TileGrid
    zoom: int
    x: int
    y: int
    tile_px: int = 256


@dataclass(frozen=True)
class EncodedPixels:
    content: bytes
    media_type: str


class PublishedRasters:
    """Draws published rasters. Safe among threads. `max_pixels` bounds what one request reads."""

    def __init__(self, objects: ObjectStore, *, max_pixels: int) -> None:
        self._cogs = CogReader(objects)
        self._painter = Painter()
        self._max_pixels = max_pixels

    def tile(
        self, item: PublishedItem, address: TileAddress, request: PictureRequest
    ) -> EncodedPixels:
        """Return a tile, transparent outside the raster.

        Raises NotFound: there is no such tile or asset. ParameterInvalid: a parameter does not
        suit the raster. Conflict, StoreUnavailable, StoreDenied: the COG cannot be read.
        """
        window = None
        if address.grid is TileGrid.web_mercator:
            window = mercator_window(address.zoom, address.x, address.y, address.tile_px)
        with self._cogs.open(item, request.asset) as cog:
            if window is None:
                grid = native_grid(cog.crs, cog.transform, rows=cog.height, cols=cog.width)
                window = native_window(grid, address.zoom, address.x, address.y)
            return self._answer(item, cog, window, request)

    def preview(
        self, item: PublishedItem, longest_px: int, request: PictureRequest
    ) -> EncodedPixels:
        """Return the whole raster on its own grid, at most `longest_px` per side.

        Drawn by a render of the item, a picture has the same pixels as the item's preview.
        """
        with self._cogs.open(item, request.asset) as cog:
            window = _whole(cog, longest_px)
            self._check_size(window, 1)
            if request.pixel_format.holds_values or request.choice.expression:
                return self._answer(item, cog, window, request)
            paint = self._painter.paint(item, request.asset, cog, request.choice)
            rgba = colorize(
                decimated_view(cog, paint.drawing, longest_px), paint.drawing, paint.ramp
            )
            return _encoded(rgba, paint, request)

    def _answer(
        self,
        item: PublishedItem,
        cog: DatasetReader,
        window: PixelWindow,
        request: PictureRequest,
    ) -> EncodedPixels:
        pixel_format, choice = request.pixel_format, request.choice
        if pixel_format.holds_values:
            return self._values(cog, window, request)
        paint = self._painter.paint(item, request.asset, cog, choice)
        self._check_size(window, len(paint.bands))
        margin = paint.margin
        read = window.with_margin(margin)
        pixels = read_window(cog, read, paint.bands, paint.resampling)
        if paint.expression:
            pixels = paint.expression.evaluate(pixels)
        shape = GridShape(rows=read.rows, cols=read.cols)
        view = view_of(pixels, pixel_size_m(read.crs, read.transform, shape))
        rgba = colorize(view, paint.drawing, paint.ramp)
        return _encoded(
            rgba[:, margin : margin + window.rows, margin : margin + window.cols], paint, request
        )

    def _values(
        self, cog: DatasetReader, window: PixelWindow, request: PictureRequest
    ) -> EncodedPixels:
        choice = request.choice
        if choice.render or choice.ranges or choice.color_map:
            raise ParameterInvalid(
                f"{request.pixel_format} holds values; render, rescale and colormap are for "
                "pictures.",
            )
        if choice.expression and choice.bands:
            raise ParameterInvalid("Give only one of bands and expression.")
        expression = parse_expression(choice.expression, cog.count) if choice.expression else None
        bands = expression.bands if expression else choice.bands or data_bands(cog)
        check_bands(cog, bands)
        self._check_size(window, len(bands))
        pixels = read_window(cog, window, bands, choice.resampling or Resampling.nearest)
        names = tuple(cog.descriptions[band - 1] or f"b{band}" for band in bands)
        nodata = cog.nodata
        if expression:
            pixels = expression.evaluate(pixels)
            names, nodata = expression.blocks, float("nan")
        content = encode_values(pixels, request.pixel_format, window, nodata=nodata, names=names)
        return EncodedPixels(content, request.pixel_format.media_type)

    def _check_size(self, window: PixelWindow, band_count: int) -> None:
        if window.rows * window.cols * band_count > self._max_pixels:
            raise ParameterInvalid(
                f"{window.cols} x {window.rows} pixels of {band_count} bands are over the limit of "
                f"{self._max_pixels} values for one request.",
                remedy="Ask for a smaller picture, or for fewer bands.",
            )


def data_bands(cog: DatasetReader) -> tuple[int, ...]:
    """Return the bands other than alpha."""
    bands = tuple(
        band
        for band, color in zip(cog.indexes, cog.colorinterp, strict=True)
        if color is not ColorInterp.alpha
    )
    return bands or (1,)


def _whole(cog: DatasetReader, longest_px: int) -> PixelWindow:
    factor = max(max(cog.height, cog.width) / longest_px, 1.0)
    rows, cols = max(round(cog.height / factor), 1), max(round(cog.width / factor), 1)
    step = Affine.scale(cog.width / cols, cog.height / rows)
    return PixelWindow(cog.crs, cog.transform @ step, rows, cols)


def _encoded(rgba: Rgba, paint: Paint, request: PictureRequest) -> EncodedPixels:
    content = encode_picture(
        np.ascontiguousarray(rgba), request.pixel_format, lossless=paint.shows_classes
    )
    return EncodedPixels(content, request.pixel_format.media_type)
