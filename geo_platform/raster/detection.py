"""What the bands mean: the rule of docs/raster.md, "Detection", with a confidence and a reason. Pure.

What belongs here: deciding the raster type from band facts. What stays out: reading them.

Bands wider than their values need: what would do, and the saving. Pure but for looking at sampled values.

What belongs here: docs/raster.md, "Bit depth". What stays out: changing a dtype, which nobody does without being asked.
"""

from dataclasses import dataclass

import numpy as np

from geo_platform.contracts.raster import BitDepthFinding, RasterBand, RasterType
from geo_platform.errors import Raster64BitRejected, RasterTypeMismatch
from geo_platform.grid import GridShape
from geo_platform.raster.options import RasterTypeChoice
from geo_platform.raster.sample import BandSample, Values

INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32")
WIDE = ("float64", "int64", "uint64")


def find_bit_depth(
    band: RasterBand, sample: BandSample, shape: GridShape
) -> BitDepthFinding | None:
    """None where the dtype is the narrowest that holds the sample, or where nothing valid was sampled."""
    values = (
        sample.values[np.isfinite(sample.values)]
        if sample.values.dtype.kind == "f"
        else sample.values
    )
    if not values.size or band.color_interpretation == "alpha":
        return None
    sufficient, what = _sufficient(values)
    saving = (np.dtype(band.dtype).itemsize - np.dtype(sufficient).itemsize) * shape.pixels
    if saving <= 0:
        return None
    return BitDepthFinding(
        band_index=band.index,
        dtype=band.dtype,
        sufficient_dtype=sufficient,
        saving_bytes=int(saving),
        reason=f"{what} in {sample.sampled_pixels} sampled pixels",
    )


def refuse_64_bit(bands: tuple[RasterBand, ...], display_name: str) -> None:
    """strict_mode. Raises Raster64BitRejected."""
    wide = [f"{band.index} ({band.dtype})" for band in bands if band.dtype in WIDE]
    if wide:
        raise Raster64BitRejected(
            f"{display_name!r} has 64-bit bands, which strict_mode refuses: {', '.join(wide)}."
        )


def _sufficient(values: Values) -> tuple[str, str]:
    low, high = values.min(), values.max()
    is_float = values.dtype.kind == "f"
    if not is_float or bool(np.all(values == np.trunc(values))):
        for dtype in INTEGERS:
            limits = np.iinfo(dtype)
            if limits.min <= low and high <= limits.max:
                stored = "only whole numbers" if is_float else "only values"
                return dtype, f"{stored} from {low:g} to {high:g}"
        return values.dtype.name, ""
    if values.dtype.itemsize > 4 and _survives_float32(values):
        return "float32", "only values that 32 bits hold exactly"
    return values.dtype.name, ""


def _survives_float32(values: Values) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.array_equal(values.astype(np.float32).astype(np.float64), values))


CATEGORIES_AT_MOST = 255
ALPHA_LEVELS_AT_MOST = 10
CLASSES_IN_SIGNED = 32
GRAY_LEVELS_FROM = 64
ELEVATION_M = (-12_000.0, 9_000.0)


@dataclass(frozen=True)
class Detected:
    raster_type: RasterType
    confidence: float
    reason: str


def decide_type(
    bands: tuple[RasterBand, ...], choice: RasterTypeChoice, *, strict: bool, display_name: str
) -> Detected:
    """The user's type where one is given and the bands can bear it, else the detected one. Raises RasterTypeMismatch."""
    detected = detect_type(bands)
    if choice is RasterTypeChoice.auto:
        return detected
    asked = RasterType(choice.value)
    because = impossible(asked, bands)
    if because:
        raise RasterTypeMismatch(
            f"{display_name!r} cannot be {asked.value}: {because}.",
            detected=detected.raster_type.value,
        )
    if strict and asked is not detected.raster_type:
        raise RasterTypeMismatch(
            f"{display_name!r} was called {asked.value}, but it looks like {detected.raster_type.value}: {detected.reason}.",
            remedy="Leave raster_type at auto, or submit without strict_mode.",
            detected=detected.raster_type.value,
        )
    return Detected(
        asked,
        1.0,
        f"the request says so (detected: {detected.raster_type.value}, {detected.reason})",
    )


def detect_type(bands: tuple[RasterBand, ...]) -> Detected:
    """By band count, colour interpretation, dtype and the sample's values, in this order of weight."""
    colors = tuple(band.color_interpretation for band in bands)
    data = tuple(band for band in bands if band.color_interpretation != "alpha")
    if len(data) == 1:
        return _one_band(data[0])
    if len(bands) == 3 and len(data) == 3:
        return _three_bands(bands, colors)
    if len(bands) == 4:
        return _four_bands(bands, colors)
    if len(bands) >= 5:
        return Detected(RasterType.multispectral, 0.9, f"{len(bands)} bands")
    return Detected(RasterType.multispectral, 0.5, f"{len(data)} bands without a usual meaning")


