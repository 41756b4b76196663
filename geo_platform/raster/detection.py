"""Decide what the bands mean (the raster type), and find bands wider than their values need.

The rules are in docs/raster.md, "Bands". No file is read here; `profile.py` calls this with the
headers, `sample.py` reads the pixels.

Called by `profile.py`.
"""

from dataclasses import dataclass

import numpy as np

from geo_platform.contracts.raster import BitDepthFinding, RasterBand, RasterType
from geo_platform.errors import Raster64BitRejected, RasterTypeMismatch
from geo_platform.grid import GridShape
from geo_platform.raster.options import RasterTypeChoice
from geo_platform.raster.sample import BandSample
from geo_platform.raster.validity import Values

# From the narrowest to the widest.
INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32")
DTYPES_64_BIT = ("float64", "int64", "uint64")

# Limits on the number of distinct values in the sample of a band.
MAX_CATEGORIES = 255
MAX_ALPHA_LEVELS = 10
MAX_SIGNED_CATEGORIES = 32
MIN_GRAY_LEVELS = 64
ELEVATION_RANGE_M = (-12_000.0, 9_000.0)


@dataclass(frozen=True)
class DetectedType:
    """A raster type with a confidence from 0 to 1 and the reason for it."""

    raster_type: RasterType
    confidence: float
    reason: str


def decide_type(
    bands: tuple[RasterBand, ...], choice: RasterTypeChoice, *, strict: bool, display_name: str
) -> DetectedType:
    """Return the requested type, or the detected one if the request is `auto`.

    Raises RasterTypeMismatch: if the bands cannot be of the requested type, or if strict mode is on
    and the detected type differs.
    """
    detected = detect_type(bands)
    if choice is RasterTypeChoice.auto:
        return detected
    requested_type = RasterType(choice.value)
    reason = reason_against(requested_type, bands)
    if reason:
        raise RasterTypeMismatch(
            f"{display_name!r} cannot be {requested_type.value}: {reason}.",
            detected=detected.raster_type.value,
        )
    if strict and requested_type is not detected.raster_type:
        raise RasterTypeMismatch(
            f"{display_name!r} was submitted as {requested_type.value}, but it looks like "
            f"{detected.raster_type.value}: {detected.reason}.",
            remedy="Leave raster_type at auto, or submit without strict_mode.",
            detected=detected.raster_type.value,
        )
    return DetectedType(
        requested_type,
        1.0,
        f"requested (detected: {detected.raster_type.value}, {detected.reason})",
    )


def detect_type(bands: tuple[RasterBand, ...]) -> DetectedType:
    """Detect the type from band count, colour interpretation, dtype and sampled values."""
    colors = tuple(band.color_interpretation for band in bands)
    data = tuple(band for band in bands if band.color_interpretation != "alpha")
    if len(data) == 1:
        return _detect_one_band(data[0])
    if len(bands) == 3 and len(data) == 3:
        return _detect_three_bands(bands, colors)
    if len(bands) == 4:
        return _detect_four_bands(bands, colors)
    if len(bands) >= 5:
        return DetectedType(RasterType.multispectral, 0.9, f"{len(bands)} bands")
    return DetectedType(RasterType.multispectral, 0.5, f"{len(data)} bands without a known meaning")


def reason_against(requested_type: RasterType, bands: tuple[RasterBand, ...]) -> str | None:
    """Return why the bands cannot be of this type, or None if they can."""
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
    possible, reason = needs[requested_type]
    if (
        possible
        and requested_type is RasterType.categorical
        and _is_float(bands[0])
        and not _is_categorical(bands[0])
    ):
        return f"its {bands[0].dtype} values are not categories"
    return None if possible else reason


def find_bit_depth(
    band: RasterBand, sample: BandSample, shape: GridShape
) -> BitDepthFinding | None:
    """Return a finding if a narrower dtype holds the sampled values exactly, else None."""
    values = (
        sample.values[np.isfinite(sample.values)]
        if sample.values.dtype.kind == "f"
        else sample.values
    )
    if not values.size or band.color_interpretation == "alpha":
        return None
    sufficient, reason = _narrowest_dtype(values)
    saving = (np.dtype(band.dtype).itemsize - np.dtype(sufficient).itemsize) * shape.pixels
    if saving <= 0:
        return None
    return BitDepthFinding(
        band_index=band.index,
        dtype=band.dtype,
        sufficient_dtype=sufficient,
        saving_bytes=int(saving),
        reason=f"{reason} in {sample.sampled_pixels} sampled pixels",
    )


def refuse_64_bit(bands: tuple[RasterBand, ...], display_name: str) -> None:
    """Raise Raster64BitRejected if a band has 64 bits."""
    wide = [f"{band.index} ({band.dtype})" for band in bands if band.dtype in DTYPES_64_BIT]
    if wide:
        raise Raster64BitRejected(
            f"{display_name!r} has 64-bit bands, which strict_mode refuses: {', '.join(wide)}."
        )


