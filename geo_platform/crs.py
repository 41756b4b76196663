"""Parse a coordinate reference system (CRS), compare two, and choose the CRS of a source.

Rasters and vectors share these rules. For reading the CRS of a file see `raster/georeference.py`
and `vector/crs.py`.

Used throughout the application.
"""

import re

from pyproj import CRS
from pyproj.exceptions import CRSError

from geo_platform.contracts.message import Finding, SpatialReference
from geo_platform.errors import BoundsImplausible, CrsMismatch, CrsMissing, ParameterInvalid

EARTH_SEMI_MAJOR_M = 6_378_137.0
# Values of SpatialReference.came_from.
FROM_FILE, FROM_USER, FROM_OVERRIDE, FROM_FORMAT = "file", "user", "user_override", "format"
# These two differ in axis order only, and coordinates are always x, y here.
_LON_LAT = frozenset({"EPSG:4326", "OGC:CRS84"})

# Parameters of PROJ strings, also inside WKT, whose value is the name of a file. "@null" is no
# file: web Mercator has "+nadgrids=@null".
_FILE_PARAMETER = re.compile(
    r"\binit\s*=|(?:grids?|catalog|\bfile)\s*=(?!\s*@null(?:[\s\"'+,]|$))|\bPARAMETERFILE\b",
    re.IGNORECASE,
)


def names_file(text: str) -> bool:
    """Return whether PROJ may open a file that the text of a CRS names.

    Such a text must not reach PROJ or GDAL: the file can be any file of the machine, or a device.
    """
    return _FILE_PARAMETER.search(text) is not None


def parse_crs(text: str, parameter: str) -> CRS:
    """Parse an authority's code, WKT, PROJJSON or a PROJ string that a user wrote.

    Raises ParameterInvalid: if PROJ does not know the CRS, if the CRS does not locate positions on
    the Earth, or if the text names a file (`+init=`, `+nadgrids=`).
    """
    try:
        if names_file(text):
            raise CRSError("the text names a file; use the authority's code")
        crs = CRS.from_user_input(text.strip())
    except CRSError as error:
        raise ParameterInvalid(
            f"{parameter} {text[:100]!r} is not a coordinate reference system that PROJ knows.",
            remedy="Use an authority's code, for example EPSG:32618.",
            parameter=parameter,
        ) from error
    if not is_on_earth(crs) or not has_earth_size(crs):
        raise ParameterInvalid(
            f"{parameter} {text[:100]!r} is not tied to the Earth.",
            remedy="Use a geographic or projected CRS of the Earth.",
        )
    return crs


def is_on_earth(crs: CRS) -> bool:
    """Return whether the CRS locates positions on a globe, unlike a local engineering CRS."""
    horizontal = crs.sub_crs_list[0] if crs.is_compound and crs.sub_crs_list else crs
    return (
        bool(horizontal.is_geographic or horizontal.is_projected or horizontal.is_derived)
        and horizontal.geodetic_crs is not None
    )


def has_earth_size(crs: CRS) -> bool:
    """Return whether the ellipsoid has the Earth's size within half a percent (PROJ's rule)."""
    ellipsoid = crs.ellipsoid
    return ellipsoid is None or abs(ellipsoid.semi_major_metre / EARTH_SEMI_MAJOR_M - 1) < 0.005


def resolve_crs(
    file_crs: CRS | None,
    *,
    file_crs_origin: str,
    input_crs: str | None,
    override_crs: bool,
    display_name: str,
) -> tuple[SpatialReference, tuple[Finding, ...]]:
    """Return the CRS of a source, and warnings about it.

    The result is the CRS of the file, unless the file has none or the user overrides it.
    `file_crs_origin` is the `came_from` of a CRS from the file, for example FROM_FILE.
    Raises CrsMissing: if neither the file nor the user gives a CRS.
    Raises CrsMismatch: if the file and the user give different ones, without `override_crs`.
    Raises BoundsImplausible: if the CRS of the file is of another body than the Earth, and the user
    gives none.
    Raises ParameterInvalid: if `input_crs` is not a usable CRS.
    """
    user_crs = parse_crs(input_crs, "input_crs") if input_crs else None
    if file_crs is None:
        if user_crs is None:
            raise CrsMissing(f"{display_name!r} has no coordinate reference system.")
        return reference(user_crs, FROM_USER), ()
    if user_crs is None and not has_earth_size(file_crs):
        raise BoundsImplausible(
            f"{display_name!r} is not on the Earth: its CRS is {describe(file_crs)}, for a body of "
            "another size.",
            remedy="Only data of the Earth can be published. If it is of the Earth, give its CRS "
            "with input_crs and override_crs=true.",
        )
    if user_crs is None or same_crs(file_crs, user_crs):
        return reference(file_crs, file_crs_origin), ()
    difference = f"{describe(file_crs)}, but input_crs is {describe(user_crs)}"
    if not override_crs:
        raise CrsMismatch(
            f"The CRS of {display_name!r} is {difference}.",
            file=describe(file_crs),
            given=describe(user_crs),
        )
    return reference(user_crs, FROM_OVERRIDE), (
        Finding(
            code="CRS_OVERRIDDEN", message=f"The CRS of the file is {difference}, which is used."
        ),
    )


def reference(crs: CRS, came_from: str) -> SpatialReference:
    """Return the CRS as a SpatialReference, the form in stage messages."""
    return SpatialReference(
        wkt=crs.to_wkt("WKT2_2019"), authority_code=authority_code(crs), came_from=came_from
    )


def authority_code(crs: CRS) -> str | None:
    """Return the code, for example EPSG:32618, or None if no authority defines the CRS."""
    epsg = crs.to_epsg(min_confidence=70)
    if epsg is not None:
        return f"EPSG:{epsg}"
    authority_and_code = crs.to_authority(min_confidence=70)
    return ":".join(authority_and_code) if authority_and_code else None


def describe(crs: CRS) -> str:
    """Return the code and the name of the CRS, for texts that people read."""
    code = authority_code(crs)
    return f"{code} ({crs.name})" if code else crs.name


def same_crs(first: CRS, second: CRS) -> bool:
    """Return whether x, y coordinates mean the same position in both CRSs.

    Axis order and spelling (ESRI or OGC WKT) make no difference.
    """
    if first.equals(second, ignore_axis_order=True):
        return True
    codes = authority_code(first), authority_code(second)
    return codes[0] is not None and (codes[0] == codes[1] or set(codes) <= _LON_LAT)
