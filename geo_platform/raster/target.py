"""The grid of the COG: the source's own, or one in the CRS that was asked for.

What belongs here: the decision and its arithmetic, without opening a file. What stays out: warping (`stage.py`).
"""

import math
from dataclasses import dataclass

import numpy as np
from affine import Affine
from pyproj import CRS, Transformer

from geo_platform.contracts.message import SpatialReference
from geo_platform.contracts.raster import RasterProfiled
from geo_platform.crs import describe, parse_crs, reference, same_crs
from geo_platform.errors import ParameterInvalid
from geo_platform.grid import Bounds, GridShape, LonLatBounds
from geo_platform.raster.georeference import corner_bounds
from geo_platform.raster.lonlat import lonlat_bounds, outline, transformed, unwrap_longitudes
from geo_platform.raster.turn import MERCATOR_END_M, is_web_mercator, whole_turn

GROWTH_AT_MOST = 8
"""A target grid with more than this many times the source's pixels is no reprojection that anyone wants."""


PROJECTED_AT_MOST_M = 1e8
"""Two and a half times around the Earth."""


@dataclass(frozen=True)
class TargetGrid:
    crs: SpatialReference
    shape: GridShape
    transform: tuple[float, float, float, float, float, float]
    bounds: Bounds
    lonlat_bounds: LonLatBounds
    warps: bool
    is_reprojected: bool
    reason: str


def decide_grid(profile: RasterProfiled, target_crs: str | None) -> TargetGrid:
    """Native CRS and grid unless a target is asked for, or ground control points leave no grid to keep. Raises ParameterInvalid."""
    own = CRS.from_wkt(profile.crs.wkt)
    target = parse_crs(target_crs, "target_crs") if target_crs else own
    by_points = profile.georeference.placed_by_ground_control_points
    if same_crs(own, target) and not by_points:
        reason = "native CRS and grid kept" if target_crs is None else f"already in {describe(target)}: grid kept"
        return TargetGrid(
            crs=profile.crs,
            shape=profile.shape,
            transform=profile.georeference.transform,
            bounds=profile.bounds,
            lonlat_bounds=profile.lonlat_bounds,
            warps=False,
            is_reprojected=False,
            reason=reason,
        )
    reprojects = not same_crs(own, target)
    transform, shape = _warped_grid(profile, own, target)
    lonlat = lonlat_bounds(transform, shape, target)
    if shape.pixels > GROWTH_AT_MOST * max(profile.shape.pixels, 64) or lonlat is None:
        raise ParameterInvalid(
            f"{profile.source.key!r} would grow from {profile.shape.pixels:,} to {shape.pixels:,} pixels in {describe(target)}.",
            remedy="Choose a target_crs made for the place where it lies.",
        )
    return TargetGrid(
        crs=reference(target, "user") if reprojects else profile.crs,
        shape=shape,
        transform=(transform.a, transform.b, transform.c, transform.d, transform.e, transform.f),
        bounds=corner_bounds(transform, shape),
        lonlat_bounds=lonlat,
        warps=True,
        is_reprojected=reprojects,
        reason=f"reprojected to {describe(target)}" if reprojects else "warped to a regular grid, being placed by points alone",
    )


def _warped_grid(profile: RasterProfiled, own: CRS, target: CRS) -> tuple[Affine, GridShape]:
    """North up, square pixels, as many along the diagonal as the source has (the rule of GDALSuggestedWarpOutput).

    The extent is that of the source's densified outline. GDAL's own suggestion is not asked for: it goes round the whole Earth
    across the antimeridian, and knows no end of Mercator's north.
    """
    xmin, ymin, xmax, ymax = _extent(profile, own, target)
    if not (xmax > xmin and ymax > ymin) or _reaches_infinity(target, xmin, ymin, xmax, ymax):
        raise ParameterInvalid(
            f"{profile.source.key!r} cannot be reprojected to {describe(target)}: it lies outside of what that system can show.",
            remedy="Choose a target_crs made for the place where it lies.",
        )
    size = math.hypot(xmax - xmin, ymax - ymin) / math.hypot(profile.shape.rows, profile.shape.cols)
    cols, rows = max(math.ceil((xmax - xmin) / size - 1e-6), 1), max(math.ceil((ymax - ymin) / size - 1e-6), 1)
    return Affine(size, 0.0, xmin, 0.0, -size, ymax), GridShape(rows=rows, cols=cols)


def _reaches_infinity(target: CRS, *edges: float) -> bool:
    """A pole that a projection puts at infinity comes out as some very large number."""
    return target.is_projected and max(map(abs, edges)) * target.axis_info[0].unit_conversion_factor > PROJECTED_AT_MOST_M


def _extent(profile: RasterProfiled, own: CRS, target: CRS) -> tuple[float, float, float, float]:
    """(xmin, ymin, xmax, ymax) in the target's CRS, NaN where nothing of it can be shown there, or its outline is torn apart."""
    around = profile.lonlat_bounds
    if target.is_geographic and around.west == -180 and around.east == 180 and (around.north == 90 or around.south == -90):
        return -180.0, around.south, 180.0, around.north
    edge = outline(Affine(*profile.georeference.transform), profile.shape)
    x, y = transformed(Transformer.from_crs(own, target, always_xy=True), *edge)
    shown = np.isfinite(x) & np.isfinite(y)
    x, y = x[shown], y[shown]
    if not x.size:
        return math.nan, math.nan, math.nan, math.nan
    turn = whole_turn(target)
    if turn is not None:
        x = unwrap_longitudes(x * (360.0 / turn)) * (turn / 360.0)
        x = x - turn * math.floor((float(x.min()) + turn / 2) / turn + 1e-9)
    elif float(np.abs(np.diff(x)).max(initial=0.0)) > 0.5 * float(np.ptp(x)) and x.size > 8:
        return math.nan, math.nan, math.nan, math.nan
    if is_web_mercator(target):
        y = np.clip(y, -MERCATOR_END_M, MERCATOR_END_M)
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())
