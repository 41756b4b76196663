"""The grid of the COG: the source's own, or one in the CRS that was asked for.

What belongs here: the decision and its arithmetic, without opening a file. What stays out: warping (`stage.py`).
"""

import math
from dataclasses import dataclass

import numpy as np
from affine import Affine
from pyproj import CRS, Transformer
from rasterio._err import CPLE_BaseError
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS as RasterioCRS  # noqa: N811
from rasterio.errors import RasterioError
from rasterio.warp import calculate_default_transform

from geo_platform.contracts.message import SpatialReference
from geo_platform.contracts.raster import RasterProfiled
from geo_platform.errors import ParameterInvalid
from geo_platform.grid import Bounds, GridShape, LonLatBounds
from geo_platform.raster.crs import describe, parse_crs, reference, same_crs
from geo_platform.raster.georeference import corner_bounds
from geo_platform.raster.lonlat import lonlat_bounds, outline, transformed, unwrap_longitudes

GROWTH_AT_MOST = 8
"""A target grid with more than this many times the source's pixels is no reprojection that anyone wants."""


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
    source = Affine(*profile.georeference.transform)
    if target.is_geographic and _crosses(profile.lonlat_bounds):
        return _across_antimeridian(source, profile.shape, own, target)
    rows, cols = profile.shape.rows, profile.shape.cols
    corners = [GroundControlPoint(row, col, *(source @ (col, row)), 0.0) for row, col in ((0, 0), (0, cols), (rows, 0), (rows, cols))]
    try:
        found = calculate_default_transform(_gdal(own), _gdal(target), cols, rows, gcps=corners)
    except (RasterioError, CPLE_BaseError) as error:
        raise ParameterInvalid(
            f"{profile.source.key!r} cannot be reprojected to {describe(target)}: it lies outside of what that system can show.",
            remedy="Choose a target_crs made for the place where it lies.",
        ) from error
    transform, width, height = found
    return transform, GridShape(rows=int(height), cols=int(width))


def _across_antimeridian(source: Affine, shape: GridShape, own: CRS, target: CRS) -> tuple[Affine, GridShape]:
    """Longitudes run on past 180 instead of round the whole Earth. Square pixels; as many along the diagonal as the source has
    (the rule of GDALSuggestedWarpOutput)."""
    x, y = transformed(Transformer.from_crs(own, target, always_xy=True), *outline(source, shape))
    lon = unwrap_longitudes(x)
    west, east, south, north = float(lon.min()), float(lon.max()), float(np.min(y)), float(np.max(y))
    shift = 360.0 * math.floor((west + 180.0) / 360.0)
    size = math.hypot(east - west, north - south) / math.hypot(shape.rows, shape.cols)
    cols, rows = max(math.ceil((east - west) / size), 1), max(math.ceil((north - south) / size), 1)
    return Affine(size, 0.0, west - shift, 0.0, -size, north), GridShape(rows=rows, cols=cols)


def _crosses(bounds: LonLatBounds) -> bool:
    return bounds.crosses_antimeridian


def _gdal(crs: CRS) -> RasterioCRS:
    return RasterioCRS.from_wkt(crs.to_wkt("WKT2_2019"))
