"""Draw a vector tile of a collection, and account for every row in its window.

The window is the tile with a margin of 64/4096 of its side, so that outlines of neighbouring tiles
meet. A row lies in the window if its geometry intersects it. It is drawn, merged, or dropped:
because it is smaller than the grid of the tile, or because the tile is full. The largest rows are
drawn first. Rows smaller than a pixel are merged where the window has more rows than are read.

Source of the grid: OGC 17-083r4, Two Dimensional Tile Matrix Set, WebMercatorQuad.

Called by `api/serving/vector_tiles.py`, `kept_tiles.py` and `tile_documents.py`.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from geo_platform.errors import QueryInvalid
from geo_platform.serving.features.collections import FeatureCollection
from geo_platform.serving.features.formats import text_of
from geo_platform.serving.features.fragments import Fragment, select
from geo_platform.serving.features.mercator import HALF_TURN_M, over_the_edges, whole_in_mercator
from geo_platform.serving.features.merged import (
    CountedRows,
    count_rows,
    is_merged,
    merged_layer,
    pixel_side,
)
from geo_platform.serving.features.mvt import (
    EXTENT,
    LINE,
    POINT,
    POLYGON,
    TileLayer,
    geometries,
    value_of,
)
from geo_platform.serving.features.opened import ColumnKind, FeatureColumn, OpenFeatures
from geo_platform.serving.features.positions import CRS84, named_crs, window
from geo_platform.serving.features.query import FeatureQuery, chosen_columns, conditions

MAX_ZOOM = 22
# The zoom up to which TileJSON offers tiles: a step of the grid is 0.15 m at the equator.
DEEPEST_OFFERED = 16
MARGIN = 64
ACCOUNT_LAYER = "_account"
# A feature needs 40 bytes and more, so a tile has no room for more rows than this.
_MOST_ROWS = 12_000
# Tiles are read in chunks; a full tile ends after this many rows in succession without room.
_WITHOUT_ROOM = 200
_SMALLEST_FEATURE = 16
_ACCOUNT_BYTES = 200
_FLOATS = (ColumnKind.single, ColumnKind.double)
# Of shapely's type ids: points, lines, rings and polygons come before all collections.
_LAST_SINGLE_TYPE = 3


@dataclass(frozen=True)
class TileAddress:
    """A tile of the grid WebMercatorQuad: zoom, column from the west, row from the north."""

    z: int
    x: int
    y: int

    def mercator(self, margin: int = 0) -> tuple[float, float, float, float]:
        """Return (xmin, ymin, xmax, ymax) in EPSG:3857, with a margin in units of the tile."""
        side = 2 * HALF_TURN_M / 2**self.z
        by = side * margin / EXTENT
        xmin, ymax = -HALF_TURN_M + self.x * side, HALF_TURN_M - self.y * side
        return xmin - by, ymax - side - by, xmin + side + by, ymax + by

    def lonlat(self, margin: int = 0) -> tuple[float, float, float, float]:
        """Return (west, south, east, north) in degrees, at most the whole map."""
        xmin, ymin, xmax, ymax = self.mercator(margin)
        return (
            max(_degrees(xmin), -180.0), _latitude(max(ymin, -HALF_TURN_M)),
            min(_degrees(xmax), 180.0), _latitude(min(ymax, HALF_TURN_M)),
        )  # fmt: skip


def tile_address(z: int, x: int, y: int) -> TileAddress:
    """Return the address of a tile. Raises QueryInvalid: there is no such tile."""
    if not (0 <= z <= MAX_ZOOM and 0 <= x < 2**z and 0 <= y < 2**z):
        raise QueryInvalid(f"There is no tile {z}/{x}/{y}: zooms are 0 to {MAX_ZOOM}.")
    return TileAddress(z, x, y)


@dataclass(frozen=True)
class TileAccount:
    """What became of the rows in the window of a tile: rows = drawn + merged + dropped."""

    rows: int
    drawn: int
    merged: int = 0

    @property
    def dropped(self) -> int:
        return self.rows - self.drawn - self.merged

    @property
    def header(self) -> str:
        return f"rows={self.rows}, drawn={self.drawn}, merged={self.merged}, dropped={self.dropped}"


@dataclass(frozen=True)
class VectorTile:
    """A vector tile with a layer of features and the layer `_account`."""

    content: bytes
    account: TileAccount


class TileCache:
    """Keeps tiles that were drawn, the last used ones first, up to a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._tiles: OrderedDict[tuple[str, ...], VectorTile] = OrderedDict()
        self._lock = Lock()

    def get(self, name: tuple[str, ...]) -> VectorTile | None:
        with self._lock:
            found = self._tiles.get(name)
            if found is not None:
                self._tiles.move_to_end(name)
            return found

    def put(self, name: tuple[str, ...], tile: VectorTile) -> None:
        """Keep a tile. `name` must name the version of the item too."""
        with self._lock:
            if name in self._tiles:
                return
            self._tiles[name] = tile
            self._bytes += len(tile.content)
            while self._bytes > self._max_bytes:
                _, dropped = self._tiles.popitem(last=False)
                self._bytes -= len(dropped.content)


