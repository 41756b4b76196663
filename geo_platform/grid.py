"""Value types for shapes, bounds and resolutions, so that axes cannot be swapped by accident.

For transforming bounds see `raster/lonlat.py` and `vector/extent.py`.

Used throughout the application.
"""

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class GridShape(_Value):
    """Size of a grid in pixels. NumPy's order is (rows, cols); for GDAL and PIL use `.wh`."""

    rows: int
    cols: int

    @property
    def wh(self) -> tuple[int, int]:
        """(width_px, height_px)"""
        return self.cols, self.rows

    @property
    def pixels(self) -> int:
        return self.rows * self.cols


class Resolution(_Value):
    """Size of a pixel in units of the CRS. Both values are positive."""

    x: float
    y: float


class Bounds(_Value):
    """Extent in units of the CRS, x to the east, y to the north. Stored beside the CRS."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.xmin > self.xmax or self.ymin > self.ymax:
            raise ValueError(f"bounds are not in ascending order: {self}")
        return self

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """(xmin, ymin, xmax, ymax)"""
        return self.xmin, self.ymin, self.xmax, self.ymax


class LonLatBounds(_Value):
    """Extent in degrees on WGS 84.

    `west > east` means that the extent crosses the antimeridian (RFC 7946, section 5.2).
    """

    west: float
    south: float
    east: float
    north: float

    @model_validator(mode="after")
    def _on_earth(self) -> Self:
        if not (
            -180 <= self.west <= 180
            and -180 <= self.east <= 180
            and -90 <= self.south <= self.north <= 90
        ):
            raise ValueError(f"not valid longitudes and latitudes: {self}")
        return self

    @property
    def crosses_antimeridian(self) -> bool:
        return self.west > self.east

    @property
    def wsen(self) -> tuple[float, float, float, float]:
        """(west, south, east, north), the order of a GeoJSON bbox"""
        return self.west, self.south, self.east, self.north
