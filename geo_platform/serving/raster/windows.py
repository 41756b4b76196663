"""Describe the part of the Earth that a request reads, as a grid of output pixels.

A tile of a tile matrix set becomes a `PixelWindow` in `grids.py`; `reading.py` reads it.

Used by `serving/raster`.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from pyproj import Transformer
from rasterio.crs import CRS
from rasterio.transform import array_bounds

MERCATOR = CRS.from_epsg(3857)
MERCATOR_HALF_M = math.pi * 6_378_137.0
# The same map, in which longitudes beyond 180 degrees stay as they are.
_ENDLESS_MERCATOR = CRS.from_proj4(
    "+proj=merc +a=6378137 +b=6378137 +lat_ts=0 +lon_0=0 +x_0=0 +y_0=0 +k=1 +units=m "
    "+nadgrids=@null +over +no_defs"
)


@dataclass(frozen=True)
class PixelWindow:
    """A grid of output pixels: `transform` maps (column, row) to coordinates of `crs`."""

    crs: CRS
    transform: Affine
    rows: int
    cols: int

    @classmethod
    def of_bounds(
        cls, crs: CRS, bounds: tuple[float, float, float, float], *, rows: int, cols: int
    ) -> "PixelWindow":
        """Return the window of (west, south, east, north), north up."""
        west, south, east, north = bounds
        step = Affine.scale((east - west) / cols, (south - north) / rows)
        return cls(crs, Affine.translation(west, north) @ step, rows, cols)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Bounds in `crs`: west, south, east, north."""
        west, south, east, north = array_bounds(self.rows, self.cols, self.transform)
        return west, south, east, north

    def with_margin(self, margin: int) -> "PixelWindow":
        """Return the window with so many more pixels on each side."""
        return PixelWindow(
            self.crs,
            self.transform @ Affine.translation(-margin, -margin),
            self.rows + 2 * margin,
            self.cols + 2 * margin,
        )

    def turned(self, turns: int) -> "PixelWindow":
        """Return the window so many times around the Earth to the east.

        Its CRS must be geographic, in degrees, or EPSG:3857.
        """
        is_mercator = self.crs == MERCATOR
        step = 2 * MERCATOR_HALF_M if is_mercator else 360.0
        return PixelWindow(
            _ENDLESS_MERCATOR if is_mercator else self.crs,
            Affine.translation(turns * step, 0) @ self.transform,
            self.rows,
            self.cols,
        )

    def resized(self, rows: int, cols: int) -> "PixelWindow":
        """Return the window with the same bounds and other pixels."""
        step = Affine.scale(self.cols / cols, self.rows / rows)
        return PixelWindow(self.crs, self.transform @ step, rows, cols)


def moved_points(
    source: CRS, target: CRS, xs: ArrayLike, ys: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points of one CRS in another: x or longitude first, infinite without an image.

    GDAL's own function refuses all points if one has no image, as the corners of a map of the whole
    Earth have none in UTM, and only the first time.
    """
    east, north = _transformer(source.to_wkt(), target.to_wkt()).transform(
        np.asarray(xs, dtype=float), np.asarray(ys, dtype=float)
    )
    return np.asarray(east), np.asarray(north)


@lru_cache(maxsize=256)
def _transformer(source_wkt: str, target_wkt: str) -> Transformer:
    return Transformer.from_crs(source_wkt, target_wkt, always_xy=True)