def draw_tile(
    collection: FeatureCollection,
    opened: OpenFeatures,
    address: TileAddress,
    query: FeatureQuery,
    *,
    max_bytes: int,
) -> VectorTile:
    """Draw the rows that `query` selects in the window of a tile.

    Raises what `query.read_page` raises.
    """
    columns = [
        column
        for column in chosen_columns(opened, query.properties)
        if column.kind is not ColumnKind.binary
    ]
    layer = TileLayer(
        collection.id, [column.name for column in columns], max_bytes - _ACCOUNT_BYTES
    )
    account = TileAccount(0, 0)
    cells = b""
    area = window(address.lonlat(MARGIN), named_crs(CRS84, collection, "crs"), collection)
    selected = None if area is None else _selected(collection, opened, address, query)
    if area is not None and selected is not None:
        xmin, _, xmax, _ = address.mercator()
        pixel = pixel_side(area, collection, xmax - xmin)
        counted = _count(collection, opened, selected, pixel)
        merged = 0
        if counted.rows > _MOST_ROWS and len(counted.cells):
            room = layer.max_bytes // 3
            cells, merged = merged_layer(counted.cells, collection, address.mercator(), room)
            layer.max_bytes -= len(cells)
            selected = [*selected, "NOT (" + is_merged(opened, pixel) + ")"]
        if counted.rows > merged:
            _fill(layer, collection, opened, address, columns, selected, area)
        account = TileAccount(counted.rows, layer.drawn, merged)
    return VectorTile(layer.encoded() + cells + _account_layer(account), account)


def _selected(
    collection: FeatureCollection, opened: OpenFeatures, address: TileAddress, query: FeatureQuery
) -> list[Fragment] | None:
    """Return the conditions of the rows in the window; None if surely no row is in it."""
    bounds = address.lonlat(MARGIN)
    if not _covers(bounds, collection.lonlat_bounds):
        lonlat = named_crs(CRS84, collection, "crs")
        query = replace(query, bbox=bounds, bbox_crs=lonlat)
    return conditions(collection, opened, query)


def _covers(
    outer: tuple[float, float, float, float], inner: tuple[float, float, float, float]
) -> bool:
    crosses = inner[0] > inner[2]
    is_as_wide = outer[0] <= -180.0 and outer[2] >= 180.0
    is_within = not crosses and outer[0] <= inner[0] and inner[2] <= outer[2]
    return (is_as_wide or is_within) and outer[1] <= inner[1] and inner[3] <= outer[3]


def _count(
    collection: FeatureCollection, opened: OpenFeatures, selected: Sequence[Fragment], pixel: float
) -> CountedRows:
    if not selected and collection.rows <= _MOST_ROWS:
        return CountedRows(collection.rows, np.empty((0, 3)))
    return count_rows(opened, selected, pixel)


