"""Generate small rasters whose pixels, marks of missing pixels and places are near the limits."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from affine import Affine
from hypothesis import strategies as st
from numpy.typing import NDArray

Pixels = NDArray[Any]
Mask = NDArray[np.bool_]

INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
FLOATS = ("float32", "float64")
LOWEST_FLOAT32 = -3.4028234663852886e38


@dataclass(frozen=True)
class Place:
    """Where a raster is: its CRS, and west, north and the size of a pixel there.

    `size` is 0 for a raster of the whole Earth. `fits`: other CRS to which it is reprojected.
    """

    crs: str
    west: float
    north: float
    size: float
    fits: tuple[str, ...]


PLACES = {
    "utm": Place("EPSG:32618", 500_000, 4_500_000, 10, ("EPSG:4326", "EPSG:3857", "EPSG:2263")),
    "utm south": Place("EPSG:32733", 300_000, 6_200_000, 30, ("EPSG:4326", "EPSG:3857")),
    "degrees": Place("EPSG:4326", 8, 48, 0.01, ("EPSG:3857", "EPSG:32632", "EPSG:3035")),
    "nad": Place("EPSG:4269", -75, 41, 0.001, ("EPSG:26918", "EPSG:3857")),
    "antimeridian": Place("EPSG:4326", 179.95, -16, 0.01, ()),
    "0 to 360": Place("EPSG:4326", 190, 20, 0.05, ()),
    "mercator": Place("EPSG:3857", 1_000_000, 6_000_000, 100, ("EPSG:4326", "EPSG:32632")),
    "mercator seam": Place("EPSG:3857", 20_036_000, -1_800_000, 100, ("EPSG:4326",)),
    "europe": Place("EPSG:3035", 4_300_000, 3_200_000, 25, ("EPSG:4326", "EPSG:3857")),
    "arctic": Place("EPSG:3413", -700_000, 700_000, 1_000, ()),
    "north pole": Place("EPSG:3413", -15_000, 15_000, 1_000, ()),
    "antarctic": Place("EPSG:3031", 900_000, 900_000, 1_000, ()),
    "robinson": Place("ESRI:54030", 500_000, 4_000_000, 5_000, ()),
    "earth": Place("EPSG:4326", -180, 90, 0, ()),
    "earth from 0": Place("EPSG:4326", 0, 90, 0, ()),
}


@dataclass(frozen=True)
class Raster:
    """A raster, apart from how a format stores it.

    `pixels`, (bands, rows, cols). `masks`: one for all bands or one for each, False where a pixel
    is missing. `alpha`: the number of the alpha band, 0 for none. `palette`: (red, green, blue,
    alpha) of each entry. `color`: the colour that is transparent as a whole.
    """

    pixels: Pixels
    place: Place
    transform: Affine
    nodata: int | float | None = None
    masks: Mask | None = None
    alpha: int = 0
    palette: tuple[tuple[int, int, int, int], ...] = ()
    color: tuple[int, ...] = ()
    scale: float = 1.0
    offset: float = 0.0
    is_point: bool = False
    bits: int = 0
    layout: dict[str, str] = field(default_factory=dict)

    @property
    def data_bands(self) -> list[int]:
        """The indices of the bands other than alpha, from 0."""
        return [band for band in range(len(self.pixels)) if band + 1 != self.alpha]

    def valid(self) -> Mask:
        """Return (bands, rows, cols): a slow and obvious reading of docs/raster.md, "Validity".

        Alpha itself is valid.
        """
        valid = np.ones(self.pixels.shape, dtype=bool)
        missing = np.stack([_equals(band, self.nodata) for band in self.pixels])
        nan = np.stack([_equals(band, math.nan) for band in self.pixels])
        for band in self.data_bands:
            valid[band] = ~nan[band]
            if self.masks is not None:
                valid[band] &= self.masks[band if len(self.masks) > 1 else 0]
            elif self.color:
                hits = [self.pixels[index] == value for index, value in enumerate(self.color)]
                valid[band] &= ~np.all(hits, axis=0)
            elif self.alpha:
                data = self.data_bands
                valid[band] &= ~np.all(missing[data] | nan[data], axis=0)
            else:
                valid[band] &= ~missing[band]
            for entry, (*_, opacity) in enumerate(self.palette):
                if opacity == 0:
                    valid[band] &= self.pixels[band] != entry
            if self.alpha:
                valid[band] &= self.pixels[self.alpha - 1] != 0
        return valid


def _equals(pixels: Pixels, value: int | float | None) -> Mask:
    if value is None or not can_hold(pixels.dtype, value):
        return np.zeros(pixels.shape, dtype=bool)
    if value != value:
        return np.isnan(pixels) if pixels.dtype.kind == "f" else np.zeros(pixels.shape, dtype=bool)
    return np.asarray(pixels == np.array(value).astype(pixels.dtype))


def can_hold(dtype: np.dtype[Any], value: int | float) -> bool:
    """Return whether a pixel can have the value, which is rounded for floats."""
    if dtype.kind == "f":
        return not math.isfinite(value) or abs(value) <= float(np.finfo(dtype).max)
    limits = np.iinfo(dtype)
    return math.isfinite(value) and value == int(value) and limits.min <= value <= limits.max


def limits_of(dtype: str, bits: int = 0) -> tuple[int, int]:
    """Return the least and the greatest integer of the type, or of as many bits."""
    limits = np.iinfo(dtype)
    return (0, 2**bits - 1) if bits else (int(limits.min), int(limits.max))


def values_of(dtype: str, bits: int = 0) -> list[Any]:
    """Return values of pixels: ends of the type, their neighbours and common ones."""
    if dtype.startswith("float"):
        if bits == 16:
            return [0.0, 1.0, -1.0, 0.5, 65504.0, -9984.0, 2.0**-14]
        some = [0.0, 1.0, -1.0, 0.1, -9999.0, 1e10, -32768.0, 12.75, 2.0**24 + 1]
        return [*some, 1e300] if dtype == "float64" else [*some, LOWEST_FLOAT32]
    low, high = limits_of(dtype, bits)
    return sorted({low, min(low + 1, high), 0, 1, high // 2, max(high - 1, 0), high, min(high, 7)})


def nodata_of(dtype: str) -> st.SearchStrategy[int | float | None]:
    """Return nodata values: common ones, the ends of the type, and some that it cannot hold."""
    some: list[int | float | None] = [None, 0, 7, -9999, 255]
    if dtype.startswith("float"):
        more = [math.nan, math.inf, -math.inf, LOWEST_FLOAT32, 1e10, 0.1, -9999.0]
        return st.sampled_from([*some, *more])
    low, high = limits_of(dtype)
    return st.sampled_from([*some, low, high, max(low, -(2**63)) + 1, high - 1, 1.5])


SIDES = st.one_of(st.integers(1, 40), st.sampled_from([1, 1, 2, 3, 16, 17, 33, 130]))
SIZES = st.one_of(
    st.tuples(SIDES, SIDES), st.sampled_from([(1, 1), (1, 600), (520, 2), (3, 1025), (513, 1)])
)


def _is_fraction(nodata: int | float | None) -> bool:
    return nodata is not None and math.isfinite(nodata) and nodata != int(nodata)


@st.composite
def pixels_of(
    draw: st.DrawFn,
    dtype: str,
    bands: int,
    nodata: int | float | None = None,
    *,
    bits: int = 0,
    has_nan: bool = False,
) -> Pixels:
    """Draw pixels of a size of SIZES, among them some with the nodata value."""
    rows, cols = draw(SIZES)
    random = np.random.default_rng(draw(st.integers(0, 999)))
    pool: list[Any] = values_of(dtype, bits)
    if draw(st.booleans()):
        pool = pool[:: draw(st.integers(1, 4))]
    if _is_fraction(nodata) and not dtype.startswith("float"):
        # GDAL 3.12 copies 1 as 2 beside the nodata value 1.5, and 64-bit integers get 1 for it.
        pool = [value for value in pool if value != int(nodata or 0)] or [7]
    if draw(st.booleans()) and dtype.startswith("float"):
        pixels = random.normal(1000, 200, (bands, rows, cols)).astype(
            "float16" if bits == 16 else dtype
        )
        pixels = pixels.astype(dtype)
    else:
        pixels = random.choice(np.array(pool, dtype=dtype), (bands, rows, cols))
    if nodata is not None and can_hold(pixels.dtype, nodata):
        pixels[random.random(pixels.shape) < draw(st.sampled_from([0.1, 0.5, 0.95]))] = nodata
    if has_nan:
        pixels[random.random(pixels.shape) < 0.2] = math.nan
    return pixels


@st.composite
def masks_of(draw: st.DrawFn, shape: tuple[int, ...], *, per_band: bool = False) -> Mask:
    """Draw one mask for all bands, or one for each."""
    bands, rows, cols = shape
    random = np.random.default_rng(draw(st.integers(0, 999)))
    count = bands if per_band else 1
    return random.random((count, rows, cols)) < draw(st.sampled_from([0.3, 0.7, 1.0]))


@st.composite
def transforms(
    draw: st.DrawFn, place: Place, shape: tuple[int, ...], *, only_north_up: bool = False
) -> Affine:
    """Draw a transform at the place: north up, rotated, sheared or south up.

    Rows of a raster of the whole Earth end at the poles or are centred on them.
    """
    size = place.size
    if not size:
        *_, rows, cols = shape
        is_centered = rows > 1 and draw(st.booleans())
        tall = 180 / (rows - 1) if is_centered else 180 / rows
        return Affine(360 / cols, 0, place.west, 0, -tall, 90 + tall / 2 if is_centered else 90)
    kind = draw(st.sampled_from(["north up", "north up", "rotated", "sheared", "south up"]))
    tall = size * draw(st.sampled_from([1.0, 1.0, 0.5]))
    corner = Affine.translation(place.west, place.north)
    if only_north_up or kind == "north up":
        return corner @ Affine.scale(size, -tall)
    if kind == "rotated":
        angle = draw(st.sampled_from([0.3, 1.2, 2.5, -0.7]))
        turned = Affine(math.cos(angle), -math.sin(angle), 0, math.sin(angle), math.cos(angle), 0)
        return corner @ turned @ Affine.scale(size, -tall)
    if kind == "south up":
        return corner @ Affine.scale(size, tall)
    return corner @ Affine(size, size / 4, 0, 0, -tall, 0)
