"""The coordinate reference system of a raster file. What stays out: the rules shared with vectors (`geo_platform/crs.py`) and extents."""

from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.io import DatasetReader

from geo_platform.contracts.message import Finding, SpatialReference
from geo_platform.crs import FROM_FILE, authority_code, believed_crs, is_on_earth
from geo_platform.grid import LonLatBounds
from geo_platform.raster.options import RasterProfileOptions


def source_crs(dataset: DatasetReader, options: RasterProfileOptions, display_name: str) -> tuple[SpatialReference, tuple[Finding, ...]]:
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
    return LonLatBounds(west=area.west, south=area.south, east=area.east, north=area.north) if area else None
