"""Values under a point and figures of an area, as plain numbers for JSON.

Called by `api/serving/raster.py`, `api/serving/raster_parameters.py` and `rasters.py`.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.io import DatasetReader

from geo_platform.errors import NotFound, ParameterInvalid
from geo_platform.serving.raster.reading import WindowPixels
from geo_platform.serving.raster.windows import moved_points

PERCENTILES = (2, 25, 50, 75, 98)
HISTOGRAM_BINS = 20


@dataclass(frozen=True)
class BandFigures:
    """Figures of the valid pixels of a band; None where there is no valid pixel."""

    name: str
    minimum: float | int | None
    maximum: float | int | None
    mean: float | None
    stddev: float | None
    valid_percent: float
    pixels: int
    percentiles: dict[str, float]
    histogram: tuple[tuple[int, ...], tuple[float, ...]] | None


def crs_of(text: str) -> CRS:
    """Return a CRS by its EPSG code or `CRS84`. Coordinates are x, y: longitude first.

    Raises ParameterInvalid: there is none.
    """
    try:
        return CRS.from_epsg(4326) if text.upper().endswith("CRS84") else CRS.from_user_input(text)
    except (CRSError, ValueError) as error:
        raise ParameterInvalid(
            f"{text!r} is not a coordinate reference system.",
            remedy="Give an EPSG code, for example EPSG:32633.",
        ) from error


def pixel_at(cog: DatasetReader, x: float, y: float, crs: CRS) -> tuple[int, int]:
    """Return (row, column) of the pixel that holds a point.

    Raises NotFound: the point is outside the raster.
    """
    xs, ys = ([x], [y]) if crs == cog.crs else moved_points(crs, cog.crs, [x], [y])
    # A raster in degrees may continue past 180.
    turns = (0.0, 360.0, -360.0) if cog.crs.is_geographic else (0.0,)
    for turn in turns:
        if not (math.isfinite(xs[0]) and math.isfinite(ys[0])):
            break
        col, row = ~cog.transform @ (xs[0] + turn, ys[0])
        if 0 <= row < cog.height and 0 <= col < cog.width:
            return int(row), int(col)
    raise NotFound(
        f"The point {x:g}, {y:g} is outside the raster.",
        remedy="The item's bbox says where the raster is. Coordinates are x, y: longitude first.",
    )


def plain(value: Any, valid: Any) -> float | int | None:
    """Return a pixel as a number of JSON, None if it is not valid or not finite."""
    if not valid:
        return None
    number: float | int = value.item()
    return number if math.isfinite(number) else None


def figures(pixels: WindowPixels, names: tuple[str, ...]) -> list[BandFigures]:
    """Return the figures of each band."""
    return [
        _figures(name, values, valid)
        for name, values, valid in zip(names, pixels.values, pixels.valid, strict=True)
    ]


def _figures(name: str, values: Any, valid: Any) -> BandFigures:
    finite = valid & np.isfinite(values) if values.dtype.kind == "f" else valid
    found = values[finite]
    percent = 100.0 * float(finite.mean())
    if not found.size:
        return BandFigures(name, None, None, None, None, percent, 0, {}, None)
    wide = found.astype(np.float64)
    counts, edges = np.histogram(wide, bins=HISTOGRAM_BINS)
    return BandFigures(
        name=name,
        minimum=found.min().item(),
        maximum=found.max().item(),
        mean=float(wide.mean()),
        stddev=float(wide.std()),
        valid_percent=percent,
        pixels=int(found.size),
        percentiles={
            str(each): float(value)
            for each, value in zip(PERCENTILES, np.percentile(wide, PERCENTILES), strict=True)
        },
        histogram=(tuple(counts.tolist()), tuple(edges.tolist())),
    )
