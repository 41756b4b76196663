"""Describe the part of the Earth that a request reads, as a grid of output pixels.

A tile of a tile matrix set becomes a `PixelWindow` in `grids.py`; `reading.py` reads it.

Used by `serving/raster`.
"""

from dataclasses import dataclass

from affine import Affine
from rasterio.crs import CRS
from rasterio.transform import array_bounds


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