def impossible(asked: RasterType, bands: tuple[RasterBand, ...]) -> str | None:
    """Why these bands cannot be of this type; None where they can."""
    count = len(bands)
    data = sum(band.color_interpretation != "alpha" for band in bands)
    needs = {
        RasterType.rgb: (data >= 3, f"rgb needs three bands, it has {data}"),
        RasterType.rgba: (count == 4, f"rgba needs four bands, it has {count}"),
        RasterType.nir: (count >= 4, f"nir needs four bands, it has {count}"),
        RasterType.dem: (data == 1, f"dem needs one band, it has {data}"),
        RasterType.categorical: (data == 1, f"categorical needs one band, it has {data}"),
        RasterType.multispectral: (
            data >= 2,
            f"multispectral needs two bands or more, it has {data}",
        ),
        RasterType.continuous: (True, ""),
    }
    possible, because = needs[asked]
    if (
        possible
        and asked is RasterType.categorical
        and _is_float(bands[0])
        and not _few_values(bands[0])
    ):
        return f"its {bands[0].dtype} values are not classes"
    return None if possible else because


def _three_bands(bands: tuple[RasterBand, ...], colors: tuple[str, ...]) -> Detected:
    if colors == ("red", "green", "blue"):
        return Detected(RasterType.rgb, 0.98, "three bands interpreted as red, green, blue")
    if all(band.dtype in ("uint8", "uint16") for band in bands):
        return Detected(RasterType.rgb, 0.75, f"three {bands[0].dtype} bands")
    return Detected(
        RasterType.multispectral,
        0.7,
        f"three {bands[0].dtype} bands that are no 8 or 16 bit colours",
    )


def _four_bands(bands: tuple[RasterBand, ...], colors: tuple[str, ...]) -> Detected:
    last = bands[3]
    if not all(band.dtype in ("uint8", "uint16") for band in bands):
        return Detected(RasterType.multispectral, 0.7, f"four {last.dtype} bands")
    if colors[3] == "alpha":
        return Detected(RasterType.rgba, 0.98, "four bands, the last one interpreted as alpha")
    levels = last.statistics.distinct_values if last.statistics else None
    if levels is not None and levels <= ALPHA_LEVELS_AT_MOST:
        return Detected(
            RasterType.rgba,
            0.7,
            f"four bands, the last one with {levels} values in the sample, as an alpha has",
        )
    return Detected(
        RasterType.nir, 0.7, "four bands, the last one with too many values for an alpha"
    )


def _one_band(band: RasterBand) -> Detected:
    if band.has_color_table or band.color_interpretation == "palette":
        return Detected(RasterType.categorical, 0.95, "one band with a colour table")
    if _is_float(band):
        return _one_float(band)
    distinct = band.statistics.distinct_values if band.statistics else None
    if band.dtype in ("int16", "int32"):
        if (
            distinct is not None
            and distinct <= CLASSES_IN_SIGNED
            and band.unit is None
            and _minimum(band) >= 0
        ):
            return Detected(
                RasterType.categorical,
                0.6,
                f"one {band.dtype} band with {distinct} values in the sample",
            )
        return Detected(
            RasterType.dem, 0.8 if _looks_like_elevation(band) else 0.5, f"one {band.dtype} band"
        )
    if (
        band.dtype == "uint8"
        and band.color_interpretation == "gray"
        and distinct is not None
        and distinct >= GRAY_LEVELS_FROM
    ):
        return Detected(
            RasterType.continuous, 0.7, f"one gray 8-bit band with {distinct} values in the sample"
        )
    if distinct is not None and distinct <= CATEGORIES_AT_MOST:
        return Detected(
            RasterType.categorical, 0.7, f"one integer band with {distinct} values in the sample"
        )
    return Detected(RasterType.continuous, 0.6, f"one {band.dtype} band with many values")


def _one_float(band: RasterBand) -> Detected:
    figures = band.statistics
    if (
        figures
        and figures.minimum >= -1.0
        and figures.maximum <= 1.0
        and figures.minimum < figures.maximum
        and band.unit is None
    ):
        return Detected(
            RasterType.continuous,
            0.6,
            "one float band with values between -1 and 1, as an index or a fraction has",
        )
    return Detected(
        RasterType.dem, 0.85 if _looks_like_elevation(band) else 0.5, f"one {band.dtype} band"
    )


def _is_float(band: RasterBand) -> bool:
    return band.dtype.startswith("float")


def _few_values(band: RasterBand) -> bool:
    return (
        band.statistics is not None
        and (band.statistics.distinct_values or CATEGORIES_AT_MOST + 1) <= CATEGORIES_AT_MOST
    )


def _minimum(band: RasterBand) -> float:
    return band.statistics.minimum if band.statistics else 0.0


def _looks_like_elevation(band: RasterBand) -> bool:
    low, high = ELEVATION_M
    return (
        band.statistics is not None
        and low <= band.statistics.minimum
        and band.statistics.maximum <= high
    )
