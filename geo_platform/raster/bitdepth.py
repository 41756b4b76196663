"""Bands wider than their values need: what would do, and the saving. Pure but for looking at sampled values.

What belongs here: docs/raster.md, "Bit depth". What stays out: changing a dtype, which nobody does without being asked.
"""

import numpy as np

from geo_platform.contracts.raster import BitDepthFinding, RasterBand
from geo_platform.errors import Raster64BitRejected
from geo_platform.grid import GridShape
from geo_platform.raster.sample import BandSample, Values

INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32")
WIDE = ("float64", "int64", "uint64")


def find_bit_depth(band: RasterBand, sample: BandSample, shape: GridShape) -> BitDepthFinding | None:
    """None where the dtype is the narrowest that holds the sample, or where nothing valid was sampled."""
    values = sample.values[np.isfinite(sample.values)] if sample.values.dtype.kind == "f" else sample.values
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
        raise Raster64BitRejected(f"{display_name!r} has 64-bit bands, which strict_mode refuses: {', '.join(wide)}.")


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
