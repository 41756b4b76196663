"""Coordinate reference systems: reading what a file or a user says, and telling whether two are the same.

What belongs here: CRS values. What stays out: extents (`lonlat.py`) and pixels.
"""

from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.io import DatasetReader

from geo_platform.contracts.message import SpatialReference
from geo_platform.errors import CrsMismatch, CrsMissing, ParameterInvalid
from geo_platform.grid import LonLatBounds
from geo_platform.raster.options import RasterProfileOptions


def parse_crs(text: str, parameter: str) -> CRS:
    """What a user wrote: an authority code, WKT or PROJJSON. Raises ParameterInvalid, naming the parameter."""
    try:
        crs = CRS.from_user_input(text.strip())
    except CRSError as error:
        raise ParameterInvalid(
            f"{parameter} {text[:100]!r} is not a coordinate reference system.",
            remedy="Write it as an authority code, for example EPSG:32618.",
        ) from error
    if not _is_on_earth(crs):
        raise ParameterInvalid(f"{parameter} {text[:100]!r} is not tied to the Earth.", remedy="Give a geographic or projected CRS.")
    return crs


def source_crs(dataset: DatasetReader, options: RasterProfileOptions, display_name: str) -> SpatialReference:
    """The CRS to believe, and where it came from. Raises CrsMissing, CrsMismatch, ParameterInvalid."""
    given = parse_crs(options.input_crs, "input_crs") if options.input_crs else None
    own = file_crs(dataset)
    if given is None:
        if own is None:
            raise CrsMissing(f"{display_name!r} does not say its coordinate reference system.")
        return reference(own, "file")
    if own is None:
        return reference(given, "user")
    if same_crs(own, given):
        return reference(own, "file")
    if options.override_crs:
        return reference(given, "user_override")
    raise CrsMismatch(
        f"{display_name!r} says {describe(own)}, input_crs says {describe(given)}.", file=describe(own), given=describe(given)
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
    return crs if _is_on_earth(crs) else None


def reference(crs: CRS, came_from: str) -> SpatialReference:
    """The CRS as a message carries it."""
    return SpatialReference(wkt=crs.to_wkt("WKT2_2019"), authority_code=authority_code(crs), came_from=came_from)


def authority_code(crs: CRS) -> str | None:
    """For example EPSG:32618; None where no authority knows it."""
    epsg = crs.to_epsg(min_confidence=70)
    if epsg is not None:
        return f"EPSG:{epsg}"
    found = crs.to_authority(min_confidence=70)
    return ":".join(found) if found else None


def area_of_use(crs: CRS) -> LonLatBounds | None:
    """Where the system is made for. A file's own words rarely say it; the authority's do."""
    code = authority_code(crs)
    area = crs.area_of_use or (CRS.from_user_input(code).area_of_use if code else None)
    return LonLatBounds(west=area.west, south=area.south, east=area.east, north=area.north) if area else None


def describe(crs: CRS) -> str:
    """For a person: code and name."""
    code = authority_code(crs)
    return f"{code} ({crs.name})" if code else crs.name


def same_crs(one: CRS, other: CRS) -> bool:
    """Equal in meaning: axis order aside (rasters are always x, y) and spelling aside (ESRI and OGC WKT)."""
    if one.equals(other, ignore_axis_order=True):
        return True
    code = authority_code(one)
    return code is not None and code == authority_code(other)


def _is_on_earth(crs: CRS) -> bool:
    horizontal = crs.sub_crs_list[0] if crs.is_compound and crs.sub_crs_list else crs
    return bool(horizontal.is_geographic or horizontal.is_projected or horizontal.is_derived) and horizontal.geodetic_crs is not None
