"""Coordinates from one CRS to another, x and y, by PROJ."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Transformer


@lru_cache(maxsize=8)
def _transformer(source_wkt: str, target_wkt: str) -> Transformer:
    return Transformer.from_crs(source_wkt, target_wkt, always_xy=True)


def reproject(geometries: npt.NDArray[np.object_], source_wkt: str, target_wkt: str) -> npt.NDArray[np.object_]:
    """The geometries in the target CRS; coordinates that have no place there are infinite. Z is kept as it is.

    Vertices are moved, edges stay straight: a long edge is not densified.
    """
    transformer = _transformer(source_wkt, target_wkt)

    def move(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.column_stack(transformer.transform(xy[:, 0], xy[:, 1], errcheck=False))

    moved = shapely.transform(geometries, move)
    if not shapely.has_z(geometries).any():
        return np.asarray(moved, dtype=object)
    coordinates = shapely.get_coordinates(geometries, include_z=True)
    coordinates[:, :2] = shapely.get_coordinates(moved)
    return np.asarray(shapely.set_coordinates(geometries.copy(), coordinates), dtype=object)
