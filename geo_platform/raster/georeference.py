"""Read where a raster lies (CRS, geotransform, extent), and refuse what cannot be right.

For rules that rasters share with vectors see `geo_platform/crs.py`; for degrees see `lonlat.py`.
"""

import math

from affine import Affine
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.io import DatasetReader
from rasterio.transform import from_gcps

from geo_platform.contracts.message import Finding, SpatialReference
from geo_platform.contracts.raster import GeoreferenceNote
from geo_platform.crs import FROM_FILE, authority_code, is_on_earth, resolve_crs
from geo_platform.errors import BoundsImplausible, GeotransformMissing
from geo_platform.grid import Bounds, GridShape, LonLatBounds, Resolution
from geo_platform.raster.options import RasterProfileOptions

# How far outside the area of use of its CRS a raster may lie. UTM is widely used beyond its zone.
AREA_SLACK_DEG = 20.0


def source_crs(
    dataset: DatasetReader, options: RasterProfileOptions, display_name: str
) -> tuple[SpatialReference, tuple[Finding, ...]]:
    """Return the CRS of the source and warnings about it.

    Raises CrsMissing, CrsMismatch, BoundsImplausible, ParameterInvalid: as `resolve_crs` does.
    """
    return resolve_crs(
        file_crs(dataset),
        own_came_from=FROM_FILE,
        input_crs=options.input_crs,
        override_crs=options.override_crs,
        display_name=display_name,
    )


def file_crs(dataset: DatasetReader) -> CRS | None:
    """Return the CRS of the geotransform, else of the ground control points, else None.

    A local CRS that is not tied to the Earth counts as none.
    """
    found = dataset.crs or dataset.gcps[1]
    if not found:
        return None
    try:
        crs = CRS.from_wkt(found.to_wkt(version="WKT2_2019"))
    except CRSError:
        return None
    return crs if is_on_earth(crs) else None


def read_georeference(dataset: DatasetReader, display_name: str) -> GeoreferenceNote:
    """Return how the pixels are placed.

    If only ground control points place them, an affine is fitted to the points for the extent;
    conversion warps by the points.
    Raises GeotransformMissing: if there is no geotransform and fewer than three points.
    """
    transform = dataset.transform
    points, _ = dataset.gcps
    by_points = transform == Affine.identity() and len(points) >= 3
    if by_points:
        transform = from_gcps(points)
    elif transform == Affine.identity() or transform.determinant == 0:
        raise GeotransformMissing(
            _missing_text(display_name, len(points), has_rpcs=dataset.rpcs is not None)
        )
    return GeoreferenceNote(
        transform=tuple(float(value) for value in tuple(transform)[:6]),  # type: ignore[arg-type]  # six
        is_rotated=not (
            math.isclose(transform.b, 0, abs_tol=1e-12)
            and math.isclose(transform.d, 0, abs_tol=1e-12)
        ),
        is_south_up=transform.e > 0,
        ground_control_points=len(points),
        has_rpcs=dataset.rpcs is not None,
        pixel_is_point=dataset.tags().get("AREA_OR_POINT") == "Point",
        placed_by_ground_control_points=by_points,
    )


def corner_bounds(transform: Affine, shape: GridShape) -> Bounds:
    """Return the extent of the four outer corners. The grid may be rotated."""
    corners = [
        transform @ corner
        for corner in ((0, 0), (shape.cols, 0), (0, shape.rows), (shape.cols, shape.rows))
    ]
    x, y = [corner[0] for corner in corners], [corner[1] for corner in corners]
    return Bounds(xmin=float(min(x)), ymin=float(min(y)), xmax=float(max(x)), ymax=float(max(y)))


def pixel_size(transform: Affine) -> Resolution:
    """Return the lengths of a pixel's two sides, in units of the CRS."""
    return Resolution(
        x=math.hypot(transform.a, transform.d), y=math.hypot(transform.b, transform.e)
    )


