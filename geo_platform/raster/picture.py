"""Draw the thumbnail and the web preview of a COG from its overviews: stretch, colour, encode.

For the outline of the valid data see `footprint.py`.

Called by `convert.py`.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.io import DatasetReader, MemoryFile

from geo_platform.contracts.raster import RasterType
from geo_platform.grid import GridShape
from geo_platform.raster.validity import Mask, pixel_validity

THUMBNAIL_PX = 256
PREVIEW_PX = 1024
STRETCH_PERCENTILES = (2.0, 98.0)
# Light of the hillshade from the north-west, as is usual in maps (Horn 1981; GDAL's defaults).
AZIMUTH_DEG, ALTITUDE_DEG = 315.0, 45.0

# Stops of a colour ramp: (position from 0 to 1, colour).
ELEVATION_RAMP = (
    (0.0, (44, 105, 79)),
    (0.25, (148, 176, 112)),
    (0.5, (222, 205, 147)),
    (0.75, (164, 120, 84)),
    (1.0, (250, 250, 250)),
)
# viridis (van der Walt and Smith, CC0) at five stops.
CONTINUOUS_RAMP = (
    (0.0, (68, 1, 84)),
    (0.25, (59, 82, 139)),
    (0.5, (33, 145, 140)),
    (0.75, (94, 201, 98)),
    (1.0, (253, 231, 37)),
)

# matplotlib's tab10 without its last two (CC0).
CATEGORY_COLORS = (
    (31, 119, 180),
    (255, 127, 14),
    (44, 160, 44),
    (214, 39, 40),
    (148, 103, 189),
    (140, 86, 75),
    (227, 119, 194),
    (127, 127, 127),
)

Rgba = NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """An encoded picture in the grid's orientation, transparent where there is no data."""

    media_type: str
    content: bytes


@dataclass(frozen=True)
class DecimatedView:
    """A COG at preview size: pixels (bands, rows, cols), valid (rows, cols) and geotransform."""

    pixels: NDArray[Any]
    valid: Mask
    transform: Affine


def decimated_view(
    cog: DatasetReader, raster_type: RasterType, longest_px: int = PREVIEW_PX
) -> DecimatedView:
    """Read at most three bands with at most `longest_px` per side, from the overview that fits.

    Both pictures and the footprint are made from the same view, so the COG is read once.
    """
    factor = max(max(cog.height, cog.width) / longest_px, 1.0)
    shape = GridShape(
        rows=max(round(cog.height / factor), 1), cols=max(round(cog.width / factor), 1)
    )
    resampling = Resampling.nearest if raster_type is RasterType.categorical else Resampling.average
    pixels = cog.read(
        display_bands(cog, raster_type), out_shape=(shape.rows, shape.cols), resampling=resampling
    )
    valid = pixel_validity(cog, out_shape=(shape.rows, shape.cols), resampling=Resampling.nearest)
    return DecimatedView(
        pixels,
        valid,
        cog.transform @ Affine.scale(cog.width / shape.cols, cog.height / shape.rows),
    )


def display_bands(cog: DatasetReader, raster_type: RasterType) -> list[int]:
    """Return the numbers of the bands to show, three or one.

    These are the bands marked red, green and blue, else the first three bands of a raster type with
    several bands, else the first band.
    """
    names = {color.name: index for index, color in zip(cog.indexes, cog.colorinterp, strict=True)}
    if {"red", "green", "blue"} <= set(names):
        return [names["red"], names["green"], names["blue"]]
    has_many_bands = raster_type in (
        RasterType.rgb,
        RasterType.rgba,
        RasterType.nir,
        RasterType.multispectral,
    )
    return [1, 2, 3] if has_many_bands and cog.count >= 3 else [1]


def pictures(
    cog: DatasetReader, view: DecimatedView, raster_type: RasterType
) -> tuple[Picture, Picture]:
    """Return (thumbnail, preview): a PNG of at most 256 px and a WebP of at most 1,024 px."""
    rgba = colorize(cog, view, raster_type)
    step = max(math.ceil(max(rgba.shape[1:]) / THUMBNAIL_PX), 1)
    small = _shrink(rgba, step)
    return Picture("image/png", _encode(small, "PNG")), Picture(
        "image/webp", _encode(rgba, "WEBP", QUALITY=80)
    )