def _fill(
    layer: TileLayer,
    collection: FeatureCollection,
    opened: OpenFeatures,
    address: TileAddress,
    columns: Sequence[FeatureColumn],
    selected: Sequence[Fragment],
    area: BaseGeometry,
) -> None:
    """Add rows to the layer, the largest first, until it is full."""
    layout = opened.layout
    inner = [layout.stored_key, layout.geometry, *(column.comparable for column in columns)]
    largest = select(
        _distinct(inner), opened.relation, selected, order=opened.largest_first(), limit=_MOST_ROWS
    )
    step = math.sqrt(area.area) / EXTENT
    # A window ends at 180 degrees. What goes on there must not get an outline on the map.
    xmin, ymin, xmax, ymax = area.bounds
    by_x, by_y = (xmax - xmin) * MARGIN / EXTENT, (ymax - ymin) * MARGIN / EXTENT
    area = shapely.box(xmin - by_x, ymin - by_y, xmax + by_x, ymax + by_y)
    statement = select(
        [layout.stored_key, opened.reduced(area, step), *map(opened.plain, columns)],
        "(" + largest + ") AS features",
    )
    skipped = 0
    values = _Values(columns)
    for chunk in opened.rows(statement):
        shapes = shapely.from_wkb(np.array([row[1] for row in chunk], dtype=object))
        gridded = _gridded(_clipped(shapes, area), collection, address)
        skipped = _add(layer, values, layout.key_offset, chunk, gridded, skipped)
        if skipped > _WITHOUT_ROOM or layer.free_bytes < _SMALLEST_FEATURE:
            return


def _distinct(parts: Sequence[Fragment]) -> list[Fragment]:
    return list(dict.fromkeys(parts))


def _add(
    layer: TileLayer,
    values: "_Values",
    key_offset: int,
    rows: Sequence[tuple[Any, ...]],
    gridded: list[tuple[int, Any, Any]],
    skipped: int,
) -> int:
    """Add a chunk of rows. Return how many rows in succession had no room."""
    drawn: dict[int, tuple[int, bytes]] = {}
    for kind, numbers, parts in gridded:
        drawn.update(
            (int(number), (kind, content))
            for number, content in zip(numbers, geometries(parts, kind), strict=True)
        )
    for number, row in enumerate(rows):
        if number not in drawn:
            continue
        kind, content = drawn[number]
        of_row = values.encoded(row[2:])
        skipped = 0 if layer.add(row[0] + key_offset, of_row, kind, content) else skipped + 1
        if skipped > _WITHOUT_ROOM:
            break
    return skipped


def _clipped(shapes: Any, area: BaseGeometry) -> Any:
    """Return the parts of stored geometries in the box of an area.

    Mercator has no positions at the poles, and a projection may have none far from its area.
    """
    try:
        return shapely.clip_by_rect(shapes, *area.bounds)
    except shapely.errors.GEOSException:
        return shapely.clip_by_rect(shapely.make_valid(shapes), *area.bounds)


def _gridded(
    shapes: Any, collection: FeatureCollection, address: TileAddress
) -> list[tuple[int, Any, Any]]:
    """Return (kind, numbers of the rows, their geometries on the grid) for each kind.

    A geometry that is smaller than the grid is left out.
    """
    xmin, _, xmax, ymax = address.mercator()
    scale = EXTENT / (xmax - xmin)

    def to_tile(xy: Any) -> Any:
        return np.column_stack([(xy[:, 0] - xmin) * scale, (ymax - xy[:, 1]) * scale])

    numbers = np.flatnonzero(~(shapely.is_missing(shapes) | shapely.is_empty(shapes)))
    moved = whole_in_mercator(shapely.force_2d(shapes[numbers]), collection)
    is_finite = np.isfinite(shapely.bounds(moved)).all(axis=1)
    numbers, moved = numbers[is_finite], moved[is_finite]
    clipped, rows = [], []
    for indices, placed in over_the_edges(moved):
        on_tile = shapely.transform(placed, to_tile)
        clipped.append(
            shapely.clip_by_rect(on_tile, -MARGIN, -MARGIN, EXTENT + MARGIN, EXTENT + MARGIN)
        )
        rows.append(indices)
    # Points on a straight line are left out: half a step of the grid is a 32nd of a pixel.
    thin = shapely.simplify(np.concatenate(clipped), 0.5, preserve_topology=False)
    found = []
    parts, inner = shapely.get_parts(thin, return_index=True)
    of = np.concatenate(rows)[inner]
    in_order = np.argsort(of, kind="stable")
    parts, of = parts[in_order], of[in_order]
    while (shapely.get_type_id(parts) > _LAST_SINGLE_TYPE).any():
        parts, inner = shapely.get_parts(parts, return_index=True)
        of = of[inner]
    for kind, family in ((POINT, (0,)), (LINE, (1, 2)), (POLYGON, (3,))):
        belongs = np.isin(shapely.get_type_id(parts), family) & ~shapely.is_empty(parts)
        kept, whole = _whole(parts[belongs], of[belongs], kind)
        if len(kept):
            found.append((kind, numbers[kept], whole))
    return _highest(found)


