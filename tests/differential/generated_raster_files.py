"""Generate raster files of each format: what they hold and how it is stored.

`raster_files.py` writes them.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from affine import Affine
from hypothesis import strategies as st

from tests.differential.generated_rasters import (
    FLOATS,
    INTEGERS,
    PLACES,
    Raster,
    can_hold,
    masks_of,
    nodata_of,
    pixels_of,
    transforms,
)


@dataclass(frozen=True)
class Drawn:
    """A raster and how it is stored. `georeference`: inside, world, aux or points."""

    extension: str
    raster: Raster
    georeference: str = "inside"
    has_crs_beside: bool = True


_TIFF_LAYOUTS = st.fixed_dictionaries(
    {
        "COMPRESS": st.sampled_from(["NONE", "LZW", "DEFLATE", "ZSTD", "PACKBITS", "LERC"]),
        "BIGTIFF": st.sampled_from(["YES", "NO"]),
        "ENDIANNESS": st.sampled_from(["BIG", "LITTLE"]),
        "INTERLEAVE": st.sampled_from(["PIXEL", "BAND"]),
        "SPARSE_OK": st.sampled_from(["YES", "NO"]),
    },
    optional={
        "TILED": st.just("YES"),
        "PREDICTOR": st.sampled_from(["2", "3"]),
        "BLOCKYSIZE": st.sampled_from(["16", "32"]),
    },
)


@st.composite
def _tiffs(draw: st.DrawFn) -> Drawn:
    kind = draw(st.sampled_from(["plain", "plain", "plain", "mask", "alpha", "palette", "bits"]))
    dtype = draw(st.sampled_from([*INTEGERS, *FLOATS, *FLOATS]))
    bands, bits, alpha = draw(st.sampled_from([1, 1, 1, 2, 3, 4, 6])), 0, 0
    if kind == "alpha":
        bands = max(bands, 2)
        alpha = draw(st.integers(1, bands))
        dtype = draw(st.sampled_from(["uint8", "uint8", "uint16", "int16", "float32", "int64"]))
    elif kind == "palette":
        dtype, bands = draw(st.sampled_from(["uint8", "uint8", "uint16"])), 1
    elif kind == "bits":
        dtype, bits = draw(
            st.sampled_from([("uint8", 1), ("uint8", 4), ("uint8", 7), ("uint16", 12)])
            | st.sampled_from([("uint32", 20), ("float32", 16)])
        )
    nodata = draw(nodata_of(dtype))
    if alpha and nodata is not None and ("int64" in dtype or not can_hold(np.dtype(dtype), nodata)):
        nodata = None  # a copy would lose the alpha band
    pixels = draw(
        pixels_of(
            dtype,
            bands,
            nodata if not bits or nodata == 1.5 else None,
            bits=bits,
            has_nan=dtype in FLOATS and draw(st.booleans()),
        )
    )
    if alpha:
        choice = np.random.default_rng(draw(st.integers(0, 99))).choice(
            [0, 1, 255], pixels[0].shape
        )
        pixels[alpha - 1] = choice.astype(dtype).clip(0, np.inf if dtype in FLOATS else None)
    masks = None
    if kind == "mask":
        masks = draw(masks_of(pixels.shape, per_band=draw(st.booleans())))
    palette: tuple[Any, ...] = ()
    if kind == "palette":
        # A TIFF has no transparent entries.
        palette = tuple((n % 256, 9, n * 7 % 256, 255) for n in range(2 ** (8 * pixels.itemsize)))
    georeference = draw(
        st.sampled_from(["inside", "inside", "inside", "inside", "world", "aux", "points"])
    )
    place = PLACES[draw(st.sampled_from(sorted(PLACES)))]
    if not place.size and georeference == "points":
        georeference = "inside"
    transform = draw(transforms(place, pixels.shape))
    layout = draw(_TIFF_LAYOUTS)
    if bits or pixels.itemsize == 8 or kind == "palette":
        layout.pop("PREDICTOR", None)
    if layout.get("PREDICTOR") == "3" and dtype not in FLOATS:
        layout.pop("PREDICTOR")
    if layout["COMPRESS"] == "LERC" and (
        bits or kind == "palette" or dtype in ("int64", "uint64", *FLOATS)
    ):
        layout["COMPRESS"] = "DEFLATE"
    if layout["COMPRESS"] in ("LERC", "PACKBITS", "NONE"):
        layout.pop("PREDICTOR", None)
    has_scale = draw(st.booleans())
    return Drawn(
        ".tif",
        Raster(
            pixels,
            place,
            transform,
            nodata=nodata,
            masks=masks,
            alpha=alpha,
            palette=palette,
            scale=0.1 if has_scale else 1.0,
            offset=-273.15 if has_scale else 0.0,
            is_point=georeference == "inside" and draw(st.booleans()),
            bits=bits,
            layout=layout,
        ),
        georeference,
        draw(st.booleans()),
    )


@st.composite
def _images(draw: st.DrawFn) -> Drawn:
    """Draw an Erdas image."""
    is_palette = draw(st.booleans())
    dtype = draw(
        st.sampled_from(
            ["uint8", "uint16"]
            if is_palette
            else ["uint8", "uint16", "int16", "uint32", "int32", *FLOATS, "int8"]
        )
    )
    bands = 1 if is_palette else draw(st.sampled_from([1, 1, 2, 3, 5]))
    nodata = draw(nodata_of(dtype))
    pixels = draw(pixels_of(dtype, bands, nodata, has_nan=dtype in FLOATS and draw(st.booleans())))
    palette: tuple[Any, ...] = ()
    if is_palette:
        shown = draw(st.sampled_from([(), (0,), (0, 7), (255,)]))
        palette = tuple((n, 9, 255 - n, 0 if n in shown else 255) for n in range(256))
        pixels = (pixels.astype("uint32") % 256).astype(dtype)
    place = PLACES[draw(st.sampled_from(sorted(PLACES)))]
    return Drawn(
        ".img",
        Raster(
            pixels,
            place,
            draw(transforms(place, pixels.shape, only_north_up=True)),
            nodata=nodata,
            palette=palette,
            layout={"COMPRESSED": draw(st.sampled_from(["YES", "NO"]))},
        ),
    )


@st.composite
def _codestreams(draw: st.DrawFn) -> Drawn:
    """Draw a lossless JPEG 2000."""
    dtype = draw(st.sampled_from(["uint8", "uint8", "uint16", "int16"]))
    bands = draw(st.sampled_from([1, 1, 3, 4]))
    alpha = bands if bands == 4 and dtype == "uint8" and draw(st.booleans()) else 0
    nodata = None if alpha else draw(nodata_of(dtype))
    pixels = draw(pixels_of(dtype, bands, nodata))
    if alpha:
        pixels[alpha - 1] = np.where(pixels[0] > 1, 255, 0)
    place = PLACES[draw(st.sampled_from(sorted(PLACES)))]
    georeference = draw(st.sampled_from(["inside", "world"]))
    # GDAL writes a grid with the south up, and reads it with the north up.
    transform = draw(transforms(place, pixels.shape, only_north_up=georeference == "inside"))
    return Drawn(
        ".jp2",
        Raster(pixels, place, transform, nodata=nodata, alpha=alpha),
        georeference,
        draw(st.booleans()),
    )


@st.composite
def _text_grids(draw: st.DrawFn) -> Drawn:
    """Draw an ESRI ASCII grid; its numbers are written with all digits."""
    dtype = draw(st.sampled_from(["int32", "float32", "float64"]))
    nodata = draw(st.sampled_from([None, -9999, 0, 7, -32768, 1.5]))
    if dtype == "int32" and nodata is not None:
        nodata = int(nodata)
    pixels = draw(pixels_of(dtype, 1, nodata))
    place = PLACES[draw(st.sampled_from(sorted(PLACES)))]
    return Drawn(
        ".asc",
        Raster(
            pixels,
            place,
            draw(transforms(place, pixels.shape, only_north_up=True)),
            nodata=nodata,
            layout={
                "corner": draw(st.sampled_from(["corner", "center"])),
                "newline": draw(st.sampled_from(["\n", "\r\n"])),
            },
        ),
        has_crs_beside=draw(st.booleans()),
    )


_PNG_KINDS = {
    "gray": (0, 1),
    "rgb": (2, 3),
    "palette": (3, 1),
    "gray alpha": (4, 2),
    "rgba": (6, 4),
}


@st.composite
def _pictures(draw: st.DrawFn) -> Drawn:
    """Draw a PNG of every kind of pixel and depth, with transparent entries or colour."""
    kind = draw(st.sampled_from(sorted(_PNG_KINDS)))
    depths = {"gray": [1, 2, 4, 8, 16], "palette": [1, 2, 4, 8]}.get(kind, [8, 16])
    depth = draw(st.sampled_from(depths))
    color_type, bands = _PNG_KINDS[kind]
    bits = depth if depth < 8 else 0
    pixels = draw(pixels_of("uint16" if depth == 16 else "uint8", bands, bits=bits))
    palette: tuple[Any, ...] = ()
    color: tuple[int, ...] = ()
    if kind == "palette":
        shown = draw(st.sampled_from([(), (0,), (1,), (0, 1)]))
        palette = tuple((n, 9, 255 - n, 0 if n in shown else 255) for n in range(2**depth))
    elif kind in ("gray", "rgb") and draw(st.booleans()):
        color = tuple(int(value) for value in pixels[:, 0, 0])
    place = PLACES[draw(st.sampled_from(sorted(PLACES)))]
    return Drawn(
        ".png",
        Raster(
            pixels,
            place,
            draw(transforms(place, pixels.shape)),
            alpha=bands if "alpha" in kind or kind == "rgba" else 0,
            palette=palette,
            color=color,
            masks=draw(masks_of(pixels.shape))
            if kind == "rgb" and not color and draw(st.booleans())
            else None,
            layout={"color_type": str(color_type), "depth": str(depth)},
        ),
        draw(st.sampled_from(["world", "aux"])),
        draw(st.booleans()),
    )


@st.composite
def _photographs(draw: st.DrawFn) -> Drawn:
    """Draw a JPEG."""
    bands = draw(st.sampled_from([1, 3]))
    pixels = draw(pixels_of("uint8", bands))
    place = PLACES[draw(st.sampled_from(sorted(PLACES)))]
    return Drawn(
        ".jpg",
        Raster(
            pixels,
            place,
            draw(transforms(place, pixels.shape)),
            masks=draw(masks_of(pixels.shape)) if draw(st.booleans()) else None,
            layout={"QUALITY": draw(st.sampled_from(["20", "75", "100"]))},
        ),
        draw(st.sampled_from(["world", "aux"])),
        draw(st.booleans()),
    )


@st.composite
def _tiles(draw: st.DrawFn) -> Drawn:
    """Draw a tile of SRTM heights, whose void is -32768."""
    random = np.random.default_rng(draw(st.integers(0, 99)))
    pixels = random.choice(np.array([-32768, -32767, -1, 0, 8848, 32767], "int16"), (1, 1201, 1201))
    lon, lat = draw(st.integers(-180, 179)), draw(st.integers(-60, 59))
    step = 1 / 1200
    place = replace(PLACES["degrees"], west=lon, north=lat + 1, fits=())
    transform = Affine(step, 0, lon - step / 2, 0, -step, lat + 1 + step / 2)
    return Drawn(".hgt", Raster(pixels, place, transform, nodata=-32768))


FORMATS: dict[str, st.SearchStrategy[Drawn]] = {
    ".tif": _tiffs(),
    ".img": _images(),
    ".jp2": _codestreams(),
    ".asc": _text_grids(),
    ".png": _pictures(),
    ".jpg": _photographs(),
    ".hgt": _tiles(),
}
