"""Decide the grid of the COG: the grid of the source, or a new grid in the requested CRS.

This module also holds helpers for grids in degrees or web Mercator that continue past the
antimeridian. No file is opened; for warping see `intermediate.py`.

Called by `compare.py`, `intermediate.py` and `plan.py`.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from geo_platform.contracts.message import Finding, SpatialReference
from geo_platform.contracts.raster import RasterProfiled
from geo_platform.crs import describe, parse_crs, reference, same_crs
from geo_platform.errors import ParameterInvalid
from geo_platform.grid import Bounds, GridShape, LonLatBounds
from geo_platform.raster.georeference import corner_bounds
from geo_platform.raster.lonlat import (
    WGS84,
    Grid,
    Placed,
    Placing,
    Points,
    lonlat_bounds,
    on_earth,
    poles_inside,
    same_place,
    some_centres,
    transform_points,
    x_period,
)

# EPSG's code of the parameter that holds a projection's meridian.
_NATURAL_ORIGIN_LONGITUDE = 8802
_FALSE_EASTINGS = ("False easting", "Easting at false origin")

# Refuse a target grid with more pixels than this multiple of the source's, unless it is small. A
# rotated strip of one row needs a square of pixels, of which few are valid.
MAX_GROWTH = 8
SMALL_GRID_PX = 2**22

# Larger coordinates count as infinite. This is two and a half times around the Earth.
MAX_PROJECTED_M = 1e8

# The fraction of the source that a target CRS may be unable to represent. Mercator represents no
# poles, so there the limit only refuses a source that has nothing else.
MAX_LEFT_OUT = 0.05
MIN_LEFT_OUT = 0.0005
MAX_LEFT_OUT_AT_POLES = 0.999

# The largest pixel, as a multiple of the source's in the target CRS. A CRS with a seam through the
# source places its parts at two ends of the Earth, with few pixels for each.
MAX_COARSENING = 8.0
# Report a pixel that covers more than this many pixels of the source, in the direction with more.
MAX_SILENT_COARSENING = 4.0
# A source with fewer rows or columns gets pixels as small as its own, but no smaller than an eighth
# (MAX_COARSENING): no centre of a larger one may lie in the source.
FEW_ROWS = 4


@dataclass(frozen=True)
class TargetGrid:
    """The grid of a COG.

    `warps`: the grid differs from the grid of the source. `is_reprojected`: the CRS differs too.
    `warnings`: what of the source the CRS cannot represent.
    """

    crs: SpatialReference
    shape: GridShape
    transform: tuple[float, float, float, float, float, float]
    bounds: Bounds
    lonlat_bounds: LonLatBounds
    warps: bool
    is_reprojected: bool
    reason: str
    warnings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class _Extent:
    """The extent of the source in the target CRS.

    `pixel_sizes`: the sides of the source's pixels there,
    the smaller one first. `left_out`: the fraction of the source's places on
    the Earth that have no position in the target CRS.
    """

    xmin: float
    ymin: float
    xmax: float
    ymax: float
    pixel_sizes: tuple[float, float]
    left_out: float


def decide_grid(profile: RasterProfiled, target_crs: str | None) -> TargetGrid:
    """Return the grid of the source, or a new grid in `target_crs` if the CRS differs.

    A source with ground control points instead of a geotransform has no grid, so it always gets a
    new one.
    Raises ParameterInvalid: if `target_crs` is not a usable CRS, cannot represent the area of the
    source, or makes the grid more than MAX_GROWTH times as large and over SMALL_GRID_PX pixels.
    """
    source_crs = CRS.from_wkt(profile.crs.wkt)
    target = parse_crs(target_crs, "target_crs") if target_crs else source_crs
    by_points = profile.georeference.placed_by_ground_control_points
    if same_crs(source_crs, target) and not by_points:
        reason = (
            "CRS and grid of the source kept"
            if target_crs is None
            else f"already in {describe(target)}: grid kept"
        )
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
    reprojects = not same_crs(source_crs, target)
    transform, shape, extent = _warped_grid(profile, source_crs, target)
    lonlat = lonlat_bounds(transform, shape, target)
    if shape.pixels > max(MAX_GROWTH * profile.shape.pixels, SMALL_GRID_PX) or lonlat is None:
        raise ParameterInvalid(
            f"{profile.source.key!r} would grow from {profile.shape.pixels:,} to {shape.pixels:,} "
            f"pixels in {describe(target)}.",
            remedy="Choose a target_crs that is made for this area.",
        )
    return TargetGrid(
        crs=reference(target, "user") if reprojects else profile.crs,
        shape=shape,
        transform=(transform.a, transform.b, transform.c, transform.d, transform.e, transform.f),
        bounds=corner_bounds(transform, shape),
        lonlat_bounds=lonlat,
        warps=True,
        is_reprojected=reprojects,
        reason=f"reprojected to {describe(target)}"
        if reprojects
        else "warped to a regular grid, because only ground control points place it",
        warnings=_warnings(extent, transform.a, target),
    )


def _warnings(extent: _Extent, pixel_size: float, target: CRS) -> tuple[Finding, ...]:
    """Return what of the source the grid leaves out, and whether it is much coarser."""
    coarsening = pixel_size / extent.pixel_sizes[0] if extent.pixel_sizes[0] else 1.0
    messages = {
        "OUTSIDE_TARGET_CRS": (
            extent.left_out >= MIN_LEFT_OUT,
            f"About {extent.left_out:.1%} of the raster is outside the area that "
            f"{describe(target)} can represent, and is left out.",
        ),
        "COARSER_PIXELS": (
            coarsening > MAX_SILENT_COARSENING,
            f"{describe(target)} stretches the raster in one direction, so that a pixel covers "
            f"about {coarsening:.0f} pixels of the source in the other.",
        ),
    }
    return tuple(
        Finding(code=code, message=message)
        for code, (applies, message) in messages.items()
        if applies
    )


def _warped_grid(
    profile: RasterProfiled, source_crs: CRS, target: CRS
) -> tuple[Affine, GridShape, _Extent]:
    """Return a north-up grid of square pixels, with as many pixels on the diagonal as the source.

    The pixels of a source of few rows or columns are smaller than that.

    Source: the rule of GDALSuggestedWarpOutput. That function itself is not used: its extent spans
    the whole Earth if the source crosses the antimeridian, and has no limit in web Mercator.
    Raises ParameterInvalid: if the target CRS cannot represent the area of the source.
    """
    extent = _extent(profile, source_crs, target)
    limit = MAX_LEFT_OUT_AT_POLES if is_mercator(target) else MAX_LEFT_OUT
    if extent is None or extent.left_out > limit:
        share = f"about {extent.left_out:.0%} of it" if extent else "it"
        raise ParameterInvalid(
            f"{profile.source.key!r} cannot be reprojected to {describe(target)}: {share} is "
            "outside the area that this CRS can represent.",
            remedy="Choose a target_crs that is made for this area.",
        )
    xmin, ymin, xmax, ymax = extent.xmin, extent.ymin, extent.xmax, extent.ymax
    period, end = x_period(target), _y_end(target)
    size = math.hypot(xmax - xmin, ymax - ymin) / math.hypot(profile.shape.rows, profile.shape.cols)
    if extent.pixel_sizes[1] and size > MAX_COARSENING * extent.pixel_sizes[1]:
        raise ParameterInvalid(
            f"{profile.source.key!r} cannot be reprojected to {describe(target)}: this CRS tears "
            "it apart, and its pixels would be too large by far.",
            remedy="Choose a target_crs that is made for this area.",
        )
    if min(profile.shape.rows, profile.shape.cols) < FEW_ROWS and extent.pixel_sizes[0]:
        size = min(size, max(extent.pixel_sizes[0], size / MAX_COARSENING))
    cols = max(math.ceil((xmax - xmin) / size - 1e-6), 1)
    if period is not None and xmax - xmin > period * (1 - 1e-9):
        # A column beyond a full circle would repeat the first. An even number of columns also ends
        # at both poles.
        cols += cols % 2
        size = (xmax - xmin) / cols
    rows = max(math.ceil((ymax - ymin) / size - 1e-6), 1)
    if ymax - rows * size < -end:
        # The last row must not go past the pole if the first need not start there.
        ymax = min(rows * size - end, end)
    return (
        Affine(size, 0.0, xmin, 0.0, -size, ymax),
        GridShape(rows=rows, cols=cols),
        extent,
    )


def _reaches_infinity(target: CRS, *edges: float) -> bool:
    # Where a projection has a pole at infinity, PROJ returns some very large number.
    return (
        target.is_projected
        and max(map(abs, edges)) * target.axis_info[0].unit_conversion_factor > MAX_PROJECTED_M
    )


def source_grid(profile: RasterProfiled) -> Grid:
    """Return the grid of the source, by its ground control points if these place it."""
    georeference = profile.georeference
    return Grid(Affine(*georeference.transform), profile.shape, georeference.positions)


def _extent(profile: RasterProfiled, source_crs: CRS, target: CRS) -> _Extent | None:
    """Return the extent of the source, or None if it has none in the target, or an infinite one."""
    grid, placing = source_grid(profile), placing_in(source_crs, target)
    placed = Placed.of_grid(grid, placing)
    if placed is None:
        return None
    centres = grid.at(*some_centres(grid.shape))
    found, (_, lat) = placing(*centres), on_earth(source_crs)(*centres)
    placed = placed.with_points(*found, are_linked=False)
    is_on_earth = np.abs(lat) <= 90
    left_out = 1.0 - np.isfinite(found[0])[is_on_earth].sum() / max(is_on_earth.sum(), 1)
    placed = _with_poles(placed, poles_inside(grid.transform, grid.shape, source_crs), target)
    xmin, xmax = placed.x_range(x_period(target))
    ymin, ymax = float(placed.y.min()), float(placed.y.max())
    end = _y_end(target)
    ymin, ymax = max(ymin, -end), min(ymax, end)
    if not (xmax > xmin and ymax > ymin) or _reaches_infinity(target, xmin, ymin, xmax, ymax):
        return None
    return _Extent(xmin, ymin, xmax, ymax, placed.pixel_sizes, max(float(left_out), 0.0))


def placing_in(source_crs: CRS, target: CRS) -> Placing:
    """Return the placing from the source's CRS to the target, which finds real positions only."""
    transformer = Transformer.from_crs(source_crs, target, always_xy=True)
    from_source = on_earth(source_crs)
    from_target = Transformer.from_crs(target, WGS84, always_xy=True)
    end = _y_end(target) * (1 + 1e-9)

    def place(x: Points, y: Points) -> tuple[Points, Points]:
        there = from_source(x, y)
        target_x, target_y = transform_points(transformer, x, y)
        back = transform_points(from_target, target_x, target_y)
        # At the edge of its map, a projection may have no way back.
        is_real = (
            np.isfinite(there[0])
            & (same_place(there, back) | ~np.isfinite(back[0]))
            & (np.abs(target_y) <= end)
        )
        return np.where(is_real, target_x, np.inf), np.where(is_real, target_y, np.inf)

    return place


