"""Where the pixels lie: geotransform or ground control points, extent, and whether the two make sense together.

What belongs here: reading and judging the georeference. What stays out: longitudes and latitudes (`lonlat.py`).

The coordinate reference system of a raster file. What stays out: the rules shared with vectors (`geo_platform/crs.py`) and extents.
"""

import math

from affine import Affine
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.io import DatasetReader
from rasterio.transform import from_gcps

from geo_platform.contracts.message import Finding, SpatialReference
from geo_platform.contracts.raster import GeoreferenceNote
from geo_platform.crs import FROM_FILE, authority_code, believed_crs, is_on_earth
from geo_platform.errors import BoundsImplausible, GeotransformMissing
from geo_platform.grid import Bounds, GridShape, LonLatBounds, Resolution
from geo_platform.raster.options import RasterProfileOptions


def source_crs(
    dataset: DatasetReader, options: RasterProfileOptions, display_name: str
) -> tuple[SpatialReference, tuple[Finding, ...]]:
    """The CRS to believe, where it came from, and what is to be said of it. Raises CrsMissing, CrsMismatch, ParameterInvalid."""
    return believed_crs(
        file_crs(dataset),
        own_came_from=FROM_FILE,
        input_crs=options.input_crs,
        override_crs=options.override_crs,
        display_name=display_name,
    )


def file_crs(dataset: DatasetReader) -> CRS | None:
    """The file's CRS: of its geotransform, else of its ground control points; one that is tied to nothing counts as none."""
    found = dataset.crs or dataset.gcps[1]
    if not found:
        return None
    try:
        crs = CRS.from_wkt(found.to_wkt(version="WKT2_2019"))
    except CRSError:
        return None
    return crs if is_on_earth(crs) else None


def area_of_use(crs: CRS) -> LonLatBounds | None:
    """Where the system is made for. A file's own words rarely say it; the authority's do."""
    code = authority_code(crs)
    area = crs.area_of_use or (CRS.from_user_input(code).area_of_use if code else None)
    return (
        LonLatBounds(west=area.west, south=area.south, east=area.east, north=area.north)
        if area
        else None
    )


# How far outside its CRS's area of use a raster may lie; UTM is in wide use some way beyond its
# zone.
AREA_SLACK_DEG = 20.0


def read_georeference(dataset: DatasetReader, display_name: str) -> GeoreferenceNote:
    """How pixels are placed. Ground control points alone are fitted by an affine here and warped when converted.

    Raises GeotransformMissing.
    """
    transform = dataset.transform
    points, _ = dataset.gcps
    by_points = transform == Affine.identity() and len(points) >= 3
    if by_points:
        transform = from_gcps(points)
    elif transform == Affine.identity() or transform.determinant == 0:
        raise GeotransformMissing(
            _missing(display_name, len(points), has_rpcs=dataset.rpcs is not None)
        )
    return GeoreferenceNote(
        transform=tuple(float(value) for value in tuple(transform)[:6]),  # type: ignore[arg-type]
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
    """Extent of the four outer corners, whatever the rotation."""
    corners = [
        transform @ corner
        for corner in ((0, 0), (shape.cols, 0), (0, shape.rows), (shape.cols, shape.rows))
    ]
    x, y = [corner[0] for corner in corners], [corner[1] for corner in corners]
    return Bounds(xmin=float(min(x)), ymin=float(min(y)), xmax=float(max(x)), ymax=float(max(y)))


def pixel_size(transform: Affine) -> Resolution:
    """Lengths of a pixel's two sides, in units of the CRS."""
    return Resolution(
        x=math.hypot(transform.a, transform.d), y=math.hypot(transform.b, transform.e)
    )


def check_plausible(
    bounds: Bounds, resolution: Resolution, crs: CRS, lonlat: LonLatBounds | None, display_name: str
) -> LonLatBounds:
    """Refuses coordinates that the CRS cannot mean. Raises BoundsImplausible."""
    because = _implausible(bounds, resolution, crs, lonlat) or (
        "no part of it lies on the Earth" if lonlat is None else None
    )
    if because or lonlat is None:
        raise BoundsImplausible(
            f"The extent of {display_name!r}, {_written(bounds)}, does not fit {crs.name}: {because}."
        )
    return lonlat


def _implausible(
    bounds: Bounds, resolution: Resolution, crs: CRS, lonlat: LonLatBounds | None
) -> str | None:
    if not all(math.isfinite(value) for value in bounds.xyxy):
        return "it is not finite"
    if crs.is_geographic:
        return _implausible_degrees(bounds, resolution, crs)
    if lonlat is None:
        return "no part of it lies on the Earth"
    if crs.is_projected and _look_like_degrees(bounds, resolution):
        return "the numbers look like degrees"
    area = area_of_use(crs)
    if area is not None and not _near(lonlat, area):
        return f"it lies far outside the area that this system is made for ({', '.join(f'{side:g}' for side in area.wsen)})"
    return None


def _implausible_degrees(bounds: Bounds, resolution: Resolution, crs: CRS) -> str | None:
    """Longitudes may run to 360 or past the antimeridian; cells may be centred on the outermost line."""
    unit = crs.axis_info[0].unit_conversion_factor if crs.axis_info else math.radians(1)
    degree = math.radians(1) / unit if unit else 1.0
    if bounds.ymin < -90 * degree - resolution.y or bounds.ymax > 90 * degree + resolution.y:
        return "latitudes beyond the poles"
    if bounds.xmin < -360 * degree - resolution.x or bounds.xmax > 540 * degree + resolution.x:
        return "longitudes beyond the whole circle"
    return None


def _look_like_degrees(bounds: Bounds, resolution: Resolution) -> bool:
    in_range = (
        abs(bounds.xmin) <= 180
        and abs(bounds.xmax) <= 180
        and abs(bounds.ymin) <= 90
        and abs(bounds.ymax) <= 90
    )
    return in_range and max(resolution.x, resolution.y) < 0.01 and max(map(abs, bounds.xyxy)) > 1


def _near(lonlat: LonLatBounds, area: LonLatBounds) -> bool:
    west, south, east, north = area.wsen
    if lonlat.north < south - AREA_SLACK_DEG or lonlat.south > north + AREA_SLACK_DEG:
        return False
    width, own_width = (east - west) % 360 or 360.0, (lonlat.east - lonlat.west) % 360 or 360.0
    if (lonlat.east - lonlat.west) == 0:
        own_width = 0.0
    gap = (lonlat.west - (west - AREA_SLACK_DEG)) % 360
    return gap <= width + 2 * AREA_SLACK_DEG or gap + own_width >= 360


def _missing(display_name: str, points: int, *, has_rpcs: bool) -> str:
    if has_rpcs:
        return f"{display_name!r} is placed by rational polynomial coefficients alone, which need orthorectification with an elevation model."
    if points:
        return f"{display_name!r} has {points} ground control points; three or more are needed to place it."
    return f"{display_name!r} does not say where its pixels lie."


def _written(bounds: Bounds) -> str:
    return ", ".join(f"{value:.6g}" for value in bounds.xyxy)