def _detect_three_bands(bands: tuple[RasterBand, ...], colors: tuple[str, ...]) -> DetectedType:
    if colors == ("red", "green", "blue"):
        return DetectedType(RasterType.rgb, 0.98, "three bands interpreted as red, green, blue")
    if all(band.dtype in ("uint8", "uint16") for band in bands):
        return DetectedType(RasterType.rgb, 0.75, f"three {bands[0].dtype} bands")
    return DetectedType(
        RasterType.multispectral,
        0.7,
        f"three {bands[0].dtype} bands, too wide for colours of 8 or 16 bits",
    )


def _detect_four_bands(bands: tuple[RasterBand, ...], colors: tuple[str, ...]) -> DetectedType:
    last = bands[3]
    if not all(band.dtype in ("uint8", "uint16") for band in bands):
        return DetectedType(RasterType.multispectral, 0.7, f"four {last.dtype} bands")
    if colors[3] == "alpha":
        return DetectedType(RasterType.rgba, 0.98, "four bands, the last one interpreted as alpha")
    levels = last.statistics.distinct_values if last.statistics else None
    if levels is not None and levels <= MAX_ALPHA_LEVELS:
        return DetectedType(
            RasterType.rgba,
            0.7,
            f"four bands, the last one with {levels} values in the sample, as in an alpha band",
        )
    return DetectedType(
        RasterType.nir, 0.7, "four bands, the last one with too many values for an alpha band"
    )


def _detect_one_band(band: RasterBand) -> DetectedType:
    if band.has_color_table or band.color_interpretation == "palette":
        return DetectedType(RasterType.categorical, 0.95, "one band with a colour table")
    if _is_float(band):
        return _detect_one_float_band(band)
    distinct = band.statistics.distinct_values if band.statistics else None
    if band.dtype in ("int16", "int32"):
        if (
            distinct is not None
            and distinct <= MAX_SIGNED_CATEGORIES
            and band.unit is None
            and _minimum(band) >= 0
        ):
            return DetectedType(
                RasterType.categorical,
                0.6,
                f"one {band.dtype} band with {distinct} values in the sample",
            )
        return DetectedType(
            RasterType.dem, 0.8 if _is_elevation(band) else 0.5, f"one {band.dtype} band"
        )
    if (
        band.dtype == "uint8"
        and band.color_interpretation == "gray"
        and distinct is not None
        and distinct >= MIN_GRAY_LEVELS
    ):
        return DetectedType(
            RasterType.continuous, 0.7, f"one gray 8-bit band with {distinct} values in the sample"
        )
    if distinct is not None and distinct <= MAX_CATEGORIES:
        return DetectedType(
            RasterType.categorical, 0.7, f"one integer band with {distinct} values in the sample"
        )
    return DetectedType(RasterType.continuous, 0.6, f"one {band.dtype} band with many values")


def _detect_one_float_band(band: RasterBand) -> DetectedType:
    statistics = band.statistics
    if (
        statistics
        and statistics.minimum >= -1.0
        and statistics.maximum <= 1.0
        and statistics.minimum < statistics.maximum
        and band.unit is None
    ):
        return DetectedType(
            RasterType.continuous,
            0.6,
            "one float band with values between -1 and 1, as in an index or a fraction",
        )
    return DetectedType(
        RasterType.dem, 0.85 if _is_elevation(band) else 0.5, f"one {band.dtype} band"
    )


def _is_float(band: RasterBand) -> bool:
    return band.dtype.startswith("float")


def _is_categorical(band: RasterBand) -> bool:
    return (
        band.statistics is not None
        and (band.statistics.distinct_values or MAX_CATEGORIES + 1) <= MAX_CATEGORIES
    )


def _minimum(band: RasterBand) -> float:
    return band.statistics.minimum if band.statistics else 0.0


def _is_elevation(band: RasterBand) -> bool:
    low, high = ELEVATION_RANGE_M
    return (
        band.statistics is not None
        and low <= band.statistics.minimum
        and band.statistics.maximum <= high
    )


def _narrowest_dtype(values: Values) -> tuple[str, str]:
    """Return the narrowest dtype that holds the values exactly, and the reason."""
    low, high = values.min(), values.max()
    is_float = values.dtype.kind == "f"
    if not is_float or bool(np.all(values == np.trunc(values))):
        for dtype in INTEGERS:
            limits = np.iinfo(dtype)
            if limits.min <= low and high <= limits.max:
                stored = "only whole numbers" if is_float else "only values"
                return dtype, f"{stored} from {low:g} to {high:g}"
        return values.dtype.name, ""
    if values.dtype.itemsize > 4 and _fits_float32(values):
        return "float32", "only values that float32 holds exactly"
    return values.dtype.name, ""


def _fits_float32(values: Values) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.array_equal(values.astype(np.float32).astype(np.float64), values))
