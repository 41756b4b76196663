"""Compute the footprint: the outline of the valid data on WGS 84, as GeoJSON.

For bounding boxes see `lonlat.py`.

Called by `convert.py`.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.enums import MaskFlags
from rasterio.features import shapes
from rasterio.io import DatasetReader
from rasterio.windows import Window
from shapely import (
    MultiPolygon,
    Polygon,
    box,
    make_valid,
    segmentize,
    set_precision,
    simplify,
)
from shapely import transform as transform_coordinates
from shapely.affinity import translate
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from geo_platform.grid import LonLatBounds
from geo_platform.raster.lonlat import (
    WGS84,
    Placing,
    on_earth,
    to_crs,
    transform_points,
    unwrap_longitudes,
    x_period,
)
from geo_platform.raster.options import Resampling
from geo_platform.raster.validity import pixel_validity

MAX_SIDE_CELLS = 512
# The length of all edges of the outline in cells. Above this, cells are merged.
MAX_EDGES = 3000
MAX_COORDINATES = 400
# Up to this many coordinates, the outline is not simplified.
FEW_COORDINATES = 40
# Decimals of a degree: six are a tenth of a metre, twelve a tenth of a micrometre. A double holds
# only noise in further decimals.
MIN_DECIMALS, MAX_DECIMALS = 6, 12
# Cells per side of the bounds, for an outline that is drawn in degrees.
DEGREE_CELLS = 128
BLOCK_PX = 512


@dataclass(frozen=True)
class ValidCells:
    """Squares of pixels: (rows, cols), True where any pixel is valid, and the cells' transform.

    `extent`: the size of the grid in cells, (down, right). The last cells may end beyond it.
    """

    valid: NDArray[np.bool_]
    transform: Affine
    extent: tuple[float, float]


def valid_cells(cog: DatasetReader, overview_resampling: Resampling) -> ValidCells:
    """Return which parts of the COG hold valid pixels, with at most MAX_SIDE_CELLS per side.

    Pixels are read from an overview, and from the COG itself where cells are invalid in the
    overview: only averaging keeps every valid pixel, unless an average is rounded to nodata.
    """
    side = max(-(-max(cog.shape) // MAX_SIDE_CELLS), 1)
    valid = np.zeros((-(-cog.height // side), -(-cog.width // side)), dtype=np.bool_)
    cells = ValidCells(
        valid, cog.transform @ Affine.scale(side), (cog.height / side, cog.width / side)
    )
    if all(MaskFlags.all_valid in flags for flags in cog.mask_flag_enums):
        valid[:] = True
        return cells
    level = sum(factor <= side for factor in cog.overviews(1)) - 1
    if level >= 0:
        with rasterio.open(
            cog.name, driver="GTiff", sharing=False, OVERVIEW_LEVEL=level
        ) as overview:
            _mark_from_overview(cells, pixel_validity(overview))
            may_lose = overview_resampling is not Resampling.average or _may_round(overview)
        if not may_lose:
            return cells
    for row in range(0, cog.height, BLOCK_PX):
        for col in range(0, cog.width, BLOCK_PX):
            height, width = min(BLOCK_PX, cog.height - row), min(BLOCK_PX, cog.width - col)
            here = valid[
                row // side : -(-(row + height) // side), col // side : -(-(col + width) // side)
            ]
            if not here.all():
                window = Window(col, row, width, height)
                rows, cols = np.nonzero(pixel_validity(cog, window=window))
                valid[(row + rows) // side, (col + cols) // side] = True
    return cells


def _may_round(overview: DatasetReader) -> bool:
    """Return whether an average of integers on both sides of nodata may be rounded to it.

    GDAL 3.12 replaces an average that is the nodata value, but not one that is rounded to it.
    """
    return any(
        np.dtype(dtype).kind in "iu" and nodata is not None and values.min() < nodata < values.max()
        for dtype, nodata, values in zip(
            overview.dtypes,
            overview.nodatavals,
            (overview.read(band) for band in overview.indexes),
            strict=True,
        )
    )


def _mark_from_overview(cells: ValidCells, overview: NDArray[np.bool_]) -> None:
    """Mark each cell that a valid pixel of the overview touches."""
    down, right = cells.extent
    of_rows = _rows_of_cells(overview, len(cells.valid), down)
    cells.valid[:] |= _rows_of_cells(of_rows.T, cells.valid.shape[1], right).T


def _rows_of_cells(pixels: NDArray[np.bool_], count: int, extent: float) -> NDArray[np.bool_]:
    """Return `count` rows of cells, of which `extent` is covered by the rows of pixels.

    A cell is True where any pixel is that touches it.
    """
    merged = np.zeros((count, pixels.shape[1]), dtype=np.bool_)
    edges = np.arange(len(pixels) + 1) * extent / len(pixels)
    for row, first, end in zip(
        pixels, edges[:-1].astype(np.intp), np.ceil(edges[1:]).astype(np.intp), strict=True
    ):
        merged[first:end] |= row
    return merged


def footprint_geojson(
    valid: NDArray[np.bool_],
    transform: Affine,
    crs: CRS,
    bounds: LonLatBounds,
    extent: tuple[float, float] | None = None,
) -> str:
    """Return a valid Polygon or MultiPolygon in lon/lat as JSON text, of about 400 points at most.

    `valid`, `transform`, `extent`: see ValidCells; the extent is that of `valid` by default. The
    result covers every valid cell. It is split at the antimeridian (RFC 7946, 3.1.9). If the
    outline cannot be expressed in degrees, for example because a pole is inside, it is drawn from
    cells in degrees.
    """
    height, width = extent or valid.shape
    outline = _outline(valid).intersection(box(0, 0, width, height))
    decimals = _decimals(bounds)
    degrees = _in_degrees(outline, transform, crs, decimals) if not _is_polar(bounds) else None
    if degrees is None or degrees.is_empty:
        degrees = _from_cells(valid, transform, crs, bounds, (height, width))
    footprint = _rounded(mapping(_split(_polygons(degrees), 10.0**-decimals)), decimals)
    if not (shape(footprint).is_valid and shape(footprint).area > 0):
        footprint = mapping(_split(_polygons(_bounding_box(bounds)), 0.0))
    return json.dumps(footprint)


def _decimals(bounds: LonLatBounds) -> int:
    """Return how many decimals of a degree divide the narrower side into 100,000 steps."""
    narrower = min((bounds.east - bounds.west) % 360 or 360.0, bounds.north - bounds.south)
    decimals = math.ceil(5 - math.log10(narrower)) if narrower > 0 else MAX_DECIMALS
    return min(max(decimals, MIN_DECIMALS), MAX_DECIMALS)


def _outline(valid: NDArray[np.bool_]) -> BaseGeometry:
    """Return polygons that cover the valid cells, in units of cells.

    Steps between cells are smoothed outward, and the number of points is bounded.
    """
    if not valid.any():
        return box(0, 0, valid.shape[1], valid.shape[0])
    side = 1
    while side < max(valid.shape) and _edge_length(_merged(valid, side)) > MAX_EDGES:
        side *= 2
    merged = _merged(valid, side)
    whole = unary_union(
        [
            shape(geometry)
            for geometry, _ in shapes(
                merged.astype(np.uint8), mask=merged, transform=Affine.scale(side)
            )
        ]
    )
    return _simpler(whole, 0.75 * side, FEW_COORDINATES, MAX_COORDINATES // 2)


def _merged(valid: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Merge side x side cells into one, which is valid if any of them is."""
    rows, cols = (-(-length // side) * side for length in valid.shape)
    padded = np.pad(valid, ((0, rows - valid.shape[0]), (0, cols - valid.shape[1])))
    return np.asarray(padded.reshape(rows // side, side, cols // side, side).any(axis=(1, 3)))


def _edge_length(valid: NDArray[np.bool_]) -> int:
    padded = np.pad(valid, 1)
    return sum(int(np.diff(padded, axis=axis).sum()) for axis in (0, 1))


def _simpler(whole: BaseGeometry, tolerance: float, few: int, most: int) -> BaseGeometry:
    """Return a geometry of at most `most` points that covers `whole`.

    A geometry of at most `few` points is returned unchanged. Simplifying cuts corners by up to the
    tolerance, so the result is widened by it. GEOS 3.14 may cut more where a ring begins; a result
    that does not cover `whole` is not used.
    """
    if _point_count(whole) <= few:
        return whole
    largest = max(whole.bounds[2] - whole.bounds[0], whole.bounds[3] - whole.bounds[1])
    while tolerance < largest:
        # A little more than the tolerance, against rounding.
        wider = _widened(simplify(whole, tolerance), 1.001 * tolerance)
        if not wider.is_empty and _point_count(wider) <= most and wider.covers(whole):
            return wider
        tolerance *= 2
    return whole.convex_hull if _point_count(whole.convex_hull) <= most else box(*whole.bounds)


def _widened(geometry: BaseGeometry, distance: float) -> BaseGeometry:
    # GEOS divides by zero at some corners before it takes another way; NumPy would warn of it.
    with np.errstate(divide="ignore", invalid="ignore"):
        return geometry.buffer(distance, join_style="mitre")


def _in_degrees(
    outline: BaseGeometry, cells: Affine, crs: CRS, decimals: int
) -> BaseGeometry | None:
    """Return the outline in degrees, with densified edges and longitudes without jumps.

    Return None if a point is off the Earth.
    """
    placing = on_earth(crs)
    width = max(outline.bounds[2] - outline.bounds[0], outline.bounds[3] - outline.bounds[1])
    parts: list[Polygon] = []
    error = 0.0
    for polygon in _polygons(segmentize(outline, width / 64) if width else outline):
        rings: list[NDArray[np.float64]] = []
        for ring in (polygon.exterior, *polygon.interiors):
            found = _ring(placing, cells, ring)
            if found is None:
                return None
            rings.append(found[0])
            error = max(error, found[1])
        shell = rings[0]
        parts.append(Polygon(shell, [_shifted_to(shell, hole) for hole in rings[1:]]))
    degrees = unary_union([make_valid(part) for part in parts])
    if error > 10.0**-decimals:
        degrees = _widened(degrees, error)
    degrees = simplify(make_valid(degrees), 10.0 ** -(decimals + 1))
    narrower = min(degrees.bounds[2] - degrees.bounds[0], degrees.bounds[3] - degrees.bounds[1])
    return _simpler(degrees, narrower / 20_000, FEW_COORDINATES, MAX_COORDINATES)


def _from_cells(
    valid: NDArray[np.bool_],
    cells: Affine,
    crs: CRS,
    bounds: LonLatBounds,
    extent: tuple[float, float],
) -> BaseGeometry:
    """Return the cells of a grid in degrees over the bounds that hold valid data, as polygons.

    A cell in degrees holds data if one of nine points in it lies in a valid cell, or if it contains
    one of the points of a valid cell. These are the middle and, where there are few valid cells in
    a direction, points so close that none of the cells in degrees is between two of them.
    """
    width = (bounds.east - bounds.west) % 360 or 360.0
    size = width / DEGREE_CELLS, (bounds.north - bounds.south) / DEGREE_CELLS
    lon, lat = np.meshgrid(
        bounds.west + np.arange(2 * DEGREE_CELLS + 1) * size[0] / 2,
        bounds.north - np.arange(2 * DEGREE_CELLS + 1) * size[1] / 2,
    )
    from_lonlat = Transformer.from_crs(WGS84, crs, always_xy=True)
    x, y = transform_points(from_lonlat, (lon + 180) % 360 - 180, lat)
    period = x_period(crs)
    if period is not None:
        west = cells.c - 1e-9 * period
        with np.errstate(invalid="ignore"):
            x = np.where(np.isfinite(x), (x - west) % period + west, x)
    with np.errstate(invalid="ignore"):
        cols, rows = to_crs(~cells, x, y)
        inside = (cols >= 0) & (cols < valid.shape[1]) & (rows >= 0) & (rows < valid.shape[0])
    hit = np.zeros(inside.shape, dtype=np.bool_)
    hit[inside] = valid[rows[inside].astype(np.intp), cols[inside].astype(np.intp)]
    holds = np.zeros((DEGREE_CELLS, DEGREE_CELLS), dtype=np.bool_)
    for row in range(3):
        for col in range(3):
            holds |= hit[row : row + 2 * DEGREE_CELLS - 1 : 2, col : col + 2 * DEGREE_CELLS - 1 : 2]
    lon, lat = on_earth(crs)(*to_crs(cells, *_points_of_cells(valid, extent)))
    finite = np.isfinite(lon) & np.isfinite(lat)
    right = ((lon[finite] - bounds.west) % 360 / size[0]).astype(np.intp)
    down = ((bounds.north - lat[finite]) / size[1]).astype(np.intp)
    holds[np.clip(down, 0, DEGREE_CELLS - 1), np.clip(right, 0, DEGREE_CELLS - 1)] = True
    if not holds.any():
        return _bounding_box(bounds)
    grid = Affine(size[0], 0, bounds.west, 0, -size[1], bounds.north)
    outline = _outline(holds).intersection(box(0, 0, DEGREE_CELLS, DEGREE_CELLS))
    return transform_coordinates(
        outline, lambda points: np.column_stack(to_crs(grid, points[:, 0], points[:, 1]))
    )


def _points_of_cells(
    valid: NDArray[np.bool_], extent: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (cols, rows) of points in the valid cells, in units of cells and within the extent."""
    parts = [max(2 * DEGREE_CELLS // length, 1) for length in valid.shape]
    found = np.nonzero(valid.repeat(parts[0], axis=0).repeat(parts[1], axis=1))
    rows, cols = (
        np.minimum((places + 0.5) / part, end)
        for places, part, end in zip(found, parts, extent, strict=True)
    )
    return cols, rows


def _ring(placing: Placing, cells: Affine, ring: Any) -> tuple[NDArray[np.float64], float] | None:
    """Return the ring in degrees, and how far its edges are from the curves that they stand for.

    Return None if a point is off the Earth, or if the ring goes around a pole.
    """
    corners = np.asarray(ring.coords)
    points = np.repeat(corners, 2, axis=0)[:-1]
    points[1::2] = (corners[:-1] + corners[1:]) / 2
    lon, lat = placing(*to_crs(cells, points[:, 0], points[:, 1]))
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        return None
    curve = np.column_stack([unwrap_longitudes(lon), np.clip(lat, -90, 90)])
    if abs(curve[-1, 0] - curve[0, 0]) > 180:
        return None
    found = curve[::2]
    return found, float(np.abs((found[:-1] + found[1:]) / 2 - curve[1::2]).max())


def _shifted_to(shell: Any, hole: Any) -> NDArray[np.float64]:
    """Return the hole shifted by full turns so that its longitudes match the shell's."""
    turns = np.round((shell[:, 0].mean() - hole[:, 0].mean()) / 360.0)
    return np.asarray(hole + np.array([360.0 * turns, 0.0]))


def _split(polygons: list[Polygon], precision: float) -> BaseGeometry:
    """Cut the polygons at +-180 degrees and shift every piece into -180 to 180."""
    pieces = []
    for polygon in polygons:
        for turn in (-720, -360, 0, 360, 720):
            piece = translate(polygon, xoff=turn).intersection(box(-180, -90, 180, 90))
            pieces += [part for part in _polygons(piece) if part.area > 0]
    whole = make_valid(set_precision(unary_union(pieces), precision))
    parts = [part for part in _polygons(whole) if part.area > 0] or pieces or polygons
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)


def _polygons(geometry: BaseGeometry) -> list[Polygon]:
    if isinstance(geometry, Polygon):
        return [] if geometry.is_empty else [geometry]
    return [part for member in getattr(geometry, "geoms", ()) for part in _polygons(member)]


def _point_count(geometry: BaseGeometry) -> int:
    return sum(
        len(ring.coords)
        for part in _polygons(geometry)
        for ring in (part.exterior, *part.interiors)
    )


def _is_polar(bounds: LonLatBounds) -> bool:
    return (
        bounds.west == -180 and bounds.east == 180 and (bounds.north == 90 or bounds.south == -90)
    )


def _bounding_box(bounds: LonLatBounds) -> BaseGeometry:
    east = bounds.east + 360 if bounds.crosses_antimeridian else bounds.east
    return box(bounds.west, bounds.south, east, bounds.north)


def _rounded(value: Any, decimals: int) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item, decimals) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item, decimals) for item in value]
    return round(value, decimals) if isinstance(value, float) else value
