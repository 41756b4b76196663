"""Read the georeference of a raster (CRS, geotransform, extent), and refuse an implausible one.

For rules that rasters share with vectors see `geo_platform/crs.py`; for extents in degrees see
`lonlat.py`.

Used by `raster`.
"""

import math
import re
import warnings

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetReader
from rasterio.transform import GCPTransformer, from_gcps

from geo_platform.contracts.message import Finding, SpatialReference
from geo_platform.contracts.raster import GeoreferenceNote
from geo_platform.crs import FROM_FILE, authority_code, is_on_earth, resolve_crs
from geo_platform.errors import BoundsImplausible, CrsMissing, GeotransformMissing
from geo_platform.grid import Bounds, GridShape, LonLatBounds, Resolution
from geo_platform.raster.lonlat import x_period
from geo_platform.raster.options import RasterProfileOptions
from geo_platform.source.openable import OpenableSource

# How far a raster may be outside the area of use of its CRS. UTM is widely used beyond its zone.
AREA_SLACK_DEG = 20.0

# Points per side at which the position by ground control points is noted.
POSITIONS = 5

_MAX_PROJECTION_BYTES = 64 * 1024
_WKT = re.compile(r"[A-Za-z_]+\s*[\[(]")
_NAMES_FILES = re.compile(r"PROJ4_GRIDS|init=|grids=(?!@null)", re.IGNORECASE)


def source_crs(
    dataset: DatasetReader, source: OpenableSource, options: RasterProfileOptions
) -> tuple[SpatialReference, tuple[Finding, ...]]:
    """Return the CRS of the source and warnings about it.

    It is that of the file, else that of a `.prj` beside it, else `input_crs`.
    Raises CrsMissing: if none of them gives a CRS.
    Raises CrsMismatch: if both give one and they differ, without `override_crs`.
    Raises BoundsImplausible: if the CRS of the file is of another body than the Earth.
    Raises ParameterInvalid: if `input_crs` is not a usable CRS.
    """
    return resolve_crs(
        file_crs(dataset) or _crs_beside(source, needed=options.input_crs is None),
        file_crs_origin=FROM_FILE,
        input_crs=options.input_crs,
        override_crs=options.override_crs,
        display_name=source.display_name,
    )


def _crs_beside(source: OpenableSource, *, needed: bool) -> CRS | None:
    """Return the CRS in the `.prj` beside the source, which GDAL reads for few formats only.

    Raises CrsMissing: if the CRS is `needed` and the text of the `.prj` is not a CRS in WKT.
    """
    content = source.sidecar(".prj", _MAX_PROJECTION_BYTES)
    text = (content or b"").decode("utf-8-sig", errors="replace").strip("\0 \r\n\t")
    if not text:
        return None
    try:
        # PROJ would open the files that a text names, so only WKT without such names is parsed.
        is_plain = _WKT.match(text) and not _NAMES_FILES.search(text)
        crs = CRS.from_wkt(text) if is_plain else None
    except CRSError:
        crs = None
    if crs is None and needed:
        raise CrsMissing(
            f"{source.display_name!r} has no coordinate reference system, and the text of the .prj "
            "beside it is not one in WKT.",
            remedy="Correct the .prj, or give the coordinate reference system with `input_crs`.",
        )
    return crs if crs is not None and is_on_earth(crs) else None


def file_crs(dataset: DatasetReader) -> CRS | None:
    """Return the CRS of the geotransform, else of the ground control points, else None.

    Return None too for a local CRS that is not tied to the Earth.
    """
    gdal_crs = dataset.crs or dataset.gcps[1]
    if not gdal_crs:
        return None
    try:
        crs = CRS.from_wkt(gdal_crs.to_wkt(version="WKT2_2019"))
    except CRSError:
        return None
    return crs if is_on_earth(crs) else None


def read_georeference(dataset: DatasetReader, display_name: str) -> GeoreferenceNote:
    """Return how pixel positions map to coordinates.

    If a file has ground control points but no geotransform, an affine transform is fitted to the
    points, and positions by the points themselves are noted. Conversion warps by the points.
    Raises GeotransformMissing: if the geotransform is singular, or if there is no geotransform and
    there are fewer than three points.
    """
    transform = _geotransform(dataset)
    points, _ = dataset.gcps
    by_points = transform == Affine.identity() and len(points) >= 3
    if by_points:
        points = control_points(dataset)
        transform = from_gcps(points)
    elif transform == Affine.identity() or transform.determinant == 0:
        raise GeotransformMissing(
            _missing_text(display_name, len(points), has_rpcs=bool(dataset.tags(ns="RPC")))
        )
    return GeoreferenceNote(
        transform=tuple(float(value) for value in tuple(transform)[:6]),  # type: ignore[arg-type]  # six
        is_rotated=not (
            math.isclose(transform.b, 0, abs_tol=1e-12)
            and math.isclose(transform.d, 0, abs_tol=1e-12)
        ),
        is_south_up=transform.e > 0,
        ground_control_points=len(points),
        has_rpcs=bool(dataset.tags(ns="RPC")),
        pixel_is_point=dataset.tags().get("AREA_OR_POINT") == "Point",
        placed_by_ground_control_points=by_points,
        positions=_positions(dataset, points) if by_points else (),
    )


