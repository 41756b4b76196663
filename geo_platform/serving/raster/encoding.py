"""Encode pixels for a client: pictures as PNG, JPEG and WebP, values as NPY and GeoTIFF.

Used by `api/serving` and `serving/raster`.
"""

from enum import StrEnum
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from geo_platform.raster.picture import Rgba, encode
from geo_platform.serving.raster.reading import WindowPixels
from geo_platform.serving.raster.windows import PixelWindow


class PixelFormat(StrEnum):
    """The formats, by the suffix of an address."""

    png = "png"
    jpg = "jpg"
    jpeg = "jpeg"
    webp = "webp"
    npy = "npy"
    tif = "tif"

    @property
    def holds_values(self) -> bool:
        """Return whether it holds the values of the bands, not a picture of them."""
        return self in (PixelFormat.npy, PixelFormat.tif)

    @property
    def media_type(self) -> str:
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {
    PixelFormat.png: "image/png",
    PixelFormat.jpg: "image/jpeg",
    PixelFormat.jpeg: "image/jpeg",
    PixelFormat.webp: "image/webp",
    PixelFormat.npy: "application/x-numpy",
    PixelFormat.tif: "image/tiff; application=geotiff",
}
JPEG_QUALITY, WEBP_QUALITY = 85, 80


def encode_picture(rgba: Rgba, pixel_format: PixelFormat, *, lossless: bool) -> bytes:
    """Return the picture. JPEG has no transparency: it is white there.

    `lossless`: the colours mean something (classes), so that WebP must not change them.
    """
    if pixel_format is PixelFormat.png:
        # The fastest level: a tile is compressed once, and pictures of terrain hardly compress.
        return encode(rgba, "PNG", ZLEVEL=3)
    if pixel_format is PixelFormat.webp:
        if lossless:
            return encode(rgba, "WEBP", LOSSLESS="YES")
        # Without transparency GDAL writes a smaller and faster picture of three bands.
        bands = rgba[:3] if (rgba[3] == 255).all() else rgba
        return encode(bands, "WEBP", QUALITY=WEBP_QUALITY)
    opaque = np.where(rgba[3] > 0, rgba[:3], 255).astype(np.uint8)
    return encode(opaque, "JPEG", QUALITY=JPEG_QUALITY)


def encode_values(
    pixels: WindowPixels,
    pixel_format: PixelFormat,
    window: PixelWindow,
    *,
    nodata: Any,
    names: tuple[str, ...],
) -> bytes:
    """Return the values: as NPY with one more band that is 1 where all bands are valid, else 0.

    A GeoTIFF has the nodata value of the COG, or a mask if it has none. Its bands have `names`.
    """
    if pixel_format is PixelFormat.npy:
        valid = pixels.valid.all(axis=0).astype(pixels.values.dtype)
        stream = BytesIO()
        np.save(stream, np.concatenate([pixels.values, valid[None]]))
        return stream.getvalue()
    return _geotiff(pixels, window, nodata, names)


def _geotiff(
    pixels: WindowPixels, window: PixelWindow, nodata: Any, names: tuple[str, ...]
) -> bytes:
    count, rows, cols = pixels.values.shape
    fill = 0 if nodata is None else nodata
    values: NDArray[Any] = np.where(pixels.valid, pixels.values, fill).astype(pixels.values.dtype)
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=cols,
            height=rows,
            count=count,
            dtype=values.dtype,
            crs=window.crs,
            transform=window.transform,
            nodata=nodata,
            compress="deflate",
        ) as tiff:
            tiff.write(values)
            tiff.descriptions = names
            if nodata is None:
                tiff.write_mask(np.where(pixels.valid.any(axis=0), 255, 0).astype(np.uint8))
        return bytes(memory.read())
