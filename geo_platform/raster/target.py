"""The grid of the COG: the source's own, or one in the CRS that was asked for.

What belongs here: the decision and its arithmetic, without opening a file. What stays out: warping (`stage.py`).

Grids that run on past the antimeridian, said in a way that GDAL's warper understands.

What belongs here: choosing another meridian to count from. What stays out: target grids (`target.py`), warping (`stage.py`).
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
from geo_platform.raster.lonlat import lonlat_bounds, outline, transformed, unwrap_longitudes

# Half the equator of EPSG:3857: web maps end there, at 85.06 degrees, and the projection itself
# never does.
MERCATOR_END_M = 20_037_508.342789244

# EPSG's code of that parameter.
_NATURAL_ORIGIN_LONGITUDE = 8802


def whole_turn(crs: CRS) -> float | None:
    """What once round the Earth measures along x, where x runs on past the antimeridian; None in systems that are cut there."""
    if crs.is_geographic:
        return 360.0
    return 2 * MERCATOR_END_M if is_web_mercator(crs) else None


def is_web_mercator(crs: CRS) -> bool:
    return (
        crs.coordinate_operation is not None
        and "Pseudo Mercator" in crs.coordinate_operation.method_name
    )


def counted_from_middle(transform: Affine, shape: GridShape, crs: CRS) -> tuple[CRS, Affine] | None:
    """The same grid in the same system, with the meridian of its middle as 0; None where it keeps within half a turn of 0 as it is.

    PROJ hands every longitude back between -180 and 180, and GDAL then finds nothing in the part of a source that was
    written beyond. None too where the system has no such variant (rotated poles, other units than degrees).
    """
    turn = whole_turn(crs)
    bounds = corner_bounds(transform, shape)
    if turn is None or (
        bounds.xmin >= -turn / 2 * (1 + 1e-12) and bounds.xmax <= turn / 2 * (1 + 1e-12)
    ):
        return None
    middle = (bounds.xmin + bounds.xmax) / 2
    moved = _with_meridian(crs, middle * 360.0 / turn)
    return None if moved is None else (moved, Affine.translation(-middle, 0) @ transform)


def _with_meridian(crs: CRS, degrees: float) -> CRS | None:
    """The system with its meridian moved east; None where it is of another kind than the two that run on."""
    system = crs.to_2d().to_json_dict()
    for name in ("id", "scope", "area", "bbox", "usages"):
        system.pop(name, None)
    system["name"] = f"{system['name']}, counted from {degrees:.9g} degrees further east"
    if system["type"] == "ProjectedCRS":
        for parameter in system["conversion"]["parameters"]:
            if parameter.get("id", {}).get("code") == _NATURAL_ORIGIN_LONGITUDE:
                parameter["value"] += degrees
    elif system["type"] == "GeographicCRS" and crs.axis_info[0].unit_name == "degree":
        datum = system.pop("datum", None) or _one_datum(system.pop("datum_ensemble"))
        if "prime_meridian" in datum:
            return None
        system["datum"] = datum | {"prime_meridian": {"name": "moved", "longitude": degrees}}
    else:
        return None
    try:
        return CRS.from_json_dict(system)
    except CRSError:
        return None


def _one_datum(ensemble: dict[str, Any]) -> dict[str, Any]:
    """PROJJSON has no meridian for an ensemble; PROJ takes the datum of its name for the same."""
    name = ensemble["name"].removesuffix(" ensemble")
    return {"type": "GeodeticReferenceFrame", "name": name, "ellipsoid": ensemble["ellipsoid"]}


# A target grid with more than this many times the source's pixels is no reprojection that anyone
# wants.
GROWTH_AT_MOST = 8


# Two and a half times around the Earth.
PROJECTED_AT_MOST_M = 1e8


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
        reason = (
            "native CRS and grid kept"
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
        reason=f"reprojected to {describe(target)}"
        if reprojects
        else "warped to a regular grid, being placed by points alone",
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
    cols, rows = (
        max(math.ceil((xmax - xmin) / size - 1e-6), 1),
        max(math.ceil((ymax - ymin) / size - 1e-6), 1),
    )
    return Affine(size, 0.0, xmin, 0.0, -size, ymax), GridShape(rows=rows, cols=cols)


def _reaches_infinity(target: CRS, *edges: float) -> bool:
    """A pole that a projection puts at infinity comes out as some very large number."""
    return (
        target.is_projected
        and max(map(abs, edges)) * target.axis_info[0].unit_conversion_factor > PROJECTED_AT_MOST_M
    )


def _extent(profile: RasterProfiled, own: CRS, target: CRS) -> tuple[float, float, float, float]:
    """(xmin, ymin, xmax, ymax) in the target's CRS, NaN where nothing of it can be shown there, or its outline is torn apart."""
    around = profile.lonlat_bounds
    if (
        target.is_geographic
        and around.west == -180
        and around.east == 180
        and (around.north == 90 or around.south == -90)
    ):
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
