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

from geo_platform.contracts.message import SpatialReference
from geo_platform.contracts.raster import RasterProfiled
from geo_platform.crs import describe, parse_crs, reference, same_crs
from geo_platform.errors import ParameterInvalid
from geo_platform.grid import Bounds, GridShape, LonLatBounds
from geo_platform.raster.georeference import corner_bounds
from geo_platform.raster.lonlat import lonlat_bounds, outline, transform_points, unwrap_longitudes

# Half the length of the equator in EPSG:3857. Web maps end at this distance from the origin, which
# is 85.06 degrees north and south; the projection itself has no limit.
MERCATOR_END_M = 20_037_508.342789244

# EPSG's code of the parameter that holds a projection's meridian.
_NATURAL_ORIGIN_LONGITUDE = 8802

# Refuse a target grid with more pixels than this multiple of the source's.
MAX_GROWTH = 8

# Larger coordinates count as infinite. This is two and a half times around the Earth.
MAX_PROJECTED_M = 1e8


@dataclass(frozen=True)
class TargetGrid:
    """The grid of a COG.

    `warps`: the grid differs from the grid of the source. `is_reprojected`: the CRS differs too.
    """

    crs: SpatialReference
    shape: GridShape
    transform: tuple[float, float, float, float, float, float]
    bounds: Bounds
    lonlat_bounds: LonLatBounds
    warps: bool
    is_reprojected: bool
    reason: str


def decide_grid(profile: RasterProfiled, target_crs: str | None) -> TargetGrid:
    """Return the grid of the source, or a new grid in `target_crs` if the CRS differs.

    A source with ground control points instead of a geotransform has no grid, so it always gets a
    new one.
    Raises ParameterInvalid: if `target_crs` is not a usable CRS, cannot represent the area of the
    source, or makes the grid more than MAX_GROWTH times as large.
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
    transform, shape = _warped_grid(profile, source_crs, target)
    lonlat = lonlat_bounds(transform, shape, target)
    if shape.pixels > MAX_GROWTH * max(profile.shape.pixels, 64) or lonlat is None:
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
    )


def _warped_grid(profile: RasterProfiled, source_crs: CRS, target: CRS) -> tuple[Affine, GridShape]:
    """Return a north-up grid of square pixels, with as many pixels on the diagonal as the source.

    Source: the rule of GDALSuggestedWarpOutput. That function itself is not used: its extent spans
    the whole Earth if the source crosses the antimeridian, and has no limit in web Mercator.
    Raises ParameterInvalid: if the target CRS cannot represent the area of the source.
    """
    xmin, ymin, xmax, ymax = _extent(profile, source_crs, target)
    if not (xmax > xmin and ymax > ymin) or _reaches_infinity(target, xmin, ymin, xmax, ymax):
        raise ParameterInvalid(
            f"{profile.source.key!r} cannot be reprojected to {describe(target)}: it is outside "
            "the area that this CRS can represent.",
            remedy="Choose a target_crs that is made for this area.",
        )
    size = math.hypot(xmax - xmin, ymax - ymin) / math.hypot(profile.shape.rows, profile.shape.cols)
    cols, rows = (
        max(math.ceil((xmax - xmin) / size - 1e-6), 1),
        max(math.ceil((ymax - ymin) / size - 1e-6), 1),
    )
    return Affine(size, 0.0, xmin, 0.0, -size, ymax), GridShape(rows=rows, cols=cols)


def _reaches_infinity(target: CRS, *edges: float) -> bool:
    # Where a projection has a pole at infinity, PROJ returns some very large number.
    return (
        target.is_projected
        and max(map(abs, edges)) * target.axis_info[0].unit_conversion_factor > MAX_PROJECTED_M
    )


def _extent(
    profile: RasterProfiled, source_crs: CRS, target: CRS
) -> tuple[float, float, float, float]:
    """Return (xmin, ymin, xmax, ymax) of the source's densified outline in the target CRS.

    All are NaN if the target can represent no point of the outline, or splits it in two.
    """
    lonlat = profile.lonlat_bounds
    if (
        target.is_geographic
        and lonlat.west == -180
        and lonlat.east == 180
        and (lonlat.north == 90 or lonlat.south == -90)
    ):
        return -180.0, lonlat.south, 180.0, lonlat.north
    edge = outline(Affine(*profile.georeference.transform), profile.shape)
    x, y = transform_points(Transformer.from_crs(source_crs, target, always_xy=True), *edge)
    is_finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[is_finite], y[is_finite]
    if not x.size:
        return math.nan, math.nan, math.nan, math.nan
    period = x_period(target)
    if period is not None:
        x = unwrap_longitudes(x * (360.0 / period)) * (period / 360.0)
        x = x - period * math.floor((float(x.min()) + period / 2) / period + 1e-9)
    elif float(np.abs(np.diff(x)).max(initial=0.0)) > 0.5 * float(np.ptp(x)) and x.size > 8:
        return math.nan, math.nan, math.nan, math.nan
    if is_web_mercator(target):
        y = np.clip(y, -MERCATOR_END_M, MERCATOR_END_M)
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def x_period(crs: CRS) -> float | None:
    """Return the length of a full circle along x, or None if x ends at the antimeridian.

    The length is 360 for degrees, and that of the equator for web Mercator.
    """
    if crs.is_geographic:
        return 360.0
    return 2 * MERCATOR_END_M if is_web_mercator(crs) else None


def is_web_mercator(crs: CRS) -> bool:
    return (
        crs.coordinate_operation is not None
        and "Pseudo Mercator" in crs.coordinate_operation.method_name
    )


def centered_on_middle(transform: Affine, shape: GridShape, crs: CRS) -> tuple[CRS, Affine] | None:
    """Return an equal CRS with its meridian at the grid's middle, and the transform in it.

    PROJ returns longitudes between -180 and 180, so GDAL's warper finds no pixels in a part of the
    source beyond these longitudes. Return None if the grid has no such part, or if the meridian of
    the CRS cannot be moved (rotated poles, other units than degrees).
    """
    period = x_period(crs)
    bounds = corner_bounds(transform, shape)
    if period is None or (
        bounds.xmin >= -period / 2 * (1 + 1e-12) and bounds.xmax <= period / 2 * (1 + 1e-12)
    ):
        return None
    middle = (bounds.xmin + bounds.xmax) / 2
    centered = _with_meridian_moved(crs, middle * 360.0 / period)
    return None if centered is None else (centered, Affine.translation(-middle, 0) @ transform)


def _with_meridian_moved(crs: CRS, degrees: float) -> CRS | None:
    """Return the CRS with the meridian moved east, or None for a CRS of an unsupported kind."""
    definition = crs.to_2d().to_json_dict()
    for name in ("id", "scope", "area", "bbox", "usages"):
        definition.pop(name, None)
    definition["name"] = f"{definition['name']}, meridian moved by {degrees:.9g} degrees east"
    if definition["type"] == "ProjectedCRS":
        for parameter in definition["conversion"]["parameters"]:
            if parameter.get("id", {}).get("code") == _NATURAL_ORIGIN_LONGITUDE:
                parameter["value"] += degrees
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