def _whole(parts: Any, of: Any, kind: int) -> tuple[Any, Any]:
    """Return the features that are left on the grid, as (numbers, multi-geometries)."""
    on_grid = shapely.transform(parts, np.rint)
    if kind == LINE:
        on_grid = shapely.remove_repeated_points(on_grid)
        is_left = shapely.length(on_grid) > 0
    elif kind == POLYGON:
        broken = ~shapely.is_valid(on_grid)
        on_grid[broken] = shapely.set_precision(shapely.make_valid(on_grid[broken]), 1.0)
        on_grid, inner = shapely.get_parts(on_grid, return_index=True)
        of = of[inner]
        on_grid, inner = shapely.get_parts(on_grid, return_index=True)
        of = of[inner]
        is_left = (shapely.get_type_id(on_grid) == 3) & (shapely.area(on_grid) > 0)
    else:
        is_left = np.ones(len(on_grid), dtype=bool)
    on_grid, of = on_grid[is_left], of[is_left]
    if len(on_grid) == 0:
        return of, on_grid
    kept, order = np.unique(of, return_inverse=True)
    if kind == POINT:
        return kept, shapely.multipoints(on_grid, indices=order)
    if kind == LINE:
        return kept, shapely.multilinestrings(on_grid, indices=order)
    return kept, shapely.multipolygons(on_grid, indices=order)


def _highest(found: list[tuple[int, Any, Any]]) -> list[tuple[int, Any, Any]]:
    """Leave out of each row what clipping left of a lower dimension than its highest."""
    taken: set[int] = set()
    result = []
    for kind, numbers, shapes in reversed(found):
        is_new = np.array([int(number) not in taken for number in numbers], dtype=bool)
        taken.update(map(int, numbers))
        if is_new.any():
            result.append((kind, numbers[is_new], shapes[is_new]))
    return result


class _Values:
    """Encodes the values of rows. Values that are no floats are often repeated: they are kept."""

    def __init__(self, columns: Sequence[FeatureColumn]) -> None:
        self._kept: list[tuple[ColumnKind, dict[Any, bytes | None] | None]] = [
            (column.kind, None if column.kind in _FLOATS else {}) for column in columns
        ]

    def encoded(self, values: Sequence[Any]) -> list[bytes | None]:
        """Return the values of a row in the order of the columns, None for what is left out."""
        found = []
        for (kind, kept), value in zip(self._kept, values, strict=True):
            if kept is None:
                found.append(_encoded(kind, value))
                continue
            if value not in kept:
                kept[value] = _encoded(kind, value)
            found.append(kept[value])
        return found


def _encoded(kind: ColumnKind, value: Any) -> bytes | None:
    if value is None:
        return None
    if kind in _FLOATS:
        if not math.isfinite(value):
            return None
        return value_of(np.float32(value) if kind is ColumnKind.single else float(value))
    if kind in (ColumnKind.boolean, ColumnKind.integer):
        return value_of(value)
    return value_of(text_of(kind, value))


def _account_layer(account: TileAccount) -> bytes:
    """Return the layer `_account`: a point with the four numbers.

    It lies outside of the tile, so that clients that draw every layer do not show it.
    """
    numbers = {
        "rows": account.rows,
        "drawn": account.drawn,
        "merged": account.merged,
        "dropped": account.dropped,
    }
    layer = TileLayer(ACCOUNT_LAYER, list(numbers), 10_000)
    outside = np.array([shapely.Point(-EXTENT, -EXTENT)])
    layer.add(
        0, [value_of(number) for number in numbers.values()], POINT, geometries(outside, POINT)[0]
    )
    return layer.encoded()


def _degrees(x: float) -> float:
    return x / HALF_TURN_M * 180.0


def _latitude(y: float) -> float:
    return math.degrees(2 * math.atan(math.exp(y * math.pi / HALF_TURN_M)) - math.pi / 2)
