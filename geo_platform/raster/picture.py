"""Draw a raster: decide its style from its pixels, colour them, and encode the pictures of a COG.

The thumbnail, the preview and tiles are drawn by the same `colorize`. Which style suits which
raster, and the colours, are in `geo_platform/drawing.py`. For the outline of the valid data see
`footprint.py`.

Used by `raster` and `serving/raster`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.enums import Resampling
from rasterio.io import DatasetReader, MemoryFile

from geo_platform.contracts.raster import ClassColor, Drawing, DrawingStyle, RasterType
from geo_platform.drawing import (
    CATEGORY_COLORS,
    CONTINUOUS_RAMP,
    ELEVATION_RAMP,
    MAX_CLASSES,
    ColorRamp,
    bands_to_show,
    drawing_style,
)
from geo_platform.grid import GridShape
from geo_platform.raster.metadata import color_table
from geo_platform.raster.validity import Mask, validity_of

THUMBNAIL_PX = 256
PREVIEW_PX = 1024
STRETCH_PERCENTILES = (2.0, 98.0)
# Light of the hillshade from the north-west, as is usual in maps (Horn 1981; GDAL's defaults).
AZIMUTH_DEG, ALTITUDE_DEG = 315.0, 45.0
# The slope of which a tenth of the pixels is steeper is shaded at 45 degrees.
TYPICAL_SLOPE_PERCENTILE = 90
METRES_PER_DEGREE = 111_320.0
_LARGEST_DRAWN = 1e100

WITH_CLASSES = (DrawingStyle.palette, DrawingStyle.classes)
WITH_SLOPES = (DrawingStyle.relief, DrawingStyle.hillshade)

Rgba = NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """An encoded picture in the grid's orientation, transparent where there is no data."""

    media_type: str
    content: bytes


@dataclass(frozen=True)
class RasterView:
    """Pixels to draw: (bands, rows, cols), where one is valid (rows, cols), and their size.

    `pixel_m` is the width and height of a pixel on the ground, about, in metres.
    """

    pixels: NDArray[Any]
    valid: Mask
    pixel_m: tuple[float, float]


def decide_drawing(
    cog: DatasetReader,
    raster_type: RasterType,
    *,
    class_names: Sequence[str] = (),
    longest_px: int = PREVIEW_PX,
) -> tuple[Drawing, RasterView]:
    """Return how a COG is drawn, and the pixels that decide it, at most `longest_px` per side.

    `class_names`: those of the values 0, 1 and so on, "" for a value without a name.
    """
    bands = bands_to_show(raster_type, [color.name for color in cog.colorinterp])
    style = drawing_style(
        raster_type,
        bands,
        dtype=cog.dtypes[bands[0] - 1],
        has_color_table=cog.colorinterp[0].name == "palette",
    )
    view = decimated_view(cog, Drawing(style=style, bands=bands), longest_px)
    drawing = _complete(style, bands, view, cog)
    colors = tuple(_named(each, class_names) for each in drawing.colors)
    return drawing.model_copy(update={"colors": colors}), view


def _named(color: ClassColor, names: Sequence[str]) -> ClassColor:
    is_listed = isinstance(color.value, int) and 0 <= color.value < len(names)
    name = names[int(color.value)] if is_listed else ""
    return color.model_copy(update={"name": name}) if name else color


def decimated_view(
    cog: DatasetReader, drawing: Drawing, longest_px: int = PREVIEW_PX
) -> RasterView:
    """Read the bands of a drawing with at most `longest_px` per side, from the fitting overview.

    A pixel is valid if a band that is drawn is valid.
    """
    factor = max(max(cog.height, cog.width) / longest_px, 1.0)
    shape = GridShape(
        rows=max(round(cog.height / factor), 1), cols=max(round(cog.width / factor), 1)
    )
    out_shape = (shape.rows, shape.cols)
    resampling = Resampling.nearest if drawing.style in WITH_CLASSES else Resampling.average
    pixels = cog.read(list(drawing.bands), out_shape=out_shape, resampling=resampling)
    valid = validity_of(cog).of_pixels(
        cog, bands=drawing.bands, out_shape=out_shape, resampling=Resampling.nearest
    )
    transform = cog.transform @ Affine.scale(cog.width / shape.cols, cog.height / shape.rows)
    return RasterView(pixels, valid, pixel_size_m(cog.crs, transform, shape))


