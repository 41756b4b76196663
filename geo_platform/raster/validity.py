"""A window of the source as planned: its pixels with the planned nodata and dtype, and which of them are valid.

Used by the writer, which streams it, and by the comparison, which asks for samples of it.
"""

import math

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader
from rasterio.windows import Window

from geo_platform.raster.nodata import same_value
from geo_platform.raster.plan import CogPlan
from geo_platform.raster.sample import Values


def planned_pixels(dataset: DatasetReader, plan: CogPlan, window: Window) -> Values:
    """(bands, rows, cols) in the plan's order and dtype. Bands that mark missing pixels by another value than the planned one
    are rewritten to it."""
    pixels: Values = dataset.read(list(plan.source_bands), window=window)
    pixels = pixels.astype(plan.bands[0].dtype, copy=False)
    planned = plan.nodata
    if planned is None:
        return pixels
    for band, source_band in zip(pixels, plan.source_bands, strict=True):
        own = dataset.nodatavals[source_band - 1]
        if own is not None and not same_value(own, planned):
            band[_equal(band, own)] = planned
    return pixels


def planned_valid(dataset: DatasetReader, pixels: Values, plan: CogPlan, window: Window) -> NDArray[np.bool_]:
    """(rows, cols): valid where the source's mask says so, any band has data (as GDAL's dataset mask has it), and alpha is not 0."""
    valid: NDArray[np.bool_] = dataset.dataset_mask(window=window) > 0
    missing = plan.missing_value
    if missing is not None:
        valid &= ~_equal(pixels, plan.nodata if plan.nodata is not None else missing).all(axis=0)
    if plan.mask_source_band is not None:
        valid &= dataset.read(plan.mask_source_band, window=window) > 0
    return valid


def has_dataset_mask(dataset: DatasetReader) -> bool:
    """A mask that is no nodata value (a PNG's transparent colour is called both) and no alpha band."""
    other = {MaskFlags.alpha, MaskFlags.nodata}
    return any((MaskFlags.per_dataset in flags and not other & set(flags)) or flags == [] for flags in dataset.mask_flag_enums)


def _equal(pixels: Values, value: float) -> NDArray[np.bool_]:
    if math.isnan(value):
        return np.isnan(pixels) if pixels.dtype.kind == "f" else np.zeros(pixels.shape, dtype=np.bool_)
    return np.asarray(pixels == np.asarray(value).astype(pixels.dtype))