def _with_poles(placed: Placed, poles: tuple[float, ...], target: CRS) -> Placed:
    """Add the poles inside the source, which are lines in many projections of the whole Earth."""
    from_lonlat = Transformer.from_crs(WGS84, target, always_xy=True)
    for pole in poles:
        lon = np.linspace(-180.0, 180.0, 361)
        x, y = transform_points(from_lonlat, lon, np.full_like(lon, pole))
        placed = placed.with_points(
            x, np.where(np.abs(y) <= _y_end(target), y, np.inf), are_linked=True
        )
    return placed


def _y_end(target: CRS) -> float:
    """Return the largest y of a target grid: the pole in degrees, a square map in Mercator."""
    if target.is_geographic:
        return math.radians(90) / target.axis_info[0].unit_conversion_factor
    return (x_period(target) or math.inf) / 2 if is_mercator(target) else math.inf


def is_mercator(crs: CRS) -> bool:
    """Return whether the projection is Mercator's, or web Mercator, with the equator as its axis.

    Its poles are infinitely far.
    """
    operation = crs.coordinate_operation
    return operation is not None and "Mercator" in operation.method_name and bool(x_period(crs))


def centered_on_middle(bounds: Bounds, crs: CRS) -> tuple[CRS, float] | None:
    """Return an equal CRS with its meridian at the middle, and what to subtract from x for it.

    PROJ returns longitudes between -180 and 180, so GDAL's warper finds no pixels in a part of the
    source beyond these longitudes. Return None if the bounds have no such part, or if the meridian
    of the CRS cannot be moved (rotated poles, other units than degrees).
    """
    period = x_period(crs)
    if period is None:
        return None
    origin, most = _x_of_meridian(crs), period / 2 * (1 + 1e-12)
    if bounds.xmin - origin >= -most and bounds.xmax - origin <= most:
        return None
    shift = (bounds.xmin + bounds.xmax) / 2 - origin
    centered = _with_meridian_moved(crs, shift * 360.0 / period)
    return None if centered is None else (centered, shift)