def control_points(dataset: DatasetReader) -> list[GroundControlPoint]:
    """Return the ground control points, with x that continues past the antimeridian.

    A file may hold 179.5 and -179.3 for neighbouring points. An affine transform fits the points
    better with 180.7 instead. If both fit, a mirrored image is taken for a wrong reading.
    """
    points = list(dataset.gcps[0])
    crs = file_crs(dataset)
    period = 360.0 if crs is None else x_period(crs)
    x = np.array([point.x for point in points])
    if period is None or len(points) < 3 or np.ptp(x) <= period / 2:
        return points
    ordered = np.sort(x % period)
    gaps = np.append(ordered[1:], ordered[0] + period) - ordered
    start = ordered[(int(gaps.argmax()) + 1) % x.size]
    continued = (x - start) % period + (start - period if start > period / 2 else start)
    fit, continued_fit = (_affine_fit(points, values) for values in (x, continued))
    if continued_fit is None or np.ptp(continued) >= np.ptp(x):
        return points
    misfit, is_mirrored = fit or (math.inf, True)
    if continued_fit[0] < misfit - 1e-3 * period or (
        continued_fit[0] < misfit + 1e-3 * period and is_mirrored and not continued_fit[1]
    ):
        return [
            GroundControlPoint(
                row=point.row, col=point.col, x=float(value), y=point.y, z=point.z, id=point.id
            )
            for point, value in zip(points, continued, strict=True)
        ]
    return points


def _affine_fit(
    points: list[GroundControlPoint], x: NDArray[np.float64]
) -> tuple[float, bool] | None:
    """Return (the largest misfit of x, whether the image is mirrored), None if x is degenerate."""
    places = np.array([[point.col, point.row, 1.0] for point in points])
    found, _, rank, _ = np.linalg.lstsq(
        places, np.column_stack([x, [point.y for point in points]]), rcond=None
    )
    determinant = found[0, 0] * found[1, 1] - found[1, 0] * found[0, 1]
    if rank < 3 or np.ptp(x) == 0:
        return None
    return float(np.abs(places @ found[:, 0] - x).max()), bool(determinant > 0)


def points_bounds(points: list[GroundControlPoint]) -> Bounds:
    """Return the extent of ground control points."""
    return positions_bounds(tuple((point.x, point.y) for point in points))


def positions_bounds(positions: tuple[tuple[float, float], ...]) -> Bounds:
    """Return the extent of positions (x, y)."""
    x, y = zip(*positions, strict=True)
    return Bounds(xmin=float(min(x)), ymin=float(min(y)), xmax=float(max(x)), ymax=float(max(y)))


def _positions(
    dataset: DatasetReader, points: list[GroundControlPoint]
) -> tuple[tuple[float, float], ...]:
    """Return (x, y) of POSITIONS x POSITIONS points of the grid, as the warper places them."""
    cols, rows = np.meshgrid(
        np.linspace(0, dataset.width, POSITIONS), np.linspace(0, dataset.height, POSITIONS)
    )
    with GCPTransformer(points) as transformer:
        x, y = transformer.xy(rows.ravel(), cols.ravel(), offset="ul")
    return tuple(zip(map(float, x), map(float, y), strict=True))


def _geotransform(dataset: DatasetReader) -> Affine:
    """Return the geotransform, or the identity if there is none.

    Where GDAL has no geotransform (a TIFF with pixel sizes but without tie points, for example),
    `dataset.transform` may hold numbers that do not place the raster.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", NotGeoreferencedWarning)
            dataset.read_transform()
    except NotGeoreferencedWarning:
        return Affine.identity()
    transform: Affine = dataset.transform
    return transform


def corner_bounds(transform: Affine, shape: GridShape) -> Bounds:
    """Return the extent of the grid's four outer corners. The grid may be rotated."""
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
    """Return `lonlat`, the extent in degrees, if the extent is plausible in the CRS.

    Raises BoundsImplausible: if the extent is not plausible, or if `lonlat` is None because no part
    of the raster is on the Earth.
    """
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
    if bounds.xmin >= bounds.xmax or bounds.ymin >= bounds.ymax:
        return f"its pixels are too small, {resolution.x:g} x {resolution.y:g}"
    if crs.is_geographic:
        return _why_implausible_degrees(bounds, resolution, crs)
    if lonlat is None:
        return "no part of it is on the Earth"
    if crs.is_projected and _look_like_degrees(bounds, resolution):
        return "the numbers look like degrees"
    area = _area_of_use(crs)
    if area is not None and not _is_near(lonlat, area):
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


def _is_near(lonlat: LonLatBounds, area: LonLatBounds) -> bool:
    west, south, east, north = area.wsen
    if lonlat.north < south - AREA_SLACK_DEG or lonlat.south > north + AREA_SLACK_DEG:
        return False
    area_width, raster_width = (
        (east - west) % 360 or 360.0,
        (lonlat.east - lonlat.west) % 360 or 360.0,
    )
    if (lonlat.east - lonlat.west) == 0:
        raster_width = 0.0
    gap = (lonlat.west - (west - AREA_SLACK_DEG)) % 360
    return gap <= area_width + 2 * AREA_SLACK_DEG or gap + raster_width >= 360


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
