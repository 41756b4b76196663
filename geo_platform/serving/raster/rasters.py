"""Answer requests for tiles, pictures and values of published rasters.

    rasters = PublishedRasters(objects, sources, max_pixels=4_194_304)
    answer = rasters.tile(item, TilePlace(...), PictureRequest(...))

`cogs.py` opens the COG, `reading.py` reads it, `painting.py` chooses how it is drawn and
`encoding.py` encodes it. Nothing here knows HTTP.

Called by `api/serving/raster.py` and `api/serving/raster_parameters.py`.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.io import DatasetReader
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from geo_platform.catalog.renders import render_titles
from geo_platform.errors import ParameterInvalid
from geo_platform.grid import GridShape
from geo_platform.ports import ObjectStore
from geo_platform.raster.picture import Rgba, colorize, decimated_view, pixel_size_m
from geo_platform.serving.published import PublishedItem
from geo_platform.serving.raster.cogs import DEFAULT_ASSET, CogReader, OpenCog
from geo_platform.serving.raster.descriptions import TileFacts, mercator_zooms
from geo_platform.serving.raster.encoding import PixelFormat, encode_picture, encode_values
from geo_platform.serving.raster.expressions import BandExpression, parse_expression
from geo_platform.serving.raster.grids import (
    NativeGrid,
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
from geo_platform.serving.raster.reading import WindowPixels, read_window
from geo_platform.serving.raster.values import BandFigures, figures, pixel_at, plain
from geo_platform.serving.raster.windows import MERCATOR, PixelWindow, moved_points
from geo_platform.storage.gdal_sources import GdalSources


@dataclass(frozen=True)
class PictureRequest:
    """What is drawn, and how the answer is encoded."""

    pixel_format: PixelFormat = PixelFormat.png
    asset: str = DEFAULT_ASSET
    choice: DrawingChoice = field(default_factory=DrawingChoice)


@dataclass(frozen=True)
class TilePlace:
    grid: TileGrid
    zoom: int
    x: int
    y: int
    tile_px: int = 256


@dataclass(frozen=True)
class RasterArea:
    """A part of a raster: bounds (west, south, east, north) in `crs`, which is also the output's.

    `output_crs`: None for the raster's own. `longest_px`: most pixels of the longer side.
    """

    bounds: tuple[float, float, float, float]
    crs: CRS
    output_crs: CRS | None
    longest_px: int


@dataclass(frozen=True)
class EncodedPixels:
    content: bytes
    media_type: str


@dataclass(frozen=True)
class PixelValues:
    """The values of the bands at one pixel, None where a band is not valid there."""

    row: int
    col: int
    values: dict[str, float | int | None]


@dataclass(frozen=True)
class AreaFigures:
    """Figures of each band. `is_exact`: every pixel was read, not an overview."""

    bands: list[BandFigures]
    is_exact: bool


class PublishedRasters:
    """Reads published rasters. Safe among threads. `max_pixels` bounds what one request reads."""

    def __init__(self, objects: ObjectStore, sources: GdalSources, *, max_pixels: int) -> None:
        self._cogs = CogReader(objects, sources)
        self._painter = Painter()
        self._max_pixels = max_pixels

    def tile(
        self, item: PublishedItem, address: TilePlace, request: PictureRequest
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
                window = native_window(_grid(cog.full), address.zoom, address.x, address.y)
            return self._answer(item, cog, window, request)

    def preview(
        self, item: PublishedItem, longest_px: int, request: PictureRequest
    ) -> EncodedPixels:
        """Return the whole raster on its own grid, at most `longest_px` per side.

        Drawn by a render of the item, a picture has the same pixels as the item's preview. Errors
        as of `tile`.
        """
        with self._cogs.open(item, request.asset) as cog:
            window = _whole(cog.full, longest_px)
            self._check_size(window, 1)
            choice = request.choice
            if request.pixel_format.holds_values or choice.expression or choice.resampling:
                return self._answer(item, cog, window, request)
            paint = self._painter.paint(item, request.asset, cog.full, request.choice)
            self._check_size(window, len(paint.bands))
            view = decimated_view(cog.full, paint.drawing, longest_px)
            return _encoded(colorize(view, paint.drawing, paint.ramp), paint, request)

    def area(self, item: PublishedItem, area: RasterArea, request: PictureRequest) -> EncodedPixels:
        """Return a part of the raster, in full resolution if that is not too many pixels.

        Errors as of `tile`.
        """
        with self._cogs.open(item, request.asset) as cog:
            return self._answer(item, cog, _area_window(cog.full, area), request)

    def values_at(
        self,
        item: PublishedItem,
        asset: str,
        place: tuple[float, float],
        crs: CRS,
        choice: DrawingChoice,
    ) -> PixelValues:
        """Return the values of the pixel that holds a point (x, y).

        Raises NotFound: the point is outside the raster, too. Errors as of `tile`.
        """
        with self._cogs.open(item, asset) as cog:
            row, col = pixel_at(cog.full, *place, crs)
            bands, expression = _bands(cog.full, choice)
            reading = {"window": Window(col, row, 1, 1)}
            everything = cog.full.read(**reading)
            valid = cog.validity.of_bands(cog.full, everything, **reading)
            index = [band - 1 for band in bands]
            pixels = WindowPixels(everything[index], valid[index])
            if expression:
                pixels = expression.evaluate(pixels)
            names = expression.blocks if expression else tuple(f"b{band}" for band in bands)
            values = {
                name: plain(value, is_valid)
                for name, value, is_valid in zip(
                    names, pixels.values[:, 0, 0], pixels.valid[:, 0, 0], strict=True
                )
            }
            return PixelValues(row, col, values)

    def statistics(
        self, item: PublishedItem, asset: str, area: RasterArea | None, choice: DrawingChoice
    ) -> AreaFigures:
        """Return figures of the valid pixels of an area, or of the whole raster.

        More pixels than one request may read are read from an overview. Errors as of `tile`.
        """
        with self._cogs.open(item, asset) as cog:
            bands, expression = _bands(cog.full, choice)
            whole = max(cog.full.height, cog.full.width)
            window = _area_window(cog.full, area) if area else _whole(cog.full, whole)
            count = window.rows * window.cols * len(bands)
            is_exact = count <= self._max_pixels
            if not is_exact:
                shrunk = math.sqrt(self._max_pixels / count)
                window = window.resized(
                    max(int(window.rows * shrunk), 1), max(int(window.cols * shrunk), 1)
                )
            pixels = read_window(cog, window, bands, Resampling.nearest)
            names = expression.blocks if expression else tuple(f"b{band}" for band in bands)
            if expression:
                pixels = expression.evaluate(pixels)
            return AreaFigures(figures(pixels, names), is_exact)

    def facts(self, item: PublishedItem, asset: str) -> TileFacts:
        """Return what TileJSON and WMTS say about a raster. Errors as of `tile`."""
        with self._cogs.open(item, asset) as cog:
            full = cog.full
            drawings = self._painter.drawings(item, asset, full)
            try:
                native = _grid(full)
            except ParameterInvalid:
                native = None
            west, south, east, north = (float(each) for each in item.document["bbox"])
            return TileFacts(
                title=item.properties.get("title") or item.item_id,
                bounds=(west, south, east, north),
                zooms=mercator_zooms(
                    max(full.height, full.width), _pixel_size(full, MERCATOR) or 1.0
                ),
                native=native,
                renders=render_titles(drawings),
            )

    def _answer(
        self, item: PublishedItem, cog: OpenCog, window: PixelWindow, request: PictureRequest
    ) -> EncodedPixels:
        if request.pixel_format.holds_values:
            return self._values(cog, window, request)
        paint = self._painter.paint(item, request.asset, cog.full, request.choice)
        self._check_size(window, len(paint.bands))
        margin = paint.margin
        read = window.with_margin(margin)
        pixels = read_window(cog, read, paint.bands, paint.resampling)
        if paint.expression:
            pixels = paint.expression.evaluate(pixels)
        shape = GridShape(rows=read.rows, cols=read.cols)
        view = view_of(pixels, pixel_size_m(read.crs, read.transform, shape))
        rgba = colorize(view, paint.drawing, paint.ramp)
        rows, cols = slice(margin, margin + window.rows), slice(margin, margin + window.cols)
        return _encoded(rgba[:, rows, cols], paint, request)

    def _values(self, cog: OpenCog, window: PixelWindow, request: PictureRequest) -> EncodedPixels:
        choice = request.choice
        if choice.render or choice.ranges or choice.color_map:
            raise ParameterInvalid(
                f"{request.pixel_format} holds values; render, rescale and colormap are for "
                "pictures.",
                remedy="Leave them out, or ask for png, webp or jpg.",
            )
        bands, expression = _bands(cog.full, choice)
        self._check_size(window, len(bands))
        pixels = read_window(cog, window, bands, choice.resampling or Resampling.nearest)
        names = tuple(cog.full.descriptions[band - 1] or f"b{band}" for band in bands)
        nodata = cog.full.nodata
        if expression:
            pixels = expression.evaluate(pixels)
            names, nodata = expression.blocks, math.nan
        content = encode_values(pixels, request.pixel_format, window, nodata=nodata, names=names)
        return EncodedPixels(content, request.pixel_format.media_type)

    def _check_size(self, window: PixelWindow, band_count: int) -> None:
        if window.rows * window.cols * band_count > self._max_pixels:
            raise ParameterInvalid(
                f"{window.cols} x {window.rows} pixels of {band_count} bands are over the limit of "
                f"{self._max_pixels} values for one request.",
                remedy="Ask for a smaller picture (max_size), or for fewer bands.",
            )


def _bands(
    cog: DatasetReader, choice: DrawingChoice
) -> tuple[tuple[int, ...], BandExpression | None]:
    """Return the bands to read for values, and the expression of them, if there is one."""
    if choice.expression and choice.bands:
        raise ParameterInvalid(
            "Give only one of bands and expression.",
            remedy="An expression names the bands that it uses.",
        )
    expression = parse_expression(choice.expression, cog.count) if choice.expression else None
    bands = expression.bands if expression else choice.bands or _data_bands(cog)
    check_bands(cog, bands)
    return bands, expression


def _data_bands(cog: DatasetReader) -> tuple[int, ...]:
    """Return the bands other than alpha."""
    bands = tuple(
        band
        for band, color in zip(cog.indexes, cog.colorinterp, strict=True)
        if color is not ColorInterp.alpha
    )
    return bands or (1,)


def _grid(cog: DatasetReader) -> NativeGrid:
    return native_grid(cog.crs, cog.transform, rows=cog.height, cols=cog.width)


def _whole(cog: DatasetReader, longest_px: int) -> PixelWindow:
    factor = max(max(cog.height, cog.width) / longest_px, 1.0)
    rows, cols = max(round(cog.height / factor), 1), max(round(cog.width / factor), 1)
    step = Affine.scale(cog.width / cols, cog.height / rows)
    return PixelWindow(cog.crs, cog.transform @ step, rows, cols)


def _area_window(cog: DatasetReader, area: RasterArea) -> PixelWindow:
    """Return the window of an area, with pixels about as large as the raster's, or larger.

    Raises ParameterInvalid: the area has no place in the output's CRS.
    """
    west, south, east, north = area.bounds
    if west > east and area.crs.is_geographic:
        east += 360.0
    output = area.output_crs or cog.crs
    bounds = (west, south, east, north)
    if output != area.crs:
        bounds = transform_bounds(area.crs, output, *bounds, densify_pts=21)
    width, height = bounds[2] - bounds[0], bounds[3] - bounds[1]
    if not (math.isfinite(width) and math.isfinite(height) and width > 0 and height > 0):
        raise ParameterInvalid(
            f"The bbox {', '.join(f'{each:g}' for each in area.bounds)} is not an area in the CRS "
            "of the picture.",
            remedy="Give west,south,east,north with west < east and south < north, and its CRS in "
            "bbox_crs.",
        )
    # Where the raster has no place in the CRS, any size will do: nothing is read.
    size = _pixel_size(cog, output) or width / 256
    cols, rows = width / size, height / size
    shrunk = max(max(cols, rows) / area.longest_px, 1.0)
    return PixelWindow.of_bounds(
        output, bounds, rows=max(round(rows / shrunk), 1), cols=max(round(cols / shrunk), 1)
    )


def _pixel_size(cog: DatasetReader, crs: CRS) -> float | None:
    """Return the side of a pixel in the middle of the raster, in units of a CRS.

    None if that place is not in the CRS.
    """
    place = cog.transform
    own = math.sqrt(abs(place.a * place.e - place.b * place.d))
    if crs == cog.crs:
        return own
    x, y = place @ (cog.width / 2, cog.height / 2)
    xs, ys = moved_points(cog.crs, crs, [x, x + own, x], [y, y, y + own])
    across = math.hypot(xs[1] - xs[0], ys[1] - ys[0])
    down = math.hypot(xs[2] - xs[0], ys[2] - ys[0])
    size = min(across, down)
    return size if math.isfinite(size) and size > 0 else None


def _encoded(rgba: Rgba, paint: Paint, request: PictureRequest) -> EncodedPixels:
    content = encode_picture(
        np.ascontiguousarray(rgba), request.pixel_format, lossless=paint.shows_classes
    )
    return EncodedPixels(content, request.pixel_format.media_type)