def pixel_size_m(crs: Any, transform: Affine, shape: GridShape) -> tuple[float, float]:
    """Return about the width and height in metres of a pixel in the middle of a grid."""
    width, height = math.hypot(transform.a, transform.d), math.hypot(transform.b, transform.e)
    if crs is None:
        return width, height
    _, y = transform @ (shape.cols / 2, shape.rows / 2)
    if crs.is_geographic:
        return (
            width * METRES_PER_DEGREE * max(math.cos(math.radians(y)), 0.01),
            height * METRES_PER_DEGREE,
        )
    if crs.to_epsg() == 3857:
        # Mercator stretches distances by 1 / cos(latitude), which is cosh(y / radius).
        scale = math.cosh(min(abs(y) / 6_378_137.0, 4.0))
        return width / scale, height / scale
    unit = CRS.from_user_input(crs.to_wkt()).axis_info[0].unit_conversion_factor
    return width * unit, height * unit


def pictures(view: RasterView, drawing: Drawing) -> tuple[Picture, Picture]:
    """Return (thumbnail, preview): a PNG of at most 256 px and a WebP of at most 1,024 px.

    The preview of classes is lossless: its colours are those of the legend.
    """
    rgba = colorize(view, drawing)
    step = max(math.ceil(max(rgba.shape[1:]) / THUMBNAIL_PX), 1)
    small = _shrink(rgba, step)
    lossy = {"QUALITY": 80}
    options = {"LOSSLESS": "YES"} if drawing.style in WITH_CLASSES else lossy
    return Picture("image/png", encode(small, "PNG")), Picture(
        "image/webp", encode(rgba, "WEBP", **options)
    )


def colorize(view: RasterView, drawing: Drawing, ramp: ColorRamp = CONTINUOUS_RAMP) -> Rgba:
    """Return the view as RGBA of shape (4, rows, cols). Alpha is 0 where there is no data.

    `ramp`: the colours of the style `ramp`.
    """
    valid = view.valid
    match drawing.style:
        case DrawingStyle.palette:
            colors = _by_color_table(view.pixels[0], drawing)
        case DrawingStyle.classes:
            colors = _by_class(view.pixels[0], drawing)
        case DrawingStyle.relief:
            tint = _apply_ramp(_position(view, drawing), ELEVATION_RAMP)
            light = 0.45 + 0.65 * _shade(view, drawing)
            colors = np.clip(tint * light, 0, 255).astype(np.uint8)
        case DrawingStyle.tint:
            colors = _apply_ramp(_position(view, drawing), ELEVATION_RAMP)
        case DrawingStyle.hillshade:
            shade = np.clip(_shade(view, drawing) * 255, 0, 255).astype(np.uint8)
            colors = np.repeat(shade[None], 3, axis=0)
        case DrawingStyle.natural:
            colors = view.pixels
        case DrawingStyle.stretched:
            colors = _stretch(view.pixels, valid, drawing.ranges)
        case DrawingStyle.ramp:
            colors = _apply_ramp(_position(view, drawing), ramp)
    return np.concatenate(
        [
            np.where(valid, colors, 0).astype(np.uint8),
            np.where(valid, 255, 0).astype(np.uint8)[None],
        ]
    )


def _complete(
    style: DrawingStyle, bands: tuple[int, ...], view: RasterView, cog: DatasetReader
) -> Drawing:
    """Return the drawing with the figures of the pixels that its style needs."""
    if style is DrawingStyle.natural:
        return Drawing(style=style, bands=bands)
    if style is DrawingStyle.palette:
        return Drawing(style=style, bands=bands, colors=table_colors(cog))
    if style is DrawingStyle.classes:
        values = np.unique(view.pixels[0][view.valid]).tolist()
        listed = values if len(values) <= MAX_CLASSES else []
        colors = tuple(
            ClassColor(value=value, color=CATEGORY_COLORS[place % len(CATEGORY_COLORS)])
            for place, value in enumerate(listed)
            if math.isfinite(value)
        )
        return Drawing(style=style, bands=bands, colors=colors)
    ranges = tuple(percentile_range(band, view.valid) for band in view.pixels)
    slope = _typical_slope(view) if style in WITH_SLOPES else None
    return Drawing(style=style, bands=bands, ranges=ranges, typical_slope=slope)