def check_plausible(
    bounds: Bounds, resolution: Resolution, crs: CRS, lonlat: LonLatBounds | None, display_name: str
) -> LonLatBounds:
    """Return `lonlat`. Raises BoundsImplausible: if the coordinates make no sense in the CRS."""
    reason = _why_implausible(bounds, resolution, crs, lonlat) or (
        "no part of it is on the Earth" if lonlat is None else None
    )
    if reason or lonlat is None:
        raise BoundsImplausible(
            f"The extent of {display_name!r}, {_formatted(bounds)}, does not fit {crs.name}: "
            f"{reason}."
        )
    return lonlat


def _why_implausible(
    bounds: Bounds, resolution: Resolution, crs: CRS, lonlat: LonLatBounds | None
) -> str | None:
    if not all(math.isfinite(value) for value in bounds.xyxy):
        return "it is not finite"
    if crs.is_geographic:
        return _why_implausible_degrees(bounds, resolution, crs)
    if lonlat is None:
        return "no part of it is on the Earth"
    if crs.is_projected and _look_like_degrees(bounds, resolution):
        return "the numbers look like degrees"
    area = _area_of_use(crs)
    if area is not None and not _near(lonlat, area):
        sides = ", ".join(f"{side:g}" for side in area.wsen)
        return f"it is far outside the area of use of this CRS ({sides})"
    return None


def _why_implausible_degrees(bounds: Bounds, resolution: Resolution, crs: CRS) -> str | None:
    # Longitudes may run to 360 or past the antimeridian. Pixels may be centred on a pole.
    unit = crs.axis_info[0].unit_conversion_factor if crs.axis_info else math.radians(1)
    degree = math.radians(1) / unit if unit else 1.0
    if bounds.ymin < -90 * degree - resolution.y or bounds.ymax > 90 * degree + resolution.y:
        return "it has latitudes beyond the poles"
    if bounds.xmin < -360 * degree - resolution.x or bounds.xmax > 540 * degree + resolution.x:
        return "it has longitudes outside -360 to 540"
    return None


def _look_like_degrees(bounds: Bounds, resolution: Resolution) -> bool:
    in_range = (
        abs(bounds.xmin) <= 180
        and abs(bounds.xmax) <= 180
        and abs(bounds.ymin) <= 90
        and abs(bounds.ymax) <= 90
    )
    return in_range and max(resolution.x, resolution.y) < 0.01 and max(map(abs, bounds.xyxy)) > 1


def _area_of_use(crs: CRS) -> LonLatBounds | None:
    # A file's WKT rarely holds the area of use; the authority's definition does.
    code = authority_code(crs)
    area = crs.area_of_use or (CRS.from_user_input(code).area_of_use if code else None)
    return (
        LonLatBounds(west=area.west, south=area.south, east=area.east, north=area.north)
        if area
        else None
    )


def _near(lonlat: LonLatBounds, area: LonLatBounds) -> bool:
    west, south, east, north = area.wsen
    if lonlat.north < south - AREA_SLACK_DEG or lonlat.south > north + AREA_SLACK_DEG:
        return False
    width, own_width = (east - west) % 360 or 360.0, (lonlat.east - lonlat.west) % 360 or 360.0
    if (lonlat.east - lonlat.west) == 0:
        own_width = 0.0
    gap = (lonlat.west - (west - AREA_SLACK_DEG)) % 360
    return gap <= width + 2 * AREA_SLACK_DEG or gap + own_width >= 360


def _missing_text(display_name: str, points: int, *, has_rpcs: bool) -> str:
    if has_rpcs:
        return (
            f"{display_name!r} is placed by rational polynomial coefficients only. "
            "Orthorectify it with an elevation model."
        )
    if points:
        return (
            f"{display_name!r} has {points} ground control points; at least three are needed "
            "to place it."
        )
    return f"{display_name!r} has no geotransform and no ground control points."


def _formatted(bounds: Bounds) -> str:
    return ", ".join(f"{value:.6g}" for value in bounds.xyxy)