def _x_of_meridian(crs: CRS) -> float:
    """Return x of the meridian in the middle of the CRS's range, which is its false easting."""
    operation = crs.coordinate_operation
    return next(
        (
            float(parameter.value)
            * parameter.unit_conversion_factor
            / crs.axis_info[0].unit_conversion_factor
            for parameter in (operation.params if crs.is_projected and operation else ())
            if parameter.name in _FALSE_EASTINGS
        ),
        0.0,
    )


def _with_meridian_moved(crs: CRS, degrees: float) -> CRS | None:
    """Return the CRS with the meridian moved east, or None for a CRS of an unsupported kind."""
    definition = crs.to_2d().to_json_dict()
    for name in ("id", "scope", "area", "bbox", "usages"):
        definition.pop(name, None)
    definition["name"] = f"{definition['name']}, meridian moved by {degrees:.9g} degrees east"
    if definition["type"] == "ProjectedCRS":
        origins = [
            parameter
            for parameter in definition["conversion"]["parameters"]
            if parameter.get("id", {}).get("code") == _NATURAL_ORIGIN_LONGITUDE
            and parameter.get("unit") == "degree"
        ]
        if len(origins) != 1:
            return None
        origins[0]["value"] += degrees
    elif definition["type"] == "GeographicCRS" and crs.axis_info[0].unit_name == "degree":
        datum = definition.pop("datum", None) or _datum_of(definition.pop("datum_ensemble"))
        if "prime_meridian" in datum:
            return None
        definition["datum"] = datum | {"prime_meridian": {"name": "moved", "longitude": degrees}}
    else:
        return None
    try:
        return CRS.from_json_dict(definition)
    except CRSError:
        return None


def _datum_of(ensemble: dict[str, Any]) -> dict[str, Any]:
    # PROJJSON allows no meridian in an ensemble. PROJ treats the datum of the same name as equal.
    name = ensemble["name"].removesuffix(" ensemble")
    return {"type": "GeodeticReferenceFrame", "name": name, "ellipsoid": ensemble["ellipsoid"]}
