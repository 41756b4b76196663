"""Merge the rows of a crowded tile that are smaller than a pixel into cells with counts.

A pixel is a 256th of the tile's side, and a cell has four pixels on a side. One aggregating
statement counts all rows in the window and those of each cell, so no geometry is read for a merged
row.

Called by `tile_documents.py` and `tiles.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from geo_platform.serving.features.collections import FeatureCollection
from geo_platform.serving.features.fragments import Fragment, bound, select
from geo_platform.serving.features.mvt import EXTENT, POINT, TileLayer, geometries, value_of
from geo_platform.serving.features.opened import OpenFeatures
from geo_platform.serving.features.positions import to_mercator

MERGED_LAYER = "_merged"
ROWS_OF_CELL = "rows"
_PIXELS = 256
_CELL_PIXELS = 4
# Of a pixel at a pole, where EPSG:3857 has no positions: no row is smaller.
_NO_SIDE = 1e-9


@dataclass(frozen=True)
class CountedRows:
    """The rows in a window. `cells` is (n, 3): x, y of their mean in the stored CRS, rows there."""

    rows: int
    cells: "np.ndarray[Any, Any]"


def is_merged(opened: OpenFeatures, pixel: float) -> Fragment:
    """Return the condition that a row is smaller than a pixel, in the stored CRS, and no point."""
    size = opened.size()
    return size + " > 0 AND " + size + " < " + bound(pixel)


def pixel_side(area: BaseGeometry, collection: FeatureCollection, tile_side_m: float) -> float:
    """Return the side of a pixel in units of the stored CRS, in the middle of a window's rows.

    `area` is the window in the stored CRS, `tile_side_m` the side of the tile in EPSG:3857.
    """
    xmin, ymin, xmax, ymax = area.bounds
    step = max(xmax - xmin, ymax - ymin) / 1000
    if collection.native_bounds is not None:
        filled = shapely.intersection(area, shapely.box(*collection.native_bounds))
        xmin, ymin, xmax, ymax = area.bounds if filled.is_empty else filled.bounds
    x, y = (xmin + xmax) / 2, (ymin + ymax) / 2
    corner = np.array(shapely.points([[x, y], [x + step, y], [x, y + step]]))
    origin, right, up = shapely.get_coordinates(to_mercator(corner, collection))
    step_m = math.sqrt(math.dist(origin, right) * math.dist(origin, up))
    return tile_side_m / _PIXELS * step / step_m if math.isfinite(step_m) else _NO_SIDE


def count_rows(opened: OpenFeatures, selected: Sequence[Fragment], pixel: float) -> CountedRows:
    """Count the selected rows, and those smaller than a pixel in each cell.

    `pixel` is the side of a pixel in units of the stored CRS, greater than 0.
    """
    is_small = "(" + is_merged(opened, pixel) + ")"
    side = pixel * _CELL_PIXELS
    x, y = opened.centre()
    column, row = (
        "CASE WHEN " + is_small + " THEN floor(" + centre + " / " + bound(side) + ") END"
        for centre in (x, y)
    )
    counted = [column, row, Fragment("count(*)"), "avg(" + x + ")", "avg(" + y + ")"]
    # GROUP BY numbers, since the values that are bound twice would not be the same expression.
    statement = select(counted, opened.relation, selected) + " GROUP BY 1, 2"
    found = [row for chunk in opened.rows(statement) for row in chunk]
    cells = [
        (mean_x, mean_y, number)
        for cell_x, cell_y, number, mean_x, mean_y in found
        if cell_x is not None and cell_y is not None
    ]
    return CountedRows(sum(int(row[2]) for row in found), np.array(cells, float).reshape(-1, 3))


def merged_layer(
    cells: "np.ndarray[Any, Any]",
    collection: FeatureCollection,
    bounds: tuple[float, float, float, float],
    max_bytes: int,
) -> tuple[bytes, int]:
    """Return the layer `_merged` and the number of rows in it: a point with `rows` for each cell.

    `bounds` are those of the tile in EPSG:3857. Cells with more rows come first; those that have no
    room, or no place in EPSG:3857, are left out.
    """
    layer = TileLayer(MERGED_LAYER, [ROWS_OF_CELL], max_bytes)
    xmin, _, xmax, ymax = bounds
    scale = EXTENT / (xmax - xmin)
    places = shapely.get_coordinates(to_mercator(shapely.points(cells[:, :2]), collection))
    on_grid = np.column_stack([(places[:, 0] - xmin) * scale, (ymax - places[:, 1]) * scale])
    # A cell reaches over the edge of the window by less than its side.
    nearest = np.clip(on_grid, -EXTENT, 2 * EXTENT)
    is_placed = np.isfinite(on_grid).all(axis=1)
    counts, nearest = cells[is_placed, 2].astype(np.int64), np.rint(nearest[is_placed])
    order = np.lexsort((nearest[:, 1], nearest[:, 0], -counts))
    rows = 0
    for count, content in zip(
        counts[order], geometries(np.array(shapely.points(nearest[order])), POINT), strict=True
    ):
        if not layer.add(-1, [value_of(int(count))], POINT, content):
            break
        rows += int(count)
    return layer.encoded(), rows