def colorize(cog: DatasetReader, view: DecimatedView, raster_type: RasterType) -> Rgba:
    """Return the view as RGBA of shape (4, rows, cols). Alpha is 0 where there is no data.

    The colours come from the colour table, the categories, the shaded relief or the stretched
    values, whichever fits first.
    """
    valid = view.valid
    if cog.colorinterp[0].name == "palette":
        colors = _by_color_table(view.pixels[0], cog.colormap(1))
    elif raster_type is RasterType.categorical and len(view.pixels) == 1:
        colors = _by_category(view.pixels[0], valid)
    elif raster_type is RasterType.dem:
        colors = _shaded_relief(view, valid)
    elif len(view.pixels) == 3:
        has_display_values = view.pixels.dtype == np.uint8 and raster_type in (
            RasterType.rgb,
            RasterType.rgba,
        )
        colors = view.pixels if has_display_values else _stretch(view.pixels, valid)
    else:
        colors = _apply_ramp(_stretch(view.pixels[:1], valid)[0] / 255.0, CONTINUOUS_RAMP)
    return np.concatenate(
        [
            np.where(valid, colors, 0).astype(np.uint8),
            np.where(valid, 255, 0).astype(np.uint8)[None],
        ]
    )


def _stretch(pixels: NDArray[Any], valid: Mask) -> Rgba:
    """Map each band from its 2nd to 98th percentile of valid pixels to 0 to 255."""
    stretched = np.zeros(pixels.shape, dtype=np.uint8)
    if not valid.any():
        return stretched
    for index, band in enumerate(pixels):
        has_value = valid & np.isfinite(band) if band.dtype.kind == "f" else valid
        if not has_value.any():
            continue
        low, high = np.percentile(band[has_value].astype(np.float64), STRETCH_PERCENTILES)
        if high <= low:
            stretched[index] = 128
            continue
        scaled = (np.where(has_value, band, low).astype(np.float64) - low) / (high - low)
        stretched[index] = np.clip(scaled * 255.0, 0, 255).astype(np.uint8)
    return stretched


def _shaded_relief(view: DecimatedView, valid: Mask) -> Rgba:
    """Return elevation colours with a hillshade, exaggerated so that flat terrain is visible."""
    if view.pixels.dtype.kind == "f":
        valid = valid & np.isfinite(view.pixels[0])
    heights = np.where(valid, view.pixels[0], np.nan).astype(np.float64)
    colors = _apply_ramp(_stretch(view.pixels[:1], valid)[0] / 255.0, ELEVATION_RAMP)
    if min(heights.shape) < 2 or not valid.any():
        return colors
    down, across = np.gradient(np.where(valid, heights, np.nanmean(heights)))
    typical_slope = float(np.percentile(np.hypot(across, down)[valid], 90)) or 1.0
    slope = np.arctan(np.hypot(across, down) / typical_slope)
    aspect = np.arctan2(-across, down)
    zenith, azimuth = math.radians(90 - ALTITUDE_DEG), math.radians(AZIMUTH_DEG)
    shade = np.cos(zenith) * np.cos(slope) + np.sin(zenith) * np.sin(slope) * np.cos(
        azimuth - aspect
    )
    light = 0.45 + 0.65 * np.clip(shade, 0, 1)
    return np.asarray(np.clip(colors * light, 0, 255), dtype=np.uint8)


def _apply_ramp(
    position: NDArray[np.float64], ramp: tuple[tuple[float, tuple[int, int, int]], ...]
) -> Rgba:
    """Return the colours at positions from 0 to 1, interpolated linearly between the stops."""
    stops = [stop for stop, _ in ramp]
    return np.stack(
        [np.interp(position, stops, [color[channel] for _, color in ramp]) for channel in range(3)]
    ).astype(np.uint8)


def _by_color_table(classes: NDArray[Any], table: dict[int, tuple[int, int, int, int]]) -> Rgba:
    size = max(max(table), int(classes.max(initial=0))) + 1
    lookup = np.zeros((size, 3), dtype=np.uint8)
    for value, color in table.items():
        lookup[value] = color[:3]
    return np.moveaxis(lookup[classes.astype(np.int64)], -1, 0)


def _by_category(classes: NDArray[Any], valid: Mask) -> Rgba:
    """Give each value a colour, in ascending order. Colours repeat after eight."""
    values = np.unique(classes[valid])
    order = np.searchsorted(values, np.where(valid, classes, values[0] if values.size else 0))
    return np.moveaxis(
        np.array(CATEGORY_COLORS, dtype=np.uint8)[order % len(CATEGORY_COLORS)], -1, 0
    )


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


def _encode(rgba: Rgba, driver: str, **options: Any) -> bytes:
    # The transform is a dummy: without one rasterio warns, with a real one GDAL writes a sidecar.
    _, rows, cols = rgba.shape
    with MemoryFile() as memory:
        with memory.open(
            driver=driver,
            width=cols,
            height=rows,
            count=4,
            dtype="uint8",
            transform=Affine.scale(2.0),
            **options,
        ) as picture:
            picture.write(rgba)
        return bytes(memory.read())