def table_colors(cog: DatasetReader) -> tuple[ClassColor, ...]:
    """Return the colour table of the first band, empty if it has none."""
    table = color_table(cog, 1)
    return tuple(ClassColor(value=value, color=color[:3]) for value, color in table.items())


def without_long_table(drawing: Drawing) -> Drawing:
    """Return the drawing for a message, in which a colour table has at most 256 entries.

    A longer one is read from the file again.
    """
    is_long = len(drawing.colors) > MAX_CLASSES
    return drawing.model_copy(update={"colors": ()}) if is_long else drawing


def percentile_range(band: NDArray[Any], valid: Mask) -> tuple[float, float]:
    """Return the 2nd and 98th percentile of the valid, finite pixels; (0, 0) without any."""
    has_value = _has_value(band, valid)
    if not has_value.any():
        return 0.0, 0.0
    low, high = np.percentile(_computable(band[has_value]), STRETCH_PERCENTILES)
    return float(low), float(high)


def _has_value(band: NDArray[Any], valid: Mask) -> Mask:
    return valid & np.isfinite(band) if band.dtype.kind == "f" else valid


def _computable(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the values as float64, none so large that a difference or a slope overflows."""
    return np.clip(values.astype(np.float64), -_LARGEST_DRAWN, _LARGEST_DRAWN)


def _stretch(pixels: NDArray[Any], valid: Mask, ranges: tuple[tuple[float, float], ...]) -> Rgba:
    """Map each band from its range to 0 to 255. A band of one value is gray."""
    stretched = np.zeros(pixels.shape, dtype=np.uint8)
    for index, (band, (low, high)) in enumerate(zip(pixels, ranges, strict=True)):
        has_value = _has_value(band, valid)
        if not has_value.any():
            continue
        if high <= low:
            stretched[index] = 128
            continue
        within = np.clip(_computable(np.where(has_value, band, low)), low, high)
        stretched[index] = ((within - low) / (high - low) * 255.0).astype(np.uint8)
    return stretched


def _position(view: RasterView, drawing: Drawing) -> NDArray[np.float64]:
    """Return the position of each pixel of the first band in the range, from 0 to 1."""
    stretched = _stretch(view.pixels[:1], view.valid, drawing.ranges[:1])
    return np.asarray(stretched[0].astype(np.float64) / 255.0)


def _shade(view: RasterView, drawing: Drawing) -> NDArray[np.float64]:
    """Return the light on each pixel, 0 to 1, exaggerated so that flat terrain is visible."""
    across, down = _slopes(view)
    # Horn's formula, with the sines and cosines of slope and aspect written as slopes.
    across, down = (each / (drawing.typical_slope or 1.0) for each in (across, down))
    zenith, azimuth = math.radians(90 - ALTITUDE_DEG), math.radians(AZIMUTH_DEG)
    facing = math.cos(azimuth) * down - math.sin(azimuth) * across
    steepness = np.hypot(1.0, np.hypot(across, down))
    shade = (math.cos(zenith) + math.sin(zenith) * facing) / steepness
    return np.asarray(np.clip(shade, 0, 1))


def _typical_slope(view: RasterView) -> float:
    valid = _has_value(view.pixels[0], view.valid)
    if not valid.any():
        return 1.0
    steepness = np.hypot(*_slopes(view))[valid]
    return float(np.percentile(steepness, TYPICAL_SLOPE_PERCENTILE)) or 1.0


def _slopes(view: RasterView) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the rise per metre to the right and downwards, from valid neighbours only.

    A pixel whose neighbour is missing counts for the neighbour, so that the slopes of a window are
    those of the whole raster except in its outermost rows and columns.
    """
    valid = _has_value(view.pixels[0], view.valid)
    heights = _computable(np.where(valid, view.pixels[0], 0))
    width, height = view.pixel_m
    return _slope(heights, valid, 1, width), _slope(heights, valid, 0, height)


def _slope(
    heights: NDArray[np.float64], valid: Mask, axis: int, step_m: float
) -> NDArray[np.float64]:
    def neighbours(values: NDArray[Any], shift: int) -> NDArray[Any]:
        padded = np.pad(values, [(1, 1) if each == axis else (0, 0) for each in (0, 1)])
        return np.take(padded, np.arange(values.shape[axis]) + 1 + shift, axis=axis)

    before, after = neighbours(valid, -1), neighbours(valid, 1)
    rise = np.where(after, neighbours(heights, 1), heights) - np.where(
        before, neighbours(heights, -1), heights
    )
    steps = before.astype(np.int8) + after
    return np.asarray(np.where(valid, rise / (np.maximum(steps, 1) * step_m), 0.0))


def _apply_ramp(position: NDArray[np.float64], ramp: ColorRamp) -> Rgba:
    """Return the colours at positions from 0 to 1, interpolated linearly between the stops."""
    stops = [stop for stop, _ in ramp]
    return np.stack(
        [np.interp(position, stops, [color[channel] for _, color in ramp]) for channel in range(3)]
    ).astype(np.uint8)


def _by_color_table(classes: NDArray[Any], drawing: Drawing) -> Rgba:
    size = (
        max(
            max((int(each.value) for each in drawing.colors), default=0),
            int(classes.max(initial=0)),
        )
        + 1
    )
    lookup = np.zeros((size, 3), dtype=np.uint8)
    for each in drawing.colors:
        lookup[int(each.value)] = each.color
    return np.moveaxis(lookup[classes.astype(np.int64)], -1, 0)


def _by_class(classes: NDArray[Any], drawing: Drawing) -> Rgba:
    """Give each listed value its colour. Values that are not listed share the eight colours."""
    palette = np.array(CATEGORY_COLORS, dtype=np.uint8)
    finite = np.nan_to_num(classes.astype(np.float64), posinf=0, neginf=0)
    colors = palette[np.mod(finite, len(palette)).astype(np.int64)]
    if drawing.colors:
        values = np.array([each.value for each in drawing.colors])
        place = np.clip(np.searchsorted(values, classes), 0, len(values) - 1)
        listed = np.array([each.color for each in drawing.colors], dtype=np.uint8)
        colors = np.where((values[place] == classes)[..., None], listed[place], colors)
    return np.moveaxis(colors, -1, 0)


def _shrink(rgba: Rgba, step: int) -> Rgba:
    """Average step x step pixels, weighted by opacity. Drop an incomplete last row or column."""
    if step == 1:
        return rgba
    rows, cols = max(rgba.shape[1] // step, 1), max(rgba.shape[2] // step, 1)
    block_rows, block_cols = min(step, rgba.shape[1]), min(step, rgba.shape[2])
    blocks = (
        rgba[:, : rows * block_rows, : cols * block_cols]
        .reshape(4, rows, block_rows, cols, block_cols)
        .astype(np.float64)
    )
    weight = blocks[3:].sum(axis=(2, 4))
    colors = (blocks[:3] * blocks[3:]).sum(axis=(2, 4)) / np.where(weight == 0, 1, weight)
    return np.concatenate([colors, blocks[3:].mean(axis=(2, 4))]).round().astype(np.uint8)


def encode(rgba: NDArray[Any], driver: str, **options: Any) -> bytes:
    """Return a picture in a format of GDAL, of bands of 8 bits, without georeference."""
    # The transform is a dummy: without one rasterio warns, with a real one GDAL writes a sidecar.
    count, rows, cols = rgba.shape
    with MemoryFile() as memory:
        with memory.open(
            driver=driver,
            width=cols,
            height=rows,
            count=count,
            dtype="uint8",
            transform=Affine.scale(2.0),
            **options,
        ) as picture:
            picture.write(rgba)
        return bytes(memory.read())
